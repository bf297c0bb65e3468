#!/usr/bin/env python3
"""The JSON Schema of manifests, as the mount shows it, judged by an independent validator: it takes every
manifest that is built in, and says of wrong ones what the daemon says, so that neither forgets a member."""

import copy
import importlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from retlfs import ROOT, MountTest, binary, main, skip

try:
    jsonschema = importlib.import_module("jsonschema")
except ImportError:
    skip("python3-jsonschema is not installed")

CONNECTORS = ROOT / "drivers/connectors"
BUILT_IN = sorted(p for p in CONNECTORS.glob("*.json") if p.name != "schema.json")

BASE = {
    "summary": "s", "url": "{base}/x",
    "connection": {"base": {"type": "string", "help": "h"}, "kind": {"type": "enum", "choices": ["a", "b"], "help": "h"}},
    "answer": {"when": [{"status": 404, "fate": "answered"}], "rows": {"by": "all"}},
    "auth": {"scheme": "bearer", "token": "{base}"},
    "rate": [{"calls": 1, "milliseconds": 1}],
    "calls": [{"for": ["upsert"], "body": {"@record": "all"}}],
}

LOOK_UP = {"list": "/results", "key": "/key", "id": "/id"}

# The path of a member, and what it is set to (None: it is removed). Good ones among them, or a schema that
# refuses everything would agree.
CHANGES = [
    (("summary",), None), (("summary",), 5), (("url",), None), (("url",), []), (("calls",), None), (("calls",), []),
    (("calls",), {}), (("name",), "Bad Name"), (("name",), "good-name"), (("readme",), "text"), (("readme",), ["a", "b"]),
    (("readme",), [1]), (("unknown",), 1), (("gzip",), 1), (("gzip",), True), (("parallel",), 0), (("parallel",), 65),
    (("parallel",), 64), (("parallel",), 1.5), (("headers",), []), (("headers",), {"X": 1}), (("headers",), {"X": "{base}"}),
    (("timeouts",), {"connect": 1, "first_byte": 2, "whole": 3}), (("timeouts",), {"all": 1}), (("timeouts",), {"whole": 3601}),
    (("timeouts",), []), (("rate",), {}), (("rate",), [{"calls": 1}]), (("rate", 0, "calls"), 0), (("rate",), [{"calls": 1, "milliseconds": 1}] * 17),
    (("rate", 0, "per"), 1), (("rate", 0, "when"), []), (("rate", 0, "when"), {"kind": "a"}),
    (("quota",), {"remaining": "X-Left"}), (("quota",), {"usage": "X-Used", "name": "calls"}), (("quota",), {}),
    (("quota",), {"usage": "X-Used"}), (("quota",), {"remaining": "X-Left", "name": "calls"}), (("quota",), {"remaining": 1}),
    (("quota",), {"remaining": "X-Left", "usage": "X-Used", "name": "calls"}), (("quota",), {"remaining": "X-Left", "per": "day"}),
    (("calls", 0, "rate"), []), (("calls", 0, "rate"), [{"calls": 1, "milliseconds": 1}]), (("calls", 0, "rate"), [{"calls": 1}]),
    (("calls", 0, "rate"), [{"calls": 1, "milliseconds": 1}] * 5), (("calls", 0, "rate"), [{"calls": 1, "milliseconds": 1, "when": {}}]),
    (("calls", 0, "row_bytes"), 0), (("calls", 0, "row_bytes"), 32768), (("calls", 0, "row_bytes"), "32 KB"),
    (("connection",), []), (("connection", "base", "type"), "text"), (("connection", "base", "help"), None),
    (("connection", "base", "required"), 1), (("connection", "base", "default"), 5), (("connection", "base", "hint"), "x"),
    (("connection", "kind", "choices"), None), (("connection", "kind", "choices"), []), (("connection", "kind", "choices"), ["a|b"]),
    (("connection", "base", "phrase"), True), (("connection", "kind", "phrase"), True), (("connection", "n"), {"type": "integer", "help": "h", "default": "5"}),
    (("destination",), {"o": {"type": "json", "help": "h"}}), (("destination",), {"o": 1}),
    (("auth",), 1), (("auth",), []), (("auth",), [{"scheme": "bearer", "token": "x"}]), (("auth",), {"token": "x"}),
    (("auth",), {"scheme": "digest", "token": "x"}), (("auth",), {"scheme": "bearer"}), (("auth", "user"), "x"),
    (("auth",), {"scheme": "basic", "user": "x"}), (("auth",), {"scheme": "basic", "user": "x", "password": ""}),
    (("auth",), {"scheme": "oauth2", "token_url": "x"}), (("auth", "grant"), "jwt"),
    (("auth",), {"scheme": "oauth2", "grant": "refresh_token", "token_url": "x", "refresh_token": "y", "scope": "z"}),
    (("auth",), {"scheme": "oauth2", "grant": "refresh_token", "token_url": "x"}),
    (("auth",), {"scheme": "oauth2", "grant": "client_credentials", "token_url": "x", "client_id": "y"}),
    (("auth",), {"scheme": "oauth2", "grant": "password", "token_url": "x", "username": "y", "password": "z", "form": {"a": "b"}}),
    (("auth",), {"scheme": "oauth2", "grant": "password", "token_url": "x", "username": "y", "password": "z", "form": {"a": 1}}),
    (("answer",), []), (("answer", "then"), []), (("answer", "when"), {}), (("answer", "when", 0, "fate"), None),
    (("answer", "when", 0, "fate"), "fine"), (("answer", "when", 0, "status"), 99), (("answer", "when", 0, "status"), "4xx"),
    (("answer", "when", 0, "status"), "6xx"), (("answer", "when", 0, "status"), [400, "5xx"]), (("answer", "when", 0, "status"), [400] * 9),
    (("answer", "when", 0, "pointer"), "x"), (("answer", "when", 0, "pointer"), "/x"), (("answer", "when", 0, "is"), 1),
    (("answer", "when", 0, "wait"), 0), (("answer", "when", 0, "wait"), 60), (("answer", "when", 0, "if"), 60),
    (("answer", "when", 0, "contains"), 1), (("answer", "when", 0, "some"), "x"),
    (("answer", "error"), {"code": "/c", "words": "/w"}), (("answer", "error"), {"code": "c"}), (("answer", "error"), {"text": "/c"}),
    (("answer", "pace"), {"remaining": "a"}), (("answer", "pace"), {"remaining": "a", "reset": "b"}),
    (("answer", "pace"), {"remaining": "a", "reset": "b", "reset_is": "days"}),
    (("answer", "rows"), {}), (("answer", "rows"), {"by": "row"}), (("answer", "rows"), {"by": "index"}),
    (("answer", "rows"), {"by": "index", "list": "/e"}), (("answer", "rows"), {"by": "index", "list": "/e", "index": "/i"}),
    (("answer", "rows"), {"by": "index", "list": "", "done": {"pointer": "/ok", "is": True}}),
    (("answer", "rows"), {"by": "index", "list": "", "done": {"is": True}}),
    (("answer", "rows"), {"by": "pointer", "list": "/e"}), (("answer", "rows"), {"by": "pointer", "list": "/e", "pointer": "/p", "prefix": ""}),
    (("answer", "rows"), {"by": "key"}), (("answer", "rows"), {"by": "key", "list": "/e", "fine": ["gone"]}),
    (("answer", "rows"), {"by": "identity", "done": "/d", "identity": "/i"}),
    (("answer", "rows"), {"by": "identity", "done": "/d", "identity": "/i", "digits": 15}),
    (("answer", "rows"), {"by": "identity", "done": "/d", "identity": "/i", "digits": 32, "failed": "/f"}),
    (("answer", "rows"), {"by": "fields"}), (("answer", "rows"), {"by": "fields", "lists": ["/a"]}),
    (("answer", "rows"), {"by": "all", "retry": [1]}), (("answer", "rows"), {"by": "all", "retry": ["a"] * 17}),
    (("calls", 0, "for"), None), (("calls", 0, "for"), []), (("calls", 0, "for"), ["upsert", "upsert"]), (("calls", 0, "for"), ["merge"]),
    (("calls", 0, "for"), "upsert"), (("calls", 0, "for"), ["add", "remove"]), (("calls", 0, "method"), "put"), (("calls", 0, "method"), ""),
    (("calls", 0, "method"), "PUT"), (("calls", 0, "path"), 1), (("calls", 0, "path"), "/{base}"), (("calls", 0, "query"), {"a": 1}),
    (("calls", 0, "query"), {"a": "{base}"}), (("calls", 0, "headers"), []), (("calls", 0, "form"), {"a": "b"}), (("calls", 0, "form"), []),
    (("calls", 0), {"for": ["upsert"], "form": {"a": "b", "c": {"@record": "all"}}}), (("calls", 0), {"for": ["upsert"], "form": {"a": 1}}),
    (("calls", 0, "nulls"), "drop"), (("calls", 0, "nulls"), "omit"), (("calls", 0, "rows"), 0), (("calls", 0, "rows"), 100001),
    (("calls", 0, "bytes"), 0), (("calls", 0, "lines"), True), (("calls", 0), {"for": ["delete"], "lines": True}), (("calls", 0, "lines"), "x"),
    (("calls", 0, "strings"), True), (("calls", 0, "changed_only"), 1), (("calls", 0, "repeatable"), False), (("calls", 0, "when"), 1),
    (("calls", 0, "when"), {"kind": "a", "@object": None}), (("calls", 0, "markup"), "x"), (("calls", 0, "event"), "page"),
    (("calls", 0, "event"), "track"), (("calls", 0, "needs"), [["a"]]), (("calls", 0, "needs"), [[]]), (("calls", 0, "needs"), ["a"]),
    (("calls", 0, "exceptions"), [{"status": 400, "fate": "hopeless"}]), (("calls", 0, "exceptions"), {}), (("calls", 0, "exceptions"), [{"status": 400}]),
    (("calls", 0, "refuse"), "no"), (("calls", 0), {"for": ["delete"], "refuse": "no"}), (("calls", 0), {"for": ["delete"], "refuse": 1}),
    (("calls", 0, "look_up"), {}), (("calls", 0, "look_up"), LOOK_UP), (("calls", 0, "look_up"), {**LOOK_UP, "rows": 1}),
    *((("calls", 0, "look_up"), {name: value for name, value in LOOK_UP.items() if name != left}) for left in LOOK_UP),
    (("calls", 0, "look_up"), {**LOOK_UP, "failed": "/f", "code": "/c", "words": "/w", "fine": ["gone"], "why": "gone"}),
    (("calls", 0, "look_up"), {**LOOK_UP, "fine": "gone"}), (("calls", 0, "look_up"), {**LOOK_UP, "fine": [1]}), (("calls", 0, "look_up"), {**LOOK_UP, "why": 1}),
    (("calls", 0, "look_up"), {**LOOK_UP, "id": "id"}), (("calls", 0, "look_up"), {**LOOK_UP, "method": "get"}),
    (("calls", 0, "look_up"), {**LOOK_UP, "key": "/properties/{@identifier}", "method": "GET", "url": "{base}", "path": "/x", "query": {"a": "{@key}"},
                               "headers": {"X": "y"}, "type": "text/plain", "body": {"@key": True}}),
    (("calls", 0, "look_up"), {**LOOK_UP, "answer": {"when": [{"status": 404, "fate": "answered"}]}}),
    (("calls", 0, "look_up"), {**LOOK_UP, "answer": {"rows": {"by": "all"}}}), (("calls", 0, "look_up"), {**LOOK_UP, "answer": {"when": 1}}),
    (("calls", 0, "look_up"), {**LOOK_UP, "exceptions": [{"status": 404, "fate": "answered"}]}),
    (("calls", 0, "look_up"), {**LOOK_UP, "exceptions": [], "answer": {}}), (("calls", 0, "look_up"), {**LOOK_UP, "query": {"a": 1}}),
    (("calls", 0, "look_up"), {**LOOK_UP, "rate": [{"calls": 1, "milliseconds": 5}]}), (("calls", 0, "look_up"), {**LOOK_UP, "rate": []}),
    *((("calls", 0), {"for": operations, "look_up": {**LOOK_UP, "absent": absent}}) for operations, absent in (
        (["upsert"], {}), (["upsert"], {"type": "text/plain"}), (["upsert"], {"path": "/new", "method": "PUT", "body": {"@record": "all"}, "exceptions": []}), (["upsert"], 1),
        (["upsert"], {"form": {"a": "b"}, "body": {}}), (["upsert"], {"answer": {}, "exceptions": []}), (["upsert"], {"rows": 1}),
        (["upsert"], {"path": 1}), (["upsert"], {"look_up": LOOK_UP}), (["upsert", "update"], {"path": "/n"}), (["delete"], {"path": "/n"}), (["add"], {"path": "/n"}))),
    (("calls", 0, "when"), {"kind": ["a", "b"], "@object": ["x", None]}),
    *((("calls", 0, "when"), {"kind": value}) for value in ([], {}, [["a"]], ["a", {}], 5, 1.5, [5, True])),
    (("calls", 0), {"for": ["insert"], "look_up": LOOK_UP}), (("calls", 0), {"for": ["add", "remove"], "look_up": LOOK_UP}),
    (("calls", 0), {"for": ["upsert"], "event": "track", "look_up": LOOK_UP}), (("calls", 0), {"for": ["delete"], "refuse": "no", "look_up": LOOK_UP}),
    (("calls", 0, "batch"), 1), (("calls", 0, "type"), "text/plain"), (("calls", 0, "type"), 1), (("calls", 0, "gzip"), "yes"),
]

