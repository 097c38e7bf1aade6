"""Faults under load: what clients see while a part of a running server is killed or held.

One server for all of them, since its start takes longer than any fault. Whatever happens, an answer
is 200, or a 503 that says when to come again; no acknowledged event is lost. A connection may be
lost, and its request sent again, where HAProxy is killed, and once by each client where replicas
are: an answer had begun, or HAProxy went over to new replicas and closed what it took for idle.
"""

import math
import os
import re
import signal
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.system.load import Load, check, goes_well, slate_of, wait_until
from tests.system.server import Server, serving

pytestmark = [pytest.mark.ray, pytest.mark.slow]

# One waits for the language model; the others must not notice how long that takes.
ROUNDS = [[slate_of("u0000002", explain="llm")], [slate_of("u0000016")], [slate_of("u0000021")]]
NUM_CLIENTS = len(ROUNDS) + 1
RANKER, EXPLAINER = (rf"^ray::ServeReplica:\w+:{name}" for name in ("Ranker", "Explainer"))
PROXY = r"bin/haproxy .*-f "


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
    with Load(ROUNDS, "feeder", "i0000003") as running:
        wait_until(lambda: len(running.since(0)) > 20)
        yield running


def pids(server: Server, pattern: str) -> set[int]:
    return {pid for pid, args in server.descendants().items() if re.search(pattern, args)}


def rankers(server: Server) -> set[int]:
    return pids(server, RANKER)


def kill(victims: set[int]) -> float:
    """The instant from which answers count."""
    assert victims
    began_s = time.monotonic()
    for pid in victims:
        os.kill(pid, signal.SIGKILL)
    return began_s


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
    before = pids(server, EXPLAINER)
    began_s = kill(before)
    wait_until(lambda: bool(pids(server, EXPLAINER) - before))
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
    before = pids(server, PROXY)
    began_s = kill(before)
    wait_until(lambda: bool(pids(server, PROXY) - before))
    well = goes_well(load)
    wait_until(well)
    check(load.since(began_s), max_resets=math.inf)


def test_no_acknowledged_event_was_lost(server: Server, load: Load) -> None:
    """The last of the module: it ends the load."""
    load.check_acknowledged(server)
