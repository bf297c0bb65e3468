#!/usr/bin/env python3
"""What a run leaves behind says why each change was in it."""

import errno
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from retlfs import MountTest, Sqlite, command, main, wait_for


class Evidence(MountTest):
    postgres = True

    def make(self, **config):
        self.pg.sql("CREATE TABLE s_%s (id int, v text); INSERT INTO s_%s VALUES (1,'a'),(2,'b'),(3,'c');"
                    "CREATE TABLE d_%s (id int PRIMARY KEY, v text CHECK (v <> 'bad'))" % ((self.name,) * 3))
        self.config = {"source": {"connection": "pg", "table": "s_" + self.name},
                       "destination": {"connection": "pg", "object": "d_" + self.name}, "identifier": "id", **config}
        return self.sync(config=self.config, mappings=[("id", "id"), ("v", "v")], mode="mirror")

    def why(self, sync, run="last"):
        return {c["id"]["id"]: (c["op"], c["why"]) for c in sync.changes(run)}

    def test_why(self):
        sync = self.make()
        sync.run()
        self.assertEqual(self.why(sync), {i: ("insert", "new") for i in (1, 2, 3)})
        self.pg.sql("UPDATE s_why SET v = 'B' WHERE id = 2; DELETE FROM s_why WHERE id = 3;"
                    "INSERT INTO s_why VALUES (4, 'bad')")
        sync.run(want=errno.EIO)
        self.assertEqual(self.why(sync), {2: ("update", "changed"), 3: ("delete", "left the model"),
                                          4: ("insert", "new")})
        self.pg.sql("UPDATE s_why SET v = 'good' WHERE id = 4")
        sync.run("plan")
        planned = {c["id"]["id"]: c["why"] for c in sync.lines("pending/changes.jsonl")}
        sync.run()
        self.assertEqual(list(self.why(sync)), [4])
        self.assertRegex(self.why(sync)[4][1], "^tried again")
        self.assertEqual(planned, {4: self.why(sync)[4][1]})
        sync.run("full")
        self.assertEqual(set(self.why(sync)), {1, 2, 4})
        for op, why in self.why(sync).values():
            self.assertEqual(op, "update")
            self.assertRegex(why, "^resent: ")
            self.assertIn(sync.summary()["full"], why)
        # What an approved plan sent says so too.
        self.pg.sql("UPDATE s_why SET v = 'C' WHERE id = 1")
        sync.run("plan")
        sync.run("approve")
        self.assertEqual(self.why(sync), {1: ("update", "changed")})

    def test_definition(self):
        """A run keeps what it was defined by, and says why it was full."""
        sync = self.make()
        sync.run()
        first = {name: sync.read(name) for name in ("config.json", "mappings.csv", "mode")}
        sync.define(config={**self.config, "max_deletes": 7}, mappings=[("id", "id"), ("v", "v"), ("v", "w")], mode="upsert")
        self.pg.sql("ALTER TABLE d_definition ADD w text")
        sync.run()
        for name, text in first.items():
            self.assertEqual(sync.read("runs/1/" + name), text)
            self.assertEqual(sync.read("runs/2/" + name), sync.read(name))
            self.assertNotEqual(sync.read(name), text)
        self.assertEqual((sync.summary(1)["full"], sync.summary(1)["mode"]), ("first run", "mirror"))
        self.assertEqual((sync.summary(2)["full"], sync.summary(2)["mode"]), ("mapping added: v → w", "upsert"))
        self.assertIn("full: mapping added: v → w", sync.read("runs/2/log"))
        self.assertEqual(sorted(os.listdir(sync.path / "runs/2")), [
            "changes.jsonl", "config.json", "log", "mappings.csv", "mode", "rejected.jsonl", "summary.json"])

    def outcomes(self, sync, run="last"):
        return {c["id"]["id"]: c["outcome"] for c in sync.changes(run)}

    def test_outcomes(self):
        sync = self.make()
        sync.run()
        self.assertEqual(self.outcomes(sync), dict.fromkeys((1, 2, 3), "delivered"))
        self.pg.sql("UPDATE s_outcomes SET v = 'bad' WHERE id = 1; UPDATE s_outcomes SET v = 'B' WHERE id = 2;"
                    "DELETE FROM s_outcomes WHERE id = 3; INSERT INTO s_outcomes VALUES (4, 'bad'), (5, 'e')")
        sync.run("plan")
        self.assertNotIn("outcome", sync.read("pending/changes.jsonl"))
        sync.run("approve", want=errno.EIO)
        sent = {1: "rejected", 2: "delivered", 3: "delivered", 4: "rejected", 5: "delivered"}
        self.assertEqual(self.outcomes(sync), sent)
        self.assertEqual({r["id"]["id"] for r in sync.rejected(2)}, {1, 4})
        # The size is that of the text, and the text is the same from every offset.
        path = sync.path / "runs/2/changes.jsonl"
        text = path.read_bytes()
        self.assertEqual(path.stat().st_size, len(text))
        with open(path, "rb", buffering=0) as f:
            for at in range(0, len(text), 97):
                f.seek(at)
                self.assertEqual(f.read(50), text[at:at + 50])
        # A run that fails has delivered none of what it offered.
        self.pg.sql("ALTER TABLE d_outcomes RENAME TO away;"
                    "UPDATE s_outcomes SET v = 'g' WHERE id IN (1, 4)")
        sync.run(want=errno.EIO)
        for change in sync.changes() if sync.exists("runs/3/changes.jsonl") else []:
            self.assertEqual(change["outcome"], "failed")
        self.pg.sql("ALTER TABLE away RENAME TO d_outcomes")
        sync.run("baseline")
        self.assertEqual(set(self.outcomes(sync).values()), {"baseline"})
        self.assertEqual(self.outcomes(sync, 2), sent)
        # One that a guard holds sends nothing.
        sync.define(config={**self.config, "max_deletes": 0})
        self.pg.sql("DELETE FROM s_outcomes WHERE id = 1")
        sync.run(want=errno.EIO)
        self.assertEqual(self.outcomes(sync), {1: "held"})
        sync.run("approve")
        self.assertEqual(self.outcomes(sync), {1: "delivered"})

    def test_cut_off(self):
        """What a killed daemon left half written is not shown, and hurts no one who walks the tree."""
        sync = self.make()
        sync.run()
        slow = {**self.config["source"], "query": "SELECT id, v FROM s_cut_off UNION ALL"
                " SELECT 9, 'z' FROM generate_series(1, 2) g WHERE pg_sleep(100) IS NOT NULL"}
        del slow["table"]
        sync.define(config={**self.config, "source": slow})
        sync.run("start")
        wait_for("a half-written file", lambda: (
            self.mount.state / "syncs" / self.uid(sync) / "run-2.changes").exists())
        self.mount.kill()
        self.mount.start()
        command("grep", "-r", "", str(sync.path / "runs"))
        self.assertEqual(sync.summary()["outcome"], "failed")
        self.assertFalse(sync.exists("runs/2/changes.jsonl"))
        self.assertIn("interrupted", sync.summary()["error"])

    def uid(self, sync):
        return Sqlite(self.mount.state / "catalogue.db").sql("SELECT uid FROM sync WHERE name = ?", (sync.name,))[0][0]

    def runs(self, sync):
        return sorted(set(os.listdir(sync.path / "runs")) - {"last"})

    def test_keep_runs(self):
        sync = self.make(keep_runs=3)
        for _ in range(5):
            sync.run()
        self.assertEqual(self.runs(sync), ["3", "4", "5"])
        sync.define(config={**self.config, "keep_runs": 2})
        sync.run()
        self.assertEqual(self.runs(sync), ["5", "6"])
        self.expect_errno(errno.EINVAL, sync.define, {**self.config, "keep_runs": 0})
        self.assertIn("keep_runs", sync.read("error"))

    def test_keep_days(self):
        sync = self.make(keep_days=30)
        for _ in range(4):
            sync.run()
        self.assertEqual(self.runs(sync), ["1", "2", "3", "4"])
        self.mount.stop()
        # As if the daemon had been away for long.
        ledger = Sqlite(self.mount.state / "catalogue.db")
        for number, days in ((1, 40), (2, 31), (3, 29), (4, 0)):
            ledger.sql("UPDATE run SET ended = ended - ? WHERE number = ?", (days * 86400 * 1000000, number))
        self.mount.start()
        wait_for("old runs to go", lambda: self.runs(sync) == ["3", "4"])
        self.mount.stop()
        ledger.sql("UPDATE run SET ended = ended - 900 * 86400000000")
        self.mount.start()
        wait_for("all but the newest to go", lambda: self.runs(sync) == ["4"])
        self.assertEqual(sync.summary()["outcome"], "succeeded")
        sync.run()
        self.assertEqual(sync.changes(), [])  # what was delivered is known as ever
        self.assertEqual(self.runs(sync), ["5"])
        self.expect_errno(errno.EINVAL, sync.define, {**self.config, "keep_days": 0.5})
        self.assertIn("keep_days", sync.read("error"))


if __name__ == "__main__":
    main()
