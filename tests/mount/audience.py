#!/usr/bin/env python3
"""Audience syncs into a PostgreSQL membership table: who enters, leaves, comes back, changes; the
first run, a change of mode in mid-life, many lists in one table, guards, refusals, and a daemon that
is killed around the commit. (Random sequences of all this: tests/model.)"""

import errno
import os
import signal
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from faults import Cut, PostgresProxy
from retlfs import MountTest, main, ops, wait_for


class Members(MountTest):
    """`self.model` changes the model's table, `self.members` reads the list."""

    postgres = True

    def source(self, rows):
        self.src = "s_" + self.name
        self.pg.sql("CREATE TABLE %s (id int, v text)" % self.src)
        self.pg.fill(self.src, rows)

    def make(self, mode, name=None, destination=None, **config):
        self.config = {
            "source": {"connection": "pg", "table": self.src},
            "destination": {"connection": "pg", "object": self.name, **(destination or {})},
            "identifier": "id", "type": "audience", **config}
        self.sync_name = name or self.name
        return self.mount.sync(self.sync_name).define(
            config=self.config, mappings=[("id", "id"), ("v", "v")], mode=mode)

    def table(self):
        self.pg.sql("CREATE TABLE %s (id int PRIMARY KEY, v text CHECK (v <> 'bad'))" % self.name)

    def model(self, text):
        self.pg.sql(text.replace("@", self.src))

    def members(self):
        return [tuple(row) for row in self.pg.sql("SELECT id, v FROM %s ORDER BY 1, 2" % self.name)]

    def sent(self, sync, verb="run", want=0):
        sync.run(verb, want)
        return [(c["op"], *c["id"].values(), (c.get("after") or {}).get("v")) for c in sync.changes()]

    def outcomes(self, sync):
        return {(c["op"], c["outcome"].strip()) for c in sync.changes()}


