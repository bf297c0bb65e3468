#!/usr/bin/env python3
"""Names and values made to hurt: whatever stands in a table's, column's, field's or file's name or
in a value arrives byte for byte, or the run fails with words that name the place. Sizes at and
beyond every limit likewise. RETLFS_TEST_HUGE=1 adds values of up to 1 GB."""

import csv
import errno
import io
import json
import os
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from retlfs import MountTest, Sqlite, main, ops

HOSTILE = [
    "it's", 'say "x"', "back\\slash", "a;DROP TABLE x--", "$(touch /tmp/owned)", "`id`", "100%",
    "%s%n%99$s", "new\nline", "tab\tand\rreturn", "\u00dcn\u00efc\u00f6d\u00e9", "\U0001f600 \u202eright", " lead and trail ",
    "/*c*/", "a,b", '{"j":[1]}', "NULL", "\\N", "\\.", "select", "$1 ?1 :x @y", "[x]", "a.b", "*?", "\x01\x1b[31m\x7f",
    "../../etc/passwd", "=cmd|' /C calc'!A0", "&<b>'\\''", "\u0440\u0430" * 15, "#", "retlfs_runs ", "-rf",
]
# What a value may be beside; None is NULL.
VALUES = HOSTILE + ["", None, "\ufeff", "\uffff\U0010ffff", "'" * 5000, "\\" * 999 + '"', "\r\n", "\n", "\\", "''"]
HUGE = os.environ.get("RETLFS_TEST_HUGE")
FOLDER = "a b'c\";$(x)`y` \u00e4%41"
ID = "i'd\"; \U0001f511"  # the identifier's name


def quoted(name):
    return '"' + name.replace('"', '""') + '"'


def literal(text):
    return "NULL" if text is None else "'" + text.replace("'", "''") + "'"


def by_number(rows):
    return sorted(map(list, rows), key=lambda row: int(row[0]))


