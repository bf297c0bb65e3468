"""A sync to be tried under faults: its tables, changes of its model, and whether the destination
is exact afterwards. `insert` goes to a table without unique index, so that a row sent twice would
stay to be seen; in `mirror` a row of somebody else's stands at the destination after the first
run, so that a delete that the model does not justify (or a silent full run, which would be held
for it) shows."""

import csv
import errno
import time

from retlfs import Sqlite, errno_name

MODES = ["insert", "bag", "upsert", "mirror", "update", "full"]
FOREIGN = -1


def uuid_of(number):
    return "md5(%s::text)::uuid" % number


def series(first, last):
    """Rows i from first to last, in the SQL of both databases."""
    return "(WITH RECURSIVE s(i) AS (SELECT %d UNION ALL SELECT i + 1 FROM s WHERE i < %d) SELECT i FROM s) s" % (
        first, last)


class CsvFile(Sqlite):
    """A source: the table is kept in SQLite and written out whenever it has changed."""

    def __init__(self, path):
        super().__init__("%s.db" % path)
        self.file = str(path)

    @property
    def connection(self):
        return {"driver": "csv", "path": self.file}

    def export(self, table):
        with open(self.file, "w", newline="") as out:
            writer = csv.writer(out)
            writer.writerow(("id", "v", "n"))
            writer.writerows(self.sql("SELECT id, v, n FROM %s" % table))


class Subject:
    """One sync. `source` and `dest` are pairs: the database, and the name of the connection.
    `uuid`: the identifier is a UUID (PostgreSQL only); id, which is equal to it, stays."""

    def __init__(self, mount, rng, mode, source, dest, rows, tag="", uuid=False):
        self.mount, self.mode, self.rng, self.rows, self.uuid = mount, mode, rng, rows, uuid
        self.src_db, source_name = source
        self.db, dest_name = dest
        self.name = "%s_%s_%s%s" % (mode, source_name, dest_name, tag)
        self.src, self.dest = "s_" + self.name, "d_" + self.name
        self.usual = 0.2
        self.next_id, self.foreign, self.serial = 1, False, 0
        self._make(self.src_db, self.src, "")
        self._make_destination()
        self._do([self._adding(rows)])
        config = {"source": {"connection": source_name, "table": self.src},
                  "destination": self._destination(dest_name), "max_deletes": "100%"}
        if isinstance(self.src_db, CsvFile):
            config["source"] = {"connection": source_name, "types": {"id": "integer"}}
        if mode != "bag":
            config["identifier"] = "u" if uuid else "id"
        columns = ["id", "v", "n"] + ["u"] * uuid
        self.sync = mount.sync(self.name).define(
            config=config, mappings=[(c, c) for c in columns], mode="insert" if mode == "bag" else mode)

    def _make(self, db, table, key):
        db.sql("CREATE TABLE %s (id integer%s, v text, n %s%s)" % (
            table, "" if self.uuid else key, "text" if is_lite(db) else "numeric", ", u uuid" + key if self.uuid else ""))

    def _make_destination(self):
        self._make(self.db, self.dest, self._key())

    def _destination(self, connection):
        return {"connection": connection, "object": self.dest}

    def _key(self):
        return "" if self.mode in ("insert", "bag") else " PRIMARY KEY"

    def _do(self, statements):
        self.src_db.sql(";\n".join(statements))
        if isinstance(self.src_db, CsvFile):
            self.src_db.export(self.src)

    def _adding(self, n):
        first, last = self.next_id, self.next_id + n - 1
        self.next_id = last + 1
        number = "i || '.25'" if is_lite(self.src_db) else "i / 7.0"
        if self.mode == "update":
            self.db.sql("INSERT INTO %s (id) SELECT i FROM %s" % (self.dest, series(first, last)))
        return "INSERT INTO %s SELECT i, 'v' || i || ' %s', %s%s FROM %s" % (
            self.src, "x" * 40, number, ", " + uuid_of("i") if self.uuid else "", series(first, last))

    def change(self, n):
        """New rows, and what else the mode cares for."""
        first, self.serial = self.next_id, self.serial + 1
        statements = [self._adding(n)]
        if self.mode not in ("insert", "bag"):
            statements.append("UPDATE %s SET v = 'u%d ' || id WHERE id %% 7 = %d" % (
                self.src, self.serial, self.rng.randrange(7)))
        if self.mode == "mirror":
            statements.append("DELETE FROM %s WHERE id %% 97 = %d AND id < %d" % (self.src, self.rng.randrange(97), first))
            if not self.foreign and self.sync.status_json().get("last_ok"):
                self.foreign = True
                self.db.sql("INSERT INTO %s VALUES (%d, 'somebody else''s', NULL%s)" % (
                    self.dest, FOREIGN, ", gen_random_uuid()" if self.uuid else ""))
        self._do(statements)

    def run(self, verb="run"):
        began = time.monotonic()
        code = self.sync.trigger(verb)
        while code == errno.EBUSY:  # its schedule was first
            self.sync.trigger("wait")
            code = self.sync.trigger(verb)
        assert code == 0, "%s: %s gave %s\n%s\n%s" % (
            self.name, verb, errno_name(code), self.sync.read("error"), self.sync.read("status"))
        self.usual = time.monotonic() - began

    def _rows(self, db, table):
        number = "n" if is_lite(db) else "n::text"
        return [(str(i), v, n) for i, v, n in db.sql("SELECT id, v, %s FROM %s" % (number, table))]

    def exact(self, context):
        want, got = sorted(self._rows(self.src_db, self.src)), self._rows(self.db, self.dest)
        if self.foreign:
            want.insert(0, (str(FOREIGN), "somebody else's", None))
        got.sort(key=lambda row: (row[0], row[1] or "", row[2] or ""))
        if got != sorted(want):
            a, b = set(got), set(want)
            raise AssertionError("%s: %s: %d rows, not %d; too much: %s; missing: %s; doubled: %d" % (
                context, self.name, len(got), len(want), sorted(a - b, key=str)[:5], sorted(b - a, key=str)[:5],
                len(got) - len(a)))

    def knows(self, context):
        """Nothing is left to be sent: the delivered state is what the destination holds."""
        if self.mode != "full":
            self.run("plan")
            if self.sync.read("pending/changes.jsonl"):
                raise AssertionError("%s: %s: the delivered state does not know what was delivered" % (context, self.name))

    def incremental(self, context):
        """The last run was no full one."""
        why = self.sync.summary().get("full")
        assert self.mode == "full" or not why, "%s: %s: a full run: %s" % (context, self.name, why)


def is_lite(db):
    return isinstance(db, Sqlite)
