#!/usr/bin/env python3
"""Every tool that changes a file, with good and bad texts: exit code, what the person sees, the
text in force, the refused text beside it, and nothing else left behind."""

import errno
import json
import os
import re
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from retlfs import MountTest, main
from tools import WRITERS, Terminal, run

MAPPINGS = "column,field\n" + "".join("c%d,f%d\n" % (i, i) for i in range(3))
CONFIG = {"source": {"connection": "in"}, "identifier": ["c0"],
          "destination": {"connection": "lite", "object": "people", "create": True}}


def config(**changes):
    return json.dumps({**CONFIG, **changes}, indent=2) + "\n"


BASE = {"config.json": config(), "mappings.csv": MAPPINGS, "mode": "upsert\n", "notes.txt": "first\nsecond\n"}
GOOD = {
    "config.json": [config(max_deletes="30%"), config(identifier=["c%d" % i for i in range(40)]), config()],
    "mappings.csv": [MAPPINGS + "c3,f3\n", "column,field\nc0,f0\n", MAPPINGS + "".join(
        "c%d,f%d\n" % (i, i) for i in range(3, 300))],
    "notes.txt": ["third\n", "".join("line %d\n" % i for i in range(8000)), "{ no JSON\n"],
}
# file, what is wrong, text, what `error` says
BAD = [
    ("config.json", "syntax", config().replace(": {", " {", 1), "expected ':'"),
    ("config.json", "meaning", config(objekt=1), 'unknown key "objekt"'),
    ("mappings.csv", "syntax", 'column,field\nc0,f0\n"c1"x,f1\n', "quote|expected"),
    ("mappings.csv", "meaning", "column,field\nc0,f0\nc1,f0\n", "f0"),
]
CUT = ("config.json", config()[:60] + "\n")


