"""Attribution: how much each source counted in a score, by exact Shapley values, and how much each
entry within a source, by hiding it.

A source's value is the mean, over all orders in which sources could be revealed, of what revealing
it adds to the score (Shapley 1953). With S sources all 2^S subsets are one batched forward pass,
so nothing is sampled. A source that is absent on both sides gets exactly zero. What a channel adds
to a score is there when all sources are that it lives on, and so is shared out evenly among them (a
unanimity game). Entries (a history item, a keyword, a row of popularity) are too many for subsets:
each is hidden by itself.
"""

# Shapes: B users, C candidates, S sources, K = 2^S subsets, T trials, L channels,
#         R = 2 S + 1 results: each source's Shapley value, the baseline, each source's removal

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from training.model import FusionModel
from training.projector import ViewBatch
from training.tokens import SideTokens

Floats = npt.NDArray[np.float64]

MAX_SOURCES = 10  # 1,024 subsets; beyond this exact values cost more than a reader gains
NEAR = 0.2  # see `leading_sources`


@dataclasses.dataclass(frozen=True)
class Attribution:
    """What the sources did to scores."""

    contributions_BCS: Floats
    """Shapley values; with the baseline they add up to the score (to rounding)."""
    baseline_BC: Floats
    """The score without any source."""
    removal_BCS: Floats
    """By how much the score falls when one source alone is taken away."""

    @classmethod
    def of(cls, results_BCR: Floats) -> Attribution:
        """From all results in one array."""
        num = results_BCR.shape[-1] // 2
        return cls(results_BCR[..., :num], results_BCR[..., num], results_BCR[..., num + 1 :])

    @property
    def scores_BC(self) -> Floats:
        return np.asarray(self.baseline_BC + self.contributions_BCS.sum(-1))

    def leading_sources(self) -> npt.NDArray[np.int64]:
        """The source that counted most, [B, C].

        Sources overlap: of two that say the same, both have a high Shapley value and taking one
        away costs little. So among those whose value is within NEAR of the highest the one leads
        whose removal costs most.
        """
        highest_BC1 = self.contributions_BCS.max(-1, keepdims=True)
        near_BCS = self.contributions_BCS >= highest_BC1 - NEAR * abs(highest_BC1)
        return np.asarray(np.where(near_BCS, self.removal_BCS, -math.inf).argmax(-1))


@dataclasses.dataclass(frozen=True)
class Beside:
    """What the score has beside the model's logit: score = weight * logit + sum of terms."""

    weight_B: Floats
    terms_BCL: npt.NDArray[np.floating]
    lives_BLS: npt.NDArray[np.bool_]
    """The sources without any one of which a channel adds nothing."""

    def added_to(self, results_BCR: Floats) -> Floats:
        """The results of the sum: the model's by its weight, and the channels' even shares. What
        lives on no source belongs to the baseline."""
        num_BL1 = self.lives_BLS.sum(-1, keepdims=True)
        share_BLS = self.lives_BLS / np.maximum(num_BL1, 1)
        results_BLR = np.concatenate([share_BLS, num_BL1 == 0, self.lives_BLS], -1)
        return np.asarray(self.weight_B[:, None, None] * results_BCR + self.terms_BCL @ results_BLR)


@torch.no_grad()
def attribute(
    model: FusionModel, user: SideTokens, item: SideTokens, beside: Beside | None = None
) -> Attribution:
    """Attribution for users [B] and their candidates [B, C], from all subsets of the sources.

    `item` has leading axes [B, C], or [C] for candidates that all users share. The model should be
    in eval mode. `beside` is what the score consists of beside the model's logit. All but the
    forward pass is done on the CPU, by numpy: it is little, and in exact doubles.
    """
    num_sources = len(model.sources)
    values_KBC = model.score_masked(user, item, subsets(num_sources)[0]).double().cpu().numpy()
    num_subsets, num_users, num_items = values_KBC.shape
    results_RN = result_weights(num_sources) @ values_KBC.reshape(num_subsets, -1)
    results_BCR = results_RN.reshape(-1, num_users, num_items).transpose(1, 2, 0)
    return Attribution.of(results_BCR if beside is None else beside.added_to(results_BCR))


def shapley(model: FusionModel, user: SideTokens, item: SideTokens) -> tuple[Floats, Floats]:
    """Contribution of each source [B, C, S] and the score without any source [B, C]; see
    `attribute`."""
    found = attribute(model, user, item)
    return found.contributions_BCS, found.baseline_BC


