#!/usr/bin/env python3
"""The five modes at both destinations: what each sends, what it leaves alone, what a change of
mode, identifier, destination or object means. (Random sequences of all this: tests/model.)"""

import errno
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from retlfs import MountTest, main, ops


class Cases:
    """Run once for each destination: `self.dest` and the connection `self.to`."""

    postgres = True

    def table(self, columns="id integer PRIMARY KEY, v text", name=None):
        self.dest.sql("CREATE TABLE %s (%s)" % (name or self.name, columns))

    def source(self, rows, columns="id int, v text"):
        self.src = "s_" + self.name
        self.pg.sql("CREATE TABLE %s (%s)" % (self.src, columns))
        self.pg.fill(self.src, rows)

    def make(self, mode, mappings=(("id", "id"), ("v", "v")), **config):
        base = {
            "source": {"connection": "pg", "table": self.src},
            "destination": {"connection": self.to, "object": self.name},
            "identifier": "id",
        }
        base.update(config)
        base = {k: v for k, v in base.items() if v is not None}
        self.config = base
        return self.sync(config=base, mappings=list(mappings), mode=mode)

    def rows(self, name=None, order="1, 2"):
        rows = self.dest.sql("SELECT * FROM %s ORDER BY %s" % (name or self.name, order))
        return [[None if v is None else str(v) for v in row] for row in rows]

    def model(self, text):
        self.pg.sql(text.replace("@", self.src))

    def sent(self, sync, verb="run", want=0):
        sync.run(verb, want)
        return [(c["op"], *c["id"].values(), (c.get("after") or {}).get("v")) for c in sync.changes()]

    # ---- what each mode sends ----

    def test_upsert(self):
        self.table()
        self.dest.sql("INSERT INTO upsert VALUES (2, 'theirs'), (9, 'theirs')")
        self.source([(1, "a"), (2, "b"), (3, None)])
        sync = self.make("upsert")
        self.assertEqual(self.sent(sync), [("insert", 1, "a"), ("insert", 2, "b"), ("insert", 3, None)])
        self.assertEqual(self.rows(), [["1", "a"], ["2", "b"], ["3", None], ["9", "theirs"]])
        self.model("DELETE FROM @ WHERE id = 1; UPDATE @ SET v = '' WHERE id = 3; INSERT INTO @ VALUES (4, 'd')")
        self.assertEqual(self.sent(sync), [("update", 3, ""), ("insert", 4, "d")])
        self.assertEqual(self.rows(), [["1", "a"], ["2", "b"], ["3", ""], ["4", "d"], ["9", "theirs"]])
        # 1 is still delivered: back unchanged, nothing is sent.
        self.model("INSERT INTO @ VALUES (1, 'a')")
        self.assertEqual(self.sent(sync), [])
        self.assertEqual(sync.summary()["left"], 0)

    def test_insert(self):
        self.table("id integer, v text")
        self.dest.sql("INSERT INTO \"insert\" VALUES (1, 'theirs')" if self.to == "lite" else
                      "INSERT INTO insert VALUES (1, 'theirs')")
        self.source([(1, "a"), (2, "b")])
        sync = self.make("insert")
        self.assertEqual(self.sent(sync), [("insert", 1, "a"), ("insert", 2, "b")])
        self.model("UPDATE @ SET v = 'A' WHERE id = 1; DELETE FROM @ WHERE id = 2; INSERT INTO @ VALUES (3, 'c')")
        self.assertEqual(self.sent(sync), [("insert", 3, "c")])
        self.assertEqual(self.rows('"insert"'), [["1", "a"], ["1", "theirs"], ["2", "b"], ["3", "c"]])
        # A mapping added is no reason to create everything again.
        self.dest.sql('ALTER TABLE "insert" ADD COLUMN w text')
        sync.define(mappings=[("id", "id"), ("v", "v"), ("v", "w")])
        self.model("INSERT INTO @ VALUES (4, 'd')")
        self.assertEqual(self.sent(sync), [("insert", 4, "d")])
        self.assertEqual(self.rows('"insert"')[-1], ["4", "d", "d"])

    def test_insert_without_identifier(self):
        self.table("id integer, v text")
        self.source([(1, "a"), (1, "a"), (2, "b"), (None, None)])
        sync = self.make("insert", identifier=None)
        sync.run()
        self.assertEqual(ops(sync.changes()), {"insert": 4})
        sync.run()
        self.assertEqual(sync.changes(), [])
        # Three times in the model, two in the delivered state: one is sent.
        self.model("INSERT INTO @ VALUES (1, 'a'), (2, 'B')")
        sync.run()
        self.assertEqual(sorted(c["after"]["v"] for c in sync.changes()), ["B", "a"])
        self.model("DELETE FROM @ WHERE id = 1; INSERT INTO @ VALUES (1, 'a')")
        sync.run()
        self.assertEqual(sync.changes(), [])
        self.assertEqual(len(self.rows()), 6)

    def test_update(self):
        self.table()
        self.dest.sql('INSERT INTO "update" VALUES (1, \'x\'), (2, \'y\'), (9, \'z\')')
        self.source([(1, "a"), (2, "b"), (3, "c")])
        sync = self.make("update")
        self.assertEqual(self.sent(sync, want=errno.EIO), [("update", 1, "a"), ("update", 2, "b"), ("update", 3, "c")])
        self.assertEqual(self.rows('"update"'), [["1", "a"], ["2", "b"], ["9", "z"]])
        rejected = sync.rejected()
        self.assertEqual([r["id"] for r in rejected], [{"id": 3}])
        self.assertIn("no_match", sync.read("rejected.jsonl"))
        # Tried again on each run, with then-current values, until it matches.
        self.model("UPDATE @ SET v = 'C' WHERE id = 3")
        self.assertEqual(self.sent(sync, want=errno.EIO), [("update", 3, "C")])
        self.dest.sql('INSERT INTO "update" VALUES (3, NULL)')
        self.assertEqual(self.sent(sync), [("update", 3, "C")])
        self.assertEqual(self.rows('"update"')[2], ["3", "C"])
        self.assertEqual(sync.rejected(), [])

    def test_mirror(self):
        self.table()
        self.source([(1, "a"), (2, "b"), (3, "c")])
        sync = self.make("mirror")
        sync.run()
        self.model("DELETE FROM @ WHERE id = 2; UPDATE @ SET v = 'C' WHERE id = 3; INSERT INTO @ VALUES (4, 'd')")
        self.assertEqual(self.sent(sync), [("delete", 2, None), ("update", 3, "C"), ("insert", 4, "d")])
        delete = sync.changes()[0]
        self.assertEqual(delete["before"], {"id": 2, "v": "b"})
        self.assertEqual(self.rows(), [["1", "a"], ["3", "C"], ["4", "d"]])
        # Deleted and back: an insert again.
        self.model("INSERT INTO @ VALUES (2, 'b')")
        self.assertEqual(self.sent(sync), [("insert", 2, "b")])
        # A row that somebody put there is not seen by an incremental run.
        self.dest.sql("INSERT INTO mirror VALUES (50, 'theirs')")
        self.assertEqual(self.sent(sync), [])
        self.assertEqual(len(self.rows()), 5)

    def test_full(self):
        self.table()
        self.source([(1, "a"), (2, "b")])
        sync = self.make("full")
        self.assertEqual(self.sent(sync), [("insert", 1, "a"), ("insert", 2, "b")])
        self.dest.sql('UPDATE "full" SET v = \'broken\' WHERE id = 1')
        self.model("DELETE FROM @ WHERE id = 2; INSERT INTO @ VALUES (3, 'c')")
        self.assertEqual(self.sent(sync), [("update", 1, "a"), ("insert", 3, "c")])
        self.assertEqual(self.rows('"full"'), [["1", "a"], ["2", "b"], ["3", "c"]])

    # ---- changes of the definition ----

    def test_mode_change_keeps_state(self):
        self.table()
        self.source([(i, "v%d" % i) for i in range(1, 6)])
        sync = self.make("upsert")
        sync.run()
        self.model("DELETE FROM @ WHERE id = 2")
        sync.run()
        sync.define(mode="mirror")
        self.model("DELETE FROM @ WHERE id = 4")
        self.assertEqual(self.sent(sync), [("delete", 2, None), ("delete", 4, None)])
        sync.define(mode="full")
        self.assertEqual(len(self.sent(sync)), 3)
        sync.define(mode="upsert")
        self.assertEqual(self.sent(sync), [])
        sync.define(mode="insert")
        self.model("INSERT INTO @ VALUES (7, 'new'); UPDATE @ SET v = 'x' WHERE id = 1")
        self.assertEqual(self.sent(sync), [("insert", 7, "new")])
        sync.define(mode="update")
        self.assertEqual(self.sent(sync), [("update", 1, "x")])

    def test_identifier_change_is_full(self):
        self.table("id integer, v text")
        self.source([(1, "a"), (2, "b")])
        sync = self.make("upsert")
        sync.run()
        sync.define(config={**self.config, "identifier": "v"})
        self.assertIn("identifier", sync.read("status"))
        sync.run()
        self.assertIn("identifier", sync.summary()["full"])
        self.assertEqual(ops(sync.changes()), {"insert": 2})
        self.assertEqual([c["id"] for c in sync.changes()], [{"v": "a"}, {"v": "b"}])

    def test_object_change_is_full(self):
        self.table()
        self.source([(1, "a"), (2, "b")])
        sync = self.make("upsert")
        sync.run()
        self.table(name="other_object")
        other = {**self.config, "destination": {"connection": self.to, "object": "other_object"}}
        sync.define(config=other)
        sync.run()
        self.assertIsNotNone(sync.summary()["full"])
        self.assertEqual(self.rows("other_object"), [["1", "a"], ["2", "b"]])

    def test_composite_identifier(self):
        self.table("a integer, b text, v text, PRIMARY KEY (a, b)")
        self.source([(1, "x", "p"), (1, "y", "q"), (2, "x", "r")], "a int, b text, v text")
        sync = self.make("mirror", [("b", "b"), ("a", "a"), ("v", "v")], identifier=["a", "b"])
        sync.run()
        self.model("UPDATE @ SET v = 'Q' WHERE b = 'y'; DELETE FROM @ WHERE a = 2")
        sync.run()
        self.assertEqual([(c["op"], c["id"]) for c in sync.changes()],
                         [("update", {"a": 1, "b": "y"}), ("delete", {"a": 2, "b": "x"})])
        self.assertEqual(self.rows(), [["1", "x", "p"], ["1", "y", "Q"]])

    def test_without_unique_index(self):
        self.table("id integer, v text")
        self.source([(1, "a"), (2, "b"), (3, "c")])
        sync = self.make("mirror")
        sync.run()
        self.model("UPDATE @ SET v = 'A' WHERE id = 1; DELETE FROM @ WHERE id = 2; INSERT INTO @ VALUES (4, 'd')")
        sync.run()
        self.assertEqual(self.rows(), [["1", "A"], ["3", "c"], ["4", "d"]])

    # ---- rows that are not like the others ----

    def test_null_and_duplicate_identifiers(self):
        self.table()
        self.source([(1, "a"), (2, "b"), (2, "bb"), (None, "n"), (3, "c")])
        sync = self.make("upsert")
        self.assertEqual(self.sent(sync, want=errno.EIO), [("insert", 1, "a"), ("insert", 3, "c")])
        self.assertEqual(self.rows(), [["1", "a"], ["3", "c"]])
        self.assertEqual(sorted(r["record"]["v"] for r in sync.rejected()), ["b", "bb", "n"])
        self.assertEqual(len(os.listdir(sync.path / "rejected")), 3)
        self.assertIn("3", sync.read("error"))
        sync.define(config={**self.config, "duplicates": "last"})
        self.assertEqual([s[:2] for s in self.sent(sync, want=errno.EIO)], [("insert", 2)])
        self.assertEqual(len(sync.rejected()), 1)
        self.model("DELETE FROM @ WHERE id IS NULL")
        self.assertEqual(self.sent(sync), [])
        self.assertEqual(os.listdir(sync.path / "rejected"), [])

    def test_refused_rows_go_alone(self):
        self.table("id integer PRIMARY KEY, v text NOT NULL CHECK (v <> 'bad')")
        rows = [(i, "bad" if i % 100 == 7 else None if i % 250 == 0 else "v%d" % i) for i in range(1, 1001)]
        self.source(rows)
        sync = self.make("mirror")
        sync.run(want=errno.EIO)
        bad = [i for i, v in rows if v in ("bad", None)]
        self.assertEqual([r["id"]["id"] for r in sync.rejected()], bad)
        self.assertEqual(len(self.rows()), 1000 - len(bad))
        self.assertTrue(all(r["reason"] for r in sync.rejected()))
        self.assertEqual(ops(sync.changes()), {"insert": 1000})
        # Not delivered is not lost: sent again, alone, with the values of now.
        self.model("UPDATE @ SET v = 'mended' WHERE id = 7; DELETE FROM @ WHERE id = 107")
        self.assertEqual({s[1] for s in self.sent(sync, want=errno.EIO)}, set(bad) - {107})
        self.assertEqual(len(sync.rejected()), len(bad) - 2)
        self.assertEqual([r for r in self.rows(order="id") if r[0] == "7"], [["7", "mended"]])
        self.assertEqual(sync.summary()["dropped"], 1)
        tries = {r["tries"] for r in sync.rejected()}
        self.assertEqual(tries, {2})

    def test_refused_update_keeps_the_old_row(self):
        self.table("id integer PRIMARY KEY, v text CHECK (v <> 'bad')")
        self.source([(1, "a"), (2, "b")])
        sync = self.make("upsert")
        sync.run()
        self.model("UPDATE @ SET v = 'bad' WHERE id = 1; UPDATE @ SET v = 'B' WHERE id = 2")
        sync.run(want=errno.EIO)
        self.assertEqual(self.rows(), [["1", "a"], ["2", "B"]])
        # What was refused is still a change, and sent with what the model holds then.
        self.model("UPDATE @ SET v = 'a' WHERE id = 1")
        self.assertEqual(self.sent(sync), [("update", 1, "a")])
        self.assertEqual(self.sent(sync), [])
        self.assertEqual(sync.rejected(), [])

    def test_refused_update_is_not_created_by_an_insert(self):
        self.table("id integer, v text CHECK (v <> 'bad')")
        self.source([(1, "a"), (2, "b")])
        sync = self.make("upsert")
        self.sent(sync)
        self.model("UPDATE @ SET v = 'bad' WHERE id = 1")
        self.assertEqual(self.sent(sync, want=errno.EIO), [("update", 1, "bad")])
        sync.write("mode", "insert\n")
        self.model("UPDATE @ SET v = 'fine' WHERE id = 1; INSERT INTO @ VALUES (3, 'c')")
        self.assertEqual(self.sent(sync), [("insert", 3, "c")])
        self.assertEqual(self.rows(), [["1", "a"], ["2", "b"], ["3", "c"]])
        self.assertEqual(sync.rejected(), [])

    def test_refused_delete(self):
        self.table()
        if self.to == "lite":
            self.skipTest("SQLite enforces foreign keys by connection")
        self.dest.sql("CREATE TABLE child (id integer REFERENCES refused_delete)")
        self.source([(1, "a"), (2, "b")])
        sync = self.make("mirror")
        sync.run()
        self.dest.sql("INSERT INTO child VALUES (1)")
        self.model("DELETE FROM @; INSERT INTO @ VALUES (3, 'c')")
        sync.run(want=errno.EIO)
        self.assertEqual(self.rows(), [["1", "a"], ["3", "c"]])
        self.dest.sql("DELETE FROM child")
        self.assertEqual(self.sent(sync), [("delete", 1, None)])

    def test_expressions(self):
        self.table("id integer PRIMARY KEY, full_name text, source text, n bigint")
        self.source([(1, "Ann", "Lee", 7), (2, "Bob", None, 2**62)], "id int, first text, last text, n bigint")
        sync = self.make("upsert", [
            ("id", "id"), ("", "full_name", "first || ' ' || coalesce(last, '?')"),
            ("", "source", "'warehouse'"), ("", "n", "n + 1")])
        sync.run()
        self.assertEqual(self.rows(), [["1", "Ann Lee", "warehouse", "8"], ["2", "Bob ?", "warehouse", str(2**62 + 1)]])
        # A row's own fault in an expression rejects that row alone.
        self.model("UPDATE @ SET n = 9223372036854775807 WHERE id = 1; UPDATE @ SET last = 'Roe' WHERE id = 2")
        sync.define(mappings=[
            ("id", "id"), ("", "full_name", "first || ' ' || coalesce(last, '?')"),
            ("", "source", "'warehouse'"), ("", "n", "abs(-n - 1)")])
        sync.run(want=errno.EIO)
        self.assertEqual([r["id"] for r in sync.rejected()], [{"id": 1}])
        self.assertEqual(self.rows()[1][1], "Bob Roe")

    def test_odd_names(self):
        odd = 'a "b" c; --é'
        quoted = '"%s"' % odd.replace('"', '""')
        self.dest.sql('CREATE TABLE %s (id integer PRIMARY KEY, %s text, "select" text)' % (quoted, quoted))
        self.src = "s_odd"
        self.pg.sql('CREATE TABLE s_odd (id int, %s text, "Select" text)' % quoted)
        self.pg.fill("s_odd", [(1, "x", "y")])
        sync = self.make("mirror", [("id", "id"), (odd, odd), ("Select", "select")],
                         destination={"connection": self.to, "object": quoted if self.to == "pg" else odd})
        sync.run()
        self.assertEqual(self.rows(quoted), [["1", "x", "y"]])

    def test_create(self):
        self.source([(1, "a"), (2, "b")])
        sync = self.make("mirror", destination={"connection": self.to, "object": "create", "create": True})
        sync.run()
        self.assertEqual(self.rows('"create"'), [["1", "a"], ["2", "b"]])
        # Without "create" a missing table is a failed run that says so.
        sync.define(config={**self.config, "destination": {"connection": self.to, "object": "nowhere_yet"}})
        sync.run(want=errno.EIO)
        self.assertIn("nowhere_yet", sync.read("error"))


