#!/usr/bin/env python3
"""A connector of the user's own: examples/connector, put into the mount in the ways that tools have, with its
mistakes told by line, used in upsert, update and mirror against a server that holds people, changed while its
syncs are there and while they run, and gone again. What the server holds is compared exactly."""

import errno
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from retlfs import ROOT, Mount, MountTest, Sqlite, command, main, wait_for

EXAMPLE = ROOT / "examples/connector"
MANIFEST = (EXAMPLE / "drivers/acme/connector.json").read_text()
TOKEN = "acme-7d1f"


class Acme:
    """The API that the example is for. `gate`, when set, holds every call until it is opened."""

    def __init__(self):
        self.lock, self.gate = threading.Lock(), threading.Event()
        self.gate.set()
        self.people, self.calls, self.waiting, self.versions = {}, 0, 0, set()
        acme = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                status, answer = acme.take(self.path, self.headers, body)
                text = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *args):
                pass

        class Server(ThreadingHTTPServer):
            def handle_error(self, request, address):  # a client that is killed
                pass

        self.server = Server(("127.0.0.1", 0), Handler)
        self.url = "http://127.0.0.1:%d/api" % self.server.server_port
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def take(self, path, headers, body):
        with self.lock:
            self.calls += 1
            self.waiting += 1
        self.gate.wait()
        with self.lock:
            self.waiting -= 1
            self.versions.add(headers.get("X-Version"))
            if headers["Authorization"] != "Bearer " + TOKEN:
                return 401, {"code": "token", "message": "no such token"}
            verb = path.removeprefix("/api/v1/people/")
            if verb == "delete":
                for key in body["ids"]:
                    self.people.pop(key, None)
                return 200, {}
            refused = []
            for index, person in enumerate(body["people"]):
                if person.get("name") == "nobody":
                    refused.append({"index": index, "code": "name", "message": "nobody is no name"})
                elif verb == "update" and person["id"] not in self.people:
                    refused.append({"index": index, "code": "id", "message": "no such person"})
                elif verb == "update":
                    self.people[person["id"]].update(person)
                else:
                    self.people[person["id"]] = person
            return 200, {"refused": refused}

    def close(self):
        self.gate.set()
        self.server.shutdown()
        self.server.server_close()


def person(key, name=None, city="Ulm"):
    return {"id": key, "name": name or "n%d" % key, "address": {"city": city}}


def line_of(text, what):
    """Line and column, from 1, of what stands in the text."""
    at = text.index(what)
    return "%d:%d" % (text.count("\n", 0, at) + 1, at - text.rfind("\n", 0, at))


