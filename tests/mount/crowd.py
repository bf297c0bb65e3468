#!/usr/bin/env python3
"""Many processes do everything at once to the same few syncs: edit, run, cancel, list, rename, remove,
watch. No model can say what each of them sees. What must hold: the errnos are those of retlfs(5), a
text that is read is one that was written whole and accepted, nothing hangs, no sanitizer finds
anything; and afterwards every sync delivers what it should."""

import errno
import json
import os
import random
import select
import shutil
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from forked import forked, seed
from retlfs import MountTest, Sqlite, errno_name, main, mappings_csv

PROCESSES = 6
STEPS = int(os.environ.get("RETLFS_TEST_STEPS", "150"))
SYNCS = ["a", "b", "c"]
ROWS = 50
GONE = {errno.ENOENT, errno.ENOTDIR, errno.ESTALE}
REFUSED = GONE | {errno.EINVAL, errno.EBADMSG, errno.ENOEXEC, errno.EBUSY, errno.EIO, errno.ECANCELED, errno.EPERM,
                  errno.EEXIST, errno.ENOTEMPTY, errno.EAGAIN}
FILES = ["status", "status.json", "error", "log", "trigger", "modes", "pending/summary", "pending/changes.jsonl", "pending/diff",
         "rejected.jsonl", "runs/last/summary.json", "runs/last/log", "runs/last/changes.jsonl", "runs/last/config.json"]
ROOT_FILES = ["status", "error_log", "control", "metrics", "README", "drivers/sqlite/options.json"]
DIRS = ["", "pending", "pending/insert", "pending/update", "rejected", "runs", "runs/last", "history", "history/config.json"]
VERBS = ["run", "start", "plan", "approve", "cancel", "wait", "retry", "full", "baseline", "reset", "pause", "resume", "bogus"]


def config(name, **more):
    return json.dumps({"source": {"connection": "lite", "query": "SELECT id, v FROM crowd"}, "identifier": "id",
                       "destination": {"connection": "to", "object": "d_" + name, "create": True}, **more}) + "\n"


GOOD = {"mappings.csv": [mappings_csv([("id", "id"), ("v", "v")]), "column,field,expression\nid,id,\nv,v,\n"],
        "mode": ["upsert\n", "mirror\n"], "schedule": ["off\n", "every 1d\n"]}
BAD = {"config.json": '{"source": 1}\n', "mappings.csv": "column\n", "mode": "bogus\n", "schedule": "sometimes\n"}


