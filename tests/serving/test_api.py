"""The HTTP interface: what is answered, and how each mistake is.

The application runs in this process, without Ray; tests/system does the same over a real server.
"""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from serving.explainer import explain_by_model, stream_by_model
from serving.prompts import opening
from tests.serving.askers import REGULARS

USER = REGULARS[0]
Start = Callable[..., TestClient]


def slate(client: TestClient, **body: Any) -> list[dict[str, Any]]:
    answer = client.post("/v1/recommend", json={"user_id": USER, "k": 5, **body})
    assert answer.status_code == 200, answer.text
    items: list[dict[str, Any]] = answer.json()["items"]
    return items


def feed_back(client: TestClient, item_id: str, action: str = "click", **more: Any) -> Any:
    body = {"user_id": USER, "item_id": item_id, "action": action, **more}
    answer = client.post("/v1/feedback", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def refusal(answer: Any, status: int, code: str) -> str:
    """The detail of an answer that must be a refusal of this kind."""
    assert answer.status_code == status, answer.text
    assert answer.json().keys() == {"error", "detail"}
    assert answer.json()["error"] == code
    detail: str = answer.json()["detail"]
    return detail


def test_a_slate_says_what_where_from_and_why(client: TestClient) -> None:
    answer = client.post("/v1/recommend", json={"user_id": USER, "k": 3}).json()
    assert answer["user_id"] == USER
    assert answer["known_user"] is True
    assert answer["at"].startswith("2025-12-31")  # the data's clock, not the wall's
    assert len(answer["items"]) == 3
    for item in answer["items"]:
        assert item["contributions"].keys() == {"behaviour", "item", "social", "text"}
        assert item["explanation"]["writer"] == "template"
        assert item["title"] in item["explanation"]["text"]


def test_explanations_are_left_out_on_request(client: TestClient) -> None:
    assert all(item["explanation"] is None for item in slate(client, explain="none"))


def test_a_stranger_gets_a_full_slate(client: TestClient) -> None:
    answer = client.post("/v1/recommend", json={"user_id": "nobody", "k": 10}).json()
    assert answer["known_user"] is False
    assert answer["missing_sources"] == ["behaviour", "social", "text"]
    assert len(answer["items"]) == 10


def test_filters_are_kept(client: TestClient) -> None:
    best = slate(client)[0]["item_id"]
    assert best not in [i["item_id"] for i in slate(client, filters={"deny": [best]})]
    assert [i["item_id"] for i in slate(client, filters={"allow": [best]})] == [best]


def test_one_item_is_explained_with_its_evidence(client: TestClient) -> None:
    item_id = slate(client)[0]["item_id"]
    body = {"user_id": USER, "item_id": item_id, "explain": "template"}
    answer = client.post("/v1/explain", json=body).json()
    assert answer["item"]["item_id"] == item_id
    assert answer["evidence"].keys() == {"facts", "leading_source"}
    facts = answer["evidence"]["facts"]
    titles = client.get(f"/v1/users/{USER}").json()["history"]
    assert {fact["name"] for fact in facts if fact["kind"] == "history"} <= set(titles)
    ids = {fact["id"] for fact in facts}
    statements = answer["item"]["explanation"]["statements"]
    assert {one for statement in statements for one in statement["evidence"]} <= ids
    assert answer["counterfactuals"] == []


def test_counterfactuals_are_told_on_request(client: TestClient) -> None:
    best = slate(client)[0]
    body = {"user_id": USER, "item_id": best["item_id"], "explain": "template"}
    answer = client.post("/v1/explain", json={**body, "counterfactuals": True}).json()
    found = answer["counterfactuals"]
    assert {one["without"] for one in found} == set(best["contributions"])
    assert all(one["rank"] == 1 for one in found)
    changes = [abs(one["rank_without"] - one["rank"]) for one in found]
    assert changes == sorted(changes, reverse=True)
    assert changes[0] > 0
    assert best["title"] in found[0]["text"]


def test_explanations_come_in_the_language_and_tone_asked_for(client: TestClient) -> None:
    def text(**manner: str) -> str:
        told: str = slate(client, **manner)[0]["explanation"]["text"]
        return told

    assert "“" in text(language="zh")
    assert len(text(tone="brief")) <= len(text())
    refusal(
        client.post("/v1/recommend", json={"user_id": USER, "language": "xx"}),
        422,
        "invalid_request",
    )


def events(answer: Any) -> list[tuple[str, Any]]:
    """Name and content of each server-sent event."""
    assert answer.headers["content-type"].startswith("text/event-stream")
    blocks = [block.split("\n") for block in answer.text.strip().split("\n\n")]
    return [(name.removeprefix("event: "), json.loads(data[6:])) for name, data in blocks]


def test_an_explanation_is_streamed(start: Start) -> None:
    plain_client = start()
    item_id = slate(plain_client)[0]["item_id"]
    body = {"user_id": USER, "item_id": item_id, "explain": "llm"}
    *pieces, (name, whole) = events(plain_client.post("/v1/explain/stream", json=body))
    assert [piece[0] for piece in pieces] == ["piece"]
    assert (name, whole["writer"]) == ("explanation", "template")
    client = start(InProcess(honest))
    *pieces, (name, whole) = events(client.post("/v1/explain/stream", json=body))
    assert "".join(piece for _, piece in pieces) == whole["text"]
    failing = start(InProcess(lambda record: record.no_such_field))
    *pieces, (name, whole) = events(failing.post("/v1/explain/stream", json=body))
    assert whole["writer"] == "template"
    assert "AttributeError" in whole["rejected"][0]


def test_an_item_and_a_user_are_described(client: TestClient) -> None:
    item = client.get("/v1/items/i0000014").json()
    assert item["popularity_rank"] is None
    assert item["category"] in item["categories"]
    assert len(item["features"]["item_text"]["text_embedding"]) == 20  # cut short
    user = client.get(f"/v1/users/{USER}").json()
    assert user["known_user"] is True
    assert user["features"]["user_activity"]["num_events"] == 103
    nobody = client.get("/v1/users/nobody").json()
    assert (nobody["known_user"], nobody["features"]) == (False, {})
    assert client.get("/v1/users/a%2Fb").json()["user_id"] == "a/b"


def test_health_and_documentation(client: TestClient) -> None:
    health = client.get("/healthz").json()
    assert (health["status"], health["service"]) == ("ready", "ranking_v1")
    assert health["num_items"] == 100
    assert client.get("/docs").status_code == 200
    paths = client.get("/openapi.json").json()["paths"]
    assert {"/v1/recommend", "/v1/explain", "/v1/feedback", "/healthz"} <= paths.keys()


@pytest.mark.parametrize(
    ("path", "body", "named"),
    [
        ("recommend", {"user_id": USER, "K": 3}, "K"),
        ("recommend", {"user_id": USER, "k": 0}, "k"),
        ("recommend", {"user_id": USER, "k": 101}, "k"),
        ("recommend", {"user_id": USER, "k": "ten"}, "k"),
        ("recommend", {"user_id": ""}, "user_id"),
        ("recommend", {"user_id": None}, "user_id"),
        ("recommend", {}, "user_id"),
        ("recommend", [], "body"),
        ("recommend", {"user_id": USER, "explain": "poem"}, "explain"),
        ("recommend", {"user_id": USER, "filters": {"alow": []}}, "filters.alow"),
        ("recommend", {"user_id": USER, "filters": {"deny": "i1"}}, "filters.deny"),
        ("recommend", {"user_id": USER, "context": {"session_items": ["i"] * 51}}, "context"),
        ("explain", {"user_id": USER}, "item_id"),
        ("feedback", {"user_id": USER, "item_id": "i0000001"}, "action"),
        ("feedback", {"user_id": USER, "item_id": "i0000001", "action": "DROP TABLE"}, "action"),
    ],
)
def test_a_wrong_request_is_told_which_field_is_wrong(
    client: TestClient, path: str, body: object, named: str
) -> None:
    detail = refusal(client.post(f"/v1/{path}", json=body), 422, "invalid_request")
    assert detail.startswith(named)


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"value": 1e30}, "value"),
        ({"at": "2025-12-31T00:00:00"}, "at"),  # no time zone
        ({"at": "yesterday"}, "at"),
        ({"at": "1969-12-31T23:59:59Z"}, "at"),
        ({"event_id": ""}, "event_id"),
    ],
)
def test_wrong_feedback_is_refused(
    client: TestClient, wrong: dict[str, object], named: str
) -> None:
    body = {"user_id": USER, "item_id": "i0000001", "action": "rate", **wrong}
    assert refusal(client.post("/v1/feedback", json=body), 422, "invalid_request").startswith(named)


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (b"", "body"),
        (b'{"user_id": ', "JSON"),
        (b'{"user_id": "u", "k": NaN}', "k"),
        (b'{"user_id": "\\ud800"}', "user_id"),  # half a character
    ],
)
def test_what_is_no_json_is_refused(client: TestClient, content: bytes, named: str) -> None:
    headers = {"Content-Type": "application/json"}
    answer = client.post("/v1/recommend", content=content, headers=headers)
    assert named in refusal(answer, 422, "invalid_request")


