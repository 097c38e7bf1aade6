"""Labels and feature views for the join benchmark, as Parquet: seeded, uniform, no ties.

In: a JoinSize. Out: a folder with `labels.parquet` and one file a view. Instants are microseconds
in UTC over the year 2024; every key is as likely as any other. Written in chunks, so that memory
stays small at any size.
"""

# Shapes: n rows of one chunk

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, PositiveInt

Integers = npt.NDArray[np.int64]

KEY, TIME = "user_id", "event_timestamp"
NUM_FEATURES = 4
_START_US = 1_704_067_200_000_000  # 2024-01-01 in UTC
_YEAR_US = 366 * 86_400_000_000
_CHUNK = 1_000_000
_ROW_GROUP = 122_880  # DuckDB's own choice: smaller groups cost it time, larger ones a thread


class JoinSize(BaseModel):
    """One size of the join. Equal sizes are equal data."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    labels: PositiveInt
    rows: PositiveInt
    """Feature rows of each view."""
    keys: PositiveInt
    views: PositiveInt
    key_type: Literal["string", "int"] = "string"
    order: Literal["time", "random"] = "time"
    """Of the rows in the files and of the labels. An event log is in the order of time."""
    wide: int = 0
    """Width of a float32 embedding view beside the others; 0: none."""
    seed: int = 0

    @property
    def view_names(self) -> list[str]:
        """The narrow views; the wide one is named "wide"."""
        return [f"view_{number}" for number in range(self.views)]


class JoinData(BaseModel):
    """A written data set and the views of it that a join is to use."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    folder: Path
    size: JoinSize
    views: tuple[str, ...]

    @property
    def label_path(self) -> Path:
        return self.folder / "labels.parquet"

    def labels(self) -> pa.Table:
        """The labels in memory, each column in one chunk."""
        return pq.read_table(self.label_path).combine_chunks()

    def path(self, view: str) -> Path:
        """The Parquet file of a view."""
        return self.folder / f"{view}.parquet"

    def features(self, view: str) -> list[str]:
        """Feature columns of a view; no two views share a name."""
        return feature_names(view)

    def result_columns(self) -> list[str]:
        """What a wide result has: key, time, and every view's features."""
        return [KEY, TIME, *(name for view in self.views for name in self.features(view))]


def feature_names(view: str) -> list[str]:
    """The columns of a view beside its key and time."""
    if view == "wide":
        return ["embedding"]
    return [f"{view}_f{number}" for number in range(NUM_FEATURES)]


def write_data(folder: Path, size: JoinSize) -> JoinData:
    """Write all files; `folder` must exist."""
    data = JoinData(folder=folder, size=size, views=tuple(size.view_names))
    _write(data.label_path, _chunks(size, "labels", size.labels))
    for view in data.views:
        _write(data.path(view), _chunks(size, view, size.rows))
    if size.wide:
        _write(data.path("wide"), _chunks(size, "wide", size.rows), row_group=20_000)
    return data


def codes(column: pa.ChunkedArray) -> Integers:
    """The number behind each id: 123 for 123 and for 'u0000123'."""
    if not pa.types.is_integer(column.type):
        column = pc.cast(pc.utf8_slice_codeunits(column, 1, 100), pa.int64())
    numbers: Integers = column.to_numpy()
    return numbers


def instants(column: pa.ChunkedArray) -> Integers:
    """Microseconds since 1970 of a time column with or without a zone (then UTC)."""
    zoned = pa.timestamp("us", column.type.tz)
    counts: Integers = pc.cast(pc.cast(column, zoned, safe=False), pa.int64()).to_numpy()
    return counts


def _chunks(size: JoinSize, table: str, num_rows: int) -> Iterator[pa.Table]:
    width = size.wide if table == "wide" else 0
    chunk = max(1, 40_000_000 // width) if width else _CHUNK
    for start in range(0, num_rows, chunk):
        n = min(chunk, num_rows - start)
        rng = np.random.default_rng([size.seed, *table.encode(), start])
        span = (start / num_rows, (start + n) / num_rows) if size.order == "time" else (0.0, 1.0)
        low, high = (int(_YEAR_US * share) for share in span)
        at = rng.integers(low, max(high, low + 1), n)
        columns = {
            KEY: _ids(rng.integers(0, size.keys, n), size.key_type),
            TIME: pa.array(
                _START_US + (np.sort(at) if size.order == "time" else at),
                pa.timestamp("us", tz="UTC"),
            ),
        }
        if table != "labels":
            columns |= _features(rng, table, n, width)
        yield pa.table(columns)


def _ids(numbers: Integers, key_type: str) -> pa.Array:
    if key_type == "int":
        return pa.array(numbers)
    digits = pc.utf8_lpad(pc.cast(pa.array(numbers), pa.string()), 7, "0")
    return pc.binary_join_element_wise("u", digits, "")


def _features(rng: np.random.Generator, view: str, n: int, width: int) -> dict[str, pa.Array]:
    if width:
        values = pa.array(rng.random(n * width, dtype=np.float32))
        offsets = pa.array(np.arange(0, (n + 1) * width, width, dtype=np.int32))
        return {"embedding": pa.ListArray.from_arrays(offsets, values)}
    return {name: pa.array(rng.random(n)) for name in feature_names(view)}


def _write(path: Path, chunks: Iterator[pa.Table], row_group: int = _ROW_GROUP) -> None:
    first = next(chunks)
    with pq.ParquetWriter(path, first.schema) as writer:
        writer.write_table(first, row_group_size=row_group)
        for chunk in chunks:
            writer.write_table(chunk, row_group_size=row_group)
