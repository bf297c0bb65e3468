#!/usr/bin/env python3
"""Records that the destination knows by ids of its own, of which the model knows e-mail addresses: HubSpot's
contacts are updated or made and archived, and enter and leave lists, by the ids that are looked up first. A
look-up that fails, is cancelled or killed leaves nothing in doubt."""

import errno
import json
import os
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from retlfs import MountTest, Sqlite, main, ops, wait_for

TOKEN = "pat-t0ken-of-nobody"


class HubSpot:
    """Contacts and a list, as they are made, updated, read by e-mail, archived, added and removed. `hook(verb, body)` is
    asked before a request is carried out, and may give a status and an answer; `lost(verb, body)` after it: if it
    is true nobody hears of it."""

    def __init__(self, emails):
        self.lock, self.requests = threading.Lock(), []
        self.contacts = {str(1000 + i): {"email": email, "n": ""} for i, email in enumerate(emails)}
        self.members, self.archived = set(), []
        self.hook = self.lost = lambda verb, body: None
        hubspot = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                verb = self.path.rpartition("/")[2]
                with hubspot.lock:
                    hubspot.requests.append((verb, body))
                told = hubspot.hook(verb, body)
                if not told:
                    with hubspot.lock:
                        told = getattr(hubspot, verb)(body)
                    if hubspot.lost(verb, body):
                        self.close_connection = True
                        return
                status, answer = told
                text = json.dumps(answer).encode() if answer is not None else b""
                try:
                    self.send_response(status)
                    self.send_header("Content-Length", str(len(text)))
                    self.end_headers()
                    self.wfile.write(text)
                except OSError:  # killed meanwhile
                    self.close_connection = True

            do_PUT = do_POST

            def log_message(self, *args):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = "http://127.0.0.1:%d" % self.server.server_port
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def by_email(self):
        return {contact["email"]: key for key, contact in self.contacts.items()}

    def answer(self, results, missing):
        answer = {"status": "COMPLETE", "results": results}
        if missing:
            answer.update(numErrors=1, errors=[{
                "status": "error", "category": "OBJECT_NOT_FOUND", "context": {"ids": missing},
                "message": "Could not get some CONTACT objects, they may be deleted or not exist."}])
        return 207 if missing else 200, answer

    def read(self, body):
        assert body["idProperty"] == "email" and len(body["inputs"]) <= 100
        ids, known = [i["id"] for i in body["inputs"]], self.by_email()
        found = [{"id": known[i], "properties": {"email": i}} for i in ids if i in known]
        return self.answer(found[::-1], [i for i in ids if i not in known])

    def update(self, body):
        there = [row for row in body["inputs"] if row["id"] in self.contacts]
        for row in there:
            self.contacts[row["id"]].update(row["properties"])
        return self.answer([{"id": row["id"], "objectWriteTraceId": row["objectWriteTraceId"]} for row in there],
                           [row["id"] for row in body["inputs"] if row["id"] not in self.contacts])

    def create(self, body):
        known = self.by_email()
        for row in body["inputs"]:
            if row["properties"]["email"] in known:
                return 409, {"status": "error", "category": "CONFLICT", "message": "Contact already exists."}
        made = {str(5000 + len(self.requests) * 100 + i): row for i, row in enumerate(body["inputs"])}
        self.contacts.update((key, dict(row["properties"])) for key, row in made.items())
        return 201, {"status": "COMPLETE", "results": [
            {"id": key, "objectWriteTraceId": row["objectWriteTraceId"]} for key, row in made.items()]}

    def archive(self, body):
        ids = [row["id"] for row in body["inputs"]]
        assert len(ids) <= 100 and set(ids) <= set(self.contacts), ids
        self.archived += ids
        for key in ids:
            del self.contacts[key]
        return 204, None

    def add(self, ids):
        self.members.update(i for i in ids if i in self.contacts)
        return 200, {"recordIdsAdded": ids, "recordIdsRemoved": [], "recordIdsMissing": [i for i in ids if i not in self.contacts]}

    def remove(self, ids):
        self.members.difference_update(ids)
        return 200, {"recordIdsAdded": [], "recordIdsRemoved": ids, "recordIdsMissing": []}

    def verbs(self, first=0):
        return [verb for verb, _ in self.requests[first:]]

    def close(self):
        self.server.shutdown()
        self.server.server_close()


def email(i):
    return "p%03d@example.com" % i


