#!/usr/bin/env python3
"""pending/ row by row, what is left out of a plan, what is forgotten of rejected/."""

import csv
import errno
import json
import os
import shutil
import stat
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from retlfs import MountTest, main, ops

OPS = ("insert", "update", "delete")
ODD = ["a b", "é→", "new\nline", "100%", "-rf", "a/b", ".", "..", "x,y", "~2", "NULL", "k" * 300, "k" * 299 + "ü"]


class PlanTest(MountTest):
    def model(self, rows):
        with open(self.source, "w", newline="") as out:
            writer = csv.writer(out)
            writer.writerow(["id", "v"])
            writer.writerows(rows)

    def make(self, mode, rows, **config):
        self.source = self.mount.data / (self.name + ".csv")
        self.model(rows)
        self.mount.connect("in_" + self.name, {"driver": "csv", "path": str(self.source)})
        base = {"source": {"connection": "in_" + self.name}, "identifier": "id", "max_deletes": "100%",
                "destination": {"connection": "lite", "object": self.name, "create": True}}
        base.update(config)
        return self.sync(config={k: v for k, v in base.items() if v is not None},
                         mappings=[("id", "id"), ("v", "v")], mode=mode)

    def rows(self):
        return sorted(map(tuple, self.sqlite.sql('SELECT id, v FROM "%s"' % self.name)))

    def listed(self, sync):
        return {op: sorted(os.listdir(sync.path / "pending" / op)) for op in OPS}

    def pending(self, sync):
        """pending/summary as a dictionary."""
        return dict(line.split(": ", 1) for line in sync.read("pending/summary").splitlines())


class Rows(PlanTest):
    def test_files(self):
        sync = self.make("mirror", [("1", "a"), ("2", "b"), ("3", "c")])
        self.assertEqual(self.listed(sync), {op: [] for op in OPS})
        sync.run()
        self.model([("2", "B"), ("3", "c"), ("4", "d")])
        sync.run("plan")
        self.assertEqual(self.listed(sync), {"insert": ["4"], "update": ["2"], "delete": ["1"]})
        lines = sync.read("pending/changes.jsonl").splitlines(keepends=True)
        texts = {}
        for op in OPS:
            for name in os.listdir(sync.path / "pending" / op):
                path = sync.path / "pending" / op / name
                texts[op] = path.read_text()
                info = path.stat()
                self.assertEqual(info.st_size, len(texts[op].encode()))
                self.assertFalse(info.st_mode & 0o222)
                self.expect_errno(errno.EACCES, open, path, "a")
        self.assertEqual(sorted(texts.values()), sorted(lines))
        self.assertEqual(json.loads(texts["update"])["after"]["v"], "B")
        self.expect_errno(errno.ENOENT, os.stat, sync.path / "pending/update/1")
        self.expect_errno(errno.ENOENT, os.unlink, sync.path / "pending/update/1")
        for name in ("summary", "changes.jsonl", "diff"):
            self.expect_errno(errno.EPERM, os.unlink, sync.path / "pending" / name)
        self.expect_errno(errno.EPERM, os.rename, sync.path / "pending/update/2", sync.path / "pending/update/9")
        self.expect_errno(errno.EPERM, os.rename, sync.path / "pending/update/2", sync.path / "two")
        self.expect_errno(errno.EPERM, os.rmdir, sync.path / "pending/update")
        self.expect_errno(errno.EPERM, os.mkdir, sync.path / "pending/update/dir")
        self.assertEqual(self.listed(sync)["update"], ["2"])

    def test_odd_names(self):
        sync = self.make("upsert", [(k, "v") for k in ODD])
        sync.run("plan")
        names = os.listdir(sync.path / "pending/insert")
        self.assertEqual(len(names), len(ODD))
        self.assertEqual(len(set(names)), len(ODD))
        found = []
        for name in names:
            self.assertLessEqual(len(name.encode()), 200)
            found.append(json.loads((sync.path / "pending/insert" / name).read_text())["id"]["id"])
        self.assertEqual(sorted(found), sorted(ODD))
        done = subprocess.run("for f in *; do cat -- \"$f\" > /dev/null || exit 1; rm -- \"$f\" || exit 1; done",
                              shell=True, cwd=sync.path / "pending/insert")
        self.assertEqual(done.returncode, 0)
        self.assertEqual(os.listdir(sync.path / "pending/insert"), [])
        self.assertEqual(self.pending(sync)["left_out"], str(len(ODD)))

    def test_equal_rows(self):
        """Without identifier each of equal rows has a file; one of them left out is created later."""
        sync = self.make("insert", [("1", "a"), ("1", "a"), ("1", "a"), ("2", "b")], identifier=None)
        sync.run("plan")
        here = sync.path / "pending/insert"
        equal = [n for n in os.listdir(here) if json.loads((here / n).read_text())["after"]["id"] == "1"]
        self.assertEqual(len(equal), 3)
        os.unlink(here / equal[0])
        self.assertEqual(len(os.listdir(here)), 3)
        sync.run("approve")
        self.assertEqual(self.rows(), [("1", "a"), ("1", "a"), ("2", "b")])
        sync.run()
        self.assertEqual(self.rows(), [("1", "a"), ("1", "a"), ("1", "a"), ("2", "b")])

    def test_composite(self):
        sync = self.make("upsert", [("1", "a,b"), ("1", "c"), ("2", "c")], identifier=["id", "v"])
        sync.run("plan")
        self.assertEqual(sorted(os.listdir(sync.path / "pending/insert")), ["1,a%2Cb", "1,c", "2,c"])
        os.unlink(sync.path / "pending/insert/1,a%2Cb")
        sync.run("approve")
        self.assertEqual(self.rows(), [("1", "c"), ("2", "c")])


