#!/usr/bin/env python3
"""The PostgreSQL server goes away in the middle: connections reset by a proxy at random bytes and
statements, cut by pg_terminate_backend, the server stopped, killed and restarted, and the answer
to COMMIT lost (so that only the marker row knows). Source, destination and both. After each: the
failure is told, the next run makes the destination exact, nothing twice, nothing lost, no full
run, and the delivered state knows it.

    server.py [--count N] [--rows N] [--seed S] [--only FAULT]

$FAULT_COUNT is the usual count."""

import os
import random
import re
import signal
import subprocess
import sys
import time
from collections import Counter

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
os.environ.pop("RETLFS_TEST_PG", None)  # the server is stopped here: one of our own
from faults import Cut, PostgresProxy, begin, campaign
from retlfs import ROOT, Mount, Postgres, Sqlite, errno_name, wait_for
from subject import Subject

# What a person must find in `error` when a connection broke or a server was away.
TOLD = re.compile(r"connection|server|terminat|unexpectedly|refused|starting up|shutting down|recovery|"
                  r"did not commit|not known yet", re.IGNORECASE)


class World:
    def __init__(self, rng, rows):
        self.rng = rng
        self.pg = Postgres()
        # What is committed must survive the kill of a server (not of the machine).
        self.pg.sql('ALTER DATABASE "%s" SET synchronous_commit = on' % self.pg.database)
        self.source, self.dest = (PostgresProxy("127.0.0.1", self.pg.port) for _ in range(2))
        self.mount = Mount(expect="^retlfs: (error|warning):")
        self.lite = Sqlite(self.mount.data / "lite.db")
        self.lite.sql("PRAGMA journal_mode=wal")
        for name, proxy in ("src", self.source), ("dst", self.dest):
            self.mount.connect(name, {"driver": "postgres", "dsn": "host=127.0.0.1 port=%d user=%s dbname=%s sslmode=disable" % (
                proxy.port, self.pg.user, self.pg.database)})
        self.mount.connect("lite", self.lite.connection)
        both = [("insert", "src", "dst"), ("bag", "src", "dst"), ("mirror", "src", "dst"), ("upsert", "src", "dst"),
                ("update", "src", "dst"), ("insert", "lite", "dst"), ("mirror", "lite", "dst"), ("bag", "src", "lite"),
                ("mirror", "src", "lite")]
        db = {"src": self.pg, "dst": self.pg, "lite": self.lite}
        self.subjects = []
        for mode, source, dest in both:
            subject = Subject(self.mount, rng, mode, (db[source], source), (db[dest], dest), rows)
            subject.proxies = [p for p, name in ((self.source, source), (self.dest, dest)) if name != "lite"]
            subject.run()
            self.subjects.append(subject)

    def rest(self):
        for proxy in self.source, self.dest:
            proxy.rest()

    def pg_ctl(self, *args, check=True):
        """As root the server runs as somebody else; what postgres.sh knows of that is used."""
        done = subprocess.run(["bash", "-c", '. "$0"; dir=$1; shift; pg_as "$(pg_bin)/pg_ctl" -D "$dir/data" -w -s -l "$dir/log" "$@"',
                               str(ROOT / "tests/lib/postgres.sh"), self.pg.own, *args],
                              stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        assert done.returncode == 0 or not check, "pg_ctl %s gave %d" % (args, done.returncode)
        return done.returncode == 0

    def postmaster(self):
        with open(self.pg.own + "/data/postmaster.pid") as file:
            return int(file.readline())

    def checkpoint(self):
        """Recovery is not what is measured here."""
        self.pg.sql("CHECKPOINT")

    def wait_for_server(self):
        def there():
            try:
                return self.pg.value("SELECT 1") == "1"
            except AssertionError:
                return False
        wait_for("the server", there)

    def terminate_all(self):
        self.pg.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
                    " AND pid <> pg_backend_pid() AND backend_type = 'client backend'")

    def close(self):
        try:
            self.mount.close()
        finally:
            for proxy in self.source, self.dest:
                proxy.close()
            self.pg.stop()


