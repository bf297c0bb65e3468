#!/usr/bin/env python3
"""The state directory's disk fails: the n-th write, fsync, rename, open, … of a run, of an edit or of
the daemon's start gives ENOSPC or EIO, once or from then on, for n from 1 to the last; reads give
EIO; and a small tmpfs fills up at random moments. After each: the failure is told, the daemon
lives (or has refused to start), and once the fault is gone the next run is exact, nothing twice,
nothing lost, no full run, and the delivered state knows it.

    disk.py [--count N] [--seed S] [--only PART]

$FAULT_COUNT (or N) faults are taken of all there are; 0: all of them."""

import errno
import json
import os
import random
import re
import signal
import subprocess
import sys
import threading
from collections import Counter

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from faults import CHANGES, FAIL_ON, FAIL_ONCE, READS, Injector, begin, campaign
from retlfs import Mount, Sqlite, StartError, errno_name
from subject import Subject

TOLD = re.compile(r"no space left|disk is full|disk i/o|input/output|unable to open|get (the )?page|database .*(locked|malformed)|readonly database",
                  re.IGNORECASE)
MODES = ["mirror", "insert", "bag", "upsert"]


class World:
    def __init__(self, rng, tmpfs=False):
        self.rng, self.tmpfs = rng, tmpfs
        self.mount = Mount(expect="^retlfs: (error|warning):", start=False)
        self.mount.state.mkdir(mode=0o700)
        if tmpfs:
            done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m,mode=0700", "tmpfs", self.mount.state],
                                  capture_output=True, text=True)
            self.tmpfs = done.returncode == 0
            if not self.tmpfs:
                print("no tmpfs can be mounted here: " + done.stderr.strip())
        self.injector = Injector(self.mount.dir / "control", self.mount.state)
        self.mount.env.update(self.injector.env)
        self.mount.start()
        self.source, self.lite = Sqlite(self.mount.data / "source.db"), Sqlite(self.mount.data / "dest.db")
        for name, db in ("src", self.source), ("lite", self.lite):
            db.sql("PRAGMA journal_mode=wal")
            self.mount.connect(name, db.connection)

    def subject(self, mode, rows, tag=""):
        subject = Subject(self.mount, self.rng, mode, (self.source, "src"), (self.lite, "lite"), rows, tag)
        subject.run()
        return subject

    def close(self):
        try:
            self.mount.close()
        finally:
            if self.tmpfs:
                subprocess.run(["umount", "-l", self.mount.state], capture_output=True)
                self.mount.close()


def settled(world, subject, context):
    """The fault is gone: all is as if it had never been."""
    assert world.mount.process and world.mount.process.poll() is None, context + ": the daemon is dead"
    subject.run()
    subject.exact(context)
    subject.incremental(context)
    subject.knows(context)
    for number in range(max(1, subject.sync.last_run() - 3), subject.sync.last_run() + 1):
        outcome = subject.sync.summary(number)["outcome"]
        assert outcome not in ("running", "active", "unresolved"), "%s: run %d is %s" % (context, number, outcome)


# ---- what is done while the disk fails; each returns an errno's name and what was said ----


def pull(world, subject, *verbs):
    """The errno, and what was said: in `error`, or only by the errno when not even `trigger` could be opened."""
    for verb in verbs:
        try:
            code, opened = subject.sync.trigger(verb), True
        except OSError as e:
            code, opened = e.errno, False
        if code:
            break
    world.hit = world.injector.off()
    return errno_name(code), subject.sync.read("error") if opened else errno_name(code)


def do_run(world, subject):
    code, text = pull(world, subject, "run")
    if code == "success":
        subject.exact("a run that says it went well")
    return code, text


def do_plan_approve(world, subject):
    return pull(world, subject, "plan", "approve")


def do_edit(world, subject):
    config = json.loads(subject.sync.read("config.json"))
    old = subject.sync.read("config.json")
    config["max_deletes"] = "99%" if config["max_deletes"] == "100%" else "100%"
    new = json.dumps(config) + "\n"
    code = "success"
    try:
        subject.sync.write("config.json", new)
    except OSError as e:
        code = errno_name(e.errno)
    world.hit = world.injector.off()
    now = subject.sync.read("config.json")
    assert now == new or code != "success" and now in (old, ""), "half an edit is left: %s: %r" % (code, now)
    subject.sync.write("config.json", new)
    return code, code


def do_new_sync(world, subject):
    name, code = "new%d" % world.rng.randrange(10**9), "success"
    try:
        world.mount.sync(name).define(mode="upsert")
    except OSError as e:
        code = errno_name(e.errno)
    world.hit = world.injector.off()
    path = world.mount.point / "syncs" / name
    if path.exists():
        subprocess.run(["rm", "-rf", path], check=True)
    return code, code


