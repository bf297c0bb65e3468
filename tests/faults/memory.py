#!/usr/bin/env python3
"""Out of memory: the n-th malloc, calloc or realloc of the daemon fails, once or from then on for as
long as the run goes, for n from 1 to the last of a run. No crash, no hang, no wrong result: the
run goes well and is exact, or says that memory was out, and the next one is exact.

    memory.py [--count N] [--seed S]

$FAULT_COUNT (or N) places are taken of all there are; 0: all of them."""

import os
import random
import re
import signal
import sys
from collections import Counter

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from faults import FAIL_ON, FAIL_ONCE, MEMORY, Injector, begin, campaign
from retlfs import Mount, Postgres, Sqlite, errno_name
from subject import Subject

TOLD = re.compile(r"out of memory|cannot allocate|not enough memory", re.IGNORECASE)


class World:
    def __init__(self, rng):
        self.pg = Postgres()
        self.mount = Mount(expect="^retlfs: |^fuse: |memory", start=False)
        self.injector = Injector(self.mount.dir / "control", self.mount.state, memory=True)
        self.mount.env.update(self.injector.env)
        self.mount.start()
        self.lite, self.source = Sqlite(self.mount.data / "dest.db"), Sqlite(self.mount.data / "source.db")
        self.mount.connect("pg", self.pg.connection)
        for name, db in ("lite", self.lite), ("src", self.source):
            db.sql("PRAGMA journal_mode=wal")
            self.mount.connect(name, db.connection)
        ends = [("mirror", (self.source, "src"), (self.lite, "lite")), ("bag", (self.source, "src"), (self.lite, "lite")),
                ("mirror", (self.pg, "pg"), (self.pg, "pg")), ("insert", (self.pg, "pg"), (self.lite, "lite"))]
        self.subjects = [Subject(self.mount, rng, mode, source, dest, 60) for mode, source, dest in ends]

    def close(self):
        try:
            self.mount.close()
        finally:
            self.pg.stop()


def one(world, subject, action, at, context, untold):
    subject.change(3)
    world.injector.arm(MEMORY, action, at)
    try:
        code = errno_name(subject.sync.trigger("run"))
        opened = True
    except OSError as e:
        code, opened = errno_name(e.errno), False
    seen, hits, what = world.injector.off()
    assert world.mount.process.poll() is None, context + ": the daemon is dead:\n" + world.mount.stderr()
    if code == "success":
        subject.exact(context)
    else:
        assert code in ("ENOMEM", "EIO", "ENOEXEC"), "%s: %s" % (context, code)
    text = subject.sync.read("error") if opened and code != "success" else ""
    if text and not TOLD.search(text):
        untold[text.strip()] += 1
    subject.run()
    subject.exact(context)
    subject.incremental(context)
    subject.knows(context)
    return code if hits else "not reached"


def main():
    options = campaign(__doc__, 60)
    args = begin(options)
    rng, results, untold = random.Random(args.seed), Counter(), Counter()
    world = World(rng)
    try:
        faults = []
        for subject in world.subjects:
            subject.run()
            subject.change(3)
            world.injector.count(MEMORY)
            subject.run()
            calls = world.injector.off()[0]
            faults += [(subject, action, at) for at in range(1, calls + 1) for action in (FAIL_ONCE, FAIL_ON)]
        total = len(faults)
        if args.count:
            faults = rng.sample(faults, min(args.count, total))
        for i, (subject, action, at) in enumerate(faults):
            context = "seed %s, %d: allocation %d%s of %s" % (
                args.seed, i + 1, at, "" if action == FAIL_ONCE else " and all that follow", subject.name)
            signal.alarm(120)
            try:
                results[subject.name, one(world, subject, action, at, context, untold)] += 1
            except BaseException:
                print("FAILED: " + context, flush=True)
                raise
            signal.alarm(0)
    finally:
        signal.alarm(0)
        world.injector.off()
        world.close()
    for (name, code), n in sorted(results.items()):
        print("%-20s %-12s %5d" % (name, code, n))
    for text, n in untold.most_common():
        print("says another reason: %4d × %s" % (n, text))
    print("%d of %d places, seed %s: told or exact, and then exact" % (len(faults), total, args.seed))


main()
