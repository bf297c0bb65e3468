"""Destinations of calls, as real HTTP servers in threads of the test, that answer with all that servers answer:
refusals, limits, errors, half an answer, none, nothing for as long as the caller waits, lies. What they took they
hold, so that a test can compare it.

A server applies a call while it is under way, or never. One that applies it after the caller has given it up is not
played: what the caller sent since would be undone behind its back, and no client can know, nor do anything about
it. So a call that gets late here, as on a busy machine, is not applied any more."""

import collections
import email.utils
import json
import os
import random
import select
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from faults import reset
from retlfs import wait_for

LARGE = b"[" + b" " * (10 << 20) + b"]"
FIRST_BYTE, WHOLE = 1, 2  # seconds that the drivers of a campaign wait
LATE = FIRST_BYTE / 2


class Break(Exception):
    """The connection ends here: `hard` by a reset, else closed, after these bytes. stalled: once the caller has
    gone, not before."""

    def __init__(self, sent=b"", hard=True, stalled=False):
        super().__init__()
        self.sent, self.hard, self.stalled = sent, hard, stalled


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


def begun(peer):
    """The most of an answer that is not whole."""
    return b"HTTP/1.1 %d Fine\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{\"message\": \"succ" % peer.GOOD


def lost_request(peer, rows):
    raise Break(hard=peer.rng.random() < 0.5)


def lost_answer(peer, rows):
    peer.apply(rows)
    raise Break(hard=peer.rng.random() < 0.5)


def half_an_answer(peer, rows):
    peer.apply(rows)
    whole = begun(peer)
    raise Break(whole[:peer.rng.randrange(1, len(whole))])


def stalled_unread(peer, rows):
    """The body is never read."""
    raise Break(stalled=True)


def stalled_unapplied(peer, rows):
    raise Break(stalled=True)


def stalled_applied(peer, rows):
    peer.apply(rows)
    raise Break(stalled=True)


def stalled_in_mid_answer(peer, rows):
    peer.apply(rows)
    raise Break(begun(peer), stalled=True)


STALLS = [stalled_unread, stalled_unapplied, stalled_applied, stalled_in_mid_answer]
COMMON = [(status(400), 3), (status(401), 1), (status(403), 0.3), (status(409), 2), (status(413), 2),
          (status(429, lambda: {"Retry-After": "0"}), 3), (status(429, after_a_date), 2), (status(503), 1), (status(500), 1),
          (hidden_success, 2), (lost_request, 2), (lost_answer, 2), (half_an_answer, 3), (odd(LARGE), 0.5), (odd(b""), 1),
          (odd(b'{"mess'), 1)]


# ---- servers ----


class Peer:
    """One destination. `chance` of that a call does not simply go well; `stalls`: how many of them may have the
    caller wait until it gives up."""

    GOOD = 200
    FAULTS = COMMON

    def __init__(self, rng):
        self.rng = rng
        self.lock = threading.Lock()
        self.chance, self.stalls, self.told, self.calls, self.open = 0.0, 0, collections.Counter(), 0, 0
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
                    if end.stalled:
                        wait_for("the caller's going", lambda: is_gone(self.connection))
                    if end.hard:
                        reset(self.connection)
                except OSError:  # the daemon is dead
                    self.close_connection = True

            def log_message(self, *args):
                pass

        class Server(ThreadingHTTPServer):
            request_queue_size = 64

            def process_request(self, request, address):
                with peer.lock:
                    peer.open += 1
                super().process_request(request, address)

            def handle_error(self, request, address):
                pass

            def shutdown_request(self, request):
                with peer.lock:
                    peer.open -= 1
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
            if self.stalls and self.rng.random() < 0.2:
                self.stalls -= 1
                kind = self.rng.choice(STALLS)
            else:
                kinds, weights = zip(*self.FAULTS)
                kind = self.rng.choices(kinds, weights)[0]
            self.told[kind.__name__ if kind.__name__ != "answer" else "answers"] += 1
            return kind

    def serve(self, handler):
        began = time.monotonic()
        fault = self.fault()
        if fault is stalled_unread or fault is lost_request and self.rng.random() < 0.5:
            fault(self, [])  # before the body is read
        rows = self.rows(handler.path, json.loads(handler.rfile.read(int(handler.headers["Content-Length"]))))
        if self.hasty and time.monotonic() > began + LATE or is_gone(handler.connection):
            raise Break()
        taken, code, headers, text = fault(self, rows)
        self.apply(taken)
        handler.send_response(code)
        for name, value in {**headers, "Content-Type": "application/json", "Content-Length": str(len(text))}.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(text)

    def settle(self):
        """Until nothing of a caller who is gone is worked on, or waits to be."""
        socket.create_connection(self.server.server_address).close()  # those who came before are seen before
        wait_for("the end of all calls", lambda: self.open == 0)

    def apply(self, rows):
        with self.lock:
            for row in rows:
                self.take(row)

    def close(self):
        self.server.shutdown()
        self.server.server_close()

    # ---- the driver that speaks to it: one of the user's own, so that its time-outs can be short ----

    hasty = False

    def connect(self, mount, name, driver=None, **options):
        """Writes connections/NAME.json. driver: the one that is built in, of which it is a copy."""
        self.mount, self.driver = mount, "hasty_" + name
        if driver:
            self.MANIFEST = json.loads(mount.read("drivers/%s/connector.json" % driver))
        mount.path("drivers/" + self.driver).mkdir()
        self.wait(hastily=True)
        mount.connect(name, {"driver": self.driver, **options})

    def wait(self, hastily):
        """Whether it gives up soon, or waits for what a busy machine has no time for."""
        self.hasty = hastily
        times = {"first_byte": FIRST_BYTE, "whole": WHOLE} if hastily else {}
        self.mount.write("drivers/%s/connector.json" % self.driver, json.dumps({**self.MANIFEST, "timeouts": times}, indent=2))


