"""What a run must do, told from SEMANTICS alone and without looking at the engine: given the
model's rows, the delivered state, the mapping and the destination, the exact operations that are
offered, what the destination then holds, which rows are rejected, and whether the run is held.

A record is a dict field → value. Model rows are dicts column → value. The destination is a list
of dicts (a table without unique index may hold a key twice)."""

from collections import Counter
from dataclasses import dataclass, field

KEY = "key"  # the identifier's field at the destination
FREE = 100  # syncs that delivered up to this many rows have no default bound on deletes


def evaluate(source, row):
    """What a mapping's source gives for a model row: a column, or one of the expressions."""
    if source == "upper(coalesce(a, 'none'))":
        text = row["a"] if row["a"] is not None else "none"
        return "".join(c.upper() if c.isascii() else c for c in text)  # SQLite's upper knows ASCII
    if source == "b + 1":
        return None if row["b"] is None else row["b"] + 1
    return row[source]


def record_of(mapping, row):
    return {f: evaluate(s, row) for f, s in mapping.items()}


def freeze(record):
    return tuple(sorted(record.items(), key=lambda kv: kv[0]))


def refused_by_table(record):
    """The CHECK constraints of the test's tables."""
    return record.get("fa") == "bad" or record.get("fb") == 13


@dataclass
class Sync:
    """What the engine must remember of a sync."""

    mode: str
    identifier: bool = True  # False: insert without identifier
    audience: bool = False
    unique: bool = True  # the destination has a unique index on the key
    foreign: str = "hold"
    max_deletes: object = None  # None, a number, or "30%"
    last_wins: bool = False
    mapping: dict = field(default_factory=dict)  # field → source, now
    known: dict = None  # the mapping of the last run that ended; None: none has
    first: bool = True
    state: dict = field(default_factory=dict)  # key → delivered record
    recorded: set = field(default_factory=set)  # keys of it that nobody delivered
    bag: Counter = field(default_factory=Counter)  # delivered records, without identifier
    rejected: list = field(default_factory=list)  # of the last run: (key, frozen record or None)
    unsent: dict = field(default_factory=dict)  # of those that the destination refused: key to operation
    dest: list = field(default_factory=list)
    plan: object = None


@dataclass
class Plan:
    """One run, before it is sent."""

    changes: list  # (op, key, record or None), foreign deletes last
    refused: list  # (key, frozen record): never offered
    held: bool
    full: bool
    verb: str = "run"
    matched: list = field(default_factory=list)  # without identifier: frozen rows known already


def key_rows(sync, rows):
    """Model rows by identifier, and those that are refused before anything is sent."""
    by_key, refused = {}, []
    for row in rows:
        if row["id"] is None:
            refused.append((None, freeze(record_of(sync.mapping, row))))
        else:
            by_key.setdefault(row["id"], []).append(record_of(sync.mapping, row))
    single = {}
    for key, records in by_key.items():
        if len(records) == 1 or sync.last_wins:
            single[key] = records[-1]
        else:
            refused += [(key, freeze(r)) for r in records]
    return by_key.keys(), single, refused


def mapping_wants_full(sync):
    if sync.known is None or sync.mode in ("insert", "add", "remove"):
        return False
    return any(sync.known.get(f) != s for f, s in sync.mapping.items())


def differs(record, delivered):
    """A field that was never delivered is a difference; one that is mapped no longer is none."""
    return any(f not in delivered or delivered[f] != v for f, v in record.items())


def plan(sync, rows, verb="run"):
    if not sync.identifier:
        return plan_bag(sync, rows, verb)
    full = verb == "full" or (verb != "retry" and (sync.first or sync.mode == "full" or mapping_wants_full(sync)))
    present, single, refused = key_rows(sync, rows)
    only = {k for k, _ in sync.rejected} if verb == "retry" else None
    changes = []
    for key, record in sorted(single.items()):
        delivered = sync.state.get(key)
        if only is not None and key not in only:
            continue
        if sync.mode == "remove":
            if delivered is None:
                changes.append(("record", key, record))
        elif key in sync.recorded:
            changes.append(("insert", key, record))
        elif delivered is None:
            changes.append(("update" if sync.mode == "update" else "insert", key, record))
        elif sync.mode == "insert":
            if full or sync.unsent.get(key) == "insert":
                changes.append(("insert", key, record))
        elif full or key in sync.unsent or sync.mode != "add" and differs(record, delivered):
            changes.append(("update", key, record))
    held = False
    if sync.mode in ("mirror", "remove"):
        gone = [k for k in sync.state if k not in present]
        if only is not None:
            gone = [k for k in gone if k in only]
        changes += [("delete", k, None) for k in gone]
        foreign = []
        if full and sync.mode == "mirror" and sync.foreign != "keep":
            foreign = sorted({r[KEY] for r in sync.dest if r[KEY] not in present and r[KEY] not in sync.state})
        changes += [("delete", k, None) for k in foreign]
        held = guard(sync, len(rows), len(gone), len(foreign))
    if sync.mode == "insert" and full and not sync.first:
        held = True
    return Plan(changes, refused, held, full, verb)


