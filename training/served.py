"""The served score: the model's logit and what channels say of every item, as one weighted sum.

In: a learnt blend. Out: `Served`, what a bundle holds of it. The same code scores a block of
queries offline and one asker online. Which sources a channel lives on is said here as well, so that
each source's share in the sum is exact.
"""

# Shapes: B queries, I items, K channels, S sources, N bands of history lengths, n labels,
#         P candidates of a label

from __future__ import annotations

import copy
import dataclasses
import functools
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from training.baselines import Scorer, Scores
from training.blend import Blend, feature
from training.channel_state import Channel
from training.events import Events, Ints
from training.item_ridge import ItemRidge
from training.labels import Labels
from training.profiles import FriendsTaste, TermProfile, Trending, TrendingCounts
from training.queries import Queries, asking, before
from training.score_rows import DenseRow, Moments, ScoreRow
from training.text_link import TextLink
from training.transitions import Transitions
from training.user_ridge import UserRidge

Floats = npt.NDArray[np.float64]

KINDS: dict[str, type[Channel]] = {
    "user-ridge": UserRidge,
    "item-ridge": ItemRidge,
    "transitions": Transitions,
    "text-link": TextLink,
    "friends": FriendsTaste,
    "terms": TermProfile,
    "trending-30-days": TrendingCounts,
    "trending-365-days": TrendingCounts,
}
"""The channels that a bundle can hold, by name."""
PERSONAL = ("behaviour", "social")
"""The sources that a channel reads of the asker; the others tell of items."""
MODEL = "fusion model"
AT_ONCE = 256  # queries of which all items are scored together


@dataclasses.dataclass(frozen=True)
class Voice:
    """What one channel adds to the scores of one asker: weight * standardised score."""

    weight: float
    row: ScoreRow
    moments: Moments

    def at(self, items_C: Ints) -> Scores:
        """What it adds to these items' scores [C]."""
        scale = np.float32(self.weight / self.moments.spread)
        return np.asarray(scale * (self.row.at(items_C) - np.float32(self.moments.mean)))


@dataclasses.dataclass(frozen=True)
class Served:
    """score = weight of the model * logit + sum over channels of weight * standardised score"""

    weights_NK: Floats
    """A row for each band of history lengths; the model's weight first, then the channels'."""
    steps: tuple[int, ...]
    """History lengths from which a band begins, but the first."""
    channels: tuple[Channel, ...]

    @classmethod
    def of(cls, blend: Blend) -> Served:
        """A blend whose first scorer is the model, without channels that count for nothing."""
        channels: Sequence[Any] = blend.channels
        kept = [place for place in range(1, len(channels)) if blend.weights_NK[:, place].any()]
        weights_NK = blend.weights_NK[:, [0, *kept]]
        return cls(weights_NK, blend.steps, tuple(channels[place] for place in kept))

    def counted(self, events: Events) -> Served:
        """The same to be asked after these events: channels that read them have counted them."""
        counted: list[Any] = [
            own.counted(events) if isinstance(own, Trending) else own for own in self.channels
        ]
        return dataclasses.replace(self, channels=tuple(counted))

    def with_own_counts(self) -> Served:
        """The same with counters that may be added to: one replica's, not the bundle's."""
        own = [copy.deepcopy(c) if isinstance(c, TrendingCounts) else c for c in self.channels]
        return dataclasses.replace(self, channels=tuple(own))

    def refitted(self, channels: Sequence[Scorer]) -> Served:
        """The same weights over channels fitted anew; one that could not be is left out."""
        named: dict[str, Any] = {own.name: own for own in channels}
        kept = [place for place, own in enumerate(self.channels) if own.name in named]
        columns = [0, *(1 + place for place in kept)]
        again = tuple(named[self.channels[place].name] for place in kept)
        return Served(self.weights_NK[:, columns], self.steps, again)

    def by_name(self) -> dict[str, float]:
        """What the model's logit and each channel weigh, on average over bands."""
        names = (MODEL, *(own.name for own in self.channels))
        return dict(zip(names, self.weights_NK.mean(axis=0).tolist(), strict=True))

    def weights_of(self, queries: Queries, rows: Ints) -> Floats:
        """[B, 1 + K]: the model's weight for each asker, and the channels'."""
        band_B = np.searchsorted(self.steps, queries.history.lengths[rows], side="right")
        return np.asarray(self.weights_NK[band_B])

    def terms(self, queries: Queries, rows: Ints) -> Scores:
        """What each channel adds to the score of each item, [K, B, I]."""
        weights_BK = self.weights_of(queries, rows)[:, 1:].astype(np.float32)
        terms_KBI = np.empty((len(self.channels), len(rows), queries.num_items), np.float32)
        for place, channel in enumerate(self.channels):
            np.multiply(
                weights_BK[:, place, None], feature(channel, queries, rows), out=terms_KBI[place]
            )
        return terms_KBI

    def voices(self, queries: Queries, rows: Ints) -> list[list[Voice]]:
        """The same as `terms` to be asked about some items only, [B][K]."""
        weights_BK = self.weights_of(queries, rows)[:, 1:]
        rows_KB = [rows_of(channel, queries, rows) for channel in self.channels]
        return [
            [
                Voice(float(weight), own[place], own[place].moments())
                for weight, own in zip(weights_K, rows_KB, strict=True)
            ]
            for place, weights_K in enumerate(weights_BK)
        ]

    def lives(self, sources: Sequence[str], present_BS: Tensor) -> Tensor:
        """Which sources each channel lives on for each asker, bool [B, K, S]."""
        return Needs.of(self.channels, sources).lives(present_BS)


