#!/usr/bin/env python3
"""Webhooks: rows sent to an endpoint of one's own, in each format and signed, whatever the endpoint
answers, cancelled and killed in the middle: nothing is lost, nothing is doubled but what nobody can
know, and that is said."""

import base64
import collections
import errno
import hashlib
import hmac
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
import python_env
from endpoint import Endpoint
from retlfs import Mount, MountTest, Sqlite, main, wait_for

SECRET = "whsec_" + base64.b64encode(b"thirty-two bytes of pure chance!").decode()


class Webhook(MountTest):
    def endpoint(self):
        endpoint = Endpoint()
        self.addCleanup(endpoint.close)
        return endpoint

    def make(self, mount, endpoint, rows, connection=(), width=0, **destination):
        source = Sqlite(mount.data / (self.name + ".db"))
        source.sql("CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT, city TEXT)")
        source.fill("t", [(i, "n%d" % i + "." * width, None if i % 2 else "Ulm") for i in range(rows)])
        mount.connect("from_" + self.name, source.connection)
        mount.connect("to_" + self.name, {"driver": "webhook", "url": endpoint.url, **dict(connection)})
        sync = mount.sync(self.name).define(
            config={"source": {"connection": "from_" + self.name, "table": "t"}, "identifier": "id",
                    "destination": {"connection": "to_" + self.name, **destination}},
            mappings=[("id", "id"), ("name", "name"), ("city", "address.city")], mode="insert")
        return source, sync

    def rejected(self, sync):
        return [json.loads(line) for line in sync.read("rejected.jsonl").splitlines()]

    def fails(self, sync, verb="run"):
        sync.run(verb, errno.EIO)

    # ---- what is sent ----

    def test_formats(self):
        for form, calls, first in (
                ("array", 3, [{"id": 0, "name": "n0", "address": {"city": "Ulm"}}]),
                ("object", 250, {"id": 0, "name": "n0", "address": {"city": "Ulm"}}),
                ("ndjson", 1, b'{"id":0,"name":"n0","address":{"city":"Ulm"}}\n'),
                ("cloudevents", 3, [{"specversion": "1.0", "source": "/retlfs", "type": "retlfs.row"}])):
            with self.subTest(form=form):
                self.name = "formats_" + form
                endpoint = self.endpoint()
                _, sync = self.make(self.mount, endpoint, 250, format=form)
                sync.run()
                self.assertEqual(endpoint.taken, collections.Counter(range(250)))
                self.assertEqual(endpoint.calls, calls)
                body = min(endpoint.bodies, key=lambda b: b.index(b'"id":0,') if b'"id":0,' in b else len(b))
                if form == "ndjson":
                    self.assertTrue(body.startswith(first), body[:200])
                elif form == "cloudevents":
                    events = [e for b in endpoint.bodies for e in json.loads(b)]
                    self.assertEqual(len({e["id"] for e in events}), 250)
                    self.assertLessEqual(first[0].items(), {k: v for k, v in events[0].items() if k != "data"}.items())
                elif form == "array":
                    self.assertEqual(json.loads(body)[0], first[0])
                else:
                    self.assertEqual(json.loads(body), first)

    def test_only_what_is_new(self):
        endpoint = self.endpoint()
        source, sync = self.make(self.mount, endpoint, 10)
        sync.run()
        for statement in ("INSERT INTO t VALUES (99, 'x', NULL)", "UPDATE t SET name = 'y' WHERE id = 1", "DELETE FROM t WHERE id = 2"):
            source.sql(statement)
        sync.run()
        self.assertEqual(json.loads(endpoint.bodies[-1]), [{"id": 99, "name": "x", "address": {"city": None}}])
        self.assertEqual(endpoint.calls, 2)

    def test_signature(self):
        endpoint = self.endpoint()
        secret = self.mount.data / "secret"
        secret.write_text(SECRET)
        bearer = self.mount.data / "bearer"
        bearer.write_text("Bearer abc")
        _, sync = self.make(self.mount, endpoint, 150, connection={"secret": {"file": str(secret)},
                                                                  "authorization": {"file": str(bearer)}})
        sync.run()
        for headers, body in zip(endpoint.headers, endpoint.bodies):
            self.assertEqual(headers["webhook-signature"], "v1," + self.sign(headers, body))
            self.assertEqual(headers["Authorization"], "Bearer abc")
        self.assertEqual(len({h["webhook-id"] for h in endpoint.headers}), 2)
        self.assertNotIn("abc", sync.read("log"))

    def sign(self, headers, body):
        key = base64.b64decode(SECRET.removeprefix("whsec_"))
        signed = "%s.%s." % (headers["webhook-id"], headers["webhook-timestamp"])
        return base64.b64encode(hmac.new(key, signed.encode() + body, hashlib.sha256).digest()).decode()

    def test_signature_judged(self):
        """By the library of those who made the standard, in whatever version it is there."""
        try:
            python = python_env.install(Path(__file__).resolve().parents[2] / "build-standardwebhooks", "standardwebhooks", timeout=120)
        except python_env.Missing as e:
            self.skipTest(str(e))
        endpoint = self.endpoint()
        secret = self.mount.data / (self.name + ".secret")
        secret.write_text(SECRET)
        _, sync = self.make(self.mount, endpoint, 150, connection={"secret": {"file": str(secret)}})
        sync.run()
        calls = [[body.decode(), {name.lower(): value for name, value in headers.items()}]
                 for headers, body in zip(endpoint.headers, endpoint.bodies)]
        calls += [[body + " ", headers] for body, headers in calls]  # and what was changed on its way
        judge = """if True:
            import json, sys
            from standardwebhooks import Webhook, WebhookVerificationError
            def good(body, headers):
                try:
                    Webhook(sys.argv[1]).verify(body, headers)
                    return True
                except WebhookVerificationError:
                    return False
            print(json.dumps([good(*call) for call in json.load(sys.stdin)]))"""
        done = subprocess.run([python / "python", "-c", judge, SECRET], input=json.dumps(calls), capture_output=True, text=True)
        self.assertEqual(done.stdout.strip(), "[true, true, false, false]", done.stderr)

    # ---- what is answered ----

    def test_refused_rows_stand_alone(self):
        endpoint = self.endpoint()
        bad = {17, 18, 180}
        endpoint.answer = lambda rows, number: (400, {}, b'{"error": "no such city"}') if any(r["id"] in bad for r in rows) else None
        _, sync = self.make(self.mount, endpoint, 250)
        self.fails(sync)
        self.assertEqual(endpoint.taken, collections.Counter(set(range(250)) - bad))
        self.assertEqual({(r["id"]["id"], r["code"]) for r in self.rejected(sync)}, {(i, "refused") for i in bad})
        self.assertIn("no such city", self.rejected(sync)[0]["reason"])
        endpoint.answer = lambda rows, number: None
        sync.run()
        self.assertEqual(endpoint.taken, collections.Counter(range(250)))

    def test_tried_again(self):
        endpoint = self.endpoint()
        answers = {1: 503, 2: 429, 4: 408, 5: 425}
        endpoint.answer = lambda rows, number: (answers[number], {"Retry-After": "0"}, b"") if number in answers else None
        _, sync = self.make(self.mount, endpoint, 500)
        sync.run()
        self.assertEqual(endpoint.taken, collections.Counter(range(500)))

    def test_too_large(self):
        endpoint = self.endpoint()
        endpoint.answer = lambda rows, number: (413, {}, b"") if len(rows) > 30 else None
        _, sync = self.make(self.mount, endpoint, 250)
        sync.run()
        self.assertEqual(endpoint.taken, collections.Counter(range(250)))

    def test_what_cannot_succeed_is_stopped(self):
        for status, words in (401, "HTTP 401"), (403, "HTTP 403"), (410, "HTTP 410"), (302, "are not followed"):
            with self.subTest(status=status):
                self.name = "stopped_%d" % status
                endpoint = self.endpoint()
                endpoint.answer = lambda rows, number: (status, {"Location": "http://127.0.0.1:1/"}, b"gone fishing")
                _, sync = self.make(self.mount, endpoint, 5000)
                self.fails(sync)
                self.assertIn(words, sync.read("error"))
                self.assertLess(endpoint.calls, 30)
                endpoint.answer = lambda rows, number: None
                sync.run()
                self.assertEqual(endpoint.taken, collections.Counter(range(5000)))

    def test_unknown_outcomes_are_told(self):
        endpoint = self.endpoint()
        endpoint.answer = lambda rows, number: (0, {}, b"") if number == 3 else (502, {}, b"bad gateway") if number == 5 else None
        _, sync = self.make(self.mount, endpoint, 1000)
        self.fails(sync)
        unknown = {r["id"]["id"] for r in self.rejected(sync)}
        self.assertEqual(len(unknown), 200)
        self.assertEqual({r["code"] for r in self.rejected(sync)}, {"unknown"})
        self.assertEqual(len(endpoint.taken), 900)  # 502: not taken
        sync.run()
        self.assertEqual(set(endpoint.taken), set(range(1000)))
        self.assertLessEqual({i for i, n in endpoint.taken.items() if n > 1}, unknown)

    # ---- cut off in the middle ----

    def cut(self, how, width):
        """Every row once, but for those of the calls that were under way. Wide rows are more than fits between
        reading and sending: then the model was not read to its end."""
        mount = Mount(expect=self.expect)
        self.addCleanup(mount.close)
        endpoint = self.endpoint()
        slow = threading.Event()

        def answer(rows, number):
            slow.wait(0.02)
        endpoint.answer = answer
        _, sync = self.make(mount, endpoint, 30000, width=width)
        sync.run("start")
        wait_for("a third of the rows", lambda: len(endpoint.taken) > 10000)
        how(mount, sync)
        slow.set()
        taken = len(endpoint.taken)
        self.assertLess(taken, 30000)
        sync.run()
        self.assertEqual(set(endpoint.taken), set(range(30000)))
        self.assertEqual(sync.summary()["rejected"], 0)
        first = json.loads(sync.read("runs/1/summary.json"))
        twice = sum(n - 1 for n in endpoint.taken.values())
        self.assertLessEqual(twice, 8 * 100)  # calls under way
        self.assertGreaterEqual(first["delivered"], taken - 8 * 100)
        self.assertLessEqual(first["delivered"], taken)
        self.assertEqual((first["outcome"], first["cut"]), ("partial", width > 0))
        self.assertEqual(sync.summary()["cut"], False)
        sync.run()
        self.assertEqual(sync.summary()["unchanged"], 30000)

    def test_killed(self):
        def kill(mount, sync):
            mount.kill()
            mount.start()
        for width in 0, 500:
            self.name = "killed_%d" % width
            self.cut(kill, width)

    def test_cancelled(self):
        def cancel(mount, sync):
            sync.run("cancel")
            wait_for("its end", lambda: sync.state() != "running")
            self.assertIn("cancelled", sync.read("error"))
        for width in 0, 500:
            self.name = "cancelled_%d" % width
            self.cut(cancel, width)

    def test_a_source_that_fails_half_way(self):
        """What was sent before is delivered, the run is an error, and the next one sends the rest."""
        endpoint = self.endpoint()
        source, sync = self.make(self.mount, endpoint, 20000, width=500)
        source.sql("ALTER TABLE t ADD COLUMN n INTEGER")
        source.sql("UPDATE t SET n = -9223372036854775808 WHERE id = 15000")
        source.sql("ALTER TABLE t ADD COLUMN positive INTEGER AS (abs(n))")
        sync.define(mappings=[("id", "id"), ("name", "name"), ("city", "address.city"), ("positive", "positive")])
        self.fails(sync)
        self.assertIn("overflow", sync.read("error"))
        first = sync.summary()
        self.assertEqual((first["outcome"], first["cut"]), ("partial", True))
        self.assertIn("overflow", first["error"])
        self.assertEqual(first["delivered"], len(endpoint.taken))
        self.assertTrue(0 < len(endpoint.taken) < 15000)
        delivered = [json.loads(line)["outcome"] for line in sync.read("runs/1/changes.jsonl").splitlines()].count("delivered")
        self.assertEqual(delivered, len(endpoint.taken))
        source.sql("UPDATE t SET n = 0 WHERE id = 15000")
        sync.run()
        self.assertEqual(endpoint.taken, collections.Counter(range(20000)))
        self.assertEqual(sync.summary()["cut"], False)

    def test_what_was_rejected_stays_known(self):
        """A run that is cut off before it came to rows that were rejected leaves them so."""
        endpoint = self.endpoint()
        source, sync = self.make(self.mount, endpoint, 20000, width=500)
        endpoint.answer = lambda rows, number: (400, {}, b"no") if any(r["id"] == 19999 for r in rows) else None
        self.fails(sync)
        self.assertEqual([r["id"]["id"] for r in self.rejected(sync)], [19999])
        source.sql("UPDATE t SET id = id - 100000 WHERE id < 19999")  # all of them are new, and stand before it
        endpoint.answer = lambda rows, number: (401, {}, b"who are you?") if number > 300 else None
        sync.run("start")
        wait_for("the first of them", lambda: sum(i < 0 for i in list(endpoint.taken)) > 1000)
        sync.run("cancel")
        wait_for("its end", lambda: sync.state() != "running")
        self.assertEqual((sync.summary()["outcome"], sync.summary()["cut"]), ("partial", True))
        rejected = {r["id"]["id"]: r for r in self.rejected(sync)}
        self.assertIn(19999, rejected)
        self.assertEqual((rejected[19999]["code"], rejected[19999]["tries"]), ("refused", 1))

    # ---- what is refused at the edit ----

    def test_modes(self):
        endpoint = self.endpoint()
        _, sync = self.make(self.mount, endpoint, 1)
        with self.assertRaises(OSError):
            sync.define(mode="mirror")
        self.assertIn("insert", sync.read("mode.rej.error") if (sync.path / "mode.rej.error").exists() else sync.read("error"))

    def test_an_unknown_option(self):
        with self.assertRaises(OSError):
            self.mount.connect("wrong", {"driver": "webhook", "url": "http://127.0.0.1:1/", "webhook": "x"})


if __name__ == "__main__":
    main()
