#!/usr/bin/env python3
"""The example of RudderStack's document on mappings and sync modes, literally: remove the mapping
of last_name → incremental; add address → full. And its 10,000 rows of which 2,000 changed."""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from retlfs import MountTest, main, ops

PEOPLE = [
    ("alex@example.com", "Alex", "Keener", "12 Oak Street"),
    ("ben@example.com", "Ben", "Doe", "7 Elm Road"),
    ("cho@example.com", "Cho", "Kim", "99 서울로"),
    ("dee@example.com", "Dee", "O'Neil", None),
]
FOUR = [("email", "email_id"), ("first_name", "fn"), ("last_name", "ln")]


class Example(MountTest):
    postgres = True

    def start(self, destination):
        """Source table, a first run; returns sync and a reader of the destination's rows."""
        table = "src_" + self.name
        self.pg.sql(
            "CREATE TABLE %s (email text PRIMARY KEY, first_name text, last_name text, address text)"
            % table)
        self.pg.fill(table, PEOPLE)
        if destination == "pg":
            self.pg.sql(
                "CREATE TABLE %s (email_id text PRIMARY KEY, fn text, ln text, address text)" % self.name)
            rows = lambda: self.pg.sql("SELECT * FROM %s ORDER BY 1" % self.name)
        else:
            self.sqlite.sql(
                "CREATE TABLE %s (email_id TEXT PRIMARY KEY, fn TEXT, ln TEXT, address TEXT)" % self.name)
            rows = lambda: self.sqlite.sql("SELECT * FROM %s ORDER BY 1" % self.name)
        sync = self.sync(
            config={
                "source": {"connection": "pg", "table": table},
                "destination": {"connection": destination, "object": self.name},
                "identifier": ["email"],
            },
            mappings=FOUR, mode="upsert")
        return sync, table, rows

    def example(self, destination):
        sync, table, rows = self.start(destination)
        sync.run()
        first = sync.changes()
        self.assertEqual(ops(first), {"insert": 4})
        self.assertEqual([c["id"] for c in first], [{"email": p[0]} for p in PEOPLE])
        self.assertEqual(first[1]["after"], {"email_id": "ben@example.com", "fn": "Ben", "ln": "Doe"})
        self.assertIn("first", sync.summary()["full"])
        self.assertEqual(rows(), [[e, f, l, None] for e, f, l, _ in PEOPLE])

        # Nothing changed: nothing is sent.
        sync.run()
        self.assertEqual(sync.changes(), [])

        # last_name is no longer mapped: not a full run, and no record changed by it.
        sync.define(mappings=[("email", "email_id"), ("first_name", "fn")])
        sync.run("plan")
        self.assertNotIn("full", sync.read("pending/summary").replace("full: no", ""))
        self.assertEqual(sync.lines("pending/changes.jsonl"), [])
        sync.run()
        self.assertEqual(sync.changes(), [])
        self.assertIsNone(sync.summary()["full"])

        # One row changes, in a mapped column and in the one that is mapped no longer: exactly it
        # is sent, and the destination's ln is left alone.
        self.pg.sql("UPDATE %s SET first_name = 'Benjamin', last_name = 'Roe' "
                    "WHERE email = 'ben@example.com'" % table)
        self.pg.sql("UPDATE %s SET last_name = 'Lee' WHERE email = 'cho@example.com'" % table)
        sync.run()
        changes = sync.changes()
        self.assertEqual(ops(changes), {"update": 1})
        self.assertEqual(changes[0]["id"], {"email": "ben@example.com"})
        self.assertEqual(changes[0]["after"], {"email_id": "ben@example.com", "fn": "Benjamin"})
        self.assertEqual(changes[0]["before"]["fn"], "Ben")
        self.assertEqual(changes[0]["changed"], ["fn"])
        self.assertIsNone(sync.summary()["full"])
        self.assertEqual(rows()[1], ["ben@example.com", "Benjamin", "Doe", None])
        self.assertEqual(rows()[2][2], "Kim")

        # address is mapped: the next run is full, and says so before and after.
        sync.define(mappings=[("email", "email_id"), ("first_name", "fn"), ("address", "address")])
        self.assertIn("mapping added: address → address", sync.read("status"))
        sync.run("plan")
        summary = sync.read("pending/summary")
        self.assertIn("mapping added: address → address", summary)
        self.assertIn("4", summary)
        self.assertEqual(ops(sync.lines("pending/changes.jsonl")), {"update": 4})
        sync.run()
        self.assertEqual(ops(sync.changes()), {"update": 4})
        self.assertEqual(sync.summary()["full"], "mapping added: address → address")
        self.assertIn("full: mapping added: address → address", sync.read("runs/last/log"))
        self.assertEqual([r[3] for r in rows()], [p[3] for p in PEOPLE])
        self.assertEqual([r[2] for r in rows()], [p[2] for p in PEOPLE])

        sync.run()
        self.assertEqual(sync.changes(), [])
        self.assertIsNone(sync.summary()["full"])

    def test_to_postgres(self):
        self.example("pg")

    def test_to_sqlite(self):
        self.example("lite")

    def test_updated_mapping(self):
        sync, table, rows = self.start("pg")
        sync.run()
        # Another column behind a field.
        sync.define(mappings=[("email", "email_id"), ("last_name", "fn"), ("last_name", "ln")])
        sync.run()
        self.assertEqual(ops(sync.changes()), {"update": 4})
        self.assertIn("mapping updated", sync.summary()["full"])
        self.assertEqual([r[1] for r in rows()], [p[2] for p in PEOPLE])
        # An expression in place of a column.
        sync.define(mappings=[("email", "email_id"), ("", "fn", "upper(first_name)"), ("last_name", "ln")])
        sync.run()
        self.assertIn("mapping updated", sync.summary()["full"])
        self.assertEqual([r[1] for r in rows()], [p[1].upper() for p in PEOPLE])

    def test_reordered(self):
        sync, table, rows = self.start("pg")
        sync.run()
        # Order, white space and comments change nothing.
        sync.define(mappings="column,field\nlast_name,ln\n\nemail,email_id\nfirst_name,fn\n")
        sync.run()
        self.assertEqual(sync.changes(), [])
        self.assertIsNone(sync.summary()["full"])
        # A mapping away and back again before a run: nothing happened.
        sync.define(mappings=FOUR[:2])
        sync.define(mappings=FOUR)
        sync.run()
        self.assertIsNone(sync.summary()["full"])
        self.assertEqual(sync.changes(), [])
        # Away, a run, and back: that is a mapping added.
        sync.define(mappings=FOUR[:2])
        sync.run()
        sync.define(mappings=FOUR)
        sync.run()
        self.assertIn("mapping added: last_name → ln", sync.summary()["full"])
        self.assertEqual(len(sync.changes()), 4)


