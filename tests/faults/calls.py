#!/usr/bin/env python3
"""A server that answers calls at random with all that servers answer: refusals, limits, errors, half an
answer, none, lies; while the model keeps changing, and the daemon is killed or the run cancelled. In the end an
upsert and a mirror hold exactly what their mode promises; of an insert every row came at least once, and twice
only where nobody could know the outcome, and then the row was listed as unknown.

    calls.py [--count N] [--rows N] [--seed S]

$FAULT_COUNT is the usual count: of runs that something happens to."""

import collections
import email.utils
import json
import os
import random
import sqlite3
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from faults import begin, campaign, reset
from retlfs import Mount, Sqlite, errno_name, wait_for

LARGE = b"[" + b" " * (10 << 20) + b"]"
ENDS = "succeeded", "partial", "failed", "cancelled"


class Break(Exception):
    """The connection ends here: `reset` or closed, after these bytes."""

    def __init__(self, sent=b"", hard=True):
        super().__init__()
        self.sent, self.hard = sent, hard


# ---- what a server may do to a call: (the rows that it takes, status, headers, text) ----


def good(peer, rows):
    return rows, peer.GOOD, {}, peer.took(rows, [])


def partly(peer, rows):
    refused = {i for i in range(len(rows)) if peer.rng.random() < 0.2}
    return [row for i, row in enumerate(rows) if i not in refused], peer.GOOD, {}, peer.took(rows, refused)


def status(code, headers=lambda: {}, text=b'{"message": "no"}'):
    def answer(peer, rows):
        return [], code, headers(), text
    return answer


def after_a_date():
    return {"Retry-After": email.utils.formatdate(time.time(), usegmt=True)}


def hidden_success(peer, rows):
    return rows, peer.rng.choice([500, 502, 504]), {}, b"<html>upstream</html>"


def hidden_failure(peer, rows):
    return [], 200, {}, b'{"message": "not today"}'


def odd(text):
    """A success, by its status, that says nothing."""
    def answer(peer, rows):
        return rows, peer.GOOD, {}, text
    return answer


def lost_answer(peer, rows):
    peer.apply(rows)
    raise Break(hard=peer.rng.random() < 0.5)


def half_an_answer(peer, rows):
    peer.apply(rows)
    whole = b"HTTP/1.1 %d Fine\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{\"message\": \"succ" % peer.GOOD
    raise Break(whole[:peer.rng.randrange(1, len(whole))])


def lost_request(peer, rows):
    raise Break(hard=peer.rng.random() < 0.5)


def held_up(peer, rows):
    """No answer until something else ends the call."""
    taken = peer.rng.random() < 0.5
    if taken:
        peer.apply(rows)
    peer.going_on.wait(5)
    raise Break()


COMMON = [(status(400), 3), (status(401), 1), (status(403), 0.3), (status(409), 2), (status(413), 2),
          (status(429, lambda: {"Retry-After": "0"}), 3), (status(429, after_a_date), 2), (status(503), 1), (status(500), 1),
          (hidden_success, 2), (lost_request, 2), (lost_answer, 2), (half_an_answer, 3), (odd(LARGE), 0.5), (odd(b""), 1),
          (odd(b'{"mess'), 1)]


# ---- servers ----


class Peer:
    """One destination. `faults`: what it does instead of taking a call, and how often."""

    def __init__(self, rng):
        self.rng = rng
        self.lock = threading.Lock()
        self.going_on = threading.Event()
        self.chance, self.told, self.calls = 0.0, collections.Counter(), 0
        peer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                try:
                    peer.serve(self)
                except Break as end:
                    self.close_connection = True
                    if end.sent:
                        self.wfile.write(end.sent)
                        self.wfile.flush()
                    if end.hard:
                        reset(self.connection)
                except OSError:  # the daemon is dead
                    self.close_connection = True

            def log_message(self, *args):
                pass

        class Server(ThreadingHTTPServer):
            request_queue_size = 64

            def handle_error(self, request, address):
                pass

            def shutdown_request(self, request):
                try:
                    super().shutdown_request(request)
                except OSError:
                    pass

        self.server = Server(("127.0.0.1", 0), Handler)
        self.url = "http://127.0.0.1:%d" % self.server.server_port
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def fault(self):
        with self.lock:
            self.calls += 1
            if self.rng.random() >= self.chance:
                return good
            kinds, weights = zip(*self.FAULTS)
            kind = self.rng.choices(kinds, weights)[0]
            self.told[kind.__name__ if kind.__name__ != "answer" else "answers"] += 1
            return kind

    def serve(self, handler):
        fault = self.fault()
        length = int(handler.headers["Content-Length"])
        if fault is lost_request and self.rng.random() < 0.5:
            raise Break()  # before the body is read
        self.path = handler.path
        rows = self.rows(handler.path, json.loads(handler.rfile.read(length)))
        taken, code, headers, text = fault(self, rows)
        self.apply(taken)
        handler.send_response(code)
        for name, value in {**headers, "Content-Type": "application/json", "Content-Length": str(len(text))}.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(text)

    def close(self):
        self.going_on.set()
        self.server.shutdown()
        self.server.server_close()


