"""Feedback changes rows into what the batch pipeline makes of the same events, in any order."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_repo.pipelines.features.behaviour import user_activity, user_history
from feature_repo.pipelines.features.decay import DAY_US, HALF_LIVES_DAYS
from feature_repo.pipelines.features.item import item_popularity
from serving.event_log import Event
from serving.feedback import (
    UPDATES,
    Rejections,
    Row,
    is_positive,
    touched,
    updated_activity,
    updated_history,
)

DAYS = st.integers(0, 4000)
PIPELINE: dict[str, Callable[[duckdb.DuckDBPyConnection], Iterator[pa.Table]]] = {
    "user_activity": user_activity,
    "user_history": user_history,
    "item_popularity": item_popularity,
}


def event(number: int, at_us: int, item: str = "i", action: str = "click") -> Event:
    positive = is_positive(action, None, 3.5)
    return Event(f"e{number}", "u", item, action, None, at_us, positive, at_us)


def folded(events: Sequence[Event]) -> dict[str, dict[str, Row]]:
    """By view and key, the rows that events leave one after the other."""
    rows: dict[str, dict[str, Row]] = {view: {} for view in UPDATES}
    for one in events:
        for view, (key, update, _) in UPDATES.items():
            if touched(view, one):
                name = getattr(one, key)
                rows[view][name] = update(rows[view].get(name, {}), one)
    return rows


def of_batch(events: Sequence[Event]) -> dict[str, dict[str, Row]]:
    """By view and key, the last row that the batch pipeline makes of the same events."""
    columns = {
        "event_id": [one.event_id for one in events],
        "user_id": [one.user_id for one in events],
        "item_id": [one.item_id for one in events],
        "action": [one.action for one in events],
        "at_us": [one.at_us for one in events],
        "is_positive": [one.is_positive for one in events],
        "rating": pa.nulls(len(events), pa.float64()),
    }
    with duckdb.connect() as connection:
        connection.register("given", pa.table(columns))
        connection.execute("CREATE TABLE events AS SELECT * FROM given")
        keys = {view: key for view, (key, _, _) in UPDATES.items()}
        return {
            view: {row[keys[view]]: row for table in make(connection) for row in table.to_pylist()}
            for view, make in PIPELINE.items()
        }


def assert_same(found: dict[str, dict[str, Row]], expected: dict[str, dict[str, Row]]) -> None:
    """All that an event changes is equal; what only the batch knows is left out."""
    for view, rows in expected.items():
        assert found[view].keys() == rows.keys()
        for key, row in rows.items():
            for name in found[view][key].keys() & row.keys():
                same: Any = row[name]
                if name in HALF_LIVES_DAYS:
                    same = pytest.approx(row[name], rel=1e-5)  # the pipeline's are 32 bits
                assert found[view][key][name] == same, f"{view}, {key}, {name}"


EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["u1", "u2"]),
        st.integers(0, 60),
        st.sampled_from(["play", "click", "skip"]),
        st.integers(0, 40),
    ),
    min_size=1,
    max_size=120,
)


@settings(max_examples=25, deadline=None)
@given(EVENTS, st.randoms(use_true_random=False))
def test_rows_equal_the_batch_pipelines_in_any_order_of_arrival(
    drawn: list[tuple[str, int, str, int]], random: Any
) -> None:
    """Few days make ties, many items fill a history."""
    events = [
        Event(f"e{number}", user, f"i{item:02}", action, None, day * DAY_US, action != "skip", 0)
        for number, (user, item, action, day) in enumerate(drawn)
    ]
    expected = of_batch(events)
    random.shuffle(events)
    assert_same(folded(events), expected)


@given(st.lists(DAYS, min_size=1, max_size=12))
def test_counters_equal_their_definition_in_any_order_of_arrival(days: list[int]) -> None:
    row = folded([event(n, day * DAY_US) for n, day in enumerate(days)])["user_activity"]["u"]
    assert row["counted_at_us"] == max(days) * DAY_US
    assert row["num_events"] == len(days)
    for name, half_life in HALF_LIVES_DAYS.items():
        expected = sum(2.0 ** (-(max(days) - day) / half_life) for day in days)
        assert row[name] == pytest.approx(expected, rel=1e-9)


def test_an_older_take_up_of_an_item_does_not_hide_the_newer() -> None:
    row = updated_history({}, event(1, 9, action="play"))
    assert updated_history(row, event(2, 5, action="click")) == row


def test_an_item_stands_once_in_the_history_and_fifty_are_kept() -> None:
    row: Row = {}
    for number in range(60):
        row = updated_history(row, event(number, number, item=f"i{number}"))
    row = updated_history(row, event(60, 60, item="i55"))
    assert len(row["recent_items"]) == 50
    assert row["recent_items"][:2] == ["i55", "i59"]
    assert len(set(row["recent_items"])) == 50


def test_an_update_leaves_the_rest_of_the_row_alone() -> None:
    row = updated_activity({"rating_bias": 0.5, "num_events": 2}, event(1, 5))
    assert (row["rating_bias"], row["num_events"]) == (0.5, 3)


def test_what_counts_as_a_take_up() -> None:
    assert is_positive("click", None, 3.5)
    assert not is_positive("skip", None, 3.5)
    assert not is_positive("rate", 2.0, 3.5)
    assert is_positive("rate", 4.0, 3.5)


@given(st.permutations([(1, "skip"), (2, "click"), (3, "skip"), (3, "click")]))
def test_the_latest_event_on_an_item_says_whether_it_is_rejected(
    arrivals: list[tuple[int, str]],
) -> None:
    rejections = Rejections()
    rejections.add(event(number, at, "a", action) for number, (at, action) in enumerate(arrivals))
    assert rejections.of("u") == ("a",)
    rejections.add([event(9, 4, "a", "click")])
    assert rejections.of("u") == rejections.of("nobody") == ()
