#!/usr/bin/env python3
"""Event syncs: who is identified, and what happened (track), from the edit of config.json to what the
destination is sent; where a mode is refused, and what a change of the event's type does."""

import errno
import json
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from endpoint import Endpoint
from retlfs import MountTest, Sqlite, main


class Events(MountTest):
    def setUp(self):
        super().setUp()
        self.endpoint = Endpoint()
        self.addCleanup(self.endpoint.close)
        self.endpoint.answer = lambda rows, number: (200, {}, b"OK")
        self.source = Sqlite(self.mount.data / (self.name + ".db"))
        self.source.sql("CREATE TABLE t (id INTEGER PRIMARY KEY, kind TEXT, city TEXT)")
        self.source.fill("t", [(1, "Paid", "Ulm"), (2, "Sent", None)])
        self.mount.connect("from_" + self.name, self.source.connection)
        secret = self.mount.data / "key"
        secret.write_text("k-1")
        self.mount.connect("to_" + self.name, {"driver": "rudderstack", "url": self.endpoint.url, "write_key": {"file": str(secret)}})

    def config(self, **more):
        return json.dumps({"source": {"connection": "from_" + self.name, "table": "t"}, "identifier": "id",
                           "destination": {"connection": "to_" + self.name}, **more})

    def track(self, name):
        return self.config(type="events", event={"type": "track", "name": name})

    def make(self, config, mode):
        sync = self.mount.sync(self.name)
        sync.path.mkdir()
        for name, text in (("config.json", config), ("mappings.csv", "column,field\nid,userId\nkind,kind\ncity,city\n"), ("mode", mode)):
            sync.write(name, text + "\n")
        return sync

    def sent(self, sync, want=0):
        """What a run sends, without what names it."""
        before = len(self.endpoint.bodies)
        sync.run("run", want)
        events = [e for body in self.endpoint.bodies[before:] for e in json.loads(body)["batch"]]
        names = [e.pop("messageId") for e in events]
        self.assertEqual(len(set(names)), len(names))
        return events

    def test_identify_is_the_default(self):
        sync = self.make(self.config(), "mirror")
        users = [{"type": "identify", "userId": "1", "traits": {"kind": "Paid", "city": "Ulm"}},
                 {"type": "identify", "userId": "2", "traits": {"kind": "Sent", "city": None}}]
        self.assertEqual(self.sent(sync), users)
        sync.write("config.json", self.config(type="events", event={"type": "identify"}))
        self.assertEqual(self.sent(sync), [], "to identify is to write a record: nothing has changed")
        self.source.sql("DELETE FROM t WHERE id = 2")
        self.assertEqual(self.sent(sync), [{"type": "record", "action": "delete", "userId": "2", "recordId": "2",
                                            "identifiers": {"userId": 2}, "fields": {}}])

    def test_one_event_a_change(self):
        sync = self.make(self.track("Order changed"), "upsert")
        event = {"type": "track", "event": "Order changed", "userId": "1", "properties": {"kind": "Paid", "city": "Ulm"}}
        other = {**event, "userId": "2", "properties": {"kind": "Sent", "city": None}}
        self.assertEqual(self.sent(sync), [event, other])
        self.assertEqual(self.sent(sync), [])
        for city in ("Bonn", "Ulm"):  # there and back: each is an event of its own
            self.source.sql("UPDATE t SET city = '%s' WHERE id = 1" % city)
            self.assertEqual(self.sent(sync), [{**event, "properties": {"kind": "Paid", "city": city}}])
        self.source.sql("DELETE FROM t WHERE id = 2")
        self.assertEqual(self.sent(sync), [])
        sync.write("config.json", self.track("Order touched"))
        self.assertEqual(self.sent(sync), [], "another name is for what happens from now on")

    def test_names_from_a_column(self):
        sync = self.make(self.track({"column": "kind"}), "insert")
        self.source.sql("INSERT INTO t VALUES (3, NULL, 'Ulm')")
        self.assertEqual([(e["event"], e["properties"]) for e in self.sent(sync, errno.EIO)],
                         [("Paid", {"city": "Ulm"}), ("Sent", {"city": None})])
        self.assertEqual([(r["code"], r["reason"]) for r in sync.rejected()],
                         [("null_event", 'field "kind", the event\'s name, is NULL')])
        self.source.sql("UPDATE t SET kind = 'Back' WHERE id = 3")
        self.assertEqual([e["event"] for e in self.sent(sync)], ["Back"])

    def test_mirror_is_refused_for_what_happened(self):
        sync = self.make(self.track("x"), "upsert")
        self.expect_errno(errno.EINVAL, sync.write, "mode", "mirror\n")
        self.assertIn('mode "mirror" is not possible with events of the type "track"', sync.read("error"))
        (sync.path / "mode.rej").unlink()
        sync.write("config.json", self.config())
        sync.write("mode", "mirror\n")
        sync.write("config.json", self.track("x"))  # not refused, since the mode may follow; but not ready
        sync.run("run", errno.ENOEXEC)
        self.assertEqual(self.endpoint.bodies, [])

    def test_another_type_sends_all_again(self):
        sync = self.make(self.config(), "upsert")
        self.assertEqual(len(self.sent(sync)), 2)
        sync.write("config.json", self.track("Seen"))
        self.assertEqual([e["type"] for e in self.sent(sync)], ["track", "track"])
        self.assertIn("type changed: records → events", json.dumps(sync.summary(), ensure_ascii=False))
        self.assertEqual(self.sent(sync), [])


if __name__ == "__main__":
    main()
