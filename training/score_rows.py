"""Score rows: what a channel says of every item to one asker, without writing all of it down.

In: what a channel has worked out for one query. Out: a row that tells the scores of named items,
the mean and spread of all scores, and items that score highest. What a row costs grows with what is
asked for and what the asker has done; only a dense one's with the catalogue.
"""

# Shapes: I items, C candidates, N entries of a sparse row, D width of a vector, T rows

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from training.baselines import Floats, Ints, Scores
from training.queries import Queries

Number = TypeVar("Number", bound=np.integer)

LEAST_VARIANCE = 1e-12  # of the mean square: less is rounding, and scores are all equal
BLOCK = 65_536


@dataclass(frozen=True)
class Moments:
    """Of the scores of all items, by which they are standardised."""

    mean: float
    spread: float
    """Standard deviation, 1 where all scores are equal."""

    @classmethod
    def of_sums(cls, total: float, squares: float, num: int) -> "Moments":
        """From the sum of the scores and that of their squares."""
        mean, mean_square = total / num, squares / num
        variance = mean_square - mean**2
        return cls(mean, float(variance**0.5) if variance > LEAST_VARIANCE * mean_square else 1.0)


class ScoreRow(Protocol):
    """One asker's scores of all items."""

    def moments(self) -> Moments: ...

    def at(self, items_C: Ints) -> Scores:
        """The scores [C] of these items."""
        ...

    def entries(self) -> tuple[Ints, Scores]:
        """Different items and their scores, among them those that score highest."""
        ...


@dataclass(frozen=True)
class DenseRow:
    """All scores written down."""

    scores_I: Scores

    def moments(self) -> Moments:
        centred_I = self.scores_I - self.scores_I.mean()
        return Moments(float(self.scores_I.mean()), float(centred_I.std()) or 1.0)

    def at(self, items_C: Ints) -> Scores:
        return self.scores_I[items_C]

    def entries(self) -> tuple[Ints, Scores]:
        return np.arange(len(self.scores_I)), self.scores_I


@dataclass(frozen=True)
class SparseRow:
    """The scores that are not 0."""

    items_N: Ints
    """Ascending."""
    scores_N: Scores
    num_items: int

    def moments(self) -> Moments:
        exact_N = self.scores_N.astype(np.float64)
        return Moments.of_sums(float(exact_N.sum()), float(exact_N @ exact_N), self.num_items)

    def at(self, items_C: Ints) -> Scores:
        if not len(self.items_N):
            return np.zeros(len(items_C), np.float32)
        place_C = np.searchsorted(self.items_N, items_C)
        there_C = self.items_N.take(place_C, mode="clip") == items_C
        return np.where(there_C, self.scores_N.take(place_C, mode="clip"), np.float32(0.0))

    def entries(self) -> tuple[Ints, Scores]:
        return self.items_N, self.scores_N


def distinct(items: NDArray[Number]) -> NDArray[Number]:
    """Each item once, ascending. `np.unique` hashes since numpy 2.3, in fifteen times the time."""
    ordered = np.sort(items)
    return ordered[are_first(ordered)]


def are_first(ordered: NDArray[np.integer]) -> NDArray[np.bool_]:
    """Which numbers differ from the one before them."""
    mask = np.ones(len(ordered), np.bool_)
    np.not_equal(ordered[1:], ordered[:-1], out=mask[1:])
    return mask


def added_up(items: NDArray[np.integer], scores: NDArray[np.floating], num_items: int) -> SparseRow:
    """The row of scores of which an item may have several."""
    if len(items) * 8 > num_items:  # then sorting takes longer than an array of all items
        scores_I = np.bincount(items, weights=scores, minlength=num_items)
        items_N = np.flatnonzero(scores_I)
        return SparseRow(items_N, scores_I[items_N].astype(np.float32), num_items)
    # The items with their places in one number each: sorting numbers takes a third of the time that
    # sorting places by them does, and an item's scores are added up in the order given.
    keys = np.sort(items.astype(np.int64) << 32 | np.arange(len(items)))
    ordered, place = keys >> 32, keys & 0xFFFF_FFFF
    is_first = are_first(ordered)
    scores_N = np.bincount(np.cumsum(is_first) - 1, scores[place]).astype(np.float32)
    return SparseRow(ordered[is_first], scores_N, num_items)


def decayed(queries: Queries, rows: Ints, decay: float) -> Iterator[tuple[Ints, Scores]]:
    """For each query the items of its history, and their weights: 1 for the latest, `decay` for the
    one before, and so on. As `profiles.decayed_history`, without a matrix."""
    for row in rows:
        items = queries.history.row(row)
        yield items, np.power(decay, np.arange(len(items) - 1.0, -1.0, -1.0)).astype(np.float32)


def entries_of(
    matrix: sp.csr_matrix, rows_T: NDArray[np.integer], weights_T: NDArray[np.floating]
) -> tuple[NDArray[np.integer], NDArray[np.floating]]:
    """Columns and weighted values of these rows, one after the other.

    A product of sparse matrices would clear an array as long as the catalogue first.
    """
    place, length_T = places_of(matrix, rows_T)
    return matrix.indices[place], matrix.data[place] * np.repeat(weights_T, length_T)


def places_of(
    matrix: sp.csr_matrix, rows_T: NDArray[np.integer]
) -> tuple[Ints, NDArray[np.integer]]:
    """Where the entries of these rows stand, row after row, and how many each has."""
    start_T, length_T = matrix.indptr[rows_T], lengths_of(matrix, rows_T)
    place = np.repeat(start_T - np.cumsum(length_T) + length_T, length_T)
    place += np.arange(len(place))
    return place, length_T


def lengths_of(matrix: sp.csr_matrix, rows_T: NDArray[np.integer]) -> NDArray[np.integer]:
    """How many entries these rows have, without a look at the others."""
    return np.asarray(matrix.indptr[rows_T + 1] - matrix.indptr[rows_T])


@dataclass(frozen=True)
class VectorMoments:
    """Of items' vectors: from them follow the moments of their products with any vector."""

    mean_D: Floats
    square_DD: Floats
    """Mean of the outer products."""

    @classmethod
    def of(cls, vectors_ID: Scores) -> "VectorMoments":
        width = vectors_ID.shape[1]
        total_D, square_DD = np.zeros(width), np.zeros((width, width))
        for start in range(0, len(vectors_ID), BLOCK):
            block = vectors_ID[start : start + BLOCK]
            total_D += block.sum(axis=0, dtype=np.float64)
            square_DD += block.T @ block
        return cls(total_D / len(vectors_ID), square_DD / len(vectors_ID))


@dataclass(frozen=True)
class VectorRow:
    """Products of the asker's vector with those of items; an index finds the best faster."""

    asked_D: Scores
    answers_ID: Scores
    of_answers: VectorMoments

    def moments(self) -> Moments:
        exact_D, known = self.asked_D.astype(np.float64), self.of_answers
        return Moments.of_sums(
            float(exact_D @ known.mean_D), float(exact_D @ known.square_DD @ exact_D), 1
        )

    def at(self, items_C: Ints) -> Scores:
        return np.asarray(self.answers_ID.take(items_C, axis=0) @ self.asked_D, dtype=np.float32)

    def entries(self) -> tuple[Ints, Scores]:
        return np.arange(len(self.answers_ID)), self.answers_ID @ self.asked_D
