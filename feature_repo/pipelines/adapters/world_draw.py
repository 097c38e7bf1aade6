"""Drawing items of the synthetic world as of one instant, thousands at a time.

In: items and an instant. Out: random item numbers, of given sub-themes or overall, in proportion to
how attractive the items are then. A draw is a binary search in running sums.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from feature_repo.pipelines.adapters.world_items import Items

# Shapes: n draws, M items, P pairs of sub-theme and item

CROWDING = 1.5
"""Attraction to this power is the weight of an item among what is trending: 1 is in proportion."""


class ThemeIndex:
    """Pairs of sub-theme and item, sorted so that a sub-theme's items lie together."""

    def __init__(self, items: Items, num_sub_themes: int) -> None:
        themes, shares = items.themes_M2.T.ravel(), items.shares_M2.T.ravel()
        order = np.argsort(themes, kind="stable")
        order = order[shares[order] > 0]
        self.item_P = (order % items.num).astype(np.int64)
        self.share_P = shares[order]
        counts = np.bincount(themes[order], minlength=num_sub_themes)
        self.starts = np.concatenate([[0], np.cumsum(counts)])


class ItemDraw:
    """Draws items as of one instant: of a sub-theme, by attraction overall, or any that exists."""

    def __init__(self, items: Items, by_theme: ThemeIndex, at_us: int) -> None:
        attraction_M = items.attraction(at_us)
        self._by_theme = by_theme
        self._pairs = np.concatenate(
            [[0.0], np.cumsum(attraction_M[by_theme.item_P] * by_theme.share_P)]
        )
        self._all = np.concatenate([[0.0], np.cumsum(attraction_M**CROWDING)])
        self._available = np.flatnonzero(attraction_M > 0)

    def of_theme(
        self, themes: npt.NDArray[np.int16], rng: np.random.Generator
    ) -> npt.NDArray[np.int64]:
        """One item of each given sub-theme; -1 where none of it exists yet."""
        first, last = self._by_theme.starts[themes], self._by_theme.starts[themes + 1]
        low, high = self._pairs[first], self._pairs[last]
        place = np.searchsorted(
            self._pairs, low + rng.random(len(themes)) * (high - low), side="right"
        )
        pair = np.clip(place - 1, first, np.maximum(last - 1, first))
        pair = np.minimum(pair, len(self._by_theme.item_P) - 1)
        drawn: npt.NDArray[np.int64] = np.where(high > low, self._by_theme.item_P[pair], -1)
        return drawn

    def trending(self, num: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
        """Items by attraction; the most attractive ones more than in proportion."""
        place = np.searchsorted(self._all, rng.random(num) * self._all[-1], side="right") - 1
        item: npt.NDArray[np.int64] = np.minimum(place, len(self._all) - 2)
        return item

    def any(self, num: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
        """Items that exist, each alike."""
        return self._available[rng.integers(0, len(self._available), num)]
