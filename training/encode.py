"""Feature row -> tensor: the one function, used by the training loop and by the server.

In: Arrow tables of a view's features, one row a feature row. Out: torch tensors, one row each, by
the kinds of the view's fields. An `Encoder` holds all that was learned from training-period rows
(vocabularies, means, lengths) and travels inside the bundle as JSON. Instants stay microseconds:
ages and decay depend on the moment of the label and are the model's business.
"""

# Shapes: R rows, L longest sequence, D length of an embedding

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from pydantic import BaseModel, ConfigDict, PositiveInt

from training.columns import (
    counter_values,
    finite_or_zero,
    instant_values,
    name_lists,
    name_values,
    numeric_values,
    read,
    vector_lists,
)
from training.fitting import (
    check_dims,
    count_names,
    embedding_dims,
    fields_of_kind,
    longest,
    with_dims,
)
from training.scaling import Scale
from training.schema import FeatureSchema, FieldSpec, ViewSpec
from training.vocabulary import Vocabulary

Array = npt.NDArray[np.float32] | npt.NDArray[np.int64]

Columns = dict[str, torch.Tensor]
"""Encoded rows of one view. Always there, with a column for each of the view's fields of that kind:

    numeric, numeric_missing   float32 [R, n]   z-scores, 0 where missing; 1 where missing
    counter, clock_us          float32, int64 [R, k]   raw counts; the instant of each, -1 missing
    time_us                    int64 [R, m]     microseconds since 1970, -1 missing
    categorical                int64 [R, c]     0 for missing and unknown

and one entry a field: `sequence:<field>` int64 [R, L], from the list's front, 0 for padding and
unknown; `embedding:<field>` float32 [R, D], zeros where missing. L and D differ by field.
"""

ITEM_VOCABULARY = "item"


