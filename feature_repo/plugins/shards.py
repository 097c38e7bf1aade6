"""The joined rows as Parquet shards: one file for each run of labels.

In: a run's labels and what they see of each view. Out: a file that is whole or absent, so that a
worker's work can be done again. Knows nothing of Ray or Feast.
"""

import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.fs
import pyarrow.parquet as pq

from feature_repo.plugins.as_of import NO_ROW
from feature_repo.plugins.partitions import Seen, combine

GROUP_ROWS = 1 << 15
"""Rows of a row group. Features are widened one group at a time: 50 MB of a 384-wide embedding."""


@dataclass(frozen=True)
class ViewColumns:
    """A view's part of a shard."""

    names: tuple[str, ...]
    """Of its features in the result."""
    num_partitions: int


@dataclass(frozen=True)
class Shard:
    """One file of the result."""

    path: str
    num_rows: int


def write_shard(
    folder: str,
    number: int,
    views: Sequence[ViewColumns],
    finish: Callable[[pa.Table], pa.Table] | None,
    labels: pa.Table,
    *seen: Seen,
) -> Shard:
    """Entity columns and, behind them, each view's features, for one run of labels.

    folder: a path or a URI that all nodes share. seen: the first view's partitions, then the
    second's, and so on. finish: last words on each row group, such as on-demand features.
    """
    parts = iter(seen)
    matched = [
        (view.names, *combine(labels.num_rows, [next(parts) for _ in range(view.num_partitions)]))
        for view in views
    ]
    filesystem, base = open_folder(folder)
    path = f"{base}/part-{number:05}.parquet"
    # In object storage a file appears when it is complete; elsewhere by its last name.
    local = filesystem.type_name == "local"
    target = f"{base}/.{number:05}-{uuid.uuid4().hex}.tmp" if local else path
    groups = _widened(labels, matched)
    if finish:
        groups = map(finish, groups)
    first = next(groups)
    with pq.ParquetWriter(target, first.schema, filesystem=filesystem) as writer:
        writer.write_table(first)
        for group in groups:
            writer.write_table(group)
    if local:
        filesystem.move(target, path)
    return Shard(path, labels.num_rows)


def open_folder(folder: str) -> tuple[pa.fs.FileSystem, str]:
    """File system of a path or a URI, and the path in it."""
    if "://" in folder:
        filesystem, path = pa.fs.FileSystem.from_uri(folder)
        return filesystem, path
    return pa.fs.LocalFileSystem(), folder


def _widened(
    labels: pa.Table, matched: Sequence[tuple[tuple[str, ...], npt.NDArray[np.int32], pa.Table]]
) -> Iterator[pa.Table]:
    """Row groups of the result, at least one, which may be empty."""
    for start in range(0, max(labels.num_rows, 1), GROUP_ROWS):
        part = slice(start, start + GROUP_ROWS)
        group = labels.slice(start, GROUP_ROWS)
        columns = dict(zip(group.column_names, group.columns, strict=True))
        for names, rows, features in matched:
            of_label = features.take(pa.array(rows[part], mask=rows[part] == NO_ROW))
            columns |= dict(zip(names, of_label.columns, strict=True))
        yield pa.table(columns)
