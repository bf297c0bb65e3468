#!/usr/bin/env python3
"""What nobody promised stays as it was: files of the state directory with a bit turned, cut short or
gone; bits that turn within the catalogue's rows; two daemons on one state; a source that loses a
column or changes a type; a destination that drops the table or a column; the clock a year ahead and
back. It is noticed and named, or does no harm: nothing twice, no delete that the model does not
justify, never a silent full run.

    damage.py [--count N] [--seed S] [--only PART]

$FAULT_COUNT (or N): how many damaged files are tried."""

import errno
import os
import random
import re
import shutil
import signal
import sqlite3
import sys
import time
from collections import Counter

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from faults import Injector, begin, campaign
from retlfs import Mount, Postgres, Sqlite, StartError, errno_name
from subject import Subject

MODES = ["mirror", "insert", "bag", "upsert"]


class World:
    def __init__(self, rng):
        self.rng = rng
        self.mount = Mount(expect="^retlfs: (error|warning):", start=False)
        self.injector = Injector(self.mount.dir / "control", self.mount.state)
        self.mount.env.update(self.injector.env)
        self.mount.start()
        self.source, self.lite = Sqlite(self.mount.data / "source.db"), Sqlite(self.mount.data / "dest.db")
        for name, db in ("src", self.source), ("lite", self.lite):
            db.sql("PRAGMA journal_mode=wal")
            self.mount.connect(name, db.connection)

    def subject(self, mode, rows, source=None, dest=None):
        return Subject(self.mount, self.rng, mode, source or (self.source, "src"), dest or (self.lite, "lite"), rows)

    def used(self, rows, runs):
        """A subject in each mode that has run that often, and has something to send."""
        subjects = [self.subject(mode, rows) for mode in MODES]
        for subject in subjects:
            for _ in range(runs):
                subject.run()
                subject.change(5)
        return subjects

    def close(self):
        self.mount.close()


# ---- damaged files ----


class Snapshot:
    """All files and what the subjects know, to begin again from."""

    def __init__(self, world, subjects):
        self.world, self.subjects = world, subjects
        self.dir = world.mount.dir / ("snapshot.%d" % time.monotonic_ns())
        for name in "state", "data":
            shutil.copytree(world.mount.dir / name, self.dir / name, symlinks=True)
        self.memory = [dict(vars(s)) for s in subjects]

    def restore(self):
        for name in "state", "data":
            shutil.rmtree(self.world.mount.dir / name)
            shutil.copytree(self.dir / name, self.world.mount.dir / name, symlinks=True)
        for subject, memory in zip(self.subjects, self.memory):
            vars(subject).update(memory)

    def files(self):
        below = self.dir / "state"
        return sorted(str(p.relative_to(below)) for p in below.rglob("*") if p.is_file())


def kind_of(name):
    return re.sub(r"syncs/\w+/", "", re.sub(r"-\d+", "-N", name))


def damage(rng, path):
    size = path.stat().st_size
    what = rng.choice(["flip"] * 5 + ["cut", "cut", "empty", "gone", "block"])
    if what == "gone":
        path.unlink()
    elif what == "empty" or size == 0:
        path.write_bytes(b"")
    elif what == "cut":
        os.truncate(path, rng.randrange(size))
    else:
        at = rng.randrange(size)
        with open(path, "r+b") as file:
            file.seek(at)
            if what == "flip":
                byte = file.read(1)[0] ^ 1 << rng.randrange(8)
                file.seek(at)
                file.write(bytes([byte]))
            else:
                file.write(rng.randbytes(min(512, size - at)))
        what += " at %d of %d" % (at, size)
    return what


def dest_rows(subject):
    return Counter(subject._rows(subject.db, subject.dest))


def one_run(subject, context):
    """What became of a subject over a damaged state."""
    before = dest_rows(subject)
    if not subject.sync.exists("trigger"):
        return "sync not there", ""
    subject.change(5)
    code = errno_name(subject.sync.trigger("run"))
    if code == "success":
        subject.exact(context)
        subject.incremental(context)
        return "exact", ""
    text = subject.sync.read("error")
    assert text.strip(), context + ": fails with %s and says nothing" % code
    after = dest_rows(subject)
    after.pop(("-1", "somebody else's", None), None)
    before.pop(("-1", "somebody else's", None), None)
    if subject.mode != "update" and after != before:
        lost, more = before - after, after - before
        assert not lost and not more, "%s: failed, and still changed: lost %s, more %s" % (context, list(lost)[:3], list(more)[:3])
    return "held" if subject.sync.state() == "held" else code, text.strip()


