#!/usr/bin/env python3
"""kill -9 of the daemon at a random moment of a run, a new daemon, a run: the destination is exact,
nothing lost, nothing doubled, in any mode; `insert` goes to a table without unique index, so that
a row sent twice would stay to be seen.

    kill.py [--kills N] [--rows N] [--seed S]"""

import argparse
import os
import random
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from retlfs import Mount, Postgres, Sqlite, errno_name, wait_for

MODES = ["insert", "bag", "upsert", "mirror", "update", "full"]


class Subject:
    """One sync: PostgreSQL → a destination in a mode."""

    def __init__(self, world, mode, to, rows):
        self.world, self.mode, self.to, self.rng = world, mode, to, world.rng
        self.name = "%s_%s" % (mode, to)
        self.src, self.dest = "s_" + self.name, "d_" + self.name
        self.db = world.pg if to == "pg" else world.lite
        self.usual = 0.2
        self.next_id = rows + 1
        world.pg.sql("CREATE TABLE %s (id int, v text, n numeric);"
                     "INSERT INTO %s SELECT i, 'v' || i || repeat('x', 40), i / 7.0 FROM generate_series(1, %d) i"
                     % (self.src, self.src, rows))
        key = "" if mode in ("insert", "bag") else " PRIMARY KEY"
        self.db.sql("CREATE TABLE %s (id integer%s, v text, n %s)" % (self.dest, key, "numeric" if to == "pg" else "text"))
        if mode == "update":
            self.fill_dest(1, rows)
        config = {"source": {"connection": "pg", "table": self.src},
                  "destination": {"connection": to, "object": self.dest}, "max_deletes": "100%"}
        if mode != "bag":
            config["identifier"] = "id"
        self.sync = world.mount.sync(self.name).define(
            config=config, mappings=[("id", "id"), ("v", "v"), ("n", "n")], mode="insert" if mode == "bag" else mode)

    def fill_dest(self, first, last):
        if self.to == "pg":
            self.db.sql("INSERT INTO %s SELECT i FROM generate_series(%d, %d) i" % (self.dest, first, last))
        else:
            self.db.fill(self.dest + " (id)", [(i,) for i in range(first, last + 1)])

    def change(self, n):
        first, last = self.next_id, self.next_id + n - 1
        self.next_id = last + 1
        sql = "INSERT INTO %s SELECT i, 'v' || i, i / 3.0 FROM generate_series(%d, %d) i;" % (self.src, first, last)
        if self.mode == "update":
            self.fill_dest(first, last)
        if self.mode not in ("insert", "bag"):
            sql += "UPDATE %s SET v = 'u%d' || id WHERE id %% 7 = %d;" % (self.src, first, self.rng.randrange(7))
        if self.mode == "mirror":
            sql += "DELETE FROM %s WHERE id %% 97 = %d AND id < %d;" % (self.src, self.rng.randrange(97), first)
        self.world.pg.sql(sql)

    def exact(self, context):
        order = "ORDER BY id, v"
        want = self.world.pg.sql("SELECT id, v, n::text FROM %s %s" % (self.src, order))
        got = self.db.sql("SELECT id, v, %s FROM %s %s" % ("n::text" if self.to == "pg" else "n", self.dest, order))
        got = [[str(i), v, n] for i, v, n in got]
        if got != want:
            a, b = set(map(tuple, got)), set(map(tuple, want))
            raise AssertionError("%s: %d rows, not %d; too much: %s; missing: %s; doubled: %d" % (
                context, len(got), len(want), sorted(a - b)[:5], sorted(b - a)[:5], len(got) - len(a)))


class World:
    def __init__(self, seed):
        self.rng = random.Random(seed)
        self.pg = Postgres()
        self.mount = Mount(expect="^retlfs: (error|warning):")
        self.lite = Sqlite(self.mount.data / "dest.db")
        self.lite.sql("PRAGMA journal_mode=wal")
        self.mount.connect("pg", self.pg.connection)
        self.mount.connect("lite", self.lite.connection)

    def close(self):
        try:
            self.mount.close()
        finally:
            self.pg.stop()


def run(subject):
    began = time.monotonic()
    code = subject.sync.trigger("run")
    assert code == 0, "%s: run gave %s\n%s" % (subject.name, errno_name(code), subject.sync.read("error"))
    subject.usual = time.monotonic() - began


def kill_once(world, subject, aim):
    """Kills while the run goes on; returns the phase that was last seen."""
    subject.sync.run("start")
    phase, began = "none", time.monotonic()
    if aim == "commit":
        # As near to the commit as can be seen from outside.
        while time.monotonic() - began < 20:
            status = subject.sync.status()
            if status.get("state") not in ("running", "queued"):
                phase = "ended"
                break
            phase = status.get("phase", "?")
            if phase in ("applying", "committing"):
                delay = world.rng.choice([0, 0, world.rng.uniform(0, 0.02), world.rng.uniform(0, subject.usual / 2)])
                wait_until(time.monotonic() + delay)
                break
    else:
        wait_until(began + world.rng.uniform(0, subject.usual * 1.1))
    world.mount.kill()
    return phase


def wait_until(moment):
    """The moment is what is tested: a random one."""
    threading.Event().wait(max(0, moment - time.monotonic()))


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    options.add_argument("--kills", type=int, default=40)
    options.add_argument("--rows", type=int, default=20000)
    options.add_argument("--seed", default=str(time.time_ns() % 10**9))
    args = options.parse_args()
    print("seed", args.seed, flush=True)
    world = World(args.seed)
    kills, done_before_kill, phases = {}, 0, {}
    try:
        subjects = [Subject(world, mode, to, args.rows) for to in ("pg", "lite") for mode in MODES]
        if args.kills < len(subjects):
            subjects = world.rng.sample(subjects, args.kills)
        for i in range(args.kills):
            subject = subjects[i % len(subjects)]
            # The very first run is killed too, now and then.
            if subject.sync.last_run() == 0 and world.rng.random() < 0.5:
                context = "first run"
            else:
                if subject.sync.last_run() == 0:
                    run(subject)
                subject.change(max(1, args.rows // 10))
                context = "later run"
            aim = world.rng.choice(["anywhere", "commit"])
            phase = kill_once(world, subject, aim)
            phases[phase] = phases.get(phase, 0) + 1
            world.mount.start()
            run(subject)
            context = "seed %s, kill %d of %s (%s, aimed at %s, last seen %s)" % (
                args.seed, i + 1, subject.name, context, aim, phase)
            subject.exact(context)
            if subject.sync.read("runs/last/changes.jsonl") == "":
                done_before_kill += 1
            # And it knows so: nothing is left to be sent.
            subject.sync.run("plan")
            if subject.mode != "full" and subject.sync.read("pending/changes.jsonl"):
                raise AssertionError(context + ": the delivered state does not know what was delivered")
            kills[subject.name] = kills.get(subject.name, 0) + 1
        for subject in subjects:
            wait_for("an end", lambda: subject.sync.state() != "running")
    finally:
        world.close()
    for name, n in sorted(kills.items()):
        print("%-12s %3d kills" % (name, n))
    print("%d kills, %d of them after the commit; last phases seen: %s; all destinations exact" % (
        sum(kills.values()), done_before_kill, phases))


main()