# What a schema cannot say: the daemon alone refuses it.
ONLY_THE_DAEMON = [
    (("url",), "{nothing}"), (("url",), "{base"), (("signature",), "nothing"), (("calls", 0, "rows"), 10), (("calls", 0, "path"), "/{@token:/x}"),
    (("calls", 0, "when"), {"nothing": 1}), (("place",), "{@object}"), (("calls", 0, "look_up"), {**LOOK_UP, "key": "/{@key}"}),
    (("calls", 0, "look_up"), {**LOOK_UP, "path": "/{nothing}"}),
    (("quota",), {"remaining": "X-Left", "keep": "kind"}),
]


def changed(path, value):
    manifest = copy.deepcopy(BASE)
    at = manifest
    for step in path[:-1]:
        at = at[step]
    if value is None:
        del at[path[-1]]
    else:
        at[path[-1]] = value
    return manifest


class Schema(MountTest):
    def setUp(self):
        super().setUp()
        self.schema = json.loads(self.mount.read("drivers/connector.schema.json"))
        self.validator = jsonschema.Draft202012Validator(self.schema)
        self.tree = Path(tempfile.mkdtemp(dir=self.mount.data))

    def check(self, manifests):
        """What retlfs check prints of them."""
        for number, manifest in enumerate(manifests):
            at = self.tree / "drivers" / ("n%d" % number)
            at.mkdir(parents=True)
            (at / "connector.json").write_text(json.dumps(manifest))
        done = subprocess.run([binary(), "check", str(self.tree)], text=True, capture_output=True)
        return (done.stdout + done.stderr).splitlines()

    def daemon(self, manifests):
        """What is said of each: None when it is good."""
        said = {}
        for line in self.check(manifests):
            name = line.partition("/drivers/n")[2].partition("/connector.json:")[0]
            if name and "error:" in line:
                said[int(name)] = line
        return [said.get(n) for n in range(len(manifests))]

    def test_is_a_schema(self):
        self.assertEqual(self.mount.read("drivers/connector.schema.json"), (CONNECTORS / "schema.json").read_text())
        jsonschema.Draft202012Validator.check_schema(self.schema)

        def described(at, path):
            for name, member in at.get("properties", {}).items():
                if isinstance(member, dict):
                    text = member.get("description") or self.schema["$defs"].get(member.get("$ref", "").rpartition("/")[2], {}).get("description")
                    self.assertTrue(text, "%s/%s has no description" % (path, name))
                    described(member, path + "/" + name)

        described(self.schema, "")
        for name, part in self.schema["$defs"].items():
            self.assertTrue(part.get("description"), name)
            described(part, name)

    def test_built_in(self):
        self.assertGreater(len(BUILT_IN), 1)
        for path in [*BUILT_IN, ROOT / "examples/connector/drivers/acme/connector.json"]:
            self.validator.validate(json.loads(path.read_text()))

    def test_agreement(self):
        manifests = [BASE] + [changed(*change) for change in CHANGES]
        self.assertTrue(self.validator.is_valid(BASE))
        for manifest, said, change in zip(manifests, self.daemon(manifests), [None] + CHANGES):
            self.assertEqual(said is None, self.validator.is_valid(manifest), (change, said))

    def test_what_no_schema_says(self):
        for change, said in zip(ONLY_THE_DAEMON, self.daemon([changed(*c) for c in ONLY_THE_DAEMON])):
            self.assertTrue(self.validator.is_valid(changed(*change)), change)
            self.assertTrue(said, change)

    def test_members(self):
        """Every member that the daemon knows, by its own hint, the schema knows, and no other."""
        places = {"": (), "rate": ("rate", 0), "timeouts": ("timeouts",), "call": ("calls", 0), "option": ("connection", "base"),
                  "answer": ("answer",), "rule": ("answer", "when", 0), "rows": ("answer", "rows"), "look_up": ("calls", 0, "look_up"),
                  "absent": ("calls", 0, "look_up", "absent")}
        known = {"": self.schema, "rate": self.schema["properties"]["rate"]["items"], "timeouts": self.schema["properties"]["timeouts"],
                 "absent": self.schema["$defs"]["look_up"]["properties"]["absent"]}
        base = {**copy.deepcopy(BASE), "timeouts": {}}
        base["calls"][0]["look_up"] = {**LOOK_UP, "absent": {"path": "/new"}}
        manifests = []
        for path in places.values():
            manifest = copy.deepcopy(base)
            at = manifest
            for step in path:
                at = at[step]
            at["zzzzzzzzzzzz"] = 1
            manifests.append(manifest)
        hints = [line for line in self.check(manifests) if line.startswith("known: ")]
        self.assertEqual(len(hints), len(places))
        for place, hint in zip(places, hints):
            members = set(hint.removeprefix("known: ").split(", "))
            of = known.get(place) or self.schema["$defs"][place]
            self.assertEqual(members, set(of["properties"]), place)


if __name__ == "__main__":
    main()
