#!/usr/bin/env python3
"""Several users on one mount: who may do what, who did what, and where the limits are."""

import errno
import os
import pwd
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from retlfs import DEADLINE, MountTest, errno_name, main, skip

if os.getuid() != 0:
    skip("only root may mount for several users")
try:
    OPERATOR = pwd.getpwnam("nobody")
except KeyError:
    skip("there is no user nobody")
STRANGER = 54321  # a number is user enough


class People(MountTest):
    options = ("allow_other",)

    def make(self):
        sync = self.sync(
            config={"source": {"connection": "lite", "query": "SELECT 1 AS id"},
                    "destination": {"connection": "lite", "object": "d_" + self.name, "create": True},
                    "identifier": "id"},
            mappings=[("id", "id")], mode="upsert")
        return sync

    def as_user(self, uid, gid, code, *args):
        """Runs Python as that user; 0, or the errno of the OSError that ended it."""
        done = subprocess.run(
            [sys.executable, "-c", "import os, sys\ntry:\n os.setgroups([]); os.setgid(%d); os.setuid(%d)\n %s\n"
             "except OSError as e: sys.exit(e.errno)" % (gid, uid, code), *map(str, args)],
            capture_output=True, text=True, timeout=DEADLINE)
        self.assertEqual(done.stderr, "")
        return done.returncode

    def write(self, uid, gid, path, text):
        return self.as_user(uid, gid, "os.write(os.open(sys.argv[1], os.O_WRONLY | os.O_TRUNC), sys.argv[2].encode())",
                            path, text)

    def errno_is(self, got, want):
        self.assertEqual(errno_name(got), errno_name(want))

    def test_operators_and_maintainers(self):
        # The directory's group may pull the trigger; config.json is its owner's.
        sync = self.make()
        os.chown(sync.path, 0, OPERATOR.pw_gid)
        os.chmod(sync.path, 0o2775)
        for name in "config.json", "mappings.csv", "mode":
            os.chmod(sync.path / name, 0o644)
        for restarted in False, True:
            uid, gid = OPERATOR.pw_uid, OPERATOR.pw_gid
            self.errno_is(self.write(uid, gid, sync.path / "trigger", "run"), 0)
            self.errno_is(self.write(uid, gid, sync.path / "config.json", "{}"), errno.EACCES)
            self.errno_is(self.write(STRANGER, STRANGER, sync.path / "trigger", "run"), errno.EACCES)
            self.errno_is(self.write(STRANGER, STRANGER, sync.path / "mode", "mirror"), errno.EACCES)
            self.errno_is(self.as_user(STRANGER, STRANGER, "open(sys.argv[1]).read()", sync.path / "status"), 0)
            self.errno_is(self.as_user(STRANGER, STRANGER, "os.mkdir(sys.argv[1])", sync.path / "x"), errno.EACCES)
            if not restarted:
                self.mount.stop()
                self.mount.start()
        self.assertEqual(sync.last_run(), 2)
        self.assertRegex(sync.read("log"), r"run started, mode upsert, by uid=%d pid=\d+ python" % OPERATOR.pw_uid)

    def test_the_trigger_is_the_operators(self):
        # It has owner, group and bits of its own; the directory stays its maintainers'.
        sync = self.make()
        uid, gid = OPERATOR.pw_uid, OPERATOR.pw_gid
        trigger = sync.path / "trigger"
        self.assertEqual(os.stat(trigger).st_mode, 0o100644)
        os.chmod(trigger, 0o664)
        self.errno_is(self.write(uid, gid, trigger, "run"), errno.EACCES)
        os.chown(trigger, -1, gid)
        for step in "now", "restarted", "renamed", "the directory's owner changed":
            with self.subTest(step):
                trigger = sync.path / "trigger"
                st = os.stat(trigger)
                self.assertEqual((st.st_mode, st.st_uid, st.st_gid),
                                 (0o100664, os.stat(sync.path).st_uid, gid))
                self.errno_is(self.write(uid, gid, trigger, "run"), 0)
                self.errno_is(self.write(STRANGER, STRANGER, trigger, "run"), errno.EACCES)
                self.errno_is(self.write(uid, gid, sync.path / "mode", "mirror"), errno.EACCES)
                self.errno_is(self.as_user(uid, gid, "os.mkdir(sys.argv[1])", sync.path / "x"), errno.EACCES)
                self.errno_is(self.as_user(uid, gid, "os.chmod(sys.argv[1], 0o666)", trigger), errno.EPERM)
                self.assertEqual(os.stat(sync.path / "status").st_gid, 0)
            if step == "now":
                self.mount.stop()
                self.mount.start()
            elif step == "restarted":
                os.rename(sync.path, self.mount.point / "syncs/renamed")
                sync = self.mount.sync("renamed")
            elif step == "renamed":
                os.chown(sync.path, STRANGER + 1, -1)
        os.chown(sync.path / "trigger", uid, -1)
        self.errno_is(self.as_user(uid, gid, "os.chmod(sys.argv[1], 0o600)", sync.path / "trigger"), 0)
        self.errno_is(self.as_user(STRANGER, gid, "open(sys.argv[1])", sync.path / "trigger"), errno.EACCES)
        self.assertEqual(sync.last_run(), 4)

    def test_another_sync_of_that_name_has_a_trigger_of_its_own(self):
        sync = self.make()
        os.chmod(sync.path / "trigger", 0o666)
        subprocess.run(["rm", "-r", str(sync.path)], check=True)
        self.make()
        self.assertEqual(os.stat(sync.path / "trigger").st_mode, 0o100644)

    def shell(self, line, path, uid=0):
        done = subprocess.run(["sh", "-c", line, "sh", str(path)], capture_output=True, text=True,
                              timeout=DEADLINE, user=uid, group=uid)
        return done.returncode, done.stderr

    def test_everything_at_once(self):
        # chmod -R, chgrp -R and chown -R do what they say, and say nothing.
        for uid in 0, STRANGER:
            sync = self.make()
            sync.run()
            os.chown(sync.path, uid, uid)
            for name in "config.json", "mappings.csv", "mode", "trigger":
                os.chown(sync.path / name, uid, uid)
            for mode, shown in (("750", 0o440), ("u=rwX,g=rX,o=", 0o440), ("g+w", 0o440), ("a-w", 0o440), ("u+w,o+rX", 0o444),
                                ("2770", 0o440), ("go=", 0o400), ("755", 0o444)):
                with self.subTest(mode, uid=uid):
                    self.assertEqual(self.shell("chmod -R %s \"$1\"" % mode, sync.path, uid), (0, ""))
                    for name in "status", "runs/1/summary.json", "pending/summary":
                        self.assertEqual(os.stat(sync.path / name).st_mode & 0o7777, shown, name)
                    self.assertEqual(os.stat(sync.path / "pending").st_mode & 0o777, os.stat(sync.path).st_mode & 0o777)
            for line in "chgrp -R %d \"$1\"" % uid, "chown -R %d:%d \"$1\"" % (uid, uid):
                self.assertEqual(self.shell(line, sync.path, uid), (0, ""))
            os.chmod(sync.path, 0o755)

    def test_a_mode_that_an_engine_file_cannot_have(self):
        # Bits it cannot take are left out, to be seen; one that it cannot lose is an error.
        sync = self.make()
        os.chmod(sync.path / "status", 0o777)
        self.assertEqual(os.stat(sync.path / "status").st_mode, 0o100444)
        self.expect_errno(errno.EPERM, os.chmod, sync.path / "status", 0o600)
        self.errno_is(self.as_user(STRANGER, STRANGER, "os.chmod(sys.argv[1], 0o777)", sync.path / "status"), errno.EPERM)
        self.expect_errno(errno.EPERM, os.chmod, self.mount.point / "README", 0)
        os.chmod(sync.path, 0o700)
        os.chmod(sync.path / "status", 0o600)
        self.assertEqual(os.stat(sync.path / "status").st_mode, 0o100400)

    def test_what_quotes_every_sync_is_no_business_of_others(self):
        sync = self.make()
        os.chmod(sync.path, 0o700)
        self.expect_errno(errno.EINVAL, sync.write, "mode", "their secret mode\n")
        for name in "error_log", "control":
            path = self.mount.point / name
            self.assertIn("their secret mode", path.read_text())
            self.errno_is(self.as_user(STRANGER, STRANGER, "open(sys.argv[1]).read()", path), errno.EACCES)
        self.errno_is(self.as_user(STRANGER, STRANGER, "open(sys.argv[1]).read()", self.mount.point / "status"), 0)

    def test_copies_keep_owners_and_modes(self):
        made = self.mount.data / "made"
        made.mkdir()
        for name, text in ("config.json", "{}\n"), ("mode", "upsert\n"), ("notes", "x\n"):
            (made / name).write_text(text)
            os.chmod(made / name, 0o640)
            os.chown(made / name, STRANGER, OPERATOR.pw_gid)
            os.utime(made / name, ns=(1_000_000_001, 981173106_789000000))
        os.chmod(made, 0o2750)
        sync = self.mount.sync(self.name)
        want = [(0o640, STRANGER, OPERATOR.pw_gid, 981173106_789000000)] * 2
        (made / "config.json").unlink()
        for line in ("cp -a %s \"$1\"", "rsync -a %s/ \"$1\"/", "rsync -a --inplace %s/ \"$1\"/", "mkdir \"$1\" && cp -p %s/* \"$1\"",
                     "mkdir \"$1\" && tar -C %s --format=posix -cf - . | tar -C \"$1\" -xpf -"):
            with self.subTest(line):
                self.assertEqual(self.shell(line % made, sync.path), (0, ""))
                stats = [os.stat(sync.path / n) for n in ("mode", "notes")]
                self.assertEqual([(s.st_mode & 0o7777, s.st_uid, s.st_gid, s.st_mtime_ns) for s in stats], want)
                self.assertEqual(self.shell("rm -r \"$1\"", sync.path), (0, ""))
        line = "mkdir \"$1\" && install -m 604 -o %d -g %d %s/mode %s/notes \"$1\"" % (STRANGER, STRANGER, made, made)
        self.assertEqual(self.shell(line, sync.path), (0, ""))
        for name in "mode", "notes":
            st = os.stat(sync.path / name)
            self.assertEqual((st.st_mode & 0o7777, st.st_uid, st.st_gid), (0o604, STRANGER, STRANGER))
        self.assertEqual(self.shell("rm -r \"$1\"", sync.path), (0, ""))

    def test_modes_and_owners_stick(self):
        sync = self.make()
        os.chmod(sync.path / "config.json", 0o640)
        os.chown(sync.path / "config.json", OPERATOR.pw_uid, OPERATOR.pw_gid)
        os.chmod(sync.path, 0o750)
        for _ in range(2):
            st = os.stat(sync.path / "config.json")
            self.assertEqual((st.st_mode & 0o7777, st.st_uid, st.st_gid), (0o640, OPERATOR.pw_uid, OPERATOR.pw_gid))
            self.assertEqual(os.stat(sync.path).st_mode & 0o7777, 0o750)
            self.errno_is(self.as_user(STRANGER, STRANGER, "os.listdir(sys.argv[1])", sync.path), errno.EACCES)
            self.mount.stop()
            self.mount.start()

    def test_chown_of_everything(self):
        sync = self.make()
        sync.run()
        done = subprocess.run(["chown", "-R", "%d:%d" % (OPERATOR.pw_uid, OPERATOR.pw_gid), str(sync.path)],
                              capture_output=True, text=True)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        for name in "", "config.json", "status", "trigger", "runs/1/summary.json":
            self.assertEqual(os.stat(sync.path / name).st_uid, OPERATOR.pw_uid, name)
        self.errno_is(self.write(OPERATOR.pw_uid, OPERATOR.pw_gid, sync.path / "mode", "mirror"), 0)
        self.assertRegex(sync.read("log"), r"uid=%d pid=\d+ comm=python" % OPERATOR.pw_uid)

    def test_only_the_owner_gives_away(self):
        sync = self.make()
        self.errno_is(self.as_user(STRANGER, STRANGER, "os.chmod(sys.argv[1], 0o777)", sync.path), errno.EPERM)
        self.errno_is(self.as_user(STRANGER, STRANGER, "os.chown(sys.argv[1], %d, -1)" % STRANGER,
                                   sync.path / "config.json"), errno.EPERM)

    def test_limits(self):
        sync = self.make()
        self.expect_errno(errno.ENAMETOOLONG, os.mkdir, sync.path / ("x" * 256))
        self.expect_errno(errno.EFBIG, os.truncate, sync.path / "config.json", 1 << 40)
        (sync.path / "notes").write_text("")
        self.expect_errno(errno.EFBIG, os.truncate, sync.path / "notes", (16 << 20) + 1)
        os.truncate(sync.path / "notes", 16 << 20)

        def fill():
            for i in range(2000):
                os.mkdir(sync.path / ("d%d" % i))
        self.expect_errno(errno.EDQUOT, fill)
        self.assertEqual(sync.state(), "ready")

    def test_odd_names(self):
        sync = self.make()
        names = ["with space", "Größe ☃", "new\nline", "100%", "-rf", "a" * 255, "ü" * 127, "'\"\\$`", " ", "…"]
        for name in names:
            (sync.path / name).write_text(name)
        for _ in range(2):
            self.assertEqual({n for n in os.listdir(sync.path) if n in names}, set(names))
            for name in names:
                self.assertEqual((sync.path / name).read_text(), name)
            self.mount.stop()
            self.mount.start()
        sync.run()
        for name in names:
            os.unlink(sync.path / name)
        self.assertFalse(set(names) & set(os.listdir(sync.path)))


if __name__ == "__main__":
    main()