def try_damage(world, snapshot, name, context):
    snapshot.restore()
    what = damage(world.rng, world.mount.state / name)
    context += ": %s of %s" % (what, name)
    try:
        world.mount.start()
    except StartError as e:
        assert re.search(r"state|catalogue", e.stderr), context + ": refuses to start and does not say why: " + e.stderr
        return what, [("start refused", e.stderr.strip())]
    try:
        results = []
        for subject in snapshot.subjects:
            try:
                results.append(one_run(subject, context))
            except OSError as e:
                results.append(("EIO of the tree", e.strerror))
        assert world.mount.process.poll() is None, context + ": the daemon is dead"
        return what, results
    finally:
        world.mount.kill()


def files(args, rng, results):
    world = World(rng)
    try:
        subjects = world.used(120, 3)
        # One state as a daemon leaves it that ends, one as a killed one does, with its write-ahead log.
        world.mount.stop()
        snapshots = [Snapshot(world, subjects)]
        world.mount.start()
        for subject in subjects:
            subject.run()
            subject.change(5)
            subject.run("plan")
        world.mount.kill()
        snapshots.append(Snapshot(world, subjects))
        kinds = {}
        for snapshot in snapshots:
            for name in snapshot.files():
                kinds.setdefault(kind_of(name), []).append((snapshot, name))
        order = sorted(kinds)
        for i in range(args.count):
            # The catalogue is what everything hangs on.
            kind = order[i % len(order)] if i % 2 else rng.choice(["catalogue.db", "catalogue.db-wal"])
            snapshot, name = rng.choice(kinds[kind])
            context = "seed %s: damage %d" % (args.seed, i + 1)
            signal.alarm(120)
            what, outcomes = try_damage(world, snapshot, name, context)
            signal.alarm(0)
            for outcome, text in outcomes:
                results["%-18s %-6s %s" % (kind, what.split()[0], outcome)] += 1
                if args.verbose and text:
                    print("%s: %s: %s: %s" % (context, kind, what, text[:200]))
    finally:
        signal.alarm(0)
        if not world.mount.process:
            snapshots[0].restore()
            world.mount.start()
        world.close()


# ---- bits that turn within the catalogue's rows, where SQLite does not see them ----

# table → the columns that its checksums hold, and the rows of one sync
KEPT = {
    "sync": (["data", "last_run"], "name = :sync"),
    "doc": (["text"], "dir = (SELECT node FROM sync WHERE name = :sync)"),
    "left_out": (["row"], "sync = (SELECT uid FROM sync WHERE name = :sync)"),
    "run": (["summary", "phase", "config", "mappings", "mode", "texts_sum"], "sync = (SELECT uid FROM sync WHERE name = :sync)"),
    "node": (["data"], "parent = (SELECT node FROM sync WHERE name = :sync)"),
    "history": (["text"], "sync = (SELECT uid FROM sync WHERE name = :sync)"),
}


def turn_bits(rng, path, table, column, sync):
    def turn(value):
        if isinstance(value, int):
            return value ^ 1 << rng.randrange(40)
        data = bytearray(value.encode() if isinstance(value, str) else value)
        if data:
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(5)  # what was ASCII stays so
        return data.decode() if isinstance(value, str) else bytes(data)

    db = sqlite3.connect(path)
    db.create_function("turn", 1, turn)
    with db:
        done = db.execute("UPDATE {0} SET {1} = turn({1}) WHERE {2} AND length({1}) > 0".format(
            table, column, KEPT[table][1]), {"sync": sync}).rowcount
    db.close()
    assert done > 0, "nothing to damage in %s.%s" % (table, column)


def unreadable(sync, name, context):
    try:
        text = sync.read(name)
    except OSError as e:
        assert e.errno == errno.EIO, "%s: %s gives %s" % (context, name, e)
        return
    raise AssertionError("%s: %s shows %r" % (context, name, text))


