"""FusionModel: the score of items for users, from one token a source on each side.

score = scale * u.v + head(u, v, u*v, match) + sum over present sources of the item's prior, where
u and v are the fused tokens. `siamese` is u.v of two unit vectors over a learned temperature, from
layers that both towers share, plus the prior: one inner product, so an index can search it.
Whatever comes from a masked source is gone from every term.
"""

# Shapes: B users, C candidates, S sources, D width, F match features

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.config import ModelConfig
from training.fusion import make_fusion
from training.heads import OutcomeHeads
from training.match import Match
from training.projector import ViewBatch, Vocabularies, vocabularies_of
from training.schema import FeatureSchema
from training.tokens import ID_VOCABULARY, SideTokenizer, SideTokens


class Steps(Protocol):
    """Other code for steps of the model; None where it cannot take what is asked."""

    def user_tokens(self, batches: Mapping[str, ViewBatch]) -> SideTokens | None: ...

    def finished(
        self, prepared: SideTokens, batches: Mapping[str, ViewBatch]
    ) -> SideTokens | None: ...

    def score(self, user: SideTokens, item: SideTokens) -> Tensor | None: ...

    def score_masked(
        self, user: SideTokens, item: SideTokens, mask_KS: Tensor
    ) -> Tensor | None: ...


