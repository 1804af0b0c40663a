"""What schemathesis has to know of this API: things of the account to work with, and what its rules allow.

Promises: each exception is one rule of the API, with its reason; a check is never switched off as a whole.
"""

import atexit
import collections
import itertools
import json
import os
import re
import time
import zlib

import reader
import requests
import schemathesis

# Things of the account by their kind: those to work with, and those that a call may destroy.
THINGS = json.loads(os.environ["CONTRACT_THINGS"])

# Which kind of thing a parameter names, where its own name does not say.
IDS = {"/v1/event/{id}": "event_id", "/v1/snapshot/destroy": "snapshot_id"}
KINDS = {"sub_id": "id", "sub_ids": "id", "tags": "tag", "ssh_keys": "fingerprint"}
# What may stand in place of anything, whatever went before.
SLUGS = ("region", "package", "image", "public_key", "username", "password", "refreshtoken")

# How often a call was given a thing of a kind: they take turns.
TURNS = collections.defaultdict(itertools.count)
EXAMPLE_KEY = "order-2018-01-04-1"


def kind_of(operation, name):
    """The kind of thing that a parameter of a call names."""
    if name == "password" and operation.path != "/v1/user/login":
        return None
    return IDS.get(operation.path, "id") if name == "id" else KINDS.get(name, name)


def is_right(kind, value):
    """Whether a value of a wrong request is certainly not what is wrong with it."""
    if kind in ("region", "package", "image", "username", "password", "fingerprint", "tag"):
        return isinstance(value, str) and value != ""
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value < 2**63


@schemathesis.hook
def before_call(context, case, kwargs):
    """Puts things of the account in the place of most made-up ones, so that calls get beyond 'not found'.

    What is put where depends on the requests alone, so that a run can be repeated. What is wrong with a wrong request
    stays, and becomes the only thing that is wrong with it; so do ids that come from an earlier answer.
    """
    meta = case.meta
    if meta is None:
        return
    wrong = not meta.generation.mode.is_positive
    dice = zlib.crc32(repr((case.method, case.path, case.path_parameters, case.query, case.body)).encode())
    things = THINGS["doomed"].get(case.operation.path, THINGS["kept"])
    for place in (case.path_parameters, case.query, case.body):
        if not isinstance(place, dict):
            continue
        for name, value in list(place.items()):
            kind = kind_of(case.operation, name)
            if kind not in SLUGS and meta.phase.name.value == "stateful":
                continue
            dice = zlib.crc32(name.encode(), dice)
            known = things.get(kind)
            if wrong and not is_right(kind, value):
                continue
            if known and dice % 8 != 0:
                chosen = known[next(TURNS[case.operation.label, kind]) % len(known)]
                place[name] = [chosen] if isinstance(value, list) else chosen
    # The key of the description's example would make every request but the first one a conflict.
    if (case.headers or {}).get("Idempotency-Key") == EXAMPLE_KEY:
        case.headers["Idempotency-Key"] = f"contract-{dice:08x}"


# How often each call answered which status, for whoever started this to judge what was reached.
TALLY = collections.defaultdict(collections.Counter)


@schemathesis.hook
def after_call(context, case, response):
    TALLY[case.operation.label][response.status_code] += 1


@atexit.register
def write_tally():
    if path := os.environ.get("CONTRACT_TALLY"):
        with open(path, "w", encoding="utf-8") as file:
            json.dump(TALLY, file)


# Where a thing that was destroyed would still be seen, and as what.
LISTS = {
    "/v1/server/{id}/destroy": ("/v1/server/list", "id"),
    "/v1/server/destroy": ("/v1/server/list", "id"),
    "/v1/snapshot/destroy": ("/v1/snapshot/list", "id"),
    "/v1/sshkey/destroy": ("/v1/sshkey/list", "fingerprint"),
    "/v1/tags/destroy": ("/v1/tags/list", "tag"),
}


@schemathesis.check
def destroyed_is_gone(ctx, response, case):
    """What a DELETE has destroyed is not there any more once its event has ended, which is soon on a simulated node."""
    if case.method != "DELETE" or response.status_code != 200 or case.operation.path not in LISTS:
        return
    path, member = LISTS[case.operation.path]
    request = response.request
    given = reader.given(operation_of(case), case.operation.path, request)[member]
    deadline = time.monotonic() + 30
    while True:
        headers = {"Authorization": request.headers["Authorization"]}
        listed = requests.get(os.environ["CONTRACT_URL"] + path, headers=headers, timeout=10).json()["data"]
        listed = listed.values() if isinstance(listed, dict) else listed
        if all(str(thing[member]) != given.strip() for thing in listed):
            return
        assert time.monotonic() < deadline, f"{member} {given} was destroyed and is still in {path}"
        time.sleep(0.05)


def operation_of(case):
    return case.operation.schema.raw_schema["paths"][case.operation.path][case.operation.method.lower()]


# Rules that stand between a well-formed request and its success: sentences of the refusals (400) that say so.
RULES = [
    # What a slug or a key names has to exist, and to go together with the rest; a description cannot list them.
    r"^The (region|package|image) '.*' (does not exist|takes no new servers)",
    r"^The ssh_keys name '.*', which is no fingerprint or name",
    r"^The (package|image) is not offered in the region",
    r"^The image \S+ needs",
    r"^The package \S+ (has a disk of|is smaller than the server|is larger than the server)",
    r"^The server has the package \S+ already",
    r"^The selected package disk size must be greater than or equal to the snapshot disk size",
    # Rules over two parameters, or over a parameter and a header.
    r"^The parameter from lies after to",
    r"^The parameter step is too short for this span of time",
    r"^The parameter refreshtoken is missing: .* also accepted as Bearer",
    # What only decoding shows, or counting bytes.
    r"^The public_key is not an OpenSSH public key",
    r"^The user_data must",
    r"^The password must have 8 to 256",
    r"^The parameter (from|to) is '.*', not a time",
    r"^The parameter \S+ has a zero byte",
]


@schemathesis.hook
def filter_failure(context, failure, case, response):
    """Whether a finding counts."""
    kind = type(failure).__name__
    if kind == "AcceptedNegativeData":
        return bool(reader.complaints(operation_of(case), case.operation.path, response.request))
    if kind == "RejectedPositiveData" and response.status_code == 400:
        sentence = response.json()["message"]
        if any(re.search(rule, sentence) for rule in RULES):
            return False
        # MIME has no control characters in the headers of a part.
        return not ("multipart" in sentence and has_control_characters(case.body))
    return True


def has_control_characters(body):
    return isinstance(body, dict) and any(re.search(r"[\x00-\x1f\x7f]", name) for name in body)
