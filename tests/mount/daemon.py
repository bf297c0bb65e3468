#!/usr/bin/env python3
"""The daemon as a program: start-up errors, background, fstab style, unmount, two daemons on one
state, kill -9, what survives a restart; and `retlfs check`."""

import contextlib
import errno
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from retlfs import Mount, Sqlite, StartError, binary, main, unmount_quietly, wait_for


def sandbox():
    """Some tools run the daemon as another user, who must be able to reach the binary."""
    return Path(tempfile.mkdtemp(prefix="retlfs-test."))


def simple(mount, name="people", rows="id,v\n1,a\n2,b\n"):
    """A sync from a CSV file to SQLite."""
    path = mount.data / (name + ".csv")
    path.write_text(rows)
    dest = Sqlite(mount.data / "dest.db")
    mount.connect(name, {"driver": "csv", "path": str(path)})
    mount.connect("lite", dest.connection)
    sync = mount.sync(name).define(
        config={"source": {"connection": name}, "identifier": "id",
                "destination": {"connection": "lite", "object": name, "create": True}},
        mappings=[("id", "id"), ("v", "v")], mode="mirror")
    return sync, path, dest


class Start(unittest.TestCase):
    def setUp(self):
        self.dir = sandbox()
        self.addCleanup(shutil.rmtree, self.dir, ignore_errors=True)
        self.point, self.state = self.dir / "mnt", self.dir / "state"
        self.point.mkdir()
        self.addCleanup(unmount_quietly, self.point)

    def retlfs(self, *args, **kwargs):
        return subprocess.run([binary(), *map(str, args)], text=True, capture_output=True,
                              stdin=subprocess.DEVNULL, timeout=60, **kwargs)

    def refuses(self, words, *args, **kwargs):
        done = self.retlfs(*args, **kwargs)
        self.assertNotEqual(done.returncode, 0)
        self.assertRegex(done.stderr, words)
        self.assertLessEqual(len(done.stderr.splitlines()), 3, done.stderr)
        self.assertFalse(os.path.ismount(self.point))

    def test_usage(self):
        done = self.retlfs("--help")
        self.assertEqual(done.returncode, 0)
        self.assertIn("state=", done.stdout)
        done = self.retlfs("--version")
        self.assertEqual(done.returncode, 0)
        self.assertRegex(done.stdout, r"retlfs \d+\.\d+")
        self.refuses("(?i)usage|--help")

    def test_start_up_errors(self):
        state = ("-o", "state=%s" % self.state)
        self.refuses("nowhere", *state, self.dir / "nowhere")
        (self.dir / "file").write_text("")
        self.refuses("(?i)directory", *state, self.dir / "file")
        self.refuses("bogus_option", "-o", "bogus_option=1,state=%s" % self.state, self.point)
        (self.dir / "plain").write_text("not a directory")
        self.refuses("plain", "-f", "-o", "state=%s" % (self.dir / "plain"), self.point)

    def test_state_of_a_newer_version(self):
        mount = Mount()
        self.addCleanup(mount.close)
        simple(mount)
        mount.stop()
        catalogue = [p for p in mount.state.rglob("*")
                     if p.is_file() and p.read_bytes()[:15] == b"SQLite format 3"]
        self.assertTrue(catalogue)
        Sqlite(catalogue[0]).sql("PRAGMA user_version = 2000000000")
        with self.assertRaises(StartError) as caught:
            mount.start()
        self.assertRegex(caught.exception.stderr, "newer|version")

    def test_state_locked(self):
        mount = Mount()
        self.addCleanup(mount.close)
        self.refuses("(?i)lock|in use|another", "-f", "-o", "state=%s" % mount.state, self.point)
        self.refuses("(?i)lock|in use|another", "-o", "state=%s" % mount.state, self.point)
        self.assertTrue((mount.point / "README").exists())

    def test_mount_point_busy(self):
        mount = Mount()
        self.addCleanup(mount.close)
        done = self.retlfs("-f", "-o", "state=%s" % self.state, mount.point)
        self.assertNotEqual(done.returncode, 0)
        self.assertRegex(done.stderr, "(?i)busy|mounted|already")

    def test_background_and_fusermount(self):
        done = self.retlfs("-o", "state=%s" % self.state, self.point)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        # It is there when the command returns.
        self.assertTrue(os.path.ismount(self.point))
        self.assertIn("syncs", os.listdir(self.point))
        with open("/proc/mounts") as mounts:
            line = [m for m in mounts if str(self.point) in m][0]
        self.assertIn("fuse.retlfs", line)
        os.mkdir(self.point / "syncs/kept")
        subprocess.run(["fusermount3", "-u", str(self.point)], check=True)
        wait_for("the lock to be free", lambda: self.retlfs("-o", "state=%s" % self.state, self.point).returncode == 0)
        self.assertIn("kept", os.listdir(self.point / "syncs"))
        subprocess.run(["fusermount3", "-u", str(self.point)], check=True)

    def test_default_state(self):
        env = {**os.environ, "XDG_STATE_HOME": str(self.dir / "xdg"), "HOME": str(self.dir)}
        if os.getuid() == 0:
            self.skipTest("root's default is /var/lib/retlfs, which may be in use")
        done = self.retlfs(self.point, env=env)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertTrue((self.dir / "xdg/retlfs").is_dir())

    def test_fstab_style(self):
        if os.getuid() != 0:
            self.skipTest("mount(8) needs root")
        if not shutil.which("mount.fuse3") and not shutil.which("mount.fuse"):
            self.skipTest("no mount.fuse3 on this machine")
        # mount.fuse3 finds the program by its name in the PATH that mount(8) passes on.
        link = Path("/usr/local/bin/retlfs")
        if link.exists() or link.is_symlink():
            self.skipTest("%s is there already" % link)
        link.symlink_to(os.path.abspath(binary()))
        self.addCleanup(link.unlink)
        done = subprocess.run(
            ["mount", "-t", "fuse.retlfs", "-o", "rw,noatime,state=%s" % self.state, "warehouse", str(self.point)],
            text=True, capture_output=True, stdin=subprocess.DEVNULL, timeout=60)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertTrue((self.point / "README").exists())
        with open("/proc/mounts") as mounts:
            self.assertTrue(any(m.startswith("warehouse %s fuse.retlfs" % self.point) for m in mounts))
        subprocess.run(["umount", str(self.point)], check=True)

    def test_read_only(self):
        mount = Mount(options=["ro"])
        self.addCleanup(mount.close)
        with self.assertRaises(OSError) as caught:
            os.mkdir(mount.point / "syncs/x")
        self.assertEqual(caught.exception.errno, errno.EROFS)
        self.assertTrue(mount.read("README"))

    def test_another_user(self):
        if os.getuid() != 0:
            self.skipTest("needs root to become another user")
        mount = Mount(options=["allow_other"])
        self.addCleanup(mount.close)
        sync, _, _ = simple(mount)
        stranger = subprocess.run(
            ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "bash", "-c",
             "cat '%s/status' >/dev/null || exit 9; echo run > '%s/trigger'" % (sync.path, sync.path)],
            text=True, capture_output=True)
        self.assertEqual(stranger.returncode, 1)
        self.assertIn("denied", stranger.stderr)
        os.chown(sync.path, 65534, 65534)
        owner = subprocess.run(
            ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "bash", "-c",
             "echo run > '%s/trigger'" % sync.path], text=True, capture_output=True)
        self.assertEqual((owner.returncode, owner.stderr), (0, ""))

    def test_sigterm(self):
        mount = Mount()
        self.addCleanup(mount.close)
        process, mount.process = mount.process, None
        process.send_signal(signal.SIGTERM)
        self.assertEqual(process.wait(timeout=60), 0)
        self.assertFalse(os.path.ismount(mount.point))
        mount.check_stderr()

    def test_sigterm_while_in_use(self):
        """What others hold open gets ENOTCONN, and the daemon gives everything back (ASan looks)."""
        mount = Mount()
        self.addCleanup(mount.close)
        held = [os.open(mount.path("README"), os.O_RDONLY), os.open(mount.point, os.O_DIRECTORY)]
        self.assertIn("README", os.listdir(held[1]))
        process, mount.process = mount.process, None
        process.send_signal(signal.SIGTERM)
        self.assertEqual(process.wait(timeout=60), 0)
        for fd in held:
            with self.assertRaises(OSError) as caught:
                os.fstat(fd)
            self.assertEqual(caught.exception.errno, errno.ENOTCONN)
            with contextlib.suppress(OSError):
                os.close(fd)
        mount.check_stderr()


