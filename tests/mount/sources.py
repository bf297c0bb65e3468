#!/usr/bin/env python3
"""The sources: what they read, and that an error half way is a failed run that leaves the
destination as it was, never a smaller model."""

import errno
import json
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from retlfs import MountTest, Sqlite, main, ops, wait_for

V = [("id", "id"), ("v", "v")]


class Sources(MountTest):
    postgres = True

    def make(self, source, mode="mirror", mappings=V, identifier="id", **more):
        self.object = "d_" + self.name
        return self.sync(
            config={"source": source, "identifier": identifier,
                    "destination": {"connection": "pg", "object": self.object, "create": True}, **more},
            mappings=mappings, mode=mode)

    def dest(self):
        return self.pg.sql('SELECT * FROM "%s" ORDER BY 1' % self.object)

    def file(self, name, content, driver, **more):
        path = self.mount.data / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        self.mount.connect(self.name, {"driver": driver, "path": str(path), **more})
        return path

    def fails(self, sync, words):
        """The run fails, says why, and changes nothing at the destination."""
        before, runs = self.dest(), sync.last_run()
        sync.run(want=errno.EIO)
        self.assertRegex(sync.read("error"), words)
        self.assertRegex(sync.read("status"), words)
        self.assertIn("fail", sync.read("status"))
        self.assertEqual(self.dest(), before)
        self.assertEqual(sync.last_run(), runs + 1)
        self.assertEqual(sync.summary()["outcome"], "failed")

    # ---- PostgreSQL ----

    def test_error_at_row_n(self):
        self.pg.sql("CREATE TABLE n AS SELECT i AS id, 1 AS d FROM generate_series(1, 20000) i")
        sync = self.make({"connection": "pg", "query": "SELECT id, (10 / d)::text AS v FROM n ORDER BY id"})
        sync.run()
        self.pg.sql("UPDATE n SET d = 0 WHERE id = 15000; UPDATE n SET d = 5 WHERE id < 100; DELETE FROM n WHERE id > 19999")
        self.fails(sync, "division by zero")
        self.pg.sql("UPDATE n SET d = 2 WHERE id = 15000")
        sync.run()
        self.assertEqual(ops(sync.changes()), {"update": 100, "delete": 1})

    def test_connection_killed(self):
        self.pg.sql("CREATE TABLE killed AS SELECT i AS id, 'v' AS v FROM generate_series(1, 100) i")
        sync = self.make({"connection": "pg", "query": "SELECT id, v FROM killed"})
        sync.run()
        sync.define(config={
            "source": {"connection": "pg", "query": "SELECT id, v FROM killed UNION ALL SELECT 0, 'x' FROM pg_sleep(60)"},
            "identifier": "id", "destination": {"connection": "pg", "object": self.object}})
        before = self.dest()
        sync.run("start")
        wait_for("the backend", lambda: self.pg.value(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
            "WHERE query LIKE '%pg_sleep(60)%' AND application_name LIKE 'retlfs%'") != "0")
        self.assertEqual(sync.trigger("wait"), errno.EIO)
        self.assertEqual(self.dest(), before)
        self.assertRegex(sync.read("error"), "terminat|connection")

    def test_read_only_and_named(self):
        # No write privilege is needed, the transaction is read-only, the application is named.
        self.pg.sql("CREATE TABLE ro AS SELECT 1 AS id, 'a'::text AS v")
        sync = self.make({"connection": "pg", "query":
                          "SELECT id, current_setting('transaction_read_only') || ' ' || "
                          "current_setting('transaction_isolation') || ' ' || current_setting('application_name') AS v FROM ro"})
        sync.run()
        value = self.dest()[0][1]
        self.assertRegex(value, "^on repeatable read retlfs")
        self.assertIn(self.name, value)
        sync = self.mount.sync("writes").define(
            config={"source": {"connection": "pg", "query": "SELECT nextval('seq')::int AS id, 'x' AS v"},
                    "identifier": "id", "destination": {"connection": "pg", "object": "w", "create": True}},
            mappings=V, mode="upsert")
        self.pg.sql("CREATE SEQUENCE seq")
        self.assertEqual(sync.trigger("run"), errno.EIO)
        self.assertIn("read-only", sync.read("error"))

    def test_query_with_comment_and_semicolon(self):
        sync = self.make({"connection": "pg", "query": "SELECT 1 AS id, 'a;b' AS v; -- the end"})
        sync.run()
        self.assertEqual(self.dest(), [["1", "a;b"]])

    def test_table_in_schema(self):
        self.pg.sql('CREATE SCHEMA "Odd One"; CREATE TABLE "Odd One"."A.b" (id int, v text);'
                    'INSERT INTO "Odd One"."A.b" VALUES (1, \'x\')')
        sync = self.make({"connection": "pg", "table": '"Odd One"."A.b"'})
        sync.run()
        self.assertEqual(self.dest(), [["1", "x"]])

    def test_missing_table_and_wrong_query(self):
        sync = self.make({"connection": "pg", "table": "not_there"})
        sync.run(want=errno.EIO)
        self.assertIn("not_there", sync.read("error"))
        sync = self.make({"connection": "pg", "query": "SELEC 1"})
        sync.run(want=errno.EIO)
        self.assertIn("syntax", sync.read("error"))

    def test_server_that_is_not_there(self):
        self.mount.connect("gone", {"driver": "postgres", "dsn": "host=127.0.0.1 port=1 dbname=x connect_timeout=3"})
        sync = self.make({"connection": "gone", "table": "t"})
        sync.run(want=errno.EIO)
        self.assertRegex(sync.read("error"), "(?i)refused|connect")

    def test_password_from_env_and_file(self):
        secret = self.mount.data / "secret"
        secret.write_text("s3cret-word\n")
        self.pg.sql("CREATE TABLE pw AS SELECT 1 AS id, 'a'::text AS v")
        for source in {"file": str(secret)}, {"command": ["cat", str(secret)]}:
            self.mount.connect("withpw", {**self.pg.connection, "password": source})
            self.make({"connection": "withpw", "table": "pw"}).run()
        self.mount.connect("withpw", {**self.pg.connection, "password": {"env": "NOT_SET_ANYWHERE"}})
        sync = self.make({"connection": "withpw", "table": "pw"})
        sync.run(want=errno.EIO)
        self.assertIn("NOT_SET_ANYWHERE", sync.read("error"))
        everything = sync.read("log") + sync.read("status") + sync.read("runs/last/log") + self.mount.stderr()
        self.assertNotIn("s3cret-word", everything)

    # ---- SQLite ----

    def test_sqlite(self):
        db = Sqlite(self.mount.data / "source.db")
        db.sql("CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT)")
        db.fill("t", [(i, "v%d" % i) for i in range(1, 5001)])
        self.mount.connect("sqlite_source", db.connection)
        sync = self.make({"connection": "sqlite_source", "table": "t"})
        sync.run()
        self.assertEqual(ops(sync.changes()), {"insert": 5000})
        db.sql("UPDATE t SET v = 'x' WHERE id = 9")
        db.sql("DELETE FROM t WHERE id = 8")
        sync.run()
        self.assertEqual([(c["op"], c["id"]["id"]) for c in sync.changes()], [("delete", 8), ("update", 9)])
        # A query that fails at row n.
        sync.define(config={
            "source": {"connection": "sqlite_source", "query":
                       "SELECT id, CASE WHEN id = 4000 THEN abs(-9223372036854775808) ELSE v END AS v FROM t"},
            "identifier": "id", "destination": {"connection": "pg", "object": self.object}})
        self.fails(sync, "overflow")

    def test_sqlite_is_opened_read_only(self):
        path = self.mount.data / "missing.db"
        self.mount.connect("missing", {"driver": "sqlite", "path": str(path)})
        sync = self.make({"connection": "missing", "table": "t"})
        sync.run(want=errno.EIO)
        self.assertFalse(path.exists())
        self.assertIn("missing.db", sync.read("error"))
        db = Sqlite(self.mount.data / "ro.db")
        db.sql("CREATE TABLE t (id INTEGER, v TEXT)")
        self.mount.connect("ro", db.connection)
        sync = self.make({"connection": "ro", "query": "DELETE FROM t RETURNING id, v"})
        self.assertNotEqual(sync.trigger("run"), 0)

    # ---- CSV ----

    def test_csv(self):
        path = self.file("in.csv", 'id,v\n1,a\n2,"b, ""b""\nand more"\n3,\n4,""\n', "csv")
        sync = self.make({"connection": "csv"})
        sync.run()
        self.assertEqual(self.dest(), [["1", "a"], ["2", 'b, "b"\nand more'], ["3", None], ["4", ""]])
        path.write_text("id,v\r\n1,A\r\n3,\r\n4,x")
        sync.run()
        self.assertEqual([(c["op"], c["id"]["id"]) for c in sync.changes()],
                         [("update", "1"), ("delete", "2"), ("update", "4")])

    def test_csv_that_only_seems_ordered(self):
        """It is compared while it is read; what is out of order is found, and nothing is sent twice."""
        rows = [(i, "a value that makes the row a long one: number %d" % i) for i in range(1, 100001)]
        text = lambda: "id,v\n" + "".join("%d,%s\n" % row for row in rows)
        path = self.file("big.csv", text(), "csv")
        sync = self.make({"connection": self.name, "types": {"id": "integer"}})
        sync.run()
        log = len(sync.read("log"))
        rows[77770], rows[77777] = rows[77777], rows[77770]
        rows[5] = (6, "other")
        rows.insert(60000, (7, "twice"))
        path.write_text(text())
        sync.run(want=errno.EIO)
        self.assertIn("not in the order they seemed to be in: sorting here instead", sync.read("log")[log:])
        self.assertEqual({k: sync.summary()[k] for k in ("updates", "unchanged", "rejected", "deletes")},
                         {"updates": 1, "unchanged": 99998, "rejected": 2, "deletes": 0})
        self.assertEqual(self.dest()[5], ["6", "other"])
        self.assertEqual(len(self.dest()), 100000)

    def test_csv_encoding_error(self):
        rows = ["%d,v%d" % (i, i) for i in range(1, 3001)]
        path = self.file("enc.csv", "id,v\n" + "\n".join(rows) + "\n", "csv")
        sync = self.make({"connection": self.name})
        sync.run()
        broken = ("id,v\n" + "\n".join(rows) + "\n").encode().replace(b"1999,v1999", b"1999,v\xff\xfe")
        path.write_bytes(broken)
        self.fails(sync, r"2000")  # the header is line 1
        self.assertRegex(sync.read("error"), "UTF-8")
        # A quote that is never closed.
        path.write_text("id,v\n" + "\n".join(rows[:100]) + '\n101,"open\n')
        self.fails(sync, "(?i)quote|line 102")
        # A line with too many cells.
        path.write_text("id,v\n1,a\n2,b,c\n")
        self.fails(sync, r"3\b")
        os.unlink(path)
        self.fails(sync, "enc.csv")

    def test_csv_glob_delimiter_types(self):
        for month in 1, 2, 3:
            (self.mount.data / ("m%d.tsv" % month)).write_text(
                "id\tv\tamount\n%d\tm%d\t%d.50\n" % (month, month, month))
        self.mount.connect("tsv", {"driver": "csv", "path": str(self.mount.data / "m*.tsv"), "delimiter": "\t"})
        sync = self.make(
            {"connection": "tsv", "types": {"id": "integer", "amount": "decimal"}},
            mappings=V + [("amount", "amount")])
        sync.run()
        self.assertEqual(self.dest(), [["1", "m1", "1.50"], ["2", "m2", "2.50"], ["3", "m3", "3.50"]])
        self.assertEqual(self.pg.sql(
            "SELECT data_type FROM information_schema.columns WHERE table_name = '%s' ORDER BY column_name" % self.object),
            [["numeric"], ["bigint"], ["text"]])
        # A cell that is not what its type says.
        (self.mount.data / "m2.tsv").write_text("id\tv\tamount\ntwo\tm2\t2.50\n")
        before = self.dest()
        self.assertEqual(sync.trigger("run"), errno.EIO)
        self.assertIn("m2.tsv", sync.read("error") + sync.read("rejected.jsonl"))
        self.assertEqual(self.dest(), before)

    # ---- JSON Lines ----

    def test_jsonl(self):
        rows = [{"id": 1, "v": "a"}, {"id": 2, "v": None}, {"id": 3}, {"id": 4, "v": "\u00e9\u20ac\U0001f600"}]
        path = self.file("in.jsonl", "".join(json.dumps(r) + "\n" for r in rows), "jsonl")
        sync = self.make({"connection": "jsonl", "types": {"id": "integer", "v": "text"}})
        sync.run()
        self.assertEqual(self.dest(), [["1", "a"], ["2", None], ["3", None], ["4", "\u00e9\u20ac\U0001f600"]])
        path.write_text('{"id": 1, "v": "a"}\n{"id": 2, "v": \n')
        self.fails(sync, r"\b2\b")


if __name__ == "__main__":
    main()