class Hook(Peer):
    """An endpoint of one's own: it counts how often each row came."""

    GOOD = 200
    FAULTS = COMMON

    def __init__(self, rng):
        super().__init__(rng)
        self.came = collections.Counter()
        self.connection = {"driver": "webhook", "url": self.url + "/rows"}

    def rows(self, path, body):
        return [row["id"] for row in body]

    def apply(self, rows):
        with self.lock:
            self.came.update(rows)

    def took(self, rows, refused):
        return b"{}"


class Braze(Peer):
    """Profiles by external id, as /users/track and /users/delete change them."""

    GOOD = 201
    FAULTS = COMMON + [(partly, 4), (hidden_failure, 2)]

    def __init__(self, rng, key):
        super().__init__(rng)
        self.profiles = {}
        self.connection = {"driver": "braze", "url": self.url, "key": {"file": str(key)}}

    def rows(self, path, body):
        return body["attributes"] if path == "/users/track" else body["external_ids"]

    def apply(self, rows):
        with self.lock:
            for row in rows:
                if isinstance(row, str):
                    self.profiles.pop(row, None)
                    continue
                profile = self.profiles.setdefault(row["external_id"], {})
                for name, value in row.items():
                    if name[0] == "_" or name == "external_id":
                        continue
                    if value is None:
                        profile.pop(name, None)
                    else:
                        profile[name] = value

    def took(self, rows, refused):
        errors = [{"type": "not a valid one", "input_array": "attributes", "index": i} for i in refused]
        return json.dumps({"message": "success", **({"errors": errors} if errors else {})}).encode()


# ---- syncs ----


class Subject:
    """A sync to such a server, its model in SQLite, and what must be there in the end."""

    FIELDS = "name", "city", "n"

    def __init__(self, mount, rng, name, mode, peer, rows):
        self.rng, self.name, self.mode, self.peer = rng, name, mode, peer
        self.db = Sqlite(mount.data / (name + ".db"))
        self.db.sql("PRAGMA journal_mode=wal")
        self.db.sql("CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT, city TEXT, n INTEGER)")
        self.next, self.ever, self.left = 0, set(), {}
        self.add(rows)
        mount.connect("from_" + name, self.db.connection)
        mount.connect("to_" + name, peer.connection)
        self.sync = mount.sync(name).define(
            config={"source": {"connection": "from_" + name, "table": "t"}, "destination": {"connection": "to_" + name},
                    "identifier": "id", "keep_runs": 10000, "max_deletes": 1000000},
            mappings=[(c, c) for c in ("id",) + self.FIELDS], mode=mode)

    def row(self):
        rng = self.rng
        return ["x" * rng.randint(1, 2000), rng.choice([None, "Ulm", "Köln \"am\" Rhein", "\\"]), rng.randint(-5, 5)]

    def add(self, n):
        self.db.fill("t", [[i] + self.row() for i in range(self.next, self.next + n)])
        self.ever.update(range(self.next, self.next + n))
        self.next += n

    def change(self, share):
        """New rows, changed ones (some back to what they were), some that leave, and of those that left before
        some come back, as they were."""
        rows = {row[0]: list(row) for row in self.db.sql("SELECT id, name, city, n FROM t")}
        ids = list(rows)
        statements = []
        back = [self.left.pop(i) for i in list(self.left) if self.rng.random() < 0.3]
        for i in self.rng.sample(ids, max(1, int(len(ids) * share))):
            what = self.rng.random()
            if what < 0.15 and self.mode != "insert":
                self.left[i] = rows[i]
                statements.append("DELETE FROM t WHERE id = %d" % i)
            elif what < 0.6:
                statements.append("UPDATE t SET n = %d WHERE id = %d" % (self.rng.randint(-5, 5), i))
            else:
                statements.append("UPDATE t SET city = %s WHERE id = %d" % (self.rng.choice(["NULL", "'Ulm'", "'Bonn'"]), i))
        with sqlite3.connect(self.db.path, timeout=30) as db:
            db.executescript("BEGIN;" + ";".join(statements) + ";COMMIT")
        db.close()
        self.db.fill("t", back)
        self.add(max(1, int(len(ids) * share)))

    def model(self):
        return {row[0]: dict(zip(self.FIELDS, row[1:])) for row in self.db.sql("SELECT id, name, city, n FROM t")}

    def listed_unknown(self):
        """How often each row was listed as one whose outcome nobody knows."""
        listed = collections.Counter()
        for number in range(1, self.sync.last_run() + 1):
            for row in self.sync.rejected(number):
                if row["code"] == "unknown":
                    listed[row["id"]["id"]] += 1
        return listed

    def finish(self, context):
        """The server is well again: soon a run succeeds, and the next one has nothing to do."""
        self.peer.chance = 0.0
        for _ in range(3):
            if self.sync.trigger("run") == 0:
                break
        else:
            raise AssertionError("%s: %s\n%s" % (context, self.sync.read("status"), self.sync.read("error")))
        calls = self.peer.calls
        self.sync.run()
        assert self.peer.calls == calls, "%s: something was sent once more" % context
        assert self.sync.rejected() == [], "%s: rows are still rejected" % context

    def check(self, context):
        model = self.model()
        if self.mode == "insert":
            self.check_inserts(model, context)
            return
        want = {str(i): {name: value for name, value in row.items() if value is not None} for i, row in model.items()}
        there = dict(self.peer.profiles)
        wrong = [i for i in want if there.get(i) != want[i]]
        assert not wrong, "%s: %d rows are wrong, first %s: %r, not %r" % (
            context, len(wrong), wrong[0], there.get(wrong[0]), want[wrong[0]])
        extra = set(there) - set(want)
        if self.mode == "mirror":
            assert not extra, "%s: left over: %s" % (context, sorted(extra)[:5])
        assert extra <= {str(i) for i in self.ever}, "%s: from nowhere: %s" % (context, sorted(extra)[:5])

    def check_inserts(self, model, context):
        missing = [i for i in model if i not in self.peer.came]
        assert not missing, "%s: %d rows never came, first %d" % (context, len(missing), missing[0])
        listed = self.listed_unknown()
        doubled = {i: n for i, n in self.peer.came.items() if n > 1}
        unlisted = [i for i, n in doubled.items() if n - 1 > listed[i]]
        assert not unlisted, "%s: %d rows came twice and were not listed, first %d (%d times, %d listed)" % (
            context, len(unlisted), unlisted[0], doubled[unlisted[0]], listed[unlisted[0]])
        self.doubled = sum(n - 1 for n in doubled.values())


