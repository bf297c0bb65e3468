#!/usr/bin/env python3
"""Out of memory: the n-th malloc, calloc or realloc of the daemon fails, once or from then on for as
long as the run goes, for n from 1 to the last of a run. No crash, no hang, no wrong result: the
run goes well and is exact, or says that memory was out, and the next one is exact, sends nothing
twice and knows what was delivered.

    memory.py [--count N] [--seed S] [--only SYNC] [--at N]

$FAULT_COUNT (or N) places are taken, evenly spread over all there are; 0: all of them."""

import errno
import os
import random
import re
import signal
import sys
from collections import Counter

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from faults import FAIL_ON, FAIL_ONCE, MEMORY, Injector, begin, campaign
from peers import Braze, Hook
from retlfs import Mount, Postgres, Sqlite, errno_name
from subject import CsvFile, Subject

# OpenSSL does not say why.
TOLD = re.compile(r"out of memory|cannot allocate|memory allocation fail|not enough memory|cannot compute a SHA-256", re.IGNORECASE)


class Called(Subject):
    """To a server that is called: nothing that came can be taken back, and mirror deletes by calls of their own."""

    def __init__(self, *args):
        self.listed, self.looked, self.removed = Counter(), 0, 0
        super().__init__(*args)
        self.foreign = True

    def _make_destination(self):
        pass

    def _destination(self, connection):
        return {"connection": connection}

    def look(self):
        """What was listed as unknown, by row."""
        for number in range(self.looked + 1, self.sync.last_run() + 1):
            self.listed.update(row["id"]["id"] for row in self.sync.rejected(number) if row["code"] == "unknown")
            self.looked = number

    def exact(self, context):
        model = {str(i): {"v": v, "n": n} for i, v, n in self._rows(self.src_db, self.src)}
        if self.mode == "mirror":
            there = dict(self.db.holds)
            assert there.pop(self.db.STRANGER) == self.db.SOMEBODY, context
            assert there == model, "%s: %s: too much: %s; missing: %s" % (
                context, self.name, [i for i in there if there[i] != model.get(i)][:5], [i for i in model if i not in there][:5])
            assert not set(self.db.removed) & set(model), "%s: %s: a wrong delete" % (context, self.name)
            return
        self.look()
        came = self.db.came
        assert set(map(str, came)) == set(model), "%s: %s: %d rows came, not %d" % (context, self.name, len(came), len(model))
        unlisted = [i for i, n in came.items() if n - 1 > self.listed[i]]
        assert not unlisted, "%s: %s: came twice, and not listed: %s" % (context, self.name, unlisted[:5])


class World:
    def __init__(self, rng, only):
        self.pg = Postgres()
        self.mount = Mount(expect="^retlfs: |^fuse: |memory", start=False)
        self.injector = Injector(self.mount.dir / "control", self.mount.state, memory=True)
        self.mount.env.update(self.injector.env)
        self.mount.start()
        lite, origin = Sqlite(self.mount.data / "dest.db"), Sqlite(self.mount.data / "source.db")
        table = CsvFile(self.mount.data / "source.csv")
        self.mount.connect("pg", self.pg.connection)
        for name, db in ("lite", lite), ("src", origin), ("csv", table):
            db.sql("PRAGMA journal_mode=wal")
            self.mount.connect(name, db.connection)
        self.subjects, self.peers = [], []
        for mode, source, dest, uuid in (("mirror", (origin, "src"), (lite, "lite"), False),
                                         ("bag", (origin, "src"), (lite, "lite"), False),
                                         ("mirror", (self.pg, "pg"), (self.pg, "pg"), True),
                                         ("insert", (self.pg, "pg"), (self.pg, "pg"), True),
                                         ("upsert", (table, "csv"), (self.pg, "pg"), False)):
            if only in (None, "%s_%s_%s" % (mode, source[1], dest[1])):
                self.subjects.append(Subject(self.mount, rng, mode, source, dest, 60, uuid=uuid))
        for mode, kind in ("insert", Hook), ("mirror", Braze):
            name = kind.__name__.lower()
            if only in (None, "%s_src_%s" % (mode, name)):
                self.peers.append(kind(rng, self.mount, name))
                self.peers[-1].wait(hastily=False)
                self.subjects.append(Called(self.mount, rng, mode, (origin, "src"), (self.peers[-1], name), 60))

    def close(self):
        try:
            self.mount.close()
        finally:
            for peer in self.peers:
                peer.close()
            self.pg.stop()


def one(world, subject, action, at, context):
    subject.change(3)
    world.injector.arm(MEMORY, action, at, errno.ENOMEM)
    try:
        code = errno_name(subject.sync.trigger("run"))
        opened = True
    except OSError as e:
        code, opened = errno_name(e.errno), False
    _, hits, _ = world.injector.off()
    assert world.mount.process.poll() is None, context + ": the daemon is dead:\n" + world.mount.stderr()
    if code == "success":
        subject.exact(context)
    else:
        assert code in ("ENOMEM", "EIO", "ENOEXEC"), "%s: %s" % (context, code)
    text = subject.sync.read("error") if opened and code != "success" else ""
    if "rejected/ says why" in text:
        text += "\n".join(row["reason"] for row in subject.sync.rejected())
    assert not text or TOLD.search(text), "%s: says another reason: %s" % (context, text)
    subject.run()
    subject.exact(context)
    subject.incremental(context)
    subject.knows(context)
    return code if hits else "not reached"


def count(world, subject):
    """How many allocations a run has."""
    subject.run()
    subject.change(3)
    world.injector.count(MEMORY)
    subject.run()
    return world.injector.off()[0]


def places(world, args):
    """What is to fail, evenly spread; where it begins depends on the seed."""
    calls = [(subject, count(world, subject)) for subject in world.subjects]
    faults = [(subject, action, at) for subject, n in calls for at in range(args.at or 1, args.at + 1 if args.at else n + 1)
              for action in (FAIL_ONCE, FAIL_ON)]
    every = len(faults) / min(args.count or len(faults), len(faults))
    first = random.Random(args.seed).random() * every
    chosen, at = [], first
    while at < len(faults):
        chosen.append(faults[int(at)])
        at += every
    return chosen, calls


def main():
    options = campaign(__doc__, 120, 3000)
    options.add_argument("--only", help="the name of a sync, such as mirror_src_lite")
    options.add_argument("--at", type=int, help="the one allocation that fails")
    args = begin(options)
    results = {}
    world = World(random.Random(args.seed), args.only)
    try:
        faults, calls = places(world, args)
        for i, (subject, action, at) in enumerate(faults):
            context = "seed %s, %d: allocation %d%s of %s" % (
                args.seed, i + 1, at, "" if action == FAIL_ONCE else " and all that follow", subject.name)
            signal.alarm(120)
            try:
                results.setdefault(subject.name, Counter())[one(world, subject, action, at, context)] += 1
            except BaseException:
                print("FAILED: " + context, flush=True)
                raise
            signal.alarm(0)
    finally:
        signal.alarm(0)
        world.injector.off()
        world.close()
    for subject, n in calls:
        codes = results.get(subject.name, {})
        print("%-16s %5d allocations, %4d faults: %s" % (
            subject.name, n, sum(codes.values()), ", ".join("%s %d" % code for code in sorted(codes.items()))))
    print("%d of %d faults, seed %s: told or exact, and then exact" % (
        len(faults), 2 * sum(n for _, n in calls), args.seed))


main()