class LeftOut(PlanTest):
    def prepared(self, mode, **config):
        sync = self.make(mode, [(str(i), "a") for i in range(1, 7)], **config)
        sync.run()
        self.model([("1", "a"), ("2", "B"), ("3", "C"), ("4", "a"), ("7", "n"), ("8", "n")])
        sync.run("plan")
        return sync

    def leave_out(self, sync, *names):
        for name in names:
            os.unlink(sync.path / "pending" / name)

    def test_mirror(self):
        sync = self.prepared("mirror")
        plan = self.pending(sync)["plan"]
        before = os.stat(sync.path / "pending/summary").st_mtime_ns
        self.leave_out(sync, "delete/5", "update/2", "insert/7")
        self.assertGreater(os.stat(sync.path / "pending/summary").st_mtime_ns, before)
        self.assertEqual(self.listed(sync), {"insert": ["8"], "update": ["3"], "delete": ["6"]})
        self.expect_errno(errno.ENOENT, os.stat, sync.path / "pending/delete/5")
        self.expect_errno(errno.ENOENT, os.unlink, sync.path / "pending/delete/5")
        summary = self.pending(sync)
        self.assertEqual((summary["left_out"], summary["plan"]), ("3", plan))
        self.assertEqual(len(sync.lines("pending/changes.jsonl")), 6)  # the plan as it was made
        self.assertIn("removed row 5 of plan", sync.read("log"))
        self.mount.stop()
        self.mount.start()
        self.assertEqual(self.listed(sync)["delete"], ["6"])
        sync.run("approve " + plan)
        self.assertEqual([(c["op"], c["id"]["id"]) for c in sync.changes()],
                         [("update", "3"), ("delete", "6"), ("insert", "8")])
        self.assertEqual(sync.summary()["left_out"], 3)
        self.assertEqual(self.rows(), [("1", "a"), ("2", "a"), ("3", "C"), ("4", "a"), ("5", "a"), ("8", "n")])
        self.assertEqual(sync.status()["delivered"], "6")
        # They are changes again.
        sync.run("plan")
        self.assertEqual(self.listed(sync), {"insert": ["7"], "update": ["2"], "delete": ["5"]})
        self.assertNotIn("left_out", self.pending(sync))
        sync.run()
        self.assertEqual(self.rows(), [("1", "a"), ("2", "B"), ("3", "C"), ("4", "a"), ("7", "n"), ("8", "n")])
        self.assertEqual(sync.status()["delivered"], "6")

    def test_upsert(self):
        sync = self.prepared("upsert")
        self.leave_out(sync, "update/2", "insert/7")
        sync.run("approve")
        self.assertEqual(ops(sync.changes()), {"update": 1, "insert": 1})
        sync.run()
        self.assertEqual([c["id"]["id"] for c in sync.changes()], ["2", "7"])
        self.assertEqual([r for r in self.rows() if r[1] == "a"], [(i, "a") for i in "1456"])

    def test_insert(self):
        sync = self.prepared("insert")
        self.leave_out(sync, "insert/7")
        sync.run("approve")
        self.assertEqual([c["id"]["id"] for c in sync.changes()], ["8"])
        sync.run()
        self.assertEqual([c["id"]["id"] for c in sync.changes()], ["7"])

    def test_update(self):
        self.sqlite.sql('CREATE TABLE "update" (id TEXT PRIMARY KEY, v TEXT)')
        self.sqlite.fill('"update"', [(str(i), "") for i in range(1, 9)])
        sync = self.prepared("update")
        self.leave_out(sync, "update/2")
        sync.run("approve")
        self.assertNotIn("2", [c["id"]["id"] for c in sync.changes()])
        self.assertIn(("2", "a"), self.rows())
        sync.run()
        self.assertEqual([c["id"]["id"] for c in sync.changes()], ["2"])

    def test_full_mirror(self):
        """A full plan replaces the delivered state: not that of rows that were left out."""
        sync = self.make("mirror", [("1", "a"), ("2", "a"), ("3", "a")])
        sync.run()
        sync.define(mappings=[("id", "id"), ("v", "v"), ("v", "w")])
        self.model([("1", "b"), ("2", "b")])
        self.sqlite.sql('ALTER TABLE "%s" ADD COLUMN w TEXT' % self.name)
        sync.run("plan")
        self.assertEqual(self.listed(sync), {"insert": [], "update": ["1", "2"], "delete": ["3"]})
        self.leave_out(sync, "update/1", "delete/3")
        sync.run("approve")
        self.assertEqual(self.rows(), [("1", "a"), ("2", "b"), ("3", "a")])
        sync.run()
        self.assertEqual([(c["op"], c["id"]["id"]) for c in sync.changes()], [("update", "1"), ("delete", "3")])
        self.assertEqual(self.rows(), [("1", "b"), ("2", "b")])

    def test_everything(self):
        sync = self.prepared("mirror")
        plan = self.pending(sync)["plan"]
        shutil.rmtree(sync.path / "pending/insert", ignore_errors=True)  # its rows go, the directory stays
        self.leave_out(sync, "update/2", "update/3", "delete/5", "delete/6")
        self.assertEqual(self.listed(sync), {op: [] for op in OPS})
        sync.run("approve " + plan)
        self.assertEqual(sync.changes(), [])
        self.assertEqual(len(self.rows()), 6)
        sync.run("plan")
        self.assertEqual(self.pending(sync)["plan"], plan)  # the same changes, and all of them
        self.assertNotIn("left_out", self.pending(sync))
        self.assertEqual(self.listed(sync)["delete"], ["5", "6"])

    def test_planned_again(self):
        sync = self.prepared("mirror")
        self.leave_out(sync, "delete/5")
        sync.run("plan")
        self.assertEqual(self.listed(sync)["delete"], ["5", "6"])

    def test_source_moved(self):
        sync = self.prepared("mirror")
        plan = self.pending(sync)["plan"]
        self.leave_out(sync, "delete/5")
        self.model([("1", "moved")])
        sync.run("approve " + plan, errno.ESTALE)
        self.assertIn("the source has moved", sync.read("error"))
        self.assertNotEqual(self.pending(sync)["plan"], plan)
        self.assertEqual(self.listed(sync), {"insert": [], "update": ["1"], "delete": ["2", "3", "4", "5", "6"]})
        self.assertEqual(len(self.rows()), 6)

    def test_guard(self):
        """Held, looked at, one row taken out, let go."""
        sync = self.make("mirror", [(str(i), "a") for i in range(1, 7)], max_deletes=1)
        sync.run()
        self.model([("1", "a"), ("2", "a"), ("3", "a")])
        sync.run(want=errno.EIO)
        self.assertEqual(sync.state(), "held")
        self.assertEqual(len(self.rows()), 6)
        self.assertEqual(self.listed(sync)["delete"], ["4", "5", "6"])
        self.assertIn("held: ", self.pending(sync)["guard"])
        self.leave_out(sync, "delete/6")
        sync.run("approve")
        self.assertEqual([r[0] for r in self.rows()], ["1", "2", "3", "6"])
        self.assertEqual(sync.state(), "ready")
        sync.run()  # one delete is within the bound
        self.assertEqual(len(self.rows()), 3)


