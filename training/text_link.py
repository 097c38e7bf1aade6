"""From the text of what a user took up to the text of what comes next, learnt in closed form.

In: the training period and the items' vectors. Out: scores of every item that has a vector, of new
items too. A title's neighbours are more of the same; what people take up next is often something
else that goes with it, and that direction is learnt.

Shapes: N pairs of a past and its next item, I items, D width of a vector, B queries of a block.
"""

from functools import cached_property
from typing import ClassVar

import numpy as np
import scipy.linalg
import scipy.sparse as sp
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from training.baselines import Floats, Ints, Scores
from training.channel_state import Kinds
from training.events import Events
from training.profiles import decayed_history
from training.queries import Queries
from training.score_rows import ScoreRow, VectorMoments, VectorRow, decayed
from training.sources import Sources, Vectors

ITEMS_BACK = 20  # of a past in training; by then the weight is 0.6^20, less than 1e-4


class TextLinkOptions(BaseModel):
    """Chosen on the validation items of 3,000 users of Amazon Beauty."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    history_decay: float = Field(default=0.6, gt=0, le=1)
    """Weight of each step back in the history."""
    ridge: float = Field(default=3e-5, gt=0)
    """Added to the variance of every direction; unit vectors of width 384 vary by some 1e-3."""
    correlation_power: float = Field(default=0.25, ge=0)
    """Directions count by (their correlation)^power: 1 is regression, 0 plain whitening."""


class TextLink:
    """Canonical correlation of the mean vector of a past with the vector of the next item.

    Both sides are whitened, directions weighted by their correlation (Hotelling 1936), and items
    compared by cosine.
    """

    kept: ClassVar[Kinds] = {
        "name": str,
        "options": TextLinkOptions,
        "asks_ID": np.ndarray,
        "answers_ID": np.ndarray,
    }
    sources = ("behaviour", "text")

    def __init__(
        self,
        events: Events,
        sources: Sources,
        options: TextLinkOptions | None = None,
        name: str = "text-link",
    ) -> None:
        if sources.vectors_ID is None:
            raise ValueError("this data set has no item vectors; leave out `text-link`")
        self.name, self.options = name, options or TextLinkOptions()
        centred_ID = centred(sources.vectors_ID)
        past_NI, next_NI = training_pairs(events, self.options.history_decay)
        ask_DD, answer_DD = canonical_maps(past_NI, next_NI, centred_ID, self.options)
        self.asks_ID = (centred_ID @ ask_DD).astype(np.float32)
        self.answers_ID = unit(centred_ID @ answer_DD).astype(np.float32)

    def score(self, queries: Queries, rows: Ints) -> Scores:
        history_BI = mean_rows(decayed_history(queries, rows, self.options.history_decay))
        return np.asarray((history_BI @ self.asks_ID) @ self.answers_ID.T, dtype=np.float32)

    def rows(self, queries: Queries, rows: Ints) -> list[ScoreRow]:
        found: list[ScoreRow] = []
        for items, weights in decayed(queries, rows, self.options.history_decay):
            asked_D = weights @ self.asks_ID[items] / max(float(weights.sum()), 1.0)
            found.append(VectorRow(asked_D, self.answers_ID, self._of_answers))
        return found

    @cached_property
    def _of_answers(self) -> VectorMoments:
        return VectorMoments.of(self.answers_ID)


def centred(vectors_ID: Vectors) -> Vectors:
    """The vectors less their mean; that of an item without text stays zero."""
    there_I = np.asarray(vectors_ID.any(axis=1))
    if not there_I.any():
        raise ValueError("no item has a text vector; leave out `text-link`")
    return np.where(there_I[:, None], vectors_ID - vectors_ID[there_I].mean(axis=0), 0.0)


def training_pairs(events: Events, decay: float) -> tuple[sp.csr_matrix, sp.csr_matrix]:
    """Every past in training as weights of its items that sum to 1, and its next item: [N, I]."""
    user, item = events.training_histories()
    shape = (len(item), len(events.item_ids))
    past_EI = sp.csr_matrix(shape)
    for back in range(1, ITEMS_BACK + 1):
        later = back + np.flatnonzero(user[back:] == user[:-back])
        weight = np.full(len(later), decay ** (back - 1))
        past_EI = past_EI + sp.csr_matrix((weight, (later, item[later - back])), shape)
    pairs_N = np.flatnonzero(past_EI.getnnz(axis=1))
    if not len(pairs_N):
        raise ValueError("no user took up two items in the training period; leave out `text-link`")
    next_EI = sp.csr_matrix((np.ones(len(item)), (np.arange(len(item)), item)), shape)
    return mean_rows(past_EI[pairs_N]), next_EI[pairs_N]


def canonical_maps(
    past_NI: sp.csr_matrix, next_NI: sp.csr_matrix, vectors_ID: Vectors, options: TextLinkOptions
) -> tuple[Floats, Floats]:
    """Matrices [D, D] for the two sides; the score is the inner product of what they make."""
    exact_ID = vectors_ID.astype(np.float64)
    whiten_past = whitening(covariance(past_NI, past_NI, exact_ID), options.ridge)
    whiten_next = whitening(covariance(next_NI, next_NI, exact_ID), options.ridge)
    left_DD, correlation_D, right_DD = scipy.linalg.svd(
        whiten_past @ covariance(past_NI, next_NI, exact_ID) @ whiten_next
    )
    ask_DD = whiten_past @ left_DD * correlation_D**options.correlation_power
    return ask_DD, whiten_next @ right_DD.T


def covariance(one_NI: sp.csr_matrix, other_NI: sp.csr_matrix, vectors_ID: Floats) -> Floats:
    """Of the mean vectors of both sides, [D, D], by way of item pairs: no [N, D] is formed."""
    num = one_NI.shape[0]
    one_D, other_D = (np.asarray(s.mean(axis=0)).ravel() @ vectors_ID for s in (one_NI, other_NI))
    together_ID = np.asarray((one_NI.T @ other_NI) @ vectors_ID)
    return np.asarray(vectors_ID.T @ together_ID / num - np.outer(one_D, other_D))


def whitening(covariance_DD: Floats, ridge: float) -> Floats:
    """The inverse square root of a covariance, every variance raised by `ridge`."""
    variance_D, axes_DD = scipy.linalg.eigh(covariance_DD)
    return np.asarray((axes_DD / np.sqrt(np.maximum(variance_D, 0.0) + ridge)) @ axes_DD.T)


def mean_rows(matrix: sp.csr_matrix) -> sp.csr_matrix:
    """Rows that sum to 1; an empty row stays empty."""
    total = np.asarray(matrix.sum(axis=1)).ravel()
    scale = np.divide(1.0, total, out=np.zeros_like(total), where=total > 0)
    return sp.csr_matrix(sp.diags_array(scale.astype(matrix.dtype)) @ matrix)


def unit(matrix_ID: NDArray[np.floating]) -> NDArray[np.floating]:
    """Rows of unit length; a row of zeros stays so."""
    length_I = np.linalg.norm(matrix_ID, axis=1, keepdims=True)
    return np.asarray(matrix_ID / np.where(length_I > 0, length_I, 1.0))
