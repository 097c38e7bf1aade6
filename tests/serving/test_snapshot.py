"""The snapshot says of items what the raw tables say."""

import dataclasses
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_repo.pipelines.tables import table_path
from serving.clock import microseconds
from serving.popularity import Popularity
from serving.ranker import SlateRanker
from serving.snapshot import Snapshot
from training.bundle import Bundle

DAY_US = 86_400_000_000
HALF_LIFE_DAYS = 30.0


@pytest.fixture
def snapshot(loaded: Bundle) -> Snapshot:
    """One's own, to count take-ups in."""
    return Snapshot.from_bundle(loaded)


def counted(world: Path, snapshot: Snapshot, at_us: int) -> np.ndarray:
    """Oracle: each item's events, each decayed by itself."""
    values = np.zeros(len(snapshot))
    for event in pq.read_table(table_path(world, "interactions")).to_pylist():
        age_days = (at_us - microseconds(event["timestamp"])) / DAY_US
        values[snapshot.position[event["item_id"]]] += 2.0 ** (-age_days / HALF_LIFE_DAYS)
    return values


def test_titles_categories_and_instants_are_those_of_the_catalogue(
    world: Path, snapshot: Snapshot
) -> None:
    rows = pq.read_table(table_path(world, "items")).to_pylist()
    assert len(snapshot) == len(rows)
    for row in rows:
        position = snapshot.position[row["item_id"]]
        assert snapshot.item_ids[position] == row["item_id"]
        assert snapshot.titles[position] == row["title"]
        assert snapshot.category[position] == row["category"]
        assert snapshot.categories[position] == set(row["categories"])
        assert snapshot.available_at_us[position] == microseconds(row["available_at"])


def test_popularity_is_the_decayed_count_of_the_raw_events(
    world: Path, snapshot: Snapshot, ranker: SlateRanker
) -> None:
    at_us = ranker.clock.now_us() + 3 * DAY_US
    assert snapshot.popularity.half_life_days == HALF_LIFE_DAYS
    found = snapshot.popularity.at(at_us)
    np.testing.assert_allclose(found, counted(world, snapshot, at_us), rtol=1e-5)


def test_popularity_is_the_same_count_after_feedback(
    world: Path, snapshot: Snapshot, ranker: SlateRanker
) -> None:
    now_us = ranker.clock.now_us()
    fed_back = [(4, now_us + DAY_US), (4, now_us - 2 * DAY_US), (14, now_us + DAY_US)]
    for position, at_us in fed_back:
        snapshot.popularity.add(position, at_us)
    asked_us = now_us + 5 * DAY_US
    expected = counted(world, snapshot, asked_us)
    for position, at_us in fed_back:
        expected[position] += 2.0 ** (-((asked_us - at_us) / DAY_US) / HALF_LIFE_DAYS)
    np.testing.assert_allclose(snapshot.popularity.at(asked_us), expected, rtol=1e-5)


@settings(max_examples=40)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 900)), max_size=20))
def test_a_counter_is_its_definition_whatever_the_order(events: list[tuple[int, int]]) -> None:
    popularity = Popularity(7.0, np.zeros(4), np.full(4, -1))
    for position, day in events:
        popularity.add(position, day * DAY_US)
    expected = [
        sum(2.0 ** (-(1000 - day) / 7.0) for position, day in events if position == item)
        for item in range(4)
    ]
    np.testing.assert_allclose(popularity.at(1000 * DAY_US), expected, rtol=1e-9)


def test_ranks_count_from_the_most_popular_and_leave_out_the_untouched(
    snapshot: Snapshot, ranker: SlateRanker
) -> None:
    at_us = ranker.clock.now_us()
    values = snapshot.popularity.at(at_us)
    ranks = np.array([snapshot.popularity.rank(place) for place in range(len(snapshot))])
    ranked = np.flatnonzero(ranks >= 0)
    assert sorted(ranks[ranked]) == list(range(len(ranked)))
    assert (np.diff(values[ranked[np.argsort(ranks[ranked])]]) <= 0).all()
    assert ranks[snapshot.position["i0000014"]] == -1  # nobody took it up
    assert snapshot.facts(np.array([14]), [-1])[0].popularity_rank is None


def test_text_vectors_have_length_one(snapshot: Snapshot) -> None:
    assert snapshot.vectors is not None
    np.testing.assert_allclose(np.linalg.norm(snapshot.vectors, axis=1), 1.0, rtol=1e-5)


def test_terms_are_keywords_before_categories_each_once(snapshot: Snapshot) -> None:
    keywords = snapshot.bundle.item_views["item_text"]
    words = keywords.features.column("keywords").to_pylist()
    for position, row in enumerate(keywords.rows):
        own = words[row] or []
        assert list(snapshot.terms[position][: len(own)]) == own
        assert len(set(snapshot.terms[position])) == len(snapshot.terms[position])


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (pa.array([["a", None], None], pa.list_(pa.string())), [[], ["a", "None"]]),
        (pa.nulls(2), [[], []]),
        (pa.array([[3], []], pa.list_(pa.int64())), [[], ["3"]]),
    ],
)
def test_entries_are_texts_whatever_the_column_holds(
    snapshot: Snapshot, column: pa.Array, expected: list[list[str]]
) -> None:
    rows = snapshot.views["item_text"]
    values = pa.table({"keywords": column})
    rows = dataclasses.replace(rows, values=values, written_at_us=rows.written_at_us[:2])
    assert rows.entries("keywords", np.array([1, 0])) == expected


def test_tokens_of_some_items_are_the_same_among_all(
    snapshot: Snapshot, ranker: SlateRanker
) -> None:
    at_us, some = ranker.clock.now_us(), np.array([7, 2, 91])
    everything = snapshot.tokens(np.arange(len(snapshot)), at_us)
    alone = snapshot.tokens(some, at_us)
    torch.testing.assert_close(alone.tokens, everything.tokens[some], rtol=1e-5, atol=1e-6)
    assert alone.present.tolist() == everything.present[some].tolist()


def test_a_bundle_without_text_has_no_vectors(loaded: Bundle) -> None:
    encoder = loaded.encoder.model_copy(update={"feature_schema": loaded.schema.without("text")})
    poorer = Snapshot.from_bundle(dataclasses.replace(loaded, encoder=encoder))
    assert poorer.vectors is None
    assert poorer.terms[0] == tuple(sorted(poorer.categories[0], key=poorer.terms[0].index))
