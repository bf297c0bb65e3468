#!/usr/bin/env python3
"""A call that nobody answered may have been applied. The doubt lasts until a later call is answered: refusals,
and that the row leaves the model and comes back, do not end it. The destination takes only what changed, so that
whoever trusts what was before sends the wrong thing."""

import errno
import json
import os
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from retlfs import MountTest, Sqlite, main, wait_for


class Profiles:
    """Braze's users as /users/track and /users/delete change them, or who is in a subscription group. silent: it
    applies, and says nothing until `speak` is set. refusing: the status with which it says no to all, or 0."""

    def __init__(self):
        self.speak, self.silent, self.refusing = threading.Event(), False, 0
        self.users, self.bodies = {}, []
        profiles = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                refused = profiles.refusing
                if not refused:
                    profiles.apply(body)
                profiles.bodies.append(body)
                if profiles.silent:
                    profiles.speak.wait(60)
                    self.close_connection = True
                    return
                text = b'{"message": "no such thing"}' if refused else b'{"message": "success"}'
                self.send_response(refused or 201)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *args):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = "http://127.0.0.1:%d" % self.server.server_port
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def apply(self, body):
        for row in body.get("attributes", []):
            user = self.users.setdefault(row["external_id"], {})
            for name, value in row.items():
                if name[0] != "_" and name != "external_id":
                    user[name] = value
                    if value is None:
                        del user[name]
        for key in body.get("external_ids", []):
            self.users.pop(key, None)
        for group in body.get("subscription_groups", []):
            for key in group["external_ids"]:
                if group["subscription_state"] == "subscribed":
                    self.users[key] = {}
                else:
                    self.users.pop(key, None)

    def close(self):
        self.speak.set()
        self.server.shutdown()
        self.server.server_close()


