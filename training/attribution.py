"""Attribution: how much each source counted in a score, by exact Shapley values.

A source's value is the mean, over all orders in which sources could be revealed, of what revealing
it adds to the score (Shapley 1953). With S sources all 2^S subsets are one batched forward pass,
so nothing is sampled. A source that is absent on both sides gets exactly zero.
"""

# Shapes: B users, C candidates, S sources, K = 2^S subsets

from __future__ import annotations

import functools
import math

import numpy as np
import torch
from torch import Tensor

from training.model import FusionModel
from training.tokens import SideTokens

MAX_SOURCES = 10  # 1,024 subsets; beyond this exact values cost more than a reader gains


@torch.no_grad()
def shapley(model: FusionModel, user: SideTokens, item: SideTokens) -> tuple[Tensor, Tensor]:
    """Contribution of each source, float64 [B, C, S], and the score without any source, [B, C].

    `item` has leading axes [B, C], or [C] for candidates that all users share. Contributions and
    baseline add up to the score (to rounding). The model should be in eval mode.
    """
    subsets_KS, weights_SK = subsets(len(model.sources))
    num_users, num_subsets = len(user.present), len(subsets_KS)
    if item.present.dim() == 2:
        item = item.map(lambda tensor: tensor.expand(num_users, *tensor.shape))
    mask_NS = subsets_KS.to(user.present.device).repeat_interleave(num_users, 0)
    every_user = user.map(lambda tensor: again(tensor, num_subsets)).masked(mask_NS)
    every_item = item.map(lambda tensor: again(tensor, num_subsets)).masked(mask_NS[:, None])
    values_KBC = model.score(every_user, every_item).double().view(num_subsets, num_users, -1)
    weights_SK = weights_SK.to(values_KBC.device)
    return torch.einsum("sk,kbc->bcs", weights_SK, values_KBC), values_KBC[0]


@torch.no_grad()
def mean_contributions(model: FusionModel, user: SideTokens, item: SideTokens) -> dict[str, float]:
    """Each source's mean absolute contribution over users [B] and their candidates [B, C]."""
    contributions_BCS, _ = shapley(model, user, item)
    means = contributions_BCS.abs().mean((0, 1)).tolist()
    return dict(zip(model.sources, means, strict=True))


def again(tensor: Tensor, times: int) -> Tensor:
    """The tensor [B, ...] so many times over, [times * B, ...]."""
    return tensor.repeat(times, *(1 for _ in tensor.shape[1:]))


@functools.cache
def subsets(num_sources: int) -> tuple[Tensor, Tensor]:
    """All subsets, bool [K, S] with the empty one first, and Shapley's weights, [S, K]."""
    if num_sources > MAX_SOURCES:
        raise ValueError(
            f"exact attribution of {num_sources} sources would need {2**num_sources} forward "
            f"passes; give views of like kind one source tag (at most {MAX_SOURCES} sources)"
        )
    numbers = np.arange(2**num_sources)
    member_KS = (numbers[:, None] >> np.arange(num_sources)) % 2 == 1
    weights_SK = np.zeros((num_sources, len(numbers)))
    for number, size in enumerate(member_KS.sum(1)):
        for source in range(num_sources):
            others = size - 1 if member_KS[number, source] else size
            share = math.factorial(others) * math.factorial(num_sources - others - 1)
            sign = 1 if member_KS[number, source] else -1
            weights_SK[source, number] = sign * share / math.factorial(num_sources)
    return torch.from_numpy(member_KS), torch.from_numpy(weights_SK)
