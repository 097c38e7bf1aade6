"""What is served is logged through Feast, comes back as it was, and never holds a request up."""

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from feast import FeatureService, FeatureStore
from feast.feature_logging import LoggingConfig
from feast.infra.offline_stores.file_source import FileLoggingDestination

from serving.api import RecommendRequest
from serving.feature_log import NOT_FOUND, NULL_VALUE, PRESENT, FeatureLog
from serving.metrics import LOGGED_VECTORS
from serving.ranker import Slate, SlateRanker
from serving.timing import PASSAGE, Passage
from tests.serving import recorded as stand_in
from tests.serving.askers import REGULARS
from tests.serving.recorded import Recorded

recorded = stand_in.recorded
USER = REGULARS[0]


@pytest.fixture
def logging_repo(own_repo: Path, tmp_path: Path) -> Path:
    """The test's own repo, whose service logs to the test's own folder."""
    store = FeatureStore(str(own_repo))
    service = store.get_feature_service("ranking_v1")
    destination = FileLoggingDestination(path=str(tmp_path / "served"), partition_by=["__log_date"])
    service.logging_config = LoggingConfig(destination)
    store.apply([service])
    return own_repo


def slate_of(ranker: SlateRanker, user_id: str = USER, k: int = 3) -> Slate:
    return ranker.recommend(RecommendRequest(user_id=user_id, k=k, explain="none"))


def come_back(repo: Path) -> pa.Table:
    """By Feast's own retrieval of a service's logs."""
    store = FeatureStore(str(repo))
    now = datetime.now(UTC)
    job = store._get_provider().retrieve_feature_service_logs(
        store.get_feature_service("ranking_v1"),
        now - timedelta(hours=1),
        now + timedelta(hours=1),
        store.config,
        store.registry,
    )
    table: pa.Table = job.to_arrow()
    return table


def test_served_vectors_come_back(
    ranker: SlateRanker, logging_repo: Path, recorded: Recorded
) -> None:
    slate, snapshot = slate_of(ranker), ranker.snapshot
    log = FeatureLog(logging_repo, "ranking_v1", share=1.0)
    token = PASSAGE.set(Passage("mine"))
    log.offer(slate, snapshot)
    PASSAGE.reset(token)
    log.close()
    rows: list[dict[str, Any]] = come_back(logging_repo).to_pylist()
    assert [row["item_id"] for row in rows] == [item.evidence.item_id for item in slate.items]
    for row, item in zip(rows, slate.items, strict=True):
        assert (row["user_id"], row["__request_id"]) == (USER, "mine")
        stored = slate.user.rows["user_history"]
        assert row["user_history__recent_items"] == list(stored["recent_items"])  # type: ignore[call-overload]
        assert row["user_history__recent_items__status"] == PRESENT
        shown = snapshot.views["item_popularity"].row(item.position)
        assert shown is not None
        assert row["item_popularity__counted_at_us"] == shown["counted_at_us"]
    assert recorded.count(LOGGED_VECTORS, outcome="written") == 3


def test_what_a_stranger_lacks_is_said_to_be_missing(
    ranker: SlateRanker, logging_repo: Path, recorded: Recorded
) -> None:
    log = FeatureLog(logging_repo, "ranking_v1", share=1.0)
    log.offer(slate_of(ranker, "nobody", k=1), ranker.snapshot)
    log.close()
    (row,) = come_back(logging_repo).to_pylist()
    assert row["user_history__recent_items"] is None
    assert row["user_history__recent_items__status"] == NOT_FOUND
    assert {row[name] for name in row if name.endswith("__status")} <= {
        PRESENT,
        NULL_VALUE,
        NOT_FOUND,
    }


def test_no_share_costs_nothing(ranker: SlateRanker, repo: Path) -> None:
    log = FeatureLog(repo, "no such service", share=0.0)
    log.offer(slate_of(ranker), ranker.snapshot)
    log.close()
    assert log._thread is None


def test_about_the_share_is_logged(
    ranker: SlateRanker, logging_repo: Path, recorded: Recorded
) -> None:
    log = FeatureLog(logging_repo, "ranking_v1", share=0.3, max_waiting=1000)
    slate = slate_of(ranker, k=1)
    for _ in range(1000):
        log.offer(slate, ranker.snapshot)
    assert 200 < log._waiting.qsize() < 400


def test_a_full_queue_drops_and_counts(
    ranker: SlateRanker, logging_repo: Path, recorded: Recorded
) -> None:
    log = FeatureLog(logging_repo, "ranking_v1", share=1.0, max_waiting=2)
    slate = slate_of(ranker)
    started = time.monotonic()
    for _ in range(5):
        log.offer(slate, ranker.snapshot)
    assert time.monotonic() - started < 5  # of a writer that runs every ten seconds
    assert recorded.count(LOGGED_VECTORS, outcome="dropped") == 9
    log.close()
    assert recorded.count(LOGGED_VECTORS, outcome="written") == 6


def test_a_destination_that_fails_is_counted_and_the_log_goes_on(
    ranker: SlateRanker, logging_repo: Path, tmp_path: Path, recorded: Recorded
) -> None:
    log = FeatureLog(logging_repo, "ranking_v1", share=1.0)
    (tmp_path / "served").write_text("a file where a folder should be")
    log.offer(slate_of(ranker), ranker.snapshot)
    log.write()
    assert recorded.count(LOGGED_VECTORS, outcome="failed") == 3
    (tmp_path / "served").unlink()
    log.offer(slate_of(ranker), ranker.snapshot)
    log.close()
    assert recorded.count(LOGGED_VECTORS, outcome="written") == 3


def test_a_service_that_does_not_log_is_named(own_repo: Path) -> None:
    store = FeatureStore(str(own_repo))
    store.apply([FeatureService(name="mute", features=[store.get_feature_view("item_text")])])
    with pytest.raises(ValueError, match=r"'mute' has no logging_config; .*feast apply|apply`"):
        FeatureLog(own_repo, "mute", share=0.5)


def test_the_definitions_log_beside_the_features(repo: Path) -> None:
    service = FeatureStore(str(repo)).get_feature_service("ranking_v1")
    path = service.logging_config.destination.path
    assert path == f"{repo.parent}/data/current/served/ranking_v1"
