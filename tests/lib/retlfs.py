"""What a Python test needs: a real mount of the real daemon, a PostgreSQL server of its own, and
the few verbs of the tree (write a file, pull the trigger, read what happened).

The daemon is the binary named by $RETLFS, else the newest one built in this checkout. Everything
lives in a temporary directory that is gone afterwards; the daemon's stderr is scanned when it
ends, so that a sanitizer's report or an unexpected error line fails the test that caused it.
"""

import atexit
import csv
import errno
import io
import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DEADLINE = float(os.environ.get("RETLFS_TEST_DEADLINE", "60"))

# A test that runs out of time (timeout, tests/run) still takes its servers and mounts along.
signal.signal(signal.SIGTERM, signal.default_int_handler)

# Never right, whatever a test does.
ALARM = re.compile(
    r"AddressSanitizer|LeakSanitizer|ThreadSanitizer|runtime error:|Assertion .*failed"
    r"|^==\d+== |stack smashing|double free|free\(\): invalid|corrupted"
)
# Right only where the test says so (Mount(expect=…)).
COMPLAINT = re.compile(r"^(?!retlfs: (info|debug): ).*\b(error|warning)\b", re.IGNORECASE)


def skip(reason):
    """Ends the test program as skipped: 77, with the reason on the last line."""
    print("skip: " + reason)
    sys.exit(77)


def binary():
    if os.environ.get("RETLFS"):
        return os.environ["RETLFS"]
    built = [p for p in ROOT.glob("build*/fs/retlfs") if os.access(p, os.X_OK)]
    if not built:
        skip("no retlfs built: run meson setup build && ninja -C build")
    return str(max(built, key=lambda p: p.stat().st_mtime))


def need_fuse():
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        skip("/dev/fuse is not there for this user")


def wait_for(what, condition, deadline=None):
    """Polls until condition() is true and returns its value; fails when the deadline passes."""
    end = time.monotonic() + (deadline or DEADLINE)
    pause = 0.001
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError("waited in vain for " + what)
        time.sleep(pause)  # between two looks, not instead of one
        pause = min(pause * 2, 0.05)


def command(*args, check=True, **kwargs):
    """Runs a program and returns its CompletedProcess with text output."""
    done = subprocess.run(args, text=True, capture_output=True, **kwargs)
    if check and done.returncode:
        raise AssertionError("%s: exit %d\n%s%s" % (args, done.returncode, done.stdout, done.stderr))
    return done


# ---- PostgreSQL ----