class EncoderConfig(BaseModel):
    """How much the encoder may hold."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_sequence: PositiveInt = 50
    """Entries kept of a sequence, from its front (histories are newest first)."""
    min_count: PositiveInt = 2
    """Occurrences in training rows below which a name counts as unknown; items are exempt."""
    max_vocabulary: PositiveInt = 100_000
    """Names kept in a vocabulary, the most frequent ones; items are exempt."""


class Encoder(BaseModel):
    """What turns feature rows into tensors, fitted once and then fixed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    feature_schema: FeatureSchema
    """The views, every embedding with its length: what a model is built from."""
    vocabularies: dict[str, Vocabulary]
    scales: dict[str, Scale]
    """By "view.field", for numeric fields."""
    sequence_lengths: dict[str, PositiveInt]
    """L by "view.field": the longest in training rows, at most `max_sequence`."""
    empty_embeddings: tuple[str, ...]
    """Embeddings ("view.field") without a value in training rows: one column of zeros, and later
    values are not read, since a model that never saw a vector could only be confused by one."""

    @classmethod
    def fit(
        cls,
        schema: FeatureSchema,
        rows: Mapping[str, pa.Table],
        item_ids: Sequence[str],
        config: EncoderConfig | None = None,
    ) -> Self:
        """Fit on `rows` by view, all of them older than the end of the training period.

        `item_ids` are the items with a take-up in that period, each once; their order is the order
        of the item vocabulary.
        """
        config = config or EncoderConfig()
        missing = [view.name for view in schema.views if view.name not in rows]
        if missing:
            raise ValueError(f"no training rows were given for views: {', '.join(missing)}")
        dims = {
            path: embedding_dims(view, field, rows[view.name])
            for path, view, field in fields_of_kind(schema, "embedding")
        }
        counted = count_names(
            schema, rows, config.min_count, config.max_vocabulary, given=(ITEM_VOCABULARY,)
        )
        return cls(
            feature_schema=with_dims(schema, dims),
            vocabularies={ITEM_VOCABULARY: Vocabulary(names=tuple(item_ids)), **counted},
            scales={
                path: Scale.fit(read(numeric_values, view, field, rows[view.name]))
                for path, view, field in fields_of_kind(schema, "numeric")
            },
            sequence_lengths={
                path: longest(read(name_lists, view, field, rows[view.name]), config.max_sequence)
                for path, view, field in fields_of_kind(schema, "sequence")
            },
            empty_embeddings=tuple(path for path, found in dims.items() if found == 0),
        )

    @property
    def vocabulary_sizes(self) -> dict[str, int]:
        """Rows an embedding table needs for each vocabulary, number 0 (unknown) included."""
        return {name: len(vocabulary) + 1 for name, vocabulary in self.vocabularies.items()}

    def item_numbers(self, item_ids: Iterable[str]) -> npt.NDArray[np.int64]:
        """Numbers of items [n] as in sequences of items: 0 for items unknown in training."""
        return self.vocabularies[ITEM_VOCABULARY].lookup(pa.array(item_ids, pa.large_string()))

    def encode(self, view_name: str, table: pa.Table) -> Columns:
        """Encode a view's rows [R]; a row's tensors depend on that row alone.

        Null, NaN, infinite and unknown values are encoded as missing, never refused. ValueError
        where a column is missing or of a type that cannot be read, or an embedding has another
        length than in training.
        """
        view = self.feature_schema.view(view_name)
        absent = [field.name for field in view.inputs if field.name not in table.column_names]
        if absent:
            raise ValueError(
                f"rows of view '{view_name}' lack the columns {', '.join(absent)} "
                f"(have: {', '.join(table.column_names)})"
            )
        columns = {name: torch.from_numpy(array) for name, array in self.scalars(view, table)}
        for field in view.of_kind("sequence"):
            columns[f"sequence:{field.name}"] = torch.from_numpy(self.sequence(view, field, table))
        for field in view.of_kind("embedding"):
            columns[f"embedding:{field.name}"] = torch.from_numpy(self.vectors(view, field, table))
        return columns

    def scalars(self, view: ViewSpec, table: pa.Table) -> Iterator[tuple[str, Array]]:
        """Yield the tensors that hold one value a field, each under its name in `Columns`."""
        num_rows = table.num_rows
        numeric, counters = view.of_kind("numeric"), view.of_kind("counter")
        raw = [read(numeric_values, view, field, table) for field in numeric]
        scales = [self.scales[f"{view.name}.{field.name}"] for field in numeric]
        scores = [scale.apply(values) for scale, values in zip(scales, raw, strict=True)]
        yield "numeric", stack(scores, num_rows, np.float32)
        yield "numeric_missing", stack([~np.isfinite(v) for v in raw], num_rows, np.float32)
        counts = [read(counter_values, view, field, table) for field in counters]
        yield "counter", stack(counts, num_rows, np.float32)
        clocks = [view.field(str(field.clock)) for field in counters]
        instants = [read(instant_values, view, field, table) for field in clocks]
        yield "clock_us", stack(instants, num_rows, np.int64)
        times = [read(instant_values, view, field, table) for field in view.of_kind("time")]
        yield "time_us", stack(times, num_rows, np.int64)
        categories = [
            self.vocabularies[str(field.vocabulary)].lookup(read(name_values, view, field, table))
            for field in view.of_kind("categorical")
        ]
        yield "categorical", stack(categories, num_rows, np.int64)

    def sequence(self, view: ViewSpec, field: FieldSpec, table: pa.Table) -> npt.NDArray[np.int64]:
        """Numbers of a list's first entries [R, L], 0 behind its end."""
        lists = read(name_lists, view, field, table)
        numbers = self.vocabularies[str(field.vocabulary)].lookup(lists.values)
        place = np.arange(self.sequence_lengths[f"{view.name}.{field.name}"])
        filled = place < lists.lengths[:, None]
        encoded = np.zeros(filled.shape, np.int64)
        encoded[filled] = numbers[(lists.starts[:, None] + place)[filled]]
        return encoded

    def vectors(self, view: ViewSpec, field: FieldSpec, table: pa.Table) -> npt.NDArray[np.float32]:
        """An embedding's vectors [R, D], zeros for null and empty ones."""
        assert field.dims is not None, "an encoder's schema knows every embedding's length"
        encoded = np.zeros((table.num_rows, field.dims), np.float32)
        path = f"{view.name}.{field.name}"
        if path in self.empty_embeddings:
            return encoded
        lists = read(vector_lists, view, field, table)
        filled = lists.lengths > 0
        check_dims(path, lists.lengths[filled], field.dims)
        flat = np.asarray(lists.values.to_numpy(zero_copy_only=False), np.float32)
        encoded[filled] = flat.reshape(-1, field.dims)
        return finite_or_zero(encoded)

    def to_json(self) -> str:
        return self.model_dump_json()

    @classmethod
    def from_json(cls, text: str) -> Self:
        return cls.model_validate_json(text)

    def fingerprint(self) -> str:
        """Hash of everything the encoder holds, the same in every process."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:16]


def stack(columns: Sequence[npt.NDArray[Any]], num_rows: int, dtype: type) -> Array:
    """Columns side by side [R, number of columns], also where there are none."""
    if not columns:
        return np.zeros((num_rows, 0), dtype)
    return np.stack(columns, axis=1).astype(dtype)
