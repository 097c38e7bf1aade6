"""Numbers on a common scale: z-scores whose mean and spread come from training-period rows.

In: float64 values, NaN where there is none. Out: float32 values of about unit size.
"""

import math
from typing import Self

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, FiniteFloat, PositiveFloat

# A value this many standard deviations out says "huge" and no more; without a bound, one absurd
# price would swamp every other input of its row.
FARTHEST = 10.0


class Scale(BaseModel):
    """Mean and standard deviation of one numeric field."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    mean: FiniteFloat = 0.0
    std: PositiveFloat = 1.0

    @classmethod
    def fit(cls, values: npt.NDArray[np.float64]) -> Self:
        """Fit on the finite values; without any, or with all equal, the spread is 1.

        Sums are exactly rounded, so the result is the same in whatever order the rows come.
        """
        finite = values[np.isfinite(values)]
        if not len(finite):
            return cls()
        mean = math.fsum(finite.tolist()) / len(finite)
        variance = math.fsum(((finite - mean) ** 2).tolist()) / len(finite)
        std = math.sqrt(variance)
        # A constant column's spread is a rounding error, not a unit to measure in.
        return cls(mean=mean, std=std if std > 1e-9 * max(1.0, abs(mean)) else 1.0)

    def apply(self, values: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
        """Z-scores within FARTHEST of zero; a value that is not finite becomes 0."""
        return z_scores(values, self.mean, self.std)


def z_scores(
    values: npt.NDArray[np.float64],
    mean: float | npt.NDArray[np.float64],
    std: float | npt.NDArray[np.float64],
) -> npt.NDArray[np.float32]:
    """Scores of one field's values, or of one value a field; see `Scale.apply`."""
    scores = np.where(np.isfinite(values), (values - mean) / std, 0.0)
    return np.clip(scores, -FARTHEST, FARTHEST).astype(np.float32)
