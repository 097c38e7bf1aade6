"""Retrieval behind a handle: the candidates of one process, and what happens where there are none.

The retriever runs in Ray Serve's local testing mode: in an event loop and a thread of its own, and
what it is asked went through pickle.
"""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from ray import serve

from serving import retrieval
from serving.api import Context, Filters, RecommendRequest
from serving.candidates import Candidates, Wanted
from serving.config import ServingConfig
from serving.live import Live
from serving.ranker import SlateRanker
from serving.retrieval import Retriever
from serving.rollout import roll_out
from tests.serving.askers import REGULARS
from tests.serving.test_rollout import NEVER_S, bundles, pointer  # noqa: F401  fixtures

USER = REGULARS[0]
Start = Callable[..., TestClient]
BODY = {"user_id": USER, "k": 10}
REQUESTS = (
    *(RecommendRequest(user_id=user) for user in (*REGULARS, "nobody")),
    RecommendRequest(user_id=USER, filters=Filters(exclude_seen=False, deny=["i0000001"])),
    RecommendRequest(user_id="nobody", filters=Filters(allow=["i0000002", "i0000003"])),
    RecommendRequest(user_id="nobody", context=Context(session_items=["i0000004"])),
)
Begin = Callable[..., Any]
DEPLOYMENT: Any = Retriever  # Ray Serve's decorator hides from type checkers what it makes


@pytest.fixture
def begin(bundle: Path, own_repo: Path, tmp_path: Path) -> Begin:
    """Starts a retriever: `begin(**configuration)` -> its handle."""

    def begun(**changes: Any) -> Any:
        given = {"bundle": bundle, "repo": own_repo, "clock": "data", "retrieval": "handle"}
        given |= {"feedback_log": tmp_path / "feedback.jsonl", "channel_deadline_ms": 30_000}
        config = ServingConfig.model_validate({**given, **changes})
        return serve.run(DEPLOYMENT.bind(config), _local_testing_mode=True)

    return begun


def application(client: TestClient) -> Any:
    return next(iter(client.app.dependency_overrides.values()))()  # type: ignore[attr-defined]


def patient(start: Start, retriever: Any, **changes: Any) -> TestClient:
    """On a machine that may be busy."""
    return start(retriever=retriever, **{"retrieval_deadline_ms": 30_000, **changes})


def wanted(ranker: SlateRanker, request: RecommendRequest, *rejected: str) -> Wanted:
    rows, version = ranker.users.rows(request.user_id), ranker.snapshot.version
    return Wanted(request, rejected, rows, ranker.clock.now_us(), version)


def same(one: Candidates, other: Candidates) -> bool:
    return (one.positions.tolist(), *one.channels) == (other.positions.tolist(), *other.channels)


def test_candidates_are_those_of_one_process(start: Start, begin: Begin) -> None:
    ranker, handle = application(start())._live.state.ranker, begin()
    for request in REQUESTS:
        asked = wanted(ranker, request, "i0000007")
        found: Candidates = handle.candidates.remote(asked).result()
        assert same(found, ranker.candidates(asked))
        assert len(found.positions) > 1
        assert found.at_us == asked.at_us


def told(client: TestClient, **changes: Any) -> dict[str, Any]:
    answer = client.post("/v1/recommend", json={**BODY, **changes})
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


def test_answers_are_those_of_one_process(start: Start, begin: Begin) -> None:
    def ask(client: TestClient) -> list[Any]:
        slates = [told(client, user_id=user, details=True) for user in REGULARS]
        assert all(slate["degraded"] == [] for slate in slates)
        best = slates[0]["items"][0]["item_id"]
        body = {"user_id": USER, "item_id": best, "explain": "template", "counterfactuals": True}
        explained = client.post("/v1/explain", json=body).json()
        items = [[(one["item_id"], one["channel"]) for one in slate["items"]] for slate in slates]
        filtered = [slate["details"]["filtered"] for slate in slates]
        return [items, filtered, [one["rank_without"] for one in explained["counterfactuals"]]]

    few = {"candidates_per_channel": 10}
    in_process = ask(start(**few))
    assert {channel for slate in in_process[0] for _, channel in slate} > {"trending"}
    assert ask(patient(start, begin(**few), **few)) == in_process


def test_the_retriever_sees_feedback_in_the_next_answer(start: Start, begin: Begin) -> None:
    client = patient(start, begin(candidates_per_channel=5))
    untouched = "i0000014"

    def shown() -> list[str]:
        return [item["item_id"] for item in told(client, user_id="nobody")["items"]]

    assert untouched not in shown()
    for number in range(40):
        body = {"user_id": f"u{number}", "item_id": untouched, "action": "click"}
        assert client.post("/v1/feedback", json=body).json()["accepted"]
    assert untouched in shown()


def test_what_was_turned_down_is_no_candidate(start: Start, begin: Begin) -> None:
    client = patient(start, begin())
    best = told(client)["items"][0]["item_id"]
    body = {"user_id": USER, "item_id": best, "action": "skip"}
    assert client.post("/v1/feedback", json=body).json()["accepted"]
    assert best not in [item["item_id"] for item in told(client)["items"]]


