"""A server as its user starts it: `serve run` in a process of its own, ended by Ctrl-C."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import copy_definitions

SERVER = "http://127.0.0.1:8000"
PORTS = (8000, 8404, 9101)  # the server's, and two that Ray's proxy always opens
START_TIMEOUT_S = 240  # 20 s where nothing else runs
STOP_TIMEOUT_S = 60
READY = "Application 'default' is ready"  # when all replicas have started


@dataclass
class Server:
    process: subprocess.Popen[bytes]
    folder: Path

    @property
    def log(self) -> Path:
        return self.folder / "serve.log"

    def descendants(self) -> dict[int, str]:
        """Command lines of all processes that the server started, and theirs, by number."""
        listed = subprocess.run(
            ["ps", "-ww", "-eo", "pid=,ppid=,args="], capture_output=True, text=True, check=True
        )
        rows = [line.split(None, 2) for line in listed.stdout.splitlines()]
        family = {self.process.pid: "serve run"}
        for _ in range(6):  # generations
            family |= {int(pid): args for pid, parent, args in rows if int(parent) in family}
        return family


def ask(path: str, body: object = None) -> dict[str, Any]:
    """The JSON of an answer, whatever its status."""
    content = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(SERVER + path, content, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            answer: dict[str, Any] = json.loads(response.read())
    except urllib.error.HTTPError as error:
        answer = {"status": error.code, **json.loads(error.read())}
    return answer


def copy_repo(repo: Path, folder: Path) -> Path:
    """The applied repo with an online store that feedback may be pushed to."""
    copy_definitions(folder / "feature_repo")
    data = folder / "data" / "current"
    data.mkdir(parents=True)
    for name in ("registry.db", "online.db"):
        (data / name).write_bytes((repo.parent / "data" / "current" / name).read_bytes())
    return folder / "feature_repo"


def environment() -> dict[str, str]:
    """Without what an earlier Ray or a user's shell has set: the defaults are what is tested."""
    kept = {n: v for n, v in os.environ.items() if not n.startswith(("RAY_", "PYTEST_"))}
    # Ray gives up after 30 s, which a machine that is busy with other tests may need.
    return {**kept, "RAY_raylet_start_wait_time_s": "120"}


def wait_until_ready(server: Server) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline and server.process.poll() is None:
        try:
            # The first replica answers before the last one has started.
            if ask("/healthz")["status"] == "ready" and READY in server.log.read_text():
                return
        except (urllib.error.URLError, ConnectionError, TimeoutError, ValueError):
            pass  # not yet
        time.sleep(0.5)
    pytest.fail("the server did not come up:\n" + server.log.read_text()[-3000:])


def end(server: Server) -> None:
    """Ctrl-C; what ignores it is killed, so that a failed test leaves nothing behind."""
    family = server.descendants()
    server.process.send_signal(signal.SIGINT)
    try:
        server.process.wait(timeout=STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        for pid in family:
            if is_running(pid):
                os.kill(pid, signal.SIGKILL)
        server.process.wait()


def is_running(pid: int) -> bool:
    state = subprocess.run(
        ["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    return bool(state.stdout.strip()) and not state.stdout.startswith("Z")


@contextmanager
def serving(repo: Path, bundle: Path, folder: Path, /, **arguments: object) -> Iterator[Server]:
    """Ready to answer, over a copy of the repo that feedback may be pushed to, unless `arguments`
    (of serving/config.py) name one; skips the test where another server is running."""
    for port in PORTS:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                pytest.skip(f"port {port} is taken; is another server running here?")
    given = {"bundle": bundle, "repo": copy_repo(repo, folder), "clock": "data"}
    given |= {"feedback_log": folder / "feedback.jsonl", **arguments}
    command = ["-m", "ray.serve.scripts", "run", "serving.app:build"]
    command += [f"{name}={value}" for name, value in given.items()]
    # Elsewhere than in the project: Ray's processes must find the installed package.
    # What starts tests in the background lets them ignore Ctrl-C, and what they start as well.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    with (folder / "serve.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, *command],
            cwd=folder,
            env=environment(),
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    signal.signal(signal.SIGINT, before)
    running = Server(process, folder)
    try:
        wait_until_ready(running)
        yield running
    finally:
        end(running)
