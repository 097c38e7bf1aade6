"""Fusion: the tokens of one side (a user's or an item's sources) become one vector.

Five ways behind one Protocol, chosen by ModelConfig.fusion. A source that is absent or masked has
no influence at all: `concat` puts a learned stand-in there, the others leave it out of the sum.
"""

# Shapes: N entities, S sources, D width, H heads

from __future__ import annotations

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
        self.value = SourceValues(width, num_sources)

    def forward(self, tokens_NSD: Tensor, present_NS: Tensor) -> Tensor:
        weight_NS = masked_softmax(self.logit_S.expand(present_NS.shape), present_NS)
        return self.value(tokens_NSD, weight_NS[..., None])  # type: ignore[no-any-return]


class GatedFusion(nn.Module):
    """Each token opens its own gate, seen beside the mean of all, so weights differ by entity."""

    def __init__(self, width: int, num_sources: int) -> None:
        super().__init__()
        self.gate_own = nn.Parameter(torch.randn(num_sources, width) / math.sqrt(width))
        self.gate_mean = nn.Linear(width, num_sources)
        self.value = SourceValues(width, num_sources)

    def forward(self, tokens_NSD: Tensor, present_NS: Tensor) -> Tensor:
        mean_ND = masked_mean(tokens_NSD, present_NS)
        logit_NS = (tokens_NSD * self.gate_own).sum(-1) + self.gate_mean(mean_ND)
        weight_NS = torch.sigmoid(logit_NS) * present_NS
        return self.value(tokens_NSD, weight_NS[..., None])  # type: ignore[no-any-return]


class AttentionFusion(nn.Module):
    """Multi-head attention pooling: a query from the mean of the present tokens asks them all.

    Pooling by attention (Lee et al. 2019, Set Transformer, PMA) with a query that depends on the
    entity: nearly as able as a self-attention block, at a third of its cost for 10,000s of items.
    """

    def __init__(self, width: int, num_sources: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.source_SD = nn.Parameter(torch.randn(num_sources, width) / math.sqrt(width))
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = SourceValues(width, num_sources)

    def forward(self, tokens_NSD: Tensor, present_NS: Tensor) -> Tensor:
        num, sources, width = tokens_NSD.shape
        head = (self.heads, width // self.heads)
        query_NHd = self.query(masked_mean(tokens_NSD, present_NS)).view(num, *head)
        key_NSHd = self.key(tokens_NSD + self.source_SD).view(num, sources, *head)
        logit_NSH = (key_NSHd * query_NHd[:, None]).sum(-1) / math.sqrt(head[1])
        weight_NSH = masked_softmax(
            logit_NSH.transpose(1, 2), present_NS[:, None].expand(num, self.heads, sources)
        ).transpose(1, 2)
        return self.value(tokens_NSD, weight_NSH)  # type: ignore[no-any-return]


class SourceValues(nn.Module):
    """Weighted sum of a linear map of each token, then a linear map; shared by three fusions.

    Weights are per head, [N, S, H]. With no source present the result is a constant.
    """

    def __init__(self, width: int, num_sources: int) -> None:
        super().__init__()
        self.weight_SDD = nn.Parameter(torch.randn(num_sources, width, width) / math.sqrt(width))
        self.out = nn.Linear(width, width)

    def forward(self, tokens_NSD: Tensor, weight_NSH: Tensor) -> Tensor:
        value_NSD = torch.einsum("nsd,sde->nse", tokens_NSD, self.weight_SDD)
        value_NSHd = value_NSD.view(*value_NSD.shape[:2], weight_NSH.shape[2], -1)
        pooled_ND = (value_NSHd * weight_NSH[..., None]).sum(1).flatten(1)
        return self.out(pooled_ND)  # type: ignore[no-any-return]


def masked_softmax(logits: Tensor, present: Tensor) -> Tensor:
    """Softmax over the last axis among the present ones; all zero where none is present."""
    lowest = torch.finfo(logits.dtype).min
    weights = torch.softmax(logits.masked_fill(~present, lowest), -1)
    return weights * present


def masked_mean(tokens_NSD: Tensor, present_NS: Tensor) -> Tensor:
    """Mean of the present tokens; zero where none is present. Returns [N, D]."""
    count_N1 = present_NS.sum(1, keepdim=True).clamp(min=1)
    return (tokens_NSD * present_NS[..., None]).sum(1) / count_N1
