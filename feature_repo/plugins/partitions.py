"""One view's join in partitions by key: the steps of it, as functions of Arrow tables.

In: runs of labels and pieces of a view. Out: for each run of labels the rows that they see. Labels
and rows of one key meet in one partition, in their order, so all partitions together find what one
machine finds. Knows nothing of Ray, and nothing of Feast, whose import costs a worker seconds.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import accumulate
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from feature_repo.plugins.as_of import NO_ROW, Integers, Pointers
from feature_repo.plugins.instants import read_instants
from feature_repo.plugins.join_keys import KeyColumn, comparable, plain_keys
from feature_repo.plugins.keyed_join import KeyedJoin
from feature_repo.plugins.source_pieces import Piece

# Columns of a partition's tables, beside one column a key ("0", "1" ...).
AT = "at"
CREATED = "created"
NUMBER = "number"

_MIX = np.uint64(0x9E3779B97F4A7C15)  # odd, so that no bit of a composite key's hash is lost
_ONE_CPU = 1  # what Ray gives a task


@dataclass(frozen=True)
class LabelSide:
    """What a view is joined by, in the entity frame. Views alike in it share their labels."""

    keys: tuple[tuple[str, pa.DataType], ...]
    """(column, type of the view's key, in which both sides are compared)."""
    at: str


@dataclass(frozen=True)
class RowSide:
    """What a view is joined by and what of it is wanted, in the names of its source."""

    view: str
    keys: tuple[str, ...]
    at: str
    created: str | None
    features: tuple[str, ...]
    """Empty: the number of the row is what is wanted."""
    ttl: timedelta | None
    created_cutoff: bool

    @property
    def columns(self) -> list[str]:
        return [*self.keys, self.at, *([self.created] if self.created else []), *self.features]


@dataclass(frozen=True)
class Rows:
    """A view's rows in one partition, in file order."""

    join: pa.Table
    """Keys, `at` and, where rows carry it, `created`."""
    features: pa.Table
    """What labels are to get, by position: a feature's name may occur twice."""


@dataclass(frozen=True)
class Seen:
    """What the labels of one run see in one partition."""

    labels: npt.NDArray[np.int32]
    """Numbers within the run, of those that see a row [h]."""
    rows: npt.NDArray[np.int32]
    """The row of `features` that each of them sees [h]."""
    features: pa.Table
    """Each row once, however many labels see it."""


def split_labels(side: LabelSide, num_partitions: int, *runs: pa.Table) -> list[list[pa.Table]]:
    """For each partition one table a run: `number` within the run, keys, `at`."""
    split = [_split_run(side, num_partitions, run) for run in runs]
    return [list(tables) for tables in zip(*split, strict=True)]


def split_rows(side: RowSide, num_partitions: int, piece: Piece) -> list[Rows]:
    """The piece's rows, one Rows a partition."""
    table = piece.read(side.columns)
    keys = [plain_keys(table.column(name)) for name in side.keys]
    times = {AT: side.at} | ({CREATED: side.created} if side.created else {})
    join = _join_table(keys, {name: table.column(column) for name, column in times.items()})
    features = (
        pa.table([table.column(name) for name in side.features], _numbered(len(side.features)))
        if side.features
        else pa.table({NUMBER: piece.first_row + np.arange(table.num_rows, dtype=np.int64)})
    )
    places = (pa.array(rows) for rows in _partitions(keys, join, num_partitions))
    return [Rows(join.take(rows), features.take(rows)) for rows in places]


def match_partition(side: RowSide, num_labels: int, *parts: Any) -> list[Seen]:
    """What each run's labels see in one partition.

    parts: `num_labels` lists of the partition's label tables, one table a run, then its Rows.
    """
    runs: list[pa.Table] = [table for tables in parts[:num_labels] for table in tables]
    rows: Sequence[Rows] = parts[num_labels:]
    labels = pa.concat_tables(runs)
    join = pa.concat_tables([part.join for part in rows])
    features = pa.concat_tables([part.features for part in rows])
    found = _keyed_join(side, labels, join).match(threads=_ONE_CPU)
    ends = list(accumulate(run.num_rows for run in runs))
    return [
        _seen(run.column(NUMBER).to_numpy(), found[start:end], features)
        for run, start, end in zip(runs, [0, *ends[:-1]], ends, strict=True)
    ]


def combine(num_labels: int, seen: Sequence[Seen]) -> tuple[npt.NDArray[np.int32], pa.Table]:
    """Over all partitions: the row of the table that each label of a run sees, or -1."""
    rows = np.full(num_labels, NO_ROW, dtype=np.int32)
    first = 0
    for part in seen:
        rows[part.labels] = part.rows + first
        first += part.features.num_rows
    return rows, pa.concat_tables([part.features for part in seen])


def row_numbers(num_labels: int, *seen: Seen) -> Integers:
    """The number in its source of the row that each label of a run sees, or -1."""
    rows, features = combine(num_labels, seen)
    numbers = np.append(features.column(NUMBER).to_numpy(), NO_ROW)
    return numbers[rows]  # -1, no row, is the last of them


def _split_run(side: LabelSide, num_partitions: int, run: pa.Table) -> list[pa.Table]:
    keys = [
        comparable(plain_keys(run.column(name)), plain_keys(pa.chunked_array([], kind)).type, name)
        for name, kind in side.keys
    ]
    numbers = pa.array(np.arange(run.num_rows, dtype=np.int32))
    table = _join_table(keys, {AT: run.column(side.at), NUMBER: numbers})
    return [table.take(pa.array(rows)) for rows in _partitions(keys, table, num_partitions)]


def _join_table(keys: Sequence[pa.Array], others: dict[str, pa.ChunkedArray]) -> pa.Table:
    """Keys as columns "0", "1" ...; text in full, for a partition needs few names of a column's."""
    full = [key.dictionary_decode() if pa.types.is_dictionary(key.type) else key for key in keys]
    return pa.table(dict(zip(_numbered(len(keys)), full, strict=True)) | others)


def _partitions(keys: Sequence[pa.Array], table: pa.Table, number: int) -> list[Integers]:
    """Rows of each partition, ascending; one without a key or an instant is in none."""
    known = [table.column(name) for name in (*_numbered(len(keys)), AT)]
    valid = np.logical_and.reduce([column.is_valid().to_numpy() for column in known])
    rows = np.flatnonzero(valid)
    if number == 1:
        return [rows]
    home = (_hashes(keys)[rows] % np.uint64(number)).astype(np.uint16)
    ends = np.cumsum(np.bincount(home, minlength=number))[:-1]
    return np.split(rows[np.argsort(home, kind="stable")], ends)


def _hashes(keys: Sequence[pa.Array]) -> npt.NDArray[np.uint64]:
    """A hash of each row's keys that depends on their values only, whatever the process."""
    hashes, *others = (_hash(key) for key in keys)
    for other in others:
        hashes = hashes * _MIX + other
    return hashes


def _hash(key: pa.Array) -> npt.NDArray[np.uint64]:
    if pa.types.is_dictionary(key.type):
        of_name = pa.array(_hash(key.dictionary))
        hashes: npt.NDArray[np.uint64] = of_name.take(key.indices).fill_null(0).to_numpy()
        return hashes
    with duckdb.connect(config={"threads": _ONE_CPU}) as connection:
        connection.register("keys", pa.table({"key": key}))
        hashed = connection.execute("SELECT hash(key) AS hash FROM keys").fetchnumpy()
    return np.asarray(hashed["hash"])


def _keyed_join(side: RowSide, labels: pa.Table, rows: pa.Table) -> KeyedJoin:
    keys = [
        KeyColumn(name, plain_keys(labels.column(place)), plain_keys(rows.column(place)))
        for place, name in zip(_numbered(len(side.keys)), side.keys, strict=True)
    ]
    what = f"view '{side.view}'"
    return KeyedJoin(
        keys,
        read_instants(labels.column(AT), "the entity frame's time column"),
        read_instants(rows.column(AT), f"{what}, {side.at}"),
        read_instants(rows.column(CREATED), f"{what}, {side.created}") if side.created else None,
        side.ttl,
        side.created_cutoff,
    )


def _seen(labels: npt.NDArray[np.int32], found: Pointers, features: pa.Table) -> Seen:
    hit = found != NO_ROW
    once, rows = np.unique(found[hit], return_inverse=True)
    return Seen(labels[hit], rows.astype(np.int32), features.take(pa.array(once)))


def _numbered(count: int) -> list[str]:
    return [str(number) for number in range(count)]
