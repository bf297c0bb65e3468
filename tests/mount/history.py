#!/usr/bin/env python3
"""history/ of a sync: every text of its files that was accepted or refused, and undo by cp."""

import errno
import os
import shutil
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from retlfs import MountTest, main

FIRST = '{"source": {"connection": "lite", "table": "a"}, "destination": {"connection": "lite", "object": "b"}}\n'
BAD = '{"source": {"connection": "lite" "table": "a"}}\n'


class History(MountTest):
    def names(self, file):
        return sorted(os.listdir(self.made.path / "history" / file))

    def test_texts(self):
        self.made = sync = self.sync()
        history = sync.path / "history"
        self.assertEqual(os.listdir(history), [])
        self.assertIn("history", os.listdir(sync.path))
        sync.write("config.json", FIRST)
        self.assertEqual(os.listdir(history), ["config.json"])
        self.expect_errno(errno.ENOENT, os.stat, history / "mode")
        self.expect_errno(errno.EINVAL, sync.write, "config.json", BAD)
        second = FIRST.replace('"b"', '"c"')
        sync.write("config.json", second)
        sync.write("mode", "upsert\n")
        self.assertEqual(sorted(os.listdir(history)), ["config.json", "mode"])
        self.assertEqual(self.names("config.json"), ["000001", "000002.rej", "000003"])
        for name, text in (("000001", FIRST), ("000002.rej", BAD), ("000003", second)):
            path = history / "config.json" / name
            self.assertEqual(path.read_text(), text)
            self.assertEqual(path.stat().st_size, len(text))
            self.assertFalse(path.stat().st_mode & 0o222)
            self.expect_errno(errno.EACCES, open, path, "a")
            self.expect_errno(errno.EPERM, os.unlink, path)
        times = [os.stat(history / "config.json" / n).st_mtime_ns for n in self.names("config.json")]
        self.assertEqual(times, sorted(times))
        self.assertEqual(len(set(times)), 3)
        for name in ("1", "000002", "000001.rej", "0000001", "000004", "x", "000000"):
            self.expect_errno(errno.ENOENT, os.stat, history / "config.json" / name)
        inodes = {os.stat(history / f / n).st_ino for f in os.listdir(history) for n in self.names(f)}
        self.assertEqual(len(inodes), 4)
        self.expect_errno(errno.EPERM, os.rmdir, history / "mode")
        self.expect_errno(errno.EPERM, (history / "config.json" / "new").touch)
        # The undo.
        subprocess.run(["cp", "history/config.json/000001", "config.json"], cwd=sync.path, check=True)
        self.assertEqual(sync.read("config.json"), FIRST)
        self.assertEqual(self.names("config.json")[-1], "000004")
        self.mount.stop()
        self.mount.start()
        self.assertEqual((history / "config.json/000002.rej").read_text(), BAD)
        shutil.rmtree(sync.path)
        self.assertFalse(sync.path.exists())


if __name__ == "__main__":
    main()