class Postgres:
    """A throw-away server (tests/lib/postgres.sh), or a database of its own on the server that
    tests/run has started and named in $RETLFS_TEST_PG ("host=… port=… user=…")."""

    def __init__(self):
        self.own = None
        server = os.environ.get("RETLFS_TEST_PG")
        if not server:
            self.own = tempfile.mkdtemp(prefix="retlfs-pg.", dir="/tmp")
            done = self._script('pg_start "$1" && echo "host=$PGHOST port=$PGPORT user=$PGUSER"')
            if done.returncode == 77:
                shutil.rmtree(self.own, ignore_errors=True)
                skip("no PostgreSQL server: " + done.stdout.strip())
            if done.returncode:
                raise AssertionError("PostgreSQL did not start: " + done.stdout + done.stderr)
            server = done.stdout.strip().splitlines()[-1]
            atexit.register(self.stop)
        parts = dict(p.split("=", 1) for p in server.split())
        self.host, self.port, self.user = parts["host"], parts["port"], parts["user"]
        self.database = "postgres"
        name = "t%d_%d" % (os.getpid(), time.monotonic_ns())
        self.sql('CREATE DATABASE "%s"' % name)
        self.database = name

    def _script(self, text):
        return subprocess.run(
            ["bash", "-c", '. "$0"; ' + text, str(ROOT / "tests/lib/postgres.sh"), self.own],
            text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL,
        )

    def stop(self):
        if self.own:
            self._script('pg_stop "$1"')
            shutil.rmtree(self.own, ignore_errors=True)
            atexit.unregister(self.stop)
        elif self.database != "postgres":
            name, self.database = self.database, "postgres"
            self.sql('DROP DATABASE IF EXISTS "%s" WITH (FORCE)' % name)

    @property
    def dsn(self):
        return "host=%s port=%s user=%s dbname=%s" % (
            self.host, self.port, self.user, self.database)

    @property
    def connection(self):
        return {"driver": "postgres", "dsn": self.dsn}

    def psql(self, *args, input=None):
        return command(
            "psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", self.dsn, *args, input=input,
            env={**os.environ, "PGOPTIONS": "-c client_min_messages=warning"},
        ).stdout

    def sql(self, text):
        """Runs statements; the last query's rows as lists of strings, NULL as None."""
        out = self.psql("--csv", "-t", "-P", "null=\x01NULL", "-f", "-", input=text)
        rows = csv.reader(io.StringIO(out, newline=""))
        return [[None if v == "\x01NULL" else v for v in row] for row in rows]

    def value(self, text):
        return self.sql(text)[0][0]

    def fill(self, table, rows):
        """COPY of Python rows: None is NULL."""
        def field(v):
            if v is None:
                return "\\N"
            if isinstance(v, bool):
                return "t" if v else "f"
            text = str(v).replace("\\", "\\\\")
            return text.replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r")

        text = "".join("\t".join(map(field, row)) + "\n" for row in rows)
        self.psql("-c", "COPY %s FROM STDIN" % table, input=text)


# ---- SQLite, as a program of its own would use it ----


class Sqlite:
    def __init__(self, path):
        self.path = str(path)

    @property
    def connection(self):
        return {"driver": "sqlite", "path": self.path}

    def sql(self, text, values=()):
        db = sqlite3.connect(self.path, timeout=30)
        try:
            with db:
                if values:
                    return [list(row) for row in db.execute(text, values)]
                statements = [s for s in text.split(";\n") if s.strip()]
                rows = []
                for statement in statements:
                    rows = [list(row) for row in db.execute(statement)]
                return rows
        finally:
            db.close()

    def fill(self, table, rows):
        rows = list(rows)
        if not rows:
            return
        db = sqlite3.connect(self.path, timeout=30)
        try:
            with db:
                marks = ",".join("?" * len(rows[0]))
                db.executemany("INSERT INTO %s VALUES (%s)" % (table, marks), rows)
        finally:
            db.close()


# ---- the mount ----


class StartError(AssertionError):
    def __init__(self, code, stderr):
        super().__init__("retlfs ended with %s: %s" % (code, stderr))
        self.code, self.stderr = code, stderr


def unmount_quietly(path):
    subprocess.run(["fusermount3", "-uz", str(path)], capture_output=True)


