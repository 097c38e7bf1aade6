"""Numbers for names: item ids, categories, keywords.

In: Arrow strings. Out: int64 numbers, 1 and up for known names, 0 for null and unknown ones. A
vocabulary is fitted on training-period values only and saved inside the encoder.
"""

from collections.abc import Iterable
from functools import cached_property
from typing import Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict, field_validator

# Below this many values a dictionary look-up beats Arrow, which builds a hash table of the whole
# vocabulary at each call: 10,000 names cost it 0.5 ms, a third of a request's budget for encoding.
FEW_VALUES = 5_000


class Vocabulary(BaseModel):
    """An ordered set of names; a name's number is its place, counted from 1."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    names: tuple[str, ...]

    @field_validator("names")
    @classmethod
    def each_once(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(names)) != len(names):
            raise ValueError("a vocabulary names something twice")
        return names

    @classmethod
    def count(cls, columns: Iterable[pa.Array], min_count: int, max_size: int) -> Self:
        """Names of the columns that occur at least `min_count` times, the most frequent first.

        Ties are ordered by name, so the result does not depend on the order of rows.
        """
        counts: dict[str, int] = {}
        for column in columns:
            for pair in pc.value_counts(column.drop_null()).to_pylist():
                counts[pair["values"]] = counts.get(pair["values"], 0) + pair["counts"]
        kept = sorted(
            (name for name, count in counts.items() if count >= min_count),
            key=lambda name: (-counts[name], name),
        )
        return cls(names=tuple(kept[:max_size]))

    def __len__(self) -> int:
        return len(self.names)

    @cached_property
    def numbers(self) -> dict[str, int]:
        """Number of each name."""
        return {name: number for number, name in enumerate(self.names, start=1)}

    @cached_property
    def _arrow(self) -> pa.Array:
        return pa.array(self.names, pa.large_string())

    def lookup(self, values: pa.Array) -> npt.NDArray[np.int64]:
        """Numbers of the values [n]: 0 for null and for names that are not in the vocabulary."""
        if len(values) <= FEW_VALUES:
            known = (self.numbers.get(value, 0) for value in values.to_pylist())
            return np.fromiter(known, np.int64, len(values))
        found = pc.index_in(values.cast(pa.large_string()), value_set=self._arrow)
        return np.asarray(pc.fill_null(found, -1)).astype(np.int64) + 1
