"""Projector: the encoded rows of one feature view become one vector per entity.

A view's fixed part (categories, sequences, embeddings, numbers) is computed once per feature row
and gathered; what depends on the instant of asking (decayed counters, ages) once per entity.
"""

# Shapes: N entities, R feature rows, D width, L sequence length, E compared width,
#         K counters, M times

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.config import ModelConfig
from training.schema import FeatureSchema, FieldSpec, ViewSpec

Columns = Mapping[str, Tensor]
"""Encoded rows of a view as `Encoder.encode` returns them."""

US_PER_DAY = 86_400_000_000


@dataclasses.dataclass(frozen=True)
class ViewBatch:
    """Encoded rows of one view, and which of them describes each of N entities when."""

    columns: Columns
    """Encoded feature rows, R of them."""
    rows: Tensor
    """int64 [N]: number of the entity's row, -1 for none."""
    at_us: Tensor
    """int64 [N]: the instant of asking, microseconds since 1970."""

    @classmethod
    def gathered(cls, columns: Columns, present: Tensor, at_us: Tensor) -> ViewBatch:
        """A batch whose columns already have one row an entity; `present` is bool [N]."""
        rows = torch.arange(present.shape[0], device=present.device)
        return cls(columns, torch.where(present, rows, -1), at_us)

    @property
    def is_single(self) -> bool:
        """Whether it is one entity and its one row, as a server asks for a user."""
        if torch.compiler.is_compiling():
            return False  # code for one row must not depend on whether there is one
        num_rows = len(next(iter(self.columns.values())))
        return len(self.rows) == num_rows == 1 and int(self.rows) == 0


@dataclasses.dataclass(frozen=True)
class Projected:
    """One view's part in the tokens of N entities; all zero where the view has no row."""

    hidden_ND: Tensor
    present_N: Tensor
    keys: dict[str, Tensor]
    """int64 [N, L] by "view.field": numbers in a vocabulary that the other side uses too."""
    weights: dict[str, Tensor]
    """[N, L] by "view.field": weight of each position of `keys`."""
    vectors: dict[str, Tensor]
    """[N, E] by "view.field": what the other side is compared with."""


class Vocabularies(nn.Module):
    """One embedding table a vocabulary, shared by every field of either side that uses it."""

    def __init__(self, sizes: Mapping[str, int], width: int) -> None:
        super().__init__()
        self.tables = nn.ModuleDict(
            {module_name(name): nn.Embedding(size, width, 0) for name, size in sizes.items()}
        )
        for table in self.tables.values():
            assert isinstance(table, nn.Embedding)
            nn.init.normal_(table.weight, std=1.0 / math.sqrt(width))
            with torch.no_grad():
                table.weight[0].zero_()

    def forward(self, vocabulary: str, numbers: Tensor) -> Tensor:
        return self.tables[module_name(vocabulary)](numbers)  # type: ignore[no-any-return]


