"""An endpoint for rows: a real HTTP server in threads of the test."""

import collections
import json
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Endpoint:
    """A server that remembers what it took. `answer(rows, number)` may give a status, headers and a text for a
    call of these rows, or None: then it takes them. tls: the files of its certificate and key."""

    def __init__(self, tls=None):
        self.lock = threading.Lock()
        self.calls, self.taken, self.headers, self.bodies = 0, collections.Counter(), [], []
        self.answer = lambda rows, number: None
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                status, headers, text = endpoint.take(self.headers, body)
                if status == 0:  # taken, and never answered
                    self.close_connection = True
                    return
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(text))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *args):
                pass

        class Server(ThreadingHTTPServer):
            def handle_error(self, request, address):  # a client that is killed, in the middle
                pass

        self.server = Server(("127.0.0.1", 0), Handler)
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*tls)
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True, do_handshake_on_connect=False)
        self.url = "%s://127.0.0.1:%d/rows" % ("https" if tls else "http", self.server.server_port)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def take(self, headers, body):
        rows = [json.loads(line) for line in body.splitlines()] if b"ndjson" in headers["Content-Type"].encode() else json.loads(body)
        rows = rows if isinstance(rows, list) else [rows]
        with self.lock:
            self.calls += 1
            number = self.calls
            self.headers.append(headers)
            self.bodies.append(body)
        answer = self.answer(rows, number)
        if answer is None or answer[0] == 0:
            with self.lock:
                self.taken.update(row.get("data", row)["id"] for row in rows)
        return answer or (200, {}, b"{}")

    def close(self):
        self.server.shutdown()
        self.server.server_close()