def guard(sync, rows, gone, foreign):
    if rows == 0 and gone + foreign > 0:
        return True
    bound = sync.max_deletes
    if bound is None:
        if len(sync.state) > FREE and gone > 0.2 * len(sync.state):
            return True
    elif isinstance(bound, str):
        if gone * 100 > int(bound.rstrip("%")) * len(sync.state):
            return True
    elif gone > bound:
        return True
    return foreign > 0 and sync.foreign == "hold"


def plan_bag(sync, rows, verb):
    """Without identifier: records as a multiset, known by the fields that both mappings have."""
    shared = sorted(sync.mapping)
    if sync.known is not None:
        shared = [f for f in shared if sync.known.get(f) == sync.mapping[f]]
    part = lambda record: tuple((f, dict(record).get(f)) for f in shared)
    have = Counter()
    for record, n in sync.bag.items():
        have[part(record)] += n
    changes, matched = [], []
    for row in rows:
        record = record_of(sync.mapping, row)
        known = part(freeze(record))
        if have[known] > 0:
            have[known] -= 1
            matched.append(freeze(record))
        else:
            changes.append(("insert", None, record))
    if verb == "retry":
        only = Counter(part(r) for _, r in sync.rejected)
        kept = []
        for change in changes:
            if only[part(freeze(change[2]))] > 0:
                only[part(freeze(change[2]))] -= 1
                kept.append(change)
        changes = kept
    return Plan(changes, [], False, sync.first, verb, matched)


def deliver(sync, p, rows):
    """Carries the plan out: changes sync and its destination; returns the rejected rows."""
    rejected, unsent = list(p.refused), {}
    with_key = {}
    for row in sync.dest:
        with_key.setdefault(row[KEY], []).append(row)
    delivered = []
    for op, key, record in p.changes:
        if op == "delete":
            sync.dest = [r for r in sync.dest if r[KEY] != key]
            sync.state.pop(key, None)
            sync.recorded.discard(key)
            continue
        if op == "record":
            sync.state[key] = record
            sync.recorded.add(key)
            continue
        matches = with_key.get(record[KEY], []) if sync.identifier else []
        if sync.mode == "insert":
            refused = refused_by_table(record) or (sync.unique and bool(with_key.get(record[KEY])))
        elif sync.mode == "update":
            refused = not matches or refused_by_table(record)
        else:
            refused = refused_by_table(record)
        if refused:
            rejected.append((key, freeze(record)))
            unsent[key] = op
            continue
        if matches and sync.mode != "insert":
            for row in matches:
                row.update(record)
        else:
            row = {"key": None, "fa": None, "fb": None, "fc": None, **record}
            sync.dest.append(row)
            if sync.unique:
                with_key.setdefault(row[KEY], []).append(row)
        delivered.append((key, record))
    for key, record in delivered:
        if sync.identifier:
            sync.state[key] = record
            sync.recorded.discard(key)
    if not sync.identifier:
        remember_bag(sync, p, delivered)
    sync.rejected, sync.unsent = rejected, unsent
    if p.verb != "retry" or not sync.identifier:  # what is due for another reason stays due
        sync.known, sync.first = dict(sync.mapping), False
    return rejected


def remember_bag(sync, p, delivered):
    """What was matched is known in its new form from now on. (The caller changes mappings only
    while the model holds everything that was delivered.)"""
    if sync.known != sync.mapping:
        sync.bag = Counter(p.matched)
    for _, record in delivered:
        sync.bag[freeze(record)] += 1


def baseline(sync, rows):
    if sync.identifier:
        _, single, _ = key_rows(sync, rows)
        sync.state, sync.recorded = dict(single), set()
    else:
        sync.bag = Counter(freeze(record_of(sync.mapping, row)) for row in rows)
    sync.rejected, sync.unsent = [], {}
    sync.known, sync.first = dict(sync.mapping), False


def reset(sync):
    sync.state, sync.bag, sync.recorded = {}, Counter(), set()
    sync.rejected, sync.unsent = [], {}
    sync.first, sync.known, sync.plan = True, None, None