class FusionModel(nn.Module):
    """Scores items for users. Built from an encoder's schema and vocabulary sizes alone."""

    def __init__(
        self, schema: FeatureSchema, vocabulary_sizes: Mapping[str, int], config: ModelConfig
    ) -> None:
        """`schema` must know the length of its embeddings: take `encoder.feature_schema`."""
        super().__init__()
        self.native: Steps | None = None
        """Faster code for some of the steps of a model in use; see native.py."""
        self.config, self.sources = config, schema.sources
        used = {*vocabularies_of(schema), ID_VOCABULARY}
        sizes = {name: size for name, size in vocabulary_sizes.items() if name in used}
        self.tables = Vocabularies(sizes, config.width)
        self.match = Match(schema, sizes, config.width)
        compared = self.match.compared if config.fusion != "siamese" else frozenset()
        self.users = SideTokenizer(schema, "user", compared, config)
        self.items = SideTokenizer(schema, "item", compared, config)
        self.user_fusion = make_fusion(config, len(self.sources))
        if config.fusion == "siamese":
            del self.match
            self.pair: PairHead | UnitProduct = UnitProduct(config.width)
        else:
            self.pair = PairHead(config, self.match.num_features)
            self.item_fusion = make_fusion(config, len(self.sources))
        if config.outcomes:
            self.outcomes = OutcomeHeads(config.width, len(config.outcomes))

    def user_tokens(self, batches: Mapping[str, ViewBatch]) -> SideTokens:
        """Tokens of B users from their views' rows."""
        if self.native and (found := self.native.user_tokens(batches)):
            return found
        return self.users(self.tables, batches)  # type: ignore[no-any-return]

    def item_tokens(self, batches: Mapping[str, ViewBatch], item_ids: Tensor) -> SideTokens:
        """Tokens of C items from their views' rows and their numbers, int64 [C]; see
        `Encoder.item_numbers`.
        """
        return self.items(self.tables, batches, item_ids)  # type: ignore[no-any-return]

    def finished(self, prepared: SideTokens, batches: Mapping[str, ViewBatch]) -> SideTokens:
        """Items' tokens at an instant from what was prepared of them; see `SideTokenizer`."""
        if self.native and (found := self.native.finished(prepared, batches)):
            return found
        return self.items.finish(self.tables, prepared, batches)

    def score(self, user: SideTokens, item: SideTokens) -> Tensor:
        """Scores [B, C] of users [B] with items [B, C], or with items [C] that all share."""
        if self.native and (found := self.native.score(user, item)) is not None:
            return found
        return self.score_fused(user, item, *self.fused(user, item))

    def score_masked(self, user: SideTokens, item: SideTokens, mask_KS: Tensor) -> Tensor:
        """Scores [K, B, C] of users [B] with items [B, C], or with items [C] that all share, when
        only the sources of each mask may be seen. How alike the two are does not depend on masks
        and is worked out once."""
        if self.native and (found := self.native.score_masked(user, item, mask_KS)) is not None:
            return found
        num_users, num_masks = len(user.present), len(mask_KS)
        if item.present.dim() == 2:
            item = item.map(lambda tensor: tensor.expand(num_users, *tensor.shape))
        mask_NS = mask_KS.to(user.present.device).repeat_interleave(num_users, 0)
        every_user = user.map(lambda tensor: again(tensor, num_masks)).masked(mask_NS)
        every_item = item.map(lambda tensor: again(tensor, num_masks)).masked(mask_NS[:, None])
        likeness = None
        if not isinstance(self.pair, UnitProduct):
            likeness = again(self.match.likeness(user, item), num_masks)
        fused = self.fused(every_user, every_item)
        scores_NC = self.score_fused(every_user, every_item, *fused, likeness)
        return scores_NC.view(num_masks, num_users, -1)

    def score_fused(
        self,
        user: SideTokens,
        item: SideTokens,
        user_BD: Tensor,
        item_D: Tensor,
        likeness_BCF: Tensor | None = None,
    ) -> Tensor:
        """The same where the fused vectors, and perhaps what is alike in pairs, are known."""
        if isinstance(self.pair, UnitProduct):
            scores_BC = self.pair(user_BD, item_D)
        else:
            scores_BC = self.pair(user_BD, item_D, self.match(user, item, likeness_BCF))
        return scores_BC + (item.prior * item.present).sum(-1)  # type: ignore[no-any-return]

    def fused(self, user: SideTokens, item: SideTokens) -> tuple[Tensor, Tensor]:
        """The fused vectors of users [B, D] and of items [..., D]."""
        shape = item.present.shape
        both_sides = self.config.fusion == "siamese"
        item_fusion = self.user_fusion if both_sides else self.item_fusion
        item_D = item_fusion(item.tokens.flatten(0, -3), item.present.flatten(0, -2))
        return self.user_fusion(user.tokens, user.present), item_D.view(*shape[:-1], -1)

    def retrieval_vectors(self, side: SideTokens, entity: str) -> Tensor:
        """Vectors [N, D + 1] whose inner products are the scores; only `siamese` has them.

        Raises ValueError for the other fusions, whose score is no inner product.
        """
        if not isinstance(self.pair, UnitProduct):
            raise ValueError(
                f"fusion '{self.config.fusion}' has no retrieval vectors; "
                "train with --fusion siamese"
            )
        unit_ND = self.pair.unit(self.user_fusion(side.tokens, side.present))
        if entity == "user":
            unit_ND = unit_ND * self.pair.inverse_temperature()
            return torch.cat([unit_ND, torch.ones_like(unit_ND[:, :1])], 1)
        prior_N1 = (side.prior * side.present).sum(-1, keepdim=True)
        return torch.cat([unit_ND, prior_N1], 1)

    def forward(
        self,
        user_batches: Mapping[str, ViewBatch],
        item_batches: Mapping[str, ViewBatch],
        item_ids: Tensor,
    ) -> Tensor:
        """Scores [B, C] for training; `item_ids` [B, C], the item batches describe B * C items.

        While training, sources and ids are dropped at random as the configuration says, and a model
        with outcomes gives [B, C, 1 + A], their logits after the score.
        """
        if self.training and self.config.id_dropout:
            kept = torch.rand(item_ids.shape, device=item_ids.device) >= self.config.id_dropout
            item_ids = item_ids * kept
        user = self.user_tokens(user_batches)
        item = self.item_tokens(item_batches, item_ids.flatten())
        item = item.map(lambda tensor: tensor.view(*item_ids.shape, *tensor.shape[1:]))
        if self.training and self.config.source_dropout:
            chance = torch.rand(user.present.shape, device=user.present.device)
            mask_BS = chance >= self.config.source_dropout
            user, item = user.masked(mask_BS), item.masked(mask_BS[:, None])
        if not (self.training and self.config.outcomes):
            return self.score(user, item)
        user_BD, item_BCD = self.fused(user, item)
        scores_BC = self.score_fused(user, item, user_BD, item_BCD)
        return torch.cat([scores_BC[..., None], self.outcomes(user_BD, item_BCD)], -1)