@dataclasses.dataclass(frozen=True)
class Needs:
    """What channels read, of these sources."""

    own_KS: Tensor
    """bool"""
    is_of_items_S: Tensor
    """bool: tells of items, not of askers."""

    @classmethod
    def of(cls, channels: Sequence[Channel], sources: Sequence[str]) -> Needs:
        return cls(
            members([channel.sources for channel in channels], sources),
            ~members([PERSONAL], sources)[0],
        )

    def lives(self, present_BS: Tensor) -> Tensor:
        """Which sources each channel lives on for each asker, bool [B, K, S].

        A personal source of which nothing is known of the asker is none that it lives on.
        """
        return self.own_KS & (present_BS | self.is_of_items_S)[:, None]

    def speaks(self, present_BS: Tensor) -> Tensor:
        """Whether a channel may speak to each asker, bool [B, K]: not if all that it reads of the
        asker is missing, whatever the bundle remembers of them."""
        return (self._personal_KS & present_BS[:, None]).any(-1) | self._is_for_all_K

    @functools.cached_property
    def _personal_KS(self) -> Tensor:
        return self.own_KS & ~self.is_of_items_S

    @functools.cached_property
    def _is_for_all_K(self) -> Tensor:
        return ~self._personal_KS.any(-1)


def rows_of(channel: Channel, queries: Queries, rows: Ints) -> list[ScoreRow]:
    """What the channel says to each asker, in the cheapest form that it has."""
    if hasattr(channel, "rows"):
        found: list[ScoreRow] = channel.rows(queries, rows)
        return found
    return [DenseRow(scores_I) for scores_I in channel.score(queries, rows)]


def members(sets: Sequence[Iterable[str]], sources: Sequence[str]) -> Tensor:
    """Which sources each set holds, bool [K, S]."""
    rows = [[source in own for source in sources] for own in sets]
    return torch.tensor(rows, dtype=torch.bool).reshape(len(sets), len(sources))


def label_terms(
    served: Served, events: Events, labels: Labels
) -> tuple[Floats, npt.NDArray[np.float32]]:
    """The model's weight for each label [n], and what each channel adds to the scores of its
    candidates [n, P, K], 0 where there is none."""
    history = before(events, events.take_ups(), labels.user_index, labels.at_us)
    queries = asking(events, labels.user_index, labels.at_us, history)
    parts = [np.empty((0, labels.item_index.shape[1], len(served.channels)), np.float32)]
    for start in range(0, len(labels), AT_ONCE):
        rows = np.arange(start, min(start + AT_ONCE, len(labels)))
        terms_KBI = served.terms(queries, rows)
        item_BP = labels.item_index[rows]
        found_KBP = np.take_along_axis(terms_KBI, np.maximum(item_BP, 0)[None], axis=2)
        parts.append(np.where(item_BP >= 0, found_KBP, 0.0).transpose(1, 2, 0))
    weight_n = served.weights_of(queries, np.arange(len(labels)))[:, 0]
    return weight_n, np.concatenate(parts)