class ToPostgres(Cases, MountTest):
    to = "pg"

    def setUp(self):
        super().setUp()
        self.dest = self.pg

    def rows(self, name=None, order="1, 2"):
        name = '"%s"' % self.name if name is None else name
        return super().rows(name, order)

    def table(self, columns="id integer PRIMARY KEY, v text", name=None):
        self.pg.sql('CREATE TABLE "%s" (%s)' % (name or self.name, columns))

    def test_schema_and_generated(self):
        self.pg.sql('CREATE SCHEMA "Sales Dept";'
                    'CREATE TABLE "Sales Dept"."T 1" (key bigint GENERATED ALWAYS AS IDENTITY, id int UNIQUE,'
                    " v text, twice text GENERATED ALWAYS AS (v || v) STORED, at timestamptz NOT NULL DEFAULT now())")
        self.source([(1, "a"), (2, "b")])
        sync = self.make("mirror", destination={"connection": "pg", "object": '"Sales Dept"."T 1"'})
        sync.run()
        self.model("UPDATE @ SET v = 'c' WHERE id = 1; DELETE FROM @ WHERE id = 2")
        sync.run()
        self.assertEqual(self.pg.sql('SELECT id, v, twice FROM "Sales Dept"."T 1"'), [["1", "c", "cc"]])
        # A generated column cannot be written: refused with its name, nothing harmed.
        sync.define(mappings=[("id", "id"), ("v", "v"), ("v", "twice")])
        self.assertNotEqual(sync.trigger("run"), 0)
        self.assertIn("twice", sync.read("error"))

    def test_triggers_at_the_destination(self):
        # What a trigger raises for a row is that row's refusal, with the trigger's words.
        self.table()
        self.pg.sql("CREATE FUNCTION no_fives() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
                    "IF NEW.id % 5 = 0 THEN RAISE EXCEPTION 'no fives here'; END IF; RETURN NEW; END $$;"
                    "CREATE TRIGGER t BEFORE INSERT OR UPDATE ON triggers_at_the_destination "
                    "FOR EACH ROW EXECUTE FUNCTION no_fives()")
        self.source([(i, "v") for i in range(1, 21)])
        sync = self.make("upsert")
        sync.run(want=errno.EIO)
        self.assertEqual([r["id"]["id"] for r in sync.rejected()], [5, 10, 15, 20])
        self.assertIn("no fives here", sync.rejected()[0]["reason"])
        self.assertEqual(len(self.rows()), 16)


class ToSqlite(Cases, MountTest):
    to = "lite"

    def setUp(self):
        super().setUp()
        self.dest = self.sqlite

    def rows(self, name=None, order="1, 2"):
        return super().rows('"%s"' % self.name if name is None else name, order)

    def table(self, columns="id integer PRIMARY KEY, v text", name=None):
        self.sqlite.sql('CREATE TABLE "%s" (%s)' % (name or self.name, columns))


if __name__ == "__main__":
    main()