class Restart(unittest.TestCase):
    def setUp(self):
        self.mount = Mount()
        self.addCleanup(self.mount.close)

    def test_everything_survives(self):
        sync, path, _ = simple(self.mount)
        sync.run()
        os.chmod(sync.path / "config.json", 0o600)
        os.utime(sync.path / "mode", ns=(10**18, 10**18 + 7))
        with self.assertRaises(OSError):
            sync.write("mode", "bogus\n")
        (sync.path / "notes.txt").write_text("mine\n")
        (sync.path / ".hidden").write_text("")
        self.mount.connect("broken_later", {"driver": "csv", "path": "/nowhere.csv"})
        before = self.snapshot()
        self.mount.stop()
        self.mount.start()
        after = self.snapshot()
        self.assertEqual({k for k in before.keys() | after.keys() if before.get(k) != after.get(k)}, set())
        os.unlink(sync.path / "mode.rej")
        path.write_text("id,v\n1,a\n3,c\n")
        sync.run()
        self.assertEqual([c["op"] for c in sync.changes()], ["delete", "insert"])

    def snapshot(self):
        tree = {}
        for top, _, files in os.walk(self.mount.point):
            for name in files:
                path = Path(top) / name
                info = path.stat()
                tree[str(path)] = (path.read_bytes(), info.st_size, stat.S_IMODE(info.st_mode))
                if name in ("config.json", "mappings.csv", "mode", "notes.txt", ".hidden", "lite.json"):
                    # The user's own: git and rsync look at these.
                    tree[str(path)] += (info.st_mtime_ns, info.st_ino)
        return tree

    def test_kill_and_mount_again(self):
        sync, path, dest = simple(self.mount)
        sync.run()
        sync.define(mode="upsert")
        unclosed = os.open(sync.path / "config.json", os.O_WRONLY | os.O_TRUNC)
        os.write(unclosed, b'{"half": ')
        self.mount.kill()
        with self.assertRaises(OSError) as caught:
            os.listdir(self.mount.point)
        self.assertEqual(caught.exception.errno, errno.ENOTCONN)
        # No fusermount by hand: a new daemon clears the dead mount point.
        self.mount.start()
        self.expect_lost(unclosed)
        self.assertIn('"source"', sync.read("config.json"))
        self.assertEqual(sync.read("mode"), "upsert\n")
        path.write_text("id,v\n1,A\n2,b\n")
        sync.run()
        self.assertEqual(len(sync.changes()), 1)
        self.assertEqual(dest.sql("SELECT * FROM people ORDER BY id"), [["1", "A"], ["2", "b"]])

    def expect_lost(self, fd):
        """Whoever had a file open when the daemon died is told so."""
        with self.assertRaises(OSError):
            os.close(fd)

    def test_removed_and_made_again(self):
        # The same name with the same identifier and destination picks its state up again.
        sync, path, _ = simple(self.mount)
        sync.run()
        keep = {n: sync.read(n) for n in ("config.json", "mappings.csv", "mode")}
        shutil.rmtree(sync.path)
        self.assertNotIn("people", os.listdir(self.mount.point / "syncs"))
        os.mkdir(sync.path)
        for name, text in keep.items():
            sync.write(name, text)
        path.write_text("id,v\n1,a\n2,B\n")
        sync.run()
        self.assertEqual([c["op"] for c in sync.changes()], ["update"])
        # A rename takes it along.
        os.rename(sync.path, self.mount.point / "syncs/folk")
        folk = self.mount.sync("folk")
        folk.run()
        self.assertEqual(folk.changes(), [])
        self.assertGreater(folk.last_run(), 1)

    def test_trees(self):
        sync, _, _ = simple(self.mount)
        point, data = self.mount.point, self.mount.data
        run = lambda *a: subprocess.run(a, text=True, capture_output=True)
        example = data / "example"
        example.mkdir()
        for name in "config.json", "mappings.csv", "mode":
            (example / name).write_text(sync.read(name))
        for copy in (["cp", "-r", example, point / "syncs/by_cp"],
                     ["cp", "-a", example, point / "syncs/by_cp_a"],
                     ["rsync", "-a", "--exclude=nothing", str(example) + "/", point / "syncs/by_rsync"],
                     ["bash", "-c", "mkdir '%s' && tar -C '%s' -cf - . | tar -C '%s' -xf -" % (
                         point / "syncs/by_tar", example, point / "syncs/by_tar")],
                     ["bash", "-c", "cd '%s' && git init -q . && git add . && git -c user.name=t -c user.email=t@t commit -qm t"
                      " && mkdir '%s' && git --work-tree='%s' checkout -f HEAD -- ." % (
                          example, point / "syncs/by_git", point / "syncs/by_git")]):
            name = Path(str(copy[-1]).split("'")[-2] if copy[0] == "bash" else copy[-1]).name
            with self.subTest(name=name):
                if not shutil.which("git" if name == "by_git" else copy[0]):
                    self.skipTest("no " + copy[0])
                done = run(*map(str, copy))
                self.assertEqual((done.returncode, done.stderr), (0, ""))
                made = self.mount.sync(name)
                self.assertEqual(made.state(), "ready", made.read("status"))
                made.run()
                removed = run("rm", "-r", str(made.path))
                self.assertEqual((removed.returncode, removed.stderr), (0, ""))
                self.assertFalse(made.path.exists())
        done = run("cp", "-r", str(sync.path), str(point / "syncs/copy"))
        self.assertTrue(all("File exists" in line for line in done.stderr.splitlines()), done.stderr)
        self.assertEqual(self.mount.sync("copy").state(), "ready", done.stderr)
        for remove in ["find", point / "syncs/copy", "-delete"], ["rm", "-rf", point / "syncs/copy2"]:
            self.assertEqual(run(*map(str, remove)).stderr, "")
        self.assertEqual(sorted(os.listdir(point / "syncs")), ["people"])

    def test_status_of_all(self):
        sync, _, _ = simple(self.mount)
        sync.run()
        os.mkdir(self.mount.point / "syncs/draft")
        lines = self.mount.read("status").splitlines()
        self.assertTrue(any("people" in l and "mirror" in l and "ready" in l for l in lines), lines)
        self.assertTrue(any("draft" in l for l in lines), lines)
        with self.assertRaises(OSError):
            sync.write("mode", "bogus\n")
        self.assertIn("bogus", self.mount.read("error_log"))
        self.mount.write("error_log", "\n")
        self.assertEqual(self.mount.read("error_log"), "")

    def test_drivers(self):
        for name in os.listdir(self.mount.point / "drivers"):
            driver = self.mount.point / "drivers" / name
            if name == "connector.schema.json":
                self.assertIn("$schema", json.loads(driver.read_text()))
                continue
            self.assertGreater(len((driver / "README").read_text()), 200)
            schema = json.loads((driver / "options.json").read_text())
            self.assertIn("$schema", schema)
            modes = [m for m in (driver / "modes").read_text().splitlines() if not m.startswith("#")]
            self.assertEqual(set(modes) - {"upsert", "insert", "update", "mirror", "full", "add", "remove"}, set())
        sync, _, _ = simple(self.mount)
        self.assertIn("[mirror]", sync.read("modes"))

    def test_a_mode_the_driver_cannot_do(self):
        # csv is no destination at all: the sync is not ready, and says so.
        sync, path, _ = simple(self.mount)
        config = {"source": {"connection": "people"}, "identifier": "id", "destination": {"connection": "people"}}
        with self.assertRaises(OSError):
            sync.write("config.json", json.dumps(config) + "\n")
            if sync.state() == "draft":
                raise OSError
        self.assertIn("people", sync.read("status") + sync.read("error"))


