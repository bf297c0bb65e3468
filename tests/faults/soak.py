#!/usr/bin/env python3
"""A long life: thousands of runs of syncs of every kind by one daemon, with everything between them
that happens in weeks: changes, failures, refused rows, held and cancelled runs, edits good and bad,
resets, readers. All destinations stay exact, and what the daemon takes (memory, descriptors,
threads, room in the state directory) is at the end what it was in the beginning.

    soak.py [--count RUNS] [--seed S]

$FAULT_COUNT is the usual count."""

import errno
import os
import random
import statistics
import subprocess
import sys
from collections import Counter

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from faults import begin, campaign
from retlfs import Mount, Postgres, errno_name, wait_for

ROWS, STEP = 200, 5  # of a model; new and gone with each change
SAMPLES = 30
KEEP = 20


class Psql:
    """One session for all statements: a process for each would take longer than the runs."""

    def __init__(self, pg):
        self.process = subprocess.Popen(
            ["psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", pg.dsn], text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**os.environ, "PGOPTIONS": "-c client_min_messages=warning"})

    def sql(self, *statements):
        self.process.stdin.write(";\n".join(statements) + ";\n\\echo --end\n")
        self.process.stdin.flush()
        rows = []
        for line in self.process.stdout:
            if line == "--end\n":
                return rows
            rows.append(line.rstrip("\n"))
        raise AssertionError("psql has ended: " + "; ".join(statements))

    def close(self):
        self.process.stdin.close()
        self.process.wait()


