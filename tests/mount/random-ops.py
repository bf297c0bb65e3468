#!/usr/bin/env python3
"""Random operations by many processes on plain files, each compared with a model in memory: bytes,
sizes, names, errno. Then what no model shows: unlinked files that are still open, a daemon that
is killed, memory that stays flat over many look-ups, and stress-ng where it is installed."""

import errno
import mmap
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from forked import forked, seed
from retlfs import Mount, MountTest, main

PROCESSES, STEPS = 6, int(os.environ.get("RETLFS_TEST_STEPS", "700"))
NAMES = ["a", "b", "file with spaces", "ü", "d", "e", "-dash", "n" * 255]
SIZE = 200000


class Model:
    """One process in a directory of its own. Files are bytearrays, directories dicts, links str."""

    def __init__(self, top, seed):
        self.random, self.top, self.root = random.Random(seed), top, {}
        self.trail = []

    def pick(self):
        """A directory of the model and its path, never deeper than three."""
        where, path = self.root, self.top
        while self.random.random() < 0.4:
            below = [n for n, v in where.items() if isinstance(v, dict)]
            if not below or path.count("/") - self.top.count("/") > 2:
                break
            name = self.random.choice(below)
            where, path = where[name], path + "/" + name
        return where, path

    def entry(self):
        where, path = self.pick()
        name = self.random.choice(NAMES)
        return where, name, path + "/" + name, where.get(name)

    def attempt(self, what, want, *args, **more):
        """Does it and insists on the errno; True when it went well."""
        try:
            got = what(*args, **more)
            if isinstance(got, int) and what is os.open:
                os.close(got)
            number = 0
        except OSError as e:
            number = e.errno
        assert number in want, "%s%r: errno %s, not %s" % (what.__name__, args, errno.errorcode.get(number, number), want)
        return number == 0

    def bytes(self):
        return self.random.randbytes(self.random.choice((0, 1, 7, 100, 4095, 4096, 4097, 20000)))

    def file(self):
        """A file that exists, or None."""
        where, name, path, value = self.entry()
        return (path, value) if isinstance(value, bytearray) else (path, None)

    # -- operations: their names are drawn --

    def op_create(self):
        where, name, path, value = self.entry()
        if isinstance(value, (str, dict)):
            return
        want = {errno.EEXIST} if value is not None else {0}
        if self.attempt(os.open, want, path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600):
            where[name] = bytearray()

    def op_replace(self):
        where, name, path, value = self.entry()
        if isinstance(value, (str, dict)):
            return
        data = self.bytes()
        with open(path, "wb") as out:
            out.write(data)
        where[name] = bytearray(data)

    def op_pwrite(self):
        path, value = self.file()
        if value is None:
            return
        fd = os.open(path, os.O_RDWR)
        for _ in range(self.random.randrange(1, 4)):
            at, data = self.random.randrange(SIZE), self.bytes()
            assert os.pwrite(fd, data, at) == len(data)
            if data and len(value) < at:
                value.extend(bytes(at - len(value)))
            value[at:at + len(data)] = data
            assert os.pread(fd, len(data) + 10, at) == bytes(value[at:at + len(data) + 10])
        if self.random.random() < 0.3:
            os.fsync(fd)
        if self.random.random() < 0.3:
            self.cut(fd, value)
        os.close(fd)

    def cut(self, target, value):
        size = self.random.choice((0, 1, 4096, len(value), self.random.randrange(SIZE)))
        os.truncate(target, size)
        del value[size:]
        value.extend(bytes(size - len(value)))

    def op_append(self):
        path, value = self.file()
        if value is not None and len(value) < 4 * SIZE:
            data = self.bytes()
            with open(path, "ab") as out:
                out.write(data)
            value.extend(data)

    def op_truncate(self):
        path, value = self.file()
        if value is not None:
            self.cut(path, value)

    def op_read(self):
        path, value = self.file()
        if value is not None:
            with open(path, "rb") as file:
                data = file.read()
            assert data == value, "%s: %d bytes, not the %d expected" % (path, len(data), len(value))

    def op_mmap(self):
        path, value = self.file()
        if value:
            with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as view:
                assert view[:] == bytes(value), path + " by mmap"

    def op_stat(self):
        _, _, path, value = self.entry()
        if value is None:
            return self.attempt(os.lstat, {errno.ENOENT}, path)
        st = os.lstat(path)
        assert isinstance(value, dict) or st.st_size == len(value if isinstance(value, bytearray) else value.encode())

    def op_list(self):
        where, path = self.pick()
        assert sorted(os.listdir(path)) == sorted(where), path

    def op_unlink(self):
        where, name, path, value = self.entry()
        want = {errno.ENOENT} if value is None else {errno.EISDIR, errno.EPERM} if isinstance(value, dict) else {0}
        if self.attempt(os.unlink, want, path):
            del where[name]

    def op_mkdir(self):
        where, name, path, value = self.entry()
        if self.attempt(os.mkdir, {errno.EEXIST} if value is not None else {0}, path):
            where[name] = {}

    def op_rmdir(self):
        where, name, path, value = self.entry()
        want = ({errno.ENOENT} if value is None else {errno.ENOTDIR} if not isinstance(value, dict)
                else {errno.ENOTEMPTY} if value else {0})
        if self.attempt(os.rmdir, want, path):
            del where[name]

    def op_symlink(self):
        where, name, path, value = self.entry()
        if self.attempt(os.symlink, {errno.EEXIST} if value is not None else {0}, "to/ü", path):
            where[name] = "to/ü"
            assert os.readlink(path) == "to/ü"

    def op_rename(self):
        where, name, path, value = self.entry()
        there, new_name, new_path, old = self.entry()
        if (new_path + "/").startswith(path + "/") or (path + "/").startswith(new_path + "/"):
            return
        if value is None:
            want = {errno.ENOENT}
        elif old is None:
            want = {0}
        elif isinstance(value, dict):
            want = {errno.ENOTDIR} if not isinstance(old, dict) else {errno.ENOTEMPTY, errno.EEXIST} if old else {0}
        else:
            want = {errno.EISDIR} if isinstance(old, dict) else {0}
        if self.attempt(os.rename, want, path, new_path):
            there[new_name] = where.pop(name)

    def same(self, where, path):
        assert sorted(os.listdir(path)) == sorted(where), path
        for name, value in where.items():
            if isinstance(value, dict):
                self.same(value, path + "/" + name)
            elif isinstance(value, str):
                assert os.readlink(path + "/" + name) == value
            else:
                with open(path + "/" + name, "rb") as file:
                    assert file.read() == value, path + "/" + name

    def go(self):
        doing = [getattr(self, n) for n in sorted(dir(self)) if n.startswith("op_")]
        for _ in range(STEPS):
            what = self.random.choice(doing)
            self.trail = self.trail[-20:] + [what.__name__]
            what()
        self.same(self.root, self.top)


