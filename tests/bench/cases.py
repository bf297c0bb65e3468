"""What tests/bench/run measures: each case has a floor, the same work by the databases' own
programs, and is checked for the right result afterwards."""

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import Callable

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
import calls
from retlfs import Mount

TYPES = [("id", "bigint"), ("uid", "uuid"), ("name", "text"), ("email", "text"), ("amount", "numeric(12,2)"),
         ("seen", "timestamptz"), ("active", "boolean"), ("extra", "jsonb")]
COLUMNS = [name for name, _ in TYPES]
TABLE = "CREATE TABLE %s (" + ", ".join("%s %s" % c for c in TYPES) + "%s)"
ROWS = """
SELECT i, md5(i::text)::uuid, 'Customer ' || (i * 7919 %% 1000003), 'customer' || i || '@example.com',
       (i * 37 %% 10000000) / 100.0, timestamptz '2020-01-01' + i * interval '17 seconds', i %% 3 = 0,
       jsonb_build_object('plan', i %% 5, 'tag', 't' || i %% 97)
FROM generate_series(1::bigint, %d) i"""
CHANGE = "UPDATE %s SET amount = amount + 1 WHERE id %% 100 = %d"


def quiet(pg):
    """No work of the server's own falls into what is measured: tables are vacuumed by hand, and one
    case leaves nothing to the next."""
    pg.sql("ALTER SYSTEM SET autovacuum = off")
    pg.sql("SELECT pg_reload_conf()")
    pg.sql("CHECKPOINT")


def fill(pg, rows):
    """The model with a primary key, and the same rows without any index for identifiers that no
    order is there for."""
    quiet(pg)
    pg.sql("DROP TABLE IF EXISTS model, unordered, target, copied, staging")
    pg.sql(TABLE % ("model", ", PRIMARY KEY (id)"))
    pg.sql("INSERT INTO model " + ROWS % rows)
    pg.sql("VACUUM ANALYZE model")


def shell(line, *args):
    subprocess.run(["bash", "-o", "pipefail", "-c", line, "bash", *map(str, args)], check=True, stdout=subprocess.DEVNULL)


class Bench:
    """One case under way: a mount of its own, timings and notes."""

    def __init__(self, case, rows, pg):
        self.case, self.rows, self.pg = case, rows, pg
        self.samples, self.notes = {"floor": [], "retlfs": []}, {}
        self.closing = []
        self.mount = Mount()
        self.mount.connect("pg", pg.connection)
        self.mount.connect("two", {**pg.connection, "readers": 2})

    def close(self):
        self.mount.close()
        for close in self.closing:
            close()
        self.pg.sql("DROP TABLE IF EXISTS unordered, target, copied, staging")
        self.pg.sql("VACUUM ANALYZE model")
        quiet(self.pg)

    def timed(self, what, work, *args):
        began = time.monotonic()
        work(*args)
        self.samples[what].append(round(time.monotonic() - began, 4))

    def floor(self, work, *args):
        self.timed("floor", work, *args)

    def retlfs(self, work, *args):
        self.timed("retlfs", work, *args)

    def note_memory(self):
        with open("/proc/%d/status" % self.mount.process.pid) as status:
            self.notes["peak_rss_kib"] = next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))

    def note_state(self):
        """The delivered state on disk beside the rows as COPY text."""
        size = sum(f.stat().st_size for f in self.mount.state.glob("syncs/*/state-*"))
        text = subprocess.run(["bash", "-c", 'psql -Xqd "$0" -c "COPY model TO STDOUT" | wc -c', self.pg.dsn],
                              check=True, capture_output=True, text=True).stdout
        assert size, "no state was found"
        self.notes["state_ratio"] = round(size / int(text), 3)

    def sync(self, source, destination, mode="mirror", identifier="id"):
        return self.mount.sync("bench").define(
            config={"source": source, "destination": destination, "identifier": identifier},
            mappings=[(c, c) for c in COLUMNS], mode=mode)

    def pg_sync(self, model="model", mode="mirror", identifier="id", source="pg"):
        return self.sync({"connection": source, "table": model}, {"connection": "pg", "object": "target"}, mode, identifier)

    # ---- floors ----

    def copy(self, model="model"):
        """psql COPY of the model, thrown away."""
        shell('psql -Xqd "$1" -c "COPY (SELECT %s FROM %s) TO STDOUT"' % (", ".join(COLUMNS), model), self.pg.dsn)

    def copy_into(self, table):
        shell('psql -Xqd "$1" -c "COPY model TO STDOUT" | psql -Xqd "$1" -c "COPY %s FROM STDIN"' % table, self.pg.dsn)

    def staging_and_merge(self):
        """What one would write by hand into a table that has rows already."""
        self.pg.sql("DROP TABLE IF EXISTS staging; CREATE UNLOGGED TABLE staging (LIKE copied)")
        self.copy_into("staging")
        rest = COLUMNS[1:]
        self.pg.sql("ANALYZE staging; MERGE INTO copied t USING staging s ON t.id = s.id"
                    " WHEN MATCHED AND (%s) IS DISTINCT FROM (%s) THEN UPDATE SET %s"
                    " WHEN NOT MATCHED THEN INSERT VALUES (%s)" % (
                        ", ".join("t." + c for c in rest), ", ".join("s." + c for c in rest),
                        ", ".join("%s = s.%s" % (c, c) for c in rest), ", ".join("s." + c for c in COLUMNS)))