class Mount:
    """The daemon in the foreground on a temporary mount point."""

    def __init__(self, options=(), expect=None, env=None, start=True):
        need_fuse()
        self.dir = Path(tempfile.mkdtemp(prefix="retlfs-test."))
        os.chmod(self.dir, 0o755)
        self.point, self.state = self.dir / "mnt", self.dir / "state"
        self.data = self.dir / "data"
        self.point.mkdir()
        self.data.mkdir()
        self.options, self.env = list(options), dict(env or {})
        if "allow_other" in self.options:
            self.options.append("allow_path=%s" % self.data)
        self.expect = re.compile(expect) if expect else None
        self.process, self.log, self.starts = None, None, 0
        atexit.register(self.close)
        if start:
            self.start()

    def start(self):
        self.starts += 1
        self.log = self.dir / ("stderr.%d" % self.starts)
        args = [binary(), "-f", "-o", "state=%s" % self.state]
        for option in self.options:
            args += ["-o", option]
        args.append(str(self.point))
        wrapper = os.environ.get("RETLFS_WRAPPER", "").split()
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                wrapper + args, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env={**os.environ, **self.env}, start_new_session=True)
        try:
            wait_for("the mount", self._up)
        except StartError:
            self.process = None
            raise
        return self

    def _up(self):
        code = self.process.poll()
        if code is not None:
            raise StartError(code, self.stderr())
        try:
            return os.path.ismount(self.point) and (self.point / "syncs").is_dir()
        except OSError:
            return False

    def stderr(self):
        return self.log.read_text(errors="replace") if self.log and self.log.exists() else ""

    def stop(self):
        """fusermount3 -u, a clean end, and nothing unexpected said."""
        if not self.process:
            return
        process, self.process = self.process, None
        try:
            # A reader of the tree that is about to end (a killed client) may still hold it.
            wait_for("fusermount3 -u", lambda: subprocess.run(
                ["fusermount3", "-u", str(self.point)], capture_output=True).returncode == 0)
            code = process.wait(timeout=DEADLINE)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
            unmount_quietly(self.point)
        self.check_stderr()
        assert code == 0, "the daemon ended with %d:\n%s" % (code, self.stderr())

    def kill(self):
        """kill -9. The mount point stays behind, dead, as it would in life."""
        process, self.process = self.process, None
        process.send_signal(signal.SIGKILL)
        process.wait()
        self.check_stderr()

    def check_stderr(self):
        for line in self.stderr().splitlines():
            bad = ALARM.search(line)
            if not bad and COMPLAINT.search(line):
                bad = not (self.expect and self.expect.search(line))
            assert not bad, "unexpected on stderr:\n" + self.stderr()[-8000:]

    def close(self):
        """For addCleanup: stops it, and removes everything whatever happens."""
        atexit.unregister(self.close)
        try:
            self.stop()
        finally:
            if self.process:
                self.process.kill()
                self.process.wait()
            unmount_quietly(self.point)
            shutil.rmtree(self.dir, ignore_errors=True)

    # -- files of the tree --

    def path(self, name):
        return self.point / name

    def read(self, name):
        return (self.point / name).read_text()

    def write(self, name, text):
        """As `echo` does it: truncate, one write, close. OSError with the errno of either."""
        fd = os.open(self.point / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        try:
            data = text.encode() if isinstance(text, str) else text
            while data:
                data = data[os.write(fd, data):]
        except BaseException:
            try:
                os.close(fd)
            except OSError:
                pass
            raise
        os.close(fd)

    def connect(self, name, connection):
        self.write("connections/%s.json" % name, json.dumps(connection) + "\n")

    def sync(self, name):
        return Sync(self, name)


class Sync:
    """One sync of a mount."""

    def __init__(self, mount, name):
        self.mount, self.name = mount, name
        self.path = mount.point / "syncs" / name

    def define(self, config=None, mappings=None, mode=None):
        """Writes the files given. mappings: CSV text, or a list of (column, field[, expression])."""
        if not self.path.exists():
            self.path.mkdir()
        if config is not None:
            self.write("config.json", json.dumps(config, indent=2) + "\n")
        if mappings is not None:
            self.write("mappings.csv", mappings_csv(mappings))
        if mode is not None:
            self.write("mode", mode + "\n")
        return self

    def read(self, name):
        return (self.path / name).read_text()

    def write(self, name, text):
        self.mount.write("syncs/%s/%s" % (self.name, name), text)

    def exists(self, name):
        return os.path.lexists(self.path / name)

    def trigger(self, verb):
        """Writes the verb and returns the errno: 0 when it went well."""
        fd = os.open(self.path / "trigger", os.O_WRONLY | os.O_TRUNC)
        try:
            os.write(fd, verb.encode() + b"\n")
        except OSError as e:
            return e.errno
        finally:
            os.close(fd)
        return 0

    def run(self, verb="run", want=0):
        """Pulls the trigger and insists on the errno."""
        got = self.trigger(verb)
        if got != want:
            raise AssertionError("%s of %s gave %s, not %s\n%s\n%s" % (
                verb, self.name, errno_name(got), errno_name(want),
                self.read("status"), self.read("error")))
        return self

    def lines(self, name):
        """A .jsonl file as a list; numbers keep their text (Decimal-exact comparisons)."""
        text = self.read(name)
        return [json.loads(line, parse_float=Number) for line in text.splitlines()]

    def changes(self, run="last"):
        return self.lines("runs/%s/changes.jsonl" % run)

    def rejected(self, run=None):
        name = "runs/%s/rejected.jsonl" % run if run else "rejected/rejected.jsonl"
        if run is None and not self.exists(name):
            name = "rejected.jsonl"
        return self.lines(name) if self.exists(name) else []

    def summary(self, run="last"):
        return json.loads(self.read("runs/%s/summary.json" % run))

    def status(self):
        """The `key: value` lines; a key that comes twice has its values joined by newline."""
        result = {}
        for line in self.read("status").splitlines():
            key, colon, value = line.partition(":")
            if colon and not key.startswith(" "):
                result[key] = (result[key] + "\n" if key in result else "") + value.strip()
        return result

    def status_json(self):
        return json.loads(self.read("status.json"))

    def state(self):
        return self.status().get("state")

    def last_run(self):
        """Number of the newest run, 0 when there was none."""
        link = self.path / "runs" / "last"
        return int(os.readlink(link).rstrip("/").rpartition("/")[2]) if os.path.lexists(link) else 0


class Number(str):
    """A JSON number with a fraction, as it was written."""


def mappings_csv(mappings):
    if isinstance(mappings, str):
        return mappings
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    wide = any(len(m) > 2 for m in mappings)
    writer.writerow(["column", "field", "expression"][: 3 if wide else 2])
    for m in mappings:
        writer.writerow((list(m) + [""])[: 3 if wide else 2])
    return out.getvalue()


def errno_name(number):
    return errno.errorcode.get(number, str(number)) if number else "success"


def ops(changes):
    """How many changes of each operation: {"insert": 3}."""
    counts = {}
    for change in changes:
        counts[change["op"]] = counts.get(change["op"], 0) + 1
    return counts


# ---- unittest, with one mount (and one server) a class ----


class MountTest(unittest.TestCase):
    """One daemon for all tests of the class. `postgres = True` adds a server as self.pg and as
    the connection "pg". Tests use syncs and tables of their own names."""

    postgres = False
    expect = r"^retlfs: (error|warning): sync="  # failed runs are logged, and tests make runs fail
    options = ()
    maxDiff = 4000

    @classmethod
    def setUpClass(cls):
        if cls.postgres:
            cls.pg = Postgres()
            cls.addClassCleanup(cls.pg.stop)
        cls.mount = Mount(options=cls.options, expect=cls.expect)
        cls.addClassCleanup(cls.mount.close)
        cls.sqlite = Sqlite(cls.mount.data / "dest.db")
        cls.sqlite.sql("PRAGMA journal_mode=wal")
        cls.mount.connect("lite", cls.sqlite.connection)
        if cls.postgres:
            cls.mount.connect("pg", cls.pg.connection)

    def setUp(self):
        # The test's own name serves as that of its sync and tables.
        self.name = self._testMethodName.removeprefix("test_")

    def sync(self, **definition):
        return self.mount.sync(self.name).define(**definition)

    def expect_errno(self, number, what, *args):
        with self.assertRaises(OSError) as caught:
            what(*args)
        self.assertEqual(errno_name(caught.exception.errno), errno_name(number))


def main():
    """Runs the TestCases of the calling file; an argument picks tests by part of their name."""
    need_fuse()
    args = sys.argv[:1] + [a for arg in sys.argv[1:] for a in (["-k", arg] if arg[:1] != "-" else [arg])]
    unittest.main(module="__main__", argv=args, verbosity=2)
