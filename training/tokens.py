"""Tokens: what is known of users or items becomes one vector per source.

In: for each view a ViewBatch (encoded rows, and for each entity the number of its row). Out:
SideTokens: one token a source with its presence, and what the two sides compare directly.
"""

# Shapes: N entities, R feature rows, S sources, D width, L sequence length, E compared width

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Mapping

import torch
from torch import Tensor, nn

from training.config import ModelConfig
from training.projector import Projected, ViewBatch, ViewProjector, Vocabularies, module_name
from training.schema import EntityName, FeatureSchema

ID_KEY = "item_id"  # the item's own id, as a key beside "view.field"
ID_VOCABULARY = "item"
ID_SOURCE = "behaviour"  # an item's id says what behaviour knows about it


@dataclasses.dataclass(frozen=True)
class SideTokens:
    """What the model knows of some users or items; leading axes are free ([B], [C] or [B, C])."""

    tokens: Tensor
    """[..., S, D]"""
    present: Tensor
    """bool [..., S]: whether the source says anything."""
    prior: Tensor
    """[..., S]: each source's own share of an item's score, whoever asks."""
    keys: dict[str, Tensor]
    """int64 [..., L] by "view.field": numbers in a vocabulary both sides share (0 = none)."""
    weights: dict[str, Tensor]
    """[..., L] by "view.field": weight of each position of `keys`."""
    vectors: dict[str, Tensor]
    """[..., E] by "view.field": what is compared by dot product with the other side."""

    def map(self, change: Callable[[Tensor], Tensor]) -> SideTokens:
        """The same change made to each tensor, e.g. an index, a reshape, a move to a device."""

        def each(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
            return {name: change(tensor) for name, tensor in tensors.items()}

        return SideTokens(
            tokens=change(self.tokens),
            present=change(self.present),
            prior=change(self.prior),
            keys=each(self.keys),
            weights=each(self.weights),
            vectors=each(self.vectors),
        )

    def masked(self, mask: Tensor) -> SideTokens:
        """The same with only the sources that `mask` (bool, broadcast to [..., S]) leaves."""
        return dataclasses.replace(self, present=self.present & mask)


class SideTokenizer(nn.Module):
    """All views of one side: one projector a view, one head a source."""

    def __init__(
        self,
        schema: FeatureSchema,
        entity: EntityName,
        compared: frozenset[str],
        config: ModelConfig,
    ) -> None:
        """`compared` names the fields ("view.field") whose keys and vectors the model needs."""
        super().__init__()
        views = schema.of_entity(entity)
        self.sources, self.width = schema.sources, config.width
        self.source_of = {view.name: view.source for view in views}
        self.id_sources = id_sources(schema) if entity == "item" else ()
        # Items lose ids and sources at random instead; dropout on every candidate of every label
        # took a tenth of the training time.
        dropout = config.dropout if entity == "user" else 0.0
        spoken = {*self.source_of.values(), *self.id_sources}
        self.projectors = nn.ModuleDict(
            {view.name: ViewProjector(view, compared, config) for view in views}
        )
        self.id_projections = nn.ModuleDict(
            {module_name(s): nn.Linear(config.width, config.width) for s in self.id_sources}
        )
        self.heads = nn.ModuleDict(
            {
                module_name(source): SourceHead(config.width, dropout)
                for source in self.sources
                if source in spoken
            }
        )

    def forward(
        self,
        tables: Vocabularies,
        batches: Mapping[str, ViewBatch],
        item_ids: Tensor | None = None,
    ) -> SideTokens:
        """Tokens of N entities; items also need `item_ids` (int64 [N], numbers in the vocabulary).

        Views that `batches` lacks are absent for everyone. Users who have no view at all cannot
        be counted, so at least one view or the ids must be given.
        """
        given = [batch.rows for batch in batches.values()]
        given += [item_ids] if item_ids is not None else []
        if not given:
            raise ValueError("neither a view nor item ids were given: nothing to make tokens of")
        parts = [
            (self.source_of[name], projector(tables, batches[name]))
            for name, projector in self.projectors.items()
            if name in batches
        ]
        if self.id_sources and item_ids is not None:
            parts += self.id_parts(tables, item_ids)
        return self.assemble(parts, given[0])

    def prepare(
        self,
        tables: Vocabularies,
        batches: Mapping[str, ViewBatch],
        item_ids: Tensor | None = None,
    ) -> SideTokens:
        """What of `forward` is the same at every instant and can be kept, of a model in use.

        Counters change with every event: views that have any are left to `finish`. A source with a
        view in `moving` has the sum of its parts so far for its token, and no prior.
        """
        parts = [
            (self.source_of[name], projector.constant(tables, batches[name]))
            for name, projector in self.of_views(batches)
            if not projector.view.of_kind("counter")
        ]
        if self.id_sources and item_ids is not None:
            parts += self.id_parts(tables, item_ids)
        given = [batch.rows for batch in batches.values()]
        given += [item_ids] if item_ids is not None else []
        return self.assemble(parts, given[0], {self.source_of[n] for n in self.moving(batches)})

    def finish(
        self, tables: Vocabularies, prepared: SideTokens, batches: Mapping[str, ViewBatch]
    ) -> SideTokens:
        """`prepared`, in place, becomes what `forward` gives; `batches` has the views in `moving`.

        Of the columns of a view without counters, "time_us" is enough.
        """
        hidden: dict[str, Tensor] = {}
        for name, projector in self.of_views(batches):
            source = self.source_of[name]
            place = self.sources.index(source)
            so_far_ND = hidden.get(source, prepared.tokens[:, place])
            if not projector.view.of_kind("counter"):
                hidden[source] = so_far_ND + projector.change(batches[name])
                continue
            part = projector(tables, batches[name])
            hidden[source] = so_far_ND + part.hidden_ND
            prepared.present[:, place] |= part.present_N
            prepared.keys.update(part.keys)
            prepared.weights.update(part.weights)
            prepared.vectors.update(part.vectors)
        for source, hidden_ND in hidden.items():
            place = self.sources.index(source)
            token_ND, prior_N = self.heads[module_name(source)](hidden_ND)
            prepared.tokens[:, place], prepared.prior[:, place] = token_ND, prior_N
        return prepared

    def moving(self, views: Collection[str]) -> list[str]:
        """Those of the views that say something else at another instant."""
        return [name for name, projector in self.of_views(views) if projector.moving is not None]

    def of_views(self, views: Collection[str]) -> list[tuple[str, ViewProjector]]:
        """The views' projectors, in the order of the model."""
        every = self.projectors.items()
        return [(n, p) for n, p in every if n in views and isinstance(p, ViewProjector)]

    def id_parts(self, tables: Vocabularies, item_ids: Tensor) -> list[tuple[str, Projected]]:
        """The item's own id as a part of each source that speaks of item ids."""
        vector_ND = tables(ID_VOCABULARY, item_ids)
        known_N = item_ids > 0
        return [
            (
                source,
                Projected(
                    self.id_projections[module_name(source)](vector_ND) * known_N[:, None],
                    known_N,
                    {ID_KEY: item_ids[:, None]},
                    {},
                    {ID_KEY: vector_ND},
                ),
            )
            for source in self.id_sources
        ]

    def assemble(
        self,
        parts: list[tuple[str, Projected]],
        like_N: Tensor,
        unfinished: Collection[str] = (),
    ) -> SideTokens:
        """Add up each source's parts and stack the sources; a silent source is zero and absent.

        The token of an `unfinished` source stays the sum of its parts.
        """
        num, device = like_N.shape[0], like_N.device
        tokens, present, prior = [], [], []
        for source in self.sources:
            own = [part for name, part in parts if name == source]
            if not own:
                tokens.append(torch.zeros(num, self.width, device=device))
                prior.append(torch.zeros(num, device=device))
                present.append(torch.zeros(num, dtype=torch.bool, device=device))
                continue
            hidden_ND = torch.stack([part.hidden_ND for part in own]).sum(0)
            token_ND, prior_N = hidden_ND, torch.zeros(num, device=device)
            if source not in unfinished:
                token_ND, prior_N = self.heads[module_name(source)](hidden_ND)
            tokens.append(token_ND.float())
            prior.append(prior_N.float())
            present.append(torch.stack([part.present_N for part in own]).any(0))
        return SideTokens(
            torch.stack(tokens, 1),
            torch.stack(present, 1),
            torch.stack(prior, 1),
            {name: key for _, part in parts for name, key in part.keys.items()},
            {name: weight for _, part in parts for name, weight in part.weights.items()},
            {name: vector for _, part in parts for name, vector in part.vectors.items()},
        )


class SourceHead(nn.Module):
    """The summed parts of a source become its token [N, D] and its share of the prior [N]."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.token = nn.Sequential(
            nn.GELU(), nn.Dropout(dropout), nn.Linear(width, width), nn.LayerNorm(width)
        )
        self.prior = nn.Linear(width, 1)

    def forward(self, hidden_ND: Tensor) -> tuple[Tensor, Tensor]:
        return self.token(hidden_ND), self.prior(hidden_ND)[:, 0]


def id_sources(schema: FeatureSchema) -> tuple[str, ...]:
    """Sources whose token on the item's side holds the item's id.

    Behaviour, and each source whose user views name items (what friends took up, say): without
    the id on the item's side such a source could not tell the items apart that it speaks of.
    """
    naming = {
        view.source
        for view in schema.user_views
        for field in (*view.of_kind("sequence"), *view.of_kind("categorical"))
        if field.vocabulary == ID_VOCABULARY
    }
    return tuple(s for s in schema.sources if s in naming or s == ID_SOURCE)
