#!/usr/bin/env python3
"""What definitions may reach of the machine. On a mount of one's own all that the daemon may; on a
shared one (allow_other) only what its options allow: no path, link or glob leads out, no command
runs, no password of the daemon's own is given away."""

import errno
import os
import socket
import sqlite3
import struct
import sys
import threading
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from retlfs import Mount, StartError, main, skip

BEYOND = r"allow_path"


class Asking(threading.Thread):
    """A server that asks whoever comes for the password in clear, and notes what it is told."""

    def __init__(self):
        super().__init__(daemon=True)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.told = []

    def run(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            with client, client.makefile("rb") as said:
                while True:
                    size, code = struct.unpack("!ii", said.read(8))
                    said.read(size - 8)
                    if code not in (80877103, 80877104):  # SSL, GSS: no
                        break
                    client.sendall(b"N")
                client.sendall(b"R" + struct.pack("!ii", 8, 3))
                if said.read(1) == b"p":
                    self.told.append(said.read(struct.unpack("!i", said.read(4))[0] - 4).rstrip(b"\0").decode())

    def stop(self):
        self.listener.close()


class Reach(unittest.TestCase):
    def mounted(self, *options, **kw):
        mount = Mount(options=options, expect=r"^retlfs: (error|warning): sync=", **kw)
        self.addCleanup(mount.close)
        (mount.data / "in.csv").write_text("id\n1\n")
        (mount.dir / "secret.csv").write_text("id\n7\n")
        return mount

    def defined(self, mount, connection, name="s", object="t"):
        mount.connect("lite", {"driver": "sqlite", "path": str(mount.data / "out.db")})
        sqlite3.connect(mount.data / "out.db").close()
        mount.connect("in", connection)
        return mount.sync(name).define(
            {"source": {"connection": "in"} | ({"table": "t"} if connection["driver"] != "csv" else {}), "identifier": ["id"],
             "destination": {"connection": "lite", "object": object, "create": True}}, [("id", "id")], "upsert")

    def refused(self, mount, connection, words):
        with self.assertRaises(OSError) as caught:
            mount.connect("refused", connection)
        self.assertEqual(caught.exception.errno, errno.EINVAL)
        self.assertRegex(mount.read("error_log"), words)
        self.assertFalse(os.path.exists(mount.path("connections/refused.json")))

    def fails(self, sync, words):
        self.assertNotEqual(sync.trigger("run"), 0)
        self.assertRegex(sync.read("error"), words)

    def test_a_mount_of_ones_own(self):
        mount = self.mounted()
        os.symlink(mount.dir / "secret.csv", mount.data / "link.csv")
        sync = self.defined(mount, {"driver": "csv", "path": str(mount.data / "link.csv")})
        sync.run()
        self.assertEqual(sync.summary()["delivered"], 1)
        os.environ["RETLFS_TEST_SECRET"] = "x"
        self.addCleanup(os.environ.pop, "RETLFS_TEST_SECRET")
        mount.connect("pg", {"driver": "postgres", "password": {"command": ["/bin/echo", "x"]}})

    def test_paths(self):
        mount = self.mounted("allow_other")
        for path in "/etc/passwd", str(mount.data) + "2/in.csv", str(mount.dir / "secret.csv"), "/", str(mount.dir / "*/in.csv"):
            self.refused(mount, {"driver": "csv", "path": path}, BEYOND)
            self.refused(mount, {"driver": "jsonl", "path": path}, BEYOND)
            self.refused(mount, {"driver": "sqlite", "path": path}, BEYOND)
        sync = self.defined(mount, {"driver": "csv", "path": str(mount.data / "in.csv")})
        sync.run()
        self.assertEqual(sqlite3.connect(mount.data / "out.db").execute("SELECT id FROM t").fetchall(), [("1",)])

    def test_links_lead_nowhere(self):
        mount = self.mounted("allow_other")
        data = mount.data
        (mount.dir / "away").mkdir()
        (mount.dir / "away/a.csv").write_text("id\n7\n")
        os.symlink("../secret.csv", data / "link.csv")
        os.symlink(mount.dir / "secret.csv", data / "whole.csv")
        os.symlink("../away", data / "dir")
        os.symlink("in.csv", data / "within.csv")
        for n, path in enumerate(("../secret.csv", "link.csv", "whole.csv", "dir/a.csv", "dir/*.csv", "*/a.csv", "li*.csv",
                                  "x/../../secret.csv", "dir/../secret.csv")):
            with self.subTest(path=path):
                sync = self.defined(mount, {"driver": "csv", "path": "%s/%s" % (data, path)}, "s%d" % n)
                self.fails(sync, BEYOND + "|no file matches|a directory of|No such file")
                self.assertNotIn("away/a.csv", sync.read("error").replace(path, ""))
        self.defined(mount, {"driver": "csv", "path": str(data / "within.csv")}, "within").run()

    def test_a_file_that_becomes_a_link(self):
        mount = self.mounted("allow_other")
        sync = self.defined(mount, {"driver": "csv", "path": str(mount.data / "in.csv")}).run()
        os.unlink(mount.data / "in.csv")
        os.symlink("../secret.csv", mount.data / "in.csv")
        self.fails(sync, BEYOND)

    def test_sqlite(self):
        mount = self.mounted("allow_other")
        secret = sqlite3.connect(mount.dir / "secret.db")
        secret.executescript("CREATE TABLE t(id); INSERT INTO t VALUES (7)")
        secret.close()
        os.symlink("../secret.db", mount.data / "link.db")
        os.symlink("../new.db", mount.data / "nowhere.db")
        os.symlink("out.db", mount.data / "within.db")
        sync = self.defined(mount, {"driver": "sqlite", "path": str(mount.data / "link.db")})
        self.fails(sync, BEYOND)
        mount.connect("in", {"driver": "csv", "path": str(mount.data / "in.csv")})
        for name in "link.db", "nowhere.db":  # as a destination; created beyond, too
            mount.connect("lite", {"driver": "sqlite", "path": str(mount.data / name)})
            sync = mount.sync("to-" + name).define(
                {"source": {"connection": "in"}, "identifier": ["id"],
                 "destination": {"connection": "lite", "object": "u", "create": True}}, [("id", "id")], "upsert")
            self.fails(sync, BEYOND)
        self.assertFalse((mount.dir / "new.db").exists())
        for name in "within.db", "new.db":
            mount.connect("lite", {"driver": "sqlite", "path": str(mount.data / name)})
            sync.run("full")
            self.assertEqual(sqlite3.connect(mount.data / name).execute("SELECT id FROM u").fetchall(), [("1",)])

    def test_secrets(self):
        os.environ["RETLFS_TEST_ONE"] = os.environ["RETLFS_TEST_TWO"] = "x"
        self.addCleanup(os.environ.pop, "RETLFS_TEST_ONE")
        self.addCleanup(os.environ.pop, "RETLFS_TEST_TWO")
        mount = self.mounted("allow_other", "allow_env=RETLFS_TEST_TWO")
        asking = Asking()
        asking.start()
        self.addCleanup(asking.stop)
        pg = {"driver": "postgres", "host": "127.0.0.1", "port": asking.port, "dbname": "d", "user": "u", "sslmode": "disable"}
        self.refused(mount, {**pg, "password": {"file": "/etc/shadow"}}, BEYOND)
        self.refused(mount, {**pg, "password": {"command": ["/bin/cat", "/etc/shadow"]}}, "allow_command")
        self.fails(self.defined(mount, {**pg, "password": {"env": "RETLFS_TEST_ONE"}}, "one"), "allow_env")
        (mount.data / "password").write_text("from a file\n")
        self.fails(self.defined(mount, {**pg, "password": {"file": str(mount.data / "password")}}, "file"), "connection|server")
        self.fails(self.defined(mount, {**pg, "password": {"env": "RETLFS_TEST_TWO"}}, "two"), "connection|server")
        self.assertEqual(asking.told, ["from a file", "x"])

    def test_commands_if_allowed(self):
        mount = self.mounted("allow_other", "allow_command")
        mount.connect("pg", {"driver": "postgres", "host": "127.0.0.1", "password": {"command": ["/bin/echo", "x"]}})

    def test_postgres_on_this_machine(self):
        mount = self.mounted("allow_other")
        socket_here = str(mount.data)
        for odd, words in (({}, "socket"), ({"host": "/run/x"}, BEYOND), ({"host": "db1,/run/x"}, BEYOND), ({"host": "db1,"}, BEYOND),
                           ({"host": "@abstract"}, BEYOND), ({"dsn": "host=/run/x"}, BEYOND), ({"dsn": "service=crm"}, "service"),
                           ({"dsn": "host=db1 passfile=/root/.pgpass"}, BEYOND), ({"dsn": "host=db1 sslkey=/etc/key"}, BEYOND),
                           ({"dsn": "postgresql://db1/x?sslcert=/etc/cert"}, BEYOND)):
            with self.subTest(**odd):
                self.refused(mount, {"driver": "postgres", **odd}, words)
        for good in {"host": "db1"}, {"host": socket_here}, {"dsn": "hostaddr=127.0.0.1"}, {"dsn": "host=db1 sslrootcert=%s/ca" % socket_here}:
            mount.connect("good", {"driver": "postgres", **good})

    def test_the_daemons_own_password(self):
        """~/.pgpass and PGPASSWORD are used where the daemon's user works alone, and only there."""
        asking = Asking()
        asking.start()
        self.addCleanup(asking.stop)
        pg = {"driver": "postgres", "host": "127.0.0.1", "port": asking.port, "dbname": "d", "user": "u", "sslmode": "disable"}
        for options, env, told in (((), {}, ["of the file"]), ((), {"PGPASSWORD": "of the environment"}, ["of the environment"]),
                                   (("allow_other",), {"PGPASSWORD": "of the environment"}, [])):
            with self.subTest(options=options, env=env):
                mount = Mount(options=options, expect=r"^retlfs: (error|warning): sync=", start=False)
                self.addCleanup(mount.close)
                (mount.dir / ".pgpass").write_text("*:*:*:*:of the file\n")
                os.chmod(mount.dir / ".pgpass", 0o600)
                mount.env = {"HOME": str(mount.dir), **env}
                mount.start()
                asking.told.clear()
                self.fails(self.defined(mount, pg), "password|connection|server")
                self.assertEqual(asking.told, told)

    def test_a_mount_that_becomes_shared(self):
        """Definitions from before are judged as new ones."""
        mount = self.mounted()
        sync = self.defined(mount, {"driver": "csv", "path": str(mount.dir / "secret.csv")}).run()
        mount.stop()
        mount.options = ["allow_other", "allow_path=%s" % mount.data]
        mount.start()
        self.fails(sync, BEYOND)

    def test_options_that_make_no_sense(self):
        for option in "allow_path=relative", "allow_path=/nowhere at all", "allow_path=/etc/passwd":
            with self.assertRaises(StartError) as caught:
                Mount(options=[option]).close()
            self.assertIn("allow_path", caught.exception.stderr)


if __name__ == "__main__":
    if os.getuid() != 0:
        skip("allow_other needs root, or user_allow_other in fuse.conf")
    main()
