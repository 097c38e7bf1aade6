"""Simple recommenders that a fused model has to beat, behind the interface that evaluation knows.

In: events and, for each query, its user's history and instant. Out: a score for every item. All
learn from the training period only and see of a query what any model sees: the user's take-ups and
everybody's popularity strictly before the instant.

Shapes: Q queries, B queries of a block, I items, J items with a take-up in training, U users.
"""

from typing import Protocol

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from training.events import Events
from training.linear_items import LinearItems
from training.queries import Queries

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Scores = NDArray[np.float32]

DAY_US = 86_400_000_000
NEVER = np.float32(-1e6)  # below the log2 of any count, however decayed


class Scorer(Protocol):
    """Anything that scores all items for a block of queries."""

    name: str

    def score(self, queries: Queries, rows: Ints) -> Scores:
        """Scores [B, I] of the queries with these numbers, higher is better.

        -inf keeps an item from being recommended; nan is an error. Seen and unavailable items may
        have any score: evaluation leaves them out.
        """
        ...


class MostPopular:
    """Counts everybody's take-ups strictly before the instant."""

    name = "most-popular"

    def score(self, queries: Queries, rows: Ints) -> Scores:
        return popularity(queries.events, queries.at_us[rows], half_life_days=None)


class MostPopularLately:
    """Counts take-ups strictly before the instant, each worth half as much every half-life."""

    def __init__(self, half_life_days: float) -> None:
        self.half_life_days = half_life_days
        self.name = "most-popular-lately"

    def score(self, queries: Queries, rows: Ints) -> Scores:
        return popularity(queries.events, queries.at_us[rows], self.half_life_days)


class ItemKNN:
    """Sums an item's cosine with the items of the history, over its nearest neighbours only.

    Cosine of the sets of users in training, its divisor raised by `shrink` so that pairs seen
    together by few users count less (Sarwar et al. 2001; Bell and Koren 2007).
    """

    def __init__(
        self,
        events: Events,
        num_neighbours: int,
        shrink: float,
        history_limit: int | None = None,
        fallback: Scorer | None = None,
    ) -> None:
        self.name = "item-knn"
        self.num_neighbours, self.shrink = num_neighbours, shrink
        self.history_limit, self.fallback = history_limit, fallback
        taken_UI = training_matrix(events)
        self.neighbours_II = cosine_neighbours(taken_UI, num_neighbours, shrink)

    def score(self, queries: Queries, rows: Ints) -> Scores:
        history_BI = history_matrix(queries, rows, self.history_limit)
        scores_BI = (history_BI @ self.neighbours_II).toarray()
        return with_fallback(scores_BI, self.fallback, queries, rows)


class EASE:
    """The linear item-to-item model with zero diagonal in closed form (Steck 2019, equation 8).

    Items without a take-up in training score 0. Raises ValueError if both users and items with a
    take-up in training are above 20,000.
    """

    def __init__(
        self,
        events: Events,
        regularisation: float,
        history_limit: int | None = None,
        fallback: Scorer | None = None,
    ) -> None:
        self.name = "ease"
        self.regularisation, self.history_limit = regularisation, history_limit
        self.fallback = fallback
        taken_UI = training_matrix(events)
        self.items_J = np.flatnonzero(taken_UI.getnnz(axis=0))
        taken_UJ = taken_UI[np.flatnonzero(taken_UI.getnnz(axis=1))][:, self.items_J]
        self.linear = LinearItems(taken_UJ, regularisation)

    def score(self, queries: Queries, rows: Ints) -> Scores:
        history_BI = history_matrix(queries, rows, self.history_limit)
        scores_BI = np.zeros(history_BI.shape, dtype=np.float32)
        scores_BI[:, self.items_J] = self.linear.scores(history_BI[:, self.items_J])
        return with_fallback(scores_BI, self.fallback, queries, rows)