def judge_turned(subject, table, column, context):
    """What the damage is about is told and not believed; all else goes on."""
    sync = subject.sync
    if table in ("sync", "doc"):
        outcome, text = one_run(subject, context)
        assert outcome in ("ENOEXEC", "EIO") and "damaged" in text, "%s: %s %s" % (context, outcome, text)
        if table == "sync":
            return "told, nothing done"
        for name in "config.json", "mappings.csv", "mode":
            sync.write(name, sync.read(name))
    if table == "left_out":
        before, code = dest_rows(subject), sync.trigger("approve")
        assert code and "damaged" in sync.read("error"), "%s: %s" % (context, errno_name(code))
        assert dest_rows(subject) == before, context
    if table == "node":
        unreadable(sync, "mode", context)
    if table == "history":
        unreadable(sync, "history/mode/" + os.listdir(sync.path / "history/mode")[0], context)
    if table == "run":
        texts = column in ("config", "mappings", "mode", "texts_sum")
        unreadable(sync, "runs/1/mode" if texts else "runs/1/summary.json", context)
    assert one_run(subject, context)[0] == "exact", context
    return "told, the rest exact"


def turned_bits(args, rng, results):
    world = World(rng)
    world.mount.expect = re.compile("^retlfs: (error: (sync=|catalogue: .* is damaged)|warning:)")
    snapshot = None
    try:
        subjects = world.used(60, 2)
        for subject in subjects:
            subject.run("plan")
            added = subject.sync.path / "pending/insert"
            (added / os.listdir(added)[0]).unlink()
        world.mount.stop()
        snapshot = Snapshot(world, subjects)
        for i in range(args.count):
            table = list(KEPT)[i % len(KEPT)]
            column, victim = rng.choice(KEPT[table][0] + ["sum"]), rng.choice(subjects)
            context = "seed %s: turned bit %d: %s.%s of %s" % (args.seed, i + 1, table, column, victim.name)
            signal.alarm(120)
            snapshot.restore()
            turn_bits(rng, world.mount.state / "catalogue.db", table, column, victim.name)
            world.mount.start()
            results["a bit of %s.%s: %s" % (table, column, judge_turned(victim, table, column, context))] += 1
            for subject in subjects:
                assert subject is victim or one_run(subject, context)[0] == "exact", context
            world.mount.stop()
            signal.alarm(0)
    finally:
        signal.alarm(0)
        if not world.mount.process:
            if snapshot:
                snapshot.restore()
            world.mount.start()
        world.close()


# ---- the rest: one test each ----


def two_daemons(args, rng, results):
    world = World(rng)
    try:
        subject = world.subject("insert", 50)
        second = Mount(start=False, expect="in use")
        second.state = world.mount.state
        try:
            second.start()
            raise AssertionError("a second daemon runs on the same state")
        except StartError as e:
            assert "in use by another retlfs" in e.stderr and str(world.mount.process.pid) in e.stderr, e.stderr
        subject.run()
        subject.exact("after a second daemon was refused")
        second.state = second.dir / "none"
        second.close()
        results["two daemons: the second refused by name"] += 1
    finally:
        world.close()


def fails(subject, words, context):
    """A run that fails, says these words and changes nothing."""
    before = dest_rows(subject) if "destination" not in context else None
    code = subject.sync.trigger("run")
    text = subject.sync.read("error")
    assert code in (errno.EIO, errno.ENOEXEC), "%s: %s" % (context, errno_name(code))
    assert re.search(words, text), "%s: says only: %s" % (context, text)
    assert before is None or dest_rows(subject) == before, context