class Elsewhere:
    """Stands in for a handle: answers after a while, or fails."""

    def __init__(self, late_s: float = 0.0, error: Exception | None = None) -> None:
        self.late_s, self.error, self.num_asked = late_s, error, 0

    @property
    def candidates(self) -> "Elsewhere":
        return self

    async def remote(self, wanted: Wanted) -> None:
        self.num_asked += 1
        await asyncio.sleep(self.late_s)
        if self.error:
            raise self.error


@pytest.mark.parametrize(
    ("elsewhere", "why"),
    [
        (Elsewhere(late_s=60), "was late: over 50 ms"),
        (Elsewhere(error=ConnectionError()), "failed: ConnectionError"),
    ],
)
def test_without_the_retriever_what_is_trending_is_ranked(
    start: Start, elsewhere: Elsewhere, why: str
) -> None:
    client = start(retriever=elsewhere, retrieval_deadline_ms=50, breaker_failures=2)
    for expected in (why, why, "was not asked: it failed or was late several times in a row"):
        answer = told(client)
        assert answer["degraded"] == [{"stage": "retrieval", "source": None, "why": expected}]
        assert len(answer["items"]) == 10
        assert {one["channel"] for one in answer["items"]} == {"trending"}
    assert elsewhere.num_asked == 2
    assert client.get("/healthz").json()["degraded"][0].startswith("retrieval: left alone")
    best = answer["items"][0]["item_id"]
    body = {"user_id": USER, "item_id": best, "explain": "template", "counterfactuals": True}
    explained = client.post("/v1/explain", json=body).json()
    assert [one["stage"] for one in explained["degraded"]] == ["retrieval"]


def test_candidates_of_another_version_are_never_ranked(
    start: Start,
    begin: Begin,
    bundles: list[Path],  # noqa: F811
) -> None:
    client = patient(start, begin(bundle=bundles[1]), bundle=bundles[0], breaker_failures=1)
    why = "had another version"
    for _ in range(3):  # and it is asked again: that is no failure
        answer = told(client)
        assert answer["degraded"] == [{"stage": "retrieval", "source": None, "why": why}]
        assert {one["channel"] for one in answer["items"]} == {"trending"}


@pytest.mark.parametrize(("ranker_s", "retriever_s"), [(0.02, 0.7), (0.7, 0.02)])
def test_no_answer_lacks_candidates_while_a_bundle_is_rolled_out(
    start: Start,
    begin: Begin,
    bundles: list[Path],  # noqa: F811
    pointer: Path,  # noqa: F811
    own_repo: Path,
    ranker_s: float,
    retriever_s: float,
) -> None:
    """Whichever of the two looks at the pointer first."""
    handle = begin(bundle=pointer, refresh_every_s=retriever_s)
    versions: list[str] = []
    with patient(start, handle, bundle=pointer, refresh_every_s=ranker_s) as client:
        told(client)
        roll_out(bundles[1], pointer, own_repo)
        deadline = time.monotonic() + 60
        while len(set(versions)) < 2 and time.monotonic() < deadline:
            answer = told(client)
            assert answer["degraded"] == []
            versions.append(answer["version"])
        assert told(client)["degraded"] == []
    assert len(set(versions)) == 2


def test_a_ranker_stays_on_a_version_that_the_retriever_has(
    start: Start,
    begin: Begin,
    bundles: list[Path],  # noqa: F811
    pointer: Path,  # noqa: F811
    own_repo: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(retrieval, "PATIENCE_S", 0.5)
    handle = begin(bundle=bundles[0], refresh_every_s=NEVER_S)
    with patient(start, handle, bundle=pointer, refresh_every_s=NEVER_S) as client:
        before, live = told(client), application(client)._live
        roll_out(bundles[1], pointer, own_repo)
        live.refresh()
        assert "not every retriever has version" in live.refresh_error
        assert (told(client)["version"], told(client)["degraded"]) == (before["version"], [])


def test_the_version_before_goes_when_nobody_asks_for_it(
    begin: Begin,
    bundles: list[Path],  # noqa: F811
    pointer: Path,  # noqa: F811
    own_repo: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = {"bundle": pointer, "repo": own_repo, "clock": "data", "refresh_every_s": NEVER_S}
    own: Any = DEPLOYMENT.func_or_class(ServingConfig.model_validate(config))
    live: Live = own._live

    def has(version: str) -> bool:
        return bool(asyncio.run(own.has(version)))

    old = live.state.version
    roll_out(bundles[1], pointer, own_repo)
    live.refresh()
    asyncio.run(own.check_health())
    assert has(old)
    assert has(live.state.version)
    monkeypatch.setattr(retrieval, "KEPT_S", -1.0)
    asyncio.run(own.check_health())
    assert not has(old)
    assert has(live.state.version)
