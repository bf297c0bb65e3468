#!/usr/bin/env python3
"""Every sync in examples/ is copied into a mount as its README says, and run."""

import os
import shutil
import subprocess
import sys
import unittest
from pathlib import Path

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from retlfs import ROOT, Mount, Postgres, Sqlite, main, ops

EXAMPLES = ROOT / "examples"


class Examples(unittest.TestCase):
    def setUp(self):
        self.pg = Postgres()
        self.addCleanup(self.pg.stop)
        self.pg.psql("-f", str(EXAMPLES / "data/shop.sql"))
        self.mount = Mount(env={"PGHOST": self.pg.host, "PGPORT": self.pg.port, "PGUSER": self.pg.user})
        self.addCleanup(self.mount.close)
        for file in (EXAMPLES / "data").iterdir():
            shutil.copy(file, self.mount.data)
        # As a person would: the paths and names of this place.
        for file in (EXAMPLES / "connections").iterdir():
            text = file.read_text().replace("/srv/retlfs", str(self.mount.data)).replace(
                "dbname=shop", "dbname=" + self.pg.database)
            self.mount.write("connections/" + file.name, text)
        self.crm = Sqlite(self.mount.data / "crm.db")
        # SQLite makes a database by opening it; the example's is made by its owner.
        self.crm.sql("PRAGMA journal_mode=wal")

    def copy(self, name):
        done = subprocess.run(["cp", "-r", str(EXAMPLES / name), str(self.mount.point / "syncs")],
                              text=True, capture_output=True)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        sync = self.mount.sync(name)
        self.assertEqual(sync.state(), "ready", sync.read("status"))
        return sync

    def test_all(self):
        syncs = {p.parent.name for p in EXAMPLES.glob("*/config.json")}
        self.assertEqual(syncs, {"contacts", "signups", "orders", "balances"})

        contacts = self.copy("contacts")
        contacts.run()
        self.assertEqual(
            self.crm.sql("SELECT id, email, full_name, balance, source FROM contacts ORDER BY id"),
            [[1, "ada@example.com", "Ada Lovelace", "120.10", "warehouse"],
             [2, "grace@example.com", "Grace Hopper", "0.00", "warehouse"],
             [4, "mary@example.com", "Mary O'Neil", "99999999.99", "warehouse"]])
        self.pg.sql("UPDATE customers SET active = NOT active WHERE id IN (2, 3)")
        contacts.run()
        self.assertEqual(ops(contacts.changes()), {"delete": 1, "insert": 1})

        signups = self.copy("signups")
        signups.run()
        self.assertEqual(self.crm.sql("SELECT email, name, seats, signed_up FROM signups ORDER BY email"),
                         [["ann@example.com", "Ann", 5, "2024-01-03"], ["ben@example.com", 'Ben "B" Doe', 1, "2024-01-17"],
                          ["cho@example.com", "Kim, Cho", 12, "2024-02-02"], ["dee@example.com", None, 1, "2024-02-29"]])

        orders = self.copy("orders")
        orders.run()
        self.assertEqual(
            self.pg.sql('SET timezone = \'UTC\'; SELECT "order", placed, total, paid, lines->0->>\'sku\' FROM orders ORDER BY 1')[2],
            ["9007199254740995", "2024-02-02 07:00:00+00", "1250", "t", "B-7"])
        with open(self.mount.data / "orders.jsonl", "a") as more:
            more.write('{"order": 9007199254740996, "placed": "2024-03-01T00:00:00Z", "total": 3, "paid": true, "lines": []}\n')
        orders.run()
        self.assertEqual(ops(orders.changes()), {"insert": 1})

        self.pg.sql("CREATE TABLE balances (id bigint PRIMARY KEY, balance numeric, note text);"
                    "INSERT INTO balances VALUES (1, 0, 'kept'), (3, 0, NULL), (4, 0, NULL), (9, 7, 'not ours')")
        balances = self.copy("balances")
        balances.run()
        self.assertEqual(self.pg.sql("SELECT * FROM balances ORDER BY id"),
                         [["1", "120.10", "kept"], ["3", "-5.05", None], ["4", "99999999.99", None],
                          ["9", "7", "not ours"]])


if __name__ == "__main__":
    main()