def again(tensor: Tensor, times: int) -> Tensor:
    """The tensor [B, ...] so many times over, [times * B, ...]."""
    return tensor.repeat(times, *(1 for _ in tensor.shape[1:]))


class PairHead(nn.Module):
    """scale * u.v + weights . match + a hidden layer over u, v, u*v and match."""

    def __init__(self, config: ModelConfig, num_features: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(1.0 / math.sqrt(config.width)))
        self.direct = nn.Linear(num_features, 1, bias=False)
        self.of_user = nn.Linear(config.width, config.width)
        self.of_item = nn.Linear(config.width, config.width, bias=False)
        self.of_product = nn.Linear(config.width, config.width, bias=False)
        self.of_match = nn.Linear(num_features, config.width, bias=False)
        self.out = nn.Sequential(nn.GELU(), nn.Dropout(config.dropout), nn.Linear(config.width, 1))

    def forward(self, user_BD: Tensor, item: Tensor, match_BCF: Tensor) -> Tensor:
        """[B, C] from users [B, D] and items [B, C, D] or [C, D]."""
        if item.dim() == 2:
            return self.of_shared(user_BD, item, match_BCF)
        product_BCD = user_BD[:, None] * item
        hidden_BCD = self.of_user(user_BD)[:, None] + self.of_item(item)
        hidden_BCD = hidden_BCD + self.of_product(product_BCD) + self.of_match(match_BCF)
        direct_BC = self.direct(match_BCF)[..., 0] + self.scale * product_BCD.sum(-1)
        return direct_BC + self.out(hidden_BCD)[..., 0]  # type: ignore[no-any-return]

    def of_shared(self, user_BD: Tensor, item_CD: Tensor, match_BCF: Tensor) -> Tensor:
        """The same for items that all users share, a user at a time.

        W(u*v) is (W diag(u))v, so a user is one small matrix before a product with the catalogue,
        and what lies between stays small: five times as fast on a CPU.
        """
        turned_BDD = self.of_product.weight * user_BD[:, None] + self.of_item.weight
        parts_BD = self.of_user(user_BD)
        hidden = (
            torch.addmm(part_D + self.of_match(match_CF), item_CD, turned_DD.T)
            for part_D, match_CF, turned_DD in zip(parts_BD, match_BCF, turned_BDD, strict=True)
        )
        nonlinear_BC = torch.stack([self.out(hidden_CD)[:, 0] for hidden_CD in hidden])
        direct_BC = self.direct(match_BCF)[..., 0] + self.scale * (user_BD @ item_CD.T)
        return direct_BC + nonlinear_BC  # type: ignore[no-any-return]


class UnitProduct(nn.Module):
    """Cosine over a learned temperature, after a projection that both sides share."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.project = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, width))
        self.log_inverse_temperature = nn.Parameter(torch.tensor(math.log(10.0)))

    def inverse_temperature(self) -> Tensor:
        # CLIP's bound (Radford et al. 2021): beyond 100 training becomes unstable.
        return self.log_inverse_temperature.exp().clamp(max=100.0)

    def unit(self, vectors: Tensor) -> Tensor:
        return functional.normalize(vectors + self.project(vectors), dim=-1)

    def forward(self, user_BD: Tensor, item: Tensor) -> Tensor:
        unit_BD, unit_item = self.unit(user_BD), self.unit(item)
        equation = "bd,cd->bc" if item.dim() == 2 else "bd,bcd->bc"
        return torch.einsum(equation, unit_BD, unit_item) * self.inverse_temperature()
