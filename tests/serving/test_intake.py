"""Several replicas take events in as one: each event once, nothing lost, one state in the end."""

import asyncio
import copy
import dataclasses
import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from feast import FeatureStore
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from serving.api import FeedbackRequest, FeedbackResponse
from serving.clock import instant
from serving.event_log import EventLog, LogReader, locked
from serving.feedback import Row
from serving.intake import Intake
from serving.live import State
from serving.pusher import FeaturePusher, PushMark, mark_beside
from serving.ranker import SlateRanker
from tests.serving.test_feedback import assert_same, folded
from training.bundle import Bundle

USERS, ITEMS = ("u0000002", "u0000016", "new"), tuple(f"i{n:07}" for n in range(6))
SECOND_US = 1_000_000


class Standing:
    """Live without a refresh: one state, whose counters are its own."""

    def __init__(self, ranker: SlateRanker) -> None:
        own = copy.copy(ranker)
        own.snapshot = dataclasses.replace(
            ranker.snapshot,
            popularity=dataclasses.replace(
                ranker.snapshot.popularity,
                values=ranker.snapshot.popularity.values.copy(),
                valued_at_us=ranker.snapshot.popularity.valued_at_us.copy(),
                followers=(),
            ),
            views={},  # what is counted there belongs to all tests
        )
        self.state = State(own)
        self.prepare: list[object] = []


class MemoryStore:
    """Feast's online store as dictionaries; the registry is the real one."""

    def __init__(self, registry: FeatureStore, rows: dict[str, dict[str, Row]]) -> None:
        self.config, self.rows = registry.config, rows
        self.list_batch_feature_views = registry.list_batch_feature_views
        self.list_data_sources = registry.list_data_sources
        self.fails_at: list[int] = []
        """Which writes from now on raise, 0 for the next."""
        self.answers = threading.Event()
        """Cleared, a row takes five seconds."""
        self.answers.set()

    def get_online_features(
        self, features: list[str], entity_rows: list[Row], full_feature_names: bool
    ) -> "MemoryStore":
        self._answer: dict[str, list[object]] = {}
        for feature in features:
            view, name = feature.split(":")
            keys = [str(next(iter(row.values()))) for row in entity_rows]
            found = [self.rows.get(view, {}).get(key, {}).get(name) for key in keys]
            self._answer[f"{view}__{name}"] = found
        return self

    def to_dict(self) -> dict[str, list[object]]:
        return self._answer

    def write_to_online_store(self, view: str, frame: Any) -> None:
        self.answers.wait(5)
        failing, self.fails_at = 0 in self.fails_at, [n - 1 for n in self.fails_at if n > 0]
        if failing:
            raise ConnectionError("the store is down")
        for row in frame.to_dict("records"):
            key = row.pop("item_id" if view == "item_popularity" else "user_id")
            self.rows.setdefault(view, {})[key] = row


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "feedback.jsonl"


Replica = Callable[..., Intake]


@pytest.fixture
def replica(ranker: SlateRanker, store: FeatureStore) -> Replica:
    """Starts a replica: `replica(log, rows or a store)`."""

    def started(log: Path, kept: Any) -> Intake:
        kept = MemoryStore(store, kept) if isinstance(kept, dict) else kept
        live: Any = Standing(ranker)
        return Intake(EventLog(log), FeaturePusher(kept), live, 3.5)

    return started


def request(number: int, user: str, item: str, action: str, at_us: int) -> FeedbackRequest:
    return FeedbackRequest(
        user_id=user, item_id=item, action=action, event_id=f"e{number}", at=instant(at_us)
    )


def take(intake: Intake, *requests: FeedbackRequest) -> list[FeedbackResponse]:
    """Sent at once."""

    async def all_taken() -> list[FeedbackResponse]:
        return await asyncio.gather(*(intake.take(one) for one in requests))

    return asyncio.run(all_taken())


def drawn(ranker: SlateRanker, num: int, seed: int = 0) -> list[FeedbackRequest]:
    """Events of some users on some items within a minute, with ties."""
    pick, end_us = random.Random(seed), ranker.clock.now_us()
    return [
        request(
            number,
            pick.choice(USERS),
            pick.choice(ITEMS),
            pick.choice(["play", "click", "skip"]),
            end_us - pick.randrange(60) * SECOND_US,
        )
        for number in range(num)
    ]


