"""A row that is not written down says what the written row says, whatever the channel."""

from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st

from training import term_rows, trend_rows
from training.baselines import DAY_US
from training.blend import standardised
from training.events import Events
from training.profiles import FriendsTaste, TermProfile, TrendingCounts
from training.queries import Queries, Ragged, asking
from training.score_rows import (
    DenseRow,
    ScoreRow,
    SparseRow,
    VectorMoments,
    VectorRow,
    added_up,
    distinct,
)
from training.served import Served, Voice
from training.term_rows import TermIndex
from training.text_link import TextLink, TextLinkOptions
from training.transitions import TransitionOptions, Transitions
from training.trend_rows import TrendRow, interval_around

NUM_ITEMS = 500
RNG = np.random.default_rng(3)
THERE_IG = RNG.random((NUM_ITEMS, 40)) < 0.2
TERMS_IG = sp.csr_matrix((RNG.random((NUM_ITEMS, 40)) * THERE_IG).astype(np.float32))
SQUARE_II = np.maximum(RNG.random((NUM_ITEMS, NUM_ITEMS), np.float32) - 0.95, 0.0)
VECTORS = RNG.standard_normal((NUM_ITEMS, 16)).astype(np.float32)
ALL = np.arange(NUM_ITEMS)


def sparse_row() -> ScoreRow:
    return added_up(RNG.integers(0, NUM_ITEMS, 90), RNG.random(90), 10 * NUM_ITEMS)


def crowded_row() -> ScoreRow:
    return added_up(RNG.integers(0, NUM_ITEMS, 400), RNG.random(400), NUM_ITEMS)


def vector_row() -> ScoreRow:
    answers = RNG.standard_normal((NUM_ITEMS, 16)).astype(np.float32)
    return VectorRow(answers[3] + answers[4], answers, VectorMoments.of(answers))


def dense_row() -> ScoreRow:
    return DenseRow(RNG.random(NUM_ITEMS).astype(np.float32))


def trend_row() -> ScoreRow:
    count_I, at_us = RNG.exponential(5.0, NUM_ITEMS), 1_001 * DAY_US + 12_345
    count_I[::3] = 0.0
    moments = interval_around(at_us, count_I, 1_000 * DAY_US, 30.0).at(at_us, NUM_ITEMS)
    return TrendRow(count_I, float(np.exp2(-(DAY_US + 12_345) / (30.0 * DAY_US))), moments)


def term_row(num_terms: int = 12) -> ScoreRow:
    return terms_of_items().row(np.arange(num_terms), np.full(num_terms, 0.3, np.float32))


def terms_of_items() -> TermIndex:
    return TermIndex.of(TERMS_IG, sp.csr_matrix(TERMS_IG.T))


@pytest.fixture
def long_postings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every asker's terms stand at too many items to walk."""
    monkeypatch.setattr(term_rows, "WALKED_WHOLE", 0)


@pytest.mark.usefixtures("long_postings")
@pytest.mark.parametrize(
    "make", [sparse_row, crowded_row, vector_row, dense_row, trend_row, term_row]
)
def test_moments_are_those_of_all_scores(make: Any) -> None:
    row = make()
    num_items = row.num_items if isinstance(row, SparseRow) else NUM_ITEMS
    scores = row.at(np.arange(num_items)).astype(np.float64)
    assert scores.std() > 0
    assert row.moments().mean == pytest.approx(scores.mean(), rel=1e-5, abs=1e-7)
    assert row.moments().spread == pytest.approx(scores.std(), rel=1e-5)


@pytest.mark.usefixtures("long_postings")
@pytest.mark.parametrize(
    "make", [sparse_row, crowded_row, vector_row, dense_row, trend_row, term_row]
)
def test_entries_are_different_items_with_their_scores(make: Any) -> None:
    row = make()
    items, scores = row.entries()
    assert len(np.unique(items)) == len(items)
    np.testing.assert_allclose(row.at(items), scores, rtol=1e-5)
    others = np.setdiff1d(ALL, items)
    if not isinstance(row, term_rows.TermRow):
        assert not row.at(others).any()


def test_terms_that_are_walked_and_terms_that_are_not_say_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = term_row()
    monkeypatch.setattr(term_rows, "WALKED_WHOLE", 0)
    asked = term_row()
    assert isinstance(whole, SparseRow)
    assert isinstance(asked, term_rows.TermRow)
    np.testing.assert_allclose(asked.at(ALL), whole.at(ALL), rtol=1e-5)
    assert asked.moments().spread == pytest.approx(whole.moments().spread, rel=1e-5)


