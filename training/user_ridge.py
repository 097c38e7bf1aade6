"""A user's tastes as a weighted sum of other users', weights in closed form, all sources in one.

In: the training period and its sources. Out: scores. It is EASE turned round: each training user's
row of strengths is predicted from the rows of the others. Whom a user resembles is learnt from
take-ups, terms and friends at once, and friends have a head start. Somebody new is resembled by
whatever there is: a history, friends, or both.

Shapes: U training users, A all users, I items, G terms, B queries of a block.
"""

import numpy as np
import scipy.sparse as sp
from pydantic import BaseModel, ConfigDict, Field

from training.baselines import Floats, Ints, Scores, history_matrix, training_matrix
from training.events import Events
from training.linear_items import check_side, positive_inverse
from training.profiles import strong_history, strong_training, tf_idf, unit_rows
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

    def __init__(
        self,
        events: Events,
        sources: Sources,
        options: UserRidgeOptions | None = None,
        name: str = "user-ridge",
    ) -> None:
        self.name, self.options = name, options or UserRidgeOptions()
        self.sources = sources
        taken_AI = training_matrix(events)
        self.users_U = np.flatnonzero(taken_AI.getnnz(axis=1))
        check_side(len(self.users_U), "users")
        self.row_A = np.full(taken_AI.shape[0], -1)
        self.row_A[self.users_U] = np.arange(len(self.users_U))
        self.strength_UI = strong_training(events, sources)[self.users_U]
        count_I = np.maximum(taken_AI.getnnz(axis=0), 1.0)
        self.weighted_IU = sp.csr_matrix(
            sp.diags_array(count_I**-self.options.item_power) @ self.strength_UI.T
        )
        self.terms_IG = None if sources.terms_IG is None else unit_rows(tf_idf(sources.terms_IG))
        self.profile_UG = self._profiles(taken_AI[self.users_U])
        self.circle_AA = None if sources.friends_UU is None else circles(sources.friends_UU)
        kernel_UU = self._kernel(self.users_U, self.strength_UI, self.profile_UG)
        self.inverse_UU = positive_inverse(kernel_UU, self.options.regularisation)

    def score(self, queries: Queries, rows: Ints) -> Scores:
        user_B = queries.user_index[rows]
        history_BI = history_matrix(queries, rows, None)
        strong_BI = strong_history(history_BI, user_B, self.sources)
        kernel_BU = self._kernel(user_B, strong_BI, self._profiles(history_BI))
        return np.asarray(self._weights(user_B, kernel_BU) @ self.strength_UI, dtype=np.float32)

    def _weights(self, user_B: Ints, kernel_BU: Floats) -> Floats:
        """What each training user weighs for each query; 0 for the user's own row."""
        options = self.options
        if self.sources.friends_UU is not None and options.friend_prior:
            prior_BU = self.sources.friends_UU[user_B][:, self.users_U].toarray()
            kernel_BU = kernel_BU + options.regularisation * options.friend_prior * prior_BU
        weights_BU = kernel_BU @ self.inverse_UU
        known = np.flatnonzero(self.row_A[user_B] >= 0)
        own = self.row_A[user_B[known]]
        excess = weights_BU[known, own] / self.inverse_UU[own, own]
        weights_BU[known] -= excess[:, None] * self.inverse_UU[own]
        return np.asarray(weights_BU)

    def _kernel(
        self, user_B: Ints, strong_BI: sp.csr_matrix, profile_BG: sp.csr_matrix | None
    ) -> Floats:
        """How much users with these histories resemble each training user, [B, U]."""
        kernel_BU = (strong_BI @ self.weighted_IU).toarray()
        if profile_BG is not None and self.profile_UG is not None:
            kernel_BU += self.options.term_gain * (profile_BG @ self.profile_UG.T).toarray()
        if self.circle_AA is not None:
            circle_UA = self.circle_AA[self.users_U]
            kernel_BU += self.options.circle_gain * (self.circle_AA[user_B] @ circle_UA.T).toarray()
        return np.asarray(kernel_BU)

    def _profiles(self, history_BI: sp.csr_matrix) -> sp.csr_matrix | None:
        """Mean term vector of each history, unit length."""
        return None if self.terms_IG is None else unit_rows(history_BI @ self.terms_IG)


def circles(friends_AA: sp.csr_matrix) -> sp.csr_matrix:
    """Each user's friends and the user, unit length, so that a product is the cosine of circles."""
    return unit_rows(friends_AA + sp.eye_array(friends_AA.shape[0]))
