#!/usr/bin/env python3
"""Waiting for a run and watching it: what stops a waiter, what a crowd of waiters costs others, and
that poll, inotify and tail -f wake up when the daemon changes a text."""

import ctypes
import errno
import os
import random
import select
import signal
import socket
import statistics
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from forked import seed
from retlfs import DEADLINE, Mount, MountTest, main, wait_for

IN_ATTRIB, IN_NONBLOCK = 4, os.O_NONBLOCK
libc = ctypes.CDLL(None, use_errno=True)
ROWS, KEPT = 40000, 16384  # the kernel is left to know as many
WALK = "import os, random, sys\nrng = random.Random(sys.argv[1])\nwhile True: os.stat(str(rng.randint(1, %d)))"


def states(pid):
    """Of the threads: "T", stopped, "D", waiting in the kernel for what no signal ends, …"""
    for stat in Path("/proc/%d/task" % pid).glob("*/stat"):
        yield stat.read_text().rpartition(")")[2].split()[0]


class Waiting(MountTest):
    postgres = True

    def make(self, seconds=0):
        config = {
            "source": {"connection": "pg", "query": "SELECT 1 AS id FROM pg_sleep(%g)" % seconds},
            "destination": {"connection": "lite", "object": "d_" + self.name, "create": True},
            "identifier": "id"}
        return self.sync(config=config, mappings=[("id", "id")], mode="upsert")

    def shell(self, sync, *args):
        process = subprocess.Popen(args, cwd=sync.path, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE, text=True, start_new_session=True)
        self.addCleanup(process.kill)
        return process

    def running(self, sync):
        wait_for("the run", lambda: sync.state() == "running")

    # ---- what stops a waiter ----

    def test_timeout_stops_waiting_only(self):
        sync = self.make(60)
        waiter = self.shell(sync, "timeout", "0.5", "sh", "-c", "echo run > trigger")
        waiter.communicate(timeout=DEADLINE)
        self.assertEqual(waiter.returncode, 124)
        self.assertEqual(sync.state(), "running")
        sync.run("cancel")
        wait_for("its end", lambda: sync.state() != "running")
        self.assertLessEqual(sync.last_run(), 1)  # none: cancelled before it had a number

    def test_a_trap_in_dash(self):
        # dash asks the kernel again when a signal had a handler: it must not become a second run.
        sync = self.make(60)
        waiter = self.shell(sync, "dash", "-c", "trap 'echo trapped' INT; echo run > trigger; echo $?")
        self.running(sync)
        os.killpg(waiter.pid, signal.SIGINT)
        wait_for("the signal to be taken", lambda: not self.pending(waiter.pid))
        self.assertEqual(sync.state(), "running")
        sync.run("cancel")
        out, _ = waiter.communicate(timeout=DEADLINE)
        self.assertEqual(out.split()[0], "trapped")
        self.assertNotEqual(out.split()[-1], "0")
        wait_for("its end", lambda: sync.state() != "running")
        self.assertEqual(sync.last_run(), 1)

    def pending(self, pid):
        with open("/proc/%d/status" % pid) as file:
            lines = dict(line.split(":", 1) for line in file)
        return int(lines["SigPnd"], 16) | int(lines["ShdPnd"], 16)

    def test_two_hundred_waiters(self):
        sync = self.make(120)
        sync.run("start")
        self.running(sync)
        script = ("import os, sys\n"
                  "for i in range(20):\n"
                  "    if os.fork() == 0:\n"
                  "        try: os.write(os.open('trigger', os.O_WRONLY), b'wait\\n')\n"
                  "        except OSError as e: os._exit(1 if e.errno == %d else 2)\n"
                  "        os._exit(0)\n"
                  "for i in range(20): sys.stdout.write(str(os.waitstatus_to_exitcode(os.wait()[1])))\n"
                  % errno.ECANCELED)
        waiters = [self.shell(sync, sys.executable, "-c", script) for _ in range(10)]
        wait_for("200 waiters", lambda: self.blocked(waiters) == 200)
        took = []
        for _ in range(100):
            began = time.monotonic()
            sync.read("status")
            took.append(time.monotonic() - began)
        self.assertEqual(self.blocked(waiters), 200)
        print("status beside 200 waiters: median %.2f ms, worst %.2f ms" % (
            statistics.median(took) * 1e3, max(took) * 1e3))
        self.assertLess(statistics.median(took), 1)
        sync.run("cancel")
        for waiter in waiters:
            self.assertEqual(waiter.communicate(timeout=DEADLINE)[0], "1" * 20)

    def blocked(self, waiters):
        """How many of their children are within write(2)."""
        count = 0
        for waiter in waiters:
            try:
                children = Path("/proc/%d/task/%d/children" % (waiter.pid, waiter.pid)).read_text()
                count += sum(Path("/proc/%s/syscall" % pid).read_text().startswith("1 ")
                             for pid in children.split())
            except OSError:
                pass
        return count

    def test_the_daemon_dies(self):
        mount = Mount(expect=self.expect)
        self.addCleanup(mount.close)
        mount.connect("lite", self.sqlite.connection)
        mount.connect("pg", self.pg.connection)
        sync = mount.sync("dies").define(
            config={"source": {"connection": "pg", "query": "SELECT 1 AS id FROM pg_sleep(60)"},
                    "destination": {"connection": "lite", "object": "dies", "create": True}, "identifier": "id"},
            mappings=[("id", "id")], mode="upsert")
        waiter = self.shell(sync, sys.executable, "-c", "import os\n"
                            "try: os.write(os.open('trigger', os.O_WRONLY), b'run\\n')\n"
                            "except OSError as e: print(e.errno)")
        self.running(sync)
        wait_for("its number", lambda: sync.exists("runs/1"))
        mount.kill()
        out, said = waiter.communicate(timeout=DEADLINE)
        self.assertEqual(said, "")
        self.assertIn(int(out), (errno.ECONNABORTED, errno.ENOTCONN))
        mount.start()
        self.assertEqual(sync.summary()["outcome"], "failed")
        self.assertIn("interrupted", sync.summary()["error"])
        self.assertIn("interrupted", sync.read("status"))

    # ---- watching ----

    def test_poll(self):
        sync = self.make()
        for name in "status", "log":
            with open(sync.path / name) as file:
                text = file.read()
                poll = select.poll()
                poll.register(file, select.POLLPRI)
                self.assertEqual(poll.poll(0), [])
                process = self.shell(sync, "sh", "-c", "echo run > trigger")
                self.assertTrue(poll.poll(DEADLINE * 1000))
                process.communicate(timeout=DEADLINE)
                file.seek(0)
                wait_for("another text", lambda: file.seek(0) == 0 and file.read() != text)

    def test_select(self):
        sync = self.make()
        with open(sync.path / "status") as file:
            file.read()
            self.assertEqual(select.select([], [], [file], 0)[2], [])
            process = self.shell(sync, "sh", "-c", "echo run > trigger")
            self.assertEqual(select.select([], [], [file], DEADLINE)[2], [file])
            process.communicate(timeout=DEADLINE)

    def test_inotify(self):
        sync = self.make()
        for name in "syncs/inotify/status", "syncs/inotify/log", "status":
            with self.subTest(name=name):
                fd = libc.inotify_init1(IN_NONBLOCK)
                self.addCleanup(os.close, fd)
                self.assertGreaterEqual(libc.inotify_add_watch(
                    fd, os.fsencode(self.mount.path(name)), IN_ATTRIB), 0)
                sync.run()
                self.assertTrue(select.select([fd], [], [], DEADLINE)[0])
                mask = int.from_bytes(os.read(fd, 4096)[4:8], sys.byteorder)
                self.assertEqual(mask & IN_ATTRIB, IN_ATTRIB)

    def test_waking_watchers_is_bounded(self):
        sync = self.make()
        fd = libc.inotify_init1(IN_NONBLOCK)
        self.addCleanup(os.close, fd)
        sync.read("status")
        libc.inotify_add_watch(fd, os.fsencode(sync.path / "status"), IN_ATTRIB)
        began = time.monotonic()
        events = 0
        while time.monotonic() - began < 1:
            sync.run()
            try:
                events += len(os.read(fd, 65536)) // 16
            except BlockingIOError:
                pass
        took = time.monotonic() - began
        self.assertGreater(events, 0)
        self.assertLessEqual(events, took * 10 + 2)

    def test_touching_is_not_for_users(self):
        sync = self.make()
        self.expect_errno(errno.EPERM, os.utime, sync.path / "status")

    def test_unmount_with_a_watcher(self):
        mount = Mount(expect=self.expect)
        self.addCleanup(mount.close)
        mount.connect("lite", self.sqlite.connection)
        sync = mount.sync("watched").define(mode="upsert")
        sync.read("status")
        for _ in range(20):  # each wakes watchers; the unmount comes in between
            sync.define(mode="mirror")
            sync.define(mode="upsert")
        mount.stop()

    def test_killed_while_it_wakes_watchers(self):
        """No thread of a daemon may wait for an answer of the daemon itself: it could not die."""
        rng = random.Random(seed())
        for _ in range(15):
            mount = Mount(expect=self.expect)
            self.addCleanup(mount.close)
            syncs = [mount.sync("watched%d" % i).define(mode="upsert") for i in range(20)]
            for sync in syncs:
                for name in "status", "status.json", "error", "log":
                    sync.read(name)
            editor = subprocess.Popen(  # a process: whoever asks a daemon that hangs may hang too
                ["sh", "-c", "while :; do for mode in mirror upsert; do for m in syncs/*/mode; do"
                 " echo $mode >$m && echo || exit; done; done; done"],
                cwd=mount.point, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True)
            self.addCleanup(editor.stdout.close)
            self.addCleanup(editor.wait)
            self.addCleanup(editor.kill)
            for _ in range(rng.randrange(50, 250)):
                editor.stdout.readline()
            daemon, mount.process = mount.process, None
            daemon.kill()
            try:
                daemon.wait(DEADLINE)
            except subprocess.TimeoutExpired:
                self.fail("a killed daemon is still there: cat /proc/%d/task/*/stack" % daemon.pid)
            editor.wait(DEADLINE)

    def test_killed_while_names_are_forgotten(self):
        """The same of the names that are given up while many are looked up. Which thread waits like that
        shows when the daemon is stopped: it does not stop."""
        mount = Mount(expect=self.expect)
        self.addCleanup(mount.close)
        mount.connect("pg", self.pg.connection)
        mount.connect("lite", self.sqlite.connection)
        rows = mount.sync("rows").define(mappings=[("id", "id")], mode="upsert", config={
            "source": {"connection": "pg", "query": "SELECT generate_series(1, %d) AS id" % ROWS},
            "destination": {"connection": "lite", "object": "d_" + self.name, "create": True},
            "identifier": "id"}).run("plan").path / "pending/insert"
        for row in range(ROWS - KEPT, ROWS):
            os.stat(rows / str(row))
        rng = random.Random(seed())
        walkers = [subprocess.Popen([sys.executable, "-c", WALK % ROWS, str(rng.random())], cwd=rows,
                                    stderr=subprocess.DEVNULL) for _ in range(4)]
        for walker in walkers:
            self.addCleanup(walker.wait)
            self.addCleanup(walker.kill)
        daemon = mount.process
        for _ in range(150):
            for _ in range(20):
                os.stat(rows / str(rng.randint(1, ROWS)))
            daemon.send_signal(signal.SIGSTOP)
            try:
                wait_for("every thread to stop", lambda: set(states(daemon.pid)) == {"T"}, 10)
            finally:
                daemon.send_signal(signal.SIGCONT)
        self.assertEqual([walker.poll() for walker in walkers], [None] * 4)
        mount.kill()
        for walker in walkers:
            walker.wait(DEADLINE)

    def test_tail_follows_the_log(self):
        sync = self.make()
        sync.run()
        tail = self.shell(sync, "tail", "-n", "1", "-f", "-s", "0.05", "log")
        os.set_blocking(tail.stdout.fileno(), False)
        said = bytearray()

        def told(words):
            try:
                said.extend(os.read(tail.stdout.fileno(), 65536))
            except BlockingIOError:
                pass
            return words in said

        wait_for("the last line", lambda: told(b"run=1"))
        sync.run()
        wait_for("the next run's lines", lambda: told(b"run=2 succeeded"))
        tail.kill()