class Sync:
    """The model is a window of ids that moves on: rows come, change and go, none stays. The table
    e_… says what the destination d_… must hold."""

    def __init__(self, mount, psql, mode, key, number):
        self.psql, self.mode, self.number = psql, mode, number
        self.name = "%s_%s" % (mode, "none" if key is None else key)
        self.s, self.d, self.e = (c + "_" + self.name for c in "sde")
        self.first, self.next = 1, 1
        self.edited = False
        unique = ", PRIMARY KEY (%s)" % key if key and mode != "insert" else ""
        psql.sql(*("CREATE TABLE %s (id bigint, u uuid, v text, w text%s)" % (table, tail) for table, tail in (
            (self.s, ""), (self.d, unique + ", CHECK (v <> 'refused')"), (self.e, ""))))
        self.config = {"source": {"connection": "pg", "table": self.s}, "destination": {"connection": "pg", "object": self.d},
                       "max_deletes": "20%", "keep_runs": KEEP, **({"identifier": key} if key else {})}
        self.sync = mount.sync(self.name).define(config=self.config, mappings=self.mappings(), mode=mode)

    def mappings(self):
        return [("id", "id"), ("u", "u"), ("v", "v")] + ([("w", "w")] if self.edited else [])

    def change(self, serial):
        """The statements. What goes has been there for many changes, so it was sent before."""
        add = "SELECT i, md5(i::text)::uuid, 'v%d ' || i, %s FROM generate_series(%d, %d) i" % (
            serial, "NULL", self.next, self.next + (STEP if self.next > 1 else ROWS) - 1)
        self.next += STEP if self.next > 1 else ROWS
        statements = ["INSERT INTO %s %s" % (table, add) for table in (self.s, self.e)]
        if self.mode != "insert":
            statements += ["UPDATE %s SET v = 'u%d ' || id WHERE id %% 11 = %d AND id > %d" % (
                table, serial, serial % 11, self.next - ROWS // 2) for table in (self.s, self.e)]
        if self.next - self.first > ROWS:
            self.first += STEP
            statements += ["DELETE FROM %s WHERE id BETWEEN 1 AND %d" % (table, self.first - 1)
                           for table in [self.s] + [self.e] * ((self.mode == "mirror"))]
        return statements

    def run(self, verb="run", want=0):
        code = self.sync.trigger(verb)
        assert code == want, "%s: %s gave %s, not %s\n%s\n%s" % (
            self.name, verb, errno_name(code), errno_name(want), self.sync.read("status"), self.sync.read("error"))

    def exact(self):
        differs = self.psql.sql("SELECT count(*) FROM ((TABLE {0} EXCEPT ALL TABLE {1}) UNION ALL"
                                " (TABLE {1} EXCEPT ALL TABLE {0})) x".format(self.d, self.e))
        assert differs == ["0"], "%s: %s rows are not what they should be" % (self.name, differs[0])


# ---- what happens; each ends with the destination exact again ----


def usual(s, rng):
    s.run()
    return 1


def nothing_new(s, rng):
    s.run()
    s.run()
    return 2


def planned(s, rng):
    s.run("plan")
    s.sync.read("pending/changes.jsonl")
    s.run("approve")
    return 2


def whole(s, rng):
    if s.mode == "insert":
        return usual(s, rng)
    s.run("full")
    return 1


def failed(s, rng):
    s.psql.sql("ALTER TABLE %s RENAME TO away" % s.d)
    s.run(want=errno.EIO)
    s.psql.sql("ALTER TABLE away RENAME TO %s" % s.d)
    s.run()
    return 2


def refused(s, rng):
    """A row that the destination does not take, then it leaves the model."""
    s.psql.sql("INSERT INTO %s VALUES (0, md5('0')::uuid, 'refused', NULL)" % s.s)
    s.run(want=errno.EIO)
    assert s.sync.rejected(), s.name
    s.psql.sql("DELETE FROM %s WHERE id = 0" % s.s)
    s.run()
    return 2


def held(s, rng):
    if s.mode != "mirror":
        return usual(s, rng)
    s.sync.define(config={**s.config, "max_deletes": 0})
    s.run(want=errno.EIO if s.psql.sql("SELECT 1 FROM (TABLE {} EXCEPT TABLE {}) x LIMIT 1".format(s.d, s.e)) else 0)
    if s.sync.state() == "held":
        s.run("approve")
    s.sync.define(config=s.config)
    return 2


def cancelled(s, rng):
    s.run("start")
    s.sync.trigger("cancel")
    s.sync.trigger("wait")
    s.run()
    return 2


def edited(s, rng):
    """A field more or less, and a text that is refused."""
    s.edited = not s.edited
    try:
        s.sync.write("mappings.csv", "column,field\nid\n")
        raise AssertionError("a broken text was taken")
    except OSError:
        pass
    s.sync.define(mappings=s.mappings())
    s.run()
    return 1


def forgotten(s, rng):
    s.run()
    s.run("reset")
    s.run("baseline")
    return 2


def looked_at(s, rng):
    s.run()
    for path in [s.sync.path / name for name in ("status", "status.json", "log", "error", "error_log")] + [
            p for p in (s.sync.path / "runs").glob("*/*") if p.is_file()]:
        try:
            path.read_bytes()
        except FileNotFoundError:
            pass  # of a run that was collected meanwhile
    return 1


EVENTS = [usual] * 8 + [nothing_new] * 3 + [planned, whole, failed, refused, held, cancelled, edited, forgotten, looked_at]


# ---- what the daemon takes ----


class Gauge:
    """Flat: the median of the last third is not above that of the first one by more than `share` and
    `more`. The very first samples, while buffers and caches fill, are left out."""

    def __init__(self, name, share, more, look):
        self.name, self.share, self.more, self.look = name, share, more, look
        self.samples = []

    def grown(self):
        third = max(1, len(self.samples) // 3)
        first, last = (statistics.median(part) for part in (self.samples[:third], self.samples[-third:]))
        print("%-24s %10d %10d %10d" % (self.name, first, statistics.median(self.samples), last))
        return last > first * (1 + self.share) + self.more


def status_number(pid, key):
    for line in open("/proc/%d/status" % pid):
        if line.startswith(key + ":"):
            return int(line.split()[1])


def size_below(path):
    return sum(f.stat().st_size for f in path.rglob("*") if f.is_file())


def gauges(mount, runs):
    """What may still fill after the first third grows with the runs, to a bound: the log of a sync
    (10000 lines, as its file shows them), SQLite's pages of it, the names of run files that the
    kernel keeps (16384)."""
    pid = mount.process.pid
    return [Gauge("resident memory, KiB", 0.03, 1024 + min(3 * runs, 8192), lambda: status_number(pid, "VmRSS")),
            Gauge("descriptors", 0, 2, lambda: len(os.listdir("/proc/%d/fd" % pid))),
            Gauge("threads", 0, 4, lambda: status_number(pid, "Threads")),
            Gauge("state, KiB", 0.02, 256 + min(runs // 2, 8192), lambda: size_below(mount.state) // 1024),
            Gauge("state, files", 0.05, 8, lambda: sum(1 for _ in mount.state.rglob("*")))]


def soak(mount, psql, args, rng, happened):
    syncs = [Sync(mount, psql, mode, key, i) for i, (mode, key) in enumerate(
        [("upsert", "id"), ("mirror", "u"), ("insert", "id"), ("full", "id")])]
    looks = gauges(mount, args.count)
    # Samples begin when as many runs are kept as may be, twice.
    runs, serial, due = 0, 0, max(args.count / 5, 8 * KEEP)
    while runs < args.count:
        serial += 1
        psql.sql("BEGIN", *(statement for s in syncs for statement in s.change(serial)), "COMMIT")
        for s in syncs:
            event = usual if serial == 1 else rng.choice(EVENTS)
            happened[event.__name__] += 1
            try:
                runs += event(s, rng)
                s.exact()
            except BaseException:
                print("FAILED: seed %s, run %d: %s of %s" % (args.seed, runs, event.__name__, s.name), flush=True)
                raise
        if runs >= due:
            due += args.count / 2 / SAMPLES
            for s in syncs:
                wait_for("an end", lambda s=s: s.sync.state() not in ("queued", "running"))
            for gauge in looks:
                gauge.samples.append(gauge.look())
    for s in syncs:
        assert len(list((s.sync.path / "runs").iterdir())) <= KEEP + 2, s.name
    print("%-24s %10s %10s %10s   (medians)" % ("", "first", "all", "last third"))
    return runs, [gauge.name for gauge in looks if gauge.grown()]


def main():
    args = begin(campaign(__doc__, 400, 6000))
    rng, happened = random.Random(args.seed), Counter()
    pg = Postgres()
    mount = Mount(expect="^retlfs: (error|warning):")
    try:
        mount.connect("pg", pg.connection)
        psql = Psql(pg)
        try:
            runs, grown = soak(mount, psql, args, rng, happened)
        finally:
            psql.close()
    finally:
        mount.close()
        pg.stop()
    print(", ".join("%s %d" % event for event in sorted(happened.items())))
    assert not grown, "grows: " + ", ".join(grown)
    print("%d runs, seed %s: all destinations exact, nothing grows" % (runs, args.seed))


main()
