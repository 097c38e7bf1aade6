"""Faults under load: what clients see while a part of a running server is killed or held.

One server for all of them, since its start takes longer than any fault. Whatever happens, an answer
is 200, or a 503 that says when to come again; no acknowledged event is lost. A connection may be
lost, and its request sent again, where HAProxy is killed, and once by each client where replicas
are: an answer had begun, or HAProxy went over to new replicas and closed what it took for idle.
"""

import http.server
import json
import math
import os
import re
import signal
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.system.load import RESET, Load, Told
from tests.system.server import Server, ask, serving

pytestmark = [pytest.mark.ray, pytest.mark.slow]

USERS = ("u0000002", "u0000016", "u0000021")
NUM_CLIENTS = len(USERS) + 1
FEEDER, ITEM = "feeder", "i0000003"
RECOVERY_S = 240  # 10 to 20 s where nothing else runs


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


@pytest.fixture(scope="module")
def server(
    repo: Path, bundle: Path, language_model: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("faults")
    arguments = {"ranker_replicas": 2, "explainer_url": language_model, "explainer_model": "slow"}
    with serving(repo, bundle, folder, **arguments, user_deadline_ms=1000) as running:
        yield running


@pytest.fixture(scope="module")
def load(server: Server) -> Iterator[Load]:
    with Load(USERS, FEEDER, ITEM) as running:
        wait_until(lambda: len(running.since(0)) > 20)
        yield running


def pids(server: Server, pattern: str) -> set[int]:
    return {pid for pid, args in server.descendants().items() if re.search(pattern, args)}


def rankers(server: Server) -> set[int]:
    return pids(server, r"^ray::ServeReplica:\w+:Ranker")


def kill(victims: set[int]) -> float:
    """The instant from which answers count."""
    assert victims
    began_s = time.monotonic()
    for pid in victims:
        os.kill(pid, signal.SIGKILL)
    return began_s


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + RECOVERY_S
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.3)


def goes_well(load: Load) -> Callable[[], bool]:
    """Whether the last answers were all good, and whole."""
    last_s = time.monotonic()

    def holds() -> bool:
        nonlocal last_s
        told = load.since(last_s)
        if any(one.status != 200 or one.body.get("degraded") for one in told):
            last_s = time.monotonic()
            return False
        return len(told) > 20 and any(one.path == "/v1/feedback" for one in told)

    return holds


def check(told: list[Told], *, max_resets: float = 0) -> Counter[int]:
    """How often each status came; fails where one may not come."""
    wrong = [one for one in told if one.status not in (200, 503, RESET)]
    assert not wrong, wrong[:3]
    assert sum(one.status == RESET for one in told) <= max_resets
    assert all(one.retry_after for one in told if one.status == 503)
    for one in told:
        if one.status == 200 and one.path == "/v1/recommend":
            assert len(one.body["items"]) == 5
            stages = {part["stage"] for part in one.body["degraded"]}
            assert one.body["known_user"] or "user" in stages
    return Counter(one.status for one in told)


def test_a_ranker_is_killed(server: Server, load: Load) -> None:
    before = rankers(server)
    assert len(before) == 2
    began_s = kill({min(before)})
    well = goes_well(load)
    wait_until(lambda: len(rankers(server)) == 2 and well())
    seen = check(load.since(began_s), max_resets=NUM_CLIENTS)
    assert seen[200] > seen[503]


def test_all_rankers_are_killed(server: Server, load: Load) -> None:
    began_s = kill(rankers(server))
    well = goes_well(load)
    wait_until(lambda: len(rankers(server)) == 2 and well())
    check(load.since(began_s), max_resets=NUM_CLIENTS)


def test_the_explainer_is_killed(server: Server, load: Load) -> None:
    began_s = kill(pids(server, r"^ray::ServeReplica:\w+:Explainer"))
    wait_until(lambda: bool(pids(server, r"^ray::ServeReplica:\w+:Explainer")))
    well = goes_well(load)
    wait_until(well)
    assert check(load.since(began_s)).keys() == {200}


def test_the_online_store_is_held(server: Server, load: Load) -> None:
    path = server.folder / "data" / "current" / "online.db"
    with closing(sqlite3.connect(path, isolation_level=None, timeout=60)) as store:
        store.execute("BEGIN EXCLUSIVE")
        began_s = time.monotonic()
        time.sleep(4.0)
        store.execute("ROLLBACK")
    well = goes_well(load)
    wait_until(well)
    told = load.since(began_s)
    assert check(told).keys() == {200}
    slates = [one.body for one in told if one.path == "/v1/recommend"]
    whys = {part["why"] for slate in slates for part in slate["degraded"]}
    assert any("late" in why or "failed" in why for why in whys)
    assert not slates[-1]["degraded"]


def test_the_proxy_is_killed(server: Server, load: Load) -> None:
    """The one fault that clients may see as a lost connection: they sent again what was lost."""
    began_s = kill(pids(server, r"bin/haproxy .*-f "))
    wait_until(lambda: bool(pids(server, r"bin/haproxy .*-f ")))
    well = goes_well(load)
    wait_until(well)
    check(load.since(began_s), max_resets=math.inf)


def test_no_acknowledged_event_was_lost(server: Server, load: Load) -> None:
    """The last of the module: it ends the load."""
    load.stop()
    lines = (server.folder / "feedback.jsonl").read_text().splitlines()
    kept = Counter(json.loads(line)["event_id"] for line in lines)
    assert len(load.acknowledged) > 20
    assert set(load.acknowledged) <= kept.keys()
    assert set(kept.values()) == {1}

    def counted() -> bool:
        features = ask(f"/v1/users/{FEEDER}")["features"]
        return features["user_activity"]["num_events"] == len(kept)  # type: ignore[no-any-return]

    wait_until(counted)
    assert ask("/healthz")["status"] == "ready"