def test_what_is_no_text_is_refused(client: TestClient) -> None:
    headers = {"Content-Type": "application/json"}
    answer = client.post("/v1/recommend", content=b'{"user_id": "\xff"}', headers=headers)
    assert "body" in refusal(answer, 400, "bad_request")


def test_unknown_items_are_not_found(client: TestClient) -> None:
    detail = refusal(client.get("/v1/items/gone"), 404, "unknown_item")
    assert "'gone'" in detail
    body = {"user_id": USER, "item_id": "gone", "action": "click"}
    refusal(client.post("/v1/feedback", json=body), 404, "unknown_item")
    refusal(
        client.post("/v1/explain", json={"user_id": USER, "item_id": "gone"}), 404, "unknown_item"
    )


def test_events_of_the_future_are_refused(client: TestClient) -> None:
    body = {"user_id": USER, "item_id": "i0000001", "action": "click"}
    answer = client.post("/v1/feedback", json={**body, "at": "2026-01-02T00:00:00Z"})
    assert "server's now" in refusal(answer, 422, "event_in_the_future")


def test_wrong_methods_and_paths(client: TestClient) -> None:
    refusal(client.get("/v1/recommend"), 405, "method_not_allowed")
    refusal(client.get("/v2/recommend"), 404, "not_found")