def do_start(world, subject):
    """Stopped while the disk is well."""
    orders = world.orders
    world.injector.off()
    world.mount.stop()
    world.injector.arm(*orders)
    try:
        world.mount.start()
    except StartError as e:
        world.hit = world.injector.off()
        world.mount.start()
        return "refused", e.stderr
    return "success", ""


DOINGS = {"run": do_run, "plan": do_plan_approve, "edit": do_edit, "new": do_new_sync, "start": do_start}


def one(world, subject, doing, orders, context):
    """One fault; None: that call was never made."""
    kind, action, at, number = orders
    subject.change(5)
    world.orders, world.hit = orders, None
    world.injector.arm(*orders)
    try:
        code, text = DOINGS[doing](world, subject)
    finally:
        seen, hits, what = world.hit or world.injector.off()
    context += " (hit: %s)" % what
    if code != "success":
        assert TOLD.search(text) or code in ("ENOSPC", "EIO") and text == code, "%s: %s, and says only: %r" % (context, code, text)
    settled(world, subject, context)
    return what and (code, what.split()[0])


def sweep(world, subjects, doing, counted, action, number, calls):
    for at in range(1, calls + 1):
        yield doing, (counted, action, at, number), world.rng.choice(subjects)


def learn(world, subject, doing, counted):
    """How many calls there are when nothing fails."""
    subject.change(5)
    world.orders, world.hit = (counted, 0, 0, 0), None
    world.injector.arm(*world.orders)
    DOINGS[doing](world, subject)
    return (world.hit or world.injector.off())[0]


def injected(args, rng, results):
    world = World(rng)
    try:
        subjects = [world.subject(mode, 150) for mode in MODES]
        faults = []
        for doing in [args.doing] if args.doing else DOINGS:
            for counted, numbers in (CHANGES, (errno.ENOSPC, errno.EIO)), (READS, (errno.EIO,)):
                calls = max(learn(world, s, doing, counted) for s in subjects)
                for action in FAIL_ONCE, FAIL_ON:
                    for number in numbers:
                        faults += sweep(world, subjects, doing, counted, action, number, calls)
        total = len(faults)
        if args.count:
            faults = rng.sample(faults, min(args.count, total))
        for doing, orders, subject in faults:
            context = "seed %s: %s, %s number %d, %s %s, of %s" % (
                args.seed, doing, {CHANGES: "change", READS: "read"}[orders[0]], orders[2], errno_name(orders[3]),
                "once" if orders[1] == FAIL_ONCE else "from then on", subject.name)
            with hint(context):
                result = one(world, subject, doing, orders, context)
            results[(doing,) + result if result else (doing, "not reached", "")] += 1
        print("%d of %d places tried" % (len(faults), total))
    finally:
        world.injector.off()
        world.close()


def full_tmpfs(args, rng, results):
    world = World(rng, tmpfs=True)
    if not world.tmpfs:
        world.close()
        return
    filler = world.mount.state / "filler"
    try:
        subjects = [world.subject(mode, 3000, "_tmpfs") for mode in MODES]
        for i in range(max(4, args.count // 5) if args.count else 200):
            subject = rng.choice(subjects)
            subject.change(600)
            left = rng.choice([0, rng.randrange(1, 40), rng.randrange(1, 400)]) << 10

            def fill():
                free = os.statvfs(world.mount.state)
                with open(filler, "wb") as file:
                    try:
                        os.posix_fallocate(file.fileno(), 0, max(4096, free.f_bavail * free.f_frsize - left))
                    except OSError:
                        pass  # the run was quicker: then it is full

            context = "seed %s: full tmpfs %d, %d bytes left, of %s" % (args.seed, i + 1, left, subject.name)
            timer = threading.Timer(rng.choice([0, rng.uniform(0, subject.usual)]), fill)
            with hint(context):
                timer.start()
                code, text = do_run(world, subject)
                timer.join()
                filler.unlink()
                assert code == "success" or TOLD.search(text), "%s: %s, and says only: %r" % (context, code, text)
                settled(world, subject, context)
            results["tmpfs", code, ""] += 1
    finally:
        filler.unlink(missing_ok=True)
        world.close()


class hint:
    """Tells where it was when something goes wrong, a run that hangs included."""

    def __init__(self, context):
        self.context = context

    def __enter__(self):
        signal.alarm(120)

    def __exit__(self, kind, value, trace):
        signal.alarm(0)
        if kind:
            print("FAILED: " + self.context, flush=True)


def main():
    options = campaign(__doc__, 60, 0)
    options.add_argument("--only", default="", help="injected or tmpfs")
    options.add_argument("--doing", choices=DOINGS, help="only faults while that is done")
    args = begin(options)
    results = Counter()
    for part in injected, full_tmpfs:
        if args.only in part.__name__:
            part(args, random.Random(args.seed), results)
    for (doing, code, call), n in sorted(results.items()):
        print("%-6s %-12s %-10s %4d" % (doing, code, call, n))
    print("%d faults, seed %s: each told, then exact, nothing twice" % (sum(results.values()), args.seed))


main()