class Rejected(PlanTest):
    def test_forget(self):
        self.sqlite.sql('CREATE TABLE "forget" (id TEXT PRIMARY KEY, v TEXT)')
        sync = self.make("update", [("1", "a"), ("2", "b"), ("3", "c")])
        sync.run(want=errno.EIO)
        rejected = sync.path / "rejected"
        self.assertEqual(sorted(os.listdir(rejected)), ["1", "2", "3"])
        row = json.loads((rejected / "2").read_text())
        self.assertEqual((row["tries"], row["code"]), (1, "no_match"))
        self.assertEqual(row["id"], {"id": "2"})
        self.assertTrue(row["reason"])
        self.assertEqual(os.stat(rejected / "2").st_size, len((rejected / "2").read_bytes()))
        self.expect_errno(errno.EPERM, os.rename, rejected / "2", sync.path / "two")
        os.unlink(rejected / "2")
        shutil.move(rejected / "3", self.mount.data / "note")  # another filesystem: copied, then removed
        self.assertEqual(json.loads((self.mount.data / "note").read_text())["id"], {"id": "3"})
        self.assertEqual(os.listdir(rejected), ["1"])
        self.assertEqual(sync.status()["rejected"], "1")
        self.assertEqual(len(sync.rejected()), 3)  # what that run rejected
        sync.run("retry", want=errno.EIO)
        self.assertEqual([(c["id"]["id"]) for c in sync.changes()], ["1"])
        sync.run(want=errno.EIO)
        tries = {r["id"]["id"]: r["tries"] for r in sync.rejected()}
        self.assertEqual(tries, {"1": 3, "2": 1, "3": 1})

    def test_duplicates(self):
        sync = self.make("upsert", [("1", "a"), ("1", "b"), ("2", "c"), ("", "d")])
        sync.run(want=errno.EIO)
        names = sorted(os.listdir(sync.path / "rejected"))
        self.assertIn("1~2", names)
        both = {json.loads((sync.path / "rejected" / n).read_text())["record"]["v"] for n in ("1", "1~2")}
        self.assertEqual(both, {"a", "b"})
        os.unlink(sync.path / "rejected/1")
        self.assertEqual(sorted(os.listdir(sync.path / "rejected")), [n for n in names if n != "1"])


if __name__ == "__main__":
    main()
