#!/usr/bin/env python3
"""Programs that bring their own way of saving, looking and waiting, as they are: Emacs on a
terminal, Puppet, Tab in an interactive bash, less at the end of a log, inotifywait."""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from retlfs import MountTest, main
from tools import Terminal


def config(**changes):
    return json.dumps({"source": {"connection": "in"}, "identifier": ["id"],
                       "destination": {"connection": "lite", "object": "people", "create": True}, **changes},
                      indent=2) + "\n"


BROKEN = config().replace(": {", " {", 1)


def needs(tool):
    return unittest.skipUnless(shutil.which(tool), "no %s" % tool)


class Real(MountTest):
    def setUp(self):
        super().setUp()
        (self.mount.data / "in.csv").write_text("id,name\n1,Ada\n2,Bob\n")
        self.mount.connect("in", {"driver": "csv", "path": str(self.mount.data / "in.csv")})
        self.made = self.mount.sync(self.name).define()
        self.made.write("config.json", config())
        self.made.write("mappings.csv", "column,field\nid,id\nname,name\n")
        self.made.write("mode", "upsert\n")
        self.path = str(self.made.path)
        self.before = sorted(os.listdir(self.path))
        home = tempfile.TemporaryDirectory(prefix="retlfs-home.")
        self.addCleanup(home.cleanup)
        self.home = home.name

    def terminal(self, *args):
        term = Terminal(args, self.path, self.home)
        self.addCleanup(term.kill)
        return term

    def left(self):
        return sorted(set(os.listdir(self.path)) ^ set(self.before))

    # ---- Emacs: auto-save, lock file (a symlink, which is refused), backup, precious save ----

    def emacs(self, options, text):
        """Puts the text in place of config.json's and saves it with C-x C-s; what Emacs said."""
        new = os.path.join(self.home, "new")
        with open(new, "w") as out:
            out.write(text)
        setq = "(setq ring-bell-function 'ignore inhibit-startup-screen t %s)" % options
        term = self.terminal("emacs", "-nw", "-Q", "--eval", setq, "config.json")
        term.wait("identifier", 30)
        # C-x h C-w: all of it away; C-x i: insert a file; C-x C-s
        term.press("\x18h\x17\x18i" + new + "\r\x18\x13")
        said = term.wait(r"Wrote [^\r\n]*|(Writing|Write error|Closing|I/?O error|Doing)[^\r\n]*|[^\r\n]*nvalid argument|"
                         r"[^\r\n]*Bad message")
        term.press("\x18\x03")
        if not said.startswith("Wrote"):
            term.wait("Save file")
            term.press("n")
            term.wait("exit anyway")
            term.press("yes\r")
        self.assertEqual(term.end(), 0)
        return said

    def no_stray(self, *kept):
        """Beside the backups Emacs was asked for, which are removed."""
        for name in self.left():
            self.assertIn(name, kept)
            os.unlink(self.made.path / name)

    @needs("emacs")
    def test_emacs(self):
        backup = "backup-enable-predicate (lambda (name) t)"  # /tmp has none by default
        for options in backup, "make-backup-files nil", backup + " backup-by-copying t", "file-precious-flag t":
            with self.subTest(options=options):
                self.made.write("config.json", config())
                self.assertRegex(self.emacs(options, config(max_deletes="30%")), "^Wrote")
                self.assertEqual(self.made.read("config.json"), config(max_deletes="30%"))
                self.assertEqual(self.made.read("error"), "")
                if backup in options:
                    self.assertEqual(self.made.read("config.json~"), config())
                self.no_stray("config.json~")
                if "precious" in options:
                    continue  # its refused rename: the writer "Emacs" of tools-edit.py
                self.made.write("config.json", config())
                self.assertNotRegex(self.emacs(options, BROKEN), "^Wrote")
                self.assertRegex(self.made.read("error"), r"config.json:2:12: error: expected ':'")
                self.assertEqual(self.made.read("config.json.rej"), BROKEN)
                self.assertEqual(self.made.read("config.json"), config())
                # Emacs keeps what was not saved as it does everywhere.
                self.no_stray("config.json~", "config.json.rej", "#config.json#")

    # ---- Puppet: its file resource, applied twice ----

    def puppet(self, text):
        manifest = os.path.join(self.home, "site.pp")
        new = os.path.join(self.home, "new")
        with open(new, "w") as out:
            out.write(text)
        with open(manifest, "w") as out:
            out.write("file { '%s/config.json': ensure => file, source => '%s', mode => '0640' }\n" % (self.path, new))
        done = subprocess.run(["puppet", "apply", "--detailed-exitcodes", "--color=false", manifest], text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=120,
                              env={**os.environ, "HOME": self.home, "LC_ALL": "C.UTF-8"})
        return done.returncode, done.stdout

    @needs("puppet")
    def test_puppet(self):
        code, said = self.puppet(config(max_deletes="30%"))
        self.assertEqual(code, 2, said)  # it changed something
        self.assertEqual(self.made.read("config.json"), config(max_deletes="30%"))
        self.assertEqual(os.stat(self.made.path / "config.json").st_mode & 0o7777, 0o640)
        self.assertEqual((self.left(), self.made.read("error")), ([], ""))
        code, said = self.puppet(config(max_deletes="30%"))
        self.assertEqual(code, 0, said)  # nothing to do
        code, said = self.puppet(BROKEN)
        self.assertIn(code, (4, 6), said)  # failures
        self.assertRegex(said, "Bad message|Invalid argument")
        self.assertEqual(self.made.read("config.json"), config(max_deletes="30%"))
        self.assertEqual(self.made.read("config.json.rej"), BROKEN)
        self.assertEqual(self.left(), ["config.json.rej"])

    # ---- a shell at a keyboard ----

    def test_completion(self):
        shell = self.terminal("bash", "--norc", "--noprofile", "-i")
        shell.press("bind 'set bell-style none'; PS1='ready> '; echo go''ne\n")
        shell.wait("gone")
        shell.wait("ready> ")
        for typed, shown in ("head -2 map\t", "mappings.csv "), ("cat pend\tsum\t", "pending/summary "), \
                ("wc ../../syncs/%s/trig\t" % self.name, "trigger "):
            shell.press(typed)
            shell.wait(re.escape(shown))
            shell.press("\x15")  # C-u: nothing of it is run
        shell.press("echo mirror > mo\t\t\t")
        shell.wait(r"mode\s+modes")  # two names begin so
        shell.press("; echo wri''tten\n")
        shell.wait("written")
        self.assertEqual(self.made.read("mode"), "mirror\n")
        shell.press("echo bogus > mode\n")
        shell.wait("write error: Invalid argument")
        shell.press("exit\n")
        shell.end()
        self.assertEqual(self.left(), ["mode.rej"])

    @needs("less")
    def test_less(self):
        """A pager opened on the log follows it with F until ^C, and finds the lines that came."""
        pager = self.terminal("less", "-X", "log")
        pager.wait("log|END")
        pager.press("F")
        pager.wait("Waiting for data")
        self.made.trigger("run")
        pager.wait("run 1.*|upsert")
        pager.press("\x03")
        pager.wait(r"\(END\)")
        self.assertEqual(pager.end(pressing="q"), 0)  # ^C throws away what is typed before it is heard

    @needs("inotifywait")
    def test_inotifywait(self):
        """It waits for the run that is begun only once the watch is there, with no polling."""
        for name in "status", "log":
            with self.subTest(file=name):
                watch = subprocess.Popen(["inotifywait", "-t", "60", "-e", "modify,attrib", name], cwd=self.path,
                                         text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
                for line in watch.stderr:
                    if "Watches established" in line:
                        break
                self.assertEqual(self.made.trigger("full"), 0)
                said, more = watch.communicate(timeout=90)
                self.assertEqual((watch.returncode, said.split()[0]), (0, name), said + more)

    @needs("inotifywait")
    def test_inotifywait_a_directory(self):
        """Other people's edits below a directory are told by name."""
        watch = subprocess.Popen(["inotifywait", "-t", "60", "-e", "close_write,moved_to", "."], cwd=self.path,
                                 text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for line in watch.stderr:
            if "Watches established" in line:
                break
        self.made.write("mode", "mirror\n")
        said, more = watch.communicate(timeout=90)
        self.assertEqual((watch.returncode, said.split()[1:]), (0, ["CLOSE_WRITE,CLOSE", "mode"]), said + more)


main()
