"""Many at once, over HTTP and offline: the same slates as one at a time."""

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fastapi.testclient import TestClient
from feast import FeatureStore

from serving.api import RecommendRequest
from serving.batch import SCHEMA, BatchJob, Scorer, Standstill, read_job, run
from serving.batch_answers import MAX_REQUESTS
from serving.clock import instant
from serving.event_log import EventLog
from serving.ranker import Slate, SlateRanker
from tests.serving.askers import REGULARS
from tests.serving.test_event_log import event
from training.bundle import load_bundle

PEOPLE = (*REGULARS, "nobody")


def ask(client: TestClient, *requests: Any) -> list[Any]:
    answer = client.post("/v1/recommend/batch", json={"requests": requests})
    assert answer.status_code == 200, answer.text
    answers: list[Any] = answer.json()["answers"]
    return answers


def test_each_request_of_a_batch_is_answered_as_by_itself(client: TestClient) -> None:
    requests = [{"user_id": user, "k": 3, "explain": "none"} for user in PEOPLE]
    for request, found in zip(requests, ask(client, *requests), strict=True):
        alone = client.post("/v1/recommend", json=request).json()
        assert found["error"] is None
        assert found["answer"]["user_id"] == request["user_id"]
        assert [item["item_id"] for item in found["answer"]["items"]] == [
            item["item_id"] for item in alone["items"]
        ]


@pytest.mark.parametrize(
    ("wrong", "named"),
    [({"user_id": "u", "k": 0}, "k"), ({}, "user_id"), ({"user_id": "u", "explain": "llm"}, "exp")],
)
def test_a_bad_request_costs_only_itself(client: TestClient, wrong: Any, named: str) -> None:
    good = {"user_id": PEOPLE[0]}
    first, second, third = ask(client, good, wrong, good)
    assert len(first["answer"]["items"]) == len(third["answer"]["items"]) == 10
    assert second["answer"] is None
    assert second["error"]["error"] == "invalid_request"
    assert second["error"]["detail"].startswith(named)


def test_too_many_requests_or_none_are_refused(client: TestClient) -> None:
    for number in (0, MAX_REQUESTS + 1):
        body = {"requests": [{"user_id": "u"}] * number}
        answer = client.post("/v1/recommend/batch", json=body)
        assert answer.status_code == 422
        assert answer.json()["error"] == "invalid_request"


@pytest.fixture
def job(bundle: Path, repo: Path, tmp_path: Path) -> BatchJob:
    """At the end of the data; some users."""
    arguments = ["--bundle", str(bundle), "--repo", str(repo), "--out", str(tmp_path / "slates")]
    users = tmp_path / "users.txt"
    users.write_text("\n".join((*PEOPLE, PEOPLE[0])) + "\n")
    log = ["--feedback-log", str(tmp_path / "feedback.jsonl")]
    return read_job([*arguments, "--users", str(users), "--k", "5", "--clock", "data", *log])


def slates(job: BatchJob, rejected: tuple[str, ...] = ()) -> dict[str, Slate]:
    """What the ranker behind the endpoint answers at the job's instant."""
    loaded = load_bundle(job.bundle)
    ranker = SlateRanker(loaded, FeatureStore(str(job.repo)), Standstill(instant(job.at_us)))
    return {
        user: ranker.recommend(RecommendRequest(user_id=user, k=job.k, explain="none"), rejected)
        for user in job.users
    }


def assert_equal(table: pa.Table, expected: dict[str, Slate]) -> None:
    assert table.schema.equals(SCHEMA)
    found = table.to_pylist()
    assert list(dict.fromkeys(row["user_id"] for row in found)) == list(expected)
    for user, slate in expected.items():
        mine = [row for row in found if row["user_id"] == user]
        assert [row["rank"] for row in mine] == list(range(1, len(slate.items) + 1))
        for row, ranked in zip(mine, slate.items, strict=True):
            assert row["item_id"] == ranked.evidence.item_id
            assert (row["score"], row["channel"]) == (ranked.score, ranked.channel)
            assert dict(row["contributions"]) == ranked.evidence.contributions
            assert row["version"] == slate.version


def test_a_block_is_scored_as_the_endpoint_answers(job: BatchJob) -> None:
    assert job.users == PEOPLE  # each once
    assert_equal(Scorer(job)(pa.table({"user_id": list(job.users)})), slates(job))


def test_feedback_since_the_data_counts(job: BatchJob) -> None:
    best = slates(job)[PEOPLE[0]].items[0].evidence.item_id
    skip = dataclasses.replace(
        event(0, job.at_us), user_id=PEOPLE[0], item_id=best, is_positive=False
    )
    EventLog(job.feedback_log).append([skip], 0)
    scored = Scorer(job)(pa.table({"user_id": [PEOPLE[0]]}))
    assert best not in scored.column("item_id").to_pylist()


def test_arguments_that_cannot_be_are_named(bundle: Path, tmp_path: Path) -> None:
    given = ["--bundle", str(bundle), "--out", str(tmp_path)]
    with pytest.raises(ValueError, match="there is no file"):
        read_job([*given, "--users", str(tmp_path / "gone")])
    with pytest.raises(ValueError, match="is no result of a batch"):
        run(read_job(given))


@pytest.fixture
def small_ray() -> Iterator[None]:
    import ray

    mine = not ray.is_initialized()
    if mine:
        ray.init(num_cpus=2, include_dashboard=False, logging_level="ERROR")
    yield
    if mine:
        ray.shutdown()


@pytest.mark.ray
# Ray Data warns of its own settings when it copies them, and of its coming defaults.
@pytest.mark.filterwarnings("ignore::DeprecationWarning:ray")
@pytest.mark.filterwarnings("ignore::FutureWarning:ray")
@pytest.mark.filterwarnings("ignore::ResourceWarning")  # Ray leaves log files open at shutdown
def test_all_users_are_written_once_and_a_second_run_replaces_the_first(
    job: BatchJob, bundle: Path, small_ray: None
) -> None:
    for people in (PEOPLE, tuple(load_bundle(bundle).seen.user_ids)):
        job = dataclasses.replace(job, users=people)
        out = run(job)
        assert_equal(pq.read_table(out, schema=SCHEMA), slates(job))
        receipt = json.loads((out / "_batch.json").read_text())
        assert (receipt["num_users"], receipt["k"]) == (len(people), 5)
        assert not out.with_name("slates.new").exists()