class Connecting(MountTest):
    """A server that accepts and says nothing, while `connect_timeout` is an hour."""

    def setUp(self):
        super().setUp()
        self.silent = socket.create_server(("127.0.0.1", 0))
        self.silent.settimeout(DEADLINE)
        self.addCleanup(self.silent.close)
        (self.mount.data / "rows.csv").write_text("id\n1\n")

    def start(self, mount, silent_source):
        mount.connect("rows", {"driver": "csv", "path": str(mount.data / "rows.csv")})
        mount.connect("silent", {
            "driver": "postgres", "host": "127.0.0.1", "port": self.silent.getsockname()[1], "dbname": "x",
            "user": "x", "sslmode": "disable", "connect_timeout": 3600})
        ends = {"source": {"connection": "silent", "table": "t"}, "destination": {"connection": "lite", "object": "t"}}
        if not silent_source:
            ends = {"source": {"connection": "rows"}, "destination": {"connection": "silent", "object": "t"}}
        sync = mount.sync("from" if silent_source else "to").define(
            config={**ends, "identifier": "id"}, mappings=[("id", "id")], mode="upsert")
        sync.run("start")
        self.addCleanup(self.silent.accept()[0].close)  # from here on it waits for an answer
        return sync

    def test_cancel(self):
        for silent_source in True, False:
            sync = self.start(self.mount, silent_source)
            sync.run("cancel")
            wait_for("the run to end", lambda: sync.state() != "running")
            self.assertEqual(sync.trigger("wait"), errno.ECANCELED)

    def test_unmount(self):
        mount = Mount(expect="^retlfs: (error|warning): sync=")
        self.addCleanup(mount.close)
        mount.connect("lite", self.sqlite.connection)
        self.start(mount, True)
        mount.stop()


if __name__ == "__main__":
    main()
