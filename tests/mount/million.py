#!/usr/bin/env python3
"""A million pending rows: listed at once, looked up a million times, and in little memory. One plan
serves all tests; it is small under a sanitizer, whose build is not the one that is measured."""

import os
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from retlfs import MountTest, binary, main

with open(binary(), "rb") as program:
    INSTRUMENTED = b"__asan_init" in program.read()  # keeps freed memory on purpose
N = int(os.environ.get("RETLFS_TEST_PENDING", "30000" if INSTRUMENTED else "1000000"))
LAST = "x%09d" % N
PROCESSES = 4


class Million(MountTest):
    """Inserts x000000000 and on, and one update that stands last."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.source = cls.mount.data / "in.csv"
        cls.mount.connect("in", {"driver": "csv", "path": str(cls.source)})
        cls.source.write_text("id,v\n%s,old\n" % LAST)
        cls.made = cls.mount.sync("million").define(
            config={"source": {"connection": "in"}, "identifier": "id",
                    "destination": {"connection": "lite", "object": "million", "create": True}},
            mappings=[("id", "id"), ("v", "v")], mode="upsert")
        cls.made.run()
        cls.plan(N)
        cls.removed = 0
        cls.here = cls.made.path / "pending"

    @classmethod
    def plan(cls, rows):
        with open(cls.source, "w") as out:
            out.write("id,v\n")
            out.writelines("x%09d,value %d\n" % (i, i) for i in range(rows))
            out.write(LAST + ",new\n")
        cls.made.run("plan")

    def rss(self):
        with open("/proc/%d/status" % self.mount.process.pid) as text:
            return next(int(line.split()[1]) for line in text if line.startswith("VmRSS")) / 1024

    def is_flat(self, before, limit):
        grown = self.rss() - before
        print("the daemon grew by %.1f MiB" % grown, flush=True)
        if not INSTRUMENTED:
            self.assertLess(grown, limit)

    def timed(self, what, command):
        start = time.monotonic()
        done = subprocess.run(["bash", "-c", command], cwd=self.here, text=True, capture_output=True)
        print("%-32s %8.3f s" % (what, time.monotonic() - start), flush=True)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        return done.stdout

    def test_commands(self):
        before = self.rss()
        self.assertEqual(self.timed("ls pending/update | head", "ls update | head"), LAST + "\n")
        self.assertIn('"new"', self.timed("cat pending/update/LAST", "cat update/" + LAST))
        self.assertEqual(self.timed("ls -f pending/insert | head", "ls -f insert | head -5 | wc -l"), "5\n")
        count = lambda: int(self.timed("ls -f pending/insert | wc -l", "ls -f insert | wc -l")) - 2
        self.assertEqual(count(), N - self.removed)
        self.assertIn('"value 777"', self.timed("cat pending/insert/x000000777", "cat insert/x000000777"))
        self.timed("stat of 1000 rows", "ls -f insert | tail -1000 | sed s,^,insert/, | xargs stat > /dev/null")
        self.timed("rm of 100 rows", "rm insert/x0000001[0-9][0-9]")
        type(self).removed += 100
        self.assertEqual(count(), N - self.removed)
        self.is_flat(before, 64)

    def look_up(self, numbers):
        """In several processes, each from its own place on."""
        folder = os.open(self.here / "insert", os.O_RDONLY | os.O_DIRECTORY)
        children = []
        for part in range(PROCESSES):
            pid = os.fork()
            if pid == 0:
                try:
                    share = len(numbers) // PROCESSES
                    for i in numbers[part * share:(part + 1) * share]:
                        os.stat("x%09d" % i, dir_fd=folder)
                    os._exit(0)
                finally:
                    os._exit(1)
            children.append(pid)
        codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children]
        os.close(folder)
        self.assertEqual(codes, [0] * PROCESSES)

    def test_look_ups(self):
        """The kernel asks for each of a million names, and forgets it; so do we."""
        start = time.monotonic()
        rows = range(200, N)
        self.look_up(rows[:40000])  # more than are kept
        before = self.rss()
        self.look_up(rows)
        print("look-ups of %d rows: %.1f s" % (N + 40000, time.monotonic() - start), flush=True)
        self.is_flat(before, 12)

    def test_replaced_meanwhile(self):
        """Who lists a plan when the next one is made goes on with the one it began."""
        with os.scandir(self.here / "insert") as names:
            seen = [next(names).name for _ in range(3000)]
            self.plan(50)
            type(self).removed = 0
            self.assertEqual(len(os.listdir(self.here / "insert")), 50)
            seen += [entry.name for entry in names]
        self.assertEqual(seen, sorted(set(seen)))
        self.assertGreaterEqual(len(seen), N - 100)
        self.assertEqual(seen[-1], "x%09d" % (N - 1))
        self.assertEqual(len(os.listdir(self.here / "insert")), 50)
        self.plan(N)


if __name__ == "__main__":
    main()
