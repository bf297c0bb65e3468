#!/usr/bin/env python3
"""A server that answers calls at random with all that servers answer (tests/lib/peers.py): refusals, limits,
errors, half an answer, none in time, lies; while the model keeps changing, modes are changed, runs are planned and
approved, single rows sent, and the daemon is killed or the run cancelled. In the end all hold exactly what their
mode promises: records and the members of a list; of an insert every row came at least once, and twice only
where nobody could know the outcome, and then the row was listed as unknown.

    calls.py [--count N] [--rows N] [--seed S] [--only SYNC]

$FAULT_COUNT is the usual count: of runs that something happens to."""

import collections
import errno
import os
import random
import sqlite3
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from faults import begin, campaign
from peers import Braze, Club, Hook
from retlfs import Mount, Sqlite, errno_name, wait_for

# ---- syncs ----


class Subject:
    """A sync to such a server, its model in SQLite, and what must be there in the end. modes: between which it
    goes, the first of them first; of `ends` it has one in the end."""

    FIELDS = "name", "city", "n"
    CONFIG = {}
    # Verbs that send, but for "run", the usual one.
    VERBS = "full", "retry", "send", "approve"

    def __init__(self, mount, rng, name, peer, rows, modes, ends=None):
        self.mount, self.rng, self.name, self.modes, self.ends = mount, rng, name, modes, ends or modes
        self.mode = modes[0]
        self.peer = peer(random.Random(rng.random()), mount, "to_" + name)
        self.db = Sqlite(mount.data / (name + ".db"))
        self.db.sql("PRAGMA journal_mode=wal")
        self.db.sql("CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT, city TEXT, n INTEGER)")
        self.next, self.left, self.versions = 0, {}, collections.defaultdict(list)
        self.add(rows)
        mount.connect("from_" + name, self.db.connection)
        self.sync = mount.sync(name).define(
            config={"source": {"connection": "from_" + name, "table": "t"}, "destination": {"connection": "to_" + name},
                    "identifier": "id", "keep_runs": 10000, "max_deletes": 1000000, **self.config()},
            mappings=[(c, c) for c in ("id",) + self.FIELDS], mode=self.mode)

    def config(self):
        return {}

    # -- the model --

    def row(self):
        rng = self.rng
        return ["x" * rng.randint(1, 2000), rng.choice([None, "Ulm", "Köln \"am\" Rhein", "\\"]), rng.randint(-5, 5)]

    def add(self, n):
        self.enter([[i] + self.row() for i in range(self.next, self.next + n)])
        self.next += n
        self.remember()

    def enter(self, rows):
        self.db.fill("t", rows)

    def leaves(self, key):
        pass

    def remember(self):
        for key, row in self.model().items():
            if row not in self.versions[key]:
                self.versions[key].append(row)

    def change(self, share, while_it_runs=False):
        """New rows, changed ones (some back to what they were), some that leave, and of those that left before
        some come back, as they were or not."""
        rows = {row[0]: list(row) for row in self.db.sql("SELECT id, name, city, n FROM t")}
        statements = []
        back = [] if while_it_runs else [self.left.pop(i) for i in list(self.left) if self.rng.random() < 0.3]
        for i in self.rng.sample(list(rows), max(1, int(len(rows) * share))):
            what = self.rng.random()
            if what < 0.2 and "insert" not in self.modes:
                self.leaves(i)
                self.left[i] = rows[i] if self.rng.random() < 0.7 else [i] + self.row()
                statements.append("DELETE FROM t WHERE id = %d" % i)
            elif what < 0.6:
                statements.append("UPDATE t SET n = %d WHERE id = %d" % (self.rng.randint(-5, 5), i))
            else:
                statements.append("UPDATE t SET city = %s WHERE id = %d" % (self.rng.choice(["NULL", "'Ulm'", "'Bonn'"]), i))
        with sqlite3.connect(self.db.path, timeout=30) as db:
            db.executescript("BEGIN;" + ";".join(statements) + ";COMMIT")
        db.close()
        self.enter(back)
        self.add(max(1, int(len(rows) * share)))

    def model(self):
        """As the server would show it: NULL is nothing."""
        return {str(row[0]): {name: value for name, value in zip(self.FIELDS, row[1:]) if value is not None}
                for row in self.db.sql("SELECT id, name, city, n FROM t")}

    def choose_mode(self, modes):
        mode = self.rng.choice(modes)
        if mode != self.mode:
            self.mode = mode
            self.sync.define(mode=mode)

    # -- the end --

    def finish(self, context):
        """The server is well again: soon a run succeeds, and the next one has nothing to do."""
        self.peer.chance = 0.0
        self.peer.wait(hastily=False)
        self.choose_mode(self.ends)
        for _ in range(3):
            if self.sync.trigger("run") == 0:
                break
        else:
            raise AssertionError("%s: %s\n%s" % (context, self.sync.read("status"), self.sync.read("error")))
        calls = self.peer.calls
        self.sync.run()
        assert self.peer.calls == calls, "%s: something was sent once more" % context
        assert self.sync.rejected() == [], "%s: rows are still rejected" % context

    def check(self, context):
        """mirror: the model, no more and no less. upsert: the model, and of others what was in it once. add: all that
        are in it, as they were at some time. remove: nobody who has left."""
        model, there = self.model(), dict(self.peer.holds)
        stranger = there.pop(self.peer.STRANGER, None)
        assert stranger == self.peer.SOMEBODY, "%s: somebody else's: %r" % (context, stranger)
        extra, missing = set(there) - set(model), set(model) - set(there)
        assert not missing or self.mode == "remove", "%s: %d are missing, first %s" % (context, len(missing), min(missing))
        assert not extra or self.mode in ("upsert", "add"), "%s: left over: %s" % (context, sorted(extra)[:5])
        assert extra <= set(self.versions), "%s: from nowhere: %s" % (context, sorted(extra)[:5])
        exact = self.mode in ("upsert", "mirror")
        wrong = [i for i in set(model) & set(there) if there[i] not in ([model[i]] if exact else self.versions[i])]
        assert not wrong, "%s: %d are wrong, first %s: %r, not %r" % (
            context, len(wrong), wrong[0], there[wrong[0]], model[wrong[0]])
        deletes = {"mirror", "remove"} & set(self.modes)
        assert deletes or not self.peer.removed, "%s: %d were removed" % (context, len(self.peer.removed))


