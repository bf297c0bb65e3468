#!/usr/bin/env python3
"""`schedule` through the mount: what it takes and refuses, what status tells, pause and resume,
a run that came due while no daemon ran. (When it is due: tests/unit/test-scheduler.c.)"""

import datetime
import errno
import hashlib
import json
import os
import sqlite3
import struct
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from retlfs import MountTest, Sqlite, binary, main, wait_for

TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"


def seconds_away(text):
    when = datetime.datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ")
    return (when - datetime.datetime.utcnow()).total_seconds()


def checksum(*values):
    """As the catalogue has it (engine/catalog/checksum.c): type and length, or number, and bytes of each."""
    digest = hashlib.sha256()
    for v in values:
        kind = {int: 1, str: 3, bytes: 4, type(None): 5}[type(v)]
        body = v.encode() if kind == 3 else v if kind == 4 else b""
        digest.update(struct.pack("<Qq", kind, v if kind == 1 else len(body)) + body)
    return struct.unpack("<q", digest.digest()[:8])[0]


class Schedule(MountTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.source = Sqlite(cls.mount.data / "source.db")
        cls.source.sql("CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT)")
        cls.source.fill("t", [(1, "a"), (2, "b")])
        cls.mount.connect("src", cls.source.connection)

    def make(self):
        return self.sync(
            config={
                "source": {"connection": "src", "table": "t"},
                "destination": {"connection": "lite", "object": self.name, "create": True},
                "identifier": "id",
            },
            mappings=[("id", "id"), ("v", "v")], mode="upsert")

    def test_status(self):
        sync = self.make()
        self.assertEqual(sync.status()["schedule"], "off")
        self.assertNotIn("next_scheduled", sync.status())
        sync.write("schedule", "every 6h\n")
        status = sync.status()
        self.assertEqual(status["schedule"], "every 6h")
        self.assertRegex(status["next_scheduled"], "^%s$" % TIME)
        self.assertLess(seconds_away(status["next_scheduled"]), 6 * 3600 + 31)
        self.assertNotIn("note", status)
        line = next(x for x in self.mount.read("status").splitlines() if x.startswith("status "))
        self.assertIn(" next=" + status["next_scheduled"], line)
        told = sync.status_json()
        self.assertEqual((told["schedule"], told["next_scheduled"], told["paused"], told["skipped"]),
                         ("every 6h", status["next_scheduled"], False, 0))
        # One write is one value, as in mode; an empty file changes nothing, a blank one is off.
        with open(sync.path / "schedule", "w") as f:
            pass
        self.assertEqual(sync.read("schedule"), "every 6h\n")
        subprocess.run(["cp", "/dev/stdin", sync.path / "schedule"], input=b"cron 0 6 * * mon-fri", check=True)
        self.assertRegex(sync.status()["next_scheduled"], "T06:00:[0-2]")
        sync.write("schedule", "\n")
        self.assertEqual(sync.status()["schedule"], "off")
        sync.write("schedule", "every 1h")
        os.unlink(sync.path / "schedule")
        self.assertEqual(sync.status()["schedule"], "off")
        self.assertEqual(sync.state(), "ready")

    def test_refusals(self):
        sync = self.make()
        sync.write("schedule", "every 1h\n")
        for text, where, why in [
            ("hourly\n", "1:1", 'unknown schedule "hourly"'),
            ("evry 1h\n", "1:1", 'did you mean "every"?'),
            ("every 10s\n", "1:7", "at least 1m"),
            ("cron 61 * * * *\n", "1:6", 'not a minute: "61"'),
            ("cron 0 0 30 2 *\n", "1:10", "never comes"),
            ("cron 0 0 * * * Mars/Olympus\n", "1:16", 'unknown time zone "Mars/Olympus"'),
            ("every 1h\nevery 2h\n", "2:1", "nothing may follow"),
        ]:
            self.expect_errno(errno.EINVAL, sync.write, "schedule", text)
            error = sync.read("error")
            self.assertTrue(error.startswith("schedule:%s: error: " % where), error)
            self.assertIn(why, error)
            self.assertEqual(sync.read("schedule"), "every 1h\n")
            self.assertEqual(sync.read("schedule.rej"), text)
            self.assertEqual(sync.state(), "draft")
            self.assertIn("schedule.rej", sync.status()["reason"])
            self.assertEqual(sync.trigger("run"), errno.ENOEXEC)
        self.expect_errno(errno.EFBIG, sync.write, "schedule", "cron 0" + ",0" * 600 + " * * * *")
        os.unlink(sync.path / "schedule.rej")
        self.assertEqual(sync.state(), "ready")
        self.assertEqual(sync.read("error"), "")
        (sync.path / "draft").write_text("every 5s\n")
        self.expect_errno(errno.EBADMSG, os.rename, sync.path / "draft", sync.path / "schedule")
        (sync.path / "draft").write_text("every 5m\n")
        os.rename(sync.path / "draft", sync.path / "schedule")
        self.assertEqual(sync.status()["schedule"], "every 5m")

    def test_pause(self):
        sync = self.make()
        sync.write("schedule", "every 1d\n")
        self.assertRegex(sync.read("trigger"), "(?m)^# pause ")
        self.assertEqual(sync.trigger("pause"), 0)
        self.assertEqual(sync.status()["next_scheduled"], "paused")
        self.assertTrue(sync.status_json()["paused"])
        self.assertIn(" next=paused", self.mount.read("status"))
        self.assertRegex(sync.read("trigger"), "(?m)^# resume ")
        self.assertNotRegex(sync.read("trigger"), "(?m)^# pause ")
        sync.run()
        self.mount.stop()
        self.mount.start()
        self.assertEqual(sync.status()["next_scheduled"], "paused")
        self.assertEqual(sync.trigger("resume"), 0)
        self.assertRegex(sync.status()["next_scheduled"], TIME)
        self.assertIn("paused by uid=%d" % os.getuid(), sync.read("log"))
        self.assertIn("resumed by uid=%d" % os.getuid(), sync.read("log"))

    def test_missed(self):
        sync = self.make()
        sync.write("schedule", "every 1d\n")
        wait_for("the scheduler", lambda: self.stored("missed").get("since"))
        self.mount.stop()
        # As if the daemon had been down for two days.
        with sqlite3.connect(self.catalogue()) as db:
            db.execute("UPDATE sync SET data = json_set(data, '$.schedule.since',"
                       " json_extract(data, '$.schedule.since') - 172800000000) WHERE name = 'missed'")
            db.create_function("checksum", -1, checksum)
            db.execute("UPDATE sync SET sum = checksum(uid, last_run, data) WHERE name = 'missed'")
        db.close()
        self.mount.start()
        wait_for("the run", lambda: sync.last_run() == 1 and sync.summary()["outcome"] == "succeeded")
        self.assertEqual(sync.summary()["by"]["command"], "schedule")
        self.assertEqual(sync.summary()["by"]["uid"], os.stat(sync.path).st_uid)
        self.assertEqual(len(sync.changes()), 2)
        self.mount.stop()
        self.mount.start()
        self.assertEqual(sync.trigger("wait"), 0)
        self.assertEqual(sync.last_run(), 1)

    def catalogue(self):
        return next(p for p in self.mount.state.iterdir() if p.is_file() and p.read_bytes()[:6] == b"SQLite")

    def stored(self, name):
        db = sqlite3.connect("file:%s?mode=ro" % self.catalogue(), uri=True)
        try:
            row = db.execute("SELECT json_extract(data, '$.schedule') FROM sync WHERE name = ?", (name,)).fetchone()
        finally:
            db.close()
        return json.loads(row[0] or "{}")

    def test_check(self):
        sync = self.mount.dir / "tree" / "syncs" / "s"
        sync.mkdir(parents=True)
        (sync / "schedule").write_text("cron 0 25 * * *\n")
        done = subprocess.run([binary(), "check", str(self.mount.dir / "tree")], capture_output=True, text=True)
        self.assertNotEqual(done.returncode, 0)
        self.assertRegex(done.stdout + done.stderr, r'schedule:1:8: error: not a hour: "25"')
        (sync / "schedule").write_text("cron 0 23 * * *\n")
        done = subprocess.run([binary(), "check", str(self.mount.dir / "tree")], capture_output=True, text=True)
        self.assertNotIn("schedule", done.stdout + done.stderr)


if __name__ == "__main__":
    main()
