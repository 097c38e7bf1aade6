"""Queries against a brute-force reading of the definition, event by event."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from training.events import Events
from training.queries import DAY_US, Queries, QueryOptions, build_queries

MakeEvents = Callable[..., Events]
EVERYTHING = QueryOptions(max_queries_per_user=1000, max_users=1000)


def rows_of(events: Events, user: int) -> list[tuple[int, int, bool]]:
    own = np.flatnonzero(events.user_index == user)
    return [
        (int(events.at_us[e]), int(events.item_index[e]), bool(events.is_positive[e])) for e in own
    ]


def expected_queries(
    events: Events, start_us: int, end_us: int, horizon_us: int
) -> dict[tuple[int, int], set[int]]:
    """(user, instant) -> relevant items, by the words of the definition."""
    firsts = expected_firsts(events, start_us, end_us)
    found: dict[tuple[int, int], set[int]] = {}
    for user, at_us in firsts:
        found[user, at_us] = {
            item
            for (other, later_us), items in firsts.items()
            if other == user and (later_us == at_us or at_us < later_us < at_us + horizon_us)
            for item in items
            if events.available_at_us[item] < at_us
        }
    return found


def expected_firsts(events: Events, start_us: int, end_us: int) -> dict[tuple[int, int], set[int]]:
    """(user, instant) -> what the user takes up at that instant and never met before."""
    found: dict[tuple[int, int], set[int]] = {}
    for user in range(len(events.user_ids)):
        rows = rows_of(events, user)
        for at_us, item, positive in rows:
            earlier = any(t < at_us and i == item for t, i, _ in rows)
            available = events.available_at_us[item] < at_us
            if positive and start_us <= at_us < end_us and not earlier and available:
                found.setdefault((user, at_us), set()).add(item)
    return found


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("split", ["validation", "test"])
@pytest.mark.parametrize("horizon_days", [0.0, 1.0, 2.5, 1000.0])
def test_queries_are_what_the_definition_says(
    make_events: MakeEvents, seed: int, split: str, horizon_days: float
) -> None:
    events = make_events(seed)
    options = EVERYTHING.model_copy(update={"horizon_days": horizon_days})
    queries = build_queries(events, split, options)  # type: ignore[arg-type]
    start_us, end_us = events.window(split)  # type: ignore[arg-type]
    found = {
        (int(queries.user_index[q]), int(queries.at_us[q])): set(queries.relevant.row(q).tolist())
        for q in range(len(queries))
    }
    assert found == expected_queries(events, start_us, end_us, int(horizon_days * DAY_US))
    assert len(found) == len(queries)


@pytest.mark.parametrize("seed", range(4))
def test_history_seen_and_candidates_end_strictly_before(
    make_events: MakeEvents, seed: int
) -> None:
    # Many items, so that some enter the catalogue at the very instant of a query.
    events = make_events(seed, items=150)
    queries = build_queries(events, "test", EVERYTHING)
    candidates = queries.candidates(np.arange(len(queries)))
    for q in range(len(queries)):
        at_us = queries.at_us[q]
        before = [row for row in rows_of(events, int(queries.user_index[q])) if row[0] < at_us]
        assert Counter(queries.history.row(q).tolist()) == Counter(i for _, i, up in before if up)
        assert Counter(queries.seen.row(q).tolist()) == Counter(i for _, i, _ in before)
        seen = {i for _, i, _ in before}
        allowed = {
            item
            for item in range(queries.num_items)
            if events.available_at_us[item] < at_us and item not in seen
        }
        assert set(np.flatnonzero(candidates[q]).tolist()) == allowed
        assert set(queries.relevant.row(q).tolist()) <= allowed


def test_history_is_oldest_first(make_events: MakeEvents) -> None:
    events = make_events(3)
    queries = build_queries(events, "test", EVERYTHING)
    for q in range(len(queries)):
        times = [row[0] for row in rows_of(events, int(queries.user_index[q])) if row[2]]
        newest = [
            i
            for t, i, up in rows_of(events, int(queries.user_index[q]))
            if up and t == max((x for x in times if x < queries.at_us[q]), default=-1)
        ]
        if newest:
            assert queries.history.last(1).row(q)[0] in newest


def test_counts_add_up(make_events: MakeEvents) -> None:
    events = make_events(1, items=150)
    queries = build_queries(events, "test", EVERYTHING.model_copy(update={"horizon_days": 0.0}))
    counts = queries.counts
    lost = counts.not_yet_available + counts.already_seen
    assert counts.first_take_ups == counts.relevant + lost
    assert counts.not_yet_available > 0
    assert counts.already_seen > 0


def test_caps_draw_a_part_of_the_same_queries(make_events: MakeEvents) -> None:
    events = make_events(2)
    everything = build_queries(events, "test", EVERYTHING)
    part = build_queries(events, "test", QueryOptions(max_queries_per_user=2, max_users=5, seed=1))
    again = build_queries(events, "test", QueryOptions(max_queries_per_user=2, max_users=5, seed=1))
    assert max(Counter(part.user_index.tolist()).values()) == 2
    assert len(np.unique(part.user_index)) == 5
    assert keys(part) <= keys(everything)
    assert keys(part) == keys(again)
    assert part.counts.possible_queries == len(everything)
    assert np.all(np.diff(part.at_us) >= 0)


def keys(queries: Queries) -> set[tuple[int, int]]:
    return set(zip(queries.user_index.tolist(), queries.at_us.tolist(), strict=True))


def test_later_events_change_no_query(make_events: MakeEvents) -> None:
    events = make_events(5)
    queries = build_queries(events, "validation", EVERYTHING)
    keep = events.at_us < events.validation_end_us
    cut = replace(
        events,
        user_index=events.user_index[keep],
        item_index=events.item_index[keep],
        at_us=events.at_us[keep],
        is_positive=events.is_positive[keep],
    )
    shortened = build_queries(cut, "validation", EVERYTHING)
    assert keys(queries) == keys(shortened)
    for q in range(len(queries)):
        np.testing.assert_array_equal(queries.seen.row(q), shortened.seen.row(q))


def test_only_relevant_keeps_the_items_of_a_slice(make_events: MakeEvents) -> None:
    queries = build_queries(make_events(2), "test", EVERYTHING)
    even = np.arange(queries.num_items) % 2 == 0
    narrowed = queries.only_relevant(even)
    for q in range(len(queries)):
        expected = [i for i in queries.relevant.row(q).tolist() if even[i]]
        assert narrowed.relevant.row(q).tolist() == expected


def test_a_period_without_take_ups_says_what_to_do(make_events: MakeEvents) -> None:
    events = replace(make_events(0), validation_end_us=10**18)
    with pytest.raises(ValueError, match="--train-fraction"):
        build_queries(events, "test")
