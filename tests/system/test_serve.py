"""The server as its user starts it: `serve run` in a process of its own, asked over HTTP."""

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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import copy_definitions

pytestmark = [pytest.mark.ray, pytest.mark.slow]

SERVER = "http://127.0.0.1:8000"
PORTS = (8000, 8404, 9101)  # the server's, and two that Ray's proxy always opens
START_TIMEOUT_S = 240  # 20 s where nothing else runs
STOP_TIMEOUT_S = 60
USER = "u0000002"


@dataclass
class Server:
    process: subprocess.Popen[bytes]
    log: Path

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


@pytest.fixture(scope="module")
def server(repo: Path, bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Ready to answer; ended like any other by Ctrl-C."""
    for port in PORTS:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                pytest.skip(f"port {port} is taken; is another server running here?")
    folder = tmp_path_factory.mktemp("served")
    own_repo = copy_repo(repo, folder)
    command = ["-m", "ray.serve.scripts", "run", "serving.app:build", f"bundle={bundle}"]
    command += [f"repo={own_repo}", f"feedback_log={folder / 'feedback.jsonl'}"]
    command += ["clock=data", "explainer_replicas=0"]
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
    running = Server(process, folder / "serve.log")
    try:
        wait_until_ready(running)
        yield running
    finally:
        end(running)


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
    return {n: v for n, v in os.environ.items() if not n.startswith(("RAY_", "PYTEST_"))}


def wait_until_ready(server: Server) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline and server.process.poll() is None:
        try:
            assert ask("/healthz")["status"] == "ready"
            return
        except (urllib.error.URLError, ConnectionError, TimeoutError, ValueError):
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


def test_the_application_answers(server: Server) -> None:
    health = ask("/healthz")
    assert (health["service"], health["num_items"]) == ("ranking_v1", 100)
    answer = ask("/v1/recommend", {"user_id": USER, "k": 3})
    assert answer["known_user"] is True
    assert len(answer["items"]) == 3
    assert all(item["explanation"]["writer"] == "template" for item in answer["items"])


def test_an_item_is_explained(server: Server) -> None:
    item_id = ask("/v1/recommend", {"user_id": USER, "k": 1})["items"][0]["item_id"]
    answer = ask("/v1/explain", {"user_id": USER, "item_id": item_id})
    assert answer["item"]["title"] in answer["item"]["explanation"]["text"]
    assert answer["item"]["explanation"]["writer"] == "template"  # no language model was started


def test_feedback_changes_the_next_answer(server: Server) -> None:
    best = ask("/v1/recommend", {"user_id": USER, "k": 1})["items"][0]["item_id"]
    accepted = ask("/v1/feedback", {"user_id": USER, "item_id": best, "action": "click"})
    assert accepted["accepted"] is True
    assert set(accepted["updated_views"]) == {"user_activity", "user_history", "item_popularity"}
    after = ask("/v1/recommend", {"user_id": USER, "k": 50})["items"]
    assert best not in [item["item_id"] for item in after]


def test_mistakes_are_told_with_the_one_body(server: Server) -> None:
    assert ask("/v1/recommend", {"user_id": USER, "k": 0})["status"] == 422
    assert ask("/v1/items/gone")["error"] == "unknown_item"
    assert ask("/nowhere")["error"] == "not_found"


def test_the_console_is_served(server: Server) -> None:
    with urllib.request.urlopen(SERVER, timeout=60) as response:
        assert "default-src 'none'" in response.headers["Content-Security-Policy"]
        assert "app;dur=" in response.headers["Server-Timing"]
        assert b"console/console.js" in response.read()


def test_the_gate_holds_in_a_replica(server: Server) -> None:
    answer = ask("/v1/recommend", {"user_id": "u" * 5_000_000})
    assert (answer["status"], answer["error"]) == (413, "too_large")


def test_the_fast_path_of_serve_is_in_force(server: Server) -> None:
    """HAProxy in front of the replica, and the throughput settings that Ray reports at start."""
    assert any("bin/haproxy" in args for args in server.descendants().values())
    assert "Throughput optimized Ray Serve enabled" in server.log.read_text()


def test_ctrl_c_ends_every_process(server: Server) -> None:
    """The last test of the module, because it takes the server away."""
    family = server.descendants()
    assert len(family) > 5
    server.process.send_signal(signal.SIGINT)
    assert server.process.wait(timeout=STOP_TIMEOUT_S) == 0
    deadline = time.monotonic() + STOP_TIMEOUT_S
    left = family
    while left and time.monotonic() < deadline:
        left = {pid: args for pid, args in left.items() if is_running(pid)}
        time.sleep(0.2)
    assert not left