class Modes(Members):
    def test_add(self):
        self.table()
        self.pg.sql("INSERT INTO add VALUES (2, 'there already'), (9, 'theirs')")
        self.source([(1, "a"), (2, "b"), (3, "c")])
        sync = self.make("add")
        self.assertEqual(self.sent(sync), [("insert", 1, "a"), ("insert", 2, "b"), ("insert", 3, "c")])
        self.assertEqual(self.members(), [("1", "a"), ("2", "b"), ("3", "c"), ("9", "theirs")])
        # 1 leaves and is kept; 2 changes and is left as it was; 4 enters.
        self.model("DELETE FROM @ WHERE id = 1; UPDATE @ SET v = 'B' WHERE id = 2; INSERT INTO @ VALUES (4, 'd')")
        self.assertEqual(self.sent(sync), [("insert", 4, "d")])
        self.assertEqual(self.members(), [("1", "a"), ("2", "b"), ("3", "c"), ("4", "d"), ("9", "theirs")])
        summary = sync.summary()
        self.assertEqual((summary["left"], summary["held_back"], summary["unchanged"]), (1, 1, 1))
        self.assertIn("adds a member once", sync.read("explain/2"))
        # 1 comes back, as it was or not: it is a member still.
        self.model("INSERT INTO @ VALUES (1, 'A')")
        self.assertEqual(self.sent(sync), [])
        # A new mapping is no reason to add everybody again.
        self.pg.sql("ALTER TABLE add ADD w text")
        sync.define(mappings=[("id", "id"), ("v", "v"), ("v", "w")])
        self.assertEqual(sync.status()["next_run"], "incremental")
        self.assertEqual(self.sent(sync), [])
        # Asked for, a full run adds all, as they are now.
        self.pg.sql("DELETE FROM add WHERE id = 3")
        self.assertEqual(self.sent(sync, "full"), [("update", i, v) for i, v in ((1, "A"), (2, "B"), (3, "c"), (4, "d"))])
        self.assertEqual(self.members(), [("1", "A"), ("2", "B"), ("3", "c"), ("4", "d"), ("9", "theirs")])

    def test_remove(self):
        self.table()
        self.pg.sql("INSERT INTO remove SELECT i, 'v' || i FROM generate_series(1, 5) i")
        self.source([(i, "v%d" % i) for i in (1, 2, 3)])
        sync = self.make("remove")
        sync.run("plan")
        self.assertEqual([os.listdir(sync.path / "pending" / op) for op in ("insert", "update", "delete")], [[], [], []])
        self.assertIn("recorded: 3\n", sync.read("pending/summary"))
        self.assertEqual(ops(sync.lines("pending/changes.jsonl")), {"record": 3})
        # The first run takes note of who is in, and sends nothing.
        sync.run("approve")
        self.assertEqual(self.outcomes(sync), {("record", "recorded")})
        summary = sync.summary()
        self.assertEqual([summary[k] for k in ("recorded", "inserts", "updates", "deletes", "delivered")], [3, 0, 0, 0, 0])
        self.assertEqual(sync.status()["last_recorded"], "3")
        self.assertEqual(len(self.members()), 5)
        self.assertIn("no; recorded by run 1", sync.read("explain/1"))
        # 1 leaves; 2 changes, which is nothing; 4 enters and is recorded.
        self.model("DELETE FROM @ WHERE id = 1; UPDATE @ SET v = 'x' WHERE id = 2; INSERT INTO @ VALUES (4, 'v4')")
        self.assertEqual(self.sent(sync), [("delete", 1, None), ("record", 4, "v4")])
        self.assertEqual(self.outcomes(sync), {("delete", "delivered"), ("record", "recorded")})
        self.assertEqual(sync.changes()[0]["before"], {"id": 1, "v": "v1"})
        self.assertEqual([m[0] for m in self.members()], ["2", "3", "4", "5"])
        self.assertIn("sends only what left", sync.read("explain/2"))
        # Back again: recorded anew, and seen to leave once more; who is gone already is done.
        self.model("INSERT INTO @ VALUES (1, 'again')")
        self.assertEqual(self.sent(sync), [("record", 1, "again")])
        self.model("DELETE FROM @ WHERE id = 1")
        self.assertEqual(self.sent(sync), [("delete", 1, None)])
        self.assertEqual(self.members(), [("2", "v2"), ("3", "v3"), ("4", "v4"), ("5", "v5")])
        self.assertEqual(self.sent(sync, "full"), [])
        self.assertIn('retlfs_rows_total{sync="remove",outcome="recorded"} 5', self.mount.read("metrics"))

    def test_mirror(self):
        self.table()
        self.source([(1, "a"), (2, "b"), (3, "c")])
        self.pg.sql("INSERT INTO mirror VALUES (9, 'theirs')")
        sync = self.make("mirror", foreign="delete")
        self.assertEqual(sorted(self.sent(sync)), [("delete", 9, None), ("insert", 1, "a"), ("insert", 2, "b"), ("insert", 3, "c")])
        self.model("DELETE FROM @ WHERE id = 1; UPDATE @ SET v = 'B' WHERE id = 2; INSERT INTO @ VALUES (4, 'd')")
        self.assertEqual(self.sent(sync), [("delete", 1, None), ("update", 2, "B"), ("insert", 4, "d")])
        self.assertEqual(self.members(), [("2", "B"), ("3", "c"), ("4", "d")])
        self.model("INSERT INTO @ VALUES (1, 'a')")
        self.assertEqual(self.sent(sync), [("insert", 1, "a")])

    def test_upsert(self):
        self.table()
        self.source([(1, "a"), (2, "b")])
        sync = self.make("upsert")
        self.assertEqual(ops(sync.run().changes()), {"insert": 2})
        self.model("DELETE FROM @ WHERE id = 1; UPDATE @ SET v = 'B' WHERE id = 2; INSERT INTO @ VALUES (3, 'c')")
        self.assertEqual(self.sent(sync), [("update", 2, "B"), ("insert", 3, "c")])
        self.assertEqual(self.members(), [("1", "a"), ("2", "B"), ("3", "c")])
        self.model("INSERT INTO @ VALUES (1, 'a')")
        self.assertEqual(self.sent(sync), [])

    def test_mid_life(self):
        """One sync through all four modes: what is known is kept."""
        self.table()
        self.source([(i, "v") for i in (1, 2, 3)])
        sync = self.make("remove")
        sync.run()
        self.assertEqual(self.members(), [])
        # Recorded is not delivered: they are added now.
        sync.define(mode="add")
        self.assertEqual(sync.status()["next_run"], "incremental")
        self.assertEqual(self.sent(sync), [("insert", i, "v") for i in (1, 2, 3)])
        self.assertIn("only recorded before", sync.changes()[0]["why"])
        self.assertEqual(sync.status()["delivered"], "3")
        self.model("DELETE FROM @ WHERE id = 1; UPDATE @ SET v = 'w' WHERE id = 2; INSERT INTO @ VALUES (4, 'v')")
        self.assertEqual(self.sent(sync), [("insert", 4, "v")])
        # What was kept and left alone meanwhile is found: by mirror all of it …
        sync.define(mode="mirror")
        self.assertEqual(self.sent(sync), [("delete", 1, None), ("update", 2, "w")])
        self.assertEqual(self.members(), [("2", "w"), ("3", "v"), ("4", "v")])
        # … and upsert leaves what remove then takes away.
        sync.define(mode="upsert")
        self.model("DELETE FROM @ WHERE id = 2; UPDATE @ SET v = 'x' WHERE id = 3")
        self.assertEqual(self.sent(sync), [("update", 3, "x")])
        sync.define(mode="remove")
        self.model("INSERT INTO @ VALUES (5, 'v')")
        self.assertEqual(self.sent(sync), [("delete", 2, None), ("record", 5, "v")])
        # Recorded and gone again before anybody added it: removed all the same.
        sync.define(mode="mirror")
        self.model("DELETE FROM @ WHERE id = 5")
        self.assertEqual(self.sent(sync), [("delete", 5, None)])
        self.assertEqual(self.members(), [("3", "x"), ("4", "v")])

    def test_verbs(self):
        self.table()
        self.source([(1, "a"), (2, "b")])
        sync = self.make("remove")
        # The model is taken as delivered, not as recorded: nobody adds it afterwards.
        sync.run("baseline")
        sync.define(mode="mirror")
        self.assertEqual(self.sent(sync), [])
        sync.define(mode="remove")
        sync.run("reset")
        self.assertEqual(ops(sync.run().changes()), {"record": 2})
        self.assertEqual(sync.status()["delivered"], "2")


