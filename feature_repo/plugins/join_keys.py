"""Join keys of any type and number as one integer a row, so that the join compares integers only.

In: the key columns of labels and of a view. Out: int64 codes; equal codes mean equal keys. A label
whose key the view lacks is known before the join.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from feature_repo.plugins.as_of import NO_KEY, Integers


@dataclass(frozen=True)
class KeyColumn:
    """One join key on both sides, as `plain_keys` yields them."""

    name: str
    """What to call it in an error."""
    labels: pa.Array
    rows: pa.Array


@dataclass(frozen=True)
class Codes:
    """Join keys of both sides as numbers."""

    labels: Integers
    """[n]: NO_KEY where a key is null or the view has no such key."""
    rows: Integers
    """[m]: NO_KEY where a key is null."""
    size: int
    """Every code is below."""


def encode_keys(columns: Sequence[KeyColumn], num_labels: int, num_rows: int) -> Codes:
    """Codes of labels [num_labels] and view rows [num_rows].

    No column: all share one code, which is a view without entity.

    >>> asked, known = (plain_keys(pa.chunked_array([x])) for x in (["b", "z", None], ["a", "b"]))
    >>> codes = encode_keys([KeyColumn("user", asked, known)], 3, 2)
    >>> codes.labels.tolist(), codes.rows.tolist()
    ([1, -1, -1], [0, 1])
    """
    if not columns:
        return Codes(np.zeros(num_labels, np.int64), np.zeros(num_rows, np.int64), 1)
    codes, *others = (_encode_column(column) for column in columns)
    for other in others:
        codes = _combined(codes, other)
    return codes


def plain_keys(column: pa.ChunkedArray) -> pa.Array:
    """A key column in one chunk and one type of whole numbers; text as a dictionary of its names.

    Done once for a column that is compared with several views, it saves hashing the text again.
    """
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if _is_text(kind):
        return _named(column)
    values = column.combine_chunks()
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    if pa.types.is_integer(kind) and not pa.types.is_uint64(kind):
        return values.cast(pa.int64())
    return values


def _combined(one: Codes, other: Codes) -> Codes:
    """Codes of pairs of keys."""
    labels, rows = (
        np.where((a == NO_KEY) | (b == NO_KEY), NO_KEY, a * other.size + b)
        for a, b in ((one.labels, other.labels), (one.rows, other.rows))
    )
    codes = Codes(labels, rows, one.size * other.size)
    if codes.size <= _sparse(len(rows), len(labels)):
        return codes
    # Small again, so that a third key fits.
    return _by_first_place(*(pa.array(side, mask=side == NO_KEY) for side in (labels, rows)))


def _encode_column(column: KeyColumn) -> Codes:
    rows = column.rows
    labels = comparable(column.labels, rows.type, column.name)
    if pa.types.is_int64(rows.type) and len(rows) > rows.null_count:
        ends = pc.min_max(rows).as_py()
        first, last = ends["min"], ends["max"]
        if last - first < _sparse(len(rows), len(labels)):
            # Numbers that lie close together are their own codes.
            return Codes(
                _offsets(labels, first, last), _offsets(rows, first, last), last - first + 1
            )
    return _by_first_place(labels, rows)


def _sparse(num_rows: int, num_labels: int) -> int:
    """Codes from here on are too far apart to be worth no hashing."""
    return 4 * (num_rows + num_labels) + 1


def _offsets(values: pa.Array, first: int, last: int) -> Integers:
    """Whole numbers counted from `first`; NO_KEY for null and for what lies outside."""
    numbers = values.fill_null(first).to_numpy()
    inside = (numbers >= first) & (numbers <= last)
    if values.null_count:
        inside &= values.is_valid().to_numpy(zero_copy_only=False)
    # Outside, the difference might not fit.
    offsets: Integers = np.clip(numbers, first, last) - first
    offsets[~inside] = NO_KEY
    return offsets


def _by_first_place(labels: pa.Array, rows: pa.Array) -> Codes:
    """Codes of values by their first place among the rows."""
    if not pa.types.is_dictionary(rows.type):
        rows = rows.dictionary_encode()
    known = rows.dictionary
    if pa.types.is_dictionary(labels.type):
        of_name = pc.index_in(labels.dictionary, value_set=known, skip_nulls=True)
        found = of_name.take(labels.indices)
    else:
        found = pc.index_in(labels, value_set=known, skip_nulls=True)
    return Codes(_numbers(found), _numbers(rows.indices), max(len(known), 1))


def _numbers(codes: pa.Array) -> Integers:
    numbers: Integers = codes.fill_null(NO_KEY).to_numpy().astype(np.int64, copy=False)
    return numbers


def _named(column: pa.ChunkedArray) -> pa.Array:
    """Text as a dictionary of distinct names."""
    if pa.types.is_dictionary(column.type):
        values = column.unify_dictionaries().combine_chunks()
        names = values.dictionary
        if pa.types.is_string(names.type) and pc.count_distinct(names, mode="all") == pa.scalar(
            len(names)
        ):
            return values
        column = pa.chunked_array([values.dictionary_decode()])
    # Encoded chunk by chunk: more than 2 GB of text does not fit in one.
    return column.cast(pa.string()).dictionary_encode().unify_dictionaries().combine_chunks()


def comparable(labels: pa.Array, kind: pa.DataType, name: str) -> pa.Array:
    """Labels in the type of the view's key.

    Numbers widen and narrow if no value changes (pandas turns whole numbers with a gap into
    floats). Text and numbers are never compared: "7" and "07" would be two keys or one.
    """
    if labels.type == kind:
        return labels
    if pa.types.is_null(kind) or pa.types.is_null(labels.type):
        # A side without one known key: nothing can match.
        return pa.nulls(len(labels), kind)
    reason = ""
    if _is_number(labels.type) == _is_number(kind):
        try:
            return labels.cast(kind)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            reason = f": {error}"
    raise ValueError(
        f"join key '{name}' is {_shown(labels.type)} in the entity frame and {_shown(kind)} in "
        f"the view; convert one of them{reason}"
    )


def _shown(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _is_text(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    )


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))
