#!/usr/bin/env python3
"""What a run leaves behind says why each change was in it."""

import errno
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from retlfs import MountTest, main


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

    def test_keep_runs(self):
        sync = self.make(keep_runs=3)
        for _ in range(5):
            sync.run()
        self.assertEqual(sorted(set(os.listdir(sync.path / "runs")) - {"last"}), ["3", "4", "5"])
        sync.define(config={**self.config, "keep_runs": 2})
        sync.run()
        self.assertEqual(sorted(set(os.listdir(sync.path / "runs")) - {"last"}), ["5", "6"])
        self.expect_errno(errno.EINVAL, sync.define, {**self.config, "keep_runs": 0})
        self.assertIn("keep_runs", sync.read("error"))


if __name__ == "__main__":
    main()
