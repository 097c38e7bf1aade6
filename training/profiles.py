"""Channels that live on one source each, and what channels share to read histories.

In: the training period and its sources. Out: scores. They are weak alone; fused, each adds what the
others cannot know, and it is by them that a user without take-ups is known at all.

Shapes: U users, I items, G terms, B queries of a block.
"""

from functools import cached_property
from typing import ClassVar

import numpy as np
import scipy.sparse as sp

from training.baselines import Ints, Scores, decay, popularity, training_matrix
from training.channel_state import Kinds
from training.events import Events
from training.queries import Queries
from training.score_rows import ScoreRow, added_up, decayed, entries_of
from training.sources import Sources
from training.term_rows import TermIndex
from training.trend_rows import Interval, TrendRow, interval_around


class Popularity:
    """log(1 + number of users who took the item up in training), the same for everybody."""

    name = "popularity"

    def __init__(self, events: Events) -> None:
        self.scores_I = np.log1p(training_matrix(events).getnnz(axis=0)).astype(np.float32)

    def score(self, queries: Queries, rows: Ints) -> Scores:
        return np.tile(self.scores_I, (len(rows), 1))


class Trending:
    """log2(1 + take-ups before the instant, each worth half as much every half-life)."""

    sources = ("item",)

    def __init__(self, half_life_days: float, name: str = "trending") -> None:
        self.half_life_days, self.name = half_life_days, name

    def score(self, queries: Queries, rows: Ints) -> Scores:
        logs_BI = popularity(queries.events, queries.at_us[rows], self.half_life_days)
        return np.log2(1.0 + np.exp2(logs_BI))

    def counted(self, events: Events) -> "TrendingCounts":
        """The same from counters as they stand after the last of the events."""
        return TrendingCounts(events, self.half_life_days, self.name)


class TrendingCounts:
    """`Trending` by one decayed counter an item, for instants after the events it has counted."""

    kept: ClassVar[Kinds] = {
        "name": str,
        "half_life_days": float,
        "counted_at_us": int,
        "count_I": np.ndarray,
    }
    sources = ("item",)
    _interval: Interval | None = None

    def __init__(self, events: Events, half_life_days: float, name: str) -> None:
        self.name, self.half_life_days = name, half_life_days
        # Popularity counts what is strictly before the instant.
        self.counted_at_us = int(events.at_us.max()) + 1
        logs_1I = popularity(events, np.array([self.counted_at_us]), half_life_days)
        self.count_I = np.exp2(logs_1I[0].astype(np.float64))

    def score(self, queries: Queries, rows: Ints) -> Scores:
        weight_B = decay(queries.at_us[rows] - self.counted_at_us, self.half_life_days)
        return np.asarray(np.log2(1.0 + weight_B[:, None] * self.count_I), dtype=np.float32)

    def rows(self, queries: Queries, rows: Ints) -> list[ScoreRow]:
        weight_B = decay(queries.at_us[rows] - self.counted_at_us, self.half_life_days)
        return [
            TrendRow(
                self.count_I,
                float(weight),
                self._around(int(at_us)).at(int(at_us), len(self.count_I)),
            )
            for weight, at_us in zip(weight_B, queries.at_us[rows], strict=True)
        ]

    def add(self, item: int, at_us: int) -> None:
        """Count one more take-up."""
        before = float(self.count_I[item])
        self.count_I[item] += decay(np.asarray(self.counted_at_us - at_us), self.half_life_days)
        if self._interval is not None:
            self._interval.change(before, float(self.count_I[item]))

    def _around(self, at_us: int) -> Interval:
        """The interval of the instant; that of the last question is kept."""
        kept = self._interval
        if kept is None or not kept.start_us <= at_us < kept.end_us:
            kept = interval_around(at_us, self.count_I, self.counted_at_us, self.half_life_days)
            self._interval = kept
        return kept


class FriendsTaste:
    """How strongly the user's friends together took each item up in training."""

    name = "friends"
    kept: ClassVar[Kinds] = {"taste_UI": sp.csr_matrix}
    sources = ("social",)

    def __init__(self, events: Events, sources: Sources) -> None:
        if sources.friends_UU is None:
            raise ValueError("this data set has no links between users; leave out `friends`")
        taste_UI = sources.friends_UU @ strong_training(events, sources)
        self.taste_UI = sp.csr_matrix(taste_UI, dtype=np.float32)

    def score(self, queries: Queries, rows: Ints) -> Scores:
        return np.asarray(rows_of(self.taste_UI, queries.user_index[rows]).toarray())

    def rows(self, queries: Queries, rows: Ints) -> list[ScoreRow]:
        indptr = self.taste_UI.indptr
        spans = [
            slice(indptr[user], indptr[user + 1]) if user >= 0 else slice(0)
            for user in queries.user_index[rows].tolist()
        ]
        return [
            added_up(self.taste_UI.indices[span], self.taste_UI.data[span], queries.num_items)
            for span in spans
        ]