def is_gone(connection):
    """Whether the other end has closed; what it sent before is not read."""
    poll = select.poll()
    poll.register(connection, select.POLLRDHUP)
    return bool(poll.poll(0))


class Hook(Peer):
    """An endpoint of one's own: it counts how often each row came."""

    def __init__(self, rng, mount, name):
        super().__init__(rng)
        self.came = collections.Counter()
        self.connect(mount, name, "webhook", url=self.url + "/rows")

    def rows(self, path, body):
        return [row["id"] for row in body]

    def take(self, row):
        self.came[row] += 1

    def took(self, rows, refused):
        return b"{}"


class Keeper(Peer):
    """Keeps records by their KEY, merges what it is sent into them, and has one that is somebody else's."""

    STRANGER, SOMEBODY = "-1", {"name": "somebody else"}

    def __init__(self, rng):
        super().__init__(rng)
        self.holds, self.removed = {self.STRANGER: dict(self.SOMEBODY)}, []

    def take(self, row):
        if isinstance(row, str):
            self.removed.append(row)
            self.holds.pop(row, None)
            return
        record = self.holds.setdefault(row[self.KEY], {})
        for name, value in row.items():
            if value is None:
                record.pop(name, None)
            elif name != self.KEY and name[0] != "_":
                record[name] = value


class Braze(Keeper):
    """Profiles by external id, as /users/track and /users/delete change them."""

    GOOD, KEY = 201, "external_id"
    FAULTS = COMMON + [(partly, 4), (hidden_failure, 2)]

    def __init__(self, rng, mount, name):
        super().__init__(rng)
        key = mount.data / ("key_" + name)
        key.write_text("secret")
        self.connect(mount, name, "braze", url=self.url, key={"file": str(key)})

    def rows(self, path, body):
        return body["attributes"] if path == "/users/track" else body["external_ids"]

    def took(self, rows, refused):
        errors = [{"type": "not a valid one", "input_array": "attributes", "index": i} for i in refused]
        return json.dumps({"message": "success", **({"errors": errors} if errors else {})}).encode()


class Club(Keeper):
    """The members of a list; to add one who is there changes what is known of him."""

    KEY = "id"
    FAULTS = COMMON + [(partly, 4)]
    MANIFEST = {
        "summary": "members of a club",
        "connection": {"url": {"type": "string", "required": True, "help": "where it is"}},
        "url": "{url}",
        "parallel": 4,
        "answer": {"error": {"words": "/message"},
                   "rows": {"by": "index", "list": "/refused", "index": "/index", "words": "/why"}},
        "calls": [
            {"for": ["add"], "path": "/{@object}/add", "rows": 20, "changed_only": True,
             "body": {"members": {"@rows": {"id": {"@key_text": True}, "@record": "rest"}}}},
            {"for": ["remove"], "path": "/{@object}/remove", "rows": 20, "body": {"ids": {"@rows": {"@key_text": True}}}}]}

    def __init__(self, rng, mount, name):
        super().__init__(rng)
        self.connect(mount, name, url=self.url)

    def rows(self, path, body):
        return body["members"] if path == "/guests/add" else body["ids"]

    def took(self, rows, refused):
        return json.dumps({"refused": [{"index": i, "why": "not this one"} for i in refused]}).encode()