def changed_ends(args, rng, results):
    """The source's and the destination's tables change between runs."""
    world, pg = World(rng), Postgres()
    world.mount.connect("pg", pg.connection)
    try:
        for mode in MODES if args.count >= 100 else MODES[:2]:
            for ends in (world.source, "src"), (pg, "pg"):
                subject = world.subject(mode, 60, ends, (pg, "pg") if ends[0] is pg else None)
                db, src, dest = ends[0], subject.src, subject.dest
                context = "%s of %s" % (mode, ends[1])
                subject.run()
                subject.change(5)
                for column in ["v"] + ["id"] * (mode != "bag"):
                    db.sql("ALTER TABLE %s RENAME COLUMN %s TO other" % (src, column))
                    fails(subject, column, context + ": a source that lost " + column)
                    db.sql("ALTER TABLE %s RENAME COLUMN other TO %s" % (src, column))
                db.sql("ALTER TABLE %s RENAME TO %s_gone" % (src, src))
                fails(subject, src, context + ": a source that is gone")
                db.sql("ALTER TABLE %s_gone RENAME TO %s" % (src, src))
                subject.db.sql("ALTER TABLE %s RENAME TO %s_gone" % (dest, dest))
                fails(subject, dest, context + ": a destination that is gone")
                subject.db.sql("ALTER TABLE %s_gone RENAME TO %s" % (dest, dest))
                subject.db.sql("ALTER TABLE %s RENAME COLUMN v TO other" % dest)
                fails(subject, '"?v"?', context + ": a destination that lost v")
                subject.db.sql("ALTER TABLE %s RENAME COLUMN other TO v" % dest)
                subject.run()
                subject.exact(context)
                subject.incremental(context)
                results["source and destination without a column, a table"] += 1
                if db is pg:
                    changed_type(subject, pg, context)
                    results["source that changes a type"] += 1
    finally:
        world.close()
        pg.stop()


def changed_type(subject, pg, context):
    # Another type of a value: sent again where the mode sends changes, nothing deleted, nothing twice.
    pg.sql("ALTER TABLE %s ALTER COLUMN v TYPE varchar(200)" % subject.src)
    subject.change(5)
    subject.run()
    subject.exact(context + ": v as varchar")
    # And of the identifier: as text it sorts otherwise, and is not what was delivered.
    pg.sql("ALTER TABLE %s ALTER COLUMN id TYPE text" % subject.src)
    before = dest_rows(subject)
    code = subject.sync.trigger("run")
    after = dest_rows(subject)
    assert not before - after, "%s: rows are gone: %s" % (context, list(before - after)[:3])
    assert max(after.values()) == 1, context + ": rows stand there twice"
    assert code == 0 or subject.sync.read("error").strip(), context
    pg.sql("ALTER TABLE %s ALTER COLUMN id TYPE integer USING id::integer" % subject.src)
    code = subject.sync.trigger("run")
    if code:
        assert subject.sync.state() == "held", subject.sync.read("error")
    else:
        subject.exact(context + ": id as integer again")


def clock(args, rng, results):
    world = World(rng)
    try:
        year = 366 * 86400
        for mode in MODES:
            subject = world.subject(mode, 60)
            subject.sync.write("schedule", "every 1h\n")
            for shift in 0, year, -year, 0, -20 * year, 20 * year, 0:
                subject.change(5)
                world.injector.turn_clock(shift)
                subject.run()
                subject.exact("clock turned by %d" % shift)
                if shift:
                    subject.incremental("clock turned by %d" % shift)
                summary = subject.sync.summary()
                assert summary["seconds"] >= 0, summary
                subject.sync.read("status")
                results["clock turned between runs"] += 1
            for shift in year, -year, 0:
                subject.change(5)
                subject.sync.run("start")
                world.injector.turn_clock(shift)
                code = subject.sync.trigger("run")
                while code == errno.EBUSY:
                    code = subject.sync.trigger("run")
                assert code == 0, subject.sync.read("error")
                subject.exact("clock turned by %d in a run" % shift)
                results["clock turned in a run"] += 1
            world.injector.turn_clock(year)
            world.mount.stop()
            world.mount.start()
            world.injector.turn_clock(-year)
            world.mount.stop()
            world.mount.start()
            world.injector.turn_clock(0)
            subject.change(5)
            subject.run()
            subject.exact("clock turned over a restart")
            subject.incremental("clock turned over a restart")
    finally:
        world.close()


def main():
    options = campaign(__doc__, 24, 300)
    options.add_argument("--only", default="", help="files, turned_bits, two_daemons, changed_ends or clock")
    options.add_argument("--verbose", action="store_true", help="tell what was said of each damage")
    args = begin(options)
    results = Counter()
    for part in files, turned_bits, two_daemons, changed_ends, clock:
        if args.only in part.__name__:
            part(args, random.Random(args.seed), results)
    for text, n in sorted(results.items()):
        print("%-60s %4d" % (text, n))
    print("%d outcomes, seed %s: noticed or harmless, nothing twice, nothing gone" % (sum(results.values()), args.seed))


main()