# ---- the faults; each arranges for something and returns what must be done after the run ----


def at_statement(world, subject, what):
    """Calls what() before one of the run's statements, whichever."""
    proxy = world.rng.choice(subject.proxies)
    which = world.rng.randint(1, max(1, subject.statements[proxy]))

    def hook(number, text):
        if number == which:
            what(proxy)

    proxy.on_statement = hook


def somewhere(world, subject, what):
    """Calls what() between two bytes of the run, whichever, or before one of its statements."""
    if world.rng.random() < 0.5:
        at_statement(world, subject, what)
        return
    proxy = world.rng.choice(subject.proxies)
    proxy.at_byte = world.rng.randint(1, max(1, subject.bytes[proxy])), lambda: what(proxy)


def reset_anywhere(world, subject):
    def what(proxy):
        raise Cut()
    somewhere(world, subject, what)


def reset_after_statement(world, subject):
    """The server has it, or a part of it, or has answered in part."""
    def what(proxy):
        def cut():
            raise Cut()
        proxy.at_byte = proxy.bytes + world.rng.choice([1, 30, 300, 3000]), cut
    at_statement(world, subject, what)


def terminate(world, subject):
    somewhere(world, subject, lambda proxy: world.terminate_all())


def stop(mode):
    def fault(world, subject):
        world.checkpoint()
        somewhere(world, subject, lambda proxy: world.pg_ctl("-m", mode, "stop", check=False))

        def after():
            world.pg_ctl("restart", check=False)
            world.wait_for_server()
        return after
    fault.__name__ = "stop_" + mode
    return fault


def restart(world, subject):
    """It is back before the run notices."""
    world.checkpoint()
    somewhere(world, subject, lambda proxy: world.pg_ctl("-m", "immediate", "restart", check=False))
    return world.wait_for_server


def kill_server(world, subject):
    """kill -9 of the postmaster; its children find out for themselves."""
    world.checkpoint()
    somewhere(world, subject, lambda proxy: os.kill(world.postmaster(), signal.SIGKILL))

    def after():
        world.source.cut_all()
        world.dest.cut_all()
        wait_for("the server's start", lambda: world.pg_ctl("restart", check=False))
        world.wait_for_server()
    return after


def kill_backends(world, subject):
    """kill -9 of the backends: the server restarts itself, with recovery."""
    world.checkpoint()
    def what(proxy):
        for (pid,) in world.pg.sql("SELECT pid FROM pg_stat_activity WHERE datname = current_database()"
                                   " AND backend_type = 'client backend' AND pid <> pg_backend_pid()"):
            os.kill(int(pid), signal.SIGKILL)
    somewhere(world, subject, what)
    return world.wait_for_server


def commit_lost(moment):
    def fault(world, subject):
        def hook(what):
            if what == moment:
                raise Cut()
        world.dest.on_commit = hook
    fault.__name__ = "commit_lost_" + moment
    fault.code = {"asked": "EIO", "answered": "success"}[moment]
    return fault


def kill_at_commit(world, moment, refuse):
    def hook(what):
        if what == moment:
            world.dest.refuse = refuse
            world.mount.process.send_signal(signal.SIGKILL)
            raise Cut()

    def restart():
        world.mount.kill()
        world.mount.start()

    world.dest.on_commit = hook
    return restart


def commit_unknown(moment):
    """The answer is lost, nobody can be asked, and the daemon is gone too: the run stays
    unresolved, says so, and sends nothing until the destination has answered."""
    def fault(world, subject):
        restart = kill_at_commit(world, moment, refuse=True)

        def after():
            restart()
            sync, number = subject.sync, subject.sync.last_run()
            assert sync.state() == "unresolved", sync.read("status")
            code = sync.trigger("run")
            assert errno_name(code) == "EIO" and "outcome of run %d is not known yet" % number in sync.read("error"), (
                errno_name(code), sync.read("error"))
            assert sync.last_run() == number and sync.state() == "unresolved", sync.read("status")
            world.rest()
            subject.run()
            want = {"asked": "failed", "answered": "succeeded"}[moment]
            assert sync.summary(number)["outcome"] == want, sync.summary(number)
        return after
    fault.__name__ = "commit_unknown_" + moment
    fault.dies = True
    return fault


