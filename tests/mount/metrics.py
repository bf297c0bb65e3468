#!/usr/bin/env python3
"""/metrics is what Prometheus reads: every line is of the text format, every number is true, and
the counters go on over a restart. Read by a strict parser of this test's own, and by
prometheus_client where that can be installed."""

import errno
import importlib
import os
import re
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from retlfs import DEADLINE, MountTest, main, wait_for

NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
LABEL = r'[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\["\\n])*"'
HEAD = re.compile(r"# (HELP|TYPE) (%s) (.*)" % NAME)
SAMPLE = re.compile(r"(%s)\{(%s(?:,%s)*)\} (-?[0-9]+(?:\.[0-9]+)?)" % (NAME, LABEL, LABEL))
UNESCAPED = {"\\\\": "\\", '\\"': '"', "\\n": "\n"}


def parse(text):
    """{(name, ((label, value), …)): number}, insisting on every rule of the format."""
    assert text.endswith("\n")
    result, types, helped, current = {}, {}, set(), None
    for line in text[:-1].split("\n"):
        head = HEAD.fullmatch(line)
        if head:
            kind, name, rest = head.groups()
            if kind == "HELP":
                assert name not in helped and rest, line
                helped.add(name)
            else:
                assert name not in types and rest in ("counter", "gauge"), line
                assert name in helped, "TYPE without HELP: " + line
                assert (rest == "counter") == name.endswith("_total"), line
                types[name] = rest
            current = name
            continue
        sample = SAMPLE.fullmatch(line)
        assert sample, "not of the format: " + repr(line)
        name, labels, number = sample.groups()
        assert name == current and name in types, "not with its family: " + line
        pairs = tuple((p.split("=", 1)[0],
                       re.sub(r'\\["\\n]', lambda m: UNESCAPED[m.group()], p.split("=", 1)[1][1:-1]))
                      for p in re.findall(LABEL, labels))
        assert len(dict(pairs)) == len(pairs), line
        assert (name, pairs) not in result, "twice: " + line
        result[name, pairs] = float(number)
    return result