# ---- PostgreSQL to PostgreSQL ----


def fresh(bench, table, rows=False, key="id"):
    bench.pg.sql("DROP TABLE IF EXISTS %s" % table)
    bench.pg.sql(TABLE % (table, ", PRIMARY KEY (%s)" % key if key else ""))
    if rows:
        bench.pg.sql("INSERT INTO %s SELECT * FROM model" % table)


def delivered(bench, model="model", **how):
    """A sync that has run once."""
    fresh(bench, "target", key=how.get("identifier", "id"))
    bench.run = bench.pg_sync(model, **how)
    bench.run.run()


def equal(bench, model="model"):
    for one, other in (model, "target"), ("target", model):
        differ = bench.pg.value("SELECT count(*) FROM (SELECT * FROM %s EXCEPT ALL SELECT * FROM %s) x" % (one, other))
        assert differ == "0", "%s: %s rows of %s are not in %s" % (bench.case.name, differ, one, other)


def first_empty(bench, turn):
    fresh(bench, "copied")
    bench.floor(bench.copy_into, "copied")
    fresh(bench, "target")
    sync = bench.pg_sync(mode="upsert")
    if turn:
        sync.run("reset")
    bench.retlfs(sync.run)
    assert int(sync.summary()["inserts"]) == bench.rows
    bench.note_state()


def first_populated(bench, turn):
    """Half of the rows are there as they should be, the others with another amount."""
    for table in "copied", "target":
        fresh(bench, table, rows=True)
        bench.pg.sql("UPDATE %s SET amount = -1 WHERE id %% 2 = 0" % table)
        bench.pg.sql("VACUUM ANALYZE %s" % table)
    bench.floor(bench.staging_and_merge)
    sync = bench.pg_sync(mode="upsert")
    if turn:
        sync.run("reset")
    bench.retlfs(sync.run)


def unchanged(source):
    def work(bench, turn):
        if not turn:
            delivered(bench, source=source)
        bench.floor(bench.copy)
        bench.retlfs(bench.run.run)
        assert int(bench.run.summary()["unchanged"]) == bench.rows
    return work


def one_percent(begin, check=lambda bench, updates: None):
    """begin: delivers all; check: what else is to be true of so many updates."""
    def work(bench, turn):
        if not turn:
            begin(bench)
        bench.pg.sql(CHANGE % ("model", turn))
        bench.pg.sql("VACUUM ANALYZE model")
        bench.floor(bench.copy)
        bench.retlfs(bench.run.run)
        updates = int(bench.run.summary()["updates"])
        assert abs(updates - bench.rows / 100) <= 1, updates
        check(bench, updates)
    return work


def no_order(bench, turn):
    """By a uuid without an index, in the order of the heap."""
    if not turn:
        bench.pg.sql("DROP TABLE IF EXISTS unordered")
        bench.pg.sql("CREATE TABLE unordered AS SELECT * FROM model")
        bench.pg.sql("VACUUM ANALYZE unordered")
        delivered(bench, "unordered", identifier="uid")
    bench.floor(bench.copy, "unordered")
    bench.retlfs(bench.run.run)
    assert int(bench.run.summary()["unchanged"]) == bench.rows


# ---- files and SQLite ----


def sqlite_model(bench):
    path = bench.mount.data / "model.db"
    shell('psql -Xqd "$1" -c "COPY (SELECT id, uid, name, email, amount::text, seen, active::int, extra FROM model) TO STDOUT'
          ' (FORMAT csv)" > "$2.csv"; sqlite3 "$2" "CREATE TABLE model(id INTEGER PRIMARY KEY, %s)"'
          ' ".import --csv $2.csv model"; rm "$2.csv"' % ", ".join("%s TEXT" % c for c in COLUMNS[1:]), bench.pg.dsn, path)
    return path


