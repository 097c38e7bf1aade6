"""A language model's server, for servers that ask one."""

import http.server
import json
import threading
import time
from collections.abc import Iterator

import pytest

pytest.register_assert_rewrite("tests.system.load")


class Slow(http.server.BaseHTTPRequestHandler):
    """Stands where the language model's server stands, and takes its time."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        time.sleep(0.2)
        content = json.dumps({"choices": [{"message": {"content": "It rhymes."}}]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Not into the test's output."""


@pytest.fixture(scope="module")
def language_model() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Slow)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()
    thread.join()
    server.server_close()
