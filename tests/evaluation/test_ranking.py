"""Ranked lists against a plain sort, and fairness to equal scores."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.events import Events
from training.queries import QueryOptions, build_queries
from training.ranking import hits, select, tie_order, top_items

MakeEvents = Callable[..., Events]


class TableScorer:
    """Scores that were written down beforehand."""

    def __init__(self, name: str, scores: np.ndarray) -> None:
        self.name, self.scores = name, scores

    def score(self, queries: object, rows: np.ndarray) -> np.ndarray:
        return self.scores[rows]


finite = st.floats(-1e6, 1e6, width=32).map(lambda x: float(np.float32(x)))


@given(st.lists(finite | st.just(-np.inf) | st.just(-0.0), min_size=1, max_size=12), st.data())
def test_select_is_a_sort_by_score_and_then_tie(scores: list[float], data: st.DataObject) -> None:
    tie = data.draw(st.permutations(range(len(scores))))
    k = data.draw(st.integers(1, len(scores)))
    found = select(np.array([scores], dtype=np.float32), k, np.array([tie]))[0]
    order = sorted(range(len(scores)), key=lambda i: (scores[i], tie[i]), reverse=True)[:k]
    assert found.tolist() == [i if scores[i] > -np.inf else -1 for i in order]


def test_lists_hold_candidates_in_order_of_score(make_events: MakeEvents) -> None:
    queries = build_queries(make_events(0), "test", QueryOptions(max_queries_per_user=100))
    scores = np.random.default_rng(0).normal(size=(len(queries), queries.num_items))
    top = top_items(TableScorer("table", scores), queries, 20)
    for q in range(len(queries)):
        allowed = np.flatnonzero(queries.candidates(np.array([q]))[0])
        expected = allowed[np.argsort(-scores[q, allowed])].tolist()
        assert top[q].tolist() == (expected + [-1] * 20)[:20]


def test_equal_scores_favour_nobody(make_events: MakeEvents) -> None:
    queries = build_queries(
        make_events(1, users=80, items=40, events=4000), "test", QueryOptions(max_users=80)
    )
    silent = TableScorer("silent", np.zeros((len(queries), queries.num_items)))
    found = hits(top_items(silent, queries, 5), queries.relevant, queries.num_items)
    chance = [
        min(5, num) / num * len(queries.relevant.row(q))
        for q, num in enumerate(queries.candidates(np.arange(len(queries))).sum(1).tolist())
    ]
    assert found.sum() == pytest.approx(sum(chance), rel=0.15)


def test_ties_do_not_depend_on_the_company_of_other_queries(make_events: MakeEvents) -> None:
    queries = build_queries(make_events(0), "test")
    whole = tie_order(queries, np.arange(len(queries)), seed=3)
    alone = tie_order(queries.take(np.array([4])), np.array([0]), seed=3)
    np.testing.assert_array_equal(whole[4], alone[0])
    assert all(sorted(row) == list(range(queries.num_items)) for row in whole.tolist())


def test_minus_infinity_keeps_an_item_out(make_events: MakeEvents) -> None:
    queries = build_queries(make_events(0), "test")
    scores = np.full((len(queries), queries.num_items), -np.inf)
    scores[:, 3] = 1.0
    top = top_items(TableScorer("one", scores), queries, 5)
    assert set(top.ravel().tolist()) <= {3, -1}


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_scores_that_are_no_numbers_are_refused(make_events: MakeEvents, wrong: float) -> None:
    queries = build_queries(make_events(0), "test")
    scores = np.zeros((len(queries), queries.num_items))
    scores[0, 0] = wrong
    with pytest.raises(ValueError, match="'broken' returned 1 scores"):
        top_items(TableScorer("broken", scores), queries, 5)
    with pytest.raises(ValueError, match="shape"):
        top_items(TableScorer("broken", scores[:, :-1]), queries, 5)


def test_hits_mark_relevant_places(make_events: MakeEvents) -> None:
    queries = build_queries(make_events(0), "test")
    top = np.array([[queries.relevant.row(q)[0], -1] for q in range(len(queries))])
    expected = np.tile([True, False], (len(queries), 1))
    np.testing.assert_array_equal(hits(top, queries.relevant, queries.num_items), expected)
