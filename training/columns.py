"""Arrow columns as numpy arrays, by the kind of the field.

In: one column of a feature table, chunked or sliced, of any type that fits its kind. Out: plain
arrays with one stated value in place of nulls. Nothing here was learned from data.
"""

from collections.abc import Callable
from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from training.schema import FieldSpec, ViewSpec

T = TypeVar("T")
MISSING_INSTANT = -1


class Lists(NamedTuple):
    """A column of lists, end to end: row r is values[starts[r] : starts[r] + lengths[r]]."""

    values: pa.Array
    starts: npt.NDArray[np.int64]
    lengths: npt.NDArray[np.int64]


def read(
    reader: Callable[[FieldSpec, pa.Array], T], view: ViewSpec, field: FieldSpec, table: pa.Table
) -> T:
    """Read a field's column; ValueError names the field when Arrow cannot make the type of it."""
    column = table.column(field.name)
    try:
        return reader(field, column.combine_chunks())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise ValueError(
            f"field '{field.name}' of view '{view.name}' is of kind '{field.kind}' and came as "
            f"{column.type}, which cannot be read as such: {error}"
        ) from error


def numeric_values(field: FieldSpec, column: pa.Array) -> npt.NDArray[np.float64]:
    """Values [R], NaN for null; counts as sign(x) * log(1 + |x|), as they differ by factors."""
    values = np.asarray(pc.cast(column, pa.float64(), safe=False).to_numpy(zero_copy_only=False))
    return signed_logarithm(values) if field.logarithmic else values


def signed_logarithm(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The logarithm of counts that may be zero or negative."""
    return np.sign(values) * np.log1p(np.abs(values))


def counter_values(field: FieldSpec, column: pa.Array) -> npt.NDArray[np.float32]:
    """Counts [R] as they are, 0 for null and for what is not finite."""
    values = np.asarray(pc.cast(column, pa.float32(), safe=False).to_numpy(zero_copy_only=False))
    return finite_or_zero(values)


def finite_or_zero(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """The values, 0 for what is not finite."""
    return np.where(np.isfinite(values), values, np.float32(0))


def instant_values(field: FieldSpec, column: pa.Array) -> npt.NDArray[np.int64]:
    """Microseconds since 1970 [R], -1 for null, from timestamps or integers that are so already."""
    if pa.types.is_timestamp(column.type):
        column = pc.cast(column, pa.timestamp("us", column.type.tz), safe=False)
    instants = pc.fill_null(pc.cast(column, pa.int64(), safe=False), MISSING_INSTANT)
    return np.asarray(instants.to_numpy(zero_copy_only=False))


def name_values(field: FieldSpec, column: pa.Array) -> pa.Array:
    """Strings [R], nulls kept; numbers and booleans are written out."""
    return pc.cast(column, pa.large_string())


def name_lists(field: FieldSpec, column: pa.Array) -> Lists:
    """Lists of strings [R]."""
    return flatten(column, pa.large_string())


def vector_lists(field: FieldSpec, column: pa.Array) -> Lists:
    """Lists of float32 [R]."""
    return flatten(column, pa.float32())


def flatten(column: pa.Array, values: pa.DataType) -> Lists:
    """Lists of any size as values end to end; null counts as empty, whatever its slot holds."""
    lists = pc.cast(column, pa.large_list(values), safe=False)
    lengths = np.asarray(pc.fill_null(pc.list_value_length(lists), 0), np.int64)
    return Lists(lists.flatten(), np.cumsum(lengths) - lengths, lengths)
