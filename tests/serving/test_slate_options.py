"""Slates by request and by configuration: diverse, capped, explored and logged as such."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from serving.api import RecommendRequest
from serving.impressions import read_impressions
from serving.ranker import Slate, SlateRanker
from tests.serving.askers import REGULARS

USER = REGULARS[0]
Start = Callable[..., TestClient]


def ids(slate: Slate) -> list[str]:
    return [item.evidence.item_id for item in slate.items]


def asked(client: TestClient, request_id: str = "", **wishes: Any) -> dict[str, Any]:
    headers = {"X-Request-Id": request_id} if request_id else {}
    body = {"user_id": USER, "explain": "none", **wishes}
    answer = client.post("/v1/recommend", json=body, headers=headers)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def slate(ranker: SlateRanker, request_id: str = "", **wishes: Any) -> Slate:
    return ranker.recommend(RecommendRequest(user_id=USER, **wishes), request_id=request_id)


def test_diversity_keeps_the_best_item_and_exchanges_others(ranker: SlateRanker) -> None:
    plain, diverse = slate(ranker), slate(ranker, diversity=0.95)
    assert ids(diverse)[0] == ids(plain)[0]
    assert set(ids(diverse)) != set(ids(plain))
    scores = {item.evidence.item_id: item.score for item in slate(ranker, k=100).items}
    for item in diverse.items:  # each is the same item as in a slate by score
        assert item.score == pytest.approx(scores[item.evidence.item_id], abs=1e-5)


def test_a_cap_holds_or_the_answer_says_that_it_does_not(ranker: SlateRanker) -> None:
    capped = slate(ranker, max_per_category=2)
    of = ranker.snapshot.categories
    counts = Counter(name for item in capped.items for name in of[item.position])
    assert max(counts.values()) <= 2
    assert not capped.is_relaxed
    everything = slate(ranker, k=100, max_per_category=1)
    assert len(everything.items) == len(slate(ranker, k=100).items)
    assert everything.is_relaxed


def test_explored_items_are_explained_as_what_they_are(ranker: SlateRanker) -> None:
    """Their channel, contributions and facts are their own, and they say that they were drawn."""
    whole = {item.evidence.item_id: item for item in slate(ranker, k=100).items}
    base = set(ids(slate(ranker)))
    drawn = slate(ranker, request_id="one", explore=0.5)
    assert {i.evidence.item_id for i in drawn.items if i.is_explored} == set(ids(drawn)) - base
    assert any(item.is_explored for item in drawn.items)
    for item in drawn.items:
        alike = whole[item.evidence.item_id]
        assert item.channel == alike.channel
        assert item.evidence.facts == alike.evidence.facts
        assert item.evidence.contributions == pytest.approx(alike.evidence.contributions, abs=1e-5)
        assert item.propensity is not None
        assert item.is_explored or item.propensity in (0.5, 1.0)  # 1: no candidate is left for it


def test_the_same_request_of_another_user_draws_anew(ranker: SlateRanker) -> None:
    def drawn(user_id: str) -> list[bool]:
        request = RecommendRequest(user_id=user_id, k=30, explore=0.5)
        return [item.is_explored for item in ranker.recommend(request, request_id="one").items]

    assert drawn(USER) == drawn(USER)
    assert drawn(USER) != drawn(REGULARS[1])


def test_impressions_say_what_the_answers_said(start: Start, tmp_path: Path) -> None:
    """And a slate that explores nothing is none."""
    path = tmp_path / "shown" / "impressions.jsonl"
    client = start(impression_log=path)
    plain = asked(client)
    assert {item["propensity"] for item in plain["items"]} == {None}
    assert not path.exists()
    answers = {name: asked(client, name, explore=0.4) for name in ("r1", "r2", "r1")}
    logged = list(read_impressions(path))
    assert [one.request_id for one in logged] == ["r1", "r2", "r1"]
    assert logged[0].item_ids == logged[2].item_ids != logged[1].item_ids
    for one in logged:
        answer = answers[one.request_id]
        assert (one.user_id, one.version, one.explore) == (USER, answer["version"], 0.4)
        assert one.item_ids == [item["item_id"] for item in answer["items"]]
        assert one.propensities == [item["propensity"] for item in answer["items"]]
    shown = {item["item_id"] for item in plain["items"]}
    for item in answers["r1"]["items"]:
        assert item["explored"] == (item["item_id"] not in shown)


def test_the_configuration_holds_where_a_request_says_nothing(start: Start, tmp_path: Path) -> None:
    plain = asked(start())
    client = start(
        diversity=0.95,
        max_per_category=1,
        explore=0.3,
        impression_log=tmp_path / "impressions.jsonl",
    )
    configured = asked(client, k=30)
    assert configured["relaxed"] == ["max_per_category"]
    assert all(item["propensity"] is not None for item in configured["items"])
    by_score = asked(client, diversity=0, max_per_category=100, explore=0)
    assert [i["item_id"] for i in by_score["items"]] == [i["item_id"] for i in plain["items"]]
    assert by_score["relaxed"] == []


def test_details_are_told_of_the_order_by_score(client: TestClient) -> None:
    """What the filters kept out does not depend on what is explored."""
    plain = asked(client, details=True)["details"]
    odd = asked(client, details=True, explore=0.5, diversity=0.95, max_per_category=1)["details"]
    assert odd == plain


@pytest.mark.parametrize(
    "wrong", [{"diversity": 1}, {"diversity": -0.1}, {"max_per_category": 0}, {"explore": 0.6}]
)
def test_wishes_out_of_bounds_are_refused(client: TestClient, wrong: dict[str, float]) -> None:
    answer = client.post("/v1/recommend", json={"user_id": USER, **wrong})
    assert answer.status_code == 422
    assert answer.json()["detail"].startswith(next(iter(wrong)))