class RandomOps(MountTest):
    def setUp(self):
        super().setUp()
        self.made = self.mount.sync(self.name).define()
        self.path = str(self.made.path)

    def test_against_a_model(self):
        number, models = seed(), []
        for i in range(PROCESSES):
            os.mkdir("%s/p%d" % (self.path, i))
            models.append(Model("%s/p%d" % (self.path, i), number + i))
        codes = forked(models)
        self.assertEqual(codes, [0] * PROCESSES)
        # All of it lasts: what a process wrote is there after a restart.
        digest = lambda: subprocess.run("find . -type f -print0 | sort -z | xargs -0 md5sum; find . | sort", shell=True,
                                        cwd=self.path, capture_output=True, check=True).stdout
        before = digest()
        self.mount.stop()
        self.mount.start()
        self.assertEqual(digest(), before)
        shutil.rmtree(self.path)

    def test_unlinked_while_open(self):
        path = self.path + "/gone"
        with open(path, "w+b", buffering=0) as file:
            file.write(b"one")
            os.unlink(path)
            file.write(b"two")
            self.assertEqual(os.pread(file.fileno(), 99, 0), b"onetwo")
            self.assertEqual(os.fstat(file.fileno()).st_size, 6)
            os.ftruncate(file.fileno(), 2)
            self.assertFalse(os.path.lexists(path))
            with open(path, "xb") as other:
                other.write(b"another")
            self.assertEqual(os.pread(file.fileno(), 99, 0), b"on")
        with open(path, "rb") as other:
            self.assertEqual(other.read(), b"another")
        with open(path, "rb") as file:
            with open(path + ".new", "wb") as new:
                new.write(b"newer")
            os.replace(path + ".new", path)
            self.assertEqual(file.read(), b"another")
        self.assertEqual([n for n in os.listdir(self.path) if "fuse_hidden" in n], [])

    def test_stress_ng(self):
        if not shutil.which("stress-ng"):
            self.skipTest("no stress-ng")
        for kind, count in ("rename", 2000), ("dentry", 600), ("symlink", 200), ("dir", 400), ("seek", 500):
            with self.subTest(stressor=kind):
                done = subprocess.run(
                    ["stress-ng", "--" + kind, "2", "--%s-ops" % kind, str(count), "--timeout", "10", "--temp-path", self.path],
                    capture_output=True, text=True)
                self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
                self.assertNotRegex(done.stdout + done.stderr, "fail:")


