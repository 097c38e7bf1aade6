"""What is taken up after what: a channel that counts, for histories whose order means something.

In: the training period. Out: scores. Close pairs count more than distant ones, and a pair counts
backwards as well, only less, because two things bought together stand in any order.

Shapes: U users, I items, B queries of a block.
"""

from typing import ClassVar

import numpy as np
import scipy.sparse as sp
from pydantic import BaseModel, ConfigDict, Field

from training.baselines import Ints, Scores, training_matrix
from training.channel_state import Kinds
from training.events import Events
from training.profiles import decayed_history
from training.queries import Queries
from training.score_rows import ScoreRow, added_up, decayed, entries_of


class TransitionOptions(BaseModel):
    """Chosen on the validation items of 8,000 users of Amazon Beauty; all optima are flat."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    distance_decay: float = Field(default=0.8, gt=0, le=1)
    """Weight of each further step between the two items."""
    backwards: float = Field(default=0.3, ge=0)
    """Weight of a pair in the other direction."""
    history_decay: float = Field(default=0.5, gt=0, le=1)
    """Weight of each step back in the history that is asked about."""
    from_power: float = Field(default=0.5, ge=0)
    """Divides by (users of the item in the history)^power."""
    to_power: float = Field(default=0.1, ge=0)
    """Divides by (users of the item to be scored)^power."""
    window: int = Field(default=50, gt=0)
    """Pairs further apart than this many take-ups are not counted: bounds the work a user makes."""


class Transitions:
    """Decayed counts of ordered pairs, divided by powers of both items' popularity."""

    kept: ClassVar[Kinds] = {
        "name": str,
        "options": TransitionOptions,
        "weights_II": sp.csr_matrix,
    }
    sources = ("behaviour",)

    def __init__(
        self, events: Events, options: TransitionOptions | None = None, name: str = "transitions"
    ) -> None:
        self.name, self.options = name, options or TransitionOptions()
        count_I = np.maximum(training_matrix(events).getnnz(axis=0), 1.0)
        self.weights_II = sp.csr_matrix(
            sp.diags_array(count_I**-self.options.from_power)
            @ pair_weights(events, self.options)
            @ sp.diags_array(count_I**-self.options.to_power)
        ).astype(np.float32)

    def score(self, queries: Queries, rows: Ints) -> Scores:
        history_BI = decayed_history(queries, rows, self.options.history_decay)
        return np.asarray((history_BI @ self.weights_II).toarray(), dtype=np.float32)

    def rows(self, queries: Queries, rows: Ints) -> list[ScoreRow]:
        return [
            added_up(*entries_of(self.weights_II, *told), queries.num_items)
            for told in decayed(queries, rows, self.options.history_decay)
        ]


def pair_weights(events: Events, options: TransitionOptions) -> sp.csr_matrix:
    """[I, I]: how often the second item followed the first, close pairs counting more."""
    user, item = events.training_histories()
    shape = (len(events.item_ids), len(events.item_ids))
    weights_II = sp.csr_matrix(shape)
    for distance in range(1, options.window + 1):
        together = np.flatnonzero(user[distance:] == user[:-distance])
        if not len(together):
            break
        weight = np.full(len(together), options.distance_decay ** (distance - 1))
        pairs = (item[together], item[together + distance])
        weights_II = weights_II + sp.csr_matrix((weight, pairs), shape)
    return sp.csr_matrix(weights_II + options.backwards * weights_II.T)