class Doubt(MountTest):
    def make(self, mode, audience=False):
        self.profiles = Profiles()
        self.addCleanup(self.profiles.close)
        self.db = Sqlite(self.mount.data / (self.name + ".db"))
        self.db.sql("CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT, city TEXT)")
        key = self.mount.data / "key"
        key.write_text("secret")
        self.mount.connect("from_" + self.name, self.db.connection)
        self.mount.connect("to_" + self.name, {"driver": "braze", "url": self.profiles.url, "key": {"file": str(key)}})
        self.sync = self.mount.sync(self.name).define(
            config={"source": {"connection": "from_" + self.name, "table": "t"},
                    "destination": {"connection": "to_" + self.name, **({"object": "group"} if audience else {})},
                    "identifier": "id", **({"type": "audience"} if audience else {})},
            mappings=[(c, c) for c in (("id",) if audience else ("id", "name", "city"))], mode=mode)

    def is_there(self, **user):
        self.assertEqual(self.profiles.users, {"1": user} if user else {})

    def read_table(self, table):
        """`twice` has the first row of t two times."""
        self.db.sql("DROP VIEW IF EXISTS twice")
        self.db.sql("CREATE VIEW twice AS SELECT * FROM t UNION ALL SELECT * FROM t WHERE id = 1")
        config = json.loads(self.sync.read("config.json"))
        config["source"]["table"] = table
        self.sync.define(config=config)

    def run_unanswered(self, doubts=1):
        """The call is applied; the run is cancelled before it hears of it."""
        calls = len(self.profiles.bodies)
        self.profiles.silent = True
        self.sync.run("start")
        wait_for("the call", lambda: len(self.profiles.bodies) > calls)
        self.sync.trigger("cancel")
        wait_for("the end", lambda: self.sync.state() not in ("queued", "running"))
        self.profiles.silent = False
        self.assertEqual([row["code"] for row in self.sync.rejected()], ["unknown"] * doubts)

    def run_no(self, status):
        self.profiles.refusing = status
        self.sync.run(want=errno.EIO)
        self.profiles.refusing = 0

    def run_refused(self):
        self.run_no(400)
        (row,) = self.sync.rejected()
        self.assertNotEqual(row["code"], "unknown")
        self.assertRegex(row["reason"], "no such thing.* an earlier try, which nobody answered, may have been applied")

    def set(self, name):
        self.db.sql("UPDATE t SET name = '%s'" % name)

    def begin(self, mode):
        self.make(mode)
        self.db.sql("INSERT INTO t VALUES (1, 'a', 'Ulm')")
        self.sync.run()
        self.is_there(name="a", city="Ulm")

    def begin_unanswered(self, mode):
        self.make(mode)
        self.db.sql("INSERT INTO t VALUES (1, 'a', NULL)")
        self.run_unanswered()

    def end(self, empty=False):
        """Whatever was, the destination holds the model, and nothing is due. empty: a run is held for it."""
        if empty:
            self.sync.run(want=errno.EIO)
        self.sync.run("approve" if empty else "run")
        self.assertEqual(self.profiles.users, {str(row): {"name": name, "city": city}
                                               for row, name, city in self.db.sql("SELECT id, name, city FROM t")})
        self.assertEqual(self.sync.rejected(), [])
        calls = len(self.profiles.bodies)
        self.sync.run()
        self.assertEqual(len(self.profiles.bodies), calls)

    def test_changed_back(self):
        for mode in "upsert", "mirror", "update":
            with self.subTest(mode):
                self.name = "changed_back_" + mode
                self.begin(mode)
                self.set("b")
                self.run_unanswered()
                self.is_there(name="b", city="Ulm")
                self.set("a")
                self.end()

    def test_refused_meanwhile(self):
        for mode in "upsert", "mirror", "update":
            with self.subTest(mode):
                self.name = "refused_" + mode
                self.begin(mode)
                self.set("b")
                self.run_unanswered()
                self.set("c")
                self.run_refused()
                self.run_refused()
                self.set("a")
                self.end()

    def test_refused_before_sending_meanwhile(self):
        self.begin("upsert")
        self.set("b")
        self.run_unanswered()
        self.read_table("twice")
        self.sync.run(want=errno.EIO)
        self.assertEqual({row["code"] for row in self.sync.rejected()}, {"duplicate_identifier"})
        self.read_table("t")
        self.set("a")
        self.end()

    def test_not_sent_after_refused_before_sending(self):
        self.begin("upsert")
        self.set("b")
        self.run_unanswered()
        self.read_table("twice")
        self.sync.run(want=errno.EIO)
        self.read_table("t")
        self.run_no(401)
        self.assertEqual(self.sync.summary()["not_sent"], 1)
        self.set("a")
        self.end()

    def test_refused_before_sending_by_a_run_that_is_settled(self):
        """What the run refused by itself is not in its journal."""
        self.begin("upsert")
        self.set("b")
        self.run_unanswered()
        self.db.sql("INSERT INTO t VALUES (2, 'x', 'Ulm')")
        self.read_table("twice")
        self.run_unanswered(2)
        self.read_table("t")
        self.db.sql("UPDATE t SET name = 'a' WHERE id = 1")
        self.end()

    def test_leaves_and_comes_back(self):
        self.begin("upsert")
        self.set("b")
        self.run_unanswered()
        self.db.sql("DELETE FROM t")
        self.sync.run()
        self.is_there(name="b", city="Ulm")
        (change,) = self.sync.changes()
        self.assertEqual((change["op"], change["why"]), ("record", "left the model: nobody knows how it was left there"))
        self.assertEqual(self.sync.rejected(), [])
        self.sync.run()
        self.assertEqual(self.sync.changes(), [])
        self.db.sql("INSERT INTO t VALUES (1, 'a', 'Ulm')")
        self.end()
        self.sync.write("mode", "mirror\n")
        self.db.sql("DELETE FROM t")
        self.end(empty=True)

    def test_left_and_a_mirror_then(self):
        self.begin("upsert")
        self.set("b")
        self.run_unanswered()
        self.db.sql("DELETE FROM t")
        self.sync.run()
        self.is_there(name="b", city="Ulm")
        self.sync.write("mode", "mirror\n")
        self.end(empty=True)

    def test_created_refused_and_gone(self):
        """What was never delivered, and may be there, a mirror deletes."""
        self.begin_unanswered("mirror")
        self.is_there(name="a")
        self.set("b")
        self.run_refused()
        self.db.sql("DELETE FROM t")
        self.end(empty=True)

    def test_created_refused_before_sending_and_gone(self):
        """Two rows were refused; it is one that is deleted."""
        self.begin_unanswered("mirror")
        self.read_table("twice")
        self.sync.run(want=errno.EIO)
        self.assertEqual(len(self.sync.rejected()), 2)
        self.db.sql("DELETE FROM t")
        self.end(empty=True)
        self.assertEqual(self.profiles.bodies[-1], {"external_ids": ["1"]})

    def test_created_and_gone(self):
        """…and so does what is a mirror only later."""
        self.begin_unanswered("upsert")
        self.db.sql("DELETE FROM t")
        self.sync.run()
        self.is_there(name="a")
        self.assertEqual(self.sync.rejected(), [])
        self.sync.write("mode", "mirror\n")
        self.end(empty=True)

    def test_created_and_gone_under_another_mapping(self):
        self.begin_unanswered("mirror")
        self.sync.define(mappings=[("id", "id"), ("name", "name"), ("city", "city"), ("name", "label")])
        self.db.sql("DELETE FROM t")
        self.end(empty=True)

    def test_another_destination(self):
        """Where nothing was ever sent, nothing is in doubt."""
        self.make("mirror")
        self.db.sql("INSERT INTO t VALUES (1, 'a', 'Ulm')")
        self.run_unanswered()
        other = Profiles()
        self.addCleanup(other.close)
        other.users = {"1": {"name": "somebody"}}
        self.mount.connect("other", {"driver": "braze", "url": other.url, "key": {"file": str(self.mount.data / "key")}})
        config = json.loads(self.sync.read("config.json"))
        config["destination"]["connection"] = "other"
        self.sync.define(config=config)
        self.db.sql("UPDATE t SET id = 2")
        self.sync.run()
        self.assertEqual(other.users, {"1": {"name": "somebody"}, "2": {"name": "a", "city": "Ulm"}})

    def test_left_out_of_a_plan(self):
        self.begin("upsert")
        self.set("b")
        self.run_unanswered()
        self.set("a")
        self.sync.run("plan")
        os.remove(self.sync.path / "pending/update/1")
        self.sync.run("approve")
        self.is_there(name="b", city="Ulm")
        self.end()

    def test_removed_by_hand(self):
        """What is forgotten is the note: the row is a change still, which a retry passes over."""
        self.begin("upsert")
        self.set("b")
        self.run_unanswered()
        os.remove(self.sync.path / "rejected/1")
        self.set("a")
        self.sync.run("retry")
        self.is_there(name="b", city="Ulm")
        self.end()

    def test_created_and_gone_before_another_that_is_gone(self):
        self.make("upsert")
        self.db.sql("INSERT INTO t VALUES (2, 'b', NULL)")
        self.sync.run()
        self.db.sql("INSERT INTO t VALUES (1, 'a', NULL)")
        self.run_unanswered()
        self.db.sql("DELETE FROM t")
        self.sync.run()
        self.assertEqual(sorted(self.profiles.users), ["1", "2"])
        self.sync.write("mode", "mirror\n")
        self.end(empty=True)

    def test_member_added_left_and_a_mirror_then(self):
        self.make("add", audience=True)
        self.db.sql("INSERT INTO t VALUES (1, NULL, NULL)")
        self.run_unanswered()
        self.db.sql("DELETE FROM t")
        self.sync.run()
        self.assertEqual(self.profiles.users, {"1": {}})
        self.sync.write("mode", "mirror\n")
        self.sync.run(want=errno.EIO)
        self.sync.run("approve")
        self.assertEqual(self.profiles.users, {})

    def test_member_removed_back_and_a_mirror_then(self):
        """He may have been removed: another mode than `remove` adds him."""
        self.make("mirror", audience=True)
        self.db.sql("INSERT INTO t VALUES (1, NULL, NULL), (2, NULL, NULL)")
        self.sync.run()
        self.sync.write("mode", "remove\n")
        self.db.sql("DELETE FROM t WHERE id = 1")
        self.run_unanswered()
        self.assertEqual(self.profiles.users, {"2": {}})
        self.db.sql("INSERT INTO t VALUES (1, NULL, NULL)")
        self.sync.run()
        self.sync.run()
        self.assertEqual(self.sync.changes(), [])
        self.assertEqual(self.profiles.users, {"2": {}})
        self.sync.write("mode", "mirror\n")
        self.sync.run()
        self.assertEqual(self.profiles.users, {"1": {}, "2": {}})


if __name__ == "__main__":
    main()
