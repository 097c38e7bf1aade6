"""Negatives that could have been known at the time: items that were there and not taken up.

In: `Events` and positives. Out: `Labels`, each positive with candidates drawn beside it and the log
probability of every draw. A draw for an instant t reads only what happened strictly before t, and
earlier labels are drawn the same whatever comes later. One draw is, with probability
`uniform_share`, any item available before t, else the item of a take-up before t chosen uniformly,
that is, an item in proportion to its popularity as of t.

A softmax over sampled candidates leans against the items that are sampled most. Taking log_q off
each candidate's score, the positive's included, corrects for it: Jean et al. 2015 (On Using Very
Large Target Vocabulary, eq. 8 to 10), Yi et al. 2019 (Sampling-bias-corrected neural modeling,
section 3). An item without earlier take-ups counts as taken up once, so that log_q stays finite.
log_q leaves out that rejected items make the others likelier: the same factor for all negatives
of a label, and close to one unless a user has taken up most of what there is.
"""

# Shapes: n labels, C negatives a label, p cells still to be filled

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, PositiveInt

from training.events import Events, Ints
from training.labels import Labels, Positives

Floats = npt.NDArray[np.float64]
NOTHING = -1


class NegativeConfig(BaseModel):
    """How negatives are drawn."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    num_negatives: PositiveInt = 64
    """Negatives beside each positive."""
    uniform_share: float = Field(default=0.25, ge=0, le=1)
    """0 draws by popularity only, 1 uniformly; between, popular items stay hard negatives and
    unpopular ones are still met."""
    max_rounds: PositiveInt = 8
    """Times a rejected draw is repeated, and as often again uniformly, before the items that are
    left are listed one by one."""
    seed: int = Field(default=0, ge=0)


@dataclass(frozen=True)
class Times:
    """For each label what the catalogue and the log looked like just before it."""

    num_take_ups: Ints
    """[n] take-ups before"""
    num_available: Ints
    """[n] items available before"""
    rank: Ints
    """[n] instants with a take-up before"""


class NegativeSampler:
    """Draws candidates for positives; build it once, draw as often as needed."""

    def __init__(self, events: Events, config: NegativeConfig | None = None) -> None:
        self.config = config or NegativeConfig()
        self._events = events
        taken = events.take_ups()
        self._taken_at, self._taken_item = events.at_us[taken], events.item_index[taken]
        self._instants, rank = np.unique(self._taken_at, return_inverse=True)
        # Item and instant in one sortable number: a binary search counts take-ups up to an instant.
        self._width = len(self._instants) + 1
        self._take_up_keys = np.sort(self._taken_item * self._width + rank)
        self._catalogue = np.argsort(events.available_at_us, kind="stable")
        self._available_at = events.available_at_us[self._catalogue]
        pairs = events.user_index * len(events.item_ids) + events.item_index
        self._pairs, first = np.unique(pairs, return_index=True)
        self._met_at = events.at_us[first]

    def draw(self, positives: Positives, epoch: int = 0) -> Labels:
        """Draw negatives; another epoch gives others, the same one the same.

        A user's negatives are no items the user had any interaction with at or before the label. An
        item may be drawn twice for a label, as log_q supposes. Candidates are -1, with log_q 0,
        where nothing is left to draw from.
        """
        times = self._times(positives.at_us)
        shape = (len(positives), self.config.num_negatives)
        negatives = np.full(shape, NOTHING, np.int64)
        fallback = np.zeros(shape, np.bool_)
        cells = np.arange(negatives.size)
        for round_number in range(2 * self.config.max_rounds):
            only_uniform = round_number >= self.config.max_rounds
            share = 1.0 if only_uniform else self.config.uniform_share
            rng = np.random.default_rng([self.config.seed, epoch, round_number])
            rows = cells // shape[1]
            items = self._propose(rng, rows, times, share)
            accepted = self._acceptable(positives, rows, items)
            negatives.flat[cells[accepted]] = items[accepted]
            fallback.flat[cells] = only_uniform
            cells = cells[~accepted]
            if not len(cells):
                break
        for row in np.unique(cells // shape[1]):
            self._fill_from_list(positives, int(row), times, epoch, negatives[row])
        items = np.concatenate([positives.item_index[:, None], negatives], axis=1)
        fallback = np.concatenate([np.zeros((len(positives), 1), np.bool_), fallback], axis=1)
        return Labels(
            split=positives.split,
            user_id=self._events.user_ids[positives.user_index],
            user_index=positives.user_index,
            at_us=positives.at_us,
            item_index=items,
            log_q=self._log_q(items, fallback, times),
        )

    def _times(self, at_us: Ints) -> Times:
        return Times(
            num_take_ups=np.searchsorted(self._taken_at, at_us, "left"),
            num_available=np.searchsorted(self._available_at, at_us, "left"),
            rank=np.searchsorted(self._instants, at_us, "left"),
        )

    def _propose(
        self, rng: np.random.Generator, rows: Ints, times: Times, uniform_share: float
    ) -> Ints:
        """One item for each cell [p], or NOTHING where there was none yet."""
        # One row of random numbers a cell, in the order of labels: later labels change no earlier.
        chance = rng.random((len(rows), 2))
        num_take_ups, num_available = times.num_take_ups[rows], times.num_available[rows]
        uniform = (chance[:, 0] < uniform_share) | (num_take_ups == 0)
        number = (chance[:, 1] * np.where(uniform, num_available, num_take_ups)).astype(np.int64)
        items = np.full(len(rows), NOTHING, np.int64)
        from_catalogue, from_log = uniform & (num_available > 0), ~uniform
        items[from_catalogue] = self._catalogue[number[from_catalogue]]
        items[from_log] = self._taken_item[number[from_log]]
        return items

    def _acceptable(self, positives: Positives, rows: Ints, items: Ints) -> npt.NDArray[np.bool_]:
        """True where there is an item, other than the positive, that the user had not met [p]."""
        fresh = ~self._met(positives.user_index[rows], items, positives.at_us[rows])
        accepted: npt.NDArray[np.bool_] = (
            fresh & (items != NOTHING) & (items != positives.item_index[rows])
        )
        return accepted

    def _met(self, users: Ints, items: Ints, at_us: Ints) -> npt.NDArray[np.bool_]:
        """True where the user had an interaction with the item at or before the instant."""
        pairs = users * len(self._events.item_ids) + items
        place = np.minimum(np.searchsorted(self._pairs, pairs), len(self._pairs) - 1)
        met: npt.NDArray[np.bool_] = (self._pairs[place] == pairs) & (self._met_at[place] <= at_us)
        return met

    def _fill_from_list(
        self, positives: Positives, row: int, times: Times, epoch: int, negatives: Ints
    ) -> None:
        """Fill a label's empty cells [C] uniformly from the list of all items that are left."""
        listed = self._catalogue[: times.num_available[row]]
        left = listed[self._acceptable(positives, np.full(len(listed), row), listed)]
        empty = np.flatnonzero(negatives == NOTHING)
        if len(left):
            rng = np.random.default_rng([self.config.seed, epoch, 2 * self.config.max_rounds, row])
            negatives[empty] = rng.choice(left, len(empty))

    def _log_q(
        self, items: Ints, fallback: npt.NDArray[np.bool_], times: Times
    ) -> npt.NDArray[np.float32]:
        """Log probability that one draw gives each candidate [n, 1 + C]."""
        first = np.searchsorted(self._take_up_keys, items * self._width)
        last = np.searchsorted(self._take_up_keys, items * self._width + times.rank[:, None])
        uniform: Floats = 1.0 / np.maximum(times.num_available, 1)[:, None]
        popular = np.maximum(last - first, 1) / np.maximum(times.num_take_ups, 1)[:, None]
        popular = np.where(times.num_take_ups[:, None] > 0, popular, uniform)
        share = np.where(fallback, 1.0, self.config.uniform_share)
        q = share * uniform + (1 - share) * popular
        return np.where(items == NOTHING, 0.0, np.log(q)).astype(np.float32)