class Inserts(Subject):
    VERBS = "retry", "send", "approve"  # a full run creates everything once more

    def listed_unknown(self):
        """How often each row was listed as one whose outcome nobody knows."""
        listed = collections.Counter()
        for number in range(1, self.sync.last_run() + 1):
            for row in self.sync.rejected(number):
                if row["code"] == "unknown":
                    listed[row["id"]["id"]] += 1
        return listed

    def check(self, context):
        came = self.peer.came
        missing = [i for i in map(int, self.model()) if i not in came]
        assert not missing, "%s: %d rows never came, first %d" % (context, len(missing), missing[0])
        listed = self.listed_unknown()
        doubled = {i: n for i, n in came.items() if n > 1}
        unlisted = [i for i, n in doubled.items() if n - 1 > listed[i]]
        assert not unlisted, "%s: %d rows came twice and were not listed, first %d (%d times, %d listed)" % (
            context, len(unlisted), unlisted[0], doubled[unlisted[0]], listed[unlisted[0]])
        self.doubled = sum(n - 1 for n in doubled.values())


class Members(Subject):
    """An audience: those of the model are to be on a list."""

    def config(self):
        return {"type": "audience", "destination": {"connection": "to_" + self.name, "object": "guests"}}


class Guests(Members):
    """Who enters the model puts himself on the list, so that what `remove` leaves there can be told: exactly the
    model, though nobody is ever added."""

    def __init__(self, *args):
        self.known, self.looked = set(), 0  # by what runs have said
        self.unseen = set()  # left before any run had seen them: nobody can know that they were in
        super().__init__(*args)

    def enter(self, rows):
        super().enter(rows)
        with self.peer.lock:
            for key, *values in rows:
                self.unseen.discard(str(key))
                self.peer.holds[str(key)] = {name: value for name, value in zip(self.FIELDS, values) if value is not None}

    def look(self):
        for number in range(self.looked + 1, self.sync.last_run() + 1):
            if self.sync.summary(number)["outcome"] == "unknown":
                return
            for change in self.sync.changes(number) if self.sync.exists("runs/%d/changes.jsonl" % number) else []:
                if change["outcome"].strip() == "recorded":
                    self.known.add(change["id"]["id"])
                elif change["op"] == "delete" and change["outcome"].strip() == "delivered":
                    self.known.discard(change["id"]["id"])
            self.looked = number

    def change(self, share, while_it_runs=False):
        if not while_it_runs:
            self.look()
        super().change(share, while_it_runs)

    def leaves(self, key):
        if key not in self.known:
            self.unseen.add(str(key))

    def check(self, context):
        missing = set(self.model()) - set(self.peer.holds)
        assert not missing, "%s: %d were removed who had not left, first %s" % (context, len(missing), min(missing))
        for key in self.unseen:
            self.peer.holds.pop(key, None)
        super().check(context)


