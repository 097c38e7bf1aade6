"""What the filters kept out and why; and which users and categories there are to try."""

from typing import Any

import numpy as np
from fastapi.testclient import TestClient

from serving.items import NUM_EXAMPLES
from serving.ranker import SlateRanker
from tests.serving.askers import REGULARS

USER = REGULARS[0]


def ask(client: TestClient, **body: Any) -> dict[str, Any]:
    answer = client.post("/v1/recommend", json={"user_id": USER, "k": 5, **body})
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.json()
    return told


def reasons(answer: dict[str, Any]) -> dict[str, list[str]]:
    return {item["item_id"]: item["reasons"] for item in answer["details"]["filtered"]}


def test_details_come_only_on_request(client: TestClient) -> None:
    assert ask(client)["details"] is None
    plain, detailed = ask(client)["items"], ask(client, details=True)["items"]
    assert [item["item_id"] for item in detailed] == [item["item_id"] for item in plain]


def test_what_would_rank_high_and_was_met_is_told(client: TestClient) -> None:
    answer = ask(client, details=True)
    taken = {one["item_id"] for one in client.get(f"/v1/users/{USER}").json()["taken"]}
    assert taken & reasons(answer).keys()
    assert {reason for given in reasons(answer).values() for reason in given} == {"seen"}
    ranks = [item["rank"] for item in answer["details"]["filtered"]]
    assert ranks == sorted(set(ranks))
    assert answer["details"]["num_items"] == 100
    assert answer["details"]["num_filtered"]["seen"] >= len(taken)


def test_every_reason_against_an_item_is_told(client: TestClient) -> None:
    best = ask(client)["items"][0]["item_id"]
    body = {"user_id": USER, "item_id": best, "action": "skip"}
    assert client.post("/v1/feedback", json=body).status_code == 200
    filters = {"deny": [best], "categories": ["no such category"], "allow": []}
    answer = ask(client, details=True, filters=filters)
    assert answer["items"] == []
    assert reasons(answer)[best] == ["not_allowed", "category", "denied", "rejected"]
    counts = answer["details"]["num_filtered"]
    assert (counts["denied"], counts["rejected"], counts["category"]) == (1, 1, 100)


def test_where_nothing_is_filtered_nothing_is_told(client: TestClient) -> None:
    details = ask(client, details=True, filters={"exclude_seen": False})["details"]
    assert details["filtered"] == []
    assert details["num_filtered"] == {"not_yet_available": 0}


def test_a_users_take_ups_come_with_action_and_instant(client: TestClient) -> None:
    user = client.get(f"/v1/users/{USER}").json()
    assert [one["title"] for one in user["taken"]] == user["history"]
    instants = [one["at"] for one in user["taken"]]
    assert instants == sorted(instants, reverse=True)
    assert all(one["action"] for one in user["taken"])
    assert client.get("/v1/users/nobody").json()["taken"] == []


def test_examples_go_from_long_histories_to_short(client: TestClient, ranker: SlateRanker) -> None:
    told = client.get("/v1/examples").json()
    counts = [user["num_items"] for user in told["users"]]
    assert len(counts) == NUM_EXAMPLES
    everybody = np.diff(ranker.snapshot.bundle.seen.starts)
    assert (counts[0], counts[-1]) == (everybody.max(), everybody.min())
    assert counts == sorted(counts, reverse=True)
    assert set(told["categories"]) == frozenset().union(*ranker.snapshot.categories)
