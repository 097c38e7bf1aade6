"""Match features: what a user and an item have in common, source by source.

Which fields are compared follows from the schema: fields of the two sides with one vocabulary
(history x id, friends' recent items x id, categories x categories), embeddings of one source and
length (own words x item text), and the two tokens of each source. Each feature is zero as soon as
a source it comes from is absent or masked on its side.
"""

# Shapes: B users, C candidates, S sources, D width, L, M sequence lengths, E compared width,
#         F match features, V vocabulary

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from training.projector import full_name, module_name, vocabulary_of
from training.schema import FeatureSchema, ViewSpec
from training.tokens import ID_KEY, ID_VOCABULARY, SideTokens, id_sources


@dataclasses.dataclass(frozen=True)
class Pair:
    """A field of the user's side and one of the item's that mean the same kind of thing."""

    user_key: str
    item_key: str
    user_source: int
    """Place of the source in the schema's order."""
    item_source: int
    vocabulary: str | None
    """None for embeddings, which are compared as they are."""


def find_pairs(schema: FeatureSchema) -> tuple[Pair, ...]:
    """Every pair of comparable fields, in the schema's order."""
    items = [*looked_up(schema.item_views), *embedded(schema.item_views)]
    pairs = []
    for view, key, meaning in [*looked_up(schema.user_views), *embedded(schema.user_views)]:
        source = schema.sources.index(view.source)
        if meaning == ID_VOCABULARY and view.source in id_sources(schema):
            pairs.append(Pair(key, ID_KEY, source, source, ID_VOCABULARY))
        for item_view, item_key, item_meaning in items:
            same_source = view.source == item_view.source
            if meaning == item_meaning and (isinstance(meaning, str) or same_source):
                vocabulary = meaning if isinstance(meaning, str) else None
                item_source = schema.sources.index(item_view.source)
                pairs.append(Pair(key, item_key, source, item_source, vocabulary))
    return tuple(pairs)


def looked_up(views: tuple[ViewSpec, ...]) -> list[tuple[ViewSpec, str, str | int | None]]:
    """Categorical and sequence fields with their vocabulary."""
    return [
        (view, full_name(view, field), vocabulary_of(view, field))
        for view in views
        for field in (*view.of_kind("categorical"), *view.of_kind("sequence"))
    ]


def embedded(views: tuple[ViewSpec, ...]) -> list[tuple[ViewSpec, str, str | int | None]]:
    """Embedding fields with their length."""
    return [
        (view, full_name(view, field), field.dims)
        for view in views
        for field in view.of_kind("embedding")
    ]


class Match(nn.Module):
    """The match features of users and items: [B, C, F], F = pairs' features + one a source."""

    def __init__(self, schema: FeatureSchema, sizes: Mapping[str, int], width: int) -> None:
        super().__init__()
        self.pairs = find_pairs(schema)
        self.sizes = dict(sizes)
        self.num_sources = len(schema.sources)
        looked_up_keys = {pair.user_key for pair in self.pairs if pair.vocabulary is not None}
        self.turns = nn.ModuleDict(
            {
                module_name(key): nn.Linear(width, width, bias=False)
                for key in sorted(looked_up_keys)
            }
        )
        for turn in self.turns.values():
            assert isinstance(turn, nn.Linear)
            nn.init.eye_(turn.weight)
        self.scale = math.sqrt(width)
        own = [(source, source) for source in range(self.num_sources)]
        for pair in self.pairs:
            own += [(pair.user_source, pair.item_source)] * (1 if pair.vocabulary is None else 2)
        user_F, item_F = zip(*own, strict=True)
        self.user_source_F: Tensor
        self.item_source_F: Tensor
        self.register_buffer("user_source_F", torch.tensor(user_F), persistent=False)
        self.register_buffer("item_source_F", torch.tensor(item_F), persistent=False)

    @property
    def num_features(self) -> int:
        return len(self.user_source_F)

    @property
    def compared(self) -> frozenset[str]:
        """Fields whose keys and vectors the tokenizers must hand over."""
        return frozenset(key for p in self.pairs for key in (p.user_key, p.item_key))

    def forward(
        self, user: SideTokens, item: SideTokens, likeness_BCF: Tensor | None = None
    ) -> Tensor:
        """`user` has leading axis [B]; `item` [B, C], or [C] for candidates that all share.
        `likeness` spares whoever scores the same pairs under many masks its cost.
        """
        if likeness_BCF is None:
            likeness_BCF = self.likeness(user, item)
        return likeness_BCF * self.there(user, item)

    def likeness(self, user: SideTokens, item: SideTokens) -> Tensor:
        """The features [B, C, F] as if every source were there: the same under every mask."""
        shared = item.present.dim() == 2
        tokens = zip(user.tokens.unbind(1), item.tokens.unbind(-2), strict=True)
        features = [dots(user_BD, item_D, shared) / self.scale for user_BD, item_D in tokens]
        for pair in self.pairs:
            if pair.user_key not in user.vectors or pair.item_key not in item.vectors:
                width = 1 if pair.vocabulary is None else 2
                features += [torch.zeros_like(features[0])] * width
                continue
            vector_BE = user.vectors[pair.user_key]
            if pair.vocabulary is not None:
                vector_BE = self.turns[module_name(pair.user_key)](vector_BE)
                features.append(self.overlap(pair, user, item, shared))
            features.append(dots(vector_BE, item.vectors[pair.item_key], shared))
        return torch.stack([feature.float() for feature in features], -1)

    def there(self, user: SideTokens, item: SideTokens) -> Tensor:
        """Whether both sides of a feature are there, bool [B, C, F]."""
        theirs = item.present[..., self.item_source_F]
        ours = user.present[:, None, self.user_source_F]
        return ours & (theirs[None] if item.present.dim() == 2 else theirs)

    def overlap(self, pair: Pair, user: SideTokens, item: SideTokens, shared: bool) -> Tensor:
        """Weight of the user's entries that are among the item's, [B, C]."""
        key_BL, weight_BL = user.keys[pair.user_key], user.weights[pair.user_key]
        key, size = item.keys[pair.item_key], self.sizes[str(pair.vocabulary)]
        # One look-up table a user is far cheaper than comparing with every item, but for few items
        # and a vocabulary of a million.
        tabled = shared and not torch.compiler.is_compiling()
        if tabled and size < key.numel() * key_BL.shape[1]:
            table_BV = weight_BL.new_zeros(len(key_BL), size)
            table_BV = table_BV.scatter_add(1, key_BL, weight_BL)
            found_BC = weight_BL.new_zeros(len(key_BL), len(key))
            for place in range(key.shape[1]):
                found_BC = found_BC + table_BV[:, key[:, place]] * (key[:, place] > 0)
            return found_BC
        if shared:
            key = key.expand(len(key_BL), *key.shape)
        found_BC = weight_BL.new_zeros(key.shape[:2])
        for place in range(key.shape[2]):
            known_BC = key[..., place] > 0
            same_BCL = (key[..., place, None] == key_BL[:, None]) & known_BC[..., None]
            found_BC = found_BC + torch.einsum(
                "bcl,bl->bc", same_BCL.to(weight_BL.dtype), weight_BL
            )
        return found_BC


def dots(user_BE: Tensor, item: Tensor, shared: bool) -> Tensor:
    """Dot products [B, C] of users [B, E] with items [B, C, E], or [C, E] when shared."""
    return user_BE @ item.T if shared else torch.bmm(item, user_BE[..., None])[..., 0]