class Hostile(MountTest):
    postgres = True

    def rows(self):
        """A row for each value; each has it in another column than the one before."""
        n = len(HOSTILE)
        return [[str(i)] + [value if i % n == c else "x%d" % c for c in range(n)] for i, value in enumerate(VALUES)]

    # ---- the same table in every source ----

    def source_pg(self, rows):
        schema, table = "s'\"; \U0001f600", "ta\"b'le;--$(x)\n"
        self.pg.sql("DROP SCHEMA IF EXISTS %s CASCADE; CREATE SCHEMA %s" % (quoted(schema), quoted(schema)))
        name = "%s.%s" % (quoted(schema), quoted(table))
        self.pg.sql("CREATE TABLE %s (%s); INSERT INTO %s VALUES %s" % (
            name, ", ".join(quoted(c) + " text" for c in [ID] + HOSTILE), name,
            ", ".join("(%s)" % ", ".join(map(literal, row)) for row in rows)))
        return {"connection": "pg", "table": name}

    def source_sqlite(self, rows):
        db = self.database("source")
        table = "ta\"b'le;--$(x)\n%41"
        db.sql("DROP TABLE IF EXISTS " + quoted(table))
        db.sql("CREATE TABLE %s (%s)" % (quoted(table), ", ".join(quoted(c) + " TEXT" for c in [ID] + HOSTILE)))
        db.fill(quoted(table), rows)
        self.mount.connect("source-lite", db.connection)
        return {"connection": "source-lite", "table": table}

    def file(self, name, content, driver, **more):
        folder = self.mount.data / FOLDER
        folder.mkdir(exist_ok=True)
        path = folder / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        self.mount.connect(self.name, {"driver": driver, "path": str(path), **more})
        return {"connection": self.name}

    def source_csv(self, rows):
        out = io.StringIO(newline="")
        out.write(",".join(map(quoted, [ID] + HOSTILE)) + "\n")
        for row in rows:
            out.write(",".join("" if v is None else quoted(v) for v in row) + "\r\n")
        return self.file("[x]*?\n\U0001f600.csv", out.getvalue(), "csv")

    def source_jsonl(self, rows):
        lines = [json.dumps(dict(zip([ID] + HOSTILE, row)), ensure_ascii=i % 2 == 0) for i, row in enumerate(rows)]
        return self.file("#x %2f?mode=rwc.jsonl", "\n".join(lines) + "\n", "jsonl")

    # ---- and in both destinations ----

    def database(self, name):
        return Sqlite(self.mount.data / ("%s '\";$(x)%%41?mode=ro#f [a]*\n\U0001f600.db" % name))

    def in_dest(self, kind, table, columns):
        """The rows, sorted by their number."""
        listed = ", ".join("d." + quoted(c) for c in columns)
        if kind == "pg":  # in hexadecimal: psql leaves out some characters
            got = self.pg.value("SELECT encode(convert_to(json_agg(json_build_array(%s))::text, 'UTF8'), 'hex') "
                                "FROM %s d" % (listed, quoted(table)))
            rows = json.loads(bytes.fromhex(got)) if got else []
        else:
            rows = self.database("dest").sql("SELECT %s FROM %s d" % (listed, quoted(table)))
        return by_number(rows)

    def matrix(self, source):
        """Into both destinations; then everything changes."""
        rows, columns = self.rows(), [ID] + HOSTILE
        config = source(rows)
        self.mount.connect("dest", self.database("dest").connection)
        syncs = {}
        for kind in "pg", "dest":
            table = "o'bj\"ect;$(x)\n" + self.name
            syncs[kind] = self.mount.sync("%s-%s" % (self.name, kind)).define(
                config={"source": config, "identifier": [ID], "destination": {
                    "connection": kind, "object": quoted(table) if kind == "pg" else table, "create": True}},
                # quoted: "#" begins a comment in mappings.csv, and blanks around a cell are no part of it
                mappings="column,field\n" + "".join("%s,%s\n" % (quoted(c), quoted(c)) for c in columns),
                mode="mirror")
            self.deliver(syncs[kind], "insert", rows, {"insert": len(rows)})
            self.assertEqual(self.in_dest(kind, table, columns), rows)
            syncs[kind].run()  # nothing was changed on the way, so nothing is to do
            self.assertEqual(syncs[kind].changes(), [])
        changed = [[row[0]] + [v and v + "'\"\\;" for v in row[1:]] for row in rows[2:]]
        self.assertEqual(source(changed), config)
        for kind, sync in syncs.items():
            self.deliver(sync, "update", changed, {"update": len(changed), "delete": 2})
            self.assertEqual(self.in_dest(kind, table, columns), changed)

    def deliver(self, sync, op, rows, counts):
        """A plan, all its forms, and the run that carries it out."""
        sync.run("plan")
        self.assertEqual(len(os.listdir(sync.path / "pending" / op)), len(rows))
        text = (sync.path / "pending" / (op + "s.csv")).read_bytes().decode()
        table = list(csv.reader(io.StringIO(text, newline="")))
        self.assertEqual(table[0], [ID] + HOSTILE)
        self.assertEqual(by_number(table[1:]), [[v or "" for v in row] for row in rows])
        sync.run("approve")
        changes = sync.changes()
        self.assertEqual(ops(changes), counts)
        self.assertEqual(by_number(list(c["after"].values()) for c in changes if c["op"] == op), rows)

    def test_names_and_values_postgres(self):
        self.matrix(self.source_pg)

    def test_names_and_values_sqlite(self):
        self.matrix(self.source_sqlite)

    def test_names_and_values_csv(self):
        self.matrix(self.source_csv)

    def test_names_and_values_jsonl(self):
        self.matrix(self.source_jsonl)

    def test_names_of_the_tree(self):
        """A connection's and a sync's name is a plain word; another is refused or means nothing."""
        lite = self.sqlite.connection
        for name in HOSTILE:
            if "/" in name:
                continue
            self.mount.connect(name, lite)  # a file like any other
            self.assertEqual(json.loads(self.mount.read("connections/%s.json" % name)), lite)
            path = self.mount.point / "syncs" / name
            try:
                path.mkdir()
            except OSError as e:
                self.assertEqual(e.errno, errno.EINVAL)
            if name in ("select", "NULL", "a.b", "-rf"):
                continue  # plain words
            sync = self.mount.sync(self.name).define(mappings=[("id", "id")], mode="mirror")
            config = {"source": {"connection": name, "table": "x"}, "identifier": "id",
                      "destination": {"connection": "lite", "object": "o"}}
            self.expect_errno(errno.EINVAL, sync.write, "config.json", json.dumps(config))
            self.assertIn("connection", sync.read("error"))
            self.check_words(sync)
        self.assertLessEqual({"connections", "syncs"}, set(os.listdir(self.mount.point)))
        self.assertFalse(os.path.exists("/tmp/owned"))

    def check_words(self, sync):
        """What is shown of a name is on its line and does nothing to a terminal."""
        for text in sync.read("error"), sync.read("status"):
            self.assertTrue(all(ch == "\n" or ch.isprintable() for ch in text), repr(text))

    def test_words_about_names(self):
        """Errors that quote a name cannot pretend to be other lines of status."""
        bad = "x\nstate: ready\x1b[2J\u009b1m\u202e\u2028\ty"
        self.pg.sql("CREATE TABLE plain (id int PRIMARY KEY); INSERT INTO plain VALUES (1)")
        self.sqlite.sql("CREATE TABLE plain (id int PRIMARY KEY)")
        for source, dest, column, field in ((bad, "o", "id", "id"), ("plain", bad, "id", "id"), ("plain", "plain", bad, "v"),
                                            ("plain", "plain", "id", bad)):
            for kind in "pg", "lite":
                name = lambda n: quoted(n) if kind == "pg" else n
                sync = self.mount.sync(self.name).define(
                    config={"source": {"connection": "pg", "table": quoted(source)}, "identifier": column,
                            "destination": {"connection": kind, "object": name(dest)}},
                    mappings="column,field\n%s,%s\n" % (quoted(column), quoted(field)), mode="mirror")
                self.assertNotEqual(sync.trigger("run"), 0)
                self.check_words(sync)
                self.assertEqual(sync.state(), "failed")
        self.assertTrue(all(line.isprintable() for line in self.mount.stderr().splitlines()), self.mount.stderr())

    # ---- bytes that are no text ----

    def fails(self, source, words, mappings=(("id", "id"), ("v", "v"))):
        """The run into each destination fails with these words and leaves nothing there."""
        for kind in "pg", "lite":
            sync = self.mount.sync("%s-%s" % (self.name, kind)).define(
                config={"source": source, "identifier": "id", "destination": {
                    "connection": kind, "object": "bad_" + self.name, "create": True}}, mappings=list(mappings), mode="mirror")
            self.assertNotEqual(sync.trigger("run"), 0)
            self.assertRegex(sync.read("error"), words)
            self.assertNotEqual(sync.summary()["outcome"], "ok")
        self.assertEqual(self.pg.value("SELECT to_regclass('bad_%s')" % self.name), None)
        self.assertEqual(self.sqlite.sql("SELECT name FROM sqlite_master WHERE name = 'bad_%s'" % self.name), [])

    def test_no_text_csv(self):
        for bad in b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xc0\x80", b"\xf4\x90\x80\x80":
            self.fails(self.file("x.csv", b'id,v\n1,"a\nb"\n2,x%sy\n' % bad, "csv"), r"x\.csv:4: not valid UTF-8")
        self.fails(self.file("x.csv", b"id,v\n1,a\0b\n", "csv"), r"x\.csv:2: NUL byte")

    def test_no_text_jsonl(self):
        self.fails(self.file("x.jsonl", b'{"id":1}\n{"id":2,"v":"a\xffb"}\n', "jsonl"), r"x\.jsonl:2:15: not valid UTF-8")
        self.fails(self.file("x.jsonl", b'{"id":2,"v":"a\0b"}\n', "jsonl"), r"x\.jsonl:1:15: NUL byte")
        self.fails(self.file("x.jsonl", b'\n{"id":2,"v":"a\\u0000b"}\n', "jsonl"), r"x\.jsonl:2:15: \\u0000 cannot")
        self.fails(self.file("x.jsonl", b'{"id":2,"v":"\\ud800"}\n', "jsonl"), r"x\.jsonl:1:14: half a surrogate")

    def test_no_text_sqlite(self):
        db = self.database("bad")
        self.mount.connect("bad", db.connection)
        db.sql("CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT)")
        for bad in "ff", "610062", "eda080":
            db.sql("DELETE FROM t")
            db.sql("INSERT INTO t VALUES (1, 'good'), (7, CAST(x'%s' AS TEXT))" % bad)
            self.fails({"connection": "bad", "table": "t"}, 'row 2, column "v": a text that is not valid UTF-8')

    def test_no_text_postgres(self):
        name = "t_%d_ascii" % os.getpid()
        self.pg.sql("CREATE DATABASE %s ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0" % name)
        self.addCleanup(self.pg.sql, "DROP DATABASE %s WITH (FORCE)" % name)
        self.mount.connect("ascii", {"driver": "postgres", "dsn": self.pg.dsn, "dbname": name})
        self.fails({"connection": "ascii", "query": "SELECT 1 AS id, 'x'::text AS v UNION ALL SELECT 2, E'\\xff\\xfe'"},
                   "after row 1: invalid byte sequence")

    def test_bytes(self):
        """What is declared as bytes may be anything."""
        data = bytes(range(256)) * 3 + b"\0" * 100 + b"\\x00"
        db = self.database("bytes")
        self.mount.connect("bytes", db.connection)
        db.sql("CREATE TABLE t (id INTEGER PRIMARY KEY, v BLOB)")
        db.sql("INSERT INTO t VALUES (1, ?)", (data,))
        self.copy({"connection": "bytes", "table": "t"}, "pg", "bytes")
        self.assertEqual(self.pg.value("SELECT encode(v, 'hex') FROM bytes"), data.hex())
        self.copy({"connection": "pg", "table": "bytes"}, "lite", "bytes")
        self.assertEqual(self.sqlite.sql("SELECT v FROM bytes"), [[data]])

    def copy(self, source, kind, table, mappings=(("id", "id"), ("v", "v")), want=0):
        sync = self.mount.sync("%s-%s" % (self.name, kind)).define(
            config={"source": source, "identifier": "id",
                    "destination": {"connection": kind, "object": table, "create": True}},
            mappings=list(mappings), mode="mirror")
        sync.run(want=want)
        return sync

    def test_expressions(self):
        """Code in an expression computes, or the row is refused."""
        self.pg.sql("CREATE TABLE expr AS SELECT 1 AS id, 'x'::text AS v")
        for expression, words in ("char(0)", "no UTF-8 text"), ("cast(x'ff' AS text)", "no UTF-8 text"), \
                ("zeroblob(17000000)", "zeroblob"), ("hex(printf('%.*c', 9000000, 'x'))", "too big"):
            sync = self.sync(
                config={"source": {"connection": "pg", "table": "expr"}, "identifier": "id",
                        "destination": {"connection": "lite", "object": "expr", "create": True}}, mode="mirror")
            try:
                sync.define(mappings=[("id", "id", ""), ("", "v", expression)])
            except OSError:
                self.assertIn(words, sync.read("error"))
                continue
            self.assertNotEqual(sync.trigger("run"), 0)
            self.assertIn(words, json.dumps(sync.rejected()) + sync.read("error"))

    # ---- limits ----

    def wide(self, n, source):
        """n columns of one digit beside the identifier."""
        names = ["c%d" % i for i in range(n)]
        if source == "pg":
            self.pg.sql("DROP TABLE IF EXISTS wide; CREATE TABLE wide (id int PRIMARY KEY, %s); INSERT INTO wide VALUES (1, %s)" % (
                ", ".join(c + " boolean" for c in names), ", ".join("true" for c in names)))
            return {"connection": "pg", "table": "wide"}
        return self.file("wide.csv", "id,%s\n1,%s\n" % (",".join(names), ",".join("t" for c in names)), "csv")

    def test_columns(self):
        mappings = lambda n: [("id", "id")] + [("c%d" % i, "f%d" % i) for i in range(n)]
        count = "SELECT count(*) FROM wide_to, json_each_text(to_json(wide_to)) x(k, v) WHERE k LIKE 'f%' AND v IN ('t', 'true')"
        # PostgreSQL's most, to SQLite; and as many as it takes beside two of ours, by both ways
        self.copy(self.wide(1599, "pg"), "lite", "wide_to", mappings(1599))
        self.assertEqual(self.sqlite.sql("SELECT * FROM wide_to"), [[1] + [1] * 1599])
        for source in "pg", "csv":
            self.pg.sql("DROP TABLE IF EXISTS wide_to")
            self.copy(self.wide(1597, source), "pg", "wide_to", mappings(1597))
            self.assertEqual(self.pg.value(count), "1597")
        self.file("wide.csv", (self.mount.data / FOLDER / "wide.csv").read_text() + "2," + ",".join("t" * 1597) + "\n", "csv")
        self.mount.sync(self.name + "-pg").run()
        self.assertEqual(self.pg.value(count), "3194")
        # more is refused at once, not when the second run comes
        self.pg.sql("DROP TABLE wide_to")
        for n in 1598, 1600, 3000:
            sync = self.copy(self.wide(n, "csv"), "pg", "wide_to", mappings(n), want=errno.EIO)
            self.assertRegex(sync.read("error"), "at most 1598 fields")
        sync = self.copy(self.wide(3000, "csv"), "lite", "wider", mappings(3000), want=errno.EIO)
        self.assertRegex(sync.read("error"), "too many columns")

    def test_nested(self):
        """100,000 brackets: refused with the place where files are ours to read, else as the server says."""
        deep = "[" * 100000 + "]" * 100000
        self.fails(self.file("x.jsonl", '{"id":1}\n{"id":2,"v":%s}\n' % deep, "jsonl"), r"x\.jsonl:2:\d+: nested too deeply")
        for name in "connections/deep.json", "syncs/%s-pg/config.json" % self.name:
            self.expect_errno(errno.EINVAL, self.mount.write, name, '{"a":%s}' % deep)
        # a document that PostgreSQL takes comes out as it went in
        deep = "[" * 3000 + "1" + "]" * 3000
        self.pg.sql("CREATE TABLE nested (id int PRIMARY KEY, v json); INSERT INTO nested VALUES (1, '%s')" % deep)
        for kind in "pg", "lite":
            sync = self.copy({"connection": "pg", "table": "nested"}, kind, "nested_to")
            self.assertIn(deep, sync.read("runs/last/changes.jsonl"))
        self.assertEqual(self.pg.value("SELECT v FROM nested_to"), deep)
        self.assertEqual(self.sqlite.sql("SELECT v FROM nested_to"), [[deep]])
        # one that it refuses is one row refused
        deep = "[" * 100000 + "]" * 100000
        self.pg.sql("CREATE TABLE texts (id int PRIMARY KEY, v text); INSERT INTO texts VALUES (2, '%s'), (3, '[]'); TRUNCATE nested_to" % deep)
        sync = self.copy({"connection": "pg", "table": "texts"}, "pg", "nested_to", want=errno.EIO)
        self.assertEqual(self.pg.sql("SELECT id, v FROM nested_to"), [["3", "[]"]])
        self.assertRegex(json.dumps(sync.rejected()), "stack depth limit")

    def test_large(self):
        """A large value, there and back. PostgreSQL's own limit is 1 GB for a row."""
        n = (950 if HUGE else 24) << 20
        self.pg.sql("CREATE TABLE large (id int PRIMARY KEY, v text); ALTER TABLE large ALTER v SET STORAGE EXTERNAL; "
                    "INSERT INTO large SELECT 1, repeat('0123456789abcde' || chr(10), %d)" % (n // 16))
        self.copy({"connection": "pg", "table": "large"}, "lite", "large")
        self.assertEqual(self.sqlite.sql("SELECT length(v) FROM large"), [[n]])
        self.copy({"connection": "lite", "table": "large"}, "pg", "large_back")
        self.assertEqual(self.pg.value("SELECT (a.v = b.v)::text FROM large a, large_back b"), "true")

    @unittest.skipUnless(HUGE, "takes gigabytes of memory: RETLFS_TEST_HUGE=1")
    def test_too_large(self):
        """Rows beyond 512 MiB of a file, beyond 1 GB of a server: words, and nothing delivered."""
        line = self.mount.data / "huge.csv"
        with open(line, "wb") as f:
            f.write(b"id,v\n1,")
            for _ in range(1100):
                f.write(b"x" * (1 << 20))
        for driver in "csv", "jsonl":
            self.mount.connect(self.name, {"driver": driver, "path": str(line)})
            self.fails({"connection": self.name}, "more than 512 MiB|expected an object")
        self.fails({"connection": "pg", "query": "SELECT 1 AS id, repeat('x', 600000000) AS v, repeat('y', 600000000) AS w"},
                   "enlarge string buffer|memory", (("id", "id"), ("v", "v"), ("w", "w")))


if __name__ == "__main__":
    main()