class Check(unittest.TestCase):
    """retlfs check DIR: for a git hook."""

    def setUp(self):
        self.dir = sandbox()
        self.addCleanup(shutil.rmtree, self.dir, ignore_errors=True)
        for name, text in {
            "connections/shop.json": '{"driver": "postgres", "dsn": "host=x dbname=shop"}\n',
            "connections/crm.json": '{"driver": "sqlite", "path": "/srv/crm.db"}\n',
            "syncs/people/config.json": '{"source": {"connection": "shop", "table": "t"},\n'
            ' "destination": {"connection": "crm", "object": "people"}, "identifier": "id"}\n',
            "syncs/people/mappings.csv": "column,field\nid,id\nemail,email\n",
            "syncs/people/mode": "upsert\n",
            "README.md": "ours\n",
        }.items():
            self.put(name, text)

    def put(self, name, text):
        path = self.dir / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def check(self):
        done = subprocess.run([binary(), "check", str(self.dir)], text=True, capture_output=True, timeout=60)
        return done.returncode, done.stdout + done.stderr

    def test_good(self):
        code, said = self.check()
        self.assertEqual(code, 0, said)
        self.assertNotIn("error", said)

    def test_faults(self):
        for name, text, words in [
            ("syncs/people/mode", "upsret\n", r"syncs/people/mode:1(:\d+)?: error: .*upsret"),
            ("syncs/people/config.json", '{"source": {"connection": "shop", "tabel": "t"}}\n',
             r"syncs/people/config.json:1:\d+: error: .*tabel"),
            ("syncs/people/mappings.csv", "column,field\nid,id\nemail,id\n", r"syncs/people/mappings.csv:3(:\d+)?: error: "),
            ("connections/crm.json", '{"driver": "sqlite"}\n', r"connections/crm.json(:\d+)*: error: .*path"),
            ("connections/shop.json", '{"driver": "postgres", "dsn": "host=x", "password": "p"}\n',
             r"connections/shop.json:1:\d+: error: .*password"),
            ("syncs/people/mappings.csv", "column,field\nemail,email\n", r"syncs/people/.*error: .*id"),
        ]:
            with self.subTest(name=name, text=text):
                keep = (self.dir / name).read_text()
                self.put(name, text)
                code, said = self.check()
                self.put(name, keep)
                self.assertNotEqual(code, 0)
                self.assertRegex(said, words)

    def test_missing(self):
        (self.dir / "connections/crm.json").unlink()
        (self.dir / "syncs/people/mode").unlink()
        code, said = self.check()
        self.assertNotEqual(code, 0)
        self.assertIn("crm", said)
        self.assertIn("mode", said)
        code = subprocess.run([binary(), "check", str(self.dir / "nowhere")], capture_output=True).returncode
        self.assertNotEqual(code, 0)


if __name__ == "__main__":
    main()