class ViewProjector(nn.Module):
    """A linear map of all encoded fields of a view, and the fields that are compared."""

    def __init__(
        self,
        view: ViewSpec,
        compared: frozenset[str],
        config: ModelConfig,
    ) -> None:
        super().__init__()
        self.view, self.history, self.compared = view, config.history, compared
        self.sequence_dropout = config.sequence_dropout
        counters, sequences = view.of_kind("counter"), view.of_kind("sequence")
        num_looked_up = len(view.of_kind("categorical")) + len(sequences)
        fixed = 2 * len(view.of_kind("numeric")) + num_looked_up * config.width
        fixed += sum(dims_of(view, field) for field in view.of_kind("embedding"))
        moving = len(counters) + 2 * len(view.of_kind("time"))
        self.fixed = nn.Linear(fixed, config.width)
        self.moving = nn.Linear(moving, config.width, bias=False) if moving else None
        newest_first = -0.03 * torch.arange(config.history)
        self.positions = nn.ParameterDict(
            {field.name: nn.Parameter(newest_first.clone()) for field in sequences}
        )
        half_lives = [field.half_life_days or 1.0 for field in counters]
        self.half_lives_K: Tensor
        self.register_buffer("half_lives_K", torch.tensor(half_lives), persistent=False)

    def forward(self, tables: Vocabularies, batch: ViewBatch) -> Projected:
        constant = self.constant(tables, batch)
        if self.moving is None:
            return constant
        return dataclasses.replace(constant, hidden_ND=constant.hidden_ND + self.change(batch))

    def constant(self, tables: Vocabularies, batch: ViewBatch) -> Projected:
        """The same without what depends on the instant."""
        fixed = self.fixed_part(tables, padded(batch.columns))
        if batch.is_single:
            return fixed  # gathering and masking what there is one of took a fifth of the time
        rows_N, there_N1 = batch.rows.clamp(min=0), (batch.rows >= 0)[:, None]
        return Projected(
            fixed.hidden_ND[rows_N] * there_N1,
            there_N1[:, 0],
            {name: key[rows_N] * there_N1 for name, key in fixed.keys.items()},
            {name: weight[rows_N] * there_N1 for name, weight in fixed.weights.items()},
            {name: vector[rows_N] * there_N1 for name, vector in fixed.vectors.items()},
        )

    def change(self, batch: ViewBatch) -> Tensor:
        """What counters and times add to the hidden vectors [N, D] at the instant of asking."""
        assert self.moving is not None
        rows_N, there_N1 = batch.rows.clamp(min=0), (batch.rows >= 0)[:, None]
        moving_part = self.moving_part(padded(batch.columns), rows_N, batch.at_us)
        return self.moving(moving_part) * there_N1  # type: ignore[no-any-return]

    def fixed_part(self, tables: Vocabularies, columns: Columns) -> Projected:
        """What does not depend on the instant, for each of R feature rows."""
        parts: list[Tensor] = []
        keys: dict[str, Tensor] = {}
        weights: dict[str, Tensor] = {}
        vectors: dict[str, Tensor] = {}
        if self.view.of_kind("numeric"):
            parts += [columns["numeric"], columns["numeric_missing"]]
        for place, field in enumerate(self.view.of_kind("categorical")):
            key_R1 = columns["categorical"][:, place : place + 1]
            vector = tables(vocabulary_of(self.view, field), key_R1[:, 0])
            parts.append(vector)
            self.keep(field, keys, key_R1, weights, (key_R1 > 0).to(vector.dtype), vectors, vector)
        for field in self.view.of_kind("sequence"):
            key_RL = self.thinned(columns[f"sequence:{field.name}"][:, : self.history])
            weight_RL = torch.exp(self.positions[field.name][: key_RL.shape[1]]) * (key_RL > 0)
            embedded_RLD = tables(vocabulary_of(self.view, field), key_RL)
            bag = torch.einsum("rl,rld->rd", weight_RL, embedded_RLD)
            bag = bag / weight_RL.sum(1, keepdim=True).clamp(min=1e-6)
            parts.append(bag)
            self.keep(field, keys, key_RL, weights, weight_RL, vectors, bag)
        for field in self.view.of_kind("embedding"):
            raw = columns[f"embedding:{field.name}"]
            parts.append(functional.layer_norm(raw, raw.shape[1:]))
            if full_name(self.view, field) in self.compared:
                vectors[full_name(self.view, field)] = functional.normalize(raw, dim=1)
        num_rows = next(iter(columns.values())).shape[0]
        joined = torch.cat(parts, 1) if parts else self.fixed.weight.new_zeros(num_rows, 0)
        present = torch.ones(num_rows, dtype=torch.bool, device=joined.device)
        return Projected(self.fixed(joined), present, keys, weights, vectors)

    def thinned(self, key_RL: Tensor) -> Tensor:
        """While training, the sequence with some entries left out at random."""
        if not self.training or not self.sequence_dropout:
            return key_RL
        return key_RL * (torch.rand(key_RL.shape, device=key_RL.device) >= self.sequence_dropout)

    def keep(
        self,
        field: FieldSpec,
        keys: dict[str, Tensor],
        key: Tensor,
        weights: dict[str, Tensor],
        weight: Tensor,
        vectors: dict[str, Tensor],
        vector: Tensor,
    ) -> None:
        """Keep a looked-up field's key, weights and vector if the other side compares it."""
        name = full_name(self.view, field)
        if name in self.compared:
            keys[name], weights[name], vectors[name] = key, weight, vector

    def moving_part(self, columns: Columns, rows_N: Tensor, at_us: Tensor) -> Tensor:
        """Counters decayed to the instant and ages at it, [N, K + 2M], on a log scale."""
        parts = []
        if len(self.half_lives_K):
            passed_NK = (at_us[:, None] - columns["clock_us"][rows_N]).clamp(min=0) / US_PER_DAY
            value_NK = columns["counter"][rows_N] * torch.exp2(-passed_NK / self.half_lives_K)
            parts.append(torch.sign(value_NK) * torch.log1p(value_NK.abs()))
        if "time_us" in columns and self.view.of_kind("time"):
            time_NM = columns["time_us"][rows_N]
            missing_NM = time_NM < 0
            age_NM = (at_us[:, None] - time_NM).clamp(min=0) / US_PER_DAY
            parts += [torch.log1p(age_NM) * ~missing_NM, missing_NM]
        return torch.cat([part.to(self.half_lives_K.dtype) for part in parts], 1)


def padded(columns: Columns) -> Columns:
    """The columns, or one row of zeros where a view has no row yet, so that row 0 exists."""
    if next(iter(columns.values())).shape[0]:
        return columns
    return {name: column.new_zeros((1, *column.shape[1:])) for name, column in columns.items()}


def full_name(view: ViewSpec, field: FieldSpec) -> str:
    """ "view.field"."""
    return f"{view.name}.{field.name}"


def vocabulary_of(view: ViewSpec, field: FieldSpec) -> str:
    """The vocabulary of a categorical or sequence field; by default one of its own."""
    return field.vocabulary or full_name(view, field)


def dims_of(view: ViewSpec, field: FieldSpec) -> int:
    """Length of an embedding; the encoder's schema knows it even where the registry does not."""
    if field.dims is None:
        raise ValueError(
            f"embedding '{full_name(view, field)}' has no known length; build the model from the "
            "schema of a fitted encoder (encoder.feature_schema)"
        )
    return field.dims


def vocabularies_of(schema: FeatureSchema) -> set[str]:
    """Names of the vocabularies that the fields of a schema use."""
    return {
        vocabulary_of(view, field)
        for view in schema.views
        for field in (*view.of_kind("categorical"), *view.of_kind("sequence"))
    }


def module_name(name: str) -> str:
    """A name that torch accepts for a submodule: it refuses dots."""
    return name.replace(".", "/")