def commit_killed(moment):
    """The daemon dies between the destination's commit and the ledger's end (or just before)."""
    def fault(world, subject):
        return kill_at_commit(world, moment, refuse=False)
    fault.__name__ = "commit_killed_" + moment
    fault.dies = True
    return fault


def unreachable_for_long(world, subject):
    """As long as the engine asks: the run ends as unresolved in the living daemon."""
    def hook(what):
        if what == "answered":
            world.dest.refuse = True
            raise Cut()
    world.dest.on_commit = hook

    def after():
        assert subject.sync.state() == "unresolved", subject.sync.read("status")
    return after


unreachable_for_long.code = "EIO"

SOURCE = [reset_anywhere, reset_after_statement, terminate, stop("fast"), stop("immediate"), restart, kill_server,
          kill_backends]
DEST = [f(m) for m in ("asked", "answered") for f in (commit_lost, commit_unknown, commit_killed)]
SLOW = [unreachable_for_long]


def one(world, subject, fault, context, messages):
    subject.change(100)
    world.rest()
    after = fault(world, subject)
    try:
        code = errno_name(subject.sync.trigger("run"))
    except OSError as e:  # of close(): the daemon is gone
        code = errno_name(e.errno)
    if not getattr(fault, "dies", False):
        text = subject.sync.read("error")
        assert code in ("success", "EIO"), "%s: %s: %s" % (context, code, text)
        assert code == getattr(fault, "code", code), "%s: %s: %s" % (context, code, text)
        assert code == "success" or TOLD.search(text), "%s: says only: %s" % (context, text)
        messages[re.sub(r"\d+", "N", text.strip().split("\n")[0])[:230] or "success"] += 1
    if after:
        after()
    world.rest()
    subject.run()
    subject.exact(context)
    subject.incremental(context)
    subject.knows(context)
    return code


def learn(world, subject):
    """What a run that nothing disturbs sends, to choose a moment of it."""
    subject.change(100)
    world.rest()
    subject.run()
    subject.exact("undisturbed")
    subject.statements = {p: p.statements for p in subject.proxies}
    subject.bytes = {p: p.bytes for p in subject.proxies}


def main():
    options = campaign(__doc__, 14, 150)
    options.add_argument("--rows", type=int, default=2000)
    options.add_argument("--only", default="")
    args = begin(options)
    rng = random.Random(args.seed)
    world = World(rng, args.rows)
    tried, failed, messages, seconds = Counter(), Counter(), Counter(), Counter()
    try:
        faults = [f for f in SOURCE + DEST + (SLOW if args.count >= 100 else []) if args.only in f.__name__]
        for subject in world.subjects:
            learn(world, subject)
        for i in range(args.count):
            fault = faults[i % len(faults)]
            able = [s for s in world.subjects if fault not in DEST + SLOW or world.dest in s.proxies]
            subject = rng.choice(able)
            context = "seed %s, %d: %s of %s" % (args.seed, i + 1, fault.__name__, subject.name)
            signal.alarm(120)
            began = time.monotonic()
            try:
                code = one(world, subject, fault, context, messages)
            except BaseException:
                print("FAILED: " + context, flush=True)
                raise
            signal.alarm(0)
            seconds[fault.__name__] += time.monotonic() - began
            tried[fault.__name__] += 1
            failed[fault.__name__] += code != "success"
    finally:
        signal.alarm(0)
        world.close()
    for name, n in tried.items():
        print("%-28s %4d times, %4d runs failed for it, %5.1f s" % (name, n, failed[name], seconds[name]))
    for text, n in messages.most_common():
        print("%4d × %s" % (n, text))
    print("%d faults, seed %s: all destinations exact, nothing twice" % (sum(tried.values()), args.seed))


main()