class TermProfile:
    """Cosine of an item's terms with those of the history, in which the latest weigh most.

    `decay` is the weight of each step back in the history; 1 where the order means nothing.
    """

    name = "terms"
    kept: ClassVar[Kinds] = {
        "decay": float,
        "terms_IG": sp.csr_matrix,
        "terms_GI": sp.csr_matrix,
    }
    sources = ("behaviour", "item")

    def __init__(self, sources: Sources, decay: float = 1.0) -> None:
        if sources.terms_IG is None:
            raise ValueError("this data set has neither tags nor categories; leave out `terms`")
        self.decay = decay
        self.terms_IG = unit_rows(tf_idf(sources.terms_IG)).astype(np.float32)
        # Kept the other way round as well: turning it at each question takes longer than asking.
        self.terms_GI = self.terms_IG.T.tocsr()

    def score(self, queries: Queries, rows: Ints) -> Scores:
        profile_BG = unit_rows(decayed_history(queries, rows, self.decay) @ self.terms_IG)
        return np.asarray((profile_BG @ self.terms_GI).toarray(), dtype=np.float32)

    def rows(self, queries: Queries, rows: Ints) -> list[ScoreRow]:
        own = (entries_of(self.terms_IG, *told) for told in decayed(queries, rows, self.decay))
        return [self._index.row(*own_terms) for own_terms in own]

    @cached_property
    def _index(self) -> TermIndex:
        return TermIndex.of(self.terms_IG, self.terms_GI)


def strong_training(events: Events, sources: Sources) -> sp.csr_matrix:
    """Training take-ups [U, I] with their strength, 1 where none is known."""
    taken_UI = training_matrix(events)
    return strong_history(taken_UI, np.arange(taken_UI.shape[0]), sources.strength_UI)


def strong_history(
    history_BI: sp.csr_matrix, user_B: Ints, strength_UI: sp.csr_matrix | None
) -> sp.csr_matrix:
    """Histories [B, I] of 0 and 1 with the strengths that training knows in place of the ones."""
    if strength_UI is None:
        return history_BI
    known_BI = rows_of(strength_UI, user_B).multiply(history_BI)
    return sp.csr_matrix(history_BI - (known_BI > 0) + known_BI)


def rows_of(matrix_UX: sp.csr_matrix, user_B: Ints) -> sp.csr_matrix:
    """These users' rows; an empty one for -1, a user whom training did not know."""
    found_BX = matrix_UX[np.maximum(user_B, 0)]
    unknown_B = user_B < 0
    if not unknown_B.any():
        return found_BX
    return sp.csr_matrix(sp.diags_array(1.0 - unknown_B) @ found_BX, dtype=matrix_UX.dtype)


def decayed_history(queries: Queries, rows: Ints, decay: float) -> sp.csr_matrix:
    """Histories [B, I]: weight 1 for the latest item, `decay` for the one before, and so on."""
    place, item = queries.history.flat(rows)
    lengths = queries.history.lengths[rows]
    back = np.repeat(np.cumsum(lengths), lengths) - 1 - np.arange(len(place))
    shape = (len(rows), queries.num_items)
    weight = np.power(decay, back.astype(np.float64)).astype(np.float32)
    return sp.csr_matrix((weight, (place, item)), shape)


def tf_idf(terms_IG: sp.csr_matrix) -> sp.csr_matrix:
    """Weights times log(items / items that have the term)."""
    num_G = np.maximum(terms_IG.getnnz(axis=0), 1)
    return sp.csr_matrix(terms_IG @ sp.diags_array(np.log(terms_IG.shape[0] / num_G)))


def unit_rows(matrix: sp.csr_matrix) -> sp.csr_matrix:
    """Rows of unit length; an empty row stays empty."""
    length = np.sqrt(np.asarray(matrix.multiply(matrix).sum(axis=1)).ravel())
    scale = np.divide(1.0, length, out=np.zeros_like(length), where=length > 0)
    return sp.csr_matrix(sp.diags_array(scale.astype(matrix.dtype)) @ matrix)
