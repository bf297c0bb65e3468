#!/usr/bin/env python3
"""Tools that handle whole directories, attributes and names, and those that only read: what they
leave in the tree, what they say, and their exit code."""

import errno
import json
import os
import re
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from retlfs import MountTest, main, wait_for
from tools import run

CONFIG = json.dumps({"source": {"connection": "in"}, "identifier": "id",
                     "destination": {"connection": "lite", "object": "people", "create": True}}) + "\n"
TEXTS = {"config.json": CONFIG, "mappings.csv": "column,field\nid,id\n", "mode": "upsert\n"}
QUIET = (0, "")
G = "GIT_DIR=$tmp/repo GIT_WORK_TREE=%s git -c user.name=t -c user.email=t@t "

# How a sync `a` outside ($f) becomes the sync `b`.
ARRIVE = {
    "cp -r": "cp -r $f b",
    "cp -a": "cp -a $f b",
    "cp -r --reflink=auto": "cp -r --reflink=auto $f b",
    "cp -rT into a draft": "mkdir b && cp -rT $f b",
    "cp -p file by file": "mkdir -p b && cp -p $f/config.json $f/mappings.csv $f/mode b",
    "mv": "cp -r $f $tmp/a && mv $tmp/a b",
    "rsync -a": "rsync -a $f/ b/",
    "rsync -a --inplace": "rsync -a --inplace $f/ b/",
    "tar x": "mkdir b && tar -C $f -cf - . | tar -C b -xf -",
    "unzip": "mkdir b && (cd $f && zip -qr $tmp/a.zip .) && unzip -q $tmp/a.zip -d b",
    "install -D": "for n in mode mappings.csv config.json; do install -D -m 644 $f/$n b/$n || exit; done",
    "git checkout": "mkdir b && git init -q --bare $tmp/repo && {0} add . && {0} commit -qm 1 && "
                    "{1} checkout -q -f HEAD -- .".format(G % "$f", G % "$PWD/b"),
    "git clone": "git init -q $f.git && cp $f/* $f.git && (cd $f.git && git add . && git -c user.name=t -c user.email=t@t "
                 "commit -qm 1); rm -rf b; git clone -q $f.git $tmp/c && mv $tmp/c/[cm]* $tmp/ && mkdir b && mv $tmp/[cm]*.* "
                 "$tmp/mode b; rm -rf $f.git",
}
LEAVE = {
    "rm -r": "rm -r b",
    "rm -rf": "rm -rf b",
    "find -delete": "find b -delete",
    "rmtree": "python3 -c 'import shutil; shutil.rmtree(\"b\")'",
    "files, then rmdir": "rm b/config.json b/mappings.csv b/mode && rmdir b",
    "mv out": "mkdir $tmp/out && cp b/config.json b/mode b/mappings.csv $tmp/out && rm -r b && diff -r $tmp/out $f",
}
# line, exit code, what is said; run in the sync's directory, $f being config.json
ROWS = [
    ("touch $f", 0, ""), ("touch -d 2001-02-03T04:05:06.789Z $f; stat -c %Y $f | grep -q 981173106", 0, ""),
    ("touch fresh && rm fresh", 0, ""), ("chmod 600 $f; stat -c %a $f", 0, "600"), ("chmod 644 $f", 0, ""),
    ("chown $(id -u):$(id -g) $f", 0, ""), ("chown -R $(id -u) .", 0, ""),
    ("setfattr -n user.x -v y $f", 1, "not supported"), ("getfattr $f", 1, "not supported"),
    ("setfacl -m u:0:r $f 2> $tmp/e; true", 0, ""),
    ("mkdir -p x/y/z && touch x/y/z/w && rm -r x", 0, ""), ("mkdir -m 700 x && stat -c %a x && rmdir x", 0, "700"),
    ("mv -T $f log", 1, "not permitted|denied"), ("rm log", 1, "not permitted"), ("rm trigger", 1, "not permitted"),
    ("ln $f hard", 1, "not permitted"), ("ln -s a $f", 1, "File exists"),
    ("ln -s nowhere schedule2 && readlink schedule2 && rm schedule2", 0, "nowhere"),
    ("mknod pipe p", 1, "not permitted"),
    ("mkdir ../bad:name || mkdir '../bad name'", 1, "Invalid argument"),
    ("mkdir $(printf 'n%.0s' $(seq 256))", 1, "too long"), ("truncate -s 1G big; c=$?; rm big; exit $c", 1, "too large|Invalid"),
    ("rm -f big; fallocate -l 10 f2; rm -f f2; true", 0, "not supported|"),
    ("flock $f true", 0, ""), ("find . -name '*.json' | sort | head -1", 0, "config.json"), ("du -a .", 0, "config.json"),
    ("df .", 0, "retlfs"), ("grep -r connection --include='*.json' .", 0, "connection"),
    ("cp -r . $tmp/copy && diff -r --exclude=trigger . $tmp/copy", 0, "^$"), ("wc -c < $f | grep -qx $(stat -c %s $f)", 0, ""),
    ("md5sum $f | cut -c1-32 | grep -qx $(cat $f | md5sum | cut -c1-32)", 0, ""), ("less $f | cmp - $f", 0, ""),
    ("less log | cmp - log", 0, ""), ("file $f > $tmp/e 2>&1; true", 0, ""), ("tar -cf $tmp/all.tar .", 0, ""),
    ("timeout 5 ls -laR . > $tmp/ls", 0, ""), ("sqlite3 own.db 'CREATE TABLE t(a); INSERT INTO t VALUES(7)' &&"
                                              " sqlite3 own.db 'SELECT a FROM t' && rm own.db", 0, "^7$"),
]


