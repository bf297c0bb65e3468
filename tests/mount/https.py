#!/usr/bin/env python3
"""Webhooks behind TLS and a proxy: certificates are verified by the usual environment, HTTP/2 is spoken where it is
offered, proxies are those of the environment."""

import errno
import os
import shutil
import socket
import socketserver
import subprocess
import sys
import threading
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from endpoint import Endpoint
from retlfs import Mount, MountTest, Sqlite, main, wait_for


def certificate(dir, name):
    """A certificate for 127.0.0.1, signed by itself, and its key."""
    files = [str(dir / (name + suffix)) for suffix in (".pem", ".key")]
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                    "-subj", "/CN=test", "-addext", "subjectAltName=IP:127.0.0.1", "-out", files[0], "-keyout", files[1]],
                   check=True, capture_output=True)
    return files


class Proxy(socketserver.ThreadingTCPServer):
    """A proxy that tunnels (CONNECT) and remembers where to."""

    daemon_threads, allow_reuse_address = True, True

    class Tunnel(socketserver.StreamRequestHandler):
        def handle(self):
            line = self.rfile.readline().decode()
            while self.rfile.readline().strip():
                pass
            self.server.asked.append(line.split()[:2])
            host, port = line.split()[1].rsplit(":", 1)
            with socket.create_connection((host, int(port))) as peer:
                self.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
                back = threading.Thread(target=self.carry, args=(peer, self.connection), daemon=True)
                back.start()
                self.carry(self.connection, peer)
                back.join()

        @staticmethod
        def carry(one, other):
            try:
                while piece := one.recv(65536):
                    other.sendall(piece)
                other.shutdown(socket.SHUT_WR)
            except OSError:
                pass

    def __init__(self):
        super().__init__(("127.0.0.1", 0), self.Tunnel)
        self.asked = []
        self.url = "http://127.0.0.1:%d" % self.server_address[1]
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Https(MountTest):
    def define(self, mount, url, rows=250):
        source = Sqlite(mount.data / "source.db")
        source.sql("CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT)")
        source.fill("t", [(i, "n%d" % i) for i in range(rows)])
        mount.connect("from", source.connection)
        mount.connect("to", {"driver": "webhook", "url": url})
        return mount.sync("s").define(
            config={"source": {"connection": "from", "table": "t"}, "identifier": "id",
                    "destination": {"connection": "to"}},
            mappings=[("id", "id"), ("name", "name")], mode="insert")

    def mounted(self, **environment):
        ours = ("NO_PROXY", "no_proxy", "https_proxy", "SSL_CERT_FILE", "SSL_CERT_DIR", "CURL_CA_BUNDLE")
        mount = Mount(env={**dict.fromkeys(ours, ""), **environment})
        self.addCleanup(mount.close)
        return mount

    def secured(self, mount, name="endpoint"):
        files = certificate(mount.data, name)
        endpoint = Endpoint(tls=files)
        self.addCleanup(endpoint.close)
        return endpoint, files

    def test_unknown_authority(self):
        """Nothing is sent to who cannot show who he is, and the run says what is wrong; every row stays pending."""
        mount = self.mounted()
        endpoint, _ = self.secured(mount)
        sync = self.define(mount, endpoint.url)
        sync.run("run", errno.EIO)
        self.assertIn("certificate", sync.read("error"))
        self.assertEqual(endpoint.calls, 0)

    def test_authority_of_the_environment(self):
        for variable in ("SSL_CERT_FILE", "CURL_CA_BUNDLE"):
            with self.subTest(variable=variable):
                mount = self.mounted()
                endpoint, files = self.secured(mount)
                mount.stop()
                mount.env[variable] = files[0]
                mount.start()
                self.define(mount, endpoint.url).run()
                self.assertEqual(sorted(endpoint.taken.items()), [(i, 1) for i in range(250)])
                mount.close()

    def test_name_of_another(self):
        """A certificate that is trusted, but of another host."""
        mount = self.mounted()
        endpoint, files = self.secured(mount)
        mount.stop()
        mount.env["SSL_CERT_FILE"] = files[0]
        mount.start()
        sync = self.define(mount, endpoint.url.replace("127.0.0.1", "localhost"))
        sync.run("run", errno.EIO)
        self.assertEqual(endpoint.calls, 0)

    def test_proxy(self):
        proxy = Proxy()
        self.addCleanup(proxy.server_close)
        self.addCleanup(proxy.shutdown)
        mount = self.mounted(HTTPS_PROXY=proxy.url)
        endpoint, files = self.secured(mount)
        mount.stop()
        mount.env["SSL_CERT_FILE"] = files[0]
        mount.start()
        self.define(mount, endpoint.url).run()
        self.assertEqual(len(endpoint.taken), 250)
        self.assertTrue(proxy.asked)
        self.assertEqual({tuple(asked) for asked in proxy.asked}, {("CONNECT", endpoint.url.split("/")[2])})

    def test_http2(self):
        """A server that speaks nothing but HTTP/2 takes every row."""
        program = shutil.which("nghttpd")
        if not program:
            raise unittest.SkipTest("nghttpd (nghttp2-server) is not installed")
        mount = self.mounted()
        files = certificate(mount.data, "h2")
        (mount.data / "rows").write_text("{}")
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        log = mount.data / "nghttpd.log"
        with open(log, "wb") as out:
            server = subprocess.Popen([program, "-v", "-a", "127.0.0.1", "-d", str(mount.data),
                                       str(port), files[1], files[0]], stdout=out, stderr=out)
        self.addCleanup(server.wait)
        self.addCleanup(server.terminate)
        mount.stop()
        mount.env["SSL_CERT_FILE"] = files[0]
        mount.start()

        def listens():
            with socket.socket() as s:
                return s.connect_ex(("127.0.0.1", port)) == 0
        wait_for("nghttpd", listens)
        sync = self.define(mount, "https://127.0.0.1:%d/rows" % port)
        sync.run()
        text = log.read_text(errors="replace")
        self.assertEqual(text.count(":path: /rows"), 3, text[-2000:])


if __name__ == "__main__":
    main()
