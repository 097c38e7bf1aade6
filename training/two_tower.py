"""Two towers: one reads a history, one reads an item, content included, and they meet in a product.

In: the training period and the items' content, vectors of text and terms. Out: scores of all
items; one that nobody took up in training is read by its content alone. Trained with a softmax
over the items of a batch, each corrected by how often it is drawn there (logQ, Yi et al. 2019).

Shapes: B pairs of a step or queries, T items of a history, I items, C width of content, D width.
"""

from functools import cached_property
from typing import ClassVar

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from sklearn.decomposition import TruncatedSVD
from torch import Tensor, nn
from torch.nn import functional

from training.baselines import Ints, Scores
from training.channel_state import Kinds
from training.descent import (
    DescentOptions,
    descend,
    device,
    flat_weights,
    mean_ndcg,
    seeded,
    shuffled,
    with_weights,
)
from training.events import Events
from training.matrix_factors import array
from training.profiles import tf_idf, unit_rows
from training.queries import Queries, Ragged
from training.sasrec import padded
from training.sources import Sources, Vectors


class TwoTowerOptions(BaseModel):
    """The first settings tried, on the validation items of 3,000 users of Amazon Beauty."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    width: int = Field(default=64, gt=0)
    length: int = Field(default=20, gt=0)
    """Items of a history that are read, the latest; what each counts by its place is learnt."""
    temperature: float = Field(default=0.07, gt=0)
    """Divides cosines in the softmax."""
    content_alone: float = Field(default=0.2, ge=0, lt=1)
    """Share of the items to be found that are read without their own vector in training."""
    term_width: int = Field(default=64, gt=0)
    """Directions that terms are reduced to."""
    descent: DescentOptions = DescentOptions(
        epochs=6, batch_size=1024, learning_rate=3e-3, last_share=0.1
    )


class TowerModel(nn.Module):
    """Both towers begin with the same vectors of items and end on the unit sphere."""

    content_IC: Tensor
    share_I: Tensor

    def __init__(self, content_IC: Vectors, count_I: Ints, options: TwoTowerOptions) -> None:
        super().__init__()
        self.options, width = options, options.width
        # One more row, for places before a history begins.
        content = np.vstack([content_IC, np.zeros_like(content_IC[:1])])
        self.register_buffer("content_IC", torch.from_numpy(content), persistent=False)
        share_I = np.append(count_I, 0) / count_I.sum()
        self.register_buffer("share_I", torch.from_numpy(share_I).float(), persistent=False)
        self.ids_ID = nn.Parameter(0.02 * torch.randn(len(content), width))
        self.reads = nn.Linear(content.shape[1], width, bias=False)
        self.fades_T = nn.Parameter(-0.3 * torch.arange(options.length).flip(0))
        self.asks, self.answers = (
            nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
            for _ in range(2)
        )

    def items(self, items: Tensor, content_alone: Tensor | None = None) -> Tensor:
        """What both towers read of items: content, and an own vector where training knows it."""
        has_own = self.share_I[items] > 0
        if content_alone is not None:
            has_own = has_own & ~content_alone
        own = functional.embedding(items, self.ids_ID) * has_own[..., None]
        return own + self.reads(functional.embedding(items, self.content_IC))  # type: ignore[no-any-return]

    def users(self, items_BT: Tensor) -> Tensor:
        """Unit vectors of histories, the latest item last, [B, D]."""
        is_item_BT = items_BT < len(self.share_I) - 1
        fades_BT = self.fades_T[-items_BT.shape[1] :].masked_fill(~is_item_BT, -1e9)
        different, place_BT = torch.unique(items_BT, return_inverse=True)
        read_BTD = functional.embedding(place_BT, self.items(different))
        mean_BD = (fades_BT.softmax(dim=1)[..., None] * read_BTD).sum(dim=1)
        return functional.normalize(mean_BD + self.asks(mean_BD), dim=1)

    def answer(self, read_ID: Tensor) -> Tensor:
        """Unit vectors of items as read, [I, D]."""
        return functional.normalize(read_ID + self.answers(read_ID), dim=1)

    def loss(self, history_BT: Tensor, next_B: Tensor) -> Tensor:
        """-log softmax of each pair's item against those of the other pairs."""
        alone_B = torch.rand(len(next_B), device=next_B.device) < self.options.content_alone
        answers_BD = self.answer(self.items(next_B, alone_B))
        logits_BB = self.users(history_BT) @ answers_BD.T / self.options.temperature
        logits_BB = logits_BB - self.share_I[next_B].log()
        is_same_BB = next_B[:, None] == next_B
        is_same_BB.fill_diagonal_(False)
        own_B = torch.arange(len(next_B), device=next_B.device)
        return functional.cross_entropy(logits_BB.masked_fill(is_same_BB, -torch.inf), own_B)


