"""What the campaigns of tests/faults share: a TCP proxy that cuts connections where it is told to,
and the injector (tests/faults/inject.c) that is preloaded into the daemon."""

import argparse
import mmap
import os
import signal
import socket
import struct
import threading
import time
from pathlib import Path

from retlfs import binary, skip

# ---- beginning a campaign ----


def on_alarm(*_):
    raise AssertionError("it hangs")


def campaign(doc, count, long):
    """The options that all have; the others are added by the campaign. count: how many faults it takes every day,
    long: where there is time ($RETLFS_TEST_LONG)."""
    usual = long if os.environ.get("RETLFS_TEST_LONG") else count
    options = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawTextHelpFormatter)
    options.add_argument("--count", type=int, default=int(os.environ.get("FAULT_COUNT", usual)))
    options.add_argument("--seed", default=os.environ.get("SEED") or str(time.time_ns() % 10**9))
    return options


def begin(options):
    """What was asked for; the seed is told, and whatever hangs ends by an alarm."""
    args = options.parse_args()
    print("seed", args.seed, flush=True)
    signal.signal(signal.SIGALRM, on_alarm)
    return args


# ---- the injector ----

CHANGES, READS, MEMORY = 1, 2, 4
COUNT, FAIL_ONCE, FAIL_ON, KILL = range(4)


class Injector:
    """Steers tests/faults/inject.c in the daemons that were started with `env`."""

    LAYOUT = "IIIIQQQq512s"
    SIZE = struct.calcsize(LAYOUT)

    def __init__(self, control, below, memory=False):
        library = Path(binary()).resolve().parents[1] / ("tests/faults/inject%s.so" % ("-memory" if memory else ""))
        if not library.exists():
            skip("%s is not built" % library)
        with open(control, "wb") as file:
            file.write(bytes(self.SIZE))
        fd = os.open(control, os.O_RDWR)
        self.map = mmap.mmap(fd, self.SIZE)
        os.close(fd)
        self.env = {"LD_PRELOAD": str(library), "FAULT_CONTROL": str(control), "FAULT_BELOW": str(below),
                    "ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "") + ":verify_asan_link_order=0"}
        self.shift = 0

    def _put(self, counted, action, number, at):
        # Off first, so that no half of the new orders is obeyed.
        struct.pack_into("II", self.map, 0, 0, COUNT)
        struct.pack_into("II", self.map, 8, number, 0)
        struct.pack_into("QQQq512s", self.map, 16, at, 0, 0, self.shift, b"")
        struct.pack_into("I", self.map, 4, action)
        struct.pack_into("I", self.map, 0, counted)

    def count(self, counted):
        self._put(counted, COUNT, 0, 0)

    def arm(self, counted, action, at, number=0):
        """What `action` says happens at the call number `at` from now."""
        self._put(counted, action, number, at)

    def off(self):
        """Nothing happens any more; (calls seen, calls that failed, the first of them)."""
        struct.pack_into("II", self.map, 0, 0, COUNT)
        _, _, _, _, _, seen, hits, _, what = struct.unpack(self.LAYOUT, self.map[: self.SIZE])
        return seen, hits, what.rstrip(b"\0").decode(errors="replace")

    def turn_clock(self, seconds):
        self.shift = seconds
        struct.pack_into("q", self.map, 40, seconds)


# ---- the proxy ----


def reset(sock):
    """Closes with RST: what is under way is lost."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.shutdown(socket.SHUT_RD)
    except OSError:
        pass
    sock.close()


class Cut(Exception):
    """Raised by a hook: both ends of the connection are reset."""


class Link:
    """One connection through the proxy, and how far its protocol has got."""

    def __init__(self, proxy, client):
        self.proxy, self.client = proxy, client
        self.server = None
        self.started = False  # the start-up message has no type
        self.pending = b""
        self.commit = False  # COMMIT was sent, its answer has not come
        self.lock = threading.Lock()
        self.dead = False

    def run(self):
        try:
            self.server = socket.create_connection(self.proxy.target)
        except OSError:
            reset(self.client)
            return
        threading.Thread(target=self.pump, args=(self.server, self.client, self.proxy.from_server), daemon=True).start()
        self.pump(self.client, self.server, self.proxy.from_client)

    def pump(self, source, target, hook):
        try:
            while True:
                data = source.recv(65536)
                if not data:
                    break
                hook(self, data, target)
        except (OSError, Cut):
            pass
        self.close()

    def close(self):
        with self.lock:
            if self.dead:
                return
            self.dead = True
        for sock in self.client, self.server:
            if sock:
                reset(sock)
        self.proxy.forget(self)

    def messages(self, data):
        """The types and bodies of the client's messages that are complete."""
        self.pending += data
        while True:
            head = 1 if self.started else 0
            if len(self.pending) < head + 4:
                return
            size = head + struct.unpack_from("!I", self.pending, head)[0]
            if len(self.pending) < size:
                return
            message, self.pending = self.pending[:size], self.pending[size:]
            if self.started:
                yield message[:1], message[5:]
            elif message[4:8] in (b"\x04\xd2\x16\x2f", b"\x04\xd2\x16\x30"):
                continue  # asks for TLS or GSS; the start-up message follows
            else:
                self.started = True


class PostgresProxy:
    """Stands between the daemon and a server. `on_statement(number, text)` is called before a
    statement of the client is handed on, `on_commit(what, pass_on)` with "asked" before COMMIT is
    handed on and with "answered" before its answer is; they may raise Cut, or do anything else.
    `at_byte`: a number of bytes, of both directions, and what is called there, once."""

    def __init__(self, host, port):
        self.target = (host, int(port))
        self.lock = threading.Lock()
        self.links = set()
        self.rest()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def rest(self):
        """Hands everything on, and counts anew."""
        self.on_statement = self.on_commit = self.at_byte = None
        self.refuse = False
        self.statements = self.bytes = 0

    def accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            if self.refuse:
                reset(client)
                continue
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            link = Link(self, client)
            with self.lock:
                self.links.add(link)
            threading.Thread(target=link.run, daemon=True).start()

    def forget(self, link):
        with self.lock:
            self.links.discard(link)

    def cut_all(self):
        with self.lock:
            links = list(self.links)
        for link in links:
            link.close()

    def close(self):
        self.listener.close()
        self.cut_all()

    def _send(self, data, target):
        with self.lock:
            self.bytes += len(data)
            number, what = self.at_byte or (None, None)
            if what and self.bytes >= number:
                self.at_byte = None
            else:
                what = None
            part = max(0, len(data) - (self.bytes - number)) if what else 0
        if what:
            target.sendall(data[:part])
            what()
        target.sendall(data[part:])

    def from_client(self, link, data, target):
        for kind, body in link.messages(data):
            if kind not in b"QP":
                continue
            text = body.split(b"\0")[0 if kind == b"Q" else 1].decode(errors="replace")
            with self.lock:  # of several connections, each in a thread of its own
                self.statements += 1
                number = self.statements
            if self.on_statement:
                self.on_statement(number, text)
            if text == "COMMIT":
                link.commit = True
                if self.on_commit:
                    self.on_commit("asked")
        self._send(data, target)

    def from_server(self, link, data, target):
        if link.commit and b"C\0\0\0\x0bCOMMIT\0" in data:
            link.commit = False
            if self.on_commit:
                self.on_commit("answered")
        self._send(data, target)