class Lists(Members):
    def test_lists(self):
        """Two syncs and a stranger in one table."""
        self.pg.sql("CREATE TABLE lists (segment text NOT NULL, id int, v text, PRIMARY KEY (segment, id))")
        self.pg.sql("INSERT INTO lists VALUES ('other', 1, 'x'), ('other', 7, 'x'), ('it''s', 9, 'theirs')")
        self.source([(1, "a"), (2, "b")])
        at = lambda name: {"list": name, "list_column": "segment"}
        sync = self.make("mirror", destination=at("it's"))
        # Foreign is who is in this list.
        sync.run(want=errno.EIO)
        self.assertIn("1 rows at the destination", sync.read("error"))
        self.assertEqual(ops(sync.lines("pending/changes.jsonl")), {"insert": 2, "delete": 1})
        sync.run("approve")
        second = self.make("mirror", name="lists2", destination=at("gold"))
        second.run()
        self.model("DELETE FROM @ WHERE id = 1; UPDATE @ SET v = 'B'")
        sync.define(config={**self.config, "destination": {**self.config["destination"], **at("it's")}, "max_deletes": "100%"})
        self.assertEqual(self.sent(sync), [("delete", 1, None), ("update", 2, "B")])
        rows = self.pg.sql("SELECT * FROM lists ORDER BY 1, 2")
        self.assertEqual(rows, [["gold", "1", "a"], ["gold", "2", "b"], ["it's", "2", "B"], ["other", "1", "x"], ["other", "7", "x"]])
        # Another list is another destination: every row is due, and the list left behind stays as it is.
        sync.define(config={**self.config, "destination": {**self.config["destination"], **at("new")}})
        self.assertIn("full: destination changed: list=it's list_column=segment → list=new", sync.status()["next_run"])
        self.assertEqual(self.sent(sync), [("insert", 2, "B")])
        self.assertEqual(len(self.pg.sql("SELECT * FROM lists")), 6)

    def test_made(self):
        self.source([(1, "a"), (2, "b")])
        self.make("mirror", destination={"create": True, "list": "vip"}).run()
        self.assertEqual(self.pg.sql("SELECT list, id, v FROM made ORDER BY 2"), [["vip", "1", "a"], ["vip", "2", "b"]])
        keys = self.pg.sql("SELECT attname FROM pg_index, pg_attribute WHERE indrelid = 'made'::regclass AND attrelid = indrelid"
                           " AND attnum = ANY(indkey) ORDER BY 1")
        self.assertEqual(keys, [["id"], ["list"]])
        other = self.make("add", name="made2", destination={"list": "gold"})
        other.run()
        self.assertEqual(self.pg.value("SELECT count(*) FROM made"), "4")

    def test_wrong_column(self):
        self.pg.sql("CREATE TABLE wrong_column (id int, v text)")
        self.source([(1, "a")])
        sync = self.make("add", destination={"list": "vip"})
        sync.run(want=errno.EIO)
        self.assertIn('has no column "list"', sync.read("error"))
        sync.define(config={**self.config, "destination": {**self.config["destination"], "list_column": "v"}})
        sync.run(want=errno.EIO)
        self.assertIn("map no field to it", sync.read("error"))