def over(subject):
    return subject.sync.state() not in ("queued", "running")


def disturb(mount, subject, rng, what):
    """A run to which something happens."""
    peer = subject.peer
    if what == "run":
        subject.sync.trigger("run")
        return
    calls, some = peer.calls, rng.randint(0, 12)
    subject.sync.run("start")
    wait_for("some calls, or the end", lambda: peer.calls >= calls + some or over(subject))
    if rng.random() < 0.5:
        subject.change(0.002)  # under its feet
    if what == "kill":
        mount.kill()
        mount.start()
    else:
        subject.sync.trigger("cancel")
    wait_for("its end", lambda: over(subject))
    peer.going_on.set()
    peer.going_on.clear()


def main():
    options = campaign(__doc__, 30, 1000)
    options.add_argument("--rows", type=int, default=3000)
    args = begin(options)
    rng = random.Random(args.seed)
    mount = Mount(expect="^retlfs: (error|warning):")
    key = mount.data / "key"
    key.write_text("secret")
    peers = [Hook(random.Random(rng.random())), Braze(random.Random(rng.random()), key), Braze(random.Random(rng.random()), key)]
    ends = collections.Counter()
    try:
        subjects = [Subject(mount, rng, name, mode, peer, args.rows) for name, mode, peer in (
            ("inserts", "insert", peers[0]), ("upserts", "upsert", peers[1]), ("mirrors", "mirror", peers[2]))]
        for i in range(args.count):
            subject = subjects[i % len(subjects)]
            what = rng.choice(["run", "run", "kill", "kill", "cancel"])
            subject.peer.chance = rng.choice([0.05, 0.15, 0.4])
            if i >= len(subjects):
                subject.change(rng.choice([0.01, 0.1, 0.3]))
            disturb(mount, subject, rng, what)
            if subject.sync.last_run():
                summary = subject.sync.summary()
                ends[what + ": " + summary["outcome"]] += 1
                ends["cut off while reading"] += summary["cut"]
        for subject in subjects:
            context = "seed %s, %s" % (args.seed, subject.name)
            subject.finish(context)
            subject.check(context)
    finally:
        for peer in peers:
            peer.close()
        mount.close()
    told = sum((peer.told for peer in peers), collections.Counter())
    for name, n in sorted(told.items()):
        print("%-16s %4d" % (name, n))
    print("%d runs disturbed (%s), %d calls, %d of them answered badly; %d rows came twice, all listed; all destinations as promised" % (
        args.count, ", ".join("%s %d" % end for end in sorted(ends.items()) if end[1]), sum(p.calls for p in peers), sum(told.values()),
        subjects[0].doubled))


main()
