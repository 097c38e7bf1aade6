"""A causal transformer over what a user took up, in order (SASRec, Kang and McAuley 2018).

In: the training period and, if wanted, vectors of items. Out: scores of all items for whatever
history a query has, an empty one too. Trained with a softmax over drawn items, which is what lifts
it above its first publication (Klenitskiy and Vasilev 2023, arXiv 2309.07602). Input and output
share the items' vectors; vectors of content are added through a learned projection.

Shapes: W windows of a step, T tokens of a window, N drawn items, I items, D width, B queries.
"""

from functools import cached_property
from typing import ClassVar

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
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
    with_weights,
)
from training.events import Events
from training.matrix_factors import array
from training.queries import Queries, Ragged
from training.sources import Vectors


class SasrecOptions(BaseModel):
    """Chosen on the validation items of 3,000 users of Amazon Beauty, with vectors of titles."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    width: int = Field(default=64, gt=0)
    heads: int = Field(default=2, gt=0)
    layers: int = Field(default=2, gt=0)
    dropout: float = Field(default=0.4, ge=0, lt=1)
    length: int = Field(default=50, gt=0)
    """Items of a history that are read, the latest."""
    num_drawn: int = Field(default=500, gt=0)
    """Items that the softmax of a step sees beside each position's own; all of fewer items."""
    descent: DescentOptions = DescentOptions(
        epochs=14, batch_size=128, learning_rate=1.5e-3, last_share=0.05
    )


class Layer(nn.Module):
    """Attention to what came before, then two dense layers, each normalised first and added."""

    def __init__(self, options: SasrecOptions) -> None:
        super().__init__()
        width = options.width
        self.heads, self.dropout = options.heads, options.dropout
        self.before_attention, self.before_dense = nn.LayerNorm(width), nn.LayerNorm(width)
        self.asks, self.joins = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.dense = nn.Sequential(
            nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )
        self.drop = nn.Dropout(options.dropout)

    def forward(self, tokens_WTD: Tensor) -> Tensor:
        asks, keys, values = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for part in self.asks(self.before_attention(tokens_WTD)).chunk(3, dim=-1)
        )
        mixed = functional.scaled_dot_product_attention(asks, keys, values, is_causal=True)
        tokens_WTD = tokens_WTD + self.drop(self.joins(mixed.transpose(1, 2).flatten(2)))
        return tokens_WTD + self.drop(self.dense(self.before_dense(tokens_WTD)))  # type: ignore[no-any-return]


class SequenceModel(nn.Module):
    """Reads windows of items; the state at a token asks for the item that follows it."""

    vectors_IC: Tensor

    def __init__(self, num_items: int, vectors_IC: Vectors | None, options: SasrecOptions) -> None:
        super().__init__()
        self.options, self.num_items = options, num_items
        # One more row, for places after the end.
        self.ids_ID = nn.Parameter(0.02 * torch.randn(num_items + 1, options.width))
        self.places_TD = nn.Parameter(0.02 * torch.randn(options.length, options.width))
        self.layers = nn.ModuleList(Layer(options) for _ in range(options.layers))
        self.norm, self.drop = nn.LayerNorm(options.width), nn.Dropout(options.dropout)
        self.content: nn.Linear | None = None
        if vectors_IC is not None:
            self.content = nn.Linear(vectors_IC.shape[1], options.width, bias=False)
            nn.init.normal_(self.content.weight, std=0.02)
            kept = torch.from_numpy(np.vstack([vectors_IC, np.zeros_like(vectors_IC[:1])]))
            self.register_buffer("vectors_IC", kept, persistent=False)

    def embed(self, items: Tensor) -> Tensor:
        """Vectors of items by number."""
        vectors = functional.embedding(items, self.ids_ID)
        if self.content is not None:
            vectors = vectors + self.content(functional.embedding(items, self.vectors_IC))
        return vectors

    def states(self, vectors_WTD: Tensor) -> Tensor:
        """The state after each of the items that have these vectors, [W, T, D]."""
        tokens_WTD = self.drop(vectors_WTD + self.places_TD[: vectors_WTD.shape[1]])
        for layer in self.layers:
            tokens_WTD = layer(tokens_WTD)
        return self.norm(tokens_WTD)  # type: ignore[no-any-return]

    def loss(self, items_WT: Tensor) -> Tensor:
        """-log softmax of what follows each place, against itself and the drawn items."""
        drawn_N = torch.arange(self.num_items, device=items_WT.device)
        if self.options.num_drawn < self.num_items:
            drawn_N = torch.randint_like(drawn_N[: self.options.num_drawn], self.num_items)
        # One look-up for all: the gradient of each is as large as the table.
        vectors = self.embed(torch.cat([items_WT.flatten(), drawn_N]))
        vectors_WTD = vectors[: items_WT.numel()].reshape(*items_WT.shape, -1)
        next_WT = items_WT[:, 1:]
        is_item_WT = next_WT < self.num_items
        states_MD = self.states(vectors_WTD[:, :-1])[is_item_WT]
        next_M = next_WT[is_item_WT]
        own_M = (states_MD * vectors_WTD[:, 1:][is_item_WT]).sum(dim=1)
        drawn_MN = states_MD @ vectors[items_WT.numel() :].T
        # Each drawn item stands for so many; the item to be found is not against itself.
        drawn_MN = drawn_MN + np.log(self.num_items / len(drawn_N))
        drawn_MN = drawn_MN.masked_fill(next_M[:, None] == drawn_N, -torch.inf)
        logits = torch.cat([own_M[:, None], drawn_MN], dim=1)
        losses_M: Tensor = torch.logsumexp(logits, dim=1) - own_M
        return losses_M.mean()


