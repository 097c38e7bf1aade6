"""One row of plain values -> tensors: for the server, which encodes one user at a time.

In: a view's row as the online store gives it, Python values by field. Out: the `Columns` that
`Encoder.encode` makes of the same row as a table, bit for bit, in a fraction of the time, nearly
all of which goes into making and reading one-row Arrow arrays. A row with a value that is not of
its field's usual Python type takes the way of tables, which reads it or refuses it by name.
"""

# Shapes: F fields, L longest sequence, D length of an embedding

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch

from training.columns import MISSING_INSTANT, finite_or_zero, signed_logarithm
from training.encode import Columns, Encoder
from training.fitting import check_dims
from training.plain_rows import Row, one_row
from training.scaling import z_scores
from training.schema import Kind, ViewSpec

# The types of values that a field of each kind may have, and those within its lists.
NAME, NUMBER, REAL, INSTANT, LIST = (
    frozenset({*types, type(None)}) for types in ((str,), (float, int), (float,), (int,), (list,))
)
TYPES: dict[Kind, frozenset[type]] = {
    "categorical": NAME,
    "numeric": NUMBER,
    "counter": NUMBER,
    "clock": INSTANT,
    "time": INSTANT,
    "sequence": LIST,
    "embedding": LIST,
}
ENTRY_TYPES: dict[Kind, frozenset[type]] = {"sequence": NAME, "embedding": REAL}
# Arrow makes no float of a greater one.
GREATEST_INTEGER = 2**53


class RowEncoder:
    """Encodes one row at a time with what an encoder has learned."""

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        views = encoder.feature_schema.views
        self._views = {view.name: ViewEncoder(encoder, view) for view in views}

    def encode(self, view_name: str, row: Row) -> Columns:
        """Encode a view's row; what it lacks is missing.

        ValueError where a value is not of its field's kind or an embedding has another length than
        in training.
        """
        view = self._views[view_name]
        if view.is_plain(row):
            return view.encode(row)
        return self._encoder.encode(view_name, one_row(view.spec, row))


class ViewEncoder:
    """The fields of one view, with the scales and vocabularies that go with them."""

    def __init__(self, encoder: Encoder, spec: ViewSpec) -> None:
        self.spec = spec
        self._types = [(field.name, TYPES[field.kind]) for field in spec.inputs]
        self._entry_types = [
            (field.name, ENTRY_TYPES[field.kind])
            for field in spec.inputs
            if field.kind in ENTRY_TYPES
        ]
        numeric, counters = spec.of_kind("numeric"), spec.of_kind("counter")
        scales = [encoder.scales[f"{spec.name}.{field.name}"] for field in numeric]
        self._numeric = [field.name for field in numeric]
        self._is_logarithmic = np.array([field.logarithmic for field in numeric])
        self._means = np.array([scale.mean for scale in scales])
        self._stds = np.array([scale.std for scale in scales])
        self._counters = [field.name for field in counters]
        self._clocks = [str(field.clock) for field in counters]
        self._times = [field.name for field in spec.of_kind("time")]
        numbers: dict[str, Mapping[Any, int]] = {
            name: words.numbers for name, words in encoder.vocabularies.items()
        }
        self._categories = [
            (field.name, numbers[str(field.vocabulary)]) for field in spec.of_kind("categorical")
        ]
        self._sequences = [
            (
                field.name,
                numbers[str(field.vocabulary)],
                encoder.sequence_lengths[f"{spec.name}.{field.name}"],
            )
            for field in spec.of_kind("sequence")
        ]
        # Every column of a row without values; those of kinds that the view lacks have no entry
        # that could be written to, so that rows share them.
        blank = encoder.encode(spec.name, one_row(spec, {}))
        self._shared = {name: column for name, column in blank.items() if not column.numel()}
        self._embeddings = [
            (
                field.name,
                blank[f"embedding:{field.name}"].shape[1],
                f"{spec.name}.{field.name}" in encoder.empty_embeddings,
            )
            for field in spec.of_kind("embedding")
        ]

    def is_plain(self, row: Row) -> bool:
        """Whether every value is of its field's usual Python type."""
        for name, types in self._types:
            value = row.get(name)
            if type(value) not in types:
                return False
            if type(value) is int and abs(value) > GREATEST_INTEGER:
                return False
        return all(
            types.issuperset(map(type, entries(row, name))) for name, types in self._entry_types
        )

    def encode(self, row: Row) -> Columns:
        """Encode a plain row; ValueError where an embedding has another length than in training."""
        columns = dict(self._shared)
        if self._numeric:
            columns |= self._scores(row)
        if self._counters:
            with np.errstate(over="ignore"):  # a count beyond float32 is infinite, hence missing
                counts = reals(row, self._counters).astype(np.float32)
            columns["counter"] = as_row(finite_or_zero(counts))
            columns["clock_us"] = instants(row, self._clocks)
        if self._times:
            columns["time_us"] = instants(row, self._times)
        if self._categories:
            found = [numbers.get(row.get(name), 0) for name, numbers in self._categories]
            columns["categorical"] = torch.tensor([found])
        for name, numbers, length in self._sequences:
            front = [numbers.get(entry, 0) for entry in entries(row, name)[:length]]
            columns[f"sequence:{name}"] = torch.tensor([front + [0] * (length - len(front))])
        for name, dims, is_empty in self._embeddings:
            vector = [] if is_empty else entries(row, name)
            columns[f"embedding:{name}"] = self._vector(name, vector, dims)
        return columns

    def _scores(self, row: Row) -> Columns:
        """z-scores [1, F] of the numeric fields, and which of them are missing."""
        values = reals(row, self._numeric)
        values = np.where(self._is_logarithmic, signed_logarithm(values), values)
        return {
            "numeric": as_row(z_scores(values, self._means, self._stds)),
            "numeric_missing": as_row((~np.isfinite(values)).astype(np.float32)),
        }

    def _vector(self, name: str, values: Sequence[float | None], dims: int) -> torch.Tensor:
        """An embedding [1, D]."""
        if not values:
            return torch.zeros(1, dims)
        check_dims(f"{self.spec.name}.{name}", np.array([len(values)]), dims)
        vector = pa.array(values, pa.float32(), from_pandas=True)
        return as_row(finite_or_zero(vector.to_numpy(zero_copy_only=False)))


def entries(row: Row, name: str) -> list[Any]:
    """A list's entries, none for null."""
    return row.get(name) or []  # type: ignore[return-value]


def reals(row: Row, names: Sequence[str]) -> npt.NDArray[np.float64]:
    """Values [F], NaN for null."""
    return np.array([row.get(name) for name in names], np.float64)


def instants(row: Row, names: Sequence[str]) -> torch.Tensor:
    """Microseconds since 1970, int64 [1, F]."""
    values = [row.get(name) for name in names]
    return torch.tensor([[MISSING_INSTANT if value is None else value for value in values]])


def as_row(values: npt.NDArray[np.float32]) -> torch.Tensor:
    """Values [F] as a tensor [1, F]."""
    return torch.from_numpy(values[None])