class Connector(MountTest):
    def setUp(self):
        super().setUp()
        self.dir = self.mount.path("drivers/" + self.name)

    def make(self, text=MANIFEST):
        self.dir.mkdir()
        self.mount.write("drivers/%s/connector.json" % self.name, text)

    def shown(self, name):
        return (self.dir / name).read_text()

    def server(self):
        acme = Acme()
        self.addCleanup(acme.close)
        return acme

    def use(self, acme, rows, mode, mount=None, fields=(("id", "id"), ("name", "name"), ("city", "address.city"))):
        mount = mount or self.mount
        source = Sqlite(mount.data / (self.name + ".db"))
        source.sql("CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT, city TEXT)")
        source.fill("t", [(i, "n%d" % i, "Ulm") for i in range(rows)])
        token = mount.data / "token"
        token.write_text(TOKEN + "\n")
        mount.connect("from_" + self.name, source.connection)
        mount.connect("to_" + self.name, {"driver": self.name, "base_url": acme.url, "token": {"file": str(token)}})
        return source, mount.sync(self.name).define(
            config={"source": {"connection": "from_" + self.name, "table": "t"}, "identifier": "id",
                    "destination": {"connection": "to_" + self.name}}, mappings=list(fields), mode=mode)

    # ---- what is built in ----

    def test_built_in(self):
        self.mount.path("config/drivers").mkdir(exist_ok=True)
        for name in os.listdir(self.mount.path("drivers")):
            if not self.mount.path("drivers/" + name).is_dir():
                continue
            manifest = self.mount.path("drivers/%s/connector.json" % name)
            built = ROOT / ("drivers/connectors/%s.json" % name)
            self.assertEqual(manifest.exists(), built.exists(), name)
            if not built.exists():
                continue
            self.assertEqual(manifest.read_text(), built.read_text())
            self.assertIn("connector.json", os.listdir(manifest.parent))
            self.assertEqual(os.stat(manifest).st_size, len(built.read_bytes()))
            self.expect_errno(errno.EACCES, self.mount.write, "drivers/%s/connector.json" % name, MANIFEST)
            self.expect_errno(errno.EEXIST, os.mkdir, manifest.parent)
            self.expect_errno(errno.EPERM, os.mkdir, self.mount.path("config/drivers/" + name))
            self.expect_errno(errno.EPERM, os.rmdir, manifest.parent)
            self.expect_errno(errno.EPERM, os.unlink, manifest)
            self.expect_errno(errno.EPERM, os.rename, manifest.parent, self.mount.path("drivers/other"))
            self.assertNotIn(name, os.listdir(self.mount.path("config/drivers")))

    # ---- ways to write one ----

    def test_files(self):
        self.make()
        self.assertEqual(sorted(os.listdir(self.dir)), ["README", "connector.json", "error", "modes", "options.json"])
        self.assertEqual(os.listdir(self.mount.path("config/drivers/" + self.name)), ["connector.json"])
        self.assertEqual(self.shown("README"), "\n".join(json.loads(MANIFEST)["readme"]) + "\n")
        self.assertEqual(self.shown("modes"), "upsert\nupdate\nmirror\nfull\n")
        options = json.loads(self.shown("options.json"))
        self.assertEqual(options["properties"]["driver"], {"const": self.name})
        self.assertIn("token", options["required"])
        self.assertEqual(options["$defs"]["destination"]["properties"]["notify"]["default"], False)
        self.assertEqual(self.shown("error"), "")
        for name in "README", "modes", "options.json", "error":
            self.expect_errno(errno.EACCES, self.mount.write, "drivers/%s/%s" % (self.name, name), "x")
            self.expect_errno(errno.EPERM, os.rename, self.dir / "connector.json", self.dir / name)
        self.expect_errno(errno.ENOTEMPTY, os.rmdir, self.dir)
        for bad in "bad name", "-x":
            self.expect_errno(errno.EINVAL, os.mkdir, self.mount.path("drivers/" + bad))

    def test_tools(self):
        """Each leaves the same text in force, and a second text in the place of a first."""
        new = MANIFEST.replace("people in Acme", "persons in Acme")
        tools = {
            "cp": lambda to, text: command("cp", text, to),
            "cat": lambda to, text: command("sh", "-c", "cat %s > %s" % (text, to)),
            "tee": lambda to, text: command("sh", "-c", "tee %s < %s" % (to, text)),
            "dd": lambda to, text: command("dd", "if=%s" % text, "of=%s" % to, "bs=100"),
            "mv": lambda to, text: command("sh", "-c", "cp %s %s.new && mv %s.new %s" % (text, to, to, to)),
            # vim's: the old one away, the new one written under the name, the old one gone
            "vim": lambda to, text: command("sh", "-c", "{ [ ! -e %s ] || mv %s %s~; } && cat %s > %s && rm -f %s~" % (
                to, to, to, text, to, to)),
            "rsync": lambda to, text: command("rsync", "--checksum", text, to),
        }
        if not shutil.which("rsync"):
            del tools["rsync"]
        first, second = self.mount.data / "first.json", self.mount.data / "second.json"
        first.write_text(MANIFEST)
        second.write_text(new)
        for tool, put in tools.items():
            with self.subTest(tool=tool):
                at = self.mount.path("drivers/%s_%s" % (self.name, tool))
                at.mkdir()
                for text, words in (first, "people"), (second, "persons"):
                    put(at / "connector.json", text)
                    self.assertEqual((at / "connector.json").read_text(), text.read_text())
                    self.assertIn(words, json.loads((at / "options.json").read_text())["description"])
                    self.assertEqual((at / "error").read_text(), "")

    def test_trees(self):
        """cp -r, rsync -a --delete and git checkout of whole trees, also with the connection before its driver."""
        mount = Mount(expect=self.expect)
        self.addCleanup(mount.close)
        tree = mount.data / "tree"
        shutil.copytree(EXAMPLE, tree)
        config = mount.path("config")
        command("cp", "-r", *[str(p) for p in sorted(tree.iterdir())], str(config))
        self.assertEqual((config / "drivers/acme/connector.json").read_text(), MANIFEST)
        self.assertEqual(mount.sync("people").state(), "ready")
        command("cp", "-r", str(config / "drivers/acme"), str(config / "drivers/acme2"))
        self.assertEqual(json.loads(mount.read("drivers/acme2/options.json"))["properties"]["driver"], {"const": "acme2"})
        shutil.rmtree(config / "drivers/acme2")
        self.assertFalse(mount.path("drivers/acme2").exists())
        for name in "syncs/people", "connections/acme.json", "connections/people.json", "drivers/acme":
            command("rm", "-r", str(config / name))
        self.assertFalse(mount.path("drivers/acme").exists())

        def git(*words):
            return command("git", "-c", "user.name=x", "-c", "user.email=x@example.com", *words, cwd=tree)

        git("init", "-q", "-b", "main")
        git("add", ".")
        git("commit", "-q", "-m", "all")
        git("rm", "-r", "-q", ".")
        git("commit", "-q", "-m", "nothing")
        for branch, there in ("main~1", True), ("main", False), ("main~1", True):
            command("git", "--git-dir", str(tree / ".git"), "--work-tree", str(config), "checkout", "-q", "-f", branch)
            self.assertEqual(mount.path("drivers/acme/connector.json").exists(), there)
            if there:
                self.assertEqual(mount.sync("people").state(), "ready", mount.sync("people").read("status"))
        if shutil.which("rsync"):
            again = mount.data / "again"
            shutil.copytree(EXAMPLE / "drivers", again / "drivers")
            shutil.copytree(EXAMPLE / "drivers/acme", again / "drivers/other")
            command("rsync", "-a", "--delete", str(again / "drivers") + "/", str(config / "drivers") + "/")
            self.assertEqual(mount.read("drivers/other/error"), "")
            shutil.rmtree(again / "drivers/other")
            command("rsync", "-a", "--delete", str(again / "drivers") + "/", str(config / "drivers") + "/")
            self.assertEqual(os.listdir(config / "drivers"), ["acme"])

    # ---- mistakes ----

    def test_mistakes(self):
        """Told with their line and column and with what would be right; what is in force stays."""
        self.make()
        wrong = (  # what to put for what; where it is told; the words; the hint
            ('"parallel": 4', '"paralel": 4', '"paralel"', "no such member", 'did you mean "parallel"?'),
            ('"method": ', '"method": ', None, None, None),
            ('"for": ["update"]', '"for": ["updat"]', None, '"for" lists', None),
            ('"type": "secret"', '"type": "secrte"', '"secrte"', "must be one of string, ", 'did you mean "secret"?'),
            ('"calls": 600', '"calls": 0', "0, \"mill", "must be a whole number from 1", None),
            ('"connect": 5', '"connect": "5"', '"5"', "must be a whole number", None),
            ('"by": "index"', '"by": "indx"', None, None, None),
            ('"summary": "people in', '"sumary": "people in', '"sumary"', "no such member", 'did you mean "summary"?'),
            ('"rows": 100,', '"rows": 100', None, "expected ',' or '}'", None),
        )
        for put, by, where, words, hint in wrong:
            text = MANIFEST.replace(put, by, 1)
            if text == MANIFEST:
                continue
            with self.subTest(by=by):
                self.expect_errno(errno.EINVAL, self.mount.write, "drivers/%s/connector.json" % self.name, text)
                told = self.shown("error")
                self.assertRegex(told, r"^connector\.json:\d+:\d+: error: ")
                if where:
                    self.assertTrue(told.startswith("connector.json:%s: error: " % line_of(text, where)), told)
                if words:
                    self.assertIn(words, told)
                if hint:
                    self.assertIn(hint, told)
                self.assertEqual(self.shown("connector.json.rej"), text)
                self.assertEqual(self.shown("connector.json"), MANIFEST)
                self.assertIn("drivers/%s/connector.json" % self.name, self.mount.read("error_log"))
                self.assertEqual(self.shown("modes"), "upsert\nupdate\nmirror\nfull\n")
        self.expect_errno(errno.EBADMSG, self.mount.write, "control", "check\n")
        self.assertIn("drivers/%s/connector.json:" % self.name, self.mount.read("error_log"))
        other = self.mount.data / "wrong.json"
        other.write_text(MANIFEST.replace('"parallel": 4', '"parallel": 400'))
        shutil.copy(other, self.dir / "new.json")
        self.expect_errno(errno.EBADMSG, os.rename, self.dir / "new.json", self.dir / "connector.json")
        self.assertEqual(self.shown("connector.json"), MANIFEST)
        # Who was refused and puts the old text back does not wipe the reason; another's edit does.
        self.mount.write("drivers/%s/connector.json" % self.name, MANIFEST)
        self.assertIn("error:", self.shown("error"))
        command("cp", str(EXAMPLE / "drivers/acme/connector.json"), str(self.dir))
        self.assertEqual(self.shown("error"), "")
        self.assertFalse((self.dir / "connector.json.rej").exists())

    def test_check_command(self):
        """retlfs check says of a directory on disk what the mount would."""
        from retlfs import binary
        tree = self.mount.data / "to-check"
        shutil.copytree(EXAMPLE, tree)
        done = subprocess.run([binary(), "check", str(tree)], text=True, capture_output=True)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        text = MANIFEST.replace('"parallel"', '"paralel"')
        (tree / "drivers/acme/connector.json").write_text(text)
        done = subprocess.run([binary(), "check", str(tree)], text=True, capture_output=True)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("%s/drivers/acme/connector.json:%s: error: no such member" % (
            tree, line_of(text, '"paralel"')), done.stdout + done.stderr)

    # ---- what it does ----

    def test_upsert_and_update(self):
        acme = self.server()
        self.make()
        source, sync = self.use(acme, 250, "upsert")
        sync.run()
        self.assertEqual(acme.people, {i: person(i) for i in range(250)})
        self.assertEqual(acme.calls, 3)
        source.sql("UPDATE t SET name = 'x' WHERE id = 7")
        source.sql("UPDATE t SET name = 'nobody' WHERE id = 8")
        source.sql("DELETE FROM t WHERE id = 9")
        source.sql("INSERT INTO t VALUES (300, 'new', NULL)")
        sync.run(want=errno.EIO)
        rejected = [json.loads(line) for line in sync.read("rejected.jsonl").splitlines()]
        self.assertEqual(len(rejected), 1)
        self.assertIn("nobody is no name", json.dumps(rejected[0]))
        want = {i: person(i) for i in range(250)}
        want[7]["name"], want[300] = "x", person(300, "new", None)
        self.assertEqual(acme.people, want)
        sync.write("mode", "update")
        source.sql("UPDATE t SET name = 'y', city = 'Bonn' WHERE id IN (7, 8)")
        sync.run()
        for key in 7, 8:
            want[key] = person(key, "y", "Bonn")
        self.assertEqual(acme.people, want)

    def test_mirror(self):
        acme = self.server()
        self.make()
        source, sync = self.use(acme, 120, "mirror")
        sync.run()
        source.sql("DELETE FROM t WHERE id % 10 = 0")
        source.sql("UPDATE t SET city = 'Bonn' WHERE id % 10 = 1")
        source.sql("INSERT INTO t VALUES (500, 'n500', 'Ulm')")
        sync.run()
        want = {i: person(i, city="Bonn" if i % 10 == 1 else "Ulm") for i in range(120) if i % 10}
        self.assertEqual(acme.people, {**want, 500: person(500)})
        sync.run()
        self.assertEqual(sync.changes(), [])

    # ---- edits under a sync ----

    def test_edited_between_runs(self):
        acme = self.server()
        self.make()
        source, sync = self.use(acme, 3, "upsert")
        sync.run()
        self.mount.write("drivers/%s/connector.json" % self.name, MANIFEST.replace(
            '"headers": {', '"headers": {"X-Version": "2", '))
        source.sql("UPDATE t SET name = 'x'")
        sync.run()
        self.assertEqual(acme.versions, {None, "2"})
        self.assertEqual(len(sync.changes()), 3)  # what was delivered stays known

        # An option that the connection does not have: the sync says so, by line, and goes on with the next text.
        wants = MANIFEST.replace('"connection": {', '"connection": {"region": {"type": "string", "required": true, "help": "eu or us"},')
        self.mount.write("drivers/%s/connector.json" % self.name, wants)
        self.assertIn('"region" is missing', sync.read("status"))
        sync.run(want=errno.ENOEXEC)
        self.mount.write("drivers/%s/connector.json" % self.name, MANIFEST)
        self.assertEqual(sync.state(), "ready")

        # A mode that it can do no longer.
        sync.write("mode", "mirror")
        gone = json.loads(MANIFEST)
        gone["calls"] = [c for c in gone["calls"] if c["for"] != ["delete"]]
        self.mount.write("drivers/%s/connector.json" % self.name, json.dumps(gone))
        self.assertIn("mirror", sync.read("status"))
        self.assertNotEqual(sync.state(), "ready")
        self.mount.write("drivers/%s/connector.json" % self.name, MANIFEST)

        # Another place is another destination: every row is due again.
        self.mount.write("drivers/%s/connector.json" % self.name, MANIFEST.replace(
            '"place": "{base_url}"', '"place": "{base_url}#2"'))
        sync.write("mode", "upsert")
        self.assertIn("destination changed", sync.read("pending/summary") + sync.read("status"))
        sync.run()
        self.assertEqual(len(sync.changes()), 3)

    def test_edited_during_a_run(self):
        """The run ends with what it began with; a refused edit changes nothing either."""
        acme = self.server()
        self.make()
        source, sync = self.use(acme, 500, "upsert")
        acme.gate.clear()
        sync.run("start")
        wait_for("a call under way", lambda: acme.waiting)
        for i in range(20):
            self.mount.write("drivers/%s/connector.json" % self.name, MANIFEST.replace(
                '"headers": {', '"headers": {"X-Version": "%d", ' % i))
        self.expect_errno(errno.EINVAL, self.mount.write, "drivers/%s/connector.json" % self.name, "{}")
        os.unlink(self.dir / "connector.json")
        self.assertIn("connector.json", sync.read("status"))
        acme.gate.set()
        sync.run("wait")
        self.assertEqual(acme.versions, {None})
        self.assertEqual(acme.people, {i: person(i) for i in range(500)})
        self.assertNotEqual(sync.state(), "ready")
        self.mount.write("drivers/%s/connector.json" % self.name, MANIFEST)
        self.assertEqual(sync.state(), "ready")
        sync.run()
        self.assertEqual(sync.changes(), [])

    def test_names(self):
        acme = self.server()
        self.make()
        source, sync = self.use(acme, 3, "upsert")
        sync.run()
        to = self.mount.path("drivers/%s2" % self.name)
        self.expect_errno(errno.EBUSY, os.rename, self.dir, to)
        self.assertIn("connections/to_%s.json uses it" % self.name, self.mount.read("error_log"))
        self.mount.write("control", "reload\n")
        os.unlink(self.dir / "connector.json")
        self.expect_errno(errno.EBUSY, os.rmdir, self.dir)
        self.assertIn("drivers/%s/connector.json" % self.name, sync.read("status"))
        self.mount.write("drivers/%s/connector.json" % self.name, MANIFEST)
        to.mkdir()
        shutil.copy(self.dir / "connector.json", to / "connector.json")
        connection = json.loads(self.mount.read("connections/to_%s.json" % self.name))
        self.mount.connect("to_" + self.name, {**connection, "driver": self.name + "2"})
        self.assertEqual(sync.state(), "ready")
        shutil.rmtree(self.dir)
        self.assertFalse(self.dir.exists())
        source.sql("UPDATE t SET name = 'x'")
        sync.run()
        self.assertEqual(acme.people, {i: person(i, "x") for i in range(3)})
        # A name that is not there, nor near one that is: the connection waits for it.
        self.mount.connect("to_" + self.name, {**connection, "driver": "unheard-of"})
        self.assertIn('unknown driver "unheard-of"', sync.read("status"))
        self.mount.path("drivers/unheard-of").mkdir()
        self.assertIn("it is not written yet", sync.read("status"))
        self.mount.write("drivers/unheard-of/connector.json", MANIFEST)
        self.assertEqual(sync.state(), "ready")
        self.expect_errno(errno.EINVAL, self.mount.connect, "near", {"driver": "webhok", "url": "http://x"})
        self.assertIn('did you mean "webhook"?', self.mount.read("error_log"))

    def test_restart(self):
        mount = Mount(expect=self.expect)
        self.addCleanup(mount.close)
        acme = self.server()
        mount.path("drivers/" + self.name).mkdir()
        mount.write("drivers/%s/connector.json" % self.name, MANIFEST)
        source, sync = self.use(acme, 30, "mirror", mount)
        sync.run()
        for end in mount.stop, mount.kill:
            self.expect_errno(errno.EINVAL, mount.write, "drivers/%s/connector.json" % self.name, "{}")
            end()
            if not mount.process:
                subprocess.run(["fusermount3", "-uz", str(mount.point)], capture_output=True)
            mount.start()
            self.assertEqual(mount.read("drivers/%s/connector.json" % self.name), MANIFEST)
            self.assertEqual(mount.read("drivers/%s/connector.json.rej" % self.name), "{}")
            self.assertIn("error:", mount.read("drivers/%s/error" % self.name))
            self.assertEqual(mount.read("drivers/%s/modes" % self.name), "upsert\nupdate\nmirror\nfull\n")
            source.sql("DELETE FROM t WHERE id = (SELECT max(id) FROM t)")
            sync.run()
            self.assertEqual(len(sync.changes()), 1)
        self.assertEqual(acme.people, {i: person(i) for i in range(28)})


if __name__ == "__main__":
    main()