def known(intake: Intake) -> tuple[list[float], list[tuple[str, ...]]]:
    """What a replica answers from besides the store."""
    snapshot = intake.state().snapshot
    at_us = int(snapshot.popularity.valued_at_us.max())
    rejected = [tuple(sorted(intake.rejected_by(user))) for user in USERS]
    return snapshot.popularity.at(at_us).tolist(), rejected


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.randoms(use_true_random=False))
def test_any_order_and_repetition_at_any_replica_ends_in_one_state(
    ranker: SlateRanker, replica: Replica, tmp_path_factory: pytest.TempPathFactory, random: Any
) -> None:
    """Equal to what the events make one after the other, which equals the batch pipeline's rows."""
    path = tmp_path_factory.mktemp("log") / "feedback.jsonl"
    rows: dict[str, dict[str, Row]] = {}
    replicas = [replica(path, rows) for _ in range(2)]
    requests = drawn(ranker, 8)
    sent = [one for one in requests for _ in range(random.randint(1, 3))]
    random.shuffle(sent)
    accepted = [take(random.choice(replicas), one)[0].accepted for one in sent]
    assert sum(accepted) == len(requests)
    events = sorted(LogReader(path).new(), key=lambda event: event.event_id)
    assert_same(rows, folded(events))
    one, other = (known(intake) for intake in replicas)
    np.testing.assert_allclose(one[0], other[0], rtol=1e-12)
    assert one[1] == other[1]
    again, plain = known(replica(path, rows)), known(replica(path.with_name("other"), {}))
    np.testing.assert_allclose(again[0], one[0], rtol=1e-12)
    assert not np.allclose(plain[0], one[0])


