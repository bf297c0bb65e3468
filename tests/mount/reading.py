#!/usr/bin/env python3
"""Whoever reads the tree gets whole and exact bytes: sizes as told, every common tool, nothing that
blocks, also while runs go on."""

import hashlib
import os
import shutil
import subprocess
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from retlfs import MountTest, main, wait_for

TOOLS = {
    "cat": "cat {f}",
    "cat on stdin": "cat < {f}",
    "cp": "cp {f} {t}; cat {t}",
    "cp --reflink": "cp --reflink=auto {f} {t}; cat {t}",
    "rsync": "rsync {f} {t}; cat {t}",
    "tar": "tar -C $(dirname {f}) -cf - $(basename {f}) | tar -xOf -",
    # Every read(2) is a request: odd pieces, not the smallest ones of what is large.
    "dd": "dd if={f} bs=$(($(stat -c %s {f}) > 50000 ? 997 : 7)) status=none",
    "dd bs=1M": "dd if={f} bs=1M status=none",
    "head": "head -c 100000000 {f}",
    "tail": "tail -c +1 {f}",
    "tail -n": "tail -n +1 {f}",
    "tac": "tac {f} | tac",
    "sed": "sed -n p {f}",
    "awk": "awk 1 {f}",
    "grep": "grep '' {f}",
    "sort": "sort {f} -o {t}; cat {f}",
    "gzip": "gzip -c {f} | gzip -dc",
    "split": "split -b 1000 {f} {t}.; cat {t}.*",
    "mmap": "python3 -c 'import mmap,sys;f=open(sys.argv[1],\"rb\");"
            "sys.stdout.buffer.write(mmap.mmap(f.fileno(),0,prot=mmap.PROT_READ)[:])' {f}",
    "sendfile": "python3 -c 'import shutil,sys;shutil.copyfile(sys.argv[1],sys.argv[2])' {f} {t}; cat {t}",
    "git hash-object": "test $(git hash-object {f}) = $(cat {f} | git hash-object --stdin) && cat {f}",
    "wc": "test $(wc -c < {f}) = $(cat {f} | wc -c) && cat {f}",
    "ed": "printf ',p\\nq\\n' | ed -s {f}",
    "vim": "vim -es -N -u NONE -R -c 'w! {t}' -c 'q!' {f} < /dev/null; cat {t}",
    "perl": "perl -pe 1 {f}",
    "xxd": "od -An -v -tx1 {f} | perl -ne 's/([0-9a-f]{{2}})\\s*/print chr hex $1/ge'",
}
# mmap of what may change under it is refused by the kernel on some files, never wrong.
MAY_REFUSE = {"mmap"}
MANY = 100


