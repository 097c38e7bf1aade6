"""Join keys of any type and number as one integer a row, so that the join compares integers only.

In: the key columns of labels and of a view. Out: int64 codes; equal codes mean equal keys. Half the
join's time against text keys, and a label whose key the view lacks is known before the join.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


@dataclass(frozen=True)
class KeyColumn:
    """One join key, on both sides."""

    name: str
    """What to call it in an error."""
    labels: pa.ChunkedArray
    rows: pa.ChunkedArray


def encode_keys(
    columns: Sequence[KeyColumn], num_labels: int, num_rows: int
) -> tuple[pa.Array, pa.Array]:
    """Codes of labels [num_labels] and of view rows [num_rows], int64.

    Null where a key is null and, for a label, where the view has no such key. No column: all
    share one code, which is a view without entity.

    >>> asked, known = pa.chunked_array([["b", "z", None]]), pa.chunked_array([["a", "b"]])
    >>> labels, rows = encode_keys([KeyColumn("user", asked, known)], 3, 2)
    >>> labels.to_pylist(), rows.to_pylist()
    ([1, None, None], [0, 1])
    """
    labels, rows = pa.array(np.zeros(num_labels, np.int64)), pa.array(np.zeros(num_rows, np.int64))
    for column in columns:
        of_labels, of_rows, size = _encode_column(column)
        # Codes so far stay below num_rows, so the product of two fits easily.
        labels = pc.add(pc.multiply(labels, size), of_labels)
        rows = pc.add(pc.multiply(rows, size), of_rows)
        if len(columns) > 1:
            labels, rows, _ = _codes(labels, rows)
    return labels, rows


def _encode_column(column: KeyColumn) -> tuple[pa.Array, pa.Array, int]:
    labels, rows = _plain(column.labels), _plain(column.rows)
    return _codes(_comparable(labels, rows.type, column.name), rows)


def _codes(labels: pa.Array, rows: pa.Array) -> tuple[pa.Array, pa.Array, int]:
    """Codes of values by first place among the rows, and how many there are."""
    encoded = rows.dictionary_encode()
    found = pc.index_in(labels, value_set=encoded.dictionary, skip_nulls=True)
    size = max(len(encoded.dictionary), 1)
    return found.cast(pa.int64()), encoded.indices.cast(pa.int64()), size


def _plain(column: pa.ChunkedArray) -> pa.Array:
    """One chunk; dictionaries (pandas categories) as what they stand for; one type of text and of
    whole numbers."""
    values = column.combine_chunks()
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    if pa.types.is_large_string(values.type) or pa.types.is_string_view(values.type):
        return values.cast(pa.string())
    if pa.types.is_integer(values.type) and not pa.types.is_uint64(values.type):
        return values.cast(pa.int64())
    return values


def _comparable(labels: pa.Array, kind: pa.DataType, name: str) -> pa.Array:
    """Labels in the type of the view's key.

    Numbers widen and narrow if no value changes (pandas turns whole numbers with a gap into
    floats). Text and numbers are never compared: "7" and "07" would be two keys or one.
    """
    if labels.type == kind:
        return labels
    if pa.types.is_null(kind) or pa.types.is_null(labels.type):
        # A side without one known key: nothing can match.
        return pa.nulls(len(labels), kind)
    if _is_number(labels.type) == _is_number(kind):
        try:
            return labels.cast(kind)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            reason = f": {error}"
    else:
        reason = ""
    raise ValueError(
        f"join key '{name}' is {labels.type} in the entity frame and {kind} in the view; convert "
        f"one of them{reason}"
    )


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))
