"""A mail server for tests: tells its port and then each letter that it takes, a line of JSON each, on stdout.

Whom a letter goes to says how it fares: busy@… is asked to come later the first two times, unknown@… is refused for
good, all others are taken. With arguments it wants TLS (--starttls, --tls CERTIFICATE KEY) and a sign-in (--user).
"""

import argparse
import asyncio
import email
import email.policy
import json
import ssl

from aiosmtpd.smtp import SMTP, AuthResult

arguments = argparse.ArgumentParser()
arguments.add_argument("--tls", choices=["starttls", "tls"])
arguments.add_argument("--certificate")
arguments.add_argument("--key")
arguments.add_argument("--user")
arguments.add_argument("--password")
given = arguments.parse_args()


def tell(**line):
    print(json.dumps(line), flush=True)


class Handler:
    def __init__(self):
        self.busy = 0

    async def handle_RCPT(self, server, session, envelope, address, options):
        if address.startswith("busy@") and self.busy < 2:
            self.busy += 1
            return "451 4.7.1 come later"
        if address.startswith("unknown@"):
            return "550 5.1.1 no such user"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        message = email.message_from_bytes(envelope.content, policy=email.policy.default)
        plain = message.get_body(("plain",))
        html = message.get_body(("html",))
        tell(
            sender=envelope.mail_from,
            recipients=envelope.rcpt_tos,
            secure=session.ssl is not None or given.tls == "tls",
            signed_in=bool(session.authenticated),
            headers={name.lower(): str(value) for name, value in message.items()},
            plain=plain.get_content(),
            html=html.get_content(),
        )
        return "250 OK"


def authenticate(server, session, envelope, mechanism, data):
    right = (data.login.decode(), data.password.decode()) == (given.user, given.password)
    return AuthResult(success=right, handled=False)


async def serve():
    context = None
    if given.tls:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(given.certificate, given.key)
    handler = Handler()

    def session():
        return SMTP(
            handler,
            hostname="localhost",
            tls_context=context if given.tls == "starttls" else None,
            require_starttls=given.tls == "starttls",
            authenticator=authenticate,
            auth_required=given.user is not None,
            auth_require_tls=given.tls == "starttls",
        )

    wrapped = context if given.tls == "tls" else None
    server = await asyncio.get_running_loop().create_server(session, "127.0.0.1", 0, ssl=wrapped)
    tell(port=server.sockets[0].getsockname()[1])
    await server.serve_forever()


asyncio.run(serve())
