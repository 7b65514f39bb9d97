"""A small HTTP server on this machine that can misbehave, for the download tests."""

import http.server
import re
import threading


class Server(http.server.ThreadingHTTPServer):
    """Serves `files` (path -> bytes); `truncate` and `ranges` decide how well.

    Attributes:
        asked: (path, Range header or None) of each request so far.
        truncate: path -> number of bytes after which the connection is cut.
        ranges: whether Range requests are understood.
    """

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files = {}
        self.truncate = {}
        self.ranges = True
        self.asked = []
        self.url = f"http://127.0.0.1:{self.server_port}/"

    def __enter__(self):
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *exception):
        self.shutdown()
        self.server_close()


class _Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        server, path = self.server, self.path.lstrip("/")
        wanted = self.headers.get("Range")
        server.asked.append((path, wanted))
        if path not in server.files:
            self.send_error(404)
            return
        content, start = server.files[path], 0
        if wanted and server.ranges:
            start = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1])
            if start >= len(content):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(content)}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        self.wfile.write(content[start : server.truncate.get(path)])

    def log_message(self, *arguments):
        pass
