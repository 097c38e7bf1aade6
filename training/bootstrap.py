"""Confidence intervals by bootstrap over users.

In: figures of each query and the user who asked. Out: mean over users with a percentile interval.
A user's queries are averaged first, because they resemble each other: resampling queries would
give intervals that are too narrow. One set of resamples serves every model, which pairs them.

Shapes: Q queries, U users with at least one query, R resamples, M metrics.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

Floats = NDArray[np.float64]
# Resamples are drawn this many figures at a time: 64 MB of weights at most.
CELLS_AT_ONCE = 8_000_000


class Interval(BaseModel):
    """A mean and its confidence interval; low and high are None where none can be given."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    mean: float
    low: float | None = None
    high: float | None = None

    def above(self, other: "Interval") -> bool:
        """True if this whole interval lies above the whole of the other."""
        return self.low is not None and other.high is not None and self.low > other.high

    def __str__(self) -> str:
        if self.low is None or self.high is None:
            return f"{self.mean:.4f}"
        return f"{self.mean:.4f} [{self.low:.4f}, {self.high:.4f}]"


def user_means(values_QM: Floats, user_Q: NDArray[np.int64]) -> Floats:
    """Mean over each user's queries, [U, M], users in order of their number.

    >>> user_means(np.array([[1.0], [0.0], [1.0]]), np.array([7, 7, 9])).tolist()
    [[0.5], [1.0]]
    """
    _, row_Q, num_U = np.unique(user_Q, return_inverse=True, return_counts=True)
    sums_UM = np.zeros((len(num_U), values_QM.shape[1]))
    np.add.at(sums_UM, row_Q, values_QM)
    return sums_UM / num_U[:, None]


def resampled_means(values_UM: Floats, resamples: int, seed: int) -> Floats:
    """Means of R resamples of the users, drawn with replacement: [R, M].

    The same seed and number of users draw the same users, whatever the figures are.
    """
    num_users = len(values_UM)
    rng = np.random.default_rng(seed)
    at_once = max(1, CELLS_AT_ONCE // max(num_users, 1))
    parts = []
    for start in range(0, resamples, at_once):
        size = min(at_once, resamples - start)
        drawn_RU = rng.integers(num_users, size=(size, num_users))
        drawn_RU += np.arange(size)[:, None] * num_users
        weights_RU = np.bincount(drawn_RU.ravel(), minlength=size * num_users)
        parts.append(weights_RU.reshape(size, num_users) @ values_UM / num_users)
    return np.concatenate(parts)


def intervals(
    values: Mapping[str, Floats],
    user_Q: NDArray[np.int64],
    resamples: int = 1000,
    seed: int = 0,
    confidence: float = 0.95,
) -> dict[str, Interval]:
    """Mean over users and percentile interval of each named figure; values are one a query.

    For paired differences give the difference of two models' figures. No query: nothing. Fewer
    than two users: no interval, because there is nothing to resample.
    """
    if not len(user_Q):
        return {}
    means_UM = user_means(np.stack(list(values.values()), axis=1).astype(np.float64), user_Q)
    mean_M = means_UM.mean(0)
    if len(means_UM) < 2:
        return {name: Interval(mean=float(mean_M[m])) for m, name in enumerate(values)}
    tail = (1.0 - confidence) / 2
    low_M, high_M = np.quantile(
        resampled_means(means_UM, resamples, seed), [tail, 1.0 - tail], axis=0
    )
    return {
        name: Interval(mean=float(mean_M[m]), low=float(low_M[m]), high=float(high_M[m]))
        for m, name in enumerate(values)
    }