class Sasrec:
    """Scores by the state after the last item. With `watch`, fitting ends by its NDCG@10."""

    kept: ClassVar[Kinds] = {
        "name": str,
        "options": SasrecOptions,
        "num_items": int,
        "vectors_IC": np.ndarray,
        "weights": np.ndarray,
    }
    sources = ("behaviour",)

    def __init__(
        self,
        events: Events,
        vectors_IC: Vectors | None = None,
        options: SasrecOptions | None = None,
        watch: Queries | None = None,
        name: str = "sasrec",
    ) -> None:
        self.name, self.options = name, options or SasrecOptions()
        self.num_items, self.vectors_IC = len(events.item_ids), vectors_IC
        windows, descent = training_windows(events, self.options.length), self.options.descent
        with seeded(descent.seed):
            self.epochs = descend(
                self.model,
                lambda: of_one_length(windows, descent.batch_size),
                lambda rows: self.model.loss(padded(windows, np.asarray(rows), self.num_items)),
                descent,
                None if watch is None else lambda: mean_ndcg(self, watch),
                name,
            )
        self.weights = flat_weights(self.model)

    @cached_property
    def model(self) -> SequenceModel:
        """The model, with the weights if it has been fitted."""
        model = SequenceModel(self.num_items, self.vectors_IC, self.options)
        return with_weights(model, getattr(self, "weights", None))

    @torch.no_grad()
    def score(self, queries: Queries, rows: Ints) -> Scores:
        history = queries.history.last(self.options.length)
        states_BTD = self.model.states(self.model.embed(padded(history, rows, self.num_items)))
        last_B = history.lengths[rows] - 1
        items_ID = self.model.embed(torch.arange(self.num_items, device=device()))
        scores_BI = array(states_BTD[np.arange(len(rows)), last_B] @ items_ID.T)
        return np.where(last_B[:, None] >= 0, scores_BI, np.float32(0.0))


def training_windows(events: Events, length: int) -> Ragged:
    """Each user's training take-ups in order, in windows of which `length` items are read.

    A window's last item is only to be found; the next window begins with it. Raises ValueError if
    nobody took up two items.
    """
    user, item = events.training_histories()
    start_U = np.flatnonzero(np.append(True, user[1:] != user[:-1]))
    pairs_U = np.diff(np.append(start_U, len(user))) - 1  # of an item and its next
    num_U = -(-pairs_U // length)
    if not num_U.sum():
        raise ValueError("no user took up two items in the training period; leave out `sasrec`")
    nth_W = np.arange(num_U.sum()) - np.repeat(np.cumsum(num_U) - num_U, num_U)
    start_W = np.repeat(start_U, num_U) + length * nth_W
    end_W = np.minimum(start_W + length, np.repeat(start_U + pairs_U, num_U)) + 1
    return Ragged(item.astype(np.int64), start_W, end_W)


def of_one_length(windows: Ragged, size: int) -> list[Tensor]:
    """Numbers of windows in random order, those of a batch of about one length.

    So little is computed for places after a window's end.
    """
    lengths_W = torch.from_numpy(windows.lengths)
    order_W = torch.argsort(lengths_W + 2 * torch.rand(len(windows)))
    parts = torch.split(order_W, size)
    return [parts[number] for number in torch.randperm(len(parts)).tolist()]


def padded(ragged: Ragged, rows: Ints, filler: int, at_end: bool = False) -> Tensor:
    """These rows, [rows, longest], with the filler after their ends, or `at_end` before them."""
    place, values = ragged.flat(rows)
    lengths = ragged.lengths[rows]
    within = np.arange(len(place)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    filled = np.full((len(rows), lengths.max(initial=1)), filler)
    if at_end:
        within += np.repeat(filled.shape[1] - lengths, lengths)
    filled[place, within] = values
    return torch.from_numpy(filled).to(device())
