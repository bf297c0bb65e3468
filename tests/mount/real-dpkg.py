#!/usr/bin/env python3
"""Real input: this machine's own package inventory (dpkg's database) into PostgreSQL, from CSV and
from JSON Lines; then again after a package was installed and after it was removed."""

import csv
import json
import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from retlfs import MountTest, main, skip

COLUMNS = ["package", "version", "architecture", "size", "section", "maintainer", "description"]
FORMAT = "\x1f".join("${%s}" % f for f in (
    "binary:Package", "Version", "Architecture", "Installed-Size", "Section", "Maintainer", "Description")) + "\x1e"
PROBE = "hello"  # tiny, and nothing depends on it


def inventory():
    out = subprocess.run(["dpkg-query", "-W", "-f", FORMAT, ], check=True, capture_output=True).stdout.decode()
    rows = []
    for record in out.split("\x1e"):
        if record:
            row = record.split("\x1f")
            rows.append(row[:3] + [int(row[3]) if row[3] else None] + row[4:])
    return sorted(rows)


def apt(*args):
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    return subprocess.run(["apt-get", "-y", "-qq", *args], env=env, capture_output=True, text=True,
                          stdin=subprocess.DEVNULL)


class Inventory(MountTest):
    postgres = True

    def write(self, rows):
        with open(self.mount.data / "packages.csv", "w", newline="") as out:
            writer = csv.writer(out)
            writer.writerow(COLUMNS)
            writer.writerows(rows)
        with open(self.mount.data / "packages.jsonl", "w") as out:
            for row in rows:
                out.write(json.dumps(dict(zip(COLUMNS, row)), ensure_ascii=len(row[0]) % 2 == 0) + "\n")

    def make(self, kind):
        self.mount.connect(kind, {"driver": kind, "path": str(self.mount.data / ("packages." + kind))})
        source = {"connection": kind, "types": {"size": "integer"}}
        if kind == "jsonl":
            source["types"] = {c: "text" for c in COLUMNS} | {"size": "integer"}
        return self.mount.sync("packages_" + kind).define(
            config={"source": source,
                    "destination": {"connection": "pg", "object": "packages_" + kind, "create": True},
                    "identifier": ["package"]},
            mappings=[(c, c) for c in COLUMNS], mode="mirror")

    def same(self, rows):
        for kind in "csv", "jsonl":
            got = self.pg.sql("SELECT %s FROM packages_%s" % (", ".join(COLUMNS), kind))
            # An empty text without quotes is NULL in CSV and "" in JSON.
            empty = None if kind == "csv" else ""
            want = [[empty if v == "" else None if v is None else str(v) for v in row] for row in rows]
            self.assertEqual(sorted(got, key=str), sorted(want, key=str))

    def test_inventory(self):
        before = inventory()
        if len(before) < 200:
            skip("only %d packages: not a Debian machine" % len(before))
        self.write(before)
        syncs = [self.make("csv"), self.make("jsonl")]
        for sync in syncs:
            sync.run()
            self.assertEqual(len(sync.changes()), len(before))
        self.same(before)
        print("%d packages" % len(before))
        for sync in syncs:
            sync.run()
            self.assertEqual(sync.changes(), [])

        if os.getuid() != 0:
            self.skipTest("installing a package needs root")
        if any(row[0].split(":")[0] == PROBE for row in before):
            self.skipTest("%s is installed already" % PROBE)
        done = apt("install", "--no-install-recommends", PROBE)
        if done.returncode:
            apt("update")
            done = apt("install", "--no-install-recommends", PROBE)
        if done.returncode:
            self.skipTest("%s cannot be installed: %s" % (PROBE, done.stderr.strip().splitlines()[-1:]))
        try:
            installed = inventory()
            self.step(syncs, before, installed)
        finally:
            apt("purge", PROBE)
        self.step(syncs, installed, inventory())

    def step(self, syncs, before, after):
        """What the run sends is exactly what differs (other packages may have changed meanwhile)."""
        old, new = {r[0]: r for r in before}, {r[0]: r for r in after}
        want = {("insert", k) for k in new.keys() - old.keys()} | {("delete", k) for k in old.keys() - new.keys()}
        want |= {("update", k) for k in new.keys() & old.keys() if new[k] != old[k]}
        self.assertIn(PROBE, {k.split(":")[0] for _, k in want})
        self.write(after)
        for sync in syncs:
            sync.run()
            self.assertEqual({(c["op"], c["id"]["package"]) for c in sync.changes()}, want)
        self.same(after)


if __name__ == "__main__":
    main()