class Refusals(Members):
    def test_edits(self):
        self.table()
        self.source([])
        sync = self.make("add")
        self.assertEqual(sync.read("modes"), "upsert\nmirror\n[add]\nremove\n")
        self.assertIn('# with "type": "audience"\nupsert\nmirror\nadd\nremove\n', self.mount.read("drivers/postgres/modes"))
        self.expect_errno(errno.EINVAL, sync.write, "mode", "insert\n")
        self.assertIn("possible: upsert, mirror, add, remove", sync.read("error"))
        sync.write("mode", "add\n")
        self.mount.connect("hook", {"driver": "webhook", "url": "http://127.0.0.1:9/"})
        for destination, words in ({"connection": "hook"}, "possible: records"), ({"list_column": "c"}, "which of the lists"):
            config = {**self.config, "destination": {**self.config["destination"], **destination}}
            self.expect_errno(errno.EINVAL, sync.define, config)
            self.assertIn(words, sync.read("error"))
            os.unlink(sync.path / "config.json.rej")
        config = {**self.config, "type": "records", "destination": {**self.config["destination"], "list": "vip"}}
        self.expect_errno(errno.EINVAL, sync.define, config)
        self.assertIn('"list" is for a sync with', sync.read("error"))

    def test_type_changes(self):
        """Another type is another destination, and the mode may have to follow."""
        self.table()
        self.source([(1, "a")])
        sync = self.make("upsert").run()
        sync.define(config={**self.config, "type": "records"})
        self.assertIn("full: type changed: audience → records", sync.status()["next_run"])
        self.assertEqual(ops(sync.run().changes()), {"insert": 1})
        sync.define(mode="insert").define(config=self.config)
        self.assertEqual(sync.state(), "draft")
        self.assertIn('mode "insert" is not possible with "type": "audience"', sync.status()["reason"])
        sync.run(want=errno.ENOEXEC)
        sync.define(mode="mirror")
        self.assertEqual(ops(sync.run().changes()), {"insert": 1})

    def test_member_refused(self):
        self.table()
        self.source([(1, "a"), (2, "bad"), (3, "c"), (3, "twice")])
        sync = self.make("add")
        self.assertEqual(self.sent(sync, want=errno.EIO), [("insert", 1, "a"), ("insert", 2, "bad")])
        self.assertEqual([(r["id"]["id"], r["code"]) for r in sync.rejected()],
                         [(2, "23514"), (3, "duplicate_identifier"), (3, "duplicate_identifier")])
        # Due still, with the values of now; 3 enters once it is one.
        self.model("UPDATE @ SET v = 'good' WHERE id = 2; DELETE FROM @ WHERE v = 'twice'")
        self.assertEqual(self.sent(sync), [("insert", 2, "good"), ("insert", 3, "c")])
        self.assertEqual(self.members(), [("1", "a"), ("2", "good"), ("3", "c")])

    def test_removal_refused(self):
        self.table()
        self.source([(1, "a"), (2, "b"), (3, "c")])
        sync = self.make("mirror")
        sync.run()
        sync.define(mode="remove")
        self.pg.sql("CREATE FUNCTION hold_on() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN IF OLD.id = 1 THEN"
                    " RAISE EXCEPTION 'not him'; END IF; RETURN OLD; END$$;"
                    "CREATE TRIGGER hold_on BEFORE DELETE ON removal_refused FOR EACH ROW EXECUTE FUNCTION hold_on()")
        self.model("DELETE FROM @ WHERE id < 3; INSERT INTO @ VALUES (4, 'd')")
        sync.run(want=errno.EIO)
        self.assertEqual(sync.summary()["recorded"], 1)
        self.assertEqual([r["id"]["id"] for r in sync.rejected()], [1])
        self.assertEqual(self.members(), [("1", "a"), ("3", "c")])
        # He is removed once it is allowed, by `retry` too, which records nobody.
        self.pg.sql("DROP TRIGGER hold_on ON removal_refused")
        self.model("INSERT INTO @ VALUES (5, 'e')")
        self.assertEqual(self.sent(sync, "retry"), [("delete", 1, None)])
        self.assertEqual(self.sent(sync), [("record", 5, "e")])
        self.assertEqual(self.members(), [("3", "c")])

    def test_guards(self):
        self.table()
        self.source([(i, "v") for i in range(200)])
        self.pg.sql("INSERT INTO guards SELECT i, 'v' FROM generate_series(0, 199) i")
        sync = self.make("remove")
        sync.run()
        self.model("DELETE FROM @ WHERE id < 50")
        sync.run(want=errno.EIO)
        self.assertEqual(sync.state(), "held")
        self.assertIn("50 of 200", sync.read("error"))
        self.assertEqual(len(self.members()), 200)
        # One of them is left out by hand, and is due again.
        os.unlink(sync.path / "pending/delete/7")
        sync.run("approve")
        self.assertEqual(len(self.members()), 151)
        self.assertEqual(self.sent(sync), [("delete", 7, None)])
        self.model("TRUNCATE @")
        sync.run(want=errno.EIO)
        self.assertIn("the model is empty", sync.read("error"))
        self.assertEqual(len(self.members()), 150)
        # A model that fails half way is no smaller one.
        config = {**self.config, "source": {"connection": "pg", "query": "SELECT id, 1 / (id - 199) || '' AS v FROM guards"}}
        sync.define(config=config)
        sync.run(want=errno.EIO)
        self.assertEqual(len(self.members()), 150)


