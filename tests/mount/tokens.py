#!/usr/bin/env python3
"""Tokens: syncs of a connection share one, one that is refused is renewed once, and none is written down anywhere,
nor what they are had by."""

import errno
import http.server
import json
import os
import sys
import threading
import urllib.parse

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from retlfs import MountTest, Sqlite, main

SECRET, REFRESH = "app-s3cret-of-everybody", "refresh-t0ken-of-nobody"


class Org(http.server.ThreadingHTTPServer):
    """As much of Salesforce as upserts by an external id need."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.lock = threading.Lock()
        self.token, self.asked, self.denied, self.records = 0, [], 0, {}
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self):
        return "http://127.0.0.1:%d" % self.server_address[1]


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def say(self, status, value):
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def body(self):
        return self.rfile.read(int(self.headers["Content-Length"])).decode()

    def do_POST(self):
        form = dict(urllib.parse.parse_qsl(self.body()))
        with self.server.lock:
            self.server.asked.append(form)
            self.server.token += 1
            self.say(200, {"access_token": "access-t0ken-%d" % self.server.token, "instance_url": self.server.url})

    def do_PATCH(self):
        records = json.loads(self.body())["records"]
        with self.server.lock:
            if self.headers["Authorization"] != "Bearer access-t0ken-%d" % self.server.token:
                self.server.denied += 1
                self.say(401, [{"errorCode": "INVALID_SESSION_ID", "message": "Session expired: " + self.headers["Authorization"]}])
                return
            self.server.records.update((r["Ext__c"], r["LastName"]) for r in records)
        self.say(200, [{"success": r["LastName"] != "bad", "errors": [{"statusCode": "BAD", "message": "no"}]} for r in records])


class Tokens(MountTest):
    def make(self, name, rows):
        source = Sqlite(self.mount.data / (name + ".db"))
        source.sql("CREATE TABLE t (id TEXT PRIMARY KEY, name TEXT)")
        source.fill("t", [("%s%d" % (name, i), "bad" if i == 3 else "n%d" % i) for i in range(rows)])
        self.mount.connect("from_" + name, source.connection)
        return source, self.mount.sync(name).define(
            config={"source": {"connection": "from_" + name, "table": "t"}, "identifier": "id",
                    "destination": {"connection": "org", "object": "Contact"}},
            mappings=[("id", "Ext__c"), ("name", "LastName")], mode="upsert")

    def test_shared_and_renewed(self):
        org = Org()
        self.addCleanup(org.server_close)
        self.addCleanup(org.shutdown)
        for name, text in (("secret", SECRET), ("refresh", REFRESH)):
            (self.mount.data / name).write_text(text)
        self.mount.connect("org", {
            "driver": "salesforce", "account": "test", "login_url": org.url, "client_id": "app",
            "client_secret": {"file": str(self.mount.data / "secret")},
            "refresh_token": {"file": str(self.mount.data / "refresh")}})
        (_, one), (source, two) = self.make("one", 1000), self.make("two", 3)
        one.run(want=errno.EIO)  # for the sake of one row
        two.run()
        self.assertEqual(len(org.asked), 1)
        self.assertEqual(len(org.records), 1003)
        with org.lock:
            org.token += 1  # the session is over
        source.sql("UPDATE t SET name = 'new'")
        two.run()
        self.assertEqual((len(org.asked), org.denied), (2, 1))
        self.assertEqual(org.records["two0"], "new")
        read = 0
        for where in (self.mount.state, self.mount.point):
            for folder, _, files in os.walk(where):
                for file in files:
                    try:
                        with open(os.path.join(folder, file), "rb") as f:
                            text = f.read()
                    except OSError:  # some are written to only
                        continue
                    read += 1
                    for secret in (SECRET, REFRESH, "access-t0ken-"):
                        self.assertNotIn(secret.encode(), text, os.path.join(folder, file))
        self.assertGreater(read, 50)


if __name__ == "__main__":
    main()
