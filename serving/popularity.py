"""Popularity: one decayed counter an item, exact while feedback comes in, and their order.

In: the counters of the bundle's item views, take-ups as they come. Out: what is trending at an
instant. All counters halve alike, so their order does not change with time: it is kept, and no
request sorts the catalogue or decays it. Positions stand for items as in the snapshot.
"""

# Shapes: I items, C candidates

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch

from feature_repo.pipelines.features.decay import add_event, decay
from training.encode import Columns
from training.profiles import TrendingCounts
from training.schema import FeatureSchema, FieldSpec, ViewSpec

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
Positions = npt.NDArray[np.int64]

TRENDING_HALF_LIFE_DAYS = 30.0
DAY_US = 86_400_000_000


class Order:
    """Positions by key, highest first, equal ones by position; one key at a time may change."""

    def __init__(self, keys: Floats) -> None:
        self._falling = -keys
        """Negative keys [I]: what is highest comes first when they rise."""
        self.positions: Positions = np.argsort(self._falling, kind="stable")
        self._sorted = self._falling[self.positions]

    def place(self, position: int) -> int:
        """How many come before it."""
        return self._find(float(self._falling[position]), position)

    def set(self, position: int, key: float) -> None:
        """Moves what lies between the old place and the new one: megabytes at most, no sort."""
        old, new = self.place(position), self._find(-key, position)
        new -= new > old  # it leaves its old place first
        for array, value in ((self.positions, position), (self._sorted, -key)):
            if new < old:
                array[new + 1 : old + 1] = array[new:old].copy()
            else:
                array[old:new] = array[old + 1 : new + 1].copy()
            array[new] = value
        self._falling[position] = -key

    def key(self, positions_C: Positions) -> Floats:
        """The keys of these, [C]."""
        return -self._falling[positions_C]

    def _find(self, falling: float, position: int) -> int:
        start, end = (
            int(np.searchsorted(self._sorted, falling, side))  # type: ignore[call-overload]
            for side in ("left", "right")
        )
        return start + int(np.searchsorted(self.positions[start:end], position))


@dataclass
class Popularity:
    """One decayed counter per item, kept exact while feedback comes in."""

    half_life_days: float
    values: Floats
    """[I], each valued at its own instant."""
    valued_at_us: Positions
    """[I]; -1 where nobody has taken the item up."""
    followers: Sequence[TrendingCounts] = ()
    """Channels that count the same take-ups."""
    _order: Order = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._order = Order(self._keys(self.values, self.valued_at_us))

    def __len__(self) -> int:
        return len(self.values)

    def at(self, at_us: int) -> Floats:
        """Counters [I] at an instant; 0 for items that nobody has taken up. A pass over the
        catalogue: no request asks for it."""
        gaps_us = np.maximum(at_us - self.valued_at_us, 0)
        decayed = decay(self.values, np.zeros_like(gaps_us), gaps_us, self.half_life_days)
        return np.where(self.valued_at_us >= 0, decayed, 0.0)

    def first(self, num: int) -> Positions:
        """The `num` most popular, best first; those that nobody has taken up come last."""
        return self._order.positions[:num]

    def ordered(self, positions_C: Positions) -> Positions:
        """These from the most popular on, equal ones by position."""
        return positions_C[np.lexsort((positions_C, -self._order.key(positions_C)))]

    def rank(self, position: int) -> int:
        """0 for the most popular; -1 for what nobody has taken up."""
        return self._order.place(position) if self.values[position] > 0 else -1

    def untouched(self, positions_C: Positions) -> Mask:
        """Which of these nobody has taken up."""
        return self.valued_at_us[positions_C] < 0

    def put(self, position: int, value: float, valued_at_us: int) -> None:
        """Go on from another count of one item; -1 for the instant where there is none."""
        self.values[position], self.valued_at_us[position] = value, valued_at_us
        key = self._keys(np.array([value]), np.array([valued_at_us]))
        self._order.set(position, float(key[0]))

    def add(self, position: int, at_us: int) -> None:
        """Count one more take-up."""
        known = self.valued_at_us[position] >= 0
        value, valued_at_us = add_event(
            float(self.values[position]) if known else 0.0,
            int(self.valued_at_us[position]) if known else at_us,
            at_us,
            self.half_life_days,
        )
        self.put(position, value, valued_at_us)
        for channel in self.followers:
            channel.add(position, at_us)

    def _keys(self, values: Floats, valued_at_us: Positions) -> Floats:
        """log2(value * 2^(instant / half-life)): what orders counters at any later instant."""
        there = (valued_at_us >= 0) & (values > 0)
        logs = np.log2(values, out=np.full(len(values), -np.inf), where=there)
        return logs + np.where(there, valued_at_us / (self.half_life_days * DAY_US), 0.0)


def decayed_counters(
    schema: FeatureSchema,
    columns: dict[str, Columns],
    present: dict[str, torch.Tensor],
    num_items: int,
) -> Popularity:
    """The item-side counter whose half-life is nearest a month; nothing where there is none."""
    counters = [(v, field) for v in schema.item_views for field in v.of_kind("counter")]
    if not counters:
        none = np.full(num_items, -1, np.int64)
        return Popularity(TRENDING_HALF_LIFE_DAYS, np.zeros(num_items), none)

    def distance(pair: tuple[ViewSpec, FieldSpec]) -> float:
        assert pair[1].half_life_days is not None
        return abs(math.log(pair[1].half_life_days / TRENDING_HALF_LIFE_DAYS))

    view, spec = min(counters, key=distance)
    place = [counter.name for counter in view.of_kind("counter")].index(spec.name)
    assert spec.half_life_days is not None
    there = present[view.name].numpy()
    return Popularity(
        spec.half_life_days,
        columns[view.name]["counter"][:, place].numpy().astype(np.float64) * there,
        np.where(there, columns[view.name]["clock_us"][:, place].numpy(), -1),
    )
