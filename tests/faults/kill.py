#!/usr/bin/env python3
"""kill -9 of the daemon at a random moment of a run, or on purpose between the destination's commit and
the ledger's end; a new daemon, a run: the destination is exact, nothing lost, nothing doubled, in
any mode.

    kill.py [--count N] [--rows N] [--seed S]"""

import os
import random
import signal
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from faults import CHANGES, KILL, Cut, Injector, PostgresProxy, begin, campaign
from retlfs import Mount, Postgres, Sqlite, wait_for
from subject import MODES, Subject


class World:
    def __init__(self, seed):
        self.rng = random.Random(seed)
        self.pg = Postgres()
        self.proxy = PostgresProxy("127.0.0.1", self.pg.port)
        self.mount = Mount(expect="^retlfs: (error|warning):", start=False)
        self.injector = Injector(self.mount.dir / "control", self.mount.state)
        self.mount.env.update(self.injector.env)
        self.mount.start()
        self.lite = Sqlite(self.mount.data / "dest.db")
        self.lite.sql("PRAGMA journal_mode=wal")
        self.mount.connect("pg", self.pg.connection)
        self.mount.connect("to", {"driver": "postgres", "dsn": "host=127.0.0.1 port=%d user=%s dbname=%s sslmode=disable" % (
            self.proxy.port, self.pg.user, self.pg.database)})
        self.mount.connect("lite", self.lite.connection)

    def subject(self, mode, to, rows):
        return Subject(self.mount, self.rng, mode, (self.pg, "pg"), (self.lite if to == "lite" else self.pg, to), rows)

    def close(self):
        try:
            self.mount.close()
        finally:
            self.proxy.close()
            self.pg.stop()


def run(world, subject):
    world.injector.count(CHANGES)
    subject.run()
    subject.calls = world.injector.off()[0]


def watch_for_commit(world, subject, began):
    """As near to the commit as can be seen from outside."""
    phase = "none"
    while time.monotonic() - began < 20:
        status = subject.sync.status()
        if status.get("state") not in ("running", "queued"):
            return "ended"
        phase = status.get("phase", "?")
        if phase in ("applying", "committing"):
            delay = world.rng.choice([0, 0, world.rng.uniform(0, 0.02), world.rng.uniform(0, subject.usual / 2)])
            wait_until(time.monotonic() + delay)
            return phase
    return phase


def kill_once(world, subject, aim):
    """Kills while the run goes on; returns the phase that was last seen. `answer`: when the server
    has committed and the daemon does not know it yet; `ledger`: at one of the last things that
    a run writes into the state."""
    if aim == "answer":
        def hook(what):
            if what == "answered":
                world.mount.process.send_signal(signal.SIGKILL)
                raise Cut()
        world.proxy.on_commit = hook
    elif aim == "ledger":
        world.injector.arm(CHANGES, KILL, max(1, subject.calls - world.rng.randint(0, 12)))
    began = time.monotonic()
    subject.sync.run("start")
    phase = aim
    if aim == "commit":
        phase = watch_for_commit(world, subject, began)
    elif aim == "anywhere":
        phase = "none"
        wait_until(began + world.rng.uniform(0, subject.usual * 1.1))
    else:
        try:
            wait_for("the end", lambda: world.mount.process.poll() is not None
                     or subject.sync.state() not in ("queued", "running"))
        except OSError:
            pass  # it is dead, and so is the mount
    world.mount.kill()
    world.injector.off()
    world.proxy.rest()
    return phase


def wait_until(moment):
    """The moment is what is tested: a random one."""
    threading.Event().wait(max(0, moment - time.monotonic()))


def main():
    options = campaign(__doc__, 16, 400)
    options.add_argument("--rows", type=int, default=20000)
    args = begin(options)
    world = World(args.seed)
    kills, done_before_kill, phases = {}, {}, {}
    try:
        subjects = [world.subject(mode, to, args.rows) for to in ("to", "lite") for mode in MODES]
        if args.count < len(subjects):
            subjects = world.rng.sample(subjects, args.count)
        for i in range(args.count):
            subject = subjects[i % len(subjects)]
            # The very first run is killed too, now and then.
            if subject.sync.last_run() == 0 and world.rng.random() < 0.5:
                context = "first run"
            else:
                if subject.sync.last_run() == 0:
                    run(world, subject)
                subject.change(max(1, args.rows // 10))
                context = "later run"
            aims = ["anywhere", "commit"]
            if context == "later run":
                aims += ["ledger", "answer" if subject.db is world.pg else "ledger"]
            aim = world.rng.choice(aims)
            before = subject.sync.last_run()
            phase = kill_once(world, subject, aim)
            phases[phase] = phases.get(phase, 0) + 1
            world.mount.start()
            killed = subject.sync.last_run()
            run(world, subject)
            context = "seed %s, kill %d of %s (%s, aimed at %s, last seen %s)" % (
                args.seed, i + 1, subject.name, context, aim, phase)
            subject.exact(context)
            if killed > before and subject.sync.summary(killed)["outcome"] == "succeeded":
                done_before_kill[aim] = done_before_kill.get(aim, 0) + 1
            subject.knows(context)
            assert aim != "answer" or subject.sync.summary(killed)["outcome"] == "succeeded", "%s: run %d: %s" % (
                context, killed, subject.sync.read("runs/%d/summary.json" % killed))
            kills[subject.name] = kills.get(subject.name, 0) + 1
        for subject in subjects:
            wait_for("an end", lambda: subject.sync.state() not in ("queued", "running"))
    finally:
        world.close()
    for name, n in sorted(kills.items()):
        print("%-12s %3d kills" % (name, n))
    print("%d kills, after the commit by aim: %s; last phases seen: %s; all destinations exact" % (
        sum(kills.values()), done_before_kill, phases))


main()
