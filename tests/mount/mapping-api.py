#!/usr/bin/env python3
"""What is sent to an API is what the mappings say: nested fields, arrays, constants, expressions, JSON as JSON,
each field's NULL as it is wanted; and pending/ shows the very record before it is sent."""

import errno
import hashlib
import json
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from endpoint import Endpoint
from retlfs import MountTest, Sqlite, main

MAPPINGS = [("id", "id"), ("first", "properties.name.first"), ("city", "properties.address.city"), ("phone", "phones.0"),
            ("mobile", "phones.1"), ("zip", "properties.address.zip"), ("extra", "properties.extra"), ("score", "score"),
            ("note", "note"), ("", "source", "'warehouse'"), ("", "properties.name.full", "first || ' ' || last"),
            ("", "hash", "sha256(normalize_email(mail))")]

RECORD = {"id": 1, "properties": {"name": {"first": "Ann", "full": "Ann Lee"}, "address": {"city": "Ulm", "zip": "89073"},
                                  "extra": {"tags": ["a", {"b": 1.50}]}},
          "phones": ["1", None], "score": 9007199254740993, "note": None, "source": "warehouse",
          "hash": hashlib.sha256(b"ann@example.com").hexdigest()}


class MappingApi(MountTest):
    def make(self, name, **destination):
        endpoint = Endpoint()
        self.addCleanup(endpoint.close)
        source = Sqlite(self.mount.data / (name + ".db"))
        source.sql("CREATE TABLE t (id INTEGER PRIMARY KEY, first TEXT, last TEXT, mail TEXT, city TEXT, zip TEXT, phone TEXT,"
                   " mobile TEXT, extra JSON, score INTEGER, note TEXT)")
        source.sql("""INSERT INTO t VALUES (1, 'Ann', 'Lee', ' Ann@Example.com', 'Ulm', '89073', '1', NULL,
                      '{"tags": ["a", {"b": 1.50}]}', 9007199254740993, NULL)""")
        self.mount.connect("from_" + name, source.connection)
        self.mount.connect("to_" + name, {"driver": "webhook", "url": endpoint.url})
        sync = self.mount.sync(name).define(
            config={"source": {"connection": "from_" + name, "table": "t"}, "identifier": "id",
                    "destination": {"connection": "to_" + name, **destination}},
            mappings=MAPPINGS, mode="insert")
        return endpoint, source, sync

    def test_pending_is_what_is_sent(self):
        endpoint, _, sync = self.make("shown")
        sync.run("plan")
        [row] = os.listdir(sync.path / "pending/insert")
        shown = json.loads(sync.read("pending/insert/" + row))
        self.assertEqual(shown["after"], RECORD)
        self.assertIn('"extra":{"tags": ["a", {"b": 1.50}]}', sync.read("pending/insert/" + row))
        self.assertIn('"score":9007199254740993', sync.read("pending/insert/" + row))
        self.assertEqual(os.path.getsize(sync.path / "pending/insert" / row), len(sync.read("pending/insert/" + row)))
        self.assertEqual(json.loads(sync.read("pending/changes.jsonl"))["after"], shown["after"])
        sync.run()
        self.assertEqual(json.loads(endpoint.bodies[0]), [RECORD])
        self.assertEqual(json.loads(sync.read("runs/last/changes.jsonl"))["after"], RECORD)
        self.mount.stop()
        self.mount.start()
        self.assertEqual(json.loads(sync.read("runs/last/changes.jsonl"))["after"], RECORD)

    def test_refused_rows_show_it_too(self):
        endpoint, _, sync = self.make("refused")
        endpoint.answer = lambda rows, number: (422, {}, b"no")
        sync.run("run", errno.EIO)
        self.assertEqual(json.loads(sync.read("rejected.jsonl"))["record"], RECORD)
        self.assertEqual(json.loads(endpoint.bodies[-1]), [RECORD])

    def test_nulls_field_by_field(self):
        endpoint, _, sync = self.make("nulls", nulls={"note": "omit", "phones.1": "empty"})
        sync.run()
        [sent] = json.loads(endpoint.bodies[0])
        self.assertNotIn("note", sent)
        self.assertEqual(sent["phones"], ["1", ""])

    def test_a_field_of_nulls_must_be_mapped(self):
        _, _, sync = self.make("misnamed")
        config = json.loads(sync.read("config.json"))
        config["destination"]["nulls"] = {"nte": "omit"}
        sync.define(config=config)
        self.assertRegex(sync.read("status"), r'config.json:\d+:\d+: .*no mapping gives field "nte"')
        sync.run("run", errno.ENOEXEC)
        config["destination"]["nulls"] = {"note": "drop"}
        with self.assertRaises(OSError):
            sync.define(config=config)

    def test_an_address_that_is_a_secret(self):
        """A message goes to it, and no file of the mount tells it."""
        endpoint, _, sync = self.make("secret")
        endpoint.answer = lambda rows, number: (404, {}, b"no_service")
        address = self.mount.data / "address"
        address.write_text(endpoint.url.replace("rows", "services/T0/B0/s3cr3t"))
        self.mount.connect("to_secret", {"driver": "slack", "account": "acme", "webhook": {"file": str(address)}})
        config = json.loads(sync.read("config.json"))
        config["destination"] = {"connection": "to_secret", "text": "{id}: {properties.name.first} <{score}> {note|-}"}
        sync.define(config=config)
        sync.run("run", errno.EIO)
        self.assertEqual(json.loads(endpoint.bodies[0]), {"text": "1: Ann <9007199254740993> -"})
        self.assertIn("no_service", sync.read("error"))
        for name in "error", "log", "status", "runs/last/requests.jsonl", "runs/last/summary.json", "config.json":
            self.assertNotIn("s3cr3t", sync.read(name), name)

    def test_names_that_cannot_stand_side_by_side(self):
        endpoint, _, sync = self.make("clash")
        sync.define(mappings=[("id", "id"), ("city", "address"), ("zip", "address.zip")])
        sync.run("run", errno.EIO)
        self.assertIn('field "address" is a value, and has fields below it', sync.read("error"))
        self.assertEqual(endpoint.calls, 0)


if __name__ == "__main__":
    main()