class Metrics(MountTest):
    postgres = True

    def make(self):
        self.pg.sql("CREATE TABLE s_%s (id int, v text); INSERT INTO s_%s VALUES (1,'a'),(2,'b'),(3,'c');"
                    "CREATE TABLE d_%s (id int PRIMARY KEY, v text CHECK (v <> 'bad'))"
                    % ((self.name,) * 3))
        return self.sync(
            config={"source": {"connection": "pg", "table": "s_" + self.name},
                    "destination": {"connection": "pg", "object": "d_" + self.name}, "identifier": "id"},
            mappings=[("id", "id"), ("v", "v")], mode="mirror")

    def value(self, sync, name, **labels):
        labels = (("sync", sync.name),) + tuple(labels.items())
        return parse(self.mount.read("metrics")).get(("retlfs_" + name, labels))

    def test_numbers(self):
        sync = self.make()
        self.assertEqual(self.value(sync, "ready"), 1)
        self.assertEqual(self.value(sync, "running"), 0)
        self.assertEqual(self.value(sync, "runs_total", outcome="succeeded"), 0)
        self.assertIsNone(self.value(sync, "last_success_timestamp_seconds"))
        sync.run("plan")
        self.assertEqual(self.value(sync, "pending_rows"), 3)
        sync.run()
        self.assertEqual(self.value(sync, "pending_rows"), 0)
        self.assertEqual(self.value(sync, "offered_rows_total", op="insert"), 3)
        self.assertEqual(self.value(sync, "rows_total", outcome="delivered"), 3)
        self.assertEqual(self.value(sync, "delivered_rows"), 3)
        self.assertGreater(self.value(sync, "state_bytes"), 0)
        self.assertGreater(self.value(sync, "last_run_duration_seconds"), 0)
        success = self.value(sync, "last_success_timestamp_seconds")
        self.assertGreater(success, 1.6e9)
        self.pg.sql("UPDATE s_%s SET v = 'B' WHERE id = 2; DELETE FROM s_%s WHERE id = 3;"
                    "INSERT INTO s_%s VALUES (4, 'bad')" % ((self.name,) * 3))
        sync.run(want=errno.EIO)
        self.after_a_rejection(sync, success)
        self.mount.stop()
        self.mount.start()
        self.after_a_rejection(sync, success)
        self.pg.sql("UPDATE s_%s SET v = 'good' WHERE id = 4" % self.name)
        sync.run()
        self.assertEqual(self.value(sync, "rows_total", outcome="delivered"), 6)
        self.assertEqual(self.value(sync, "rejected_rows"), 0)
        self.assertEqual(self.value(sync, "retried_rows_total"), 1)
        self.assertGreater(self.value(sync, "last_success_timestamp_seconds"), success)

    def after_a_rejection(self, sync, success):
        for name, value, labels in (
                ("offered_rows_total", 4, {"op": "insert"}), ("offered_rows_total", 1, {"op": "update"}),
                ("offered_rows_total", 1, {"op": "delete"}), ("rows_total", 5, {"outcome": "delivered"}),
                ("rows_total", 1, {"outcome": "rejected"}), ("rows_total", 1, {"outcome": "unchanged"}),
                ("runs_total", 1, {"outcome": "succeeded"}), ("runs_total", 1, {"outcome": "partial"}),
                ("rejected_rows", 1, {}), ("delivered_rows", 3 - 1, {}), ("retried_rows_total", 0, {}),
                ("last_success_timestamp_seconds", success, {})):
            self.assertEqual(self.value(sync, name, **labels), value, (name, labels))

    def test_outcomes(self):
        sync = self.make()
        sync.run()
        self.pg.sql("ALTER TABLE s_%s RENAME TO gone_%s" % (self.name, self.name))
        self.assertNotEqual(sync.trigger("run"), 0)
        self.assertEqual(self.value(sync, "runs_total", outcome="failed"), 1)
        self.pg.sql("ALTER TABLE gone_%s RENAME TO s_%s; DELETE FROM s_%s" % ((self.name,) * 3))
        sync.run(want=errno.EIO)  # the model is empty: held
        self.assertEqual(self.value(sync, "runs_total", outcome="held"), 1)
        self.assertEqual(self.value(sync, "pending_rows"), 3)
        self.assertEqual(self.value(sync, "offered_rows_total", op="delete"), 0)
        sync.run("reset")
        self.assertEqual(self.value(sync, "runs_total", outcome="succeeded"), 1)
        self.pg.sql("INSERT INTO s_%s VALUES (1, 'x')" % self.name)
        sync.run("baseline")
        self.assertEqual(self.value(sync, "offered_rows_total", op="insert"), 3)
        self.assertEqual(self.value(sync, "rows_total", outcome="delivered"), 3)
        os.unlink(sync.path / "mode")
        wait_for("ready 0", lambda: self.value(sync, "ready") == 0)

    def test_running(self):
        sync = self.sync(
            config={"source": {"connection": "pg", "query": "SELECT 1 AS id FROM pg_sleep(60)"},
                    "destination": {"connection": "lite", "object": "x", "create": True}, "identifier": "id"},
            mappings=[("id", "id")], mode="upsert")
        sync.run("start")
        self.assertEqual(self.value(sync, "running"), 1)
        wait_for("its number", lambda: sync.exists("runs/1"))
        sync.run("cancel")
        wait_for("its end", lambda: self.value(sync, "running") == 0)
        self.assertEqual(self.value(sync, "runs_total", outcome="cancelled"), 1)

    def test_a_real_parser(self):
        target = str(self.mount.data / "python")
        done = subprocess.run(
            [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--target", target,
             "prometheus_client"], capture_output=True, text=True, timeout=DEADLINE)
        if done.returncode:
            self.skipTest("prometheus_client cannot be installed: " + done.stderr.strip()[-200:])
        sync = self.make()
        sync.run()
        sys.path.insert(0, target)
        real = importlib.import_module("prometheus_client.parser")
        text = self.mount.read("metrics")
        got = {(s.name, tuple(s.labels.items())): s.value
               for family in real.text_string_to_metric_families(text) for s in family.samples}
        ours = parse(text)
        self.assertEqual({(n, tuple(sorted(l))): v for (n, l), v in got.items()},
                         {(n, tuple(sorted(l))): v for (n, l), v in ours.items()})
        self.assertIn(("retlfs_delivered_rows", (("sync", sync.name),)), got)


if __name__ == "__main__":
    main()
