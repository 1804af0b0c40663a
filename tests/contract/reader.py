"""How the program reads parameters, as its description says in prose: for judging what it accepts.

The schemas say what a careful client sends, and the program takes more on purpose: an integer in a text, a list with
commas, empty for none. A request that breaks a schema by the letter and keeps it as read was rightly accepted.
`complaints` reads a request from the bytes that were sent and says what is wrong with it after that; it need not be
right about requests that the program refuses.

The same reader in the program: crates/bulut/src/api/params.
"""

import base64
import binascii
import email.parser
import email.policy
import json
import re
from urllib.parse import parse_qsl, unquote, urlsplit

import jsonschema

INTEGER = re.compile(r"[+-]?\d+(\.0+)?")


def complaints(call, template, request):
    """What is wrong with a request as read; `call` is its operation in the description, `template` its path."""
    layers = read(template, request)
    found = []
    for name, required, schema in parameters(call):
        texts = strongest(layers, name)
        if texts is not None and schema.get("type") == "array":
            texts = split(texts, schema)
        if not texts:
            empty_list = any(layer.get(name) == [] for layer in layers) and schema.get("minItems") == 0
            if required and not empty_list:
                found.append(f"{name} is missing")
        elif not is_valid(texts, schema):
            found.append(f"{name} is {texts!r}")
    key = (request.headers.get("Idempotency-Key") or "").strip()
    if len(key) > 255 or not all(" " <= letter <= "~" for letter in key):
        found.append("the Idempotency-Key")
    return found


def given(call, template, request):
    """The text of each parameter that a request gives; the last one of several."""
    layers = read(template, request)
    texts = {name: strongest(layers, name) for name, _, _ in parameters(call)}
    return {name: [text for text in each if text != ""][-1] for name, each in texts.items() if each}


def read(template, request):
    """The texts by their names: in the path, the body and the query."""
    parts = urlsplit(request.url)
    body = {} if request.method in ("GET", "HEAD") else body_layer(request)
    return [path_layer(template, parts.path), body, form_layer(parts.query)]


def strongest(layers, name):
    """What the first layer that has more than empty texts says."""
    return next((layer[name] for layer in layers if any(text != "" for text in layer.get(name, []))), None)


def parameters(call):
    """(name, required, schema) of each parameter in path, query and body."""
    for parameter in call.get("parameters", []):
        if "$ref" not in parameter:
            yield parameter["name"], parameter["required"], parameter["schema"]
    if "requestBody" in call:
        schema = call["requestBody"]["content"]["application/json"]["schema"]
        for name, property_ in schema["properties"].items():
            yield name, name in schema.get("required", []), property_


def split(texts, schema):
    """The values of a list, each once; where a list may be empty, blanks separate too."""
    separator = r"[,\s]" if schema.get("minItems") == 0 else ","
    parts = (part.strip() for text in texts for part in re.split(separator, text))
    return list(dict.fromkeys(part for part in parts if part))


def is_valid(texts, schema):
    """Whether texts are, as read, a value that the schema allows."""
    if schema.get("type") == "array":
        items = schema["items"]
        each_fits = all(any(allows(items, value) for value in candidates(text, items)) for text in texts)
        return each_fits and len(texts) <= schema.get("maxItems", len(texts))
    # A plain name that comes several times is one value: the last.
    last = [text for text in texts if text != ""][-1]
    return any(allows(schema, value) for value in candidates(last, schema))


def candidates(text, schema):
    """What a text may be read as."""
    yield text
    stripped = text.strip()
    if INTEGER.fullmatch(stripped):
        yield int(stripped.split(".")[0])
    if "enum" in schema or "anyOf" in schema:
        yield stripped.lower()
        yield stripped
    if "pattern" in schema and "openssh" in schema["pattern"]:
        yield stripped
    if schema.get("format") == "byte" and is_base64(text):
        yield "AAAA"


def is_base64(text):
    compact = re.sub(r"[\t\r\n]", "", text.strip()).replace(" ", "+").rstrip("=")
    compact = compact.replace("-", "+").replace("_", "/")
    try:
        base64.b64decode(compact + "=" * (-len(compact) % 4), validate=True)
    except (binascii.Error, ValueError):
        return False
    return True


def allows(schema, value):
    return jsonschema.Draft202012Validator(schema).is_valid(value)


def path_layer(template, path):
    """Texts of the parameters in the path; a path that has fewer segments than its template has none."""
    wanted = template.strip("/").split("/")
    given = [segment for segment in path.split("/") if segment]
    if len(wanted) != len(given):
        return {}
    return {name[1:-1]: [unquote(text)] for name, text in zip(wanted, given) if name.startswith("{")}


def form_layer(text):
    layer = {}
    for name, value in parse_qsl(text, keep_blank_values=True):
        add(layer, name, value)
    return layer


def body_layer(request):
    """Texts of the parameters in the body."""
    body = request.body or b""
    body = body.encode() if isinstance(body, str) else body
    kind = request.headers.get("Content-Type", "")
    kind = kind.decode("latin-1") if isinstance(kind, bytes) else kind
    if "json" in kind:
        return json_layer(body)
    if "multipart" in kind:
        return multipart_layer(kind, body)
    return form_layer(body.decode("utf-8", "replace"))


def json_layer(body):
    try:
        members = json.loads(body) if body.strip() else {}
    except ValueError:
        return {}
    layer = {}
    for name, value in members.items() if isinstance(members, dict) else ():
        texts = flat(value)
        for text in texts:
            add(layer, name, text)
        if isinstance(value, (list, dict)) and not texts:
            layer[plain(name)] = []
    return layer


def flat(value):
    """The texts of a JSON value; objects are lists where their keys are numbers."""
    if value is None or value == [] or value == {}:
        return []
    if isinstance(value, bool):
        return [str(value).lower()]
    if isinstance(value, list):
        return [text for each in value for text in flat(each)]
    if isinstance(value, dict):
        return [text for each in value.values() for text in flat(each)]
    return [str(value)]


def multipart_layer(kind, body):
    head = f"Content-Type: {kind}\r\n\r\n".encode("latin-1", "replace")
    message = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(head + body)
    layer = {}
    for part in message.iter_parts() if message.is_multipart() else ():
        name = part.get_param("name", header="content-disposition") or ""
        payload = part.get_payload(decode=True) or b""
        add(layer, str(name), payload.decode("utf-8", "replace"))
    return layer


def add(layer, name, text):
    layer.setdefault(plain(name), []).append(text)


def plain(name):
    """The name without the brackets of an array."""
    return name.split("[")[0] if "]" in name and not name.startswith("[") else name
