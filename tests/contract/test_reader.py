"""Requests that are right as read, and requests that are wrong however they are read."""

import json
import os
import types
import unittest

os.environ.setdefault("CONTRACT_THINGS", "{}")

import reader  # noqa: E402

NAME = {"type": "string", "minLength": 1, "maxLength": 5, "pattern": "^[a-z]+$"}
ID = {"type": "integer", "minimum": 1, "maximum": 2**63 - 1}
TAGS = {"type": "array", "items": NAME, "minItems": 1, "maxItems": 3}
KIND = {"type": "string", "enum": ["full", "flexible"]}
STEP = {"anyOf": [{"type": "string", "enum": ["hour"]}, {"type": "integer", "minimum": 60}]}
BODY = {"type": "object", "required": ["name", "id"], "properties": {"name": NAME, "tags": TAGS, "type": KIND, "id": ID}}
POST = {"parameters": [{"$ref": "#/x"}], "requestBody": {"content": {"application/json": {"schema": BODY}}}}
GET = {"parameters": [{"name": "id", "required": True, "schema": ID}, {"name": "step", "required": False, "schema": STEP}]}
FORM = "application/x-www-form-urlencoded"


def post(kind, body, key=None, url="http://a/v1/x"):
    headers = {"Content-Type": kind} | ({"Idempotency-Key": key} if key is not None else {})
    return reader.complaints(POST, "/v1/x", types.SimpleNamespace(method="POST", url=url, headers=headers, body=body))


def get(url, template="/v1/{id}"):
    return reader.complaints(GET, template, types.SimpleNamespace(method="GET", url=url, headers={}, body=None))


class Reader(unittest.TestCase):
    def test_what_is_right_as_read_has_no_complaint(self):
        for body in (
            {"name": "web", "id": 7},
            {"name": ["web"], "id": " 7 ", "unknown": {"a": 1}, "tags": None},
            {"name": "web", "id": 7.0, "tags": "a, b,,a", "type": " FULL "},
            {"name": "web", "id": 7, "tags": " , "},
            {"name": "web", "id": [7], "tags": {"0": "a", "1": ["b"]}, "type": ""},
        ):
            self.assertEqual(post("application/json", json.dumps(body)), [], body)
        for body in ("name=web&id=7", "name=web&id=7&tags[]=a&tags%5B%5D=b&tags[]=", "id=%207&name=x&name=web"):
            self.assertEqual(post(FORM, body), [], body)
        part = b'--b\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n'
        body = part % (b"name", b"web") + part % (b"id", b"7") + b"--b--\r\n"
        self.assertEqual(post("multipart/form-data; boundary=b", body), [])
        self.assertEqual(post(FORM, "name=web", url="http://a/v1/x?id=7"), [])
        self.assertEqual(post(FORM, "name=web&id=7", key=""), [])
        self.assertEqual(get("http://a/v1/7?step=120"), [])
        self.assertEqual(get("http://a/v1/%20%2B7?step=Hour&step="), [])

    def test_what_is_wrong_however_it_is_read_is_told(self):
        for body in (
            {},
            {"name": "", "id": 7},
            {"name": None, "id": 7},
            {"name": "websites", "id": 7},
            {"name": "WEB", "id": 7},
            {"name": True, "id": "seven"},
            {"name": "web", "id": 7.5},
            {"name": "web", "id": 0},
            {"name": "web", "id": 2**63},
            {"name": "web", "id": 7, "tags": "a,b,c,d"},
            {"name": "web", "id": 7, "tags": ["a", "B"]},
            {"name": "web", "id": 7, "type": "half"},
        ):
            self.assertNotEqual(post("application/json", json.dumps(body)), [], body)
        for body in ("", "name=web", "name=web&id=", "name=WEB&id=7", "name=web&id=7x", "[]"):
            self.assertNotEqual(post(FORM, body), [], body)
        for key in ("x" * 256, "é", "a\tb"):
            self.assertNotEqual(post(FORM, "name=web&id=7", key=key), [], key)
        for url in ("http://a/v1/x", "http://a/v1/7?step=59", "http://a/v1/7?step=week", "http://a/v1/7/8"):
            self.assertNotEqual(get(url), [], url)


if __name__ == "__main__":
    unittest.main()
