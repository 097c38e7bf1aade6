"""Term rows: the cosine of one asker's terms with those of items, in a catalogue of any size.

In: unit term vectors of items and of the asker. Out: score rows. Where the asker's terms stand at
few items, these are walked whole. Else moments follow from how often terms stand together, and what
scores highest is looked for among the items that are most about each term.
"""

# Shapes: I items, G terms, C candidates, T terms of the asker, N items found

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from training.baselines import Floats, Ints, Scores
from training.score_rows import (
    Moments,
    ScoreRow,
    added_up,
    distinct,
    entries_of,
    lengths_of,
    places_of,
)

WALKED_WHOLE = 50_000  # entries; adding them up takes about a millisecond
MAX_TERMS = 40  # of an asker that are looked up when not all is walked
ITEMS_A_TERM = 200


@dataclass(frozen=True)
class TermIndex:
    """Terms of items, both ways round, and what follows from them."""

    terms_IG: sp.csr_matrix
    terms_GI: sp.csr_matrix
    """Items of a term, those most about it first."""
    mean_G: Floats
    together_GG: sp.csr_matrix
    """Sum of the outer products of items' vectors."""

    @classmethod
    def of(cls, terms_IG: sp.csr_matrix, terms_GI: sp.csr_matrix) -> "TermIndex":
        exact_GI = terms_GI.astype(np.float64)
        return cls(
            terms_IG,
            strongest_first(terms_GI),
            np.asarray(exact_GI.mean(axis=1)).ravel(),
            sp.csr_matrix(exact_GI @ exact_GI.T),
        )

    def row(self, terms: NDArray[np.integer], weights: NDArray[np.floating]) -> ScoreRow:
        """The row of an asker with these terms, of which one may stand repeatedly."""
        own = added_up(terms, weights, self.terms_IG.shape[1])
        terms_T, weights_T = own.items_N, own.scores_N
        weights_T /= max(float(np.linalg.norm(weights_T)), 1e-30)
        if lengths_of(self.terms_GI, terms_T).sum() <= WALKED_WHOLE:
            num_items = self.terms_IG.shape[0]
            return added_up(*entries_of(self.terms_GI, terms_T, weights_T), num_items)
        return TermRow(self, terms_T, weights_T)


@dataclass(frozen=True)
class TermRow:
    """Scores of an asker whose terms stand at very many items."""

    index: TermIndex
    terms_T: NDArray[np.integer]
    weights_T: Scores

    def moments(self) -> Moments:
        num_items = self.index.terms_IG.shape[0]
        exact_T = self.weights_T.astype(np.float64)
        term, shared = entries_of(self.index.together_GG, self.terms_T, exact_T)
        squares = float(self._profile_G.take(term) @ shared)
        mean = float(self.index.mean_G[self.terms_T] @ exact_T)
        return Moments.of_sums(mean * num_items, squares, num_items)

    def at(self, items_C: Ints) -> Scores:
        terms_IG = self.index.terms_IG
        place, length_C = places_of(terms_IG, items_C)
        products = self._profile_G.take(terms_IG.indices[place])
        products *= terms_IG.data[place]
        owner = np.repeat(np.arange(len(items_C)), length_C)
        return np.bincount(owner, products, minlength=len(items_C)).astype(np.float32)

    def entries(self) -> tuple[Ints, Scores]:
        terms_GI = self.index.terms_GI
        start_T, end_T = terms_GI.indptr[self.terms_T], terms_GI.indptr[self.terms_T + 1]
        promise_T = self.weights_T * terms_GI.data[np.minimum(start_T, len(terms_GI.data) - 1)]
        parts = [
            terms_GI.indices[start_T[term] : min(end_T[term], start_T[term] + ITEMS_A_TERM)]
            for term in np.argsort(-promise_T)[:MAX_TERMS]
        ]
        items_N = distinct(np.concatenate(parts)).astype(np.int64)
        return items_N, self.at(items_N)

    @cached_property
    def _profile_G(self) -> Scores:
        profile_G = np.zeros(self.index.terms_IG.shape[1], np.float32)
        profile_G[self.terms_T] = self.weights_T
        return profile_G


def strongest_first(matrix: sp.csr_matrix) -> sp.csr_matrix:
    """The same matrix, each row's entries by falling value, equal ones by column."""
    row = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
    order = np.lexsort((matrix.indices, -matrix.data, row))
    parts = (matrix.data[order], matrix.indices[order], matrix.indptr)
    return sp.csr_matrix(parts, shape=matrix.shape)
