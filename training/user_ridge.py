"""A user's tastes as a weighted sum of other users', weights in closed form, all sources in one.

In: the training period and its sources. Out: scores. It is EASE turned round: each training user's
row of strengths is predicted from the rows of the others. Whom a user resembles is learnt from
take-ups, terms and friends at once, and friends have a head start. Somebody new is resembled by
whatever there is: a history, friends, or both.

Shapes: U training users, A all users, I items, G terms, B queries of a block.
"""

from typing import ClassVar

import numpy as np
import scipy.sparse as sp
from pydantic import BaseModel, ConfigDict, Field

from training.baselines import Ints, Scores, history_matrix, training_matrix
from training.channel_state import Kinds
from training.events import Events
from training.linear_items import check_side, positive_inverse
from training.profiles import rows_of, strong_history, strong_training, tf_idf, unit_rows
from training.queries import Queries
from training.sources import Sources


class UserRidgeOptions(BaseModel):
    """Chosen on the validation parts of three random splits of Last.fm; all optima are flat."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    regularisation: float = Field(default=60.0, gt=0)
    item_power: float = Field(default=0.2, ge=0)
    """Sharing an item counts (its number of users)^-power: rare tastes tell more."""
    term_gain: float = Field(default=5.0, ge=0)
    """Weight of the cosine of two users' term profiles in their resemblance."""
    circle_gain: float = Field(default=2.0, ge=0)
    """Weight of the cosine of two users' circles (friends and themselves)."""
    friend_prior: float = Field(default=0.02, ge=0)
    """What a friend weighs before anything is learnt."""


class UserRidge:
    """Kernel ridge regression over users with a zero diagonal and a prior mean.

    For a row y of strengths: w minimises |y - w Y|^2 + regularisation |w - prior|^2 with w = 0 for
    the user's own row, in the geometry of the kernel that `UserRidgeOptions` describes. Raises
    ValueError above 20,000 training users.
    """

    kept: ClassVar[Kinds] = {
        "name": str,
        "options": UserRidgeOptions,
        "row_A": np.ndarray,
        "inverse_UU": np.ndarray,
        "strength_UI": sp.csr_matrix,
        "weighted_IU": sp.csr_matrix,
        "known_AI": sp.csr_matrix,
        "terms_IG": sp.csr_matrix,
        "profile_GU": sp.csr_matrix,
        "friends_AU": sp.csr_matrix,
        "circle_AA": sp.csr_matrix,
        "circle_AU": sp.csr_matrix,
    }

    def __init__(
        self,
        events: Events,
        sources: Sources,
        options: UserRidgeOptions | None = None,
        name: str = "user-ridge",
    ) -> None:
        self.name, self.options = name, options or UserRidgeOptions()
        taken_AI = training_matrix(events)
        users_U = np.flatnonzero(taken_AI.getnnz(axis=1))
        check_side(len(users_U), "users")
        self.row_A = np.full(taken_AI.shape[0], -1)
        self.row_A[users_U] = np.arange(len(users_U))
        known_AI = sources.strength_UI
        self.known_AI = None if known_AI is None else narrow(known_AI)
        strength_UI = strong_training(events, sources)[users_U]
        count_I = np.maximum(taken_AI.getnnz(axis=0), 1.0)
        weight_II = sp.diags_array(count_I**-self.options.item_power)
        # What scoring multiplies with is kept the way round and in the precision that it is used.
        self.strength_UI = narrow(strength_UI)
        self.weighted_IU = narrow(weight_II @ strength_UI.T.tocsr())
        self.terms_IG: sp.csr_matrix | None = None
        self.profile_GU: sp.csr_matrix | None = None
        if sources.terms_IG is not None:
            self.terms_IG = narrow(unit_rows(tf_idf(sources.terms_IG)))
            self.profile_GU = narrow(unit_rows(taken_AI[users_U] @ self.terms_IG).T.tocsr())
        self.friends_AU: sp.csr_matrix | None = None
        self.circle_AA: sp.csr_matrix | None = None
        self.circle_AU: sp.csr_matrix | None = None
        if sources.friends_UU is not None:
            self.friends_AU = narrow(sources.friends_UU[:, users_U])
            self.circle_AA = narrow(circles(sources.friends_UU))
            self.circle_AU = narrow(self.circle_AA[users_U].T.tocsr())
        kernel_UU = self._kernel(users_U, self.strength_UI, taken_AI[users_U])
        inverse_UU = positive_inverse(kernel_UU.astype(np.float64), self.options.regularisation)
        self.inverse_UU = inverse_UU.astype(np.float32)

    @property
    def sources(self) -> tuple[str, ...]:
        there = {"item": self.terms_IG, "social": self.friends_AU}
        return ("behaviour", *(name for name, part in there.items() if part is not None))

    def score(self, queries: Queries, rows: Ints) -> Scores:
        user_B = queries.user_index[rows]
        history_BI = history_matrix(queries, rows, None)
        strong_BI = strong_history(history_BI, user_B, self.known_AI)
        kernel_BU = self._kernel(user_B, strong_BI, history_BI)
        return np.asarray(self._weights(user_B, kernel_BU) @ self.strength_UI, dtype=np.float32)

    def _weights(self, user_B: Ints, kernel_BU: Scores) -> Scores:
        """What each training user weighs for each query; 0 for the user's own row."""
        options = self.options
        if self.friends_AU is not None and options.friend_prior:
            prior_BU = rows_of(self.friends_AU, user_B).toarray()
            scale = np.float32(options.regularisation * options.friend_prior)
            kernel_BU = np.asarray(kernel_BU + scale * prior_BU, dtype=np.float32)
        weights_BU = kernel_BU @ self.inverse_UU
        row_B = np.where(user_B >= 0, self.row_A[user_B], -1)
        known = np.flatnonzero(row_B >= 0)
        own = row_B[known]
        excess = weights_BU[known, own] / self.inverse_UU[own, own]
        weights_BU[known] -= excess[:, None] * self.inverse_UU[own]
        return np.asarray(weights_BU)

    def _kernel(self, user_B: Ints, strong_BI: sp.csr_matrix, history_BI: sp.csr_matrix) -> Scores:
        """How much users with these histories resemble each training user, [B, U]."""
        options = self.options
        kernel_BU = (strong_BI @ self.weighted_IU).toarray()
        if self.terms_IG is not None and self.profile_GU is not None:
            profile_BG = unit_rows(history_BI @ self.terms_IG)
            kernel_BU += np.float32(options.term_gain) * (profile_BG @ self.profile_GU).toarray()
        if self.circle_AA is not None and self.circle_AU is not None:
            circle_BA = rows_of(self.circle_AA, user_B)
            kernel_BU += np.float32(options.circle_gain) * (circle_BA @ self.circle_AU).toarray()
        return np.asarray(kernel_BU, dtype=np.float32)


def narrow(matrix: sp.csr_matrix) -> sp.csr_matrix:
    """By rows and in single precision: products with one user's row then copy nothing."""
    return sp.csr_matrix(matrix, dtype=np.float32)


def circles(friends_AA: sp.csr_matrix) -> sp.csr_matrix:
    """Each user's friends and the user, unit length, so that a product is the cosine of circles."""
    return unit_rows(friends_AA + sp.eye_array(friends_AA.shape[0]))
