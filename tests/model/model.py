#!/usr/bin/env python3
"""Random syncs against the oracle: rows, mappings, modes, guards, refusals, errors and verbs at
random; after each run the operations offered, the destination's rows, the rejected rows and the
delivered count must be what oracle.py says.

    model.py [--runs N] [--seed S] [--scenario I] [--quiet]

A failure prints the seed, the scenario and its steps; `--seed S --scenario I` replays it alone."""

import argparse
import json
import os
import random
import shutil
import sys
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
sys.path.insert(0, os.path.dirname(__file__))
import oracle
from retlfs import Mount, Postgres, Sqlite, errno_name

FIELDS = {"fa": ["a", "c", "upper(coalesce(a, 'none'))"], "fb": ["b", "b + 1"], "fc": ["c", "a"]}
TEXTS = [None, "", "x", "y", "z", "naïve €", 'q"u,o\'te', "bad", "a\nb", " "]
COLUMNS = "id", "a", "b", "c", "ok"
MEMBERS = ["add", "remove", "mirror", "upsert"]  # the modes of an audience


class Mismatch(Exception):
    pass


class Scenario:
    def __init__(self, world, number, rng):
        self.world, self.number, self.rng = world, number, rng
        self.log = []
        self.name = "s%d" % number
        r = rng.random
        self.source = rng.choice(["postgres", "sqlite", "csv"])
        self.to = rng.choice(["postgres", "sqlite"])
        kind = rng.choice(["upsert", "insert", "bag", "update", "mirror", "mirror", "full", "audience", "audience"])
        mode = "insert" if kind == "bag" else rng.choice(MEMBERS) if kind == "audience" else kind
        self.of_many = kind == "audience" and self.to == "postgres" and r() < 0.6  # one list among others in the table
        self.oracle = oracle.Sync(
            mode=mode,
            identifier=kind != "bag",
            audience=kind == "audience",
            unique=kind != "bag" and r() < 0.6,
            foreign=rng.choice(["hold", "hold", "keep", "delete"]),
            max_deletes=rng.choice([None, None, 0, 3, "30%", "50%", "100%"]),
            # Which row is the last is told by a file's order; a table has none.
            last_wins=self.source == "csv" and r() < 0.5,
        )
        if self.oracle.foreign == "delete":
            self.oracle.max_deletes = None
        self.oracle.mapping = {oracle.KEY: "id", "fa": "a", "fb": "b"}
        if r() < 0.5:
            self.oracle.mapping["fc"] = "c"
        self.rows = []
        self.next_id = 1
        self.dest_table, self.src_table = "d%d" % number, "t%d" % number
        self.src_broken = False
        self.say("source %s, destination %s, %s", self.source, self.to, self.oracle)

    def say(self, text, *args):
        self.log.append(text % args)

    # ---- the outside world ----

    def prepare(self):
        lists = "of_list, " if self.of_many else ""
        unique = "UNIQUE (%skey), " % lists if self.oracle.unique else ""
        check = "CHECK (fa <> 'bad'), CHECK (fb <> 13)"
        ddl = "CREATE TABLE %s (key integer, fa text, fb integer, fc text, %s%s%s)" % (
            self.dest_table, "of_list text NOT NULL, " if self.of_many else "", unique, check)
        self.dest_db = self.world.pg if self.to == "postgres" else self.world.lite
        self.dest_db.sql(ddl)
        if self.of_many:
            for key in 1, 2, 501:
                self.dest_db.sql("INSERT INTO %s VALUES (%d, 'other', 1, 'list', 'other')" % (self.dest_table, key))
        if self.oracle.identifier:
            for _ in range(self.rng.choice([0, 0, 3])):
                self.foreign_row()
        w = self.world
        if self.source == "csv":
            self.path = w.mount.data / (self.name + ".csv")
            w.mount.connect(self.name, {"driver": "csv", "path": str(self.path)})
            source = {"connection": self.name, "types": {"id": "integer", "b": "integer"}}
        elif self.source == "sqlite":
            w.source.sql("CREATE TABLE %s (id INTEGER, a TEXT, b INTEGER, c TEXT, ok INTEGER)" % self.src_table)
            source = {"connection": "sqlite_source", "query":
                      "SELECT id, a, b, c FROM %s WHERE abs(CASE ok WHEN 0 THEN -9223372036854775807 - 1 ELSE ok END) = 1"
                      % self.src_table}
        else:
            w.pg.sql("CREATE TABLE %s (id integer, a text, b integer, c text, ok integer)" % self.src_table)
            if self.rng.random() < 0.3:
                w.pg.sql("CREATE INDEX ON %s (id)" % self.src_table)
            source = {"connection": "pg", "query": "SELECT id, a, b, c FROM %s WHERE 1 / ok = 1" % self.src_table}
        o = self.oracle
        config = {"source": source,
                  "destination": {"connection": "pg" if self.to == "postgres" else "lite", "object": self.dest_table},
                  "foreign": o.foreign}
        if o.audience:
            config["type"] = "audience"
        if self.of_many:
            config["destination"].update(list="it's mine", list_column="of_list")
        if o.identifier:
            config["identifier"] = "id"
        if o.max_deletes is not None:
            config["max_deletes"] = o.max_deletes
        if o.last_wins:
            config["duplicates"] = "last"
        self.sync = w.mount.sync(self.name).define(config=config)
        self.write_mapping()
        self.sync.define(mode=o.mode)
        for _ in range(self.rng.choice([0, 5, 30, 130])):
            self.new_row()

    def finish(self):
        shutil.rmtree(self.sync.path)
        self.dest_db.sql("DROP TABLE " + self.dest_table)
        if self.source == "postgres":
            self.world.pg.sql("DROP TABLE " + self.src_table)
        elif self.source == "sqlite":
            self.world.source.sql("DROP TABLE " + self.src_table)

    def write_mapping(self):
        items = list(self.oracle.mapping.items())
        self.rng.shuffle(items)
        lines = []
        for f, source in items:
            lines.append((source, f) if source in COLUMNS else ("", f, source))
        self.sync.define(mappings=lines)
        self.say("mapping %s", items)

    def write_source(self):
        """The model as it is now. `poison`: a row the source cannot give."""
        rows = [(r["id"], r["a"], r["b"], r["c"], 1) for r in self.rows]
        if self.src_broken:
            at = self.rng.randrange(len(rows) + 1)
            rows.insert(at, (self.next_id + 1000, "poison", 1, "x", 0))
        if self.source == "csv":
            with open(self.path, "wb") as out:
                out.write(b"id,a,b,c\n")
                for row in rows:
                    cells = ["" if v is None else str(v) if isinstance(v, int) else '"%s"' % v.replace('"', '""')
                             for v in row[:4]]
                    line = ",".join(cells).encode() + b"\n"
                    out.write(line.replace(b"poison", b"\xff\xfe") if row[4] == 0 else line)
        elif self.source == "sqlite":
            self.world.source.sql("DELETE FROM " + self.src_table)
            self.world.source.fill(self.src_table, rows)
        else:
            self.world.pg.sql("TRUNCATE " + self.src_table)
            self.world.pg.fill(self.src_table, rows)

    def dest_rows(self):
        rows = self.dest_db.sql("SELECT key, fa, fb, fc FROM %s WHERE %s" % (self.dest_table, self.mine()))
        if self.to == "postgres":
            number = lambda v: None if v is None else int(v)
            rows = [[number(k), a, number(b), c] for k, a, b, c in rows]
        return Counter(map(tuple, rows))

    def mine(self):
        """Of the destination's rows."""
        return "of_list = 'it''s mine'" if self.of_many else "true"

    # ---- what happens to the model and around it ----

    def value(self, column):
        if column == "b":
            return self.rng.choice([None, 0, 1, 2, 12, 13, -5, 2000000000])
        texts = TEXTS if self.rng.random() < 0.5 else TEXTS[:5]
        return self.rng.choice(texts)

    def new_row(self):
        row = {"id": self.next_id, "a": self.value("a"), "b": self.value("b"), "c": self.value("c")}
        if row["a"] == "bad" and self.rng.random() < 0.7:
            row["a"] = "good"
        self.next_id += 1
        if not self.oracle.identifier and self.rows and self.rng.random() < 0.4:
            row = dict(self.rng.choice(self.rows))
        self.rows.append(row)

    def foreign_row(self):
        key = self.rng.choice([500 + self.rng.randrange(50), self.rng.randrange(1, 30)])
        if self.oracle.unique and any(r["key"] == key for r in self.oracle.dest):
            return
        row = {"key": key, "fa": "theirs", "fb": 7, "fc": None}
        self.oracle.dest.append(row)
        mine = ", 'it''s mine'" if self.of_many else ""
        self.dest_db.sql("INSERT INTO %s VALUES (%d, 'theirs', 7, NULL%s)" % (self.dest_table, key, mine))
        self.say("somebody inserts %d at the destination", key)

    def change_rows(self):
        rng = self.rng
        bag_floor = not self.oracle.identifier and self.mapping_due()
        for _ in range(rng.choice([0, 1, 3, 10])):
            what = rng.random()
            if what < 0.35 or not self.rows:
                self.new_row()
            elif bag_floor:
                continue
            elif what < 0.7:
                row = rng.choice(self.rows)
                column = rng.choice("abc")
                row[column] = self.value(column)
            elif what < 0.9:
                self.rows.remove(rng.choice(self.rows))
            elif what < 0.95 and self.oracle.identifier:
                rng.choice(self.rows)["id"] = rng.choice([None, rng.choice(self.rows)["id"]])
            elif self.oracle.identifier:
                # What is wrong with identifiers is mended.
                seen = set()
                for row in self.rows:
                    if row["id"] is None or row["id"] in seen:
                        row["id"], self.next_id = self.next_id, self.next_id + 1
                    seen.add(row["id"])
        if rng.random() < 0.03 and not bag_floor:
            self.rows.clear()
            self.say("the model is emptied")
        rng.shuffle(self.rows)

    def mapping_due(self):
        return self.oracle.known is not None and self.oracle.known != self.oracle.mapping

    def change_mapping(self):
        mapping, rng = dict(self.oracle.mapping), self.rng
        if not self.oracle.identifier:
            # Old and new forms can be told apart only while the model holds all that was delivered.
            model = Counter(oracle.freeze(oracle.record_of(mapping, r)) for r in self.rows)
            if self.mapping_due() or self.oracle.bag - model:
                return
        f = rng.choice(list(FIELDS))
        if f in mapping and rng.random() < 0.5 and len(mapping) > 2:
            del mapping[f]
        else:
            mapping[f] = rng.choice(FIELDS[f])
        self.oracle.mapping = mapping
        self.write_mapping()
        self.oracle.plan = None

    def change_mode(self):
        modes = ["upsert", "update", "mirror", "full"]
        if self.oracle.mode == "insert" or not self.oracle.identifier:
            modes = ["insert"]
        if self.oracle.audience:
            modes = MEMBERS
        mode = self.rng.choice(modes)
        if mode != self.oracle.mode:
            self.say("mode %s", mode)
            self.oracle.mode = mode
            self.sync.define(mode=mode)
            self.oracle.plan = None

    def meddle(self):
        """Somebody else changes rows at the destination."""
        o = self.oracle
        if not o.identifier or not o.dest:
            return
        what = self.rng.random()
        if what < 0.4:
            self.foreign_row()
            return
        key = self.rng.choice(o.dest)["key"]
        if what < 0.7:
            o.dest = [r for r in o.dest if r["key"] != key]
            self.dest_db.sql("DELETE FROM %s WHERE key = %d AND %s" % (self.dest_table, key, self.mine()))
            self.say("somebody deletes %d at the destination", key)
        else:
            for row in o.dest:
                if row["key"] == key:
                    row["fc"] = "theirs"
            self.dest_db.sql("UPDATE %s SET fc = 'theirs' WHERE key = %d AND %s" % (self.dest_table, key, self.mine()))
            self.say("somebody updates %d at the destination", key)

    # ---- runs ----

    def step(self):
        rng, o = self.rng, self.oracle
        for chance, change in (0.8, self.change_rows), (0.25, self.change_mapping), (0.15, self.change_mode), (0.2, self.meddle):
            if rng.random() < chance:
                change()
        self.src_broken = rng.random() < 0.05
        self.write_source()
        verbs = ["run"] * 12
        if not o.first:
            verbs += ["full"] if o.mode != "insert" else []
            verbs += ["full"] if o.mode == "insert" and o.identifier and not o.unique else []
            verbs += ["retry"] * 3 if o.rejected else []
            verbs += ["reset"] if o.mode != "insert" else []
        if self.clean() and not o.state.keys() - {r["id"] for r in self.rows} and not self.src_broken:
            verbs += ["baseline"]
        verbs += ["plan"] * 2
        verb = rng.choice(verbs)
        self.say("%s of %d rows%s", verb, len(self.rows), ", with an error half way" if self.src_broken else "")
        if verb == "reset":
            self.expect(self.sync.trigger("reset"), 0, "reset")
            oracle.reset(o)
            return
        if self.src_broken:
            before = self.sync.last_run()
            self.expect(self.sync.trigger(verb), "EIO", "a run whose source fails")
            if verb != "plan":
                self.expect(self.sync.last_run(), before + 1, "number of the run that failed")
            self.compare_world()
            return
        if verb == "baseline":
            self.expect(self.sync.trigger(verb), 0, verb)
            oracle.baseline(o, self.rows)
            self.compare_world()
            return
        if verb == "plan":
            p = oracle.plan(o, self.rows)
            got = self.sync.trigger(verb)
            if not p.held:
                self.expect(got, 0, "plan")
            self.compare_changes(p, "pending/changes.jsonl")
            self.compare_world()
            if rng.random() < 0.5:
                self.approve(p)
            return
        p = oracle.plan(o, self.rows, verb)
        got = self.sync.trigger(verb)
        if p.held:
            if got == 0:
                raise Mismatch("the run should have been held")
            self.expect(self.sync.status().get("state"), "held", "state")
            self.compare_changes(p, "pending/changes.jsonl")
            self.compare_world()
            if rng.random() < 0.6:
                self.approve(p)
            return
        self.ended(p, got)

    def clean(self):
        ids = [r["id"] for r in self.rows]
        return not self.oracle.identifier or None not in ids and len(ids) == len(set(ids))

    def approve(self, p):
        rows = [dict(r) for r in self.rows]
        if self.rng.random() < 0.5 and self.oracle.identifier:
            self.change_rows()  # what is approved is the plan, not the model of now
            self.write_source()
        self.say("approve")
        self.ended(p, self.sync.trigger("approve"), rows)

    def ended(self, p, got, rows=None):
        changes = self.compare_changes(p, "runs/last/changes.jsonl")
        if not self.oracle.identifier:
            p.changes = changes  # rows alike but for fields that are new: either may be sent
        rejected = oracle.deliver(self.oracle, p, self.rows if rows is None else rows)
        self.expect(got, "EIO" if rejected else 0, p.verb)
        self.compare_world()

    # ---- comparing ----

    def expect(self, got, want, what):
        got = errno_name(got) if isinstance(want, str) and isinstance(got, int) else got
        if got != want:
            raise Mismatch("%s: %r, not %r" % (what, got, want))

    def compare_changes(self, p, name):
        text = [json.loads(line) for line in self.sync.read(name).splitlines()] if self.sync.exists(name) else []
        got = [(c["op"], c["id"].get("id") if self.oracle.identifier else None, c.get("after")) for c in text]
        alike = lambda c: (c[0], c[1], None if c[2] is None else oracle.freeze(c[2]))
        if self.oracle.identifier or not self.mapping_due():
            self.equal(Counter(map(alike, got)), Counter(map(alike, p.changes)), name)
        else:
            known, mapping = self.oracle.known, self.oracle.mapping
            shared = [f for f in mapping if known.get(f) == mapping[f]]
            part = lambda c: tuple((f, c[2][f]) for f in shared)
            self.equal(Counter(map(part, got)), Counter(map(part, p.changes)), name + ", fields of both mappings")
            model = Counter(oracle.freeze(oracle.record_of(mapping, r)) for r in self.rows)
            self.equal(Counter(oracle.freeze(c[2]) for c in got) - model, Counter(), "records that the model lacks")
        return got

    def compare_world(self):
        o = self.oracle
        want = Counter((r["key"], r["fa"], r["fb"], r["fc"]) for r in o.dest)
        self.equal(self.dest_rows(), want, "the destination's rows")
        if self.of_many:
            other = self.dest_db.value("SELECT count(*) FROM %s WHERE of_list = 'other' AND fa = 'other' AND fb = 1"
                                       " AND fc = 'list'" % self.dest_table)
            self.expect(other, "3", "the rows of the other list")
        rejected = Counter()
        for line in self.sync.read("rejected.jsonl").splitlines():
            r = json.loads(line)
            rejected[(r["id"].get("id") if o.identifier else None, oracle.freeze(r["record"]))] += 1
        self.equal(rejected, Counter(o.rejected), "the rejected rows")
        delivered = len(o.state) if o.identifier else sum(o.bag.values())
        self.expect(int(self.sync.status()["delivered"]), delivered, "delivered")

    def equal(self, got, want, what):
        if got != want:
            extra, missing = got - want, want - got
            raise Mismatch("%s:\n  too much: %s\n  missing: %s" % (what, list(extra.items())[:10], list(missing.items())[:10]))