SUBJECTS = {
    "inserts": (Inserts, Hook, 1, ["insert"]),
    "upserts": (Subject, Braze, 1, ["upsert"]),
    "mirrors": (Subject, Braze, 1, ["mirror"]),
    "wanders": (Subject, Braze, 0.5, ["upsert", "mirror", "full"], ["upsert", "mirror", "mirror"]),
    "adds": (Members, Club, 0.1, ["add"]),
    "removes": (Guests, Club, 0.2, ["remove"]),
    "members": (Members, Club, 0.2, ["mirror"]),
    "enters": (Members, Club, 0.1, ["upsert"]),
    "roams": (Members, Club, 0.2, ["mirror", "add", "upsert", "remove"]),
}

# ---- what happens to them ----


def over(subject):
    return subject.sync.state() not in ("queued", "running")


def pull(subject, verb, told):
    """In a thread of its own: the daemon may be killed meanwhile."""
    try:
        told.append(subject.sync.trigger(verb))
    except OSError as e:
        told.append(e.errno)


def choose_verb(subject, rng):
    verb = "run" if rng.random() < 0.6 else rng.choice(subject.VERBS)
    if verb == "send":
        verb += " %d" % rng.randrange(subject.next)
    elif verb == "approve":
        subject.sync.trigger("plan")
        if rng.random() < 0.3:
            subject.change(0.01, while_it_runs=True)
    return verb


def disturb(mount, subject, rng, what):
    """A run to which something happens."""
    peer = subject.peer
    verb, told = choose_verb(subject, rng), []
    runs, calls, some = subject.sync.last_run(), peer.calls, rng.randint(0, 12)
    puller = threading.Thread(target=pull, args=(subject, verb, told))
    puller.start()
    if what != "run":
        wait_for("some calls, or the end", lambda: peer.calls >= calls + some or told or not over(subject) and some == 0)
        if rng.random() < 0.5:
            subject.change(0.002, while_it_runs=True)  # under its feet
        if what == "kill":
            mount.kill()
            mount.start()
        else:
            subject.sync.trigger("cancel")
    puller.join()
    wait_for("its end", lambda: over(subject))
    peer.settle()
    assert what == "kill" or told[0] in (0, errno.EIO, errno.ECANCELED), "%s of %s: %s" % (verb, subject.name, errno_name(told[0]))
    return verb.split()[0] if subject.sync.last_run() > runs else None


def main():
    options = campaign(__doc__, 36, 1000)
    options.add_argument("--rows", type=int, default=2000)
    options.add_argument("--only", choices=SUBJECTS, help="one of the syncs alone")
    args = begin(options)
    rng = random.Random(args.seed)
    mount = Mount(expect="^retlfs: (error|warning):")
    ends, verbs, subjects = collections.Counter(), collections.Counter(), []
    try:
        for name in [args.only] if args.only else SUBJECTS:
            kind, peer, share, modes, *some = SUBJECTS[name]
            subjects.append(kind(mount, rng, name, peer, max(1, int(args.rows * share)), modes, *some))
        for i in range(args.count):
            subject = subjects[i % len(subjects)]
            what = rng.choice(["run", "run", "kill", "kill", "cancel"])
            subject.peer.chance = rng.choice([0.05, 0.15, 0.4])
            subject.peer.stalls = rng.choice([0, 0, 0, 1, 2])
            if i >= len(subjects):
                subject.change(rng.choice([0.01, 0.1, 0.3]))
                if rng.random() < 0.4:
                    subject.choose_mode(subject.modes)
            verb = disturb(mount, subject, rng, what)
            if verb:
                summary = subject.sync.summary()
                ends[what + ": " + summary["outcome"]] += 1
                ends["cut off while reading"] += summary["cut"]
                verbs[verb] += 1
        for subject in subjects:
            context = "seed %s, %s" % (args.seed, subject.name)
            subject.finish(context)
            subject.check("%s, %s" % (context, subject.mode))
    finally:
        for subject in subjects:
            subject.peer.close()
        mount.close()
    report(args, subjects, ends, verbs)


def report(args, subjects, ends, verbs):
    told = sum((subject.peer.told for subject in subjects), collections.Counter())
    for name, n in sorted(told.items()):
        print("%-21s %4d" % (name, n))
    print("%d runs disturbed (%s; %s), %d calls, %d of them answered badly; %d rows came twice, all listed; all destinations as promised" % (
        args.count, ", ".join("%s %d" % verb for verb in sorted(verbs.items())),
        ", ".join("%s %d" % end for end in sorted(ends.items()) if end[1]),
        sum(s.peer.calls for s in subjects), sum(told.values()), sum(getattr(s, "doubled", 0) for s in subjects)))


main()
