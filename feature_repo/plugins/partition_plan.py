"""How a retrieval is cut up: pieces of each view, partitions, rows of a shard.

In: view requests and settings. Out: one plan a view, from the sources' Parquet footers only.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

import pyarrow as pa

from feature_repo.plugins.entity_frame import EntityFrame
from feature_repo.plugins.feature_rows import FeatureRows
from feature_repo.plugins.partitions import LabelSide, RowSide
from feature_repo.plugins.source_pieces import Piece, cut_source
from feature_repo.plugins.source_table import check_columns, open_source
from feature_repo.plugins.view_request import ViewRequest

_MB = 10**6
WHOLE_BYTES = 64 * _MB
"""A view up to here is not split: sorting it for each shard is cheaper than moving labels."""
PARTITION_BYTES = 256 * _MB
"""Of a view's columns, as Parquet encodes them; a worker's memory holds some times that."""
MEMORY_PER_BYTE = 8
"""Memory of a join for a byte of Parquet: decoded, sorted, and copied once."""
MOST_PARTITIONS = 256
"""Every shard has a result from each partition; more of them would be many and tiny."""
PIECE_BYTES = 64 * _MB
SHARD_BYTES = 256 * _MB
"""Of a shard's rows, as Parquet encodes them, nothing shared between rows."""
SHARD_ROWS = (10_000, 4_000_000)
LABEL_BYTES = 64
"""Guess of an entity row."""


@dataclass(frozen=True)
class PartitionOptions:
    """Settings of a partitioned join; PointInTimeOfflineStoreConfig says what they mean."""

    partitions: int | None
    shard_rows: int | None
    shard_dir: str | None
    spill_dir: str | None
    created_cutoff: bool
    memory_bytes: int | None = None
    """Of one task."""

    def at_most(self, size: int) -> int:
        """A size in Parquet bytes, or less where the memory limit asks for it."""
        return min(size, (self.memory_bytes or sys.maxsize) // MEMORY_PER_BYTE)


@dataclass(frozen=True)
class ViewPlan:
    """One view's part in a retrieval."""

    request: ViewRequest
    side: RowSide
    key_types: tuple[pa.DataType, ...]
    pieces: list[Piece]
    num_partitions: int
    features: FeatureRows
    """For whoever asks for pointers: the rows that they point to."""

    def labels(self, frame: EntityFrame) -> LabelSide:
        """The other side; ValueError if the frame lacks a key."""
        columns = [column for _, column in self.request.keys]
        for column in columns:
            frame.key(column, self.request.name)
        return LabelSide(tuple(zip(columns, self.key_types, strict=True)), frame.time_column)

    @property
    def num_rows(self) -> int:
        return sum(piece.num_rows for piece in self.pieces)

    @property
    def row_bytes(self) -> float:
        """Of a row of the columns read."""
        return sum(piece.num_bytes for piece in self.pieces) / max(self.num_rows, 1)


def plan_view(
    request: ViewRequest, repo_path: str, options: PartitionOptions, num_cpus: int, pointers: bool
) -> ViewPlan:
    """pointers: row numbers are wanted in place of features."""
    what = f"view '{request.name}'"
    dataset = open_source(request.source, repo_path)
    check_columns(dataset, request.source_columns, what)
    # From here on the files may not change: see FeatureRows and Piece.
    features = FeatureRows(dataset, request.features, what, options.spill_dir)
    side = RowSide(
        view=request.name,
        keys=tuple(column for column, _ in request.keys),
        at=request.time_column,
        created=request.created_column,
        features=() if pointers else tuple(column for column, _ in request.features),
        ttl=request.ttl,
        created_cutoff=options.created_cutoff,
    )
    pieces = cut_source(dataset, side.columns, options.at_most(PIECE_BYTES))
    types = tuple(dataset.schema.field(column).type for column in side.keys)
    partitions = num_partitions(side, pieces, options, num_cpus)
    return ViewPlan(request, side, types, pieces, partitions, features)


def num_partitions(
    side: RowSide, pieces: Sequence[Piece], options: PartitionOptions, num_cpus: int
) -> int:
    """As many as the settings want, else by size. A view without entity is never split."""
    if not side.keys:
        return 1
    if options.partitions:
        return options.partitions
    size = sum(piece.num_bytes for piece in pieces)
    if size <= options.at_most(WHOLE_BYTES):
        return 1
    return min(max(ceil(size / options.at_most(PARTITION_BYTES)), num_cpus), MOST_PARTITIONS)


def shard_rows(plans: Sequence[ViewPlan], options: PartitionOptions) -> int:
    """Rows of a shard: as the settings want, else as many as make SHARD_BYTES."""
    if options.shard_rows:
        return options.shard_rows
    row_bytes = LABEL_BYTES + sum(plan.row_bytes for plan in plans)
    least, most = SHARD_ROWS
    return min(max(int(options.at_most(SHARD_BYTES) / row_bytes), least), most)


def memory_needed(requests: Sequence[ViewRequest], repo_path: str) -> int:
    """Bytes to join the largest of the views in memory, by the sources' footers."""
    sizes = [0]
    for request in requests:
        dataset = open_source(request.source, repo_path)
        pieces = cut_source(dataset, request.source_columns, PIECE_BYTES)
        sizes.append(sum(piece.num_bytes for piece in pieces))
    return max(sizes) * MEMORY_PER_BYTE
