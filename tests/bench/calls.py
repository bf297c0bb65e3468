"""Delivery over HTTP, for cases.py: to a sink of our own (http-sink.c) that counts each row, beside the
source's own reading, or beside h2load (Debian: nghttp2-client) or libcurl alone (http-curl.c), which send the same
bodies as fast as they go."""

import json
import shutil
import subprocess
import urllib.request

from release import program
from retlfs import ROOT

CONNECTIONS = 8  # as many as the webhook connector keeps


def skip_reason():
    """Why no case of calls can run here; None: they can."""
    return None if shutil.which("h2load") else "h2load is not installed (Debian: nghttp2-client)"


class Sink:
    """A server that takes every call, each after that many milliseconds."""

    def __init__(self, milliseconds=0):
        self.process = subprocess.Popen([program("tests/unit/http-sink"), str(milliseconds)], stdout=subprocess.PIPE, text=True)
        self.url = "http://127.0.0.1:%d" % int(self.process.stdout.readline())

    def get(self, what):
        with urllib.request.urlopen(self.url + what) as answer:
            return answer.read()

    def counts(self):
        """What came since the last time, and from here on is forgotten."""
        return json.loads(self.get("/counts"))

    def close(self):
        self.process.kill()
        self.process.wait()


def last_body(bench):
    body = bench.mount.data / "body"
    body.write_bytes(bench.sink.get("/body"))
    return str(body)


def send_again(bench, calls, command):
    """The last body, that many times, by another program."""
    done = subprocess.run(command, capture_output=True, text=True)
    took = bench.sink.counts()["requests"]
    assert done.returncode == 0 and took == calls, "%s sent %d of %d calls\n%s%s" % (
        command[0], took, calls, done.stdout, done.stderr)


def h2load(bench, calls, body):
    send_again(bench, calls, ["h2load", "--h1", "-n", str(calls), "-c", str(CONNECTIONS), "-d", body, bench.sink.url + "/h2load"])


def libcurl(bench, calls, body):
    send_again(bench, calls, [program("tests/unit/http-curl"), bench.sink.url + "/libcurl", str(calls), str(CONNECTIONS), body])


def begin_sink(bench, milliseconds=0):
    bench.sink = Sink(milliseconds)
    bench.closing.append(bench.sink.close)


def begin(bench, milliseconds=0, **destination):
    begin_sink(bench, milliseconds)
    bench.mount.connect("hook", {"driver": "webhook", "url": bench.sink.url + "/rows"})
    bench.run = bench.sync({"connection": "pg", "table": "model"}, {"connection": "hook", **destination}, mode="insert")


def came(bench, rows, calls):
    """Each row once, in so many calls."""
    counts = bench.sink.counts()
    bench.notes["calls"] = counts["requests"]
    bench.notes["call_bytes"] = counts["bytes"] // max(counts["requests"], 1)
    assert (counts["rows"], counts["twice"], counts["strange"]) == (rows, 0, 0), counts
    assert counts["requests"] >= calls, counts
    delivered = int(bench.run.summary()["delivered"])
    assert delivered == rows, "%d of %d rows were delivered" % (delivered, rows)


def first_run(bench, turn):
    if not turn:
        begin(bench)
    else:
        bench.run.run("reset")
    bench.floor(bench.copy)
    bench.retlfs(bench.run.run)
    came_by_hundreds(bench, bench.rows)


def beside(other, rows_a_call, milliseconds=0, **destination):
    """The same calls. In the first turn the bodies are not there before the run."""
    def work(bench, turn):
        calls = bench.rows // rows_a_call
        if not turn:
            begin(bench, milliseconds, **destination)
        else:
            bench.run.run("reset")
        bench.retlfs(bench.run.run)
        came(bench, bench.rows, calls)
        bench.floor(other, bench, calls, last_body(bench))
    return work


def one_percent_new(bench, turn):
    """A hundredth of the rows get identifiers that were never there."""
    if not turn:
        begin(bench)
        bench.run.run()
        bench.sink.counts()
    few = int(bench.pg.value("SELECT count(*) FROM model WHERE id %% 100 = %d AND id <= %d" % (turn, bench.rows)))
    bench.pg.sql("UPDATE model SET id = id + %d WHERE id %% 100 = %d AND id <= %d" % (20 * bench.rows, turn, bench.rows))
    bench.pg.sql("VACUUM ANALYZE model")
    bench.floor(bench.copy)
    bench.retlfs(bench.run.run)
    came_by_hundreds(bench, few)


def begin_upsert(bench):
    """The first run by the example of a user's own connector, 100 rows a call."""
    begin_sink(bench)
    shutil.copytree(ROOT / "examples/connector/drivers/acme", bench.mount.path("drivers/acme"))
    token = bench.mount.data / "token"
    token.write_text("t")
    bench.mount.connect("acme", {"driver": "acme", "base_url": bench.sink.url, "token": {"file": str(token)}})
    bench.run = bench.sync({"connection": "pg", "table": "model"}, {"connection": "acme"}, mode="upsert")
    bench.run.run()
    bench.sink.counts()


def came_by_hundreds(bench, rows):
    came(bench, rows, rows // 100)


def put_back(bench):
    bench.pg.sql("UPDATE model SET id = id - %d WHERE id > %d" % (20 * bench.rows, 20 * bench.rows))
