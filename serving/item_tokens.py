"""Item tokens: what the model makes of candidate items, most of it kept between requests.

In: positions and an instant. Out: the model's tokens, as `FusionModel.item_tokens` gives them. What
an item's text, attributes and id say is the same at every instant: it is made before requests come,
as far as there is room, else when the item is first asked for, and again after a row of it was
pushed. Ages and counters are added each time.
"""

# Shapes: I items, K places for items that are kept, C candidates

import threading
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from serving.item_rows import ItemRows, gathered
from serving.popularity import Popularity
from training.model import FusionModel
from training.projector import ViewBatch
from training.score_rows import distinct
from training.tokens import SideTokens

Positions = npt.NDArray[np.int64]

MAX_KEPT = 1_048_576
"""Items; when there are more, the new take the places of the oldest. Some 2.5 kB each with four
sources and texts of 64 numbers, 4 kB with 384."""
MAX_ASKED = 4_096
"""Whoever asks for more at once walks through the catalogue; nothing of that is kept."""
AT_ONCE = 4_096
"""Items made together before requests come."""
NOWHERE = -1


@dataclass(frozen=True)
class Kept:
    """What does not depend on the instant, of K items."""

    tokens: SideTokens
    """As `SideTokenizer.prepare` makes them."""
    times_us: dict[str, Tensor]
    """int64 [K, M] by view that has ages but no counters."""
    present: dict[str, Tensor]
    """bool [K] by the same views: whether the item has a row."""

    def at(self, places: Tensor) -> "Kept":
        """A copy of some."""
        return Kept(
            self.tokens.map(lambda kept: kept.index_select(0, places)),
            {view: kept.index_select(0, places) for view, kept in self.times_us.items()},
            {view: kept.index_select(0, places) for view, kept in self.present.items()},
        )

    def put(self, places: Tensor, new: "Kept") -> None:
        for kept, own in zip(self.tensors(), new.tensors(), strict=True):
            kept[places] = own

    def room(self, num: int) -> "Kept":
        """The same shapes for so many; memory is taken up only by what is written."""

        def empty(like: Tensor) -> Tensor:
            return like.new_empty((num, *like.shape[1:]))

        return Kept(
            self.tokens.map(empty),
            {view: empty(own) for view, own in self.times_us.items()},
            {view: empty(own) for view, own in self.present.items()},
        )

    def tensors(self) -> list[Tensor]:
        own = self.tokens
        named = (own.keys, own.weights, own.vectors, self.times_us, self.present)
        every = (tensor for tensors in named for tensor in tensors.values())
        return [own.tokens, own.present, own.prior, *every]


class ItemTokens:
    """Makes and keeps tokens. Safe to ask from several threads while rows are pushed."""

    def __init__(
        self,
        model: FusionModel,
        views: Mapping[str, ItemRows],
        numbers: Tensor,
        max_kept: int = MAX_KEPT,
    ) -> None:
        """`numbers` [I] are the encoder's; `model` is in evaluation mode and stays as it is."""
        self.num_asked, self.num_made = 0, 0
        self._model, self._views, self._numbers = model, dict(views), numbers
        moving = model.items.moving(views)
        self._counted = {n: views[n] for n in moving if views[n].view.of_kind("counter")}
        self._aged = [name for name in moving if name not in self._counted]
        self._steady = [rows for name, rows in views.items() if name not in self._counted]
        num = min(len(numbers), max_kept)
        self._place_of = np.full(len(numbers), NOWHERE, np.int32)
        self._position_at = np.full(num, NOWHERE, np.int64)
        self._changes_at = np.zeros(num, np.int64)
        self._next, self._max_asked = 0, min(MAX_ASKED, num)
        self._kept: Kept | None = None
        self._lock = threading.Lock()

    @torch.inference_mode()
    def fill(self, popularity: Popularity) -> None:
        """Make what requests would wait for: all items, or the most popular where not all fit.
        Meanwhile requests are answered."""
        some = np.sort(popularity.first(len(self._position_at)))
        for block in np.array_split(some, -(-len(some) // AT_ONCE)):
            with self._lock:
                missing = block[self._places(block) == NOWHERE]
                if len(missing):
                    self._make(missing)

    @torch.inference_mode()
    def of(self, positions: Positions, at_us: int) -> SideTokens:
        """The tokens of C items at an instant."""
        if not 0 < len(positions) <= self._max_asked:
            numbers = self._numbers[torch.from_numpy(positions)]
            return self._model.item_tokens(gathered(self._views, positions, at_us), numbers)
        kept = self._prepared(positions)
        at = torch.full((len(positions),), at_us, dtype=torch.int64)
        batches = gathered(self._counted, positions, at_us)
        for view in self._aged:
            times_us = {"time_us": kept.times_us[view]}
            batches[view] = ViewBatch.gathered(times_us, kept.present[view], at)
        return self._model.finished(kept.tokens, batches)

    def _prepared(self, positions: Positions) -> Kept:
        """A copy of what is kept of C items; what is missing is made first."""
        with self._lock:
            self.num_asked += len(positions)
            places = self._places(positions)
            while (missing := places == NOWHERE).any():
                # Again and again, as what is made may take the place of one that is asked for.
                self._make(distinct(positions[missing]))
                places = self._places(positions)
            assert self._kept is not None
            return self._kept.at(torch.from_numpy(places))

    def _places(self, positions: Positions) -> Positions:
        """Where each item is kept [C], NOWHERE if it is not or if a row of it changed since."""
        places = self._place_of[positions]
        is_old = self._changes_at[places] != self._changes(positions)
        return np.where(is_old, NOWHERE, places)

    def _changes(self, positions: Positions) -> Positions:
        """How often rows of the items were written to [C]."""
        return sum(
            (rows.changes[positions] for rows in self._steady), np.zeros(len(positions), np.int64)
        )

    def _places_for(self, positions: Positions) -> Positions:
        """Each item's own place where all have one, else those that were taken longest ago."""
        if len(self._position_at) == len(self._place_of):
            return positions
        places = (self._next + np.arange(len(positions))) % len(self._position_at)
        self._next = int(places[-1] + 1)
        return places

    def _make(self, positions: Positions) -> None:
        """Make and keep what is missing."""
        changes = self._changes(
            positions
        )  # before the rows: a push between makes them old, not new
        batches = gathered(self._views, positions, 0)
        numbers = self._numbers[torch.from_numpy(positions)]
        new = Kept(
            self._model.items.prepare(self._model.tables, batches, numbers),
            {view: batches[view].columns["time_us"] for view in self._aged},
            {view: batches[view].rows >= 0 for view in self._aged},
        )
        if self._kept is None:
            self._kept = new.room(len(self._position_at))
        places = self._places_for(positions)
        gone = self._position_at[places]
        self._place_of[gone[self._place_of[gone] == places]] = NOWHERE
        self._place_of[positions], self._position_at[places] = places, positions
        self._changes_at[places] = changes
        self._kept.put(torch.from_numpy(places), new)
        self.num_made += len(positions)
