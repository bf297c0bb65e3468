#!/usr/bin/env python3
"""explain/NAME says of one identifier why it is, or is not, in the plan: every reason there is."""

import errno
import os
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from retlfs import MountTest, Sqlite, command, main


class Explain(MountTest):
    """From one SQLite file to another."""

    def make(self, rows=((1, "a", "Bonn"), (2, "b", "Rome"), (3, "c", "Oslo")), mode="upsert", identifier="id",
             table=None, **config):
        self.model = Sqlite(self.mount.data / (self.name + ".db"))
        self.model.sql(table or "CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT, city TEXT)")
        self.model.fill("t", rows)
        self.mount.connect("m_" + self.name, self.model.connection)
        self.sqlite.sql("CREATE TABLE d_%s (id, v TEXT CHECK (v <> 'bad'), city TEXT, UNIQUE (id))" % self.name)
        self.config = {"source": {"connection": "m_" + self.name, "table": "t"},
                       "destination": {"connection": "lite", "object": "d_" + self.name},
                       "identifier": identifier, **config}
        return self.sync(config=self.config, mappings=self.columns("id", "v"), mode=mode)

    def columns(self, *names):
        return [(n, n) for n in names]

    def explain(self, sync, name):
        """The lines as a dictionary; a key that comes twice has a list."""
        found = {}
        path = sync.path / "explain" / str(name)
        text = path.read_text()
        self.assertEqual(path.stat().st_size, len(text.encode()))
        for line in text.splitlines():
            key, colon, value = line.partition(": ")
            self.assertTrue(colon, text)
            found.setdefault(key, []).append(value)
        return {k: v[0] if len(v) == 1 else v for k, v in found.items()}

    def test_life_of_a_row(self):
        sync = self.make()
        got = self.explain(sync, 1)
        self.assertEqual(got["plan"], 'none; write "plan" to trigger')
        self.assertIn("nothing was compared yet", got["why"])
        self.assertEqual(got["delivered"], "no")
        sync.run("plan")
        got = self.explain(sync, 1)
        self.assertEqual(got["identifier"], "1 (id)")
        self.assertRegex(got["plan"], r"^[0-9a-f]{12}, 20\d\d-")
        self.assertEqual((got["pending"], got["why"], got["full"]), ("insert", "new", "first run"))
        self.assertEqual(got["delivered"], "no")
        self.assertEqual(self.explain(sync, 7)["why"], "not in the model")
        sync.run()
        got = self.explain(sync, 1)
        self.assertEqual((got["sent"], got["why"]), ("insert", "new"))
        self.assertRegex(got["last_run"], r"^1 succeeded, 20")
        self.assertRegex(got["delivered"], r"^run 1, 20")
        self.assertEqual(got["record"], '{"id":1,"v":"a"}')
        self.assertRegex(got["last_sent"], "^run 1, .*: insert, delivered, new$")
        # A change: which columns, from what to what.
        self.model.sql("UPDATE t SET v = 'B\n\"2\"' WHERE id = 2")
        sync.run("plan")
        got = self.explain(sync, 2)
        self.assertEqual((got["pending"], got["why"]), ("update", "changed"))
        self.assertEqual(got["changed"], r'v: "b" → "B\n\"2\"" (column v)')
        self.assertEqual(got["record"], '{"id":2,"v":"b"}')
        got = self.explain(sync, 1)
        self.assertEqual((got["pending"], got["why"]), ("no", "delivered, and unchanged"))
        # Left out by hand.
        (sync.path / "pending/update/2").unlink()
        self.assertIn("left out by hand", self.explain(sync, 2)["pending"])
        sync.run()
        self.assertRegex(self.explain(sync, 2)["delivered"], "^run 2, ")
        self.assertRegex(self.explain(sync, 1)["delivered"], "^run 1, ")
        # Gone from the model: this mode deletes nothing, so it cannot be told from unchanged ones.
        self.model.sql("DELETE FROM t WHERE id = 3")
        sync.run("plan")
        for row in (1, 3):
            self.assertIn("unchanged or no longer in the model", self.explain(sync, row)["why"])
        sync.run("full")
        self.assertEqual(self.explain(sync, 3)["why"], "delivered, and no longer in the model: this mode deletes nothing")
        self.assertRegex(self.explain(sync, 1)["why"], "^resent: asked for")
        self.assertEqual(self.explain(sync, 1)["full"], "asked for")
        # Another mode finds what left the model meanwhile.
        sync.define(mode="mirror")
        sync.run("plan")
        got = self.explain(sync, 3)
        self.assertEqual((got["pending"], got["why"]), ("delete", "left the model"))
        self.assertEqual(got["mode"], "mirror, changed since run 3 (upsert)")
        self.assertRegex(got["delivered"], "^run 1, ")
        sync.run()
        got = self.explain(sync, 3)
        self.assertEqual(got["sent"], "delete")
        self.assertRegex(got["delivered"], "^no; deleted by run 4, ")
        self.assertRegex(got["last_sent"], "^run 4, .*: delete, delivered, left the model$")

    def test_mappings(self):
        sync = self.make()
        sync.run()
        sync.define(mappings=[("id", "id"), ("city", "v"), ("city", "city")])
        self.assertIn("mapping added: city → city", self.explain(sync, 1)["next_run"])
        sync.run("plan")
        got = self.explain(sync, 1)
        self.assertEqual(got["changed"], ['v: "a" → "Bonn" (column city; mapping updated, was column v)',
                                          'city: not sent before → "Bonn" (column city; mapping added)'])
        self.assertEqual(got["full"], "mapping updated: city → v (was v); mapping added: city → city")
        sync.run()
        sync.define(mappings="column,field,expression\nid,id\n,v,\"v ||\n'!'\"\ncity,city\n")
        sync.run("plan")
        self.assertEqual(self.explain(sync, 1)["changed"],
                         'v: "Bonn" → "a!" (expression v || \'!\'; mapping updated, was column city)')

    def test_destination_and_identifier(self):
        sync = self.make()
        sync.run()
        self.sqlite.sql("CREATE TABLE d2 (id INTEGER PRIMARY KEY, v TEXT, city TEXT)")
        self.config["destination"]["object"] = "d2"
        sync.define(config=self.config)
        self.assertIn("object changed", self.explain(sync, 1)["next_run"])
        sync.run("plan")
        got = self.explain(sync, 1)
        self.assertEqual((got["pending"], got["why"]), ("insert", "new"))
        self.assertEqual(got["full"], "object changed: d_destination_and_identifier → d2")
        self.assertIn("does not count any more", got["delivered"])
        sync.run()
        sync.run("reset")
        got = self.explain(sync, 1)
        self.assertEqual((got["delivered"], got["next_run"]), ("no", "full: reset"))
        self.assertEqual(got["why"], "not known: nothing was compared since the reset")
        self.assertRegex(got["last_sent"], "^run 2, .*: insert, delivered, new$")

    def test_rejected_and_retried(self):
        sync = self.make(rows=[(1, "a", ""), (2, "bad", "")])
        sync.run(want=errno.EIO)
        got = self.explain(sync, 2)
        self.assertEqual((got["sent"], got["delivered"]), ("insert", "no"))
        self.assertRegex(got["rejected"], "^run 1, 1 try, .*CHECK")
        self.assertRegex(got["last_sent"], "^run 1, .*: insert, rejected, new$")
        self.assertNotIn("rejected", self.explain(sync, 1))
        sync.run("retry", want=errno.EIO)
        self.assertRegex(self.explain(sync, 2)["rejected"], "^run 2, 2 tries, .*CHECK")
        self.assertRegex(self.explain(sync, 1)["why"], "only a part")
        self.model.sql("UPDATE t SET v = 'good' WHERE id = 2")
        sync.run("plan")
        got = self.explain(sync, 2)
        self.assertEqual(got["pending"], "insert")
        self.assertRegex(got["why"], "^tried again")
        self.assertRegex(got["rejected"], "^run 2, 2 tries")
        sync.run()
        got = self.explain(sync, 2)
        self.assertNotIn("rejected", got)
        self.assertRegex(got["delivered"], "^run 3, ")

    def test_refused_before_sending(self):
        sync = self.make(rows=[(1, "a", ""), (1, "b", ""), (2, "c", "")], table="CREATE TABLE t (id INT, v TEXT, city TEXT)")
        sync.run("plan")
        got = self.explain(sync, 1)
        self.assertEqual(got["pending"], "no")
        self.assertRegex(got["why"], "cannot be sent, duplicate_identifier: several rows")
        sync.run(want=errno.EIO)
        got = self.explain(sync, 1)
        self.assertRegex(got["rejected"], "^run 1, 1 try, duplicate_identifier: several rows")
        self.assertEqual(got["sent"], "no")
        self.assertRegex(got["why"], "cannot be sent, duplicate_identifier: several rows")
        (sync.path / "rejected/1").unlink()
        forgotten = self.explain(sync, 1)
        self.assertNotIn("rejected", forgotten)
        self.assertEqual(forgotten["why"], got["why"])
        self.assertRegex(self.explain(sync, 2)["delivered"], "^run 1, ")

    def test_guard(self):
        sync = self.make(mode="mirror", max_deletes=0)
        sync.run()
        self.model.sql("DELETE FROM t WHERE id = 3")
        sync.run(want=errno.EIO)
        got = self.explain(sync, 3)
        self.assertEqual(got["pending"], "delete")
        self.assertIn("max_deletes", got["held"])
        self.assertRegex(got["last_sent"], "^run 1, ")  # what was held was not sent
        sync.run("approve")
        self.assertRegex(self.explain(sync, 3)["delivered"], "^no; deleted by run 3, ")
        self.assertEqual(self.explain(sync, 1)["why"], "delivered, and unchanged")
        self.model.sql("UPDATE t SET v = 'x'")
        sync.run("plan")
        (sync.path / "pending/update/1").unlink()
        sync.run("approve")
        self.assertRegex(self.explain(sync, 1)["why"], "only a part")

    def test_insert_mode(self):
        sync = self.make(mode="insert")
        sync.run()
        self.model.sql("UPDATE t SET v = 'x' WHERE id = 1;\nDELETE FROM t WHERE id = 2")
        sync.run("plan")
        self.assertEqual(self.explain(sync, 1)["why"], "delivered: this mode sends a record once")

    def test_merged_state(self):
        """Who delivered it is known from the runs, and when those are gone, up to a run."""
        sync = self.make(rows=[(i, "v%d" % i, "") for i in range(40)], keep_runs=3)
        sync.run()
        for i in range(12):
            self.model.sql("UPDATE t SET v = 'w%d' WHERE id = %d;\nUPDATE t SET v = 'x%d' WHERE id = 39" % (i, i, i))
            sync.run()
        self.assertRegex(self.explain(sync, 39)["delivered"], "^run 13, ")
        self.assertRegex(self.explain(sync, 11)["delivered"], "^run 13, ")
        self.assertRegex(self.explain(sync, 10)["delivered"], "^run 12, ")
        self.assertRegex(self.explain(sync, 30)["delivered"], r"^run \d+ or before$")
        self.assertEqual(self.explain(sync, 30)["record"], '{"id":30,"v":"v30"}')
        self.assertNotIn("last_sent", self.explain(sync, 30))

    def test_while_runs_go_on(self):
        sync = self.make(rows=[(i, "v", "") for i in range(400)])
        sync.run()
        ended, trouble, asked = threading.Event(), [], [0]

        def ask():
            while not ended.is_set():
                for row in (0, 399, 1000):
                    try:
                        text = (sync.path / "explain" / str(row)).read_text()
                        asked[0] += 1
                    except OSError as e:
                        trouble.append(e)
                        continue
                    if row < 1000 and ("delivered: run " not in text or "record: {" not in text):
                        trouble.append(text)

        readers = [threading.Thread(target=ask) for _ in range(3)]
        for reader in readers:
            reader.start()
        try:
            for i in range(15):  # every few of them the delivered state is merged
                self.model.sql("UPDATE t SET v = 'v%d' WHERE id < %d" % (i, 30 + i))
                sync.run("plan")
                sync.run()
        finally:
            ended.set()
            for reader in readers:
                reader.join()
        self.assertEqual(trouble[:2], [])
        self.assertGreater(asked[0], 100)

    def test_names(self):
        odd = ["a/b", "Ada Lovelace", "ü", ".hidden", "50%", "x,y", "NULL", "a\nb", "~2", "k" * 300, "", "-rf"]
        rows = [(v, i, str(i)) for v in odd for i in (1, 2)]
        sync = self.make(rows=rows, identifier=["id", "city"], table="CREATE TABLE t (id TEXT, v INT, city TEXT)")
        self.sqlite.sql("DROP TABLE d_names;\nCREATE TABLE d_names (id TEXT, v, city TEXT, PRIMARY KEY (id, city))")
        sync.define(mappings=self.columns("id", "v", "city"))
        sync.run("plan")
        names = os.listdir(sync.path / "pending/insert")
        self.assertEqual(len(names), len(rows))
        for name in names:
            got = self.explain(sync, name)
            self.assertEqual((got["pending"], got["identifier"]), ("insert", name + " (id,city)"))
        sync.run()
        for name in names:
            self.assertRegex(self.explain(sync, name)["delivered"], "^run 1, ")
        self.assertEqual(self.explain(sync, "nobody,1")["why"], "not in the model")
        # What no row can be named is no name.
        for name in ("nobody", "a,b,c", "Ada Lovelace,1", ".x,1", "%zz,1", "%2f,1", "a,1~2", ".git", "a,1.swp~"):
            self.assertFalse((sync.path / "explain" / name).exists(), name)

    def test_directory(self):
        sync = self.make()
        sync.run()
        here = sync.path / "explain"
        self.assertEqual(os.listdir(here), [])
        self.assertEqual(command("cat", str(here / "1"), str(here / "2")).stdout.count("delivered: run 1"), 2)
        with self.assertRaises(OSError) as caught:
            (here / "1").write_text("x")
        self.assertEqual(caught.exception.errno, errno.EACCES)
        for change in (lambda: (here / "new").mkdir(), lambda: (here / "1").unlink(), lambda: os.rename(here / "1", here / "2")):
            with self.assertRaises(OSError):
                change()
        command("rm", "-r", str(sync.path))
        self.assertFalse(sync.path.exists())

    def test_without_identifier(self):
        sync = self.make(rows=[(1, "a", ""), (1, "a", "")], mode="insert", table="CREATE TABLE t (id INT, v TEXT, city TEXT)")
        self.sqlite.sql("DROP TABLE d_without_identifier;\nCREATE TABLE d_without_identifier (id, v, city)")
        del self.config["identifier"]
        sync.define(config=self.config)
        sync.run("plan")
        names = os.listdir(sync.path / "pending/insert")
        self.assertEqual(len(names), 2)
        sync.run()
        for name in names:
            self.assertRegex(self.explain(sync, name)["delivered"], "^run 1, ")
        self.model.sql("DELETE FROM t")
        self.assertEqual(self.explain(sync, "00" * 36)["why"], "not in the model")


if __name__ == "__main__":
    main()