class Reading(MountTest):
    def setUp(self):
        super().setUp()
        self.source = self.mount.data / "in.csv"
        self.rows(range(1, 3001))
        self.mount.connect("in", {"driver": "csv", "path": str(self.source)})
        self.name = "read_" + self.name
        self.made = self.sync(
            config={"source": {"connection": "in", "types": {"id": "integer"}}, "identifier": "id", "max_deletes": "100%",
                    "destination": {"connection": "lite", "object": self.name, "create": True}},
            mappings=[("id", "id"), ("v", "v")], mode="mirror")

    def rows(self, ids, suffix=""):
        with open(self.source, "w") as out:
            out.write("id,v\n" + "".join('%d,"é ""%d"" %s"\n' % (i, i, suffix) for i in ids))

    def grown(self):
        self.made.run()
        self.rows(range(500, 4001), "x")
        self.made.run("plan")
        self.addCleanup(self.made.run)  # or the others' walks would have its rows on their way
        return self.made

    def walk(self):
        """All files, but of many rows, which are alike, some."""
        for top, _, files in os.walk(self.mount.point):
            for name in files[::max(1, len(files) // MANY)]:
                yield os.path.join(top, name)

    def test_sizes_are_exact(self):
        self.grown()
        count = 0
        for path in self.walk():
            size = os.stat(path).st_size
            with open(path, "rb") as file:
                data = file.read()
            self.assertEqual(size, len(data), path)
            # Read in odd places too: a view is not rendered from its start.
            with open(path, "rb", buffering=0) as file:
                for offset in size // 3, size // 2 + 1, max(0, size - 10):
                    file.seek(offset)
                    want = data[offset:offset + 5000]
                    got = b""
                    while len(got) < len(want):
                        part = file.read(len(want) - len(got))
                        if not part:
                            break
                        got += part
                    self.assertEqual(got, want, "%s at %d" % (path, offset))
            count += 1
        self.assertGreater(count, 30)

    def test_tools(self):
        sync = self.grown()
        copies = self.mount.data / "copies"
        copies.mkdir()
        for number, (tool, text) in enumerate(TOOLS.items()):
            program = text.split()[0]
            if tool in ("git hash-object", "vim", "ed", "rsync", "perl", "xxd") and not shutil.which(
                    {"git hash-object": "git", "xxd": "perl"}.get(tool, program)):
                continue
            for name in "status", "pending/changes.jsonl", "pending/updates.csv", "pending/diff", "log", "config.json":
                with self.subTest(tool=tool, name=name):
                    path = sync.path / name
                    done = subprocess.run(["bash", "-c", text.format(f=path, t=copies / ("%d-%s" % (
                        number, name.replace("/", "-"))))], capture_output=True, stdin=subprocess.DEVNULL)
                    if done.returncode and tool in MAY_REFUSE:
                        continue
                    self.assertEqual(hashlib.sha1(done.stdout).hexdigest(), hashlib.sha1(path.read_bytes()).hexdigest(),
                                     done.stderr.decode())

    def test_tail_follows_the_log(self):
        tail = subprocess.Popen(["tail", "-n", "+1", "-F", "log"], cwd=self.made.path, stdout=subprocess.PIPE,
                                stderr=subprocess.DEVNULL)
        seen = bytearray()
        reader = threading.Thread(target=lambda: [seen.extend(c) for c in iter(lambda: os.read(tail.stdout.fileno(), 4096), b"")])
        reader.start()
        try:
            self.made.run()
            wait_for("the run in tail -F", lambda: b"run=1" in seen)
            self.made.run()
            wait_for("the second run in tail -F", lambda: b"run=2" in seen)
        finally:
            tail.kill()
            tail.wait()
            reader.join()
            tail.stdout.close()

    def test_walkers_finish_while_runs_go_on(self):
        self.made.run()
        stop = threading.Event()

        def runs():
            n = 0
            while not stop.is_set():
                n += 1
                self.rows(range(1, 2000 + n % 50), str(n))
                self.made.trigger("run")

        runner = threading.Thread(target=runs)
        runner.start()
        try:
            for text in ("grep -r 'nothing like this' {m}", "tar -C {m} -cf {d}/all.tar .", "cp -r {m} {d}/all",
                         "find {m} -type f -exec cat {{}} + > {d}/cat", "ls -lR {m} > {d}/ls", "du -a {m} > {d}/du",
                         "diff -r {m}/syncs {m}/syncs"):
                with self.subTest(text=text):
                    done = subprocess.run(["bash", "-c", text.format(m=self.mount.point, d=self.mount.data)],
                                          capture_output=True, text=True, timeout=60)
                    # A text may change between stat and read, which tar and diff tell; never an error of reading.
                    self.assertNotRegex(done.stderr, "(?i)input/output|transport|invalid|permission")
        finally:
            stop.set()
            runner.join()

    def test_a_million_bytes_of_changes(self):
        self.rows(range(1, 60001), "some words to make it long")
        self.made.run("plan")
        path = self.made.path / "pending/changes.jsonl"
        data = path.read_bytes()
        self.assertGreater(len(data), 4_000_000)
        self.assertEqual(data.count(b"\n"), 60000)
        # A reader that came before the next plan keeps what it began to read.
        with open(path, "rb", buffering=0) as early:
            first = early.read(1000)
            self.rows(range(1, 100), "other")
            self.made.run("plan")
            rest = b"".join(iter(lambda: early.read(1 << 20), b""))
            self.assertEqual(first + rest, data)
        self.assertLess(path.stat().st_size, 20000)


if __name__ == "__main__":
    main()