class Trees(MountTest):
    def setUp(self):
        super().setUp()
        self.syncs = self.mount.point / "syncs"
        self.mount.connect("in", {"driver": "csv", "path": str(self.mount.data / "in.csv")})
        (self.mount.data / "in.csv").write_text("id\n1\n2\n")
        self.outside = self.mount.data / "a"
        self.outside.mkdir(exist_ok=True)
        for name, text in TEXTS.items():
            (self.outside / name).write_text(text)

        self.addCleanup(self.bash, "rm -rf a b c s t")

    def bash(self, line, file=None, cwd=None):
        done = run(line, str(cwd or self.syncs), str(file or self.outside), "")
        return done.returncode, done.stdout

    def ready(self, name):
        made = self.mount.sync(name)
        self.assertEqual({n: made.read(n) for n in TEXTS}, TEXTS)
        self.assertEqual(made.state(), "ready", made.read("status"))
        self.assertEqual([n for n in os.listdir(made.path) if n.endswith(".rej") or n[0] == "."], [])
        return made

    def test_arrive_and_leave(self):
        leave = list(LEAVE.items())
        for number, (name, line) in enumerate(ARRIVE.items()):
            how, away = leave[number % len(leave)]
            with self.subTest(tool=name, removed=how):
                self.assertEqual(self.bash(line), QUIET)
                self.ready("b")
                self.assertEqual(self.bash(away), QUIET)
                self.assertFalse((self.syncs / "b").exists())

    def test_copies_within(self):
        self.assertEqual(self.bash("cp -r $f a"), QUIET)
        self.ready("a").run()
        for line in ("cp -r a b", "cp -a a b", "tar -cf - a | tar -xf - --transform s/^a/b/ --keep-old-files",
                     "rsync -a --include=config.json --include=mappings.csv --include=mode --exclude='*' a/ b/"):
            with self.subTest(line=line):
                self.assertRegex(self.bash(line + " 2> $tmp/e; grep -v 'status.json\\|File exists' $tmp/e; true")[1], "^$|tar: ")
                self.assertEqual({n: self.mount.sync("b").read(n) for n in TEXTS}, TEXTS)
                self.assertEqual(self.mount.sync("b").trigger("run"), 0)
                self.assertEqual(self.bash("rm -r b"), QUIET)
        self.assertEqual(self.bash("mv a c"), QUIET)
        self.assertEqual(self.mount.sync("c").last_run(), 1)
        self.assertEqual(self.bash("rm -r c"), QUIET)

    def test_emptied_and_filled_again(self):
        # What the engine shows goes with the user's files and comes with them, by either path.
        for path in "b", "../config/syncs/b":
            self.assertEqual(self.bash("cp -r $f b && find b -mindepth 1 -delete"), QUIET)
            self.assertEqual(os.listdir(self.syncs / "b"), [])
            self.assertEqual(self.bash("cp $f/* %s" % path), QUIET)
            self.assertTrue(self.ready("b").exists("trigger"))
            self.assertEqual(self.bash("rm -r b"), QUIET)

    def test_moved_onto_itself(self):
        self.assertEqual(self.bash("cp -r $f b"), QUIET)
        for line in "mv -T ../config/syncs/b b", "mv -T b ../config/syncs/b":
            code, said = self.bash(line)
            self.assertEqual(code, 1)
            self.assertRegex(said, "to a subdirectory of itself")
        code, said = self.bash("touch b/1 && mv ../config/syncs/b/1 b/1; c=$?; rm b/1; exit $c")
        self.assertEqual(code, 1)
        self.assertIn("are the same file", said)
        self.ready("b").run()
        self.assertEqual(self.bash("rm -r b"), QUIET)

    def test_rsync_twice(self):
        self.assertEqual(self.bash("rsync -a $f/ b/"), QUIET)
        self.assertEqual(self.bash("rsync -ai $f/ b/"), QUIET)
        self.assertEqual(self.bash("GIT_DIR=$tmp/repo git init -q --bare $tmp/repo; {0} add config.json mode mappings.csv &&"
                                   " {0} commit -qm 1 && {0} status --short -uno && {0} diff --stat".format(G % "$PWD/b")
                                   .replace("add ", "-C $PWD/b add ")), QUIET)
        self.assertEqual(self.bash("rm -r b"), QUIET)

    def test_a_bad_directory(self):
        (self.outside / "config.json").write_text('{"source" 1}\n')
        code, said = self.bash("cp -r $f b")
        self.assertEqual(code, 1)
        self.assertRegex(said, "^(cp: .*config.json.*Invalid argument\n)+$")
        made = self.mount.sync("b")
        self.assertEqual((made.read("mode"), made.read("config.json.rej")), ("upsert\n", '{"source" 1}\n'))
        self.assertFalse(made.exists("config.json"))
        self.assertIn("config.json", made.read("status"))
        self.assertEqual(made.trigger("run"), errno.ENOEXEC)
        self.assertEqual(self.bash("rm -r b"), QUIET)

    def test_small_things(self):
        self.assertEqual(self.bash("cp -r $f s"), QUIET)
        before = sorted(os.listdir(self.syncs / "s"))
        for line, want, says in ROWS:
            with self.subTest(line=line):
                code, said = self.bash(line, "config.json", self.syncs / "s")
                self.assertEqual(code, want, said)
                self.assertRegex(said, says or "^$")
                self.assertEqual(sorted(os.listdir(self.syncs / "s")), before)
        self.ready("s")
        self.assertEqual(self.bash("rm -r s"), QUIET)

    def test_tail_follows(self):
        self.assertEqual(self.bash("cp -r $f t"), QUIET)
        made = self.mount.sync("t")
        for option in "-f", "-F":
            with self.subTest(option=option):
                out = self.mount.dir / ("tail" + option)
                with open(out, "w") as file:
                    tail = subprocess.Popen(["tail", "-n0", "-s0.1", option, str(made.path / "log")], stdout=file)
                try:
                    def grown():
                        made.run()
                        return re.search("run", out.read_text())
                    wait_for("tail " + option, grown)
                finally:
                    tail.kill()
                    tail.wait()
        self.assertEqual(self.bash("rm -r t"), QUIET)


main()