class Edits(MountTest):
    def setUp(self):
        super().setUp()
        self.mount.connect("in", {"driver": "csv", "path": str(self.mount.data / "in.csv")})
        self.made = self.mount.sync(self.name).define()
        self.path = str(self.made.path)
        self.restore()
        self.before = sorted(os.listdir(self.path))

    def restore(self):
        for name, text in BASE.items():
            if not self.made.exists(name) or self.made.read(name) != text:
                self.made.write(name, text)
            if self.made.exists(name + ".rej"):
                os.unlink(self.made.path / (name + ".rej"))

    def left(self):
        return sorted(set(os.listdir(self.path)) ^ set(self.before))

    def usable(self, writers):
        for writer in writers:
            if writer.missing():
                print("# %s left out: no %s" % (writer.name, " ".join(writer.missing())))
            else:
                yield writer

    def test_good(self):
        for writer in self.usable(WRITERS):
            for file, texts in GOOD.items():
                if file == "notes.txt" and not writer.plain:
                    continue
                with self.subTest(tool=writer.name, file=file):
                    self.restore()
                    for text in texts:
                        if writer.name == "sort -o":
                            text = "".join(sorted(text.splitlines(True))) if file != "config.json" else "{}\n"
                        if writer.name == "sort -o" and not text.startswith("column"):
                            continue
                        done = run(writer.line, self.path, file, text)
                        self.assertEqual((done.returncode, done.stdout), (0, ""))
                        self.assertEqual(self.made.read(file), text)
                        self.assertEqual(os.stat(self.made.path / file).st_size, len(text))
                        self.assertEqual(self.left(), [])
                        self.assertEqual(self.made.read("error"), "")

    def refused(self, writer, file, text, words):
        done = run(writer.line, self.path, file, text)
        self.assertNotEqual(done.returncode, 0, done.stdout)
        self.assertRegex(done.stdout, writer.says)
        self.assertNotIn("subdirectory", done.stdout)
        self.kept(writer, file, text)
        if words:
            self.assertRegex(self.made.read("error"), r"(?m)^%s:\d+:\d+: error: .*(%s)" % (re.escape(file), words))
            self.assertRegex(self.made.read("error"), r"(?m)^ *\^")

    def kept(self, writer, file, text):
        """The accepted text is in force, the refused one is there, and nothing else."""
        self.assertEqual(self.made.read(file), BASE[file])
        rejected = self.made.read(file + ".rej")
        if writer.whole:
            self.assertEqual(rejected, text)
        else:
            self.assertTrue(rejected and text.startswith(rejected.rstrip("\n")), rejected)
        self.assertEqual(self.left(), [file + ".rej"])

    def test_bad(self):
        for writer in self.usable(WRITERS):
            if writer.cut == "skip":
                continue
            for file, what, text, words in BAD:
                with self.subTest(tool=writer.name, file=file, what=what):
                    self.restore()
                    self.refused(writer, file, text, words)
                    self.assertEqual(self.made.trigger("run"), errno.ENOEXEC)

    def test_cut_short(self):
        file, text = CUT
        for writer in self.usable(WRITERS):
            if writer.cut == "skip":
                continue
            with self.subTest(tool=writer.name):
                self.restore()
                if writer.cut == "close":
                    self.refused(writer, file, text, None)
                else:
                    run(writer.line, self.path, file, text)
                    self.kept(writer, file, text)
                self.assertEqual(self.made.trigger("run"), errno.ENOEXEC)
                self.assertEqual(self.made.state(), "draft")
                self.assertIn("config.json", self.made.read("status"))

    def test_mode(self):
        """One word; the newline may be missing; a bad one is told to everybody, also to echo."""
        for writer in self.usable(WRITERS):
            if writer.cut == "skip" or writer.name.startswith("group"):
                continue
            with self.subTest(tool=writer.name):
                self.restore()
                done = run(writer.line, self.path, "mode", "mirror\n")
                self.assertEqual((done.returncode, done.stdout), (0, ""))
                self.assertEqual((self.made.read("mode"), self.left()), ("mirror\n", []))
                self.restore()
                done = run(writer.line, self.path, "mode", "bogus\n")
                self.assertNotEqual(done.returncode, 0)
                self.assertEqual(self.made.read("mode"), BASE["mode"])
                self.assertIn("upsert", self.made.read("error"))
                self.assertEqual(self.left(), ["mode.rej"])

    def test_sed_with_a_backup(self):
        """It has moved the old file away before it is refused: the accepted text comes back."""
        line = "sed -i.bak -e '1{r '$new -e 'd;}' -e d $f"
        done = run(line, self.path, "config.json", GOOD["config.json"][0])
        self.assertEqual((done.returncode, done.stdout), (0, ""))
        self.assertEqual(self.made.read("config.json"), GOOD["config.json"][0])
        self.assertEqual(self.made.read("config.json.bak"), BASE["config.json"])
        os.unlink(self.made.path / "config.json.bak")
        self.restore()
        for file, _, text, words in BAD:
            done = run(line, self.path, file, text)
            self.assertRegex(done.stdout, "Bad message")
            for name in file, file + ".bak":
                self.assertEqual(self.made.read(name), BASE[file])
            self.assertEqual(self.made.read(file + ".rej"), text)
            self.assertRegex(self.made.read("error"), words)
            self.assertEqual(self.made.trigger("run"), errno.ENOEXEC)
            for name in file + ".rej", file + ".bak":
                os.unlink(self.made.path / name)
            self.assertEqual(self.left(), [])
            self.assertEqual(self.made.read("error"), "")
            self.assertEqual(self.made.state(), "ready")

    def test_what_comes_back_is_the_same_file(self):
        path = self.made.path / "mode"
        os.chmod(path, 0o640)
        os.utime(path, (1, 981173106))
        before = os.stat(path)
        os.rename(path, self.made.path / "mode.bak")
        (self.made.path / "new").write_text("bogus")
        with self.assertRaises(OSError) as caught:
            os.rename(self.made.path / "new", path)
        self.assertEqual(caught.exception.errno, errno.EBADMSG)
        after = os.stat(path)
        self.assertEqual((after.st_mode, after.st_mtime), (before.st_mode, before.st_mtime))
        self.assertRegex(self.made.read("log"), r"put back mode \(another was refused\)\n$")
        for name in "mode.bak", "mode.rej", "new":
            os.unlink(self.made.path / name)
        self.restore()

    def test_removing_a_file(self):
        """What was refused stays to be seen, and to be removed by those who remove one by one; in
        config/, where it is not seen, it goes along, but not by the process that was refused:
        editors remove their failed attempt."""
        view = str(self.mount.point / "config/syncs" / self.name)
        self.assertEqual(run("echo bogus > $f", self.path, "mode", "").returncode, 1)
        done = run("rm $f && rm $f.rej", self.path, "mode", "")
        self.assertEqual((done.returncode, done.stdout, self.left(), self.made.read("error")), (0, "", ["mode"], ""))
        self.made.write("mode", BASE["mode"])
        self.assertEqual(run("echo bogus > $f", view, "mode", "").returncode, 1)
        self.assertEqual(self.left(), ["mode.rej"])
        self.assertEqual(run("rm $f", view, "mode", "").returncode, 0)
        self.assertEqual((self.left(), self.made.read("error")), (["mode"], ""))
        self.made.write("mode", BASE["mode"])
        with self.assertRaises(OSError), open(view + "/mode", "w") as out:
            out.write("bogus")
        os.unlink(view + "/mode")
        self.assertEqual(self.left(), ["mode", "mode.rej"])
        self.restore()

    def test_rm_r(self):
        """All of a sync goes, refused texts too, without a word; for other tools as well."""
        for line in "rm -r gone", "python3 -c 'import shutil; shutil.rmtree(\"gone\")'", "find gone -depth -user root -delete":
            with self.subTest(line=line):
                made = self.mount.sync("gone").define()
                for name, text in BASE.items():
                    made.write(name, text)
                for file, _, text, _ in BAD:
                    run("cat $new > $f", str(made.path), file, text)
                done = run(line, str(self.mount.point / "syncs"), "", "")
                self.assertEqual((done.returncode, done.stdout), (0, ""))
                self.assertFalse(made.path.exists())

    def test_shell(self):
        """What only shells do: >>, tee -a, noclobber, an empty redirection, jq into the file."""
        self.restore()
        for line, file, want in [
            ("echo c3,f3 >> $f", "mappings.csv", MAPPINGS + "c3,f3\n"),
            ("echo c4,f4 | tee -a $f > $tmp/t", "mappings.csv", MAPPINGS + "c3,f3\nc4,f4\n"),
            ("head -1 $new > $f; tail -n +2 $new >> $f", "notes.txt", BASE["notes.txt"]),
            ("printf mirror > $f", "mode", "mirror"),
            ("printf 'upsert\\n' > $f", "mode", "upsert\n"),
            ("jq . $f > $f.tmp && mv $f.tmp $f", "config.json", config()),
            ("jq '.max_deletes = \"5%\"' $f | sponge $f", "config.json", config(max_deletes="5%")),
            ("cp -b $new $f && rm $f~", "config.json", "x"),
            ("mv $f $f.old && mv $f.old $f", "config.json", config(max_deletes="5%")),
            ("split -b 100 $f part. && cat part.* > $f && rm part.*", "mappings.csv", MAPPINGS + "c3,f3\nc4,f4\n"),
        ]:
            with self.subTest(line=line):
                if "cp -b" in line:
                    want = self.made.read(file)
                done = run(line, self.path, file, self.made.read(file))
                self.assertEqual((done.returncode, done.stdout), (0, ""))
                self.assertEqual((self.made.read(file), self.left()), (want, []))
        for line, file, words in [
            ("echo c9,f0 >> $f", "mappings.csv", "Invalid argument"),
            ("echo c9,f0 | tee -a $f > $tmp/t", "mappings.csv", "Invalid argument"),
            ("truncate -s 0 $f", "config.json", "Invalid argument"),
            ("truncate -s 20 $f", "config.json", "Invalid argument"),
            ("set -C; echo x > $f", "mode", "cannot overwrite"),
            ("ln -s other $f.link && ln -sf other $f", "config.json", "not permitted"),
            ("ln $f $f.hard", "config.json", "not permitted"),
            ("setfattr -n user.x -v y $f", "config.json", "not supported"),
        ]:
            with self.subTest(line=line):
                old = self.made.read(file)
                done = run(line, self.path, file, "")
                self.assertNotEqual(done.returncode, 0)
                self.assertRegex(done.stdout, words)
                self.assertEqual(self.made.read(file), old)
                for stray in ".rej", ".link":
                    if self.made.exists(file + stray):
                        os.unlink(self.made.path / (file + stray))
                self.assertEqual(self.left(), [])
        old = self.made.read("config.json")
        self.assertEqual(run(": > $f", self.path, "config.json", "").returncode, 0)
        self.assertEqual(self.made.read("config.json"), old)
        self.assertIn("nothing was written", self.made.read("error"))

    def vim(self, options, file, new):
        """As a person does it; returns what vim said after :w."""
        with tempfile.TemporaryDirectory() as home:
            target = os.path.join(home, "new")
            with open(target, "w") as out:
                out.write(new)
            edit = [a for c in ("silent! %d", "0r " + target, "$d", "w") for a in ("-c", c)]
            term = Terminal(["vim.tiny", "-N", "-u", "NONE", "--cmd", "set nomore updatecount=1 " + options, *edit, file],
                            self.path, home)
            said = term.wait(r"B written|E\d+: [^\r\n]*")
            swap = [n for n in os.listdir(self.path) if n.startswith(".%s.sw" % file)]
            self.assertTrue(swap, "no swap file was made")
            term.press("\r")
            term.press(":q!\r")
            self.assertEqual(term.end(), 0)
            return said

    def test_vim(self):
        if subprocess.run(["which", "vim.tiny"], capture_output=True).returncode:
            self.skipTest("no vim.tiny")
        for copy in "auto", "yes", "no":
            for backup in "nobackup", "backup":
                options = "swapfile backupskip= writebackup backupcopy=%s %s" % (copy, backup)
                with self.subTest(options=options):
                    self.restore()
                    self.assertEqual(self.vim(options, "config.json", GOOD["config.json"][0]), "B written")
                    self.assertEqual(self.made.read("config.json"), GOOD["config.json"][0])
                    self.assertEqual(self.left(), ["config.json~"] if backup == "backup" else [])
                    if backup == "backup":
                        self.assertEqual(self.made.read("config.json~"), BASE["config.json"])
                        os.unlink(self.made.path / "config.json~")
                    for file, _, text, words in BAD[:2] + [(CUT[0], "cut", CUT[1], ".")]:
                        self.restore()
                        said = self.vim(options, file, text)
                        self.assertRegex(said, "E514|E512|E667")
                        self.assertEqual(self.made.read(file), BASE[file])
                        self.assertEqual(self.made.read(file + ".rej"), text)
                        self.assertRegex(self.made.read("error"), words)
                        for name in self.left():
                            self.assertIn(name, ("config.json.rej", "config.json~"))
                        if self.made.exists(file + "~"):
                            os.unlink(self.made.path / (file + "~"))

    def nano(self, file, new):
        with tempfile.TemporaryDirectory() as home:
            target = os.path.join(home, "new")
            with open(target, "w") as out:
                out.write(new)
            term = Terminal(["nano", "--ignorercfiles", "--locking", file], self.path, home)
            term.wait(r"Read \d+ line")
            term.press("\x1b\\\x1ba\x1b/\x0b")  # to the top, mark, to the end, cut
            term.press("\x12" + target + "\r")
            term.wait(r"Read \d+ line|Inserted \d+ line")
            term.press("\x0f\r")
            said = term.wait(r"Wrote \d+ lines?|Error writing [^\r\n\]]*")
            term.press("\x18")
            if said.startswith("Error"):
                term.wait("Save modified buffer")
                term.press("n")
            self.assertEqual(term.end(), 0)
            return said

    def test_nano(self):
        if subprocess.run(["which", "nano"], capture_output=True).returncode:
            self.skipTest("no nano")
        self.assertRegex(self.nano("config.json", GOOD["config.json"][0]), "Wrote")
        self.assertEqual(self.made.read("config.json").rstrip(), GOOD["config.json"][0].rstrip())
        self.assertEqual(self.left(), [])
        for file, what, text, words in BAD:
            with self.subTest(file=file, what=what):
                self.restore()
                self.assertIn("Invalid argument", self.nano(file, text))
                self.assertEqual(self.made.read(file), BASE[file])
                self.assertEqual(self.made.read(file + ".rej").rstrip(), text.rstrip())
                self.assertRegex(self.made.read("error"), words)
                self.assertEqual(self.left(), [file + ".rej"])


main()