class TenThousand(MountTest):
    postgres = True

    def test_2000_of_10000(self):
        self.pg.sql("CREATE TABLE big (id int PRIMARY KEY, v text);"
                    "INSERT INTO big SELECT i, 'v' || i FROM generate_series(1, 10000) i")
        syncs = {}
        for mode in "upsert", "full", "mirror", "update":
            syncs[mode] = self.mount.sync("big_" + mode).define(
                config={
                    "source": {"connection": "pg", "table": "big"},
                    "destination": {"connection": "pg", "object": "to_" + mode, "create": True},
                    "identifier": "id",
                },
                mappings=[("id", "id"), ("v", "v")],
                mode="upsert" if mode == "update" else mode)
            syncs[mode].run()
            self.assertEqual(ops(syncs[mode].changes()), {"insert": 10000})
        syncs["update"].define(mode="update")
        self.pg.sql("UPDATE big SET v = v || '!' WHERE id % 5 = 0")
        want = self.pg.sql("SELECT * FROM big ORDER BY id")
        for mode, sync in syncs.items():
            with self.subTest(mode=mode):
                sync.run()
                self.assertEqual(ops(sync.changes()), {"update": 10000 if mode == "full" else 2000})
                self.assertEqual(self.pg.sql("SELECT * FROM to_%s ORDER BY id" % mode), want)
                self.assertIn("2000" if mode != "full" else "10000", sync.read("status").replace(",", ""))


if __name__ == "__main__":
    main()