class Person:
    def __init__(self, top, seed):
        self.random, self.top, self.trail = random.Random(seed), str(top), []

    def some(self, what):
        return self.random.choice(what)

    def sync(self):
        return self.top + "/" + self.some(["syncs", "syncs", "config/syncs"]) + "/" + self.some(SYNCS)

    def text(self):
        """A checked file's name, and a text for it."""
        name = self.some(list(BAD))
        good = GOOD.get(name) or [config(s, **more) for s in SYNCS for more in ({}, {"max_deletes": "90%"})]
        return name, self.some(good + [BAD[name]])

    def write(self, path, text, flags=os.O_TRUNC):
        fd = os.open(path, os.O_WRONLY | flags, 0o644)
        try:
            os.write(fd, text.encode())
        finally:
            os.close(fd)

    # -- operations: their names are drawn; each tells which errnos it may end with --

    def op_read(self, ok=GONE):
        with open(self.sync() + "/" + self.some(FILES), "rb") as file:
            file.read()

    def op_read_root(self, ok=frozenset()):
        with open(self.top + "/" + self.some(ROOT_FILES), "rb") as file:
            assert file.read() is not None

    def op_read_text(self, ok=GONE):
        name, _ = self.text()
        with open(self.sync() + "/" + name) as file:
            text = file.read()
        known = GOOD.get(name) or [config(s, **more) for s in SYNCS for more in ({}, {"max_deletes": "90%"})]
        assert text in known + [""], "%s reads %r" % (name, text)

    def op_list(self, ok=GONE):
        for entry in os.scandir(self.sync() + "/" + self.some(DIRS)):
            try:
                entry.stat()
            except OSError as e:
                assert e.errno in GONE, errno_name(e.errno)

    def op_poll(self, ok=GONE):
        with open(self.sync() + "/status", "rb") as file:
            watch = select.poll()
            watch.register(file, select.POLLPRI)
            watch.poll(self.some([0, 20]))
            file.read()

    def op_edit(self, ok=REFUSED):
        name, text = self.text()
        self.write(self.sync() + "/" + name, text, os.O_TRUNC | os.O_CREAT)

    def op_edit_in_pieces(self, ok=REFUSED):
        name, text = self.text()
        fd = os.open(self.sync() + "/" + name, os.O_RDWR)
        try:
            os.ftruncate(fd, 0)
            for at in range(0, len(text), 40):
                os.pwrite(fd, text[at:at + 40].encode(), at)
            os.fsync(fd)
        finally:
            os.close(fd)

    def op_replace(self, ok=REFUSED):
        name, text = self.text()
        temp = "%s/.new.%d" % (self.sync(), os.getpid())
        self.write(temp, text, os.O_CREAT | os.O_TRUNC)
        os.rename(temp, os.path.dirname(temp) + "/" + name)

    def op_remove(self, ok=GONE | {errno.EPERM}):
        os.unlink(self.sync() + "/" + self.some(list(BAD) + [n + ".rej" for n in BAD]))

    def op_attributes(self, ok=REFUSED | {errno.EISDIR, errno.EACCES}):
        path = self.sync() + "/" + self.some(list(BAD) + ["trigger", "status", "."])
        self.some([lambda: os.chmod(path, self.some([0o755, 0o775, 0o644])), lambda: os.utime(path, (1, 2)),
                   lambda: os.chown(path, 0, self.some([0, 1])), lambda: os.truncate(path, 0)])()

    def op_verb(self, ok=REFUSED):
        self.write(self.sync() + "/trigger", self.some(VERBS))

    def op_run(self, ok=REFUSED):
        self.write(self.sync() + "/trigger", "run")

    def op_control(self, ok=REFUSED):
        self.write(self.top + "/control", self.some(["check", "reload"]))

    def op_make(self, ok=REFUSED):
        name = self.some(SYNCS)
        path = self.top + "/syncs/" + name
        try:
            os.mkdir(path)
        except FileExistsError:
            pass
        for file, text in ("config.json", config(name)), *((n, t[0]) for n, t in GOOD.items()):
            self.write(path + "/" + file, text, os.O_TRUNC | os.O_CREAT)

    def op_remove_sync(self, ok=REFUSED):
        if self.random.random() < 0.3:
            shutil.rmtree(self.sync())

    def op_rename_sync(self, ok=REFUSED):
        os.rename(self.sync(), self.top + "/syncs/" + self.some(SYNCS))

    def go(self):
        doing = [getattr(self, n) for n in sorted(dir(self)) if n.startswith("op_")]
        for _ in range(STEPS):
            what = self.some(doing)
            self.trail = self.trail[-20:] + [what.__name__]
            try:
                what()
            except OSError as e:
                allowed = what.__func__.__defaults__[0]
                assert e.errno in allowed, "%s: %s" % (what.__name__, e)


class Crowd(MountTest):
    def test_everybody_everywhere(self):
        self.mount.connect("to", Sqlite(self.mount.data / "to.db").connection)
        self.sqlite.sql("CREATE TABLE crowd(id INTEGER PRIMARY KEY, v TEXT)")
        self.sqlite.fill("crowd", [(i, "v%d" % i) for i in range(ROWS)])
        Person(self.mount.point, 0).op_make()
        number = seed()
        codes = forked([Person(self.mount.point, number + i) for i in range(PROCESSES)])
        self.assertEqual(codes, [0] * PROCESSES)
        self.settled()
        self.mount.stop()
        self.mount.start()
        self.settled()

    def settled(self):
        """Whatever was done to a sync, good texts make it whole again, and it delivers."""
        for name in SYNCS:
            sync = self.mount.sync(name)
            sync.define()
            for file in os.listdir(sync.path):
                if file.endswith(".rej"):
                    os.unlink(sync.path / file)
            sync.write("config.json", config(name))
            for file, texts in GOOD.items():
                sync.write(file, texts[0])
            sync.trigger("cancel")
            sync.trigger("wait")
            self.assertFalse([f for f in os.listdir(sync.path) if f.startswith(".fuse")])
            sync.run("full")
            self.assertEqual(sync.state(), "ready", sync.read("status"))
            got = Sqlite(self.mount.data / "to.db").sql("SELECT id, v FROM d_%s ORDER BY id" % name)
            self.assertEqual(got, [[i, "v%d" % i] for i in range(ROWS)])


main()
