"""Ranking with sources hidden: all lists of many masks in one pass over the queries.

In: a scorer that can be masked, queries, masks. Out: for each mask the first K items of each query,
and the scores of the items to be found. What is costly and the same under every mask (features,
tokens, candidates, order of equal scores) is worked out once a block.
"""

# Shapes: M masks, Q queries, B queries of a block, I items, U users, S sources,
#         K places of a list, or channels, P items to be found, over all queries

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from training.baselines import Ints, Scores
from training.projector import US_PER_DAY
from training.queries import Queries
from training.ranking import check_scores, select, tie_order
from training.scorer import FusedScorer
from training.served import PERSONAL, Served
from training.tokens import SideTokens

Bools = NDArray[np.bool_]
LARGEST_BLOCK = 64
CELLS_AT_ONCE = 600_000  # scores of a block; 19 match features of them are 46 MB


@dataclass(frozen=True)
class Mask:
    """Which sources may be seen, user by user and item by item."""

    users_US: Bools
    items_IS: Bools


class Maskable(Protocol):
    """A scorer whose sources can be hidden."""

    name: str

    @property
    def sources(self) -> tuple[str, ...]: ...

    def masked_scores(
        self, queries: Queries, rows: Ints, masks: Sequence[Mask]
    ) -> Iterator[Scores]:
        """Scores [B, I] of the queries with these numbers under one mask after the other."""
        ...


@dataclass(frozen=True)
class MaskedLists:
    """What a pass over the queries yields."""

    top_MQK: Ints
    """Best first; -1 where there are no more candidates."""
    found_MP: NDArray[np.float32]
    """Scores of the items to be found, query by query."""


class MaskableServed:
    """The served score as something to mask: the model's logit, and channels beside it.

    A channel says nothing once a source that it lives on is hidden: of whoever asks where it is a
    personal source, of the item otherwise.
    """

    def __init__(self, scorer: FusedScorer, served: Served, name: str) -> None:
        """`scorer` is the model's own; `served` must have learnt from the training period alone."""
        self.scorer, self.served, self.name = scorer, served, name

    @property
    def sources(self) -> tuple[str, ...]:
        return self.scorer.model.sources

    @torch.inference_mode()
    def masked_scores(
        self, queries: Queries, rows: Ints, masks: Sequence[Mask]
    ) -> Iterator[Scores]:
        """See `Maskable`; cheapest when all the queries are of one day."""
        days = queries.at_us[rows] // US_PER_DAY
        sides = [
            (places, self.scorer.user_tokens(queries, rows[places]), self.scorer.catalogue(day))
            for day in np.unique(days).tolist()
            for places in [np.flatnonzero(days == day)]
        ]
        known_BS = torch.zeros(len(rows), len(self.sources), dtype=torch.bool)
        for places, user, _ in sides:
            known_BS[torch.from_numpy(places)] = user.present
        lives_BKS = self.served.lives(self.sources, known_BS).numpy()
        weight_B1 = self.served.weights_of(queries, rows)[:, :1].astype(np.float32)
        terms_KBI = self.served.terms(queries, rows)
        for mask in masks:
            users_BS = mask.users_US[queries.user_index[rows]]
            scores_BI = np.empty((len(rows), queries.num_items), np.float32)
            for places, user, item in sides:
                scores_BI[places] = self.logits(user, item, users_BS[places], mask.items_IS)
            scores_BI *= weight_B1
            for place, term_BI in enumerate(terms_KBI):
                lives_BS = lives_BKS[:, place]
                scores_BI += self.speaks(lives_BS, users_BS, mask.items_IS) * term_BI
            yield scores_BI

    def logits(
        self, user: SideTokens, item: SideTokens, users_BS: Bools, items_IS: Bools
    ) -> Scores:
        """The model's scores [B, I] with these sources left."""
        seen = user.masked(torch.from_numpy(users_BS)), item.masked(torch.from_numpy(items_IS))
        return np.asarray(self.scorer.model.score(*seen).numpy())

    def speaks(self, lives_BS: Bools, users_BS: Bools, items_IS: Bools) -> Bools:
        """Whether a channel that lives on these sources has all of them, [B, I]."""
        personal_S = np.isin(self.sources, PERSONAL)
        users_lack_B = (lives_BS & ~users_BS & personal_S).any(axis=1, keepdims=True)
        # What a channel reads of items is the same for everybody.
        needs_S = lives_BS.any(axis=0) & ~personal_S
        items_lack_I = (needs_S & ~items_IS).any(axis=1)
        return np.asarray(~(users_lack_B | items_lack_I))


def only(sources: Collection[str], scorer: Maskable, queries: Queries) -> Mask:
    """The mask that leaves these sources, for everybody and every item."""
    row_1S = np.isin(scorer.sources, list(sources))[None]
    num_users, num_items = len(queries.events.user_ids), queries.num_items
    return Mask(np.repeat(row_1S, num_users, 0), np.repeat(row_1S, num_items, 0))


def masked_lists(
    scorer: Maskable,
    queries: Queries,
    masks: Sequence[Mask],
    k: int,
    seed: int = 0,
    progress: bool = False,
) -> MaskedLists:
    """Rank every candidate of every query under each mask.

    Under a mask that hides nothing these are the lists of `top_items`. Raises ValueError for a nan
    or +inf score.
    """
    top_MQK = np.full((len(masks), len(queries), k), -1, np.int64)
    found: list[list[Scores]] = [[] for _ in masks]
    blocks = one_day_blocks(queries)
    done = tqdm(
        total=len(queries), desc=f"{len(masks)} masks", unit=" queries", disable=not progress
    )
    for rows in blocks:
        hidden_BI, tie_BI = ~queries.candidates(rows), tie_order(queries, rows, seed)
        to_find = queries.relevant.flat(rows)
        for number, scores_BI in enumerate(scorer.masked_scores(queries, rows, masks)):
            check_scores(scores_BI, scorer.name, hidden_BI.shape)
            found[number].append(scores_BI[to_find])
            best_Bk = select(np.where(hidden_BI, -np.inf, scores_BI), k, tie_BI)
            top_MQK[number, rows, : best_Bk.shape[1]] = best_Bk
        done.update(len(rows))
    done.close()
    return MaskedLists(top_MQK, np.stack([np.concatenate(parts) for parts in found]))


def one_day_blocks(queries: Queries) -> Iterator[Ints]:
    """Numbers of queries, in order, in blocks of bounded size that lie within one day."""
    size = max(1, min(LARGEST_BLOCK, CELLS_AT_ONCE // max(queries.num_items, 1)))
    days = queries.at_us // US_PER_DAY
    for rows in np.split(np.arange(len(queries)), np.flatnonzero(np.diff(days)) + 1):
        for start in range(0, len(rows), size):
            yield rows[start : start + size]
