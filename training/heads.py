"""Heads: what else the model is asked about a pair while it learns to rank.

In: the fused vectors of users and candidates, the ones that ranking uses. Out: a logit for each
action (will the user rate, tag, buy it?) and a number for each value (the rating). Heads over one
shared representation are the oldest form of multi-task learning (Caruana 1997, hard parameter
sharing, "shared bottom"); they only matter through what they teach the layers below, so serving
does not run them.
"""

# Shapes: B labels, C candidates (the one taken up first), D width, A outcomes

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

VALUE = ".value"
"""Ending of an outcome that is the value of an action and not whether it happens."""


class OutcomeHeads(nn.Module):
    """A linear map of u, v and u*v, one row an outcome."""

    def __init__(self, width: int, num_outcomes: int) -> None:
        super().__init__()
        self.of_user = nn.Linear(width, num_outcomes)
        self.of_item = nn.Linear(width, num_outcomes, bias=False)
        self.of_product = nn.Linear(width, num_outcomes, bias=False)

    def forward(self, user_BD: Tensor, item_BCD: Tensor) -> Tensor:
        """[B, C, A]"""
        user_B1D = user_BD[:, None]
        linear_BCA = self.of_user(user_B1D) + self.of_item(item_BCD)
        return linear_BCA + self.of_product(user_B1D * item_BCD)  # type: ignore[no-any-return]


def outcome_loss(
    logits_BCA: Tensor, outcomes: Mapping[str, Tensor], names: Sequence[str], mask_BC: Tensor
) -> Tensor:
    """Mean over outcomes: cross-entropy over candidates, squared error where a value is known.

    `outcomes` are those of the candidate taken up, [B] each, values standardised and NaN where
    there is none. Nothing happens with the other candidates: they were not taken up.
    """
    losses = []
    for place, name in enumerate(names):
        logit_BC, outcome_B = logits_BCA[..., place], outcomes[name]
        if name.endswith(VALUE):
            known_B = ~outcome_B.isnan()
            error_B = torch.where(known_B, logit_BC[:, 0] - outcome_B.nan_to_num(), 0.0)
            losses.append(error_B.square().sum() / known_B.sum().clamp(min=1))
        else:
            target_BC = torch.zeros_like(logit_BC)
            target_BC[:, 0] = outcome_B
            losses.append(
                functional.binary_cross_entropy_with_logits(logit_BC[mask_BC], target_BC[mask_BC])
            )
    return torch.stack(losses).mean()


def check_outcomes(names: Sequence[str], there: Mapping[str, object]) -> None:
    """Raise ValueError for an outcome that the labels do not have."""
    unknown = [name for name in names if name not in there]
    if unknown:
        raise ValueError(
            f"model.outcomes names {', '.join(unknown)}, but the data set has "
            f"{', '.join(there) or 'no actions'}; change the file given to --config"
        )
