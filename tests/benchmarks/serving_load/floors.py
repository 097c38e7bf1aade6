"""What the application cannot be faster than: programs that do nothing, served in the same way.

A bare FastAPI application under uvicorn, a Ray Serve ingress, and the composition of two
deployments. The two on Ray Serve run beside the application, behind the same proxy, with the same
flags and limits. All answer an empty object and look at nothing that was asked.
"""

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from fastapi import FastAPI
from ray import serve
from ray.serve import Application, Deployment
from ray.serve.handle import DeploymentHandle

PATH = "/v1/recommend"
NOOP, COMPOSED = "/noop", "/composed"
"""Where the floors on Ray Serve lie, before `PATH`."""
START_TIMEOUT_S = 60.0

bare = FastAPI()
alone = FastAPI()
front = FastAPI()


@bare.post(PATH)
async def answer() -> dict[str, str]:
    return {}


# Limits as the application's Ranker has them.
@serve.deployment(name="Noop", max_ongoing_requests=32, max_queued_requests=256)
@serve.ingress(alone)
class Noop:
    """An ingress that answers at once."""

    @alone.post(PATH)
    async def answer(self) -> dict[str, str]:
        return {}


@serve.deployment(name="Behind", max_ongoing_requests=32, max_queued_requests=256)
class Behind:
    """What the composition's ingress asks."""

    async def answer(self) -> dict[str, str]:
        return {}


@serve.deployment(name="Front", max_ongoing_requests=32, max_queued_requests=256)
@serve.ingress(front)
class Front:
    """An ingress that asks another deployment."""

    def __init__(self, behind: DeploymentHandle) -> None:
        self._behind = behind

    @front.post(PATH)
    async def answer(self) -> dict[str, str]:
        found: dict[str, str] = await self._behind.answer.remote()
        return found


def noop() -> Application:
    """The ingress by itself."""
    return deployment(Noop).bind()


def composed() -> Application:
    """The ingress and what it asks."""
    return deployment(Front).bind(deployment(Behind).bind())


def deployment(decorated: object) -> Deployment:
    assert isinstance(decorated, Deployment)  # the decorator made one of the class
    return decorated


@contextmanager
def bare_server() -> Iterator[int]:
    """uvicorn in a process of its own until the block ends; yields its port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    command = [sys.executable, "-m", "uvicorn", f"{__name__}:bare", "--port", str(port)]
    process = subprocess.Popen([*command, "--log-level", "warning", "--no-access-log"])
    try:
        _wait_for(port, process)
        yield port
    finally:
        process.terminate()
        process.wait(timeout=START_TIMEOUT_S)


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise ConnectionError(f"uvicorn did not open port {port}; is another program on it?")