class World:
    def __init__(self):
        self.pg = Postgres()
        self.mount = Mount(expect="^retlfs: (error|warning): sync=")
        self.lite = Sqlite(self.mount.data / "dest.db")
        self.lite.sql("PRAGMA journal_mode=wal")
        self.source = Sqlite(self.mount.data / "source.db")
        self.source.sql("PRAGMA journal_mode=wal")
        self.mount.connect("pg", self.pg.connection)
        self.mount.connect("lite", self.lite.connection)
        self.mount.connect("sqlite_source", self.source.connection)

    def close(self):
        try:
            self.mount.close()
        finally:
            self.pg.stop()


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    options.add_argument("--runs", type=int, default=1500)
    options.add_argument("--steps", type=int, default=12, help="runs of one scenario")
    options.add_argument("--seed", default=None)
    options.add_argument("--scenario", type=int)
    options.add_argument("--keep-going", action="store_true", help="tell every failing scenario")
    args = options.parse_args()
    seed = args.seed or os.environ.get("RETLFS_TEST_SEED") or str(time.time_ns() % 10**9)
    print("seed", seed, flush=True)
    world = World()
    kinds, runs, number, failed = Counter(), 0, args.scenario or 0, 0
    try:
        while runs < args.runs:
            scenario = Scenario(world, number, random.Random("%s/%d" % (seed, number)))
            try:
                scenario.prepare()
                for _ in range(args.steps):
                    runs += 1
                    kinds[scenario.oracle.mode, scenario.to + (" members" if scenario.oracle.audience else "")] += 1
                    scenario.step()
                scenario.finish()
            except (Mismatch, OSError, AssertionError, KeyError) as e:
                failed += 1
                print("\n".join(scenario.log))
                try:
                    print(scenario.sync.read("status") + scenario.sync.read("error"))
                except OSError as unreadable:
                    print(unreadable)
                print("FAILED: %s: %s\nreplay: %s --seed %s --scenario %d --runs %d" % (
                    type(e).__name__, e, Path(__file__).name, seed, number, args.steps), flush=True)
                if not args.keep_going:
                    break
            if args.scenario is not None:
                break
            number += 1
    finally:
        world.close()
    for (mode, to), n in sorted(kinds.items()):
        print("%-8s → %-16s %5d runs" % (mode, to, n))
    print("%d runs in %d scenarios, seed %s, %d failed" % (runs, number, seed, failed))
    sys.exit(1 if failed else 0)


main()
