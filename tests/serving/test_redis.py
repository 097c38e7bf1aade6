"""The production configuration on a real Redis: the same reads, the same rows after feedback."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from feast import FeatureStore

from feature_repo.pipelines.tables import DatasetInfo
from serving.api import Context
from serving.event_log import EventLog, LogReader
from serving.intake import Intake
from serving.pusher import FeaturePusher
from serving.ranker import SlateRanker
from serving.users import UserReader
from tests.serving.askers import REGULARS
from tests.serving.redis_server import production_store, running_redis
from tests.serving.test_intake import ITEMS, USERS, Standing, drawn, take
from training.bundle import Bundle

PEOPLE = (*REGULARS, "nobody")
ITEM_FEATURES = ["item_popularity:num_events", "item_popularity:events_30d"]


@pytest.fixture(scope="module")
def production(
    world: Path, repo: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[FeatureStore]:
    folder = tmp_path_factory.mktemp("production")
    with running_redis(folder) as port, production_store(repo, folder, port) as store:
        end_at = DatasetInfo.read(world).last_event_at + timedelta(days=31)
        store.materialize(datetime(1970, 1, 1, tzinfo=UTC), end_at)
        yield store


@pytest.fixture(scope="module")
def reader(production: FeatureStore, loaded: Bundle) -> UserReader:
    return UserReader(production, loaded.encoder, loaded.model)


def test_users_are_read_from_redis_as_from_sqlite(reader: UserReader, ranker: SlateRanker) -> None:
    for user_id in PEOPLE:
        assert reader.rows(user_id) == ranker.users.rows(user_id)


def test_their_tokens_are_the_same(reader: UserReader, ranker: SlateRanker) -> None:
    at_us = ranker.clock.now_us()
    for user_id in PEOPLE:
        from_redis, from_sqlite = (
            users.read(user_id, Context(), at_us) for users in (reader, ranker.users)
        )
        assert from_redis.tokens.tokens.equal(from_sqlite.tokens.tokens)
        assert from_redis.missing_sources == from_sqlite.missing_sources


def test_feedback_leaves_the_same_rows_also_where_it_is_late(
    production: FeatureStore, own_repo: Path, ranker: SlateRanker, tmp_path: Path
) -> None:
    """All of these events are older than the newest of some rows: Redis must not refuse them."""
    sqlite = FeatureStore(str(own_repo))
    requests = drawn(ranker, 12)
    for name, store in (("redis", production), ("sqlite", sqlite)):
        live: Any = Standing(ranker)
        path = tmp_path / f"{name}.jsonl"
        answers = take(Intake(EventLog(path), FeaturePusher(store), live, 3.5), *requests)
        assert all(answer.accepted and answer.updated_views for answer in answers)
        assert len(LogReader(path).new()) == len(requests)
    assert users_of(production, ranker) == users_of(sqlite, ranker)
    assert users_of(production, ranker) != users_of(ranker.users._store, ranker)
    items = [{"item_id": item} for item in ITEMS]
    on_redis, on_sqlite = (
        store.get_online_features(features=ITEM_FEATURES, entity_rows=items).to_dict()
        for store in (production, sqlite)
    )
    assert on_redis == on_sqlite


def users_of(store: FeatureStore, ranker: SlateRanker) -> list[Any]:
    users = UserReader(store, ranker.bundle.encoder, ranker.bundle.model)
    return [users.rows(user) for user in USERS]


def test_a_redis_that_refuses_late_rows_is_refused(
    production: FeatureStore, tmp_path: Path
) -> None:
    """`production` keeps the server and the environment of its YAML."""
    yaml = (Path(production.repo_path) / "feature_store.yaml").read_text()
    (tmp_path / "feature_store.yaml").write_text(yaml.replace("skip_dedup: true", ""))
    with pytest.raises(ValueError, match="set `skip_dedup: true`"):
        FeaturePusher(FeatureStore(str(tmp_path)))