class Kills(Members):
    """Between the server's commit and the daemon's knowing of it, and just before."""

    expect = r"^retlfs: (error|warning):"

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.proxy = PostgresProxy(cls.pg.host if cls.pg.host[0] != "/" else "127.0.0.1", cls.pg.port)
        cls.addClassCleanup(cls.proxy.close)
        cls.mount.connect("slow", {"driver": "postgres", "dsn": "host=127.0.0.1 port=%d user=%s dbname=%s sslmode=disable" % (
            cls.proxy.port, cls.pg.user, cls.pg.database)})

    def killed(self, sync, when):
        """A run that ends with the daemon, at its COMMIT."""
        def hook(what):
            if what == when:
                self.mount.process.send_signal(signal.SIGKILL)
                raise Cut()
        self.proxy.on_commit = hook
        sync.run("start")
        wait_for("the end of the daemon", lambda: self.mount.process.poll() is not None)
        self.mount.kill()
        self.proxy.rest()
        self.mount.start()

    def test_kill(self):
        self.pg.sql("CREATE TABLE kill (list text, id int, v text, PRIMARY KEY (list, id))")
        self.source([(i, "v") for i in range(10)])
        to = {"connection": "slow", "list": "vip"}
        for mode in "add", "mirror", "upsert", "remove":
            for when in "asked", "answered":
                sync = self.make(mode, name="kill_%s_%s" % (mode, when), destination={**to, "list": mode + when}, max_deletes="100%")
                if mode == "remove":
                    sync.define(mode="upsert").run().define(mode="remove")
                else:
                    sync.run()
                self.model("DELETE FROM @ WHERE id = 3; UPDATE @ SET v = 'w' WHERE id = 4; INSERT INTO @ VALUES (20, 'v')")
                self.killed(sync, when)
                sync.run()
                self.assertEqual(sync.summary(2)["outcome"],
                                 "succeeded" if when == "answered" else "failed", (mode, when))
                want = {i: "v" for i in range(10)}
                if mode in ("add", "mirror", "upsert"):
                    want[20] = "v"
                if mode in ("mirror", "upsert"):
                    want[4] = "w"
                if mode in ("mirror", "remove"):
                    del want[3]
                got = self.pg.sql("SELECT id, v FROM kill WHERE list = '%s%s' ORDER BY id" % (mode, when))
                self.assertEqual({int(i): v for i, v in got}, want, (mode, when))
                self.assertEqual(self.sent(sync), [], (mode, when))
                self.model("INSERT INTO @ VALUES (3, 'v'); UPDATE @ SET v = 'v'; DELETE FROM @ WHERE id = 20")


main()