class TwoTower:
    """Cosines of a history's vector with those of items. With `watch`, fitting ends by its NDCG."""

    kept: ClassVar[Kinds] = {
        "name": str,
        "options": TwoTowerOptions,
        "content_IC": np.ndarray,
        "count_I": np.ndarray,
        "weights": np.ndarray,
    }
    sources = ("behaviour",)

    def __init__(
        self,
        events: Events,
        sources: Sources,
        options: TwoTowerOptions | None = None,
        watch: Queries | None = None,
        name: str = "two-tower",
    ) -> None:
        self.name, self.options = name, options or TwoTowerOptions()
        self.content_IC = content_of(sources, self.options.term_width)
        past, next_N = pasts(events, self.options.length)
        _, item = events.training_histories()
        self.count_I = np.bincount(item, minlength=len(events.item_ids))
        descent = self.options.descent
        with seeded(descent.seed):
            self.epochs = descend(
                self.model,
                lambda: shuffled(len(next_N), descent.batch_size),
                lambda rows: self.model.loss(
                    self._read(past, np.asarray(rows.cpu())), next_N[rows]
                ),
                descent,
                None if watch is None else lambda: mean_ndcg(self, watch),
                name,
            )
        self.weights = flat_weights(self.model)

    @cached_property
    def model(self) -> TowerModel:
        """The model, with the weights if it has been fitted."""
        model = TowerModel(self.content_IC, self.count_I, self.options)
        return with_weights(model, getattr(self, "weights", None))

    @torch.no_grad()
    def score(self, queries: Queries, rows: Ints) -> Scores:
        history = queries.history.last(self.options.length)
        all_I = torch.arange(len(self.count_I), device=device())
        answers_ID = self.model.answer(self.model.items(all_I))
        scores_BI = array(self.model.users(self._read(history, rows)) @ answers_ID.T)
        return np.where(history.lengths[rows, None] > 0, scores_BI, np.float32(0.0))

    def _loss(self, past: Ragged, next_N: Tensor, rows: Tensor) -> Tensor:
        return self.model.loss(self._read(past, np.asarray(rows.cpu())), next_N[rows])

    def _read(self, histories: Ragged, rows: Ints) -> Tensor:
        """These histories with the latest item last, [rows, longest]."""
        return padded(histories, rows, len(self.count_I), at_end=True)


def content_of(sources: Sources, term_width: int) -> Vectors:
    """Vectors of text beside reduced terms, each part of about unit length: [I, C].

    Raises ValueError where there is neither.
    """
    parts = []
    if sources.vectors_ID is not None:
        parts.append(sources.vectors_ID)
    if sources.terms_IG is not None:
        weighted_IG = unit_rows(tf_idf(sources.terms_IG))
        width = min(term_width, min(weighted_IG.shape) - 1)
        parts.append(TruncatedSVD(width, random_state=0).fit_transform(weighted_IG))
    if not parts:
        raise ValueError("this data set has neither text nor terms; leave out `two-tower`")
    return np.ascontiguousarray(np.concatenate(parts, axis=1), dtype=np.float32)


def pasts(events: Events, length: int) -> tuple[Ragged, Tensor]:
    """What came before each training take-up but a user's first, and the item taken up then."""
    user, item = events.training_histories()
    start_U = np.flatnonzero(np.append(True, user[1:] != user[:-1]))
    end_N = np.flatnonzero(np.append(False, user[1:] == user[:-1]))
    if not len(end_N):
        raise ValueError("no user took up two items in the training period; leave out `two-tower`")
    first_N = start_U[np.searchsorted(start_U, end_N, side="right") - 1]
    past = Ragged(item.astype(np.int64), first_N, end_N).last(length)
    return past, torch.from_numpy(item[end_N].astype(np.int64)).to(device())
