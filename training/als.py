"""Matrix factorisation by alternating least squares (Hu, Koren and Volinsky 2008).

In: the take-ups of the training period and how strong they were. Out: scores of all items, the
inner product of a user's and an item's vector. Items' vectors are fitted by the library
`implicit`; a user's is solved from their history when they ask, so that it is never stale and
somebody new has one.

Shapes: U users, I items, D width of a vector, B queries of a block.
"""

from typing import ClassVar

import numpy as np
import scipy.sparse as sp
from implicit.cpu.als import AlternatingLeastSquares
from pydantic import BaseModel, ConfigDict, Field
from threadpoolctl import threadpool_limits

from training.baselines import Floats, Ints, Scores, history_matrix
from training.channel_state import Kinds
from training.events import Events
from training.profiles import strong_history, strong_training
from training.queries import Queries
from training.sources import Sources


class ALSOptions(BaseModel):
    """Chosen on the validation part of one random split of Last.fm."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    width: int = Field(default=64, gt=0)
    regularisation: float = Field(default=20.0, gt=0)
    confidence: float = Field(default=10.0, gt=1)
    """What a take-up of usual strength counts beside 1 for an item not taken up."""
    rounds: int = Field(default=15, gt=0)
    seed: int = 0


class ALS:
    """Scores by vectors of items and of histories."""

    kept: ClassVar[Kinds] = {
        "name": str,
        "options": ALSOptions,
        "items_ID": np.ndarray,
        "strength_UI": sp.csr_matrix,
    }
    sources = ("behaviour",)

    def __init__(
        self,
        events: Events,
        sources: Sources,
        options: ALSOptions | None = None,
        name: str = "als",
    ) -> None:
        self.name, self.options = name, options or ALSOptions()
        self.strength_UI = sources.strength_UI
        with threadpool_limits(1, "blas"):  # implicit runs threads of its own
            model = AlternatingLeastSquares(
                factors=self.options.width,
                regularization=self.options.regularisation,
                alpha=self.options.confidence,
                iterations=self.options.rounds,
                random_state=self.options.seed,
            )
            model.fit(strong_training(events, sources).astype(np.float32), show_progress=False)
        self.items_ID = np.asarray(model.item_factors)

    def score(self, queries: Queries, rows: Ints) -> Scores:
        history_BI = history_matrix(queries, rows, None)
        strong_BI = strong_history(history_BI, queries.user_index[rows], self.strength_UI)
        return np.asarray(self._vectors(strong_BI) @ self.items_ID.T, dtype=np.float32)

    def _vectors(self, strong_BI: sp.csr_matrix) -> Floats:
        """The least-squares vector of each history given the items', [B, D]; 0 for an empty one."""
        items_ID = self.items_ID.astype(np.float64)
        moments_DD = items_ID.T @ items_ID
        moments_DD += self.options.regularisation * np.eye(len(moments_DD))
        vectors_BD = np.zeros((strong_BI.shape[0], len(moments_DD)))
        for row in np.flatnonzero(np.diff(strong_BI.indptr)):
            part = slice(strong_BI.indptr[row], strong_BI.indptr[row + 1])
            own_HD = items_ID[strong_BI.indices[part]]
            confidence_H = self.options.confidence * strong_BI.data[part]
            fit_DD = moments_DD + (own_HD.T * (confidence_H - 1.0)) @ own_HD
            vectors_BD[row] = np.linalg.solve(fit_DD, confidence_H @ own_HD)
        return vectors_BD