def test_replicas_that_write_the_same_users_at_once_lose_no_update(
    ranker: SlateRanker, replica: Replica, own_repo: Path, path: Path
) -> None:
    """In Feast's own store, each replica with its own connection, each event sent to both."""
    before = rows_of(own_repo)
    replicas = [replica(path, FeatureStore(str(own_repo))) for _ in range(2)]
    requests = drawn(ranker, 40)
    answers: list[FeedbackResponse] = []

    def send(intake: Intake, seed: int) -> None:
        mine = random.Random(seed).sample(requests, len(requests))
        for start in range(0, len(mine), 8):
            answers.extend(take(intake, *mine[start : start + 8]))

    threads = [threading.Thread(target=send, args=(intake, n)) for n, intake in enumerate(replicas)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(answer.accepted for answer in answers) == len(requests)
    after = rows_of(own_repo)
    for user in USERS:
        more = sum(one.user_id == user for one in requests)
        assert after[user]["num_events"] == (before[user]["num_events"] or 0) + more
        taken = {one.item_id for one in requests if one.user_id == user and one.action != "skip"}
        assert taken <= set(after[user]["recent_items"])
    assert known(replicas[0])[1] == known(replicas[1])[1]


def rows_of(repo: Path) -> dict[str, Row]:
    names = ["num_events", "events_1d", "counted_at_us"]
    features = [f"user_activity:{name}" for name in names] + ["user_history:recent_items"]
    answer = FeatureStore(str(repo)).get_online_features(
        features=features, entity_rows=[{"user_id": user} for user in USERS]
    )
    columns = answer.to_dict()
    return {
        user: {name: columns[name][place] for name in [*names, "recent_items"]}
        for place, user in enumerate(USERS)
    }


@pytest.mark.parametrize("fails_at", [[0], [1], [2], [0, 1, 3]])
def test_what_the_store_did_not_take_is_pushed_later_and_counts_once(
    ranker: SlateRanker, replica: Replica, path: Path, store: FeatureStore, fails_at: list[int]
) -> None:
    """The store goes down before the first row, between two, and again."""
    kept = MemoryStore(store, {})
    intake = replica(path, kept)
    requests = drawn(ranker, 6, seed=2)
    kept.fails_at = fails_at
    answers = [take(intake, one)[0] for one in requests]
    assert all(answer.accepted for answer in answers)
    assert any(answer.updated_views == [] for answer in answers)
    assert_same(kept.rows, folded(LogReader(path).new()))


def test_a_request_pushes_what_waits_when_the_store_is_back(
    ranker: SlateRanker, replica: Replica, path: Path, store: FeatureStore
) -> None:
    kept = MemoryStore(store, {})
    intake = replica(path, kept)
    kept.fails_at = [0]
    take(intake, *drawn(ranker, 1))
    assert kept.rows == {}
    deadline = threading.Event()
    for _ in range(100):
        intake.state()
        if kept.rows:
            break
        deadline.wait(0.1)
    assert_same(kept.rows, folded(LogReader(path).new()))


def test_a_store_that_hangs_holds_up_no_acknowledgement(
    ranker: SlateRanker, replica: Replica, path: Path, store: FeatureStore
) -> None:
    kept = MemoryStore(store, {})
    intake = replica(path, kept)
    kept.answers.clear()
    requests = drawn(ranker, 3)
    answers = [take(intake, one)[0] for one in requests]
    assert all(answer.accepted and not answer.updated_views for answer in answers)
    assert len(LogReader(path).new()) == len(requests)
    assert kept.rows == {}
    kept.answers.set()
    intake._pushing._next.result()
    assert_same(kept.rows, folded(LogReader(path).new()))
    assert take(intake, *drawn(ranker, 4))[-1].updated_views  # waited for again


def test_events_that_come_at_once_share_one_push(
    ranker: SlateRanker, replica: Replica, path: Path, store: FeatureStore
) -> None:
    kept = MemoryStore(store, {})
    intake = replica(path, kept)
    with locked(path):  # the first group has to wait, and the rest behind it
        asking = threading.Thread(target=take, args=(intake, *drawn(ranker, 30)))
        asking.start()
        while len(intake._committer._waiting) < 29:
            threading.Event().wait(0.01)
    asking.join()
    assert PushMark.read(mark_beside(path)).until == path.stat().st_size
    assert_same(kept.rows, folded(LogReader(path).new()))


def test_data_that_ends_later_holds_the_older_events(
    ranker: SlateRanker, replica: Replica, loaded: Bundle, path: Path
) -> None:
    """A new bundle's counters begin at its end: nothing is counted twice, and memory is bounded."""
    intake = replica(path, {})
    take(intake, *drawn(ranker, 5))
    later = copy.copy(ranker)
    manifest = loaded.manifest.model_copy(update={"as_of": loaded.as_of + timedelta(days=1)})
    later.bundle = dataclasses.replace(loaded, manifest=manifest)
    later.snapshot = dataclasses.replace(ranker.snapshot, bundle=later.bundle)
    live: Any = Standing(later)
    newer = Intake(EventLog(path), intake._pusher, live, 3.5)
    assert newer._ids == set()
    popularity = newer.state().snapshot.popularity
    assert popularity.values.tolist() == ranker.snapshot.popularity.values.tolist()


DYING = """
import os, signal, sys
from datetime import timedelta
from pathlib import Path
from feast import FeatureStore
from serving.event_log import Event, EventLog, LogReader, locked
from serving.pusher import FeaturePusher, mark_beside

class Dying(FeatureStore):
    def write_to_online_store(self, view, frame):
        super().write_to_online_store(view, frame)
        os.kill(os.getpid(), signal.SIGKILL)

path = Path(sys.argv[2])
log, reader = EventLog(path), LogReader(path)
event = Event("e1", "new", "i0000003", "play", None, int(sys.argv[3]), True, int(sys.argv[3]))
with locked(path):
    log.append([event], 0)
FeaturePusher(Dying(sys.argv[1])).push(reader, mark_beside(path))
"""


def test_a_replica_killed_between_two_rows_loses_nothing_and_counts_nothing_twice(
    ranker: SlateRanker, replica: Replica, own_repo: Path, path: Path
) -> None:
    at_us = ranker.clock.now_us() + 1
    command = [sys.executable, "-W", "ignore", "-c", DYING, str(own_repo), str(path), str(at_us)]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], env=os.environ, timeout=120)
    assert done.returncode == -signal.SIGKILL
    half = rows_of(own_repo)["new"]
    assert (half["num_events"], half["recent_items"]) == (1, None)
    replica(path, FeatureStore(str(own_repo)))
    whole = rows_of(own_repo)["new"]
    assert (whole["num_events"], whole["recent_items"]) == (1, ["i0000003"])
