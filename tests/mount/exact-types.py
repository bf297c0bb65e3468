#!/usr/bin/env python3
"""Every type crosses exactly: PostgreSQL → PostgreSQL, PostgreSQL → SQLite → PostgreSQL, typed
CSV and JSON Lines → PostgreSQL. 0.1 arrives as 0.1, 2^53 + 1 unrounded, '' is not NULL."""

import json
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from retlfs import MountTest, Sqlite, main, ops

# column, type, values as SQL literals
TYPES = [
    ("b", "boolean", ["true", "false", "NULL"]),
    ("i2", "smallint", ["-32768", "32767", "0"]),
    ("i4", "integer", ["-2147483648", "2147483647", "NULL"]),
    ("i8", "bigint", ["9223372036854775807", "-9223372036854775808", "9007199254740993"]),
    ("n", "numeric", ["0.1", "12345678901234567890123456789.000100", "'NaN'"]),
    ("n2", "numeric(12,2)", ["0.10", "-9999999999.99", "NULL"]),
    ("f4", "real", ["0.1", "'Infinity'", "-1.5e-30"]),
    ("f8", "double precision", ["0.1", "'-Infinity'", "1.7976931348623157e308"]),
    ("t", "text", ["''", "E'a\\tb\\nc\\\\d\"e''f'", "'\u00e9\u20ac\U0001f600'"]),
    ("vc", "varchar(10)", ["'x'", "NULL", "'  y '"]),
    ("ch", "char(5)", ["'ab'", "'abcde'", "NULL"]),
    ("u", "uuid", ["'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'", "NULL", "NULL"]),
    ("by", "bytea", ["'\\x'", "'\\x00ff10'", "NULL"]),
    ("d", "date", ["'2024-02-29'", "'infinity'", "'0044-03-15 BC'"]),
    ("tm", "time", ["'13:05:00.25'", "'24:00:00'", "NULL"]),
    ("ts", "timestamp", ["'2024-01-31 13:05:00.000001'", "'-infinity'", "NULL"]),
    ("tz", "timestamptz", ["'2024-01-31 13:05:00.25+05:30'", "'infinity'", "'1999-12-31 23:59:59.999999-08'"]),
    ("j", "json", ["'{\"a\": [1, 2.50, null, \"x\"]}'", "'null'", "NULL"]),
    ("jb", "jsonb", ["'{\"big\": 12345678901234567890.5}'", "'[]'", "NULL"]),
    ("iv", "interval", ["'1 year 2 mons 3 days 04:05:06.7'", "NULL", "NULL"]),
    ("ip", "inet", ["'10.1.2.3/8'", "'::1'", "NULL"]),
    ("arr", "integer[]", ["'{1,2,NULL}'", "'{}'", "NULL"]),
    ("en", "mood", ["'happy'", "'so \"so\"'", "NULL"]),
]
NAMES = [c for c, _, _ in TYPES]


