"""Baselines against their formulas, computed the slow way."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from training import baselines, linear_items
from training.baselines import (
    DAY_US,
    EASE,
    NEVER,
    ItemKNN,
    MostPopular,
    MostPopularLately,
    Scorer,
    training_matrix,
)
from training.events import Events
from training.queries import Queries, QueryOptions, build_queries
from training.tuning import fit_baselines, tuned_baselines

MakeEvents = Callable[..., Events]


@pytest.fixture
def queries(make_events: MakeEvents) -> Queries:
    return build_queries(make_events(0), "test", QueryOptions(max_queries_per_user=100))


def everything(queries: Queries) -> np.ndarray:
    return np.arange(len(queries))


def histories(queries: Queries, limit: int | None = None) -> np.ndarray:
    dense = np.zeros((len(queries), queries.num_items))
    for q in range(len(queries)):
        dense[q, queries.history.last(limit).row(q)] = 1
    return dense


@pytest.mark.parametrize("half_life", [None, 1.0, 30.0])
def test_popularity_counts_what_lies_strictly_before(
    queries: Queries, half_life: float | None
) -> None:
    events = queries.events
    scorer = MostPopular() if half_life is None else MostPopularLately(half_life)
    scores = scorer.score(queries, everything(queries))
    for q in range(len(queries)):
        count = np.zeros(queries.num_items)
        for e in np.flatnonzero(events.is_positive & (events.at_us < queries.at_us[q])):
            age_days = (queries.at_us[q] - events.at_us[e]) / DAY_US
            count[events.item_index[e]] += 1 if half_life is None else 2 ** (-age_days / half_life)
        with np.errstate(divide="ignore"):
            expected = np.where(count > 0, np.log2(count), NEVER)
        np.testing.assert_allclose(scores[q], expected, rtol=1e-5, atol=1e-5)


def test_popularity_is_the_same_whatever_the_block(queries: Queries) -> None:
    scorer = MostPopularLately(7.0)
    whole = scorer.score(queries, everything(queries))
    shuffled = np.random.default_rng(0).permutation(len(queries))
    np.testing.assert_allclose(scorer.score(queries, shuffled), whole[shuffled], rtol=1e-5)


def test_counts_too_small_for_a_float32_keep_their_order(make_events: MakeEvents) -> None:
    events = make_events(0)
    at_us = np.array([events.at_us[-1] + 400 * DAY_US])
    scores = baselines.popularity(events, at_us, half_life_days=1.0)[0]
    assert len(np.unique(scores)) > 5


def direct_ease(events: Events, regularisation: float) -> np.ndarray:
    taken = training_matrix(events).toarray().astype(np.float64)
    inverse = np.linalg.inv(taken.T @ taken + regularisation * np.eye(taken.shape[1]))
    weights = -inverse / np.diag(inverse)
    np.fill_diagonal(weights, 0)
    return weights


@pytest.mark.parametrize(("users", "items", "by_users"), [(30, 12, False), (10, 40, True)])
def test_ease_is_the_closed_form_from_either_side(
    make_events: MakeEvents, users: int, items: int, by_users: bool
) -> None:
    events = make_events(1, users=users, items=items, events=400)
    queries = build_queries(events, "test")
    scorer = EASE(events, regularisation=5.0)
    assert scorer.linear.by_users == by_users
    expected = histories(queries) @ direct_ease(events, 5.0)
    found = scorer.score(queries, everything(queries))
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_ease_refuses_what_does_not_fit(
    make_events: MakeEvents, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(linear_items, "LARGEST_SIDE", 5)
    with pytest.raises(ValueError, match="--without ease"):
        EASE(make_events(0), 1.0)


def test_item_knn_is_the_shrunken_cosine_of_nearest_neighbours(queries: Queries) -> None:
    taken = training_matrix(queries.events).toarray()
    shared = taken.T @ taken
    norm = np.sqrt(np.diag(shared))
    cosine = shared / (np.outer(norm, norm) + 3.0)
    np.fill_diagonal(cosine, 0)
    for item in range(len(cosine)):
        beyond = np.lexsort((np.arange(len(cosine)), -cosine[item]))[4:]
        cosine[item, beyond] = 0
    expected = histories(queries, limit=6) @ cosine.T
    scorer = ItemKNN(queries.events, num_neighbours=4, shrink=3.0, history_limit=6)
    np.testing.assert_allclose(scorer.score(queries, everything(queries)), expected, atol=1e-5)


def fitted(events: Events) -> list[Scorer]:
    lately = MostPopularLately(30.0)
    return [lately, ItemKNN(events, 5, 1.0, fallback=lately), EASE(events, 5.0, fallback=lately)]


def test_the_future_changes_no_score(make_events: MakeEvents) -> None:
    # Leak test: every event from the queries' period on gets another item; scores stay the same.
    events = make_events(4)
    queries = build_queries(events, "test", QueryOptions(max_queries_per_user=100))
    first = queries.take(queries.at_us == queries.at_us.min())
    later = events.at_us >= first.at_us[0]
    item_index = np.where(later, (events.item_index + 7) % len(events.item_ids), events.item_index)
    changed = replace(events, item_index=item_index)
    for ours, theirs in zip(fitted(events), fitted(changed), strict=True):
        np.testing.assert_array_equal(
            ours.score(first, everything(first)),
            theirs.score(replace(first, events=changed), everything(first)),
        )


def test_no_history_gets_the_popular_lately(make_events: MakeEvents) -> None:
    events = make_events(0)
    queries = build_queries(events, "test")
    empty = replace(queries, history=replace(queries.history, end=queries.history.start))
    lately, knn, ease = fitted(events)
    rows = everything(queries)
    np.testing.assert_array_equal(knn.score(empty, rows), lately.score(empty, rows))
    np.testing.assert_array_equal(ease.score(empty, rows), lately.score(empty, rows))


def test_settings_with_the_best_validation_figure_win(make_events: MakeEvents) -> None:
    events = make_events(0)

    def likes_a_month(scorer: Scorer) -> float:
        return float(getattr(scorer, "half_life_days", 0.0) == 30.0)

    scorers, tried = fit_baselines(events, likes_a_month)
    names = [scorer.name for scorer in scorers]
    assert names == ["most-popular", "most-popular-lately", "item-knn", "ease"]
    assert scorers[1].half_life_days == 30.0  # type: ignore[attr-defined]
    assert tried["most-popular-lately"]["half-life 30 d"] == 1.0
    assert [s.name for s in fit_baselines(events, likes_a_month, ["ease"])[0]] == names[:3]


def test_tuning_never_looks_at_the_test_period(make_events: MakeEvents) -> None:
    events = make_events(6)
    later = events.at_us >= events.validation_end_us
    item_index = np.where(later, 0, events.item_index)
    _, tried = tuned_baselines(events)
    _, tried_again = tuned_baselines(replace(events, item_index=item_index))
    assert tried == tried_again
