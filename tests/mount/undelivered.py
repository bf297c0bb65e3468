#!/usr/bin/env python3
"""What was not delivered by calls, and why: rows that a run did not come to stay pending and are not
rejected; a change that is sent again is known by the same identity, another one never is. Of what was rejected the
request and its answer are kept, and no secret is."""

import base64
import collections
import errno
import json
import os
import sys
import urllib.parse

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from endpoint import Endpoint
from retlfs import Mount, MountTest, main, wait_for


class Undelivered(MountTest):
    postgres = True

    def make(self, rows, mode="insert", mount=None, connection=None, config=None, **destination):
        """A sync of `rows` rows (id, name) of a table of its own, to an endpoint that gets CloudEvents: their
        ids are the identities of changes."""
        mount = mount or self.mount
        self.endpoint = Endpoint()
        self.addCleanup(self.endpoint.close)
        self.pg.sql("CREATE TABLE %s (id int PRIMARY KEY, name text)" % self.name)
        self.pg.fill(self.name, [(i, "n%d" % i) for i in range(rows)])
        mount.connect("to_" + self.name, {"driver": "webhook", "url": self.endpoint.url, **(connection or {})})
        return mount.sync(self.name).define(
            config={"source": {"connection": "pg", "table": self.name}, "identifier": "id",
                    "destination": {"connection": "to_" + self.name, "format": "cloudevents", **destination},
                    **(config or {})},
            mappings=[("id", "id"), ("name", "name")], mode=mode)

    def events(self, first=0):
        """(row, name, identity) of all that came to the endpoint in calls from `first` on."""
        return [(e["data"]["id"], e["data"]["name"], e["id"])
                for body in self.endpoint.bodies[first:] for e in json.loads(body)]

    def stop_after(self, calls):
        made = self.endpoint.calls
        self.endpoint.answer = lambda rows, number: (403, {}, b"no more") if number > made + calls else None

    def go_on(self):
        self.endpoint.answer = lambda rows, number: None

    # ---- rows that were not sent ----

    def outcomes(self, sync, run="last"):
        return collections.Counter(change["outcome"].strip() for change in sync.changes(run))

    def test_not_sent_is_not_rejected(self):
        sync = self.make(3000)
        self.stop_after(5)
        sync.run(want=errno.EIO)
        taken, unsent = len(self.endpoint.taken), 3000 - len(self.endpoint.taken)
        self.assertEqual(taken, 500)
        summary, status = sync.summary(), sync.status()
        self.assertEqual((summary["outcome"], summary["delivered"], summary["rejected"], summary["not_sent"]),
                         ("partial", taken, 0, unsent))
        self.assertRegex(summary["error"], "^%d rows were not sent: .*HTTP 403: no more" % unsent)
        self.assertEqual(self.outcomes(sync), {"delivered": taken, "not_sent": unsent})
        self.assertEqual(sync.rejected(), [])
        self.assertEqual(os.listdir(sync.path / "rejected"), [])
        self.assertEqual((status["delivered"], status["rejected"]), (str(taken), "0"))
        self.assertIn("%d rows were not sent" % unsent, status["reason"])
        self.assertIn(", 0 rejected, %d not sent" % unsent, status["last_sent"])
        self.assertEqual(sync.status_json()["last_run"]["not_sent"], unsent)
        self.assertIn('retlfs_rows_total{sync="%s",outcome="not_sent"} %d' % (self.name, unsent), self.mount.read("metrics"))
        self.assertIn("retry", sync.read("trigger"))
        sync.run("plan")
        self.assertEqual(len(sync.lines("pending/changes.jsonl")), unsent)
        self.go_on()
        sync.run()
        self.assertEqual(self.endpoint.taken, collections.Counter(range(3000)))
        self.assertEqual(self.outcomes(sync), {"delivered": unsent})
        self.assertNotIn("reason", sync.status())

    def test_retry_sends_what_was_not_sent(self):
        sync = self.make(1000)
        self.stop_after(3)
        sync.run(want=errno.EIO)
        self.pg.sql("INSERT INTO %s VALUES (5000, 'new')" % self.name)
        self.go_on()
        sync.run("retry")
        self.assertEqual(self.endpoint.taken, collections.Counter(range(1000)))
        self.assertEqual(sync.summary()["held_back"], 1)
        sync.run()
        self.assertEqual(self.endpoint.taken[5000], 1)

    def test_what_was_rejected_before_stays_so(self):
        """Nobody knows whether it was taken; that it was not sent again makes that no clearer."""
        sync = self.make(400)
        self.endpoint.answer = lambda rows, number: (502, {}, b"who knows") if number == 2 else None
        sync.run(want=errno.EIO)
        unknown = {r["id"]["id"]: r for r in sync.rejected()}
        self.assertEqual(len(unknown), 100)
        sent = {row: identity for row, _, identity in self.events()}
        self.stop_after(0)
        sync.run(want=errno.EIO)
        summary = sync.summary()
        self.assertEqual((summary["rejected"], summary["not_sent"], summary["delivered"]), (0, 100, 0))
        self.assertEqual(self.outcomes(sync), {"not_sent": 100})
        self.assertEqual({r["id"]["id"]: r for r in sync.rejected()}, unknown)
        self.assertEqual(sync.status()["rejected"], "100")
        self.go_on()
        before = len(self.endpoint.bodies)
        sync.run("retry")
        self.assertEqual({row: identity for row, _, identity in self.events(before)}, {i: sent[i] for i in unknown})
        self.assertEqual(sync.status()["rejected"], "0")

    def test_refused_rows_stop_nobody_for_ever(self):
        """A run that has nothing but refused rows gives up; those that were refused before do not count again."""
        sync = self.make(700, format="object")
        self.endpoint.answer = lambda rows, number: (422, {}, b"no") if rows[0]["id"] < 700 else None
        sync.run(want=errno.EIO)
        self.assertIn("each of the first 500 rows was refused", sync.summary()["error"])
        self.assertGreater(sync.summary()["not_sent"], 0)
        self.pg.sql("INSERT INTO %s VALUES (5000, 'good')" % self.name)
        sync.run(want=errno.EIO)
        self.assertEqual((sync.summary()["rejected"], sync.summary()["not_sent"], self.endpoint.taken), (700, 0, {5000: 1}))

    # ---- by what a change is known ----

    def test_there_and_back(self):
        sync = self.make(3, mode="full")
        identities = []
        for name in "ABABBA":
            self.pg.sql("UPDATE %s SET name = '%s' WHERE id = 1" % (self.name, name))
            before = len(self.endpoint.bodies)
            sync.run()
            identities += [identity for _, _, identity in self.events(before)]
        self.assertEqual(len(set(identities)), 18)

    def test_again_is_the_same(self):
        sync = self.make(5)
        seen = []
        for answer in (502, 502, 422, 422, 200):
            before = len(self.endpoint.bodies)
            self.endpoint.answer = lambda rows, number: (answer, {}, b"{}") if answer != 200 else None
            sync.run(want=0 if answer == 200 else errno.EIO)
            seen += self.events(before)
        self.assertEqual(len({identity for _, _, identity in seen}), 5)
        self.assertEqual(len({row for row, _, _ in seen}), 5)

    def test_another_value_is_another_change(self):
        sync = self.make(1)
        self.endpoint.answer = lambda rows, number: (502, {}, b"")
        for name in ("a", "b", "a"):
            self.pg.sql("UPDATE %s SET name = '%s'" % (self.name, name))
            sync.run(want=errno.EIO)
        self.assertEqual(len({identity for _, _, identity in self.events()}), 3)

    def test_equal_records(self):
        """Without identifier equal records are as many changes, of which each keeps its identity."""
        sync = self.make(0)
        self.pg.sql("ALTER TABLE %s DROP CONSTRAINT %s_pkey" % (self.name, self.name))
        self.pg.fill(self.name, [(1, "x")] * 250)
        config = json.loads(sync.read("config.json"))
        del config["identifier"]
        sync.define(config=config)
        self.endpoint.answer = lambda rows, number: (502, {}, b"") if number == 2 else None
        sync.run(want=errno.EIO)
        self.assertEqual(len({identity for _, _, identity in self.events()}), 250)
        lost = {e["id"] for e in json.loads(self.endpoint.bodies[1])}
        self.go_on()
        before = len(self.endpoint.bodies)
        sync.run()
        self.assertEqual({identity for _, _, identity in self.events(before)}, lost)

    def test_killed(self):
        """Those under way when the daemon was killed come again under the same identities."""
        mount = Mount(expect=self.expect)
        self.addCleanup(mount.close)
        mount.connect("pg", self.pg.connection)
        sync = self.make(5000, mount=mount)
        self.endpoint.answer = lambda rows, number: (0, {}, b"") if number > 20 else None
        sync.run("start")
        wait_for("calls without an answer", lambda: self.endpoint.calls > 24)
        mount.kill()
        mount.start()
        self.go_on()
        before = len(self.endpoint.bodies)
        first = {row: identity for row, _, identity in self.events()}
        sync.run()
        again = {row: identity for row, _, identity in self.events(before)}
        self.assertEqual(set(first) | set(again), set(range(5000)))
        twice = set(first) & set(again)
        self.assertGreaterEqual(len(twice), 100)
        self.assertEqual({i: first[i] for i in twice}, {i: again[i] for i in twice})
        self.assertEqual(len(set(first.values()) | set(again.values())), 5000)
        settled = sync.summary(1)
        self.assertEqual(settled["delivered"] + settled["rejected"] + settled["not_sent"], 5000)

    def test_killed_under_another_mapping(self):
        """Without identifier what was delivered is known by its fields: of a run that was killed by the new ones,
        too, and so it is not created again."""
        mount = Mount(expect=self.expect)
        self.addCleanup(mount.close)
        mount.connect("pg", self.pg.connection)
        sync = self.make(2000, mount=mount)
        config = json.loads(sync.read("config.json"))
        del config["identifier"]
        sync.define(config=config)
        sync.run()
        sync.define(mappings=[("id", "id"), ("name", "name"), ("name", "label")])
        self.pg.fill(self.name, [(i, "n%d" % i) for i in range(2000, 4000)])
        calls = self.endpoint.calls
        self.endpoint.answer = lambda rows, number: (0, {}, b"") if number > calls + 5 else None
        sync.run("start")
        wait_for("calls without an answer", lambda: self.endpoint.calls > calls + 8)
        mount.kill()
        mount.start()
        self.go_on()
        sync.run()
        self.assertEqual({i for i, n in self.endpoint.taken.items() if n > 1 and i < 2000}, set())
        self.assertEqual(set(self.endpoint.taken), set(range(4000)))

    # ---- evidence ----

    def evidence(self, sync, row):
        """The line that a rejected row points to."""
        name, line = row["evidence"].rsplit(":", 1)
        return json.loads(sync.read(name).splitlines()[int(line) - 1])

    def test_evidence(self):
        sync = self.make(300)
        bad = {7, 8, 250}
        self.endpoint.answer = lambda rows, number: (
            (422, {"X-Request-Id": "r-%d" % number, "Set-Cookie": "session=1"}, b'{"error": "no \xc3\xb6"}')
            if bad & {r["data"]["id"] for r in rows} else None)
        sync.run(want=errno.EIO)
        rejected = {r["id"]["id"]: r for r in sync.rejected()}
        self.assertEqual(set(rejected), bad)
        for i, row in rejected.items():
            call = self.evidence(sync, row)
            self.assertEqual((call["rows"], call["fate"], row["row"], row["tries"]), (1, "refused", 0, 1))
            self.assertEqual((call["request"]["method"], call["request"]["address"]), ("POST", self.endpoint.url))
            self.assertEqual([e["data"]["id"] for e in json.loads(call["request"]["body"])], [i])
            self.assertEqual(call["request"]["bytes"], len(call["request"]["body"].encode()))
            self.assertEqual((call["answer"]["status"], call["answer"]["body"]), (422, '{"error": "no ö"}'))
            headers = dict(h.split(": ", 1) for h in call["answer"]["headers"])
            self.assertRegex(headers["x-request-id"], "^r-")
            self.assertEqual(headers["set-cookie"], "***")
            alone = json.loads(sync.read("rejected/%d" % i))
            self.assertEqual(alone.pop("call"), call)
            self.assertEqual(alone, row)
        self.assertEqual(len(sync.lines("runs/1/requests.jsonl")), 3)
        self.go_on()
        sync.run()
        self.assertFalse(sync.exists("runs/2/requests.jsonl"))

    def test_evidence_is_shared_and_bounded(self):
        """A call is kept once for all its rows, and long texts are cut."""
        sync = self.make(250)
        self.pg.sql("UPDATE %s SET name = repeat('ü', 9000)" % self.name)
        self.endpoint.answer = lambda rows, number: (500, {}, b"x" * 100000)
        sync.run(want=errno.EIO)
        rows = sync.rejected()
        self.assertEqual(collections.Counter(r["code"] for r in rows), {"unknown": 250})
        calls = sync.lines("runs/1/requests.jsonl")
        self.assertEqual(len(calls), self.endpoint.calls)
        self.assertEqual(len({r["evidence"] for r in rows}), len(calls))
        for row in rows:
            self.assertLess(row["row"], self.evidence(sync, row)["rows"])
        for call in calls:
            self.assertEqual((call["answer"]["bytes"], len(call["answer"]["body"])), (100000, 4096))
            self.assertLessEqual(len(call["request"]["body"].encode()), 4096)
        self.assertLess(len(sync.read("runs/1/requests.jsonl")), 20000 * len(calls))

    def test_evidence_has_an_end(self):
        sync = self.make(3000, format="object")
        self.endpoint.answer = lambda rows, number: (500, {"X-Long": "y" * 2000}, b"z" * 4000)
        sync.run(want=errno.EIO)
        lines = sync.read("runs/1/requests.jsonl")
        last = json.loads(lines.splitlines()[-1])
        self.assertLess(len(lines), 9 << 20)
        self.assertEqual(last["left_out"] + lines.count("\n") - 1, 3000)
        rows = sync.rejected()
        self.assertEqual(sum("evidence" not in r for r in rows), last["left_out"])

    def test_the_first_requests(self):
        sync = self.make(1000, config={"log_requests": 4})
        sync.run()
        calls = sync.lines("runs/1/requests.jsonl")
        self.assertEqual([(c["fate"], c["rows"], c["answer"]["status"]) for c in calls], [("answered", 100, 200)] * 4)
        for wrong in (0, -1, "all", 1.5):
            self.expect_errno(errno.EINVAL, sync.define, {**json.loads(sync.read("config.json")), "log_requests": wrong})
            os.remove(sync.path / "config.json.rej")

    def test_evidence_survives_a_kill(self):
        mount = Mount(expect=self.expect)
        self.addCleanup(mount.close)
        mount.connect("pg", self.pg.connection)
        sync = self.make(3000, mount=mount)
        self.endpoint.answer = lambda rows, number: (502, {}, b"gate") if number <= 5 else (0, {}, b"") if number > 20 else None
        sync.run("start")
        wait_for("calls without an answer", lambda: self.endpoint.calls > 24)
        mount.kill()
        mount.start()
        self.endpoint.answer = lambda rows, number: (422, {}, b"no")
        sync.run(want=errno.EIO)
        first = [r for r in sync.rejected(1) if "evidence" in r]
        answers = collections.Counter(json.dumps((self.evidence(sync, row)["answer"] or {}).get("body")) for row in first)
        self.assertEqual(answers['"gate"'], 500)

    def test_no_secret(self):
        """Whatever the endpoint says, in whatever form, no secret is found anywhere."""
        password, key = "tr\"e/s eçret+1", "whsec_" + base64.b64encode(b"thirty-two bytes of pure chance!").decode()
        files = {}
        for name, text in (("authorization", "Basic-ish " + password), ("secret", key)):
            path = self.mount.data / (self.name + name)
            path.write_text(text)
            files[name] = {"file": str(path)}
        sync = self.make(400, connection=files, config={"log_requests": 3})
        forms = [s for text in (password, key) for s in (
            text, urllib.parse.quote(text, safe=""), urllib.parse.quote_plus(text), json.dumps(text)[1:-1],
            json.dumps(text, ensure_ascii=False)[1:-1]) + tuple(
            base64.b64encode(("u" * n + ":" + text).encode()).decode().rstrip("=") for n in range(3))]
        said = "\n".join(forms)
        statuses = [422, 502, 400, 200, 403]

        def answer(rows, number):
            status = statuses[number % len(statuses)]
            text = said if number % 2 else json.dumps({"error": said, "message": said, "code": password})
            return None if status == 200 else (status, {"X-Said": urllib.parse.quote(said)}, text.encode())
        self.endpoint.answer = answer
        for _ in range(6):
            sync.trigger("run")
        self.assertIn("***", sync.read("runs/1/rejected.jsonl"))  # later runs may have nothing left to send
        self.assertIn("***", sync.read("runs/1/requests.jsonl"))
        forms += [json.dumps(f)[1:-1] for f in forms] + [json.dumps(f, ensure_ascii=False)[1:-1] for f in forms]
        looked = 0
        for top in (self.mount.point, self.mount.state):
            for folder, _, names in os.walk(top):
                for name in names:
                    with open(os.path.join(folder, name), "rb") as file:
                        content = file.read()
                    looked += 1
                    for form in set(forms):
                        self.assertNotIn(form.encode(), content, os.path.join(folder, name))
        self.assertGreater(looked, 100)
        for form in set(forms):
            self.assertNotIn(form, self.mount.stderr())

    # ---- one row ----

    def test_send_one(self):
        sync = self.make(500)
        sync.run("plan")
        sync.run("send 42")
        self.assertEqual(self.endpoint.taken, {42: 1})
        summary, calls = sync.summary(), sync.lines("runs/last/requests.jsonl")
        self.assertEqual((summary["verb"], summary["inserts"], summary["delivered"], summary["held_back"]), ("send", 1, 1, 499))
        self.assertEqual([(c["answer"]["status"], c["rows"]) for c in calls], [(200, 1)])
        self.assertEqual([e["data"]["id"] for e in json.loads(calls[0]["request"]["body"])], [42])
        self.assertEqual(sync.status()["delivered"], "1")
        for row, words in ("42", "delivered already"), ("500", "must be in the model"), ("4~2x", "named as its file"):
            sync.run("send " + row, errno.EIO)
            self.assertIn(words, sync.read("error"))
        sync.run("send", errno.EINVAL)
        self.assertIn("wants a row", sync.read("error"))
        self.assertEqual(self.endpoint.calls, 1)
        sync.run()
        self.assertEqual(self.endpoint.taken, collections.Counter(range(500)))
        self.assertIn("send", sync.read("trigger"))

    def test_send_is_delivered_if_acknowledged(self):
        sync = self.make(10)
        self.endpoint.answer = lambda rows, number: (422, {}, b"no")
        sync.run(want=errno.EIO)
        self.assertEqual(len(sync.rejected()), 10)
        for row in 3, 4:
            self.endpoint.answer = lambda rows, number: (422, {}, b"not yet") if row == 3 else None
            sync.run("send %d" % row, errno.EIO if row == 3 else 0)
        rejected = {r["id"]["id"]: r for r in sync.rejected()}
        self.assertEqual(set(rejected), set(range(10)) - {4})
        self.assertEqual((rejected[3]["reason"], rejected[3]["tries"]), ("HTTP 422: not yet", 2))
        self.assertEqual({r["tries"] for i, r in rejected.items() if i != 3}, {1})
        self.assertEqual((sync.summary(2)["rejected"], sync.summary(3)["rejected"]), (1, 0))
        self.assertEqual(sync.status()["rejected"], "9")
        self.go_on()
        sync.run("retry")
        self.assertEqual(self.endpoint.taken, collections.Counter(range(10)))
        self.assertEqual(sync.rejected(), [])

    def test_send_to_a_table(self):
        self.pg.sql("CREATE TABLE %s (a text, b int, name text, PRIMARY KEY (a, b))" % self.name)
        self.pg.fill(self.name, [("x,y/%d" % i, i, "n") for i in range(200)])
        self.pg.sql("CREATE TABLE %s_to (a text, b int, name text, PRIMARY KEY (a, b))" % self.name)
        sync = self.mount.sync(self.name).define(
            config={"source": {"connection": "pg", "table": self.name}, "identifier": ["a", "b"],
                    "destination": {"connection": "pg", "object": self.name + "_to"}},
            mappings=[(c, c) for c in ("a", "b", "name")], mode="mirror")
        sync.run("plan")
        name = sorted(os.listdir(sync.path / "pending/insert"))[7]

        def there():
            return self.pg.sql("SELECT count(*), min(a), min(name) FROM %s_to" % self.name)[0]
        sync.run("send " + name)
        one = there()
        self.assertEqual((one[0], sync.summary()["delivered"]), ("1", 1))
        self.assertIn("first run", sync.status()["next_run"])
        sync.run("send " + name)  # as it is: once more
        self.assertEqual((there(), sync.summary()["updates"]), (one, 1))
        self.pg.sql("INSERT INTO %s_to VALUES ('foreign', 1, '')" % self.name)
        sync.run(want=errno.EIO)  # a first run still, which finds what is foreign
        self.assertIn("foreign", sync.read("pending/summary"))
        self.pg.sql("DELETE FROM %s_to WHERE a = 'foreign'" % self.name)
        sync.run()
        self.assertEqual(there()[0], "200")
        self.pg.sql("UPDATE %s SET name = 'm'" % self.name)
        self.pg.sql("DELETE FROM %s WHERE a = '%s'" % (self.name, one[1]))
        sync.run("send " + name)  # it has left
        self.assertEqual((there()[0], sync.summary()["deletes"]), ("199", 1))
        sync.run("send x%2Cy%2F3,3")
        self.assertEqual(self.pg.sql("SELECT a FROM %s_to WHERE name = 'm'" % self.name), [["x,y/3"]])
        sync.run()
        self.assertEqual(self.pg.sql("SELECT * FROM %s EXCEPT SELECT * FROM %s_to" % (self.name, self.name)), [])

    def test_send_beside_what_was_not_sent(self):
        sync = self.make(1000)
        self.stop_after(2)
        sync.run(want=errno.EIO)
        self.go_on()
        sync.run("send 999")
        self.assertEqual(len(self.endpoint.taken), 201)
        self.pg.sql("INSERT INTO %s VALUES (5000, 'new')" % self.name)
        sync.run("retry")
        self.assertEqual(self.endpoint.taken, collections.Counter(range(1000)))


if __name__ == "__main__":
    main()