def mean_contributions(
    model: FusionModel, user: SideTokens, item: SideTokens, beside: Beside | None = None
) -> dict[str, float]:
    """Each source's mean absolute contribution over users [B] and their candidates [B, C]."""
    found = attribute(model, user, item, beside)
    means = abs(found.contributions_BCS).mean((0, 1)).tolist()
    return dict(zip(model.sources, means, strict=True))


@dataclasses.dataclass(frozen=True)
class Hidden:
    """A part of an entity's row in a view: an entry of a list, a whole field, or all of the row."""

    view: str
    field: str | None = None
    """A sequence or an embedding; None hides the row."""
    place: int | None = None
    """Entry of the sequence; None hides the field."""


@dataclasses.dataclass(frozen=True)
class Trial:
    """One item's score with parts of its own and of the user's rows hidden."""

    item: int
    """Place among the items."""
    of_user: tuple[Hidden, ...] = ()
    of_item: tuple[Hidden, ...] = ()


@torch.no_grad()
def trial_scores(
    model: FusionModel,
    user: Mapping[str, ViewBatch],
    items: Mapping[str, ViewBatch],
    item_ids: Tensor,
    trials: Sequence[Trial],
) -> Tensor:
    """Scores [T], all in one batched forward pass, of one user's rows with items' rows [C].

    Hiding is what dropout does in training: an entry's number becomes that of "none", a vector
    becomes zero, a row is absent. A part that a row does not have hides nothing.
    """
    user_T = with_hidden(user, [(0, trial.of_user) for trial in trials])
    item_T = with_hidden(items, [(trial.item, trial.of_item) for trial in trials])
    ids_T = item_ids[torch.tensor([trial.item for trial in trials])]
    tokens_T1 = model.item_tokens(item_T, ids_T).map(lambda tensor: tensor[:, None])
    return model.score(model.user_tokens(user_T), tokens_T1)[:, 0]


def with_hidden(
    batches: Mapping[str, ViewBatch], trials: Sequence[tuple[int, tuple[Hidden, ...]]]
) -> dict[str, ViewBatch]:
    """Batches of T entities: for each trial the entity's rows without what the trial hides."""
    entity_T = torch.tensor([entity for entity, _ in trials], dtype=torch.int64)
    hidden: dict[str, list[tuple[int, Hidden]]] = {}
    for place, (_, parts) in enumerate(trials):
        for part in parts:
            hidden.setdefault(part.view, []).append((place, part))
    changed = {}
    for view, batch in batches.items():
        rows_T, columns = batch.rows[entity_T], dict(batch.columns)
        here = [(place, part) for place, part in hidden.get(view, []) if rows_T[place] >= 0]
        places = sorted({place for place, part in here if part.field is not None})
        if places:  # a row of its own for each entity that loses an entry or a field
            num_rows = len(next(iter(columns.values())))
            copied = rows_T[torch.tensor(places)]
            columns = {name: torch.cat([c, c[copied]]) for name, c in columns.items()}
            rows_T[torch.tensor(places)] = num_rows + torch.arange(len(places))
        for place, part in here:
            if part.field is None:
                rows_T[place] = -1
            else:
                _hide(columns, int(rows_T[place]), part)
        changed[view] = ViewBatch(columns, rows_T, batch.at_us[entity_T])
    return changed


def _hide(columns: dict[str, Tensor], row: int, part: Hidden) -> None:
    for name in (f"sequence:{part.field}", f"embedding:{part.field}"):
        if name in columns and part.place is None:
            columns[name][row] = 0
        elif name in columns and part.place is not None and part.place < columns[name].shape[1]:
            columns[name][row, part.place] = 0


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


@functools.cache
def result_weights(num_sources: int) -> Floats:
    """What each subset's value counts for in each result, [R, K]."""
    weights_SK = subsets(num_sources)[1].numpy()
    baseline_1K, removal_SK = np.zeros_like(weights_SK[:1]), np.zeros_like(weights_SK)
    baseline_1K[0, 0] = 1
    removal_SK[:, -1] = 1
    for source in range(num_sources):
        # Subsets are numbered by their bits: all sources but one is the last number less that bit.
        removal_SK[source, -1 - 2**source] = -1
    return np.concatenate([weights_SK, baseline_1K, removal_SK])
