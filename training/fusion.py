"""Fusion: the tokens of one side (a user's or an item's sources) become one vector.

Five ways behind one Protocol, chosen by ModelConfig.fusion. A source that is absent or masked has
no influence at all: `concat` puts a learned stand-in there, the others leave it out of the sum.
"""

# Shapes: N entities, S sources, D width, H heads

from __future__ import annotations

import functools
import math
from typing import Protocol

import torch
from torch import Tensor, nn

from training.config import ModelConfig


class Fusion(Protocol):
    """Tokens [N, S, D] and their presence [N, S] (bool) to vectors [N, D]."""

    def __call__(self, tokens_NSD: Tensor, present_NS: Tensor) -> Tensor: ...


def make_fusion(config: ModelConfig, num_sources: int) -> nn.Module:
    """The fusion module that the configuration names."""
    if config.fusion == "concat":
        return ConcatFusion(config.width, num_sources, config.dropout)
    if config.fusion == "weighted":
        return WeightedFusion(config.width, num_sources)
    if config.fusion == "attention":
        return AttentionFusion(config.width, num_sources, config.heads)
    return GatedFusion(config.width, num_sources)  # `gated`, and within the towers of `siamese`


class ConcatFusion(nn.Module):
    """Tokens side by side through two layers; a learned token stands for each absent source."""

    def __init__(self, width: int, num_sources: int, dropout: float) -> None:
        super().__init__()
        self.absent_SD = nn.Parameter(torch.zeros(num_sources, width))
        self.layers = nn.Sequential(
            nn.Linear(num_sources * width, 2 * width),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(2 * width, width),
        )

    def forward(self, tokens_NSD: Tensor, present_NS: Tensor) -> Tensor:
        filled_NSD = torch.where(present_NS[..., None], tokens_NSD, self.absent_SD)
        return self.layers(filled_NSD.flatten(1))  # type: ignore[no-any-return]


class WeightedFusion(nn.Module):
    """One learned weight a source, the same for everyone, shared among the present ones."""

    def __init__(self, width: int, num_sources: int) -> None:
        super().__init__()
        self.logit_S = nn.Parameter(torch.zeros(num_sources))
        self.out = nn.Linear(width, width)

    def forward(self, tokens_NSD: Tensor, present_NS: Tensor) -> Tensor:
        weight_NS = masked_softmax(self.logit_S.expand(present_NS.shape), present_NS)
        return self.out(weighted_sum(tokens_NSD, weight_NS))  # type: ignore[no-any-return]


class GatedFusion(nn.Module):
    """Each token opens its own gate, seen beside the mean of all, so weights differ by entity."""

    def __init__(self, width: int, num_sources: int) -> None:
        super().__init__()
        self.own_SD = nn.Parameter(torch.randn(num_sources, width) / math.sqrt(width))
        self.of_mean = nn.Linear(width, num_sources)
        self.out = nn.Linear(width, width)

    def forward(self, tokens_NSD: Tensor, present_NS: Tensor) -> Tensor:
        tokens = tokens_NSD.unbind(1)
        own_NS = torch.stack([t @ own for t, own in zip(tokens, self.own_SD, strict=True)], 1)
        share_NS = present_NS / present_NS.sum(1, keepdim=True).clamp(min=1)
        logit_NS = own_NS + self.of_mean(weighted_sum(tokens_NSD, share_NS))
        weight_NS = torch.sigmoid(logit_NS) * present_NS
        return self.out(weighted_sum(tokens_NSD, weight_NS))  # type: ignore[no-any-return]


class AttentionFusion(nn.Module):
    """Multi-head attention pooling: learned queries, one a head, ask the present tokens.

    Pooling by attention (Lee et al. 2019, Set Transformer, PMA) with keys of each source's own.
    Values are the tokens themselves: each comes from linear layers of its source, so another map
    of tens of thousands of items would cost a good part of a training step and add little.
    """

    def __init__(self, width: int, num_sources: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.key_SDH = nn.Parameter(torch.randn(num_sources, width, heads) / math.sqrt(width))
        self.out = nn.Linear(width, width)

    def forward(self, tokens_NSD: Tensor, present_NS: Tensor) -> Tensor:
        tokens = tokens_NSD.unbind(1)
        logits = [token_ND @ key for token_ND, key in zip(tokens, self.key_SDH, strict=True)]
        logit_NHS = torch.stack(logits, 2)
        weight_NHS = masked_softmax(logit_NHS, present_NS[:, None].expand(logit_NHS.shape))
        by_head = [token_ND.reshape(token_ND.shape[0], self.heads, -1) for token_ND in tokens]
        pooled_NHd = sum_of(
            [
                value_NHd * weight_NH[..., None]
                for value_NHd, weight_NH in zip(by_head, weight_NHS.unbind(2), strict=True)
            ]
        )
        return self.out(pooled_NHd.flatten(1))  # type: ignore[no-any-return]


def masked_softmax(logits: Tensor, present: Tensor) -> Tensor:
    """Softmax over the last axis among the present ones; all zero where none is present."""
    lowest = torch.finfo(logits.dtype).min
    weights = torch.softmax(logits.masked_fill(~present, lowest), -1)
    return weights * present


def weighted_sum(tokens_NSD: Tensor, weight_NS: Tensor) -> Tensor:
    """Tokens added up by weight, [N, D]."""
    # Source by source: as one einsum this is N tiny products, which a CPU takes six times as long
    # over.
    weights = weight_NS.to(tokens_NSD.dtype).unbind(1)
    return sum_of([t * w[:, None] for t, w in zip(tokens_NSD.unbind(1), weights, strict=True)])


def sum_of(parts: list[Tensor]) -> Tensor:
    """The parts added up."""
    return functools.reduce(torch.add, parts)
