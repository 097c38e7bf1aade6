"""Choosing the baselines' settings on the validation period.

In: events. Out: fitted baselines, and the validation figure of every setting that was tried. Never
looks at the test period.
"""

import copy
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import numpy as np

from training.baselines import EASE, ItemKNN, MostPopular, MostPopularLately, Scorer
from training.bootstrap import user_means
from training.events import Events
from training.metrics import ndcg
from training.queries import Queries, QueryOptions, build_queries
from training.ranking import hits, top_items

HALF_LIVES_DAYS = (1.0, 7.0, 30.0, 90.0, 365.0)
Fitted = TypeVar("Fitted", bound=Scorer)
WithHistory = TypeVar("WithHistory", ItemKNN, EASE)
Measure = Callable[[Scorer], float]
Tried = dict[str, dict[str, float]]


def validation_ndcg(scorer: Scorer, queries: Queries, seed: int = 0) -> float:
    """NDCG@10, averaged over users: what settings are chosen by."""
    hits_QK = hits(top_items(scorer, queries, 10, seed), queries.relevant, queries.num_items)
    values_QM = ndcg(hits_QK, queries.relevant.lengths, 10)[:, None]
    return float(user_means(values_QM, queries.user_index).mean())


def tuned_baselines(
    events: Events, without: Sequence[str] = (), max_users: int = 500, seed: int = 0
) -> tuple[list[Scorer], Tried]:
    """The baselines with settings chosen on the validation period, and what was tried."""
    options = QueryOptions(max_users=max_users, max_queries_per_user=5, seed=seed)
    validation = build_queries(events, "validation", options)
    return fit_baselines(events, lambda scorer: validation_ndcg(scorer, validation, seed), without)


def fit_baselines(
    events: Events, measure: Measure, without: Sequence[str] = ()
) -> tuple[list[Scorer], Tried]:
    """Every baseline with the settings that `measure` likes best, and the figure of each setting.

    Item-kNN and EASE answer queries without history with the popular lately, as a product would.
    `without` may name those two.
    """
    tried: Tried = {}
    lately = best(lately_grid(), measure, tried)
    scorers: list[Scorer] = [MostPopular(), lately]
    if "item-knn" not in without:
        fitted = best(knn_grid(events, lately), measure, tried)
        scorers.append(best(history_grid(fitted), measure, tried))
    if "ease" not in without:
        linear = best(ease_grid(events, lately), measure, tried)
        scorers.append(best(history_grid(linear), measure, tried))
    return scorers, tried


def fitted_again(scorers: Sequence[Scorer], events: Events) -> list[Scorer]:
    """The same settings learnt from other events."""
    again: list[Scorer] = []
    for own in scorers:
        if isinstance(own, ItemKNN):
            own = ItemKNN(events, own.num_neighbours, own.shrink, own.history_limit, own.fallback)
        elif isinstance(own, EASE):
            own = EASE(events, own.regularisation, own.history_limit, own.fallback)
        again.append(own)
    return again


def best(grid: Iterator[tuple[str, Fitted]], measure: Measure, tried: Tried) -> Fitted:
    """The scorer of the grid with the greatest measure, the first of equals; notes all figures."""
    winner, greatest = None, -np.inf
    for setting, scorer in grid:
        figure = measure(scorer)
        tried.setdefault(scorer.name, {})[setting] = figure
        if winner is None or figure > greatest:
            winner, greatest = scorer, figure
    assert winner is not None, "an empty grid"
    return winner


def lately_grid() -> Iterator[tuple[str, MostPopularLately]]:
    for days in HALF_LIVES_DAYS:
        yield f"half-life {days:g} d", MostPopularLately(days)


def knn_grid(events: Events, fallback: Scorer) -> Iterator[tuple[str, ItemKNN]]:
    for num_neighbours in (50, 200):
        for shrink in (0.0, 20.0):
            setting = f"{num_neighbours} neighbours, shrink {shrink:g}"
            yield setting, ItemKNN(events, num_neighbours, shrink, fallback=fallback)


def ease_grid(events: Events, fallback: Scorer) -> Iterator[tuple[str, EASE]]:
    for regularisation in (10.0, 100.0, 1000.0):
        yield f"lambda {regularisation:g}", EASE(events, regularisation, fallback=fallback)


def history_grid(fitted: WithHistory) -> Iterator[tuple[str, WithHistory]]:
    """The fitted scorer reading all of the history or only its end."""
    for limit in (None, 50, 10):
        scorer = copy.copy(fitted)
        scorer.history_limit = limit
        yield f"best, {'whole history' if limit is None else f'last {limit}'}", scorer
