"""The server as its user starts it: `serve run` in a process of its own, asked over HTTP."""

import signal
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.server import SERVER, STOP_TIMEOUT_S, Server, ask, is_running, serving

pytestmark = [pytest.mark.ray, pytest.mark.slow]

USER = "u0000002"


@pytest.fixture(scope="module")
def server(repo: Path, bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("served")
    with serving(repo, bundle, folder, explainer_replicas=0) as running:
        yield running


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