class Types(MountTest):
    postgres = True

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.pg.sql("CREATE TYPE mood AS ENUM ('happy', 'so \"so\"')")
        columns = ", ".join("%s %s" % (c, t) for c, t, _ in TYPES)
        rows = ", ".join(
            "(%d, %s)" % (i + 1, ", ".join(values[i] for _, _, values in TYPES)) for i in range(3))
        cls.pg.sql("CREATE TABLE src (id int PRIMARY KEY, %s); INSERT INTO src VALUES %s" % (columns, rows))
        cls.columns = columns

    def make(self, source, dest, mappings, mode="mirror"):
        return self.sync(
            config={"source": source, "destination": dest, "identifier": "id"},
            mappings=mappings, mode=mode)

    def text(self, table, columns=NAMES):
        """The server's own words for each value, so that nothing is compared through Python."""
        return self.pg.sql("SELECT id, %s FROM %s ORDER BY id" % (", ".join(c + "::text" for c in columns), table))

    def same_everywhere(self, table, create):
        sync = self.make({"connection": "pg", "table": "src"},
                         {"connection": "pg", "object": table, "create": create},
                         [("id", "id")] + [(c, c) for c in NAMES])
        sync.run()
        self.assertEqual(self.text(table), self.text("src"))
        sync.run()
        self.assertEqual(sync.changes(), [])
        # Each value as an update too.
        self.pg.sql("TRUNCATE %s" % table)
        self.pg.sql("INSERT INTO %s (id) SELECT id FROM src" % table)
        sync.run("full")
        self.assertEqual(ops(sync.changes()), {"update": 3})
        self.assertEqual(self.text(table), self.text("src"))
        return sync

    def test_postgres_to_the_same_table(self):
        self.pg.sql("CREATE TABLE same (id int PRIMARY KEY, %s)" % self.columns)
        sync = self.same_everywhere("same", False)
        change = [c for c in sync.changes() if c["id"] == {"id": 1}][0]["after"]
        self.assertEqual(change["n"], "0.1")
        self.assertEqual(change["n2"], "0.10")
        self.assertIs(change["b"], True)
        self.assertEqual(change["t"], "")
        self.assertEqual(change["j"]["a"][0], 1)
        change = [c for c in sync.changes() if c["id"] == {"id": 3}][0]["after"]
        self.assertEqual(change["i8"], 9007199254740993)
        self.assertIsNone(change["b"])

    def test_postgres_to_a_created_table(self):
        sync = self.make({"connection": "pg", "table": "src"},
                         {"connection": "pg", "object": "made", "create": True},
                         [("id", "id")] + [(c, c) for c in NAMES])
        sync.run()
        self.assertEqual(self.text("made"), self.text("src"))
        query = ("SELECT column_name, udt_name FROM information_schema.columns WHERE table_name = '%s' "
                 "AND column_name IN ('b', 'i8', 'n2', 'tz', 'jb', 'by', 'd', 'u') ORDER BY 1")
        self.assertEqual(self.pg.sql(query % "made"), self.pg.sql(query % "src"))

    def test_through_sqlite_and_back(self):
        sync = self.make({"connection": "pg", "table": "src"},
                         {"connection": "lite", "object": "mid", "create": True},
                         [("id", "id")] + [(c, c) for c in NAMES])
        sync.run()
        sync.run()
        self.assertEqual(sync.changes(), [])
        self.assertEqual(self.sqlite.sql("SELECT typeof(i8), i8, typeof(t), n, typeof(by) FROM mid WHERE id = 1"),
                         [["integer", 9223372036854775807, "text", "0.1", "blob"]])
        self.assertEqual(self.sqlite.sql("SELECT n FROM mid WHERE id = 2"), [["12345678901234567890123456789.000100"]])
        self.mount.connect("lite_source", self.sqlite.connection)
        self.pg.sql("CREATE TABLE back (id int PRIMARY KEY, %s)" % self.columns)
        self.name += "_2"
        back = self.make({"connection": "lite_source", "table": "mid"}, {"connection": "pg", "object": "back"},
                         [("id", "id")] + [(c, c) for c in NAMES])
        back.run()
        self.assertEqual(self.text("back"), self.text("src"))

    def test_sqlite_values(self):
        # SQLite types values, not columns.
        db = Sqlite(self.mount.data / "loose.db")
        db.sql("CREATE TABLE t (id INTEGER PRIMARY KEY, v)")
        values = [1, 2.5, "text", b"\x00\x01", None, 9223372036854775807, "", "1"]
        db.fill("t", list(enumerate(values, 1)))
        self.mount.connect("loose", db.connection)
        sync = self.make({"connection": "loose", "table": "t"},
                         {"connection": "lite", "object": "loose_copy", "create": True}, [("id", "id"), ("v", "v")])
        sync.run()
        self.assertEqual([r[0] for r in self.sqlite.sql("SELECT v FROM loose_copy ORDER BY id")], values)
        # 1 is not '1', '' is not NULL: each is a change.
        db.sql("UPDATE t SET v = '1' WHERE id = 1")
        db.sql("UPDATE t SET v = NULL WHERE id = 7")
        db.sql("UPDATE t SET v = '' WHERE id = 5")
        sync.run()
        self.assertEqual([c["id"]["id"] for c in sync.changes()], [1, 5, 7])

    def test_csv_typed(self):
        path = self.mount.data / "typed.csv"
        path.write_text(
            "id,flag,n,f,d,ts,tz,j,t\n"
            '1,true,0.10,0.1,2024-02-29,2024-01-31T13:05:00.25,2024-01-31T13:05:00+02:00,"{""a"": 1.50}",""\n'
            "9007199254740993,f,12345678901234567890.5,-1e-7,1999-12-31,1999-12-31 23:59:59,1999-12-31 23:59:59Z,null,\n")
        self.mount.connect("typed", {"driver": "csv", "path": str(path)})
        types = {"id": "integer", "flag": "boolean", "n": "decimal", "f": "float", "d": "date",
                 "ts": "timestamp", "tz": "timestamp with time zone", "j": "json"}
        columns = "id flag n f d ts tz j t".split()
        sync = self.make({"connection": "typed", "types": types},
                         {"connection": "pg", "object": "typed", "create": True}, [(c, c) for c in columns])
        sync.run()
        self.pg.sql("SET timezone = 'UTC'")
        self.assertEqual(
            self.pg.sql("SET timezone = 'UTC'; SELECT id, flag, n, f, d, ts, tz, j::text, t FROM typed ORDER BY id"),
            [["1", "t", "0.10", "0.1", "2024-02-29", "2024-01-31 13:05:00.25", "2024-01-31 11:05:00+00",
              '{"a": 1.50}', ""],
             ["9007199254740993", "f", "12345678901234567890.5", "-1e-07", "1999-12-31", "1999-12-31 23:59:59",
              "1999-12-31 23:59:59+00", "null", None]])

    def test_jsonl(self):
        path = self.mount.data / "typed.jsonl"
        lines = ['{"id": 1, "i": 9223372036854775807, "n": 0.10, "big": 12345678901234567890, "t": "", "b": true, "o": {"x": [1, 2.50]}}',
                 '{"id": 2, "i": -1, "n": 1e400, "big": 0, "t": "\\u00e9\\ud83d\\ude00", "b": false, "o": null}',
                 '{"id": 3, "i": null, "n": null, "big": null, "t": null, "b": null, "o": {"y": "1"}}']
        path.write_text("\n".join(lines) + "\n")
        self.mount.connect("lines", {"driver": "jsonl", "path": str(path)})
        self.pg.sql("CREATE TABLE lines (id int PRIMARY KEY, i bigint, n numeric, big numeric, t text, b boolean, o json)")
        sync = self.make({"connection": "lines"}, {"connection": "pg", "object": "lines"},
                         [(c, c) for c in ("id", "i", "n", "big", "t", "b", "o")])
        sync.run()
        self.assertEqual(self.pg.sql("SELECT id, i, n, big, t, b, o->'x', o->>'y' FROM lines ORDER BY id"), [
            ["1", "9223372036854775807", "0.10", "12345678901234567890", "", "t", "[1, 2.50]", None],
            ["2", "-1", "1" + "0" * 400, "0", "\u00e9\U0001f600", "f", None, None],
            ["3", None, None, None, None, None, None, "1"]])
        sync.run()
        self.assertEqual(sync.changes(), [])
        self.assertEqual(json.loads(sync.read("runs/1/changes.jsonl").splitlines()[0])["after"]["i"], 9223372036854775807)


if __name__ == "__main__":
    main()
