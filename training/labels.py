"""Labels: who took up what, when, and against which other items.

In: `Events`. Out: `Positives`, a split's first take-ups in order of time, and `Labels`, the same
with negatives beside them (drawn by `negatives.py`). No features here.
"""

# Shapes: n labels, C candidates a label

import dataclasses
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from training.events import Events, Ids, Ints, SplitName


@dataclass(frozen=True)
class Positives:
    """First take-ups of an item by a user [n], in order of time."""

    split: SplitName
    user_index: Ints
    item_index: Ints
    at_us: Ints
    num_unavailable: int
    """First take-ups left out because the item appeared at that very instant. Nothing was known of
    it before, so it would be the one candidate without features: a giveaway, not an example."""

    def __len__(self) -> int:
        return len(self.at_us)


@dataclass(frozen=True)
class Labels:
    """Users, instants and candidates; the candidate in column 0 is the one taken up."""

    split: SplitName
    user_id: Ids
    """[n]"""
    user_index: Ints
    """[n], as in `Events`"""
    at_us: Ints
    """[n], microseconds since 1970; features must be older"""
    item_index: Ints
    """[n, C], as in `Events`; -1 where no candidate was left"""
    log_q: npt.NDArray[np.float32]
    """[n, C], log probability of the draw, to be taken off the scores in a sampled softmax"""
    outcomes: dict[str, npt.NDArray[np.float32]] = dataclasses.field(default_factory=dict)
    """[n] by outcome: what came of the take-up, see `outcomes_of`"""

    def __len__(self) -> int:
        return len(self.at_us)

    @property
    def mask(self) -> npt.NDArray[np.bool_]:
        """True where there is a candidate [n, C]."""
        return self.item_index >= 0

    def take(self, rows: Ints | slice) -> Self:
        """Some of the labels, in the order given."""
        return type(self)(
            split=self.split,
            user_id=self.user_id[rows],
            user_index=self.user_index[rows],
            at_us=self.at_us[rows],
            item_index=self.item_index[rows],
            log_q=self.log_q[rows],
            outcomes={name: outcome[rows] for name, outcome in self.outcomes.items()},
        )

    def narrowed(self, num_candidates: int) -> Self:
        """The same with their first candidates alone, copied, so that the others leave memory."""
        return dataclasses.replace(
            self,
            item_index=self.item_index[:, :num_candidates].copy(),
            log_q=self.log_q[:, :num_candidates].copy(),
        )


def first_take_ups(events: Events, split: SplitName) -> Positives:
    """The split's positives: take-ups of items by users who had never taken them up before.

    ValueError when the period has none.
    """
    taken = events.take_ups()
    pairs = events.user_index[taken] * len(events.item_ids) + events.item_index[taken]
    _, first = np.unique(pairs, return_index=True)
    rows = taken[np.sort(first)]
    start, end = events.window(split)
    rows = rows[(events.at_us[rows] >= start) & (events.at_us[rows] < end)]
    known = events.available_at_us[events.item_index[rows]] < events.at_us[rows]
    if not known.any():
        raise ValueError(
            f"the {split} period has no take-up of an item that was there before; build the data "
            "set again with other --train-fraction and --validation-fraction"
        )
    rows = rows[known]
    return Positives(
        split=split,
        user_index=events.user_index[rows],
        item_index=events.item_index[rows],
        at_us=events.at_us[rows],
        num_unavailable=int((~known).sum()),
    )


def outcomes_of(events: Events, positives: Positives) -> dict[str, npt.NDArray[np.float32]]:
    """What came of each take-up [n], by the end of its period.

    For each action whether the user did that with the item at the take-up or later, 1 or 0; and
    where the action has values ("rate.value"), the first one, standardised by those of the training
    period, NaN where there is none. Nothing for events whose actions are not known.
    """
    if events.action_index is None or events.values is None:
        return {}
    num_items = len(events.item_ids)
    pairs = positives.user_index * num_items + positives.item_index
    order = np.argsort(pairs)
    start, end = events.window(positives.split)
    # Backwards in time, so that the first value is the one that stays.
    rows = np.flatnonzero((events.at_us >= start) & (events.at_us < end))[::-1]
    keys = events.user_index[rows] * num_items + events.item_index[rows]
    place = order[np.minimum(np.searchsorted(pairs[order], keys), len(pairs) - 1)]
    kept = (pairs[place] == keys) & (events.at_us[rows] >= positives.at_us[place])
    rows, place = rows[kept], place[kept]
    found: dict[str, npt.NDArray[np.float32]] = {}
    for number, action in enumerate(events.actions):
        own = events.action_index[rows] == number
        found[action] = np.zeros(len(pairs), np.float32)
        found[action][place[own]] = 1.0
        valued = own & ~np.isnan(events.values[rows])
        before = (events.action_index == number) & (events.at_us < events.train_end_us)
        known = events.values[before & ~np.isnan(events.values)]
        if len(known) and known.std() > 0:
            found[f"{action}.value"] = np.full(len(pairs), np.nan, np.float32)
            standardised = (events.values[rows[valued]] - known.mean()) / known.std()
            found[f"{action}.value"][place[valued]] = standardised
    return found