class Memory(unittest.TestCase):
    def setUp(self):
        # Freed memory that the sanitizer keeps back to catch late uses is no growth.
        options = os.environ.get("ASAN_OPTIONS", "") + ":quarantine_size_mb=1:thread_local_quarantine_size_kb=64"
        self.mount = Mount(env={"ASAN_OPTIONS": options.lstrip(":")})
        self.addCleanup(self.mount.close)
        self.path = str(self.mount.sync("flat").define().path)

    def memory(self):
        with open("/proc/%d/status" % self.mount.process.pid) as file:
            return int(re.search(r"VmRSS:\s+(\d+)", file.read()).group(1))

    def test_memory_is_flat(self):
        """Look-ups of names that are there, that are not, and of files that come and go."""
        def round_of(count):
            for i in range(count):
                for name in "status", "trigger", "nothing-%d" % i, "runs", "config.json":
                    try:
                        os.stat(self.path + "/" + name)
                    except FileNotFoundError:
                        pass
                if i % 20 == 0:
                    with open(self.path + "/t", "w") as file:
                        file.write("x" * 1000)
                    os.rename(self.path + "/t", self.path + "/u")
                    os.unlink(self.path + "/u")

        round_of(4000)  # 20,000 look-ups: caches, the sanitizer's quarantine
        before = self.memory()
        round_of(16000)
        self.assertLess(self.memory() - before, 24 * 1024, "KiB of growth over 80,000 look-ups")


class Killed(unittest.TestCase):
    def test_files_in_hand(self):
        """Whoever holds a file of a dead daemon is told so at once; a new one takes the place."""
        mount = Mount(expect="^retlfs: warning:")
        self.addCleanup(mount.close)
        made = mount.sync("held").define(mode=None)
        made.write("notes", "kept\n")
        held = os.open(made.path / "notes", os.O_RDWR)
        tail = subprocess.Popen(["tail", "-F", str(made.path / "log")], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            mount.kill()
            for what in (lambda: os.write(held, b"x"), lambda: os.stat(mount.point), lambda: os.listdir(mount.point / "syncs"),
                         lambda: os.fsync(held)):
                with self.assertRaises(OSError) as caught:
                    what()
                self.assertIn(caught.exception.errno, (errno.ENOTCONN, errno.ECONNABORTED))
            mount.start()
            self.assertEqual(made.read("notes"), "kept\n")
            with self.assertRaises(OSError):
                os.write(held, b"x")
        finally:
            try:
                os.close(held)
            except OSError:
                pass  # close tells of the dead daemon, too
            tail.kill()
            tail.wait()


main()
