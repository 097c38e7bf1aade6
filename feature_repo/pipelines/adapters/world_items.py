"""The items of the synthetic world: themes, quality, when they appear, how they rise and fade.

In: the world's settings. Out: one array a property, and `attraction`, how strongly each item draws
people at an instant; the events are drawn from it, and tests of the truth recompute it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from feature_repo.pipelines.adapters.world_people import DAY_US

# Shapes: M items, 2 themes an item

FADED = 0.05
"""What is left of an item's attraction when its novelty is gone."""
BURST = 8.0
"""How many times more attractive an item is at the height of its burst."""
BURST_DAYS = 4.0


@dataclass(frozen=True)
class Items:
    """Items as row numbers; `themes_M2`: main and second sub-theme, `shares_M2`: their shares."""

    available_us_M: npt.NDArray[np.int64]
    themes_M2: npt.NDArray[np.int16]
    shares_M2: npt.NDArray[np.float32]
    quality_M: npt.NDArray[np.float64]
    half_life_days_M: npt.NDArray[np.float64]
    burst_us_M: npt.NDArray[np.int64]
    """When the item's burst begins; `NEVER` for most."""
    creator_M: npt.NDArray[np.int32]
    price_M: npt.NDArray[np.float64]

    @property
    def num(self) -> int:
        return len(self.available_us_M)

    def attraction(self, at_us: int) -> npt.NDArray[np.float64]:
        """How strongly each item draws people at an instant; 0 before it is available. [M]"""
        age_days = (at_us - self.available_us_M) / DAY_US
        novelty = FADED + (1 - FADED) * np.exp2(-np.maximum(age_days, 0) / self.half_life_days_M)
        since_burst = (at_us - self.burst_us_M) / (BURST_DAYS * DAY_US)
        burst = np.where(since_burst >= 0, BURST * np.exp(-np.maximum(since_burst, 0)), 0.0)
        return np.where(age_days >= 0, self.quality_M * novelty * (1 + burst), 0.0)


NEVER = np.iinfo(np.int64).max // 2


def draw_items(
    num: int,
    sub_themes_per_category: int,
    num_categories: int,
    start_us: int,
    end_us: int,
    rng: np.random.Generator,
) -> Items:
    """Draw `num` items: three in ten are there on the first day, the others appear throughout."""
    num_sub_themes = sub_themes_per_category * num_categories
    main = rng.integers(0, num_sub_themes, num)
    second = rng.integers(0, num_sub_themes, num)
    main_share = np.where(rng.random(num) < 0.5, 1.0, rng.uniform(0.6, 0.9, num))
    early = rng.random(num) < 0.3
    available = np.where(
        early, start_us - rng.integers(0, 120 * DAY_US, num), rng.integers(start_us, end_us, num)
    )
    available = available // 1_000_000 * 1_000_000
    burst = available + (rng.uniform(1, 60, num) * DAY_US).astype(np.int64)
    category = main // sub_themes_per_category
    return Items(
        available_us_M=available,
        themes_M2=np.stack([main, second], axis=1).astype(np.int16),
        shares_M2=np.stack([main_share, 1 - main_share], axis=1).astype(np.float32),
        quality_M=rng.lognormal(0.0, 0.8, num),
        half_life_days_M=rng.lognormal(np.log(20.0), 0.5, num),
        burst_us_M=np.where(rng.random(num) < 0.1, burst, NEVER),
        creator_M=_draw_creators(category, num_categories, rng),
        price_M=np.round(rng.lognormal(np.log(8.0 + category), 0.5), 2),
    )


def _draw_creators(
    category: npt.NDArray[np.int64], num_categories: int, rng: np.random.Generator
) -> npt.NDArray[np.int32]:
    """A creator keeps to a category, not to a sub-theme, and so does not give tastes away."""
    per_category = max(2, len(category) // (12 * num_categories))
    skewed = rng.random(len(category)) ** 1.5  # some creators make much more than others
    return (category * per_category + (skewed * per_category).astype(np.int64)).astype(np.int32)