class LookUp(MountTest):
    def make(self, rows, mode, object="contacts", **config):
        """The model has `rows` contacts, HubSpot one more, and all of them."""
        self.hubspot = HubSpot([email(i) for i in range(rows + 1)])
        self.addCleanup(self.hubspot.close)
        self.db = Sqlite(self.mount.data / (self.name + ".db"))
        self.db.sql("CREATE TABLE t (email TEXT PRIMARY KEY, n TEXT)")
        self.db.fill("t", [(email(i), "n%d" % i) for i in range(rows)])
        key = self.mount.data / "key"
        key.write_text(TOKEN)
        self.mount.connect("from_" + self.name, self.db.connection)
        self.mount.connect("to_" + self.name, {"driver": "hubspot", "account": self.name, "url": self.hubspot.url,
                                               "access_token": {"file": str(key)}})
        self.sync = self.mount.sync(self.name).define(
            config={"source": {"connection": "from_" + self.name, "table": "t"}, "max_deletes": "100%",
                    "destination": {"connection": "to_" + self.name, "object": object}, "identifier": "email", **config},
            mappings=[("email", "email"), ("n", "n")], mode=mode)

    def begin(self, rows, mode, *args, **config):
        self.make(rows, mode, *args, **config)
        self.sync.run()
        self.made = len(self.hubspot.requests)

    def leave(self, *numbers):
        self.db.sql("DELETE FROM t WHERE email IN (%s)" % ", ".join("'%s'" % email(i) for i in numbers))

    def outcomes(self):
        return sorted((c["op"], c["id"]["email"], c["outcome"].strip()) for c in self.sync.changes())

    def left(self, *numbers):
        return [("delete", email(i), "delivered") for i in numbers]

    def settled(self):
        """Nothing is rejected, in doubt or due."""
        self.assertEqual(self.sync.rejected(), [])
        made = len(self.hubspot.requests)
        self.sync.run()
        self.assertEqual(self.hubspot.verbs(made), [])

    def evidence(self, run="last"):
        text = self.sync.read("runs/%s/requests.jsonl" % run)
        self.assertNotIn(TOKEN, text)
        return [json.loads(line) for line in text.splitlines()]

    def hold(self, verb):
        """Requests of that verb wait, to be let go or forgotten."""
        came, go = threading.Event(), threading.Event()
        self.addCleanup(go.set)

        def hook(got, body):
            if got == verb and not go.is_set():
                came.set()
                go.wait(60)

        self.hubspot.hook = hook
        return came, go

    def start_until(self, came):
        self.sync.run("start")
        wait_for("the request", came.is_set)

    # ---- records ----

    def test_mirror(self):
        self.begin(250, "mirror", log_requests=100)
        self.assertEqual(sorted(self.hubspot.verbs()), ["read"] * 3 + ["update"] * 3)
        self.assertEqual(sorted(c["n"] for c in self.hubspot.contacts.values()), sorted([""] + ["n%d" % i for i in range(250)]))
        there = self.hubspot.by_email()
        del self.hubspot.contacts[there[email(7)]]
        self.leave(*range(120))
        self.sync.run()
        self.assertEqual(self.outcomes(), self.left(*range(120)))
        self.assertEqual(sorted(self.hubspot.verbs(self.made)), ["archive"] * 2 + ["read"] * 2)
        self.assertEqual(sorted(self.hubspot.archived), sorted(there[email(i)] for i in range(120) if i != 7))
        lines = self.evidence()
        self.assertEqual([line["fate"] for line in lines], ["answered"] * 2)
        for line in lines:
            self.assertTrue(line["request"]["address"].endswith("/archive"))
            self.assertTrue(line["look_up"]["request"]["address"].endswith("/contacts/batch/read"))
            self.assertIn("@example.com", line["look_up"]["request"]["body"])
            self.assertEqual(line["answer"]["status"], 204)
        self.assertEqual(sorted(line["look_up"]["answer"]["status"] for line in lines), [200, 207])
        self.settled()

    def values(self):
        return {contact["email"]: contact["n"] for contact in self.hubspot.contacts.values()}

    def test_made(self):
        """Who is not there is made, once, and the others updated."""
        self.make(250, "upsert", log_requests=100)
        there = self.hubspot.by_email()
        for i in range(0, 250, 3):
            del self.hubspot.contacts[there[email(i)]]
        self.sync.run()
        self.assertEqual(self.values(), {**{email(i): "n%d" % i for i in range(250)}, email(250): ""})
        self.assertEqual(self.outcomes(), [("insert", email(i), "delivered") for i in range(250)])
        verbs = self.hubspot.verbs()
        self.assertEqual((verbs.count("read"), verbs.count("update"), verbs.count("create")), (3, 3, 3))
        self.settled()
        self.db.sql("UPDATE t SET n = 'new' WHERE email IN ('%s', '%s')" % (email(0), email(1)))
        self.sync.run()
        self.assertEqual((self.values()[email(0)], self.values()[email(1)], len(self.hubspot.contacts)), ("new", "new", 251))

    def test_made_killed(self):
        """It was made, and nobody heard of it: it is looked up again, and updated."""
        self.make(3, "upsert")
        self.hubspot.contacts.clear()
        self.killed("create", True)
        self.assertEqual(self.values(), {email(i): "n%d" % i for i in range(3)})
        self.assertEqual(self.hubspot.verbs(), ["read", "create", "read", "update"])
        self.settled()

    def test_made_refused(self):
        """What HubSpot does not make is rejected by itself, and made when it may be."""
        self.make(9, "upsert")
        self.hubspot.contacts.clear()

        def hook(verb, body):
            if verb == "create" and any(row["properties"]["email"] == email(4) for row in body["inputs"]):
                return 400, {"status": "error", "category": "VALIDATION_ERROR", "message": "no such domain"}
        self.hubspot.hook = hook
        self.sync.run(want=errno.EIO)
        (row,) = self.sync.rejected()
        self.assertEqual((row["id"]["email"], row["code"], row["reason"]), (email(4), "VALIDATION_ERROR", "HTTP 400: no such domain"))
        self.assertEqual(self.values(), {email(i): "n%d" % i for i in range(9) if i != 4})
        self.hubspot.hook = lambda verb, body: None
        self.sync.run("retry")
        self.assertEqual(self.values(), {email(i): "n%d" % i for i in range(9)})
        self.settled()

    def test_inserts_meanwhile(self):
        """Nobody heard of an update, and inserts do not touch what is there: the doubt waits for a mode that does."""
        self.begin(1, "upsert")
        self.db.sql("UPDATE t SET n = 'lost'")
        came, go = self.hold("update")
        self.hubspot.hook, hook = lambda *told: None, self.hubspot.hook
        self.hubspot.lost = lambda verb, body: hook(verb, body) or came.is_set()
        self.start_until(came)
        self.sync.trigger("cancel")
        wait_for("the end", lambda: self.sync.state() not in ("queued", "running"))
        go.set()
        self.hubspot.hook = self.hubspot.lost = lambda verb, body: None
        self.assertEqual(self.values()[email(0)], "lost")
        self.sync.define(mode="insert")
        made = len(self.hubspot.requests)
        for _ in range(2):
            self.sync.run()
            self.assertEqual([row["code"] for row in self.sync.rejected()], ["unknown"])
        self.assertEqual(self.hubspot.verbs(made), [])
        self.db.sql("UPDATE t SET n = 'n0'")
        self.sync.define(mode="upsert")
        self.sync.run()
        self.assertEqual(self.values()[email(0)], "n0")
        self.settled()

    def test_gone_already(self):
        """Nothing is there to be archived: the look-up is the whole call."""
        self.begin(3, "mirror", log_requests=10)
        del self.hubspot.contacts[self.hubspot.by_email()[email(1)]]
        self.leave(1)
        self.sync.run()
        self.assertEqual(self.outcomes(), self.left(1))
        self.assertEqual(self.hubspot.verbs(self.made), ["read"])
        (line,) = self.evidence()
        self.assertTrue(line["request"]["address"].endswith("/contacts/batch/read"))
        self.assertNotIn("look_up", line)
        self.settled()

    def test_refused(self):
        """What HubSpot does not archive is rejected, with both requests as evidence."""
        self.begin(4, "mirror")
        bad = self.hubspot.by_email()[email(2)]
        words = {"status": "error", "category": "VALIDATION_ERROR", "message": "%s is held, says Bearer %s" % (bad, TOKEN)}
        self.hubspot.hook = lambda verb, body: (400, words) if verb == "archive" and {"id": bad} in body["inputs"] else None
        self.leave(1, 2, 3)
        self.sync.run(want=errno.EIO)
        self.assertEqual(self.outcomes(), [("delete", email(1), "delivered"), ("delete", email(2), "rejected"), ("delete", email(3), "delivered")])
        (row,) = self.sync.rejected()
        self.assertEqual((row["id"]["email"], row["code"]), (email(2), "VALIDATION_ERROR"))
        self.assertNotIn(TOKEN, json.dumps(row))
        line = self.evidence()[-1]
        self.assertEqual((line["fate"], line["rows"]), ("refused", 1))
        self.assertIn(bad, line["look_up"]["answer"]["body"])
        self.assertIn(email(2), line["look_up"]["request"]["body"])
        self.assertIn(bad, line["request"]["body"])
        self.hubspot.hook = lambda verb, body: None
        self.sync.run("retry")
        self.assertNotIn(bad, self.hubspot.contacts)
        self.settled()

    def test_look_up_fails(self):
        """Hopeless: nothing was sent, and all of it is due."""
        self.begin(3, "mirror")
        self.hubspot.hook = lambda verb, body: (403, {"category": "MISSING_SCOPES", "message": "no scope"}) if verb == "read" else None
        self.leave(1)
        self.sync.run(want=errno.EIO)
        self.assertEqual([row[2] for row in self.outcomes()], ["not_sent"])
        self.assertEqual(self.sync.rejected(), [])
        self.assertTrue(self.evidence()[-1]["request"]["address"].endswith("/batch/read"))
        self.hubspot.hook = lambda verb, body: None
        self.sync.run()
        self.assertEqual(len(self.hubspot.archived), 1)
        self.settled()

    def test_cancelled(self):
        """In the look-up: it is over at once, and nothing is in doubt."""
        self.begin(3, "mirror")
        self.leave(1)
        came, go = self.hold("read")
        self.start_until(came)
        self.sync.trigger("cancel")
        wait_for("the end", lambda: self.sync.state() not in ("queued", "running"))
        self.assertEqual(self.sync.rejected(), [])
        self.assertEqual([row[2] for row in self.outcomes()], ["not_sent"])
        go.set()
        self.sync.run()
        self.assertEqual(self.hubspot.verbs(self.made), ["read", "read", "archive"])
        self.settled()

    def killed(self, verb, carried_out):
        came, go = self.hold(verb)
        if carried_out:
            self.hubspot.hook, hook = lambda *told: None, self.hubspot.hook
            self.hubspot.lost = lambda got, body: hook(got, body) or came.is_set()
        self.start_until(came)
        self.mount.kill()
        go.set()
        self.hubspot.hook = self.hubspot.lost = lambda got, body: None
        self.mount.start()
        self.sync.run()

    def test_killed_in_look_up(self):
        self.begin(3, "mirror")
        self.leave(1)
        self.killed("read", False)
        self.assertEqual(self.outcomes(), self.left(1))
        self.assertEqual(self.hubspot.verbs(self.made), ["read", "read", "archive"])
        self.settled()

    def test_killed_in_call(self):
        """It was archived, and nobody heard of it: it is looked up again, and gone."""
        self.begin(3, "mirror")
        self.leave(1)
        self.killed("archive", True)
        self.assertEqual(self.outcomes(), self.left(1))
        self.assertEqual(self.hubspot.verbs(self.made), ["read", "archive", "read"])
        self.assertEqual(len(self.hubspot.archived), 1)
        self.settled()

    # ---- lists ----

    def test_list(self):
        self.make(120, "mirror", "42", type="audience")
        there = self.hubspot.by_email()
        del self.hubspot.contacts[there[email(5)]]
        self.sync.run(want=errno.EIO)
        (row,) = self.sync.rejected()
        self.assertEqual((row["id"]["email"], row["code"], row["reason"]), (email(5), "no_match", "there is no such record"))
        self.assertEqual(self.hubspot.members, {there[email(i)] for i in range(120) if i != 5})
        del self.hubspot.contacts[there[email(8)]]
        self.leave(5, 7, 8)
        self.db.sql("INSERT INTO t VALUES ('%s', 'n')" % email(120))
        self.sync.run()
        self.assertEqual(self.hubspot.members, {there[email(i)] for i in range(121) if i not in (5, 7)})
        self.assertEqual(ops(self.sync.changes())["insert"], 1)
        self.settled()

    def test_list_killed(self):
        for mode, verb in ("add", "read"), ("add", "add"), ("remove", "read"), ("remove", "remove"):
            with self.subTest(mode=mode, verb=verb):
                self.name = "killed_%s_%s" % (mode, verb)
                if mode == "remove":
                    self.begin(3, mode, "42", type="audience")
                    self.hubspot.members = set(self.hubspot.contacts)
                    self.leave(1)
                else:
                    self.make(2, mode, "42", type="audience")
                there = self.hubspot.by_email()
                self.killed(verb, verb != "read")
                want = {email(0), email(1)} if mode == "add" else {email(0), email(2), email(3)}
                self.assertEqual(self.hubspot.members, {there[name] for name in want})
                self.settled()


if __name__ == "__main__":
    main()
