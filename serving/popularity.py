"""Popularity: one decayed counter an item, exact while feedback comes in.

In: the counters of the bundle's item views, take-ups as they come. Out: what is trending at an
instant. Positions stand for items as in the snapshot.
"""

# Shapes: I items

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
Positions = npt.NDArray[np.int64]

TRENDING_HALF_LIFE_DAYS = 30.0


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
    _latest: tuple[int, Floats] | None = field(default=None, init=False, repr=False)

    def at(self, at_us: int) -> Floats:
        """Counters [I] at an instant; 0 for items that nobody has taken up. Not to be changed: the
        stages of one request share the array."""
        if self._latest is None or self._latest[0] != at_us:
            self._latest = at_us, self._decayed(at_us)
        return self._latest[1]

    def _decayed(self, at_us: int) -> Floats:
        gaps_us = np.maximum(at_us - self.valued_at_us, 0)
        decayed = decay(self.values, np.zeros_like(gaps_us), gaps_us, self.half_life_days)
        return np.where(self.valued_at_us >= 0, decayed, 0.0)

    def put(self, position: int, value: float, valued_at_us: int) -> None:
        """Go on from another count of one item; -1 for the instant where there is none."""
        self.values[position], self.valued_at_us[position] = value, valued_at_us
        self._latest = None

    def add(self, position: int, at_us: int) -> None:
        """Count one more take-up."""
        known = self.valued_at_us[position] >= 0
        value, valued_at_us = add_event(
            float(self.values[position]) if known else 0.0,
            int(self.valued_at_us[position]) if known else at_us,
            at_us,
            self.half_life_days,
        )
        self.values[position], self.valued_at_us[position] = value, valued_at_us
        self._latest = None
        for channel in self.followers:
            channel.add(position, at_us)


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
