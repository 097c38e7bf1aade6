"""What is read of a user online is what training would have joined, value for value."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from feast import FeatureStore

from feature_repo.pipelines.tables import table_path
from serving.api import Context
from serving.ranker import SlateRanker
from serving.users import User, aligned, with_session
from tests.serving.askers import REGULARS, ask_user
from training.bundle import Bundle
from training.join import join_features
from training.plain_rows import one_row
from training.projector import ViewBatch

DAY_US = 86_400_000_000
SOURCES = ("behaviour", "social", "text")


@pytest.mark.parametrize("user_id", REGULARS)
def test_online_and_historical_rows_are_equal_tensors(
    loaded: Bundle, store: FeatureStore, ranker: SlateRanker, user_id: str
) -> None:
    """The same instant asked twice: Feast's online store, and its historical join."""
    after_all_us = ranker.clock.now_us() + 40 * DAY_US  # past the last grid instant
    joined = join_features(
        store, loaded.schema, "user", np.array([user_id]), np.array([after_all_us])
    )
    online = ranker.users.rows(user_id)
    assert set(online) == {name for name, view in joined.items() if view.rows[0] >= 0}
    for view in loaded.schema.user_views:
        if view.name in online:
            row = joined[view.name].features.slice(int(joined[view.name].rows[0]), 1)
            historical = loaded.encoder.encode(view.name, row)
            served = loaded.encoder.encode(view.name, one_row(view, online[view.name]))
            assert historical.keys() == served.keys()
            for name, column in historical.items():
                assert torch.equal(column, served[name]), f"{view.name}, {name}"


@pytest.mark.parametrize("user_id", REGULARS)
def test_tokens_are_what_training_would_have_made(
    loaded: Bundle, store: FeatureStore, ranker: SlateRanker, user_id: str
) -> None:
    at_us = ranker.clock.now_us() + 40 * DAY_US
    joined = join_features(store, loaded.schema, "user", np.array([user_id]), np.array([at_us]))
    batches = {
        name: ViewBatch(
            loaded.encoder.encode(name, view.features),
            torch.from_numpy(view.rows),
            torch.tensor([at_us]),
        )
        for name, view in joined.items()
    }
    with torch.inference_mode():
        expected = loaded.model.user_tokens(batches)
    served = ranker.users.read(user_id, Context(), at_us)
    assert torch.equal(served.tokens.present, expected.present)
    torch.testing.assert_close(served.tokens.tokens, expected.tokens, rtol=1e-5, atol=1e-6)


def test_the_history_is_the_users_last_take_ups(world: Path, regulars: list[User]) -> None:
    """Oracle: raw events, newest first, each item once."""
    log = pq.read_table(table_path(world, "interactions")).sort_by([("timestamp", "descending")])
    for user in regulars:
        taken = [
            (row["item_id"], row["action"])
            for row in log.to_pylist()
            if row["user_id"] == user.user_id and row["is_positive"]
        ]
        newest: dict[str, str] = {}
        for item, action in taken:
            newest.setdefault(item, action)
        assert user.history == tuple(newest)[:50]
        assert user.actions == tuple(newest.values())[:50]


def test_friends_items_are_counted(world: Path, regulars: list[User]) -> None:
    """Oracle: who among one's friends took the item up, on the last day that the grid knows."""
    links = pq.read_table(table_path(world, "edges")).to_pylist()
    log = pq.read_table(table_path(world, "interactions")).to_pylist()
    user = next(user for user in regulars if user.others.get("social"))
    friends = {link["target_id"] for link in links if link["source_id"] == user.user_id}
    for item, count in user.others["social"].items():
        fans = {
            row["user_id"] for row in log if row["item_id"] == item and row["is_positive"]
        } & friends
        assert 1 <= count <= len(fans)


def test_nobody_is_unknown_and_every_source_is_named_as_missing(stranger: User) -> None:
    assert not stranger.known
    assert stranger.missing_sources == SOURCES
    assert stranger.history == stranger.actions == ()
    assert not stranger.tokens.present.any()


def test_a_source_without_a_row_is_named_as_missing(ranker: SlateRanker) -> None:
    """Oracle: the rows themselves."""
    views = ranker.bundle.schema.user_views
    known = [ask_user(ranker, f"u{number:07d}") for number in range(80)]
    for user in known:
        speaking = {view.source for view in views if view.name in user.rows}
        assert set(user.missing_sources) == {view.source for view in views} - speaking
    assert any(user.missing_sources == ("social",) for user in known)
    assert any(user.missing_sources == () for user in known)


def test_session_items_come_first_and_make_a_history(ranker: SlateRanker) -> None:
    stored = ask_user(ranker, REGULARS[0])
    again, new = stored.history[3], "i0000014"
    user = ask_user(ranker, REGULARS[0], new, again)
    rest = [item for item in stored.history if item != again]
    assert user.history == (new, again, *rest)
    assert user.actions[:2] == ("click", "click")
    assert user.actions[2:] == tuple(
        action for item, action in zip(stored.history, stored.actions, strict=True) if item != again
    )


def test_session_items_speak_for_a_stranger(ranker: SlateRanker) -> None:
    user = ask_user(ranker, "nobody", "i0000003")
    assert not user.known
    assert "behaviour" not in user.missing_sources
    assert user.history == ("i0000003",)


def test_session_items_change_no_stored_row(ranker: SlateRanker) -> None:
    rows = ranker.users.rows(REGULARS[0])
    before = {view: dict(row) for view, row in rows.items()}
    with_session(ranker.bundle.schema, rows, ["i0000003"])
    assert rows == before


def test_a_null_of_the_store_is_a_null_of_the_table(loaded: Bundle) -> None:
    view = loaded.schema.view("user_activity")
    table = one_row(view, {"num_events": 3, "rating_bias": None, "events_1d": float("nan")})
    assert table.column("num_events").to_pylist() == [3.0]
    assert table.column("rating_bias").null_count == 1
    assert table.column("events_1d").null_count == 1
    assert table.column("events_7d").null_count == 1  # a feature that the answer lacks
    assert table.schema.field("rating_bias").type == pa.float64()


def test_lists_that_go_with_a_list_are_found_by_name(loaded: Bundle) -> None:
    spec = next(f for f in loaded.schema.view("user_history").fields if f.name == "recent_items")
    row: dict[str, object] = {"recent_items": ["a"], "recent_actions": ["play"]}
    assert aligned(row, spec, "_actions") == ["play"]
    assert aligned(row, spec, "_at_us") == []
