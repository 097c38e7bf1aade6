"""Rows of items sent by HTTP: in Feast, in every replica's next answer, and refused if wrong."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from feast import FeatureStore

ITEM = "i0000003"


def sent(client: TestClient, **changes: Any) -> Any:
    features = {"keywords": ["zither", "zeal"], "num_documents": 9}
    body = {"item_id": ITEM, "view": "item_text", "features": features, **changes}
    return client.post("/v1/items", json=body)


@pytest.fixture
def client(start: Callable[..., TestClient], own_bundle: Path) -> TestClient:
    return start(bundle=own_bundle)


def test_a_row_is_in_the_next_answer_and_in_feast(
    client: TestClient, start: Callable[..., TestClient], own_bundle: Path, own_repo: Path
) -> None:
    before = client.get(f"/v1/items/{ITEM}").json()
    assert sent(client).json() == {"item_id": ITEM, "view": "item_text", "shown": True}
    after = client.get(f"/v1/items/{ITEM}").json()
    assert after["keywords"][:2] == ["zither", "zeal"] != before["keywords"][:2]
    changed = {"keywords": ["zither", "zeal"], "num_documents": 9}
    assert after["features"]["item_text"] == {**before["features"]["item_text"], **changed}
    names = ["item_text:keywords", "item_text:num_documents", "item_text:text_embedding"]
    stored = FeatureStore(str(own_repo)).get_online_features(names, [{"item_id": ITEM}]).to_dict()
    assert stored["keywords"] == [["zither", "zeal"]]
    assert stored["num_documents"] == [9]
    assert len(stored["text_embedding"][0]) == 384  # what was not sent is as it was
    replica = start(bundle=own_bundle)
    assert replica.get(f"/v1/items/{ITEM}").json()["keywords"][:2] == ["zither", "zeal"]


def test_a_title_and_a_category_are_shown_at_once(client: TestClient) -> None:
    features = {"title": "Renamed", "category": "odd", "categories": ["odd"]}
    assert sent(client, view="item_attributes", features=features).json()["shown"]
    after = client.get(f"/v1/items/{ITEM}").json()
    assert (after["title"], after["category"], after["categories"]) == ("Renamed", "odd", ["odd"])
    body = {"user_id": "nobody", "filters": {"categories": ["odd"]}}
    slate = client.post("/v1/recommend", json=body).json()["items"]
    assert [item["title"] for item in slate] == ["Renamed"]


def test_an_item_that_is_new_waits_for_the_next_snapshot(client: TestClient) -> None:
    assert sent(client, item_id="zz-new").json()["shown"] is False
    assert client.get("/v1/items/zz-new").status_code == 404


@pytest.mark.parametrize(
    ("wrong", "detail"),
    [
        ({"view": "user_text"}, "'user_text' is no item view of service 'ranking_v1' (has: item_"),
        ({"features": {"colour": "red"}}, "view 'item_text' has no colour (has: text_embedding"),
        ({"features": {"keywords": "zither"}}, "field 'keywords' of view 'item_text'"),
        ({"features": {"text_embedding": [1.0]}}, "has 384 dimensions"),
        ({"features": {"num_documents": "many"}}, "field 'num_documents' of view 'item_text'"),
    ],
)
def test_what_is_not_a_row_of_the_view_is_refused(
    client: TestClient, wrong: dict[str, Any], detail: str
) -> None:
    answer = sent(client, **wrong)
    assert answer.status_code == 422
    assert answer.json()["error"] == "invalid_item_row"
    assert detail in answer.json()["detail"]
    assert client.get("/healthz").json()["refresh_error"] is None


def test_a_row_of_tomorrow_is_refused(client: TestClient) -> None:
    answer = sent(client, at="2199-01-01T00:00:00Z")
    assert answer.status_code == 422
    assert answer.json()["error"] == "event_in_the_future"


def test_a_row_that_feast_does_not_take_is_not_shown_and_may_be_sent_again(
    client: TestClient, own_repo: Path
) -> None:
    before = client.get(f"/v1/items/{ITEM}").json()
    database = own_repo.parent / "data" / "current" / "online.db"
    content = database.read_bytes()
    database.write_text("no database")
    answer = sent(client)
    assert (answer.status_code, answer.json()["error"]) == (503, "unavailable")
    assert client.get(f"/v1/items/{ITEM}").json() == before
    database.write_bytes(content)
    assert sent(client).json()["shown"]