def test_feedback_changes_the_next_answer(client: TestClient) -> None:
    best = slate(client)[0]
    answer = feed_back(client, best["item_id"])
    assert answer["accepted"] is True
    assert answer["updated_views"] == ["user_activity", "user_history", "item_popularity"]
    assert best["item_id"] not in [item["item_id"] for item in slate(client)]
    described = client.get(f"/v1/users/{USER}").json()
    assert described["history"][0] == best["title"]
    assert described["features"]["user_activity"]["num_events"] == 104


def test_feedback_moves_the_scores_of_the_rest(client: TestClient) -> None:
    before = {item["item_id"]: item["score"] for item in slate(client, k=50)}
    feed_back(client, next(iter(before)))
    after = {item["item_id"]: item["score"] for item in slate(client, k=50)}
    shared = before.keys() & after.keys()
    assert any(abs(before[item] - after[item]) > 1e-3 for item in shared)


def test_feedback_makes_a_stranger_known(client: TestClient) -> None:
    body = {"user_id": "newcomer", "item_id": "i0000003", "action": "play"}
    assert client.post("/v1/feedback", json=body).status_code == 200
    answer = client.post("/v1/recommend", json={"user_id": "newcomer", "k": 5}).json()
    assert answer["known_user"] is True
    assert "behaviour" not in answer["missing_sources"]
    assert "i0000003" not in [item["item_id"] for item in answer["items"]]


def test_feedback_raises_the_items_popularity(client: TestClient) -> None:
    assert client.get("/v1/items/i0000014").json()["popularity_rank"] is None
    feed_back(client, "i0000014")
    assert client.get("/v1/items/i0000014").json()["popularity_rank"] is not None


def test_an_event_counts_once(client: TestClient) -> None:
    assert feed_back(client, "i0000001", event_id="e1")["accepted"] is True
    again = feed_back(client, "i0000001", event_id="e1")
    assert again == {"event_id": "e1", "accepted": False, "updated_views": []}
    activity = client.get(f"/v1/users/{USER}").json()["features"]["user_activity"]
    assert activity["num_events"] == 104


def test_an_event_that_feast_did_not_take_is_kept_and_pushed_once_later(
    client: TestClient, own_repo: Path
) -> None:
    online = own_repo.parent / "data" / "current" / "online.db"
    whole = online.read_bytes()
    online.write_text("no database")
    taken = {"event_id": "e1", "accepted": True, "updated_views": []}
    assert feed_back(client, "i0000001", event_id="e1") == taken  # it is in the log
    online.write_bytes(whole)
    assert feed_back(client, "i0000001", event_id="e1")["accepted"] is False
    activity = client.get(f"/v1/users/{USER}").json()["features"]["user_activity"]
    assert activity["num_events"] == 104


