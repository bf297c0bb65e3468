#!/usr/bin/env python3
"""pjdfstest, a test-suite for POSIX filesystems, in plain directories of the tree: what a case does
must go well, unless DEVIATIONS says why it does not; and what stands there must still be so."""

import os
import pwd
import re
import shutil
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from retlfs import DEADLINE, ROOT, MountTest, main, skip

VERSION = "0.2.2"
RUST = (1, 85)
CASES = 350  # that it has at least
USERS = ("nobody", "nogroup"), ("daemon", "daemon")  # any two

DEVIATIONS = [
    # Of configuration there is no use for them, and what they would do in a backup or in git is
    # not what anybody wants: EPERM, as on vfat.
    ("FIFOs, sockets and devices are refused", r".*::(fifo|socket|block|char)|mkfifo::(?!e)\w+|mknod::(?!e)\w+"
                                               r"|open::(fifo_nonblock_wronly|socket_error)"),
    # The meaning of a file follows its name, so one file cannot have two.
    ("hard links are refused", r"link::(changed_ctime_success|share_metadata|remove_link)::regular"
                               r"|unlink::(unchanged_ctime_failed|update_ctime_success)::regular"
                               r"|rename::(preserve_metadata|to_multiply_linked)::regular"),
    ("a file may have 16 MiB at most: EFBIG", r"open::interact_2gb"),
    # As on btrfs: to count them would make every look at a directory read all of it.
    ("directories count one link, whatever is in them", r"rename::updates_link_parent"),
]
CONFIG = """
[features]
posix_fallocate = {}
rename_ctime = {}
utime_now = {}
utimensat = {}
[settings]
naptime = 0.01
[dummy_auth]
entries = [%s]
""" % ", ".join('["%s", "%s"]' % user for user in USERS)


def cargo():
    """The command, if it is there and new enough."""
    path = shutil.which("cargo")
    said = subprocess.run([path, "--version"], capture_output=True, text=True).stdout if path else ""
    version = re.match(r"cargo (\d+)\.(\d+)", said)
    if not version or (int(version[1]), int(version[2])) < RUST:
        skip("pjdfstest is built by cargo %d.%d or newer, and here is %s" % (*RUST, said.strip() or "none"))
    return path


def suite():
    """The program, built once a checkout."""
    top = ROOT / ("build-pjdfstest-" + VERSION)
    program = top / "bin/pjdfstest"
    if not program.exists():
        done = subprocess.run(
            [cargo(), "install", "pjdfstest", "--version", VERSION, "--locked", "--debug", "--root", str(top)],
            env={**os.environ, "CARGO_TARGET_DIR": str(top / "target"), "CARGO_PROFILE_DEV_DEBUG": "0"},
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        shutil.rmtree(top / "target", ignore_errors=True)
        if done.returncode:
            print(done.stdout)
            skip("pjdfstest could not be fetched or built: " + done.stdout.strip().splitlines()[-1])
    return program


def results(text):
    """{case: (ok | FAILED | skipped, why)}"""
    lines = re.findall(r"^(\w+(?:::\w+)+) +(ok|FAILED|skipped)\n((?:\t.*\n)*)", text, re.MULTILINE)
    return {name: (what, " ".join(why.split())) for name, what, why in lines}


class Suite(MountTest):
    options = ("allow_other",)

    def run_suite(self, where):
        os.mkdir(where)
        os.chmod(where, 0o755)
        config = self.mount.dir / "pjdfstest.toml"
        config.write_text(CONFIG)
        done = subprocess.run(
            [PROGRAM, "-c", str(config), "-s", str(self.mount.data), "-p", str(where)], capture_output=True, text=True,
            env={**os.environ, "NO_COLOR": "1", "RUST_BACKTRACE": "0"}, timeout=4 * DEADLINE)
        found = results(done.stdout)
        self.assertGreaterEqual(len([w for w, _ in found.values() if w != "skipped"]), CASES, done.stdout + done.stderr)
        expected = {c: why for why, pattern in DEVIATIONS for c in found if re.fullmatch(pattern, c)}
        for case, (what, why) in sorted(found.items()):
            with self.subTest(case):
                if what == "FAILED":
                    self.assertIn(case, expected, why)
                elif what == "ok":
                    self.assertNotIn(case, expected, "it goes well: the list of deviations is out of date")
        for why, pattern in DEVIATIONS:
            self.assertTrue([c for c in found if re.fullmatch(pattern, c)], "no case any more: " + why)
        counts = [len([w for w, _ in found.values() if w == what]) for what in ("ok", "FAILED", "skipped")]
        print("# %s: %d ok, %d deviate as listed, %d skipped" % (where, *counts))
        self.assertEqual(os.listdir(where), [])
        os.rmdir(where)

    def test_beside_syncs(self):
        self.run_suite(self.mount.point / "config/suite")

    def test_in_a_sync(self):
        sync = self.mount.sync("s").define(mode="upsert")
        self.run_suite(sync.path / "suite")
        self.assertEqual(sync.read("mode"), "upsert\n")


if __name__ == "__main__":
    if os.getuid() != 0:
        skip("only root may mount for several users")
    for name, _ in USERS:
        try:
            pwd.getpwnam(name)
        except KeyError:
            skip("there is no user " + name)
    PROGRAM = str(suite())
    main()