def test_of_long_postings_those_most_about_a_term_are_entries(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(term_rows, "WALKED_WHOLE", 0)
    monkeypatch.setattr(term_rows, "ITEMS_A_TERM", 3)
    index = terms_of_items()
    items, _ = index.row(np.array([7, 9]), np.ones(2, np.float32)).entries()
    dense_IG = index.terms_IG.toarray()
    expected = [np.argsort(-dense_IG[:, term], kind="stable")[:3] for term in (7, 9)]
    assert set(items) == set(np.concatenate(expected))


def test_a_voice_is_the_weighted_standardised_score() -> None:
    row = dense_row()
    expected = 0.4 * standardised(row.at(ALL)[None])[0]
    np.testing.assert_allclose(Voice(0.4, row, row.moments()).at(ALL), expected, atol=1e-6)


@pytest.mark.parametrize("scores", [np.zeros(9), np.full(9, 0.7)])
def test_equal_scores_say_nothing(scores: np.ndarray) -> None:
    items = np.arange(9)
    for row in (DenseRow(scores.astype(np.float32)), added_up(items, scores, 9)):
        np.testing.assert_allclose(Voice(2.0, row, row.moments()).at(items), 0.0, atol=1e-6)


def test_nobody_and_nothing_have_empty_rows() -> None:
    row = added_up(np.empty(0, np.int64), np.empty(0), NUM_ITEMS)
    assert not row.at(ALL).any()
    assert row.moments().spread == 1.0


@pytest.mark.parametrize("after_days", [0.0, 0.4, 29.99, 400.0])
def test_what_trends_keeps_its_moments_between_and_after_take_ups(after_days: float) -> None:
    """Against the sums over all items at that instant, also after take-ups that came since."""
    channel = object.__new__(TrendingCounts)
    channel.name, channel.half_life_days, channel.counted_at_us = "trending", 30.0, 900 * DAY_US
    channel.count_I = RNG.exponential(3.0, NUM_ITEMS)
    at_us = 900 * DAY_US + int(after_days * DAY_US)
    for number in range(6):
        interval = channel._around(at_us + number)
        weight = np.exp2(-(at_us + number - channel.counted_at_us) / (30.0 * DAY_US))
        exact = np.log2(1.0 + weight * channel.count_I)
        moments = interval.at(at_us + number, NUM_ITEMS)
        assert moments.mean == pytest.approx(exact.mean(), rel=1e-6)
        assert moments.spread == pytest.approx(exact.std(), rel=1e-6)
        channel.add(number, at_us)


def asked_by(histories: list[list[int]], users: list[int]) -> Queries:
    ends = np.cumsum([len(own) for own in histories])
    starts = np.append(0, ends[:-1])
    flat = np.array([item for own in histories for item in own], np.int64)
    none = np.empty(0, np.int64)
    ids, never = np.empty(NUM_ITEMS, object), np.zeros(NUM_ITEMS, np.int64)
    events = Events(ids[:5], ids, never, none, none, none, none.astype(bool), 1, 1)
    at_us = np.full(len(users), 1_000 * DAY_US)
    return asking(events, np.array(users), at_us, Ragged(flat, starts, ends))


def channels() -> list[Any]:
    """One of each kind that does not write its scores down, over random state."""
    kept = {
        Transitions: {"options": TransitionOptions(), "weights_II": sp.csr_matrix(SQUARE_II)},
        TextLink: {"options": TextLinkOptions(), "asks_ID": VECTORS, "answers_ID": VECTORS[::-1]},
        FriendsTaste: {"taste_UI": sp.csr_matrix(SQUARE_II[:5])},
        TermProfile: {"decay": 0.8, "terms_IG": TERMS_IG, "terms_GI": sp.csr_matrix(TERMS_IG.T)},
        TrendingCounts: {
            "half_life_days": 30.0,
            "counted_at_us": 990 * DAY_US,
            "count_I": RNG.exponential(2.0, NUM_ITEMS),
        },
    }
    made = []
    for kind, state in kept.items():
        channel: Any = object.__new__(kind)
        vars(channel).update(state)
        made.append(channel)
    return made


@pytest.mark.parametrize("walked", [0, 50_000])
def test_voices_say_what_the_scores_of_all_items_say(
    walked: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Histories with repeats, of one item and of none; a user that training did not know."""
    monkeypatch.setattr(term_rows, "WALKED_WHOLE", walked)
    queries = asked_by([[3, 9, 9, 40, 2], [7], [], list(range(60))], [0, 1, 4, -1])
    own, rows = channels(), np.arange(4)
    served = Served(np.array([[1.0, 0.3, 0.4, 0.5, 0.6, 0.7]]), (), tuple(own))
    terms_KBI = served.terms(queries, rows)
    assert terms_KBI.any(axis=(1, 2)).all()
    for row, voices in enumerate(served.voices(queries, rows)):
        for place, voice in enumerate(voices):
            np.testing.assert_allclose(voice.at(ALL), terms_KBI[place, row], atol=2e-5)


def test_an_interval_is_worked_out_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A request must not pay for the catalogue; the first of an interval does."""
    channel = object.__new__(TrendingCounts)
    channel.name, channel.half_life_days, channel.counted_at_us = "trending", 30.0, 0
    channel.count_I = RNG.exponential(3.0, NUM_ITEMS)
    first = channel._around(10)
    channel.add(4, 20)
    assert channel._around(int(30.0 * DAY_US) // trend_rows.STEPS - 1) is first
    assert channel._around(int(30.0 * DAY_US)) is not first


@given(st.lists(st.integers(0, 50)))
def test_distinct_items_are_ascending_and_each_once(items: list[int]) -> None:
    assert distinct(np.array(items, np.int64)).tolist() == sorted(set(items))


@given(st.lists(st.tuples(st.integers(0, 2**31 - 1), st.integers(-9, 9)), max_size=60))
def test_what_an_item_has_several_times_is_added_up(entries: list[tuple[int, int]]) -> None:
    expected: dict[int, int] = {}
    for item, score in entries:
        expected[item] = expected.get(item, 0) + score
    items = np.array([item for item, _ in entries], np.int32)
    row = added_up(items, np.array([score for _, score in entries], np.float32), 2**31)
    assert dict(zip(row.items_N.tolist(), row.scores_N.tolist(), strict=True)) == expected
    assert row.items_N.tolist() == sorted(expected)
