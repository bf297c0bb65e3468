#!/usr/bin/env python3
"""The verbs, the guards, and what happens to those who wait: errno, status, what was sent."""

import errno
import os
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from retlfs import MountTest, command, main, ops, wait_for

V = [("id", "id"), ("v", "v")]


class Verbs(MountTest):
    postgres = True

    def make(self, rows, mode="mirror", to="pg", **more):
        self.pg.sql('CREATE TABLE "s_%s" (id int, v text)' % self.name)
        self.pg.fill('"s_%s"' % self.name, rows)
        self.config = {
            "source": {"connection": "pg", "table": "s_" + self.name},
            "destination": {"connection": to, "object": "d_" + self.name, "create": True},
            "identifier": "id", **more}
        self.to = to
        return self.sync(config=self.config, mappings=V, mode=mode)

    def model(self, text):
        self.pg.sql(text.replace("@", '"s_%s"' % self.name))

    def dest(self, text="SELECT * FROM @ ORDER BY 1"):
        text = text.replace("@", '"d_%s"' % self.name)
        rows = self.pg.sql(text) if self.to == "pg" else self.sqlite.sql(text)
        return [[None if v is None else str(v) for v in row] for row in rows]

    def plan_id(self, sync):
        for line in sync.read("pending/summary").splitlines():
            key, _, value = line.partition(":")
            if key.strip() in ("plan", "plan id", "id"):
                return value.split()[0]
        self.fail("no plan id in pending/summary:\n" + sync.read("pending/summary"))

    # ---- plan and approve ----

    def test_plan_sends_nothing(self):
        sync = self.make([(1, "a"), (2, "b")])
        sync.run("plan")
        self.assertEqual(ops(sync.lines("pending/changes.jsonl")), {"insert": 2})
        self.assertEqual(self.pg.value("SELECT to_regclass('d_plan_sends_nothing')"), None)
        self.assertIn("first", sync.read("pending/summary"))
        self.assertIn("+", sync.read("pending/diff"))
        self.assertEqual(len(sync.read("pending/inserts.csv").splitlines()), 3)
        sync.run()
        self.model("UPDATE @ SET v = 'B' WHERE id = 2; DELETE FROM @ WHERE id = 1; INSERT INTO @ VALUES (3, 'c')")
        sync.run("plan")
        changes = sync.lines("pending/changes.jsonl")
        self.assertEqual([(c["op"], c["id"]["id"]) for c in changes], [("delete", 1), ("update", 2), ("insert", 3)])
        self.assertEqual(changes[1]["before"], {"id": 2, "v": "b"})
        self.assertEqual(changes[1]["changed"], ["v"])
        self.assertEqual([len(sync.read("pending/%s.csv" % n).splitlines()) for n in ("inserts", "updates", "deletes")],
                         [2, 2, 2])
        diff = sync.read("pending/diff")
        self.assertRegex(diff, r'(?m)^-.*b')
        self.assertRegex(diff, r'(?m)^\+.*B')
        self.assertEqual(self.dest(), [["1", "a"], ["2", "b"]])
        # Sizes are exact, so a copy is whole.
        for name in os.listdir(sync.path / "pending"):
            path = sync.path / "pending" / name
            if path.is_file():
                self.assertEqual(os.stat(path).st_size, len(path.read_bytes()), name)

    def test_approve(self):
        sync = self.make([(1, "a"), (2, "b")])
        sync.run("plan")
        # What is approved is the plan, not the model of now.
        self.model("INSERT INTO @ VALUES (3, 'c')")
        sync.run("approve")
        self.assertEqual(self.dest(), [["1", "a"], ["2", "b"]])
        self.assertEqual(ops(sync.changes()), {"insert": 2})
        # No plan any more: nothing to approve.
        self.assertNotEqual(sync.trigger("approve"), 0)
        sync.run()
        self.assertEqual(ops(sync.changes()), {"insert": 1})

    def test_approve_with_id(self):
        sync = self.make([(1, "a"), (2, "b")])
        sync.run("plan")
        plan = self.plan_id(sync)
        self.model("UPDATE @ SET v = 'moved' WHERE id = 2")
        runs = sync.last_run()
        sync.run("approve " + plan, want=errno.ESTALE)
        self.assertTrue(sync.read("error"))
        self.assertEqual(self.pg.value("SELECT to_regclass('d_approve_with_id')"), None)
        sync.run("plan")
        self.assertNotEqual(self.plan_id(sync), plan)
        sync.run("approve 0123456789abcdef", want=errno.ESTALE)
        sync.run("approve " + self.plan_id(sync))
        self.assertEqual(self.dest(), [["1", "a"], ["2", "moved"]])
        self.assertGreater(sync.last_run(), runs)

    def test_edit_makes_the_plan_stale(self):
        sync = self.make([(1, "a")])
        sync.run("plan")
        sync.define(mappings=[("id", "id"), ("v", "w")])
        self.assertNotEqual(sync.trigger("approve"), 0)
        self.assertEqual(self.pg.value("SELECT to_regclass('d_edit_makes_the_plan_stale')"), None)

    # ---- guards ----

    def held(self, sync, words, verb="run"):
        number = sync.last_run()
        before = self.dest()
        self.assertNotEqual(sync.trigger(verb), 0)
        self.assertIn("held", sync.read("status"))
        self.assertRegex(sync.read("error"), words)
        self.assertRegex(sync.read("pending/summary"), words)
        self.assertEqual(self.dest(), before)
        self.assertGreaterEqual(sync.last_run(), number)

    def test_guard_share(self):
        sync = self.make([(i, "v") for i in range(1, 201)])
        sync.run()
        self.model("DELETE FROM @ WHERE id <= 40")
        sync.run()  # exactly 20 % of what was delivered
        self.assertEqual(len(self.dest()), 160)
        self.model("DELETE FROM @ WHERE id <= 73; UPDATE @ SET v = 'w' WHERE id = 100; INSERT INTO @ VALUES (999, 'n')")
        self.held(sync, "33 of 160")
        self.assertEqual(ops(sync.lines("pending/changes.jsonl")), {"delete": 33, "update": 1, "insert": 1})
        self.held(sync, "33 of 160")  # again: still held
        sync.run("approve")
        self.assertEqual(len(self.dest()), 128)
        self.assertEqual(self.dest("SELECT v FROM @ WHERE id = 100"), [["w"]])
        sync.run()
        self.assertEqual(sync.changes(), [])

    def test_guard_small_syncs_are_free(self):
        sync = self.make([(i, "v") for i in range(1, 101)])
        sync.run()
        self.model("DELETE FROM @ WHERE id > 1")
        sync.run()
        self.assertEqual(self.dest(), [["1", "v"]])

    def test_guard_number(self):
        sync = self.make([(i, "v") for i in range(1, 11)], max_deletes=2)
        sync.run()
        self.model("DELETE FROM @ WHERE id <= 2")
        sync.run()
        self.model("DELETE FROM @ WHERE id <= 5")
        self.held(sync, "3 of 8")
        # A bound that is raised lets the next run through.
        sync.define(config={**self.config, "max_deletes": 3})
        sync.run()
        self.assertEqual(len(self.dest()), 5)
        sync.define(config={**self.config, "max_deletes": 0})
        self.model("DELETE FROM @ WHERE id = 6")
        self.held(sync, "1 of 5")

    def test_guard_given_share(self):
        sync = self.make([(i, "v") for i in range(1, 11)], max_deletes="50%")
        sync.run()
        self.model("DELETE FROM @ WHERE id <= 5")
        sync.run()
        self.model("DELETE FROM @ WHERE id <= 8")
        self.held(sync, "3 of 5")

    def test_guard_empty_model(self):
        for to in "pg", "lite":
            with self.subTest(to=to):
                self.name = "guard_empty_" + to
                sync = self.make([(1, "a"), (2, "b")], to=to)
                sync.run()
                self.model("DELETE FROM @")
                self.held(sync, "empty")
                sync.run("approve")
                self.assertEqual(self.dest(), [])

    def test_empty_model_where_nothing_is_deleted(self):
        sync = self.make([(1, "a")], mode="upsert")
        sync.run()
        self.model("DELETE FROM @")
        sync.run()
        self.assertEqual(self.dest(), [["1", "a"]])

    def test_guard_foreign(self):
        for to in "pg", "lite":
            with self.subTest(to=to):
                self.name = "guard_foreign_" + to
                sync = self.make([(1, "a"), (2, "b")], to=to)
                target = self.pg if to == "pg" else self.sqlite
                target.sql("CREATE TABLE d_%s (id integer PRIMARY KEY, v text)" % self.name)
                target.sql("INSERT INTO d_%s VALUES (2, 'old'), (7, 'theirs')" % self.name)
                self.held(sync, "1 row")
                self.assertEqual(ops(sync.lines("pending/changes.jsonl")), {"insert": 2, "delete": 1})
                foreign = [c for c in sync.lines("pending/changes.jsonl") if c["op"] == "delete"][0]
                self.assertEqual(foreign["id"], {"id": 7})
                self.assertIn("foreign", foreign["why"])
                sync.run("approve")
                self.assertEqual(self.dest(), [["1", "a"], ["2", "b"]])

    def test_foreign_keep_and_delete(self):
        for policy, left in ("keep", [["1", "a"], ["7", "theirs"]]), ("delete", [["1", "a"]]):
            with self.subTest(policy=policy):
                self.name = "foreign_" + policy
                sync = self.make([(1, "a")], foreign=policy)
                self.pg.sql("CREATE TABLE d_%s (id integer PRIMARY KEY, v text);"
                            "INSERT INTO d_%s VALUES (7, 'theirs')" % (self.name, self.name))
                sync.run()
                self.assertEqual(self.dest(), left)

    def test_full_in_insert_mode_is_held(self):
        sync = self.make([(1, "a"), (2, "b")], mode="insert")
        sync.run()
        self.held(sync, "again", verb="full")
        sync.run("approve")
        self.assertEqual(self.dest(), [["1", "a"], ["1", "a"], ["2", "b"], ["2", "b"]])
        sync.run()
        self.assertEqual(len(self.dest()), 4)

    # ---- full, retry, baseline, reset ----

    def test_full(self):
        sync = self.make([(1, "a"), (2, "b"), (3, "c")], mode="upsert")
        sync.run()
        self.dest("UPDATE @ SET v = 'broken' WHERE id = 2; SELECT 1")
        sync.run("full")
        self.assertEqual(ops(sync.changes()), {"update": 3})
        self.assertEqual(self.dest(), [["1", "a"], ["2", "b"], ["3", "c"]])
        self.assertIn("asked", sync.summary()["full"])
        sync.run()
        self.assertEqual(sync.changes(), [])

    def test_retry(self):
        self.pg.sql("CREATE TABLE d_retry (id int PRIMARY KEY, v text CHECK (v NOT LIKE 'bad%'))")
        sync = self.make([(1, "a"), (2, "bad"), (3, "bad too")], mode="upsert")
        sync.run(want=errno.EIO)
        self.model("UPDATE @ SET v = 'good' WHERE id = 2; UPDATE @ SET v = 'A' WHERE id = 1; INSERT INTO @ VALUES (4, 'd')")
        sync.run("retry", want=errno.EIO)
        self.assertEqual([c["id"]["id"] for c in sync.changes()], [2, 3])
        self.assertEqual(self.dest(), [["1", "a"], ["2", "good"]])
        self.assertEqual([r["id"]["id"] for r in sync.rejected()], [3])
        self.model("DELETE FROM @ WHERE id = 3")
        sync.run("retry")
        self.assertEqual(sync.changes(), [])
        self.assertEqual(sync.rejected(), [])
        sync.run()
        self.assertEqual([c["id"]["id"] for c in sync.changes()], [1, 4])

    def test_baseline(self):
        self.pg.sql("CREATE TABLE d_baseline (id int PRIMARY KEY, v text)")
        sync = self.make([(1, "a"), (2, "b")])
        sync.run("baseline")
        self.assertEqual(self.dest(), [])
        self.model("UPDATE @ SET v = 'B' WHERE id = 2")
        sync.run()
        self.assertEqual([(c["op"], c["id"]["id"]) for c in sync.changes()], [("update", 2)])

    def test_reset(self):
        sync = self.make([(1, "a"), (2, "b")])
        sync.run()
        sync.run("reset")
        self.assertIn("reset", sync.read("status"))
        sync.run()
        self.assertEqual(ops(sync.changes()), {"insert": 2})
        self.assertIn("reset", sync.summary()["full"])
        self.assertEqual(self.dest(), [["1", "a"], ["2", "b"]])

    # ---- waiting, cancelling, two at once ----

    def slow(self, seconds=60):
        """A sync whose source gives a row and then takes its time."""
        config = {
            "source": {"connection": "pg", "query":
                       "SELECT 1 AS id, 'a' AS v UNION ALL SELECT 2, 'b' FROM pg_sleep(%g)" % seconds},
            "destination": {"connection": "lite", "object": "d_" + self.name, "create": True},
            "identifier": "id"}
        return self.sync(config=config, mappings=V, mode="upsert")

    def running(self, sync):
        wait_for("the run to begin", lambda: sync.state() == "running")
        wait_for("the source to be asked", lambda: self.pg.value(
            "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep%' AND application_name LIKE 'retlfs%'") != "0")

    def shell(self, sync, text, shell="bash"):
        return subprocess.Popen([shell, "-c", text], cwd=sync.path, stderr=subprocess.PIPE,
                                stdout=subprocess.PIPE, text=True, start_new_session=True)

    def test_cancel(self):
        sync = self.slow()
        waiter = self.shell(sync, "echo run > trigger")
        self.running(sync)
        began = time.monotonic()
        self.assertEqual(sync.trigger("run"), errno.EBUSY)
        self.assertEqual(sync.trigger("plan"), errno.EBUSY)
        self.assertLess(time.monotonic() - began, 5)
        self.assertIn("phase", sync.read("status"))
        self.expect_errno(errno.EBUSY, os.rename, sync.path, self.mount.path("syncs/elsewhere"))
        sync.run("cancel")
        _, said = waiter.communicate(timeout=30)
        self.assertEqual(waiter.returncode, 1)
        self.assertIn("canceled", said.lower())
        self.assertIn("cancel", sync.read("status"))
        wait_for("the query to end", lambda: self.pg.value(
            "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep%' AND state = 'active' "
            "AND application_name LIKE 'retlfs%'") == "0")

    def test_start_and_wait(self):
        sync = self.slow(1)
        sync.run("start")
        sync.run("wait")
        self.assertEqual(len(self.sqlite.sql("SELECT * FROM d_start_and_wait")), 2)
        sync.run("wait")  # nothing runs: the result of the last one

    def test_wait_gives_the_failure(self):
        sync = self.sync(
            config={"source": {"connection": "pg", "query": "SELECT 1/0 AS id"},
                    "destination": {"connection": "lite", "object": "x", "create": True}, "identifier": "id"},
            mappings=[("id", "id")], mode="upsert")
        sync.run("start")
        wait_for("its end", lambda: sync.state() != "running" and sync.last_run())
        self.assertEqual(sync.trigger("wait"), errno.EIO)

    def test_background_job_ends_during_a_run(self):
        # SIGCHLD must not look like an interrupt.
        sync = self.slow(2)
        shell = self.shell(sync, "sleep 0.5 & echo run > trigger")
        _, said = shell.communicate(timeout=60)
        self.assertEqual((shell.returncode, said), (0, ""))

    def test_ctrl_c_stops_waiting_only(self):
        for shell in "bash", "dash":
            with self.subTest(shell=shell):
                self.name = "ctrl_c_" + shell
                sync = self.slow(4)
                waiter = self.shell(sync, "echo run > trigger", shell)
                self.running(sync)
                os.killpg(waiter.pid, signal.SIGINT)
                waiter.communicate(timeout=3)
                self.assertNotEqual(waiter.returncode, 0)
                self.assertEqual(sync.state(), "running")
                sync.run("wait")
                self.assertEqual(sync.last_run(), 1)
                self.assertEqual(len(self.sqlite.sql("SELECT * FROM d_ctrl_c_%s" % shell)), 2)

    def test_kill_of_the_caller(self):
        sync = self.slow(3)
        waiter = self.shell(sync, "echo run > trigger")
        self.running(sync)
        os.killpg(waiter.pid, signal.SIGKILL)
        waiter.communicate(timeout=3)
        sync.run("wait")
        self.assertEqual(sync.last_run(), 1)

    def test_a_retried_write_joins_the_run(self):
        # Python writes again after EINTR (PEP 475): still one run.
        sync = self.slow(3)
        done = command(sys.executable, "-c", """if True:
            import os, signal
            signal.signal(signal.SIGALRM, lambda *_: None)
            signal.setitimer(signal.ITIMER_REAL, 0.5, 0.5)
            fd = os.open("trigger", os.O_WRONLY)
            os.write(fd, b"run\\n")
            signal.setitimer(signal.ITIMER_REAL, 0)  # Python ends without the handler
            os.close(fd)""", cwd=sync.path)
        self.assertEqual(done.stderr, "")
        self.assertEqual(sync.last_run(), 1)

    def test_many_waiters_and_readers(self):
        sync = self.slow(6)
        sync.run("start")
        waiters = [self.shell(sync, "echo wait > trigger") for _ in range(50)]
        self.running(sync)
        began = time.monotonic()
        sync.read("status")
        self.assertLess(time.monotonic() - began, 1)
        for waiter in waiters:
            waiter.communicate(timeout=60)
            self.assertEqual(waiter.returncode, 0)

    def test_walking_the_tree_during_a_run(self):
        sync = self.slow(5)
        sync.run("start")
        self.running(sync)
        command("tar", "cf", str(self.mount.data / "all.tar"), "-C", str(self.mount.point), ".")
        command("grep", "-r", "nothing like this", str(self.mount.point), check=False)
        command("cp", "-r", str(self.mount.point), str(self.mount.data / "copy"))
        command("cp", "-r", str(self.mount.point / "syncs"), str(self.mount.data / "copy2"))
        sync.run("cancel")

    def test_a_run_works_from_the_definition_at_its_start(self):
        sync = self.slow(2)
        sync.run("start")
        self.running(sync)
        sync.define(mappings=[("id", "id")])
        sync.run("wait")
        self.assertEqual(self.sqlite.sql("SELECT v FROM \"d_%s\" ORDER BY id" % self.name), [["a"], ["b"]])
        self.assertIn("v,v", sync.read("runs/1/mappings.csv"))

    def test_status_while_running(self):
        sync = self.slow(3)
        sync.run("start")
        self.running(sync)
        status = sync.read("status")
        for word in "phase", "rows":
            self.assertIn(word, status)
        self.assertEqual(sync.status_json()["state"], "running")
        sync.run("cancel")

    def test_log(self):
        sync = self.make([(1, "a")])
        sync.run()
        log = sync.read("log")
        self.assertIn("uid=%d" % os.getuid(), log)
        self.assertIn("run", log)
        before = len(log)
        sync.run()
        again = sync.read("log")
        self.assertTrue(again.startswith(log))
        self.assertGreater(len(again), before)


if __name__ == "__main__":
    main()
