"""Signature: in what order the native code of a model takes and gives its tensors.

In: tokens and encoded rows, which have names. Out: flat lists of tensors, which is all that
compiled code knows; and back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Self

from pydantic import BaseModel, ConfigDict
from torch import Tensor

from training.projector import ViewBatch
from training.tokens import SideTokens

Batches = Mapping[str, ViewBatch]


class TokenNames(BaseModel):
    """Names within `SideTokens`, in the order of the tensors that code takes and gives."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    keys: tuple[str, ...]
    weights: tuple[str, ...]
    vectors: tuple[str, ...]

    @classmethod
    def of(cls, tokens: SideTokens) -> Self:
        return cls(
            keys=tuple(tokens.keys), weights=tuple(tokens.weights), vectors=tuple(tokens.vectors)
        )

    @property
    def num_tensors(self) -> int:
        return 3 + len(self.keys) + len(self.weights) + len(self.vectors)

    def flat(self, tokens: SideTokens) -> list[Tensor]:
        return [
            tokens.tokens,
            tokens.present,
            tokens.prior,
            *(tokens.keys[name] for name in self.keys),
            *(tokens.weights[name] for name in self.weights),
            *(tokens.vectors[name] for name in self.vectors),
        ]

    def tokens(self, tensors: Sequence[Tensor]) -> SideTokens:
        token, present, prior, *others = tensors
        rest = iter(others)
        return SideTokens(
            token,
            present,
            prior,
            keys={name: next(rest) for name in self.keys},
            weights={name: next(rest) for name in self.weights},
            vectors={name: next(rest) for name in self.vectors},
        )


class ColumnNames(BaseModel):
    """The columns of views, in the order of the tensors that code takes: those that hold anything,
    view by view, each with the numbers of rows."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    columns: dict[str, tuple[str, ...]]

    @classmethod
    def of(cls, batches: Batches) -> Self:
        return cls(
            columns={
                view: tuple(name for name, column in batch.columns.items() if column.numel())
                for view, batch in batches.items()
            }
        )

    def flat(self, batches: Batches) -> list[Tensor]:
        """The instants, which views share, come first."""
        found = [next(iter(batches.values())).at_us]
        for view, names in self.columns.items():
            batch = batches[view]
            found.append(batch.rows)
            found += [batch.columns[name] for name in names]
        return found

    def batches(self, tensors: Sequence[Tensor]) -> dict[str, ViewBatch]:
        rest = iter(tensors[1:])
        found = {}
        for view, names in self.columns.items():
            rows = next(rest)
            found[view] = ViewBatch({name: next(rest) for name in names}, rows, tensors[0])
        return found


class Signature(BaseModel):
    """What the packages take and give, and which models they fit."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    fits: str
    user_columns: ColumnNames
    item_columns: ColumnNames | None
    """Of the views that say something else at another instant; None where there are none."""
    user: TokenNames
    item: TokenNames
    prepared: TokenNames | None

    def flat_pair(self, user: SideTokens, item: SideTokens) -> list[Tensor]:
        return [*self.user.flat(user), *self.item.flat(item)]

    def split_pair(self, tensors: Sequence[Tensor]) -> tuple[SideTokens, SideTokens]:
        num = self.user.num_tensors
        return self.user.tokens(tensors[:num]), self.item.tokens(tensors[num:])

    def flat_items(self, prepared: SideTokens, batches: Batches) -> list[Tensor]:
        assert self.prepared is not None
        assert self.item_columns is not None
        return [*self.prepared.flat(prepared), *self.item_columns.flat(batches)]

    def split_items(self, tensors: Sequence[Tensor]) -> tuple[SideTokens, dict[str, ViewBatch]]:
        assert self.prepared is not None
        assert self.item_columns is not None
        num = self.prepared.num_tensors
        return self.prepared.tokens(tensors[:num]), self.item_columns.batches(tensors[num:])