def test_a_skipped_item_leaves_the_slate_but_joins_no_history(client: TestClient) -> None:
    best = slate(client)[0]
    answer = feed_back(client, best["item_id"], "skip")
    assert "user_history" not in answer["updated_views"]
    assert best["item_id"] not in [item["item_id"] for item in slate(client, k=100)]
    assert best["title"] not in client.get(f"/v1/users/{USER}").json()["history"]


def test_a_low_rating_is_a_rejection(client: TestClient) -> None:
    best = slate(client)[0]["item_id"]
    assert "user_history" not in feed_back(client, best, "rate", value=2.0)["updated_views"]
    assert best not in [item["item_id"] for item in slate(client, k=100)]


def test_rejections_and_event_ids_outlive_a_restart(start: Start) -> None:
    client = start()
    best = slate(client)[0]["item_id"]
    feed_back(client, best, "skip", event_id="e1")
    again = start()
    assert best not in [item["item_id"] for item in slate(again, k=100)]
    assert feed_back(again, best, "skip", event_id="e1")["accepted"] is False


def test_late_feedback_takes_its_place_in_the_history(client: TestClient) -> None:
    before = client.get(f"/v1/users/{USER}").json()["history"]
    feed_back(client, "i0000014", at="2025-07-05T00:00:00Z")
    assert client.get(f"/v1/users/{USER}").json()["history"][0] == before[0]


class InProcess:
    """Stands where the handle of the Explainer deployment stands."""

    model_name = "in process"

    def __init__(self, write: Callable[[Any], str]) -> None:
        self._write = write
        self.explain = self
        self.stream = Streaming(self)

    def write(self, records: Any, *_: object) -> list[str]:
        return [self._write(record) for record in records]

    async def remote(self, records: Any, *manner: Any) -> Any:
        return explain_by_model(self, records, *manner)


class Streaming:
    """Its method that streams: called by the handle, and as a writer's by the explainer."""

    def __init__(self, writer: Any) -> None:
        self._writer = writer

    def __call__(self, record: Any, *manner: object) -> Any:
        return iter(self._writer.write([record], *manner))

    def options(self, stream: bool) -> Any:
        assert stream
        return self

    async def remote(self, record: Any, *manner: Any) -> Any:
        for piece in stream_by_model(self._writer, record, *manner):
            yield piece


def honest(record: Any) -> str:
    reasons = [f"you {record.of('history')[0].action}ed {t}" for t in record.history]
    reasons += [f"it shares {term} with what you know" for term in record.shared]
    reasons += ["it is popular lately"] if record.popular_within else []
    return f"{opening(record)} {(reasons or ['of nothing'])[-1]}."


def test_a_models_sentence_is_shown_when_it_is_true(start: Start) -> None:
    explained = [item["explanation"] for item in slate(start(InProcess(honest)), explain="llm")]
    by_model = [one for one in explained if one["writer"] == "model"]
    assert by_model
    assert all(one["text"].startswith("We suggest ") for one in by_model)


def test_a_models_lie_is_replaced_and_the_answer_says_so(start: Start) -> None:
    client = start(InProcess(lambda record: f"{opening(record)} Elvis liked it."))
    explained = [item["explanation"] for item in slate(client, explain="llm")]
    assert all(one["writer"] == "template" for one in explained)
    assert any("'elvis'" in reason for one in explained for reason in one["rejected"])


def test_an_explainer_that_fails_or_is_late_costs_no_slate(start: Start) -> None:
    class Late(InProcess):
        async def remote(self, records: Any, *manner: Any) -> Any:
            await asyncio.sleep(60)

    class Failing(InProcess):
        async def remote(self, records: Any, *manner: Any) -> Any:
            raise RuntimeError("out of memory")

    for explainer, named in ((Late(str), "late: over 50 ms"), (Failing(str), "RuntimeError")):
        client = start(explainer, explain_timeout_s=0.05)
        body = {"user_id": USER, "explain": "llm"}
        answer = client.post("/v1/recommend", json=body).json()
        [degraded] = answer["degraded"]
        assert degraded["stage"] == "explanation"
        assert named in degraded["why"]
        for item in answer["items"]:
            assert item["explanation"]["writer"] == "template"
            assert named in item["explanation"]["rejected"][0]
