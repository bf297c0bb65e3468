#!/usr/bin/env python3
"""/config and /control: a repository of definitions applied to the mount by git in place, by
rsync and by the tools that copy trees, with `echo check > control` as the gate at the end."""

import errno
import json
import os
import re
import shutil
import stat
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from retlfs import Mount, Sqlite, binary, main, mappings_csv, ops, skip

for tool in "git", "rsync", "tar", "find":
    if not shutil.which(tool):
        skip("no %s on this machine" % tool)

V = mappings_csv([("id", "id"), ("v", "v")])
TREE = {"connections", "syncs"}


class Gitops(unittest.TestCase):
    """Each test has a mount of its own: /config is one for the whole of it."""

    def setUp(self):
        self.mount = Mount(expect=r"^retlfs: (error|warning): sync=")
        self.addCleanup(self.mount.close)
        self.config = self.mount.path("config")
        self.dir = Path(tempfile.mkdtemp(prefix="retlfs-test."))
        self.addCleanup(shutil.rmtree, self.dir, ignore_errors=True)
        self.source = self.mount.data / "in.csv"
        self.source.write_text("id,v\n1,a\n2,b\n")
        self.dest = Sqlite(self.mount.data / "dest.db")
        # git as anybody's: no settings of this machine, and a work tree others may own.
        self.env = {**os.environ, "HOME": str(self.dir), "GIT_CONFIG_NOSYSTEM": "1", "LC_ALL": "C",
                    "GIT_CONFIG_COUNT": "5"}
        for i, (key, value) in enumerate([("user.name", "n"), ("user.email", "n@example.org"),
                                          ("init.defaultBranch", "main"), ("safe.directory", "*"),
                                          ("gc.auto", "0")]):
            self.env.update({"GIT_CONFIG_KEY_%d" % i: key, "GIT_CONFIG_VALUE_%d" % i: value})

    # -- helpers --

    def sh(self, *args, cwd=None, want=0, **env):
        done = subprocess.run([str(a) for a in args], cwd=cwd or self.config, text=True,
                              capture_output=True, stdin=subprocess.DEVNULL, timeout=120,
                              env={**self.env, **env})
        self.assertEqual(done.returncode, want, "%s\n%s%s" % (args, done.stdout, done.stderr))
        return done.stdout

    def git(self, *args, cwd=None, want=0, **env):
        return self.sh("git", *args, cwd=cwd, want=want, **env)

    def definition(self, object):
        return json.dumps({"source": {"connection": "in"}, "identifier": "id",
                           "destination": {"connection": "lite", "object": object, "create": True}},
                          indent=2) + "\n"

    def repository(self, *syncs, path="repo"):
        """A work tree beside the mount, laid out as /config."""
        repo = self.dir / path
        (repo / "connections").mkdir(parents=True)
        (repo / "connections/in.json").write_text(
            json.dumps({"driver": "csv", "path": str(self.source)}) + "\n")
        (repo / "connections/lite.json").write_text(json.dumps(self.dest.connection) + "\n")
        (repo / "README.md").write_text("# the syncs of this house\n")
        (repo / ".gitignore").write_text("*.tmp\n")
        for name in syncs:
            self.add(repo, name)
        return repo

    def add(self, tree, name, **files):
        (tree / "syncs" / name).mkdir(parents=True)
        files = {"config.json": self.definition(name), "mappings.csv": V, "mode": "mirror\n", **files}
        for file, text in files.items():
            (tree / "syncs" / name / file).write_text(text)

    def commit(self, repo, message="x"):
        self.git("add", "-A", cwd=repo)
        self.git("commit", "-qm", message, cwd=repo)

    def origin(self, *syncs):
        repo = self.repository(*syncs)
        self.git("init", "-q", cwd=repo)
        self.commit(repo)
        return repo

    def pulled(self, *syncs):
        """The repository, cloned in place."""
        repo = self.origin(*syncs)
        self.git("init", "-q")
        self.git("remote", "add", "origin", repo)
        self.pull()
        self.git("branch", "-q", "--set-upstream-to=origin/main")
        return repo

    def pull(self, want=0):
        return self.git("pull", "-q", "--ff-only", "origin", "main", want=want)

    def control(self, verb="check"):
        try:
            self.mount.write("control", verb + "\n")
        except OSError as e:
            return e.errno
        return 0

    def ready(self):
        self.assertEqual(self.control(), 0, self.mount.read("error_log"))

    def copy(self, tree):
        self.sh("cp", "-r", "%s/." % tree, self.config)

    def names(self, path="."):
        return set(os.listdir(self.config / path))

    def same(self, repo):
        out = self.sh("diff", "-r", "-x", ".git", repo, self.config)
        self.assertEqual(out, "")

    # -- the view --

    def test_view(self):
        self.assertEqual(self.names(), TREE)
        sync = self.mount.sync("a").define(config=json.loads(self.definition("a")), mappings=V, mode="mirror")
        (sync.path / "notes.md").write_text("hello\n")
        with self.assertRaises(OSError):
            sync.write("mode", "bogus\n")
        self.assertTrue(sync.exists("mode.rej"))
        # The user's files only, whether listed or asked for.
        self.assertEqual(self.names("syncs/a"), {"config.json", "mappings.csv", "mode", "notes.md"})
        for name in "mode.rej", "status", "trigger", "pending", "runs", "rejected.jsonl":
            with self.assertRaises(FileNotFoundError):
                os.stat(self.config / "syncs/a" / name)
            with self.assertRaises(FileNotFoundError):
                os.unlink(self.config / "syncs/a" / name)
            with self.assertRaises(FileNotFoundError):
                os.rename(self.config / "syncs/a" / name, self.config / "x")
            with self.assertRaises(PermissionError):
                (self.config / "syncs/a" / name).write_text("mine\n")
        self.assertTrue(sync.exists("mode.rej"))
        # One inode a file, one a directory and path; the listing says the same.
        for name in "config.json", "notes.md":
            self.assertTrue(os.path.samefile(sync.path / name, self.config / "syncs/a" / name))
        self.assertNotEqual(os.stat(sync.path).st_ino, os.stat(self.config / "syncs/a").st_ino)
        for path in ".", "syncs", "syncs/a":
            for entry in os.scandir(self.config / path):
                self.assertEqual(entry.inode(), entry.stat().st_ino, entry.path)
        # What one path does the other shows at once.
        os.mkdir(self.config / "syncs/b")
        self.assertIn("draft", self.mount.read("syncs/b/status"))
        (self.config / "syncs/b/mode").write_text("mirror\n")
        self.assertEqual(self.mount.read("syncs/b/mode"), "mirror\n")
        os.unlink(self.config / "syncs/b/mode")
        self.assertFalse(os.path.exists(self.mount.path("syncs/b/mode")))
        os.rename(self.config / "syncs/b", self.config / "syncs/c")
        self.assertEqual(set(os.listdir(self.mount.path("syncs"))), {"a", "c"})
        self.assertFalse(os.path.exists(self.mount.path("syncs/b")))
        self.assertIn("draft", self.mount.read("syncs/c/status"))
        os.rmdir(self.config / "syncs/c")
        self.assertFalse(os.path.exists(self.mount.path("syncs/c")))
        os.mkdir(self.mount.path("syncs/d"))
        self.assertTrue(os.path.isdir(self.config / "syncs/d"))
        self.sh("rm", "-r", self.mount.path("syncs/d"))
        self.assertFalse(os.path.exists(self.config / "syncs/d"))
        # Who stands in a directory that goes by the other path has it to the end.
        for one, other in ("syncs", "config/syncs"), ("config/syncs", "syncs"):
            os.mkdir(self.mount.path(one) / "e")
            fd = os.open(self.mount.path(one) / "e", os.O_RDONLY | os.O_DIRECTORY)
            self.addCleanup(os.close, fd)
            self.sh("rm", "-r", self.mount.path(other) / "e")
            for _ in range(3):
                self.assertEqual(os.fstat(fd).st_nlink, 0)
                self.assertEqual(set(os.listdir(self.mount.path("syncs"))), {"a"})
        for bad in "syncs", "connections":
            with self.assertRaises(OSError):
                os.rename(self.config / bad, self.config / "other")
        with self.assertRaises(OSError) as caught:
            os.mkdir(self.config / "syncs/bad name")
        self.assertEqual(caught.exception.errno, errno.EINVAL)

    def test_refused_through_the_view(self):
        self.mount.sync("a").define(config=json.loads(self.definition("a")), mappings=V, mode="mirror")
        path = self.config / "syncs/a/config.json"
        with self.assertRaises(OSError) as caught:
            path.write_text('{"source": 1}\n')
        self.assertEqual(caught.exception.errno, errno.EINVAL)
        self.assertEqual(path.read_text(), self.definition("a"))
        (self.config / "new.json").write_text("{nonsense\n")
        with self.assertRaises(OSError) as caught:
            os.rename(self.config / "new.json", path)
        self.assertEqual(caught.exception.errno, errno.EBADMSG)
        self.assertEqual(path.read_text(), self.definition("a"))
        self.assertIn("config.json:1:2", self.mount.read("syncs/a/error"))

    def test_own_files_survive(self):
        (self.config / "bin").mkdir()
        script = self.config / "bin/deploy"
        script.write_text("#!/bin/sh\necho ran\n")
        script.chmod(0o750)
        os.symlink("bin/deploy", self.config / "link")
        os.utime(script, ns=(10**18, 10**18 + 5))
        self.assertEqual(self.sh(script), "ran\n")
        big = os.urandom(3_000_001)
        (self.config / "big").write_bytes(big)
        fd = os.open(self.config / "big", os.O_WRONLY)
        with self.assertRaises(OSError) as caught:
            os.pwrite(fd, b"x", 16 << 20)
        os.close(fd)
        self.assertEqual(caught.exception.errno, errno.EFBIG)
        before = {p: os.lstat(self.config / p) for p in ("bin", "bin/deploy", "link", "big", "syncs")}
        self.mount.stop()
        self.mount.start()
        self.assertEqual((self.config / "big").read_bytes(), big)
        self.assertEqual(os.readlink(self.config / "link"), "bin/deploy")
        for path, was in before.items():
            now = os.lstat(self.config / path)
            for field in "st_ino", "st_mode", "st_size", "st_mtime_ns", "st_ctime_ns", "st_uid", "st_gid":
                self.assertEqual(getattr(now, field), getattr(was, field), (path, field))
        # They are no syncs, and none becomes one but by moving.
        self.assertEqual(self.mount.read("status"), "")
        self.add(self.config / "bin", "later")
        os.rename(self.config / "bin/syncs/later", self.config / "syncs/later")
        self.assertIn("later", self.mount.read("status"))
        os.rename(self.config / "syncs/later", self.config / "bin/earlier")
        self.assertEqual(self.mount.read("status"), "")
        self.assertFalse(os.path.exists(self.mount.path("syncs/later")))

    # -- tools that copy trees --

    def test_copies(self):
        self.copy(self.repository("a"))
        self.ready()
        self.sh("cp", "-r", "syncs/a", "syncs/b")
        self.sh("cp", "-a", "syncs/a", "syncs/c")
        os.mkdir(self.config / "syncs/d")
        self.sh("sh", "-c", "tar cf - -C syncs/a . | tar xf - -C syncs/d")
        self.ready()
        for name in "bcd":
            self.assertEqual(self.names("syncs/" + name), {"config.json", "mappings.csv", "mode"})
            self.assertIn("ready", self.mount.read("syncs/%s/status" % name))
            self.sh("diff", "-r", "syncs/a", "syncs/" + name)
        self.assertEqual(os.stat(self.config / "syncs/a/mode").st_mtime_ns,
                         os.stat(self.config / "syncs/c/mode").st_mtime_ns)
        # All of it out and in again.
        out = self.dir / "out"
        out.mkdir()
        self.sh("sh", "-c", 'tar cf - . | tar xf - -C "%s"' % out)
        self.same(out)
        self.sh("sh", "-c", 'tar cf - . | tar xf - -C "%s"' % self.config, cwd=out)
        self.ready()
        self.sh("cp", "-a", ".", self.dir / "copy")
        self.same(self.dir / "copy")

    def test_removal(self):
        repo = self.repository("a", "b", "c", "d")
        self.copy(repo)
        self.sh("rm", "-rf", "syncs/a")
        self.sh("find", "syncs/b", "-delete")
        shutil.rmtree(self.config / "syncs/c")
        self.assertEqual(os.listdir(self.mount.path("syncs")), ["d"])
        self.sh("find", ".", "-mindepth", "1", "-delete")
        self.assertEqual(self.names(), set())
        self.assertEqual(os.listdir(self.mount.path("syncs")), [])
        self.assertEqual(os.listdir(self.mount.path("connections")), [])
        # They come back when made, or when there is something in them.
        self.sh("mkdir", "-p", "syncs/x")
        self.assertEqual(self.names(), {"syncs"})
        self.mount.connect("in", {"driver": "csv", "path": str(self.source)})
        self.assertEqual(self.names(), TREE)
        self.sh("rm", "-r", "syncs", "connections")
        self.assertEqual(self.names(), set())
        self.copy(repo)
        self.ready()
        self.same(repo)

    # -- rsync --

    def rsync(self, repo, *more):
        return self.sh("rsync", "-ai", "--delete", "--exclude=.git", *more, str(repo) + "/", str(self.config) + "/")

    def test_rsync(self):
        repo = self.repository("a", "b")
        self.assertNotEqual(self.rsync(repo), "")
        self.ready()
        self.same(repo)
        self.assertEqual(self.rsync(repo), "")
        # Runs change nothing that rsync would see.
        self.assertEqual(self.mount.sync("a").trigger("run"), 0)
        self.assertEqual(self.rsync(repo), "")
        self.assertEqual(self.rsync(repo, "--checksum"), "")
        shutil.rmtree(repo / "syncs/b")
        (repo / "README.md").unlink()
        (repo / "syncs/a/mode").write_text("upsert\n")
        os.utime(repo / "syncs/a/mode", (2_000_000_000, 2_000_000_000))
        self.assertRegex(self.rsync(repo), r"deleting +syncs/b/\n")
        self.assertEqual(self.rsync(repo), "")
        self.same(repo)
        self.assertEqual(os.listdir(self.mount.path("syncs")), ["a"])
        self.ready()
        self.assertEqual(self.mount.sync("a").trigger("run"), 0)
        # A repository without any is applied as well.
        shutil.rmtree(repo / "syncs")
        shutil.rmtree(repo / "connections")
        self.rsync(repo)
        self.assertEqual(self.names(), {".gitignore"})
        self.assertEqual(self.mount.read("status"), "")

    def test_rsync_of_a_fault(self):
        repo = self.repository("a", "b")
        self.rsync(repo)
        good = (repo / "syncs/a/config.json").read_text()
        (repo / "syncs/a/config.json").write_text(good.replace("identifier", "identifer"))
        done = subprocess.run(["rsync", "-a", "--delete", str(repo) + "/", str(self.config) + "/"],
                              text=True, capture_output=True, env=self.env)
        self.assertNotEqual(done.returncode, 0)
        self.assertEqual(self.control(), errno.EBADMSG)
        self.assertEqual((self.config / "syncs/a/config.json").read_text(), good)
        self.assertNotIn("config.json.rej", self.names("syncs/a"))
        (repo / "syncs/a/config.json").write_text(good)
        os.utime(repo / "syncs/a/config.json", (2_000_000_000, 2_000_000_000))
        self.assertIn("syncs/a/config.json", self.rsync(repo))
        self.ready()
        self.assertEqual(self.rsync(repo), "")
        self.assertEqual(self.names("syncs/a"), {"config.json", "mappings.csv", "mode"})

    # -- git --

    def test_git_in_place(self):
        self.copy(self.repository("a", "b"))
        self.git("init", "-q")
        self.git("add", "-A")
        self.git("commit", "-qm", "first")
        self.assertEqual(self.git("status", "--porcelain"), "")
        self.git("fsck", "--strict")
        self.assertEqual(self.git("hash-object", "syncs/a/config.json"),
                         self.git("rev-parse", "HEAD:syncs/a/config.json"))
        (self.config / "syncs/a/mode").write_text("upsert\n")
        (self.config / "x.tmp").write_text("ignored\n")
        self.sh("cp", "-r", "syncs/a", "syncs/c")
        self.assertEqual(self.git("status", "--porcelain").split("\n")[:-1], [" M syncs/a/mode", "?? syncs/c/"])
        self.git("stash", "-q")
        self.assertEqual(self.mount.read("syncs/a/mode"), "mirror\n")
        self.git("stash", "pop", "-q")
        self.assertEqual(self.mount.read("syncs/a/mode"), "upsert\n")
        self.git("clean", "-fdxq")
        self.assertEqual(self.names(), TREE | {".git", ".gitignore", "README.md"})
        self.assertEqual(sorted(os.listdir(self.mount.path("syncs"))), ["a", "b"])
        self.git("checkout", "-q", "--", ".")
        self.assertEqual(self.git("status", "--porcelain"), "")
        # Branches: another set of syncs, and back.
        self.git("switch", "-qc", "other")
        self.git("rm", "-rq", "syncs/b")
        self.add(self.config, "c")
        self.commit(self.config)
        self.ready()
        self.git("switch", "-q", "main")
        self.assertEqual(sorted(os.listdir(self.mount.path("syncs"))), ["a", "b"])
        self.ready()
        self.git("switch", "-q", "other")
        self.assertEqual(sorted(os.listdir(self.mount.path("syncs"))), ["a", "c"])
        self.git("merge", "-q", "main")
        self.assertEqual(self.git("status", "--porcelain"), "")
        self.git("gc", "-q")
        self.git("fsck", "--strict")
        # After a restart nothing has changed, not even for the index.
        inodes = {p: os.stat(self.config / p).st_ino for p in ("syncs/a/mode", "syncs/a", ".git/HEAD")}
        times = os.stat(self.config / "syncs/a/mode").st_mtime_ns
        self.mount.stop()
        self.mount.start()
        self.assertEqual(self.git("diff-files", "--name-only"), "")
        self.assertEqual(self.git("status", "--porcelain"), "")
        self.assertEqual(inodes, {p: os.stat(self.config / p).st_ino for p in inodes})
        self.assertEqual(times, os.stat(self.config / "syncs/a/mode").st_mtime_ns)
        self.assertEqual(self.git("log", "--format=%s"), "x\nfirst\n")

    def test_git_dir_elsewhere(self):
        repo = self.origin("a")
        env = {"GIT_DIR": str(repo / ".git"), "GIT_WORK_TREE": str(self.config)}
        self.git("checkout", "-qf", "main", **env)
        self.assertEqual(self.names(), TREE | {".gitignore", "README.md"})
        self.assertEqual(self.git("status", "--porcelain", **env), "")
        self.ready()
        self.add(self.config, "b")
        self.git("clean", "-fdxq", **env)
        self.assertEqual(os.listdir(self.mount.path("syncs")), ["a"])
        os.unlink(self.config / "syncs/a/mode")
        self.assertEqual(self.control(), errno.EBADMSG)
        self.git("reset", "-q", "--hard", **env)
        self.ready()
        self.assertEqual(self.git("status", "--porcelain", **env), "")

    def test_pull(self):
        repo = self.pulled("a", "b")
        self.ready()
        self.same(repo)
        self.assertEqual(self.git("status", "--porcelain"), "")
        a = self.mount.sync("a")
        a.run()
        self.assertEqual(self.dest.sql("SELECT * FROM a ORDER BY 1"), [["1", "a"], ["2", "b"]])
        # A definition changes, a sync comes, another goes.
        (repo / "syncs/a/mode").write_text("upsert\n")
        shutil.rmtree(repo / "syncs/b")
        self.add(repo, "c")
        self.commit(repo)
        self.pull()
        self.ready()
        self.same(repo)
        self.assertEqual(sorted(os.listdir(self.mount.path("syncs"))), ["a", "c"])
        self.assertEqual(a.read("mode"), "upsert\n")
        a.run()
        self.assertEqual(ops(a.changes()), {})
        self.assertEqual(self.git("status", "--porcelain"), "")

    def test_order_is_irrelevant(self):
        # Every file alone, the sync before its connections and the mode before its config.
        repo = self.repository("a")
        files = sorted(str(p.relative_to(repo)) for p in repo.rglob("*") if p.is_file())
        for order in sorted(files, reverse=True), sorted(files, key=lambda f: f[::-1]):
            for file in order:
                (self.config / file).parent.mkdir(parents=True, exist_ok=True)
                self.sh("cp", repo / file, self.config / file)
                self.assertNotEqual(self.control(), errno.EINVAL)
            self.ready()
            self.mount.sync("a").run()
            self.sh("find", ".", "-mindepth", "1", "-delete")

    def test_delivered_state_is_kept(self):
        repo = self.pulled("a")
        a = self.mount.sync("a")
        a.run()
        self.assertEqual(ops(a.changes()), {"insert": 2})
        # Deleted by one commit, recreated by the next.
        shutil.move(repo / "syncs/a", self.dir / "a")
        self.commit(repo)
        self.pull()
        self.assertEqual(self.mount.read("status"), "")
        shutil.move(self.dir / "a", repo / "syncs/a")
        self.commit(repo)
        self.pull()
        self.ready()
        a.run()
        self.assertEqual(ops(a.changes()), {})
        # git checkout of the same, rm -r and all.
        self.sh("rm", "-r", "syncs/a")
        self.git("checkout", "-q", "--", "syncs/a")
        a.run()
        self.assertEqual(ops(a.changes()), {})
        # A rename moves it, by mv as by git mv.
        self.source.write_text("id,v\n1,a\n2,B\n")
        self.git("mv", "syncs/a", "syncs/b")
        b = self.mount.sync("b")
        b.run()
        self.assertEqual(ops(b.changes()), {"update": 1})
        self.sh("mv", "syncs/b", "syncs/c")
        c = self.mount.sync("c")
        c.run()
        self.assertEqual((ops(c.changes()), c.last_run()), ({}, b.last_run() if b.path.exists() else 5))
        self.assertEqual(self.dest.sql("SELECT count(*) FROM a"), [[2]])

    # -- bad commits --

    FAULTS = {
        "syntax": ("syncs/a/config.json", lambda t: t.replace(": {", " {", 1)),
        "meaning": ("syncs/a/config.json", lambda t: t.replace("identifier", "identifer")),
        "truncated": ("syncs/a/config.json", lambda t: t[:len(t) // 2]),
        "mappings": ("syncs/a/mappings.csv", lambda t: t + "w,w,w,w\n"),
        "mode": ("syncs/a/mode", lambda t: "mirrored\n"),
        "connection": ("connections/lite.json", lambda t: t.replace("path", "pth")),
    }

    def faults(self, tree):
        """Lines of `retlfs check` without the directory they stand in."""
        done = subprocess.run([binary(), "check", str(tree)], text=True, capture_output=True)
        self.assertIn(done.returncode, (0, 1), done.stderr)
        return done.returncode, [l.replace(str(tree) + "/", "") for l in done.stdout.splitlines()]

    def test_bad_commits(self):
        repo = self.pulled("a", "b")
        b = self.mount.sync("b")
        for fault, (file, spoil) in self.FAULTS.items():
            with self.subTest(fault):
                good = (repo / file).read_text()
                (repo / file).write_text(spoil(good))
                code, said = self.faults(repo)
                self.assertEqual(code, 1)
                self.commit(repo, fault)
                subprocess.run(["git", "pull", "-q", "origin", "main"], cwd=self.config, env=self.env,
                               capture_output=True, stdin=subprocess.DEVNULL)
                # What was good stays in force, here and everywhere.
                self.assertEqual((self.config / file).read_text(), good)
                b.run()
                self.assertEqual(self.control(), errno.EBADMSG)
                # The gate says where, in the words of `retlfs check`.
                for text in self.mount.read("error_log"), self.mount.read("control"):
                    lines = [re.sub(r"^(#   |  )", "", l) for l in text.splitlines()]
                    for line in said:
                        # Without the connection no definition stands, but here the old one does.
                        if not (fault == "connection" and line.startswith("syncs/")):
                            self.assertIn(line, lines)
                        else:
                            break
                # The next good commit mends it.
                (repo / file).write_text(good)
                (repo / "README.md").write_text("mended after %s\n" % fault)
                self.commit(repo, "mend " + fault)
                self.git("fetch", "-q", "origin")
                self.git("reset", "-q", "--hard", "origin/main")
                self.ready()
                self.assertEqual(self.git("status", "--porcelain"), "")
                self.assertEqual(self.faults(repo)[0], 0)
                self.mount.sync("a").run()

    def test_draft_in_the_same_words(self):
        repo = self.repository("a")
        (repo / "syncs/a/mode").unlink()
        code, said = self.faults(repo)
        self.assertEqual((code, len(said)), (1, 1))
        self.copy(repo)
        self.assertEqual(self.control(), errno.EBADMSG)
        self.assertIn("  " + said[0] + "\n", self.mount.read("error_log"))

    # -- control --

    def test_control(self):
        text = self.mount.read("control")
        self.assertEqual(os.stat(self.mount.path("control")).st_size, len(text.encode()))
        self.assertTrue(all(l.startswith("#") for l in text.splitlines()))
        for verb in "check", "reload", "", "# check", "\n \n", "# a\n\nreload\n", text:
            self.assertEqual(self.control(verb), 0, verb)
        self.assertEqual(self.mount.read("error_log"), "")
        for verb in "chek", "check now", "check\nreload":
            self.assertEqual(self.control(verb), errno.EINVAL, verb)
        self.assertRegex(self.mount.read("error_log"), r'unknown verb "chek"; allowed: check, reload')
        self.assertTrue(stat.S_ISREG(os.stat(self.mount.path("control")).st_mode))
        for shell in "bash", "dash":
            if shutil.which(shell):
                self.sh(shell, "-c", "echo check > ../control")
        os.mkdir(self.config / "syncs/a")
        for shell in "bash", "dash":
            if shutil.which(shell):
                done = subprocess.run([shell, "-c", "echo check > control"], cwd=self.mount.point,
                                      capture_output=True, text=True, env=self.env)
                self.assertNotEqual(done.returncode, 0)
                if shell == "bash":
                    self.assertIn("Bad message", done.stderr)
        self.assertRegex(self.mount.read("error_log"), r"control\n  check by uid=%d pid=\d+: not everything is ready\n"
                         r"  syncs/a: error: " % os.getuid())
        text = self.mount.read("control")
        self.assertIn("not everything is ready", text)
        self.assertEqual(os.stat(self.mount.path("control")).st_size, len(text.encode()))
        os.rmdir(self.config / "syncs/a")
        self.ready()


if __name__ == "__main__":
    main()
