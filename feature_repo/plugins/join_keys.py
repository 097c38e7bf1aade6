"""Join keys of any type and number as one integer a row, so that the join compares integers only.

In: the key columns of labels and of a view. Out: int64 codes; equal codes mean equal keys. A label
whose key the view lacks is known before the join. Codes of labels are made a slice at a time: of a
hundred million labels nothing is held but the columns given.
"""

# Shapes: n labels, m view rows, s labels of a slice

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from feature_repo.plugins.as_of import NO_KEY, Column, Integers, last_places


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

    labels: Column
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
    >>> codes.labels[0:3].tolist(), codes.rows.tolist()
    ([1, -1, -1], [0, 1])
    """
    if not columns:
        return Codes(np.zeros(num_labels, np.int64), np.zeros(num_rows, np.int64), 1)
    return reduce(_paired, (_encode_column(column) for column in columns))


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


def _encode_column(column: KeyColumn) -> Codes:
    rows = column.rows
    labels = comparable(column.labels, rows.type, column.name)
    if pa.types.is_int64(rows.type) and len(rows) > rows.null_count:
        ends = pc.min_max(rows).as_py()
        first, last = ends["min"], ends["max"]
        # Numbers that lie close together are their own codes.
        if last - first <= 4 * (len(rows) + len(labels)):
            return Codes(
                Offsets(labels, first, last), Offsets(rows, first, last)[:], last - first + 1
            )
    if not pa.types.is_dictionary(rows.type):
        labels, rows = labels.dictionary_encode(), rows.dictionary_encode()
    known = rows.dictionary
    codes = pc.index_in(labels.dictionary, value_set=known, skip_nulls=True)
    return Codes(
        Names(np.append(_filled(codes), NO_KEY), _filled(labels.indices)),
        _filled(rows.indices).astype(np.int64),
        max(len(known), 1),
    )


def _paired(one: Codes, other: Codes) -> Codes:
    """Codes of pairs of keys: their places among the pairs that the view has."""
    pairs = Pairs(one.rows, other.rows, other.size, None)[:]
    known, places = np.unique(pairs, return_inverse=True)
    if len(known) and known[0] == NO_KEY:
        known, places = known[1:], places - 1  # NO_KEY is -1, too
    return Codes(Pairs(one.labels, other.labels, other.size, known), places, max(len(known), 1))


@dataclass(frozen=True)
class Offsets:
    """Whole numbers counted from `first`; NO_KEY for null and for what lies outside."""

    values: pa.Array
    first: int
    last: int

    def __getitem__(self, part: slice, /) -> Integers:
        """[s]"""
        values = self.values[part]
        numbers = values.fill_null(self.first) if values.null_count else values
        numbers = numbers.to_numpy()
        # Outside, the difference might not fit.
        offsets: Integers = np.clip(numbers, self.first, self.last) - self.first
        offsets[(numbers < self.first) | (numbers > self.last)] = NO_KEY
        if values.null_count:
            offsets[values.is_null().to_numpy(zero_copy_only=False)] = NO_KEY
        return offsets


@dataclass(frozen=True)
class Names:
    """Values as numbers of names, each of which has a code."""

    codes: npt.NDArray[np.int32]
    """By number; behind the last one NO_KEY, which is what -1 takes."""
    numbers: npt.NDArray[np.int32]
    """[n], -1 for null."""

    def __getitem__(self, part: slice, /) -> Integers:
        """[s]"""
        return self.codes[self.numbers[part]].astype(np.int64)


@dataclass(frozen=True)
class Pairs:
    """Pairs of keys as one number, or as its place among the `known` ones."""

    one: Column
    other: Column
    other_size: int
    known: Integers | None
    """Ascending."""

    def __getitem__(self, part: slice, /) -> Integers:
        """[s]: NO_KEY where either is, or where the pair is not known."""
        one, other = self.one[part], self.other[part]
        pairs = np.where((one == NO_KEY) | (other == NO_KEY), NO_KEY, one * self.other_size + other)
        if self.known is None:
            return pairs
        if not len(self.known):
            return np.full_like(pairs, NO_KEY)
        place = last_places(self.known, pairs)
        return np.where((place >= 0) & (self.known[place] == pairs), place, NO_KEY)


def _filled(numbers: pa.Array) -> npt.NDArray[np.int32]:
    filled: npt.NDArray[np.int32] = (
        numbers.fill_null(NO_KEY) if numbers.null_count else numbers
    ).to_numpy()
    return filled


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
