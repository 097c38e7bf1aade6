"""EASE on strengths instead of ones, with frequent items held back: one more closed form.

In: the training period and its sources. Out: scores. Three things set it apart from the baseline
`EASE`: entries are strengths, items are scaled by a power of their number of users before the
weights are learnt, and scores stay on that scale.

Shapes: I items, J items with a take-up in training, B queries of a block.
"""

from typing import ClassVar

import numpy as np
import scipy.sparse as sp
from pydantic import BaseModel, ConfigDict, Field

from training.baselines import Ints, Scores, history_matrix, training_matrix
from training.channel_state import Kinds
from training.events import Events
from training.linear_items import LinearItems
from training.profiles import strong_history, strong_training
from training.queries import Queries
from training.sources import Sources


class ItemRidgeOptions(BaseModel):
    """Chosen on the validation parts of two random splits of Last.fm."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    regularisation: float = Field(default=30.0, gt=0)
    item_power: float = Field(default=0.2, ge=0)
    """Items are scaled by (number of users)^-power; 0 is EASE."""


class ItemRidge:
    """Linear item-to-item model with a zero diagonal, after scaling."""

    kept: ClassVar[Kinds] = {
        "name": str,
        "known_UI": sp.csr_matrix,
        "items_J": np.ndarray,
        "scale_J": np.ndarray,
        "linear": LinearItems,
    }
    sources = ("behaviour",)

    def __init__(
        self,
        events: Events,
        sources: Sources,
        options: ItemRidgeOptions | None = None,
        name: str = "item-ridge",
    ) -> None:
        self.name, self.known_UI = name, sources.strength_UI
        options = options or ItemRidgeOptions()
        taken_UI = training_matrix(events)
        self.items_J = np.flatnonzero(taken_UI.getnnz(axis=0))
        count_J = taken_UI.getnnz(axis=0)[self.items_J].astype(np.float64)
        self.scale_J = count_J**-options.item_power
        users_U = np.flatnonzero(taken_UI.getnnz(axis=1))
        strong_UJ = strong_training(events, sources)[users_U][:, self.items_J]
        scaled_UJ = sp.csr_matrix(strong_UJ @ sp.diags_array(self.scale_J))
        self.linear = LinearItems(scaled_UJ, options.regularisation)

    def score(self, queries: Queries, rows: Ints) -> Scores:
        history_BI = history_matrix(queries, rows, None)
        strong_BI = strong_history(history_BI, queries.user_index[rows], self.known_UI)
        scores_BI = np.zeros(history_BI.shape, dtype=np.float32)
        scaled_BJ = sp.csr_matrix(strong_BI[:, self.items_J] @ sp.diags_array(self.scale_J))
        scores_BI[:, self.items_J] = self.linear.scores(scaled_BJ)
        return scores_BI