def popularity(events: Events, at_us: Ints, half_life_days: float | None) -> Scores:
    """log2 of each item's (decayed) take-ups strictly before each instant: [len(at_us), I].

    One counter an item walks through the instants in order; from one to the next it decays and
    takes in the events between, which is exact. The logarithm keeps the order of items whose
    counts have decayed beyond what a float32 holds.
    """
    taken = events.take_ups()
    event_us, item = events.at_us[taken], events.item_index[taken]
    instants, inverse = np.unique(at_us, return_inverse=True)
    upto = np.searchsorted(event_us, instants)
    count_I = np.zeros(len(events.item_ids))
    logs = np.empty((len(instants), len(count_I)), dtype=np.float32)
    begin, previous_us = 0, instants[0] if len(instants) else 0
    for row, (now_us, end) in enumerate(zip(instants, upto, strict=True)):
        weight = decay(now_us - event_us[begin:end], half_life_days)
        count_I *= decay(now_us - previous_us, half_life_days)
        count_I += np.bincount(item[begin:end], weights=weight, minlength=len(count_I))
        logs[row] = np.log2(count_I, out=np.full(len(count_I), NEVER), where=count_I > 0)
        begin, previous_us = end, now_us
    return logs[inverse]


def decay(age_us: Ints, half_life_days: float | None) -> Floats:
    """2^(-age / half-life); 1 without a half-life."""
    if half_life_days is None:
        return np.ones(np.shape(age_us))
    return np.exp2(-age_us / (half_life_days * DAY_US))


def training_matrix(events: Events) -> sp.csr_matrix:
    """Who took up what in the training period, binary, [users, I]."""
    taken = events.training_take_ups()
    if not len(taken):
        raise ValueError("no take-up in the training period; build with a larger --train-fraction")
    shape = (len(events.user_ids), len(events.item_ids))
    return binary(events.user_index[taken], events.item_index[taken], shape)


def history_matrix(queries: Queries, rows: Ints, limit: int | None) -> sp.csr_matrix:
    """What each query's user took up before, binary, [B, I]; the last `limit` take-ups only."""
    row, item = queries.history.last(limit).flat(rows)
    return binary(row, item, (len(rows), queries.num_items))


def binary(row: Ints, column: Ints, shape: tuple[int, int]) -> sp.csr_matrix:
    matrix = sp.csr_matrix((np.ones(len(row), dtype=np.float32), (row, column)), shape=shape)
    matrix.data[:] = 1.0
    return matrix


def with_fallback(
    scores_BI: Scores, fallback: Scorer | None, queries: Queries, rows: Ints
) -> Scores:
    """Where the history says nothing (all scores 0), the fallback's scores."""
    blank_B = ~scores_BI.any(axis=1)
    if fallback is not None and blank_B.any():
        scores_BI[blank_B] = fallback.score(queries, rows[blank_B])
    return scores_BI


def cosine_neighbours(taken_UI: sp.csr_matrix, num_neighbours: int, shrink: float) -> sp.csr_matrix:
    """[I, I]: column i holds the cosines of item i with its nearest neighbours."""
    num_users_I = taken_UI.getnnz(axis=0)
    norm_I = np.sqrt(num_users_I)
    by_item = taken_UI.T.tocsr()
    blocks = []
    for start in range(0, by_item.shape[0], 1024):
        shared = (by_item[start : start + 1024] @ taken_UI).tocoo()
        item, other = shared.row + start, shared.col
        cosine = shared.data / (norm_I[item] * norm_I[other] + shrink)
        apart = item != other
        blocks.append(nearest(item[apart], other[apart], cosine[apart], num_neighbours))
    item, other, cosine = (np.concatenate(parts) for parts in zip(*blocks, strict=True))
    shape = (by_item.shape[0], by_item.shape[0])
    return sp.csr_matrix((cosine.astype(np.float32), (other, item)), shape=shape)


def nearest(item: Ints, other: Ints, cosine: Floats, limit: int) -> tuple[Ints, Ints, Floats]:
    """Of each item's pairs the `limit` with the greatest cosine."""
    order = np.lexsort((other, -cosine, item))
    item, other, cosine = item[order], other[order], cosine[order]
    _, start, num = np.unique(item, return_index=True, return_counts=True)
    kept = np.arange(len(item)) - np.repeat(start, num) < limit
    return item[kept], other[kept], cosine[kept]