def sqlite_to_sqlite(bench, turn):
    if not turn:
        bench.path = sqlite_model(bench)
        bench.mount.connect("from", {"driver": "sqlite", "path": str(bench.path)})
        bench.mount.connect("to", {"driver": "sqlite", "path": str(bench.mount.data / "target.db")})
        shell('sqlite3 "$1" "PRAGMA journal_mode=wal"', bench.mount.data / "target.db")
        bench.run = bench.sync({"connection": "from", "table": "model"},
                               {"connection": "to", "object": "target", "create": True})
        bench.run.run()
    bench.floor(shell, 'sqlite3 "$1" "SELECT * FROM model"', bench.path)
    bench.retlfs(bench.run.run)
    assert int(bench.run.summary()["unchanged"]) == bench.rows


def csv_to_sqlite(order):
    def work(bench, turn):
        path = bench.mount.data / "model.csv"
        if not turn:
            shell('psql -Xqd "$1" -c "COPY (SELECT * FROM model ORDER BY $3) TO STDOUT (FORMAT csv, HEADER)" > "$2"',
                  bench.pg.dsn, path, order)
            bench.mount.connect("from", {"driver": "csv", "path": str(path)})
            bench.mount.connect("to", {"driver": "sqlite", "path": str(bench.mount.data / "target.db")})
            shell('sqlite3 "$1" "PRAGMA journal_mode=wal"', bench.mount.data / "target.db")
            bench.run = bench.sync({"connection": "from", "types": {"id": "integer"}},
                                   {"connection": "to", "object": "target", "create": True})
            bench.run.run()
        bench.floor(shell, 'sqlite3 :memory: ".import --csv $1 model"', path)
        bench.retlfs(bench.run.run)
        assert int(bench.run.summary()["unchanged"]) == bench.rows
    return work


def nothing(bench):
    pass


@dataclass(frozen=True)
class Case:
    name: str
    floor: str
    work: Callable
    check: Callable
    skip: Callable = lambda: None  # why it cannot be measured here
    rows: int = 0  # at most


CASES = [
    Case("unchanged", "psql COPY to /dev/null", unchanged("pg"), equal),
    Case("unchanged, two readers", "psql COPY to /dev/null", unchanged("two"), equal),
    Case("1 % changed, upsert", "psql COPY to /dev/null", one_percent(lambda b: delivered(b, mode="upsert")), equal),
    Case("1 % changed, mirror", "psql COPY to /dev/null", one_percent(lambda b: delivered(b, mode="mirror")), equal),
    Case("uuid without index, unchanged", "psql COPY to /dev/null", no_order, lambda b: equal(b, "unordered")),
    Case("first run, empty target", "psql COPY | psql COPY", first_empty, equal),
    Case("first run, populated target", "psql COPY | COPY staging, MERGE", first_populated, equal),
    Case("SQLite to SQLite, unchanged", "sqlite3 SELECT to /dev/null", sqlite_to_sqlite, nothing),
    Case("CSV to SQLite, unchanged", "sqlite3 :memory: .import", csv_to_sqlite("id"), nothing),
    Case("CSV in no order, unchanged", "sqlite3 :memory: .import", csv_to_sqlite("uid"), nothing),
    Case("HTTP, first run, 100 a call", "psql COPY to /dev/null", calls.first_run, nothing),
    Case("HTTP, 1 % changed, upsert", "psql COPY to /dev/null", one_percent(calls.begin_upsert, calls.came_by_hundreds), nothing),
    Case("HTTP, 1 % new", "psql COPY to /dev/null", calls.one_percent_new, calls.put_back),
    Case("HTTP, 100 a call", "h2load, same bodies", calls.beside(calls.h2load, 100), nothing, calls.skip_reason),
    Case("HTTP, one a call", "h2load, same bodies", calls.beside(calls.h2load, 1, format="object"), nothing,
         calls.skip_reason, 100000),
    Case("HTTP, one a call, libcurl", "libcurl alone, same bodies", calls.beside(calls.libcurl, 1, format="object"), nothing,
         rows=100000),
    Case("HTTP, 1,000 a call, 50 ms each", "h2load, same bodies", calls.beside(calls.h2load, 1000, 50, format="ndjson"), nothing,
         calls.skip_reason, 100000),
]
