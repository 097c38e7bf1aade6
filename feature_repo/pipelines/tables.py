"""The five canonical tables, where they lie, and the facts about a data set that are not rows.

Every adapter's data ends up as these tables; every later stage starts from them. Ids are strings,
instants are UTC microseconds, files are Parquet. Nothing here reads raw data or computes features.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field


class DataError(ValueError):
    """Data or a command that is wrong and can be put right: shown without a traceback."""


INSTANT = pa.timestamp("us", tz="UTC")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

SCHEMAS: dict[str, pa.Schema] = {
    "users": pa.schema([("user_id", pa.string()), ("joined_at", INSTANT)]),
    "items": pa.schema(
        [
            ("item_id", pa.string()),
            ("title", pa.string()),  # never null: the id stands in where the source has none
            ("description", pa.string()),
            ("category", pa.string()),  # the primary one
            ("categories", pa.list_(pa.string())),  # all of them; empty, never null
            ("creator", pa.string()),  # brand, artist, author
            ("price", pa.float64()),
            ("available_at", INSTANT),  # never null: see clean.py for the policy
        ]
    ),
    "interactions": pa.schema(
        [
            ("event_id", pa.string()),
            ("user_id", pa.string()),
            ("item_id", pa.string()),
            ("action", pa.string()),  # play, rate, tag, view, buy, click, skip, ...
            ("value", pa.float64()),  # a rating or a count; null where the action has none
            ("timestamp", INSTANT),
            # A take-up: the user chose the item and did not dislike it.
            ("is_positive", pa.bool_()),
            # False: the source gave no time and `timestamp` is the instant of its snapshot. Such
            # rows serve published random-split protocols only, never features, labels, splits.
            ("timed", pa.bool_()),
        ]
    ),
    "edges": pa.schema(
        [
            ("source_id", pa.string()),
            ("target_id", pa.string()),
            ("kind", pa.string()),  # friend (stored both ways) or follow
            ("valid_from", INSTANT),  # 1970-01-01 where the source gave no time
            ("timed", pa.bool_()),
        ]
    ),
    "documents": pa.schema(
        [
            ("document_id", pa.string()),
            ("user_id", pa.string()),
            ("item_id", pa.string()),
            ("kind", pa.string()),  # tag, review, title, description, post
            ("text", pa.string()),
            ("timestamp", INSTANT),
        ]
    ),
}

QUARANTINE_SCHEMA = pa.schema(
    [
        ("table", pa.string()),
        ("reason", pa.string()),
        ("source_file", pa.string()),
        ("line", pa.int64()),
        ("row", pa.string()),  # the rejected row as JSON
    ]
)


def table_path(data_dir: Path, name: str) -> Path:
    """Where a canonical table of the data set in `data_dir` lies."""
    return data_dir / "tables" / f"{name}.parquet"


def quarantine_path(data_dir: Path, name: str) -> Path:
    """Where the rejected rows of a canonical table lie."""
    return data_dir / "quarantine" / f"{name}.parquet"


def feature_path(data_dir: Path, view: str) -> Path:
    """Where the rows of a feature view lie."""
    return data_dir / "features" / f"{view}.parquet"


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` that takes its place on success and vanishes on failure."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text_atomic(text: str, path: Path) -> None:
    """Write UTF-8 text so that a reader sees the old file or the new one, never half of one."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_table_atomic(rows: pa.Table | pa.RecordBatchReader, path: Path) -> int:
    """Write a table, or a stream of batches in bounded memory, as Parquet; return the row count."""
    num_rows = 0
    batches = rows.to_batches(max_chunksize=131_072) if isinstance(rows, pa.Table) else rows
    with (
        atomic_path(path) as temporary,
        pq.ParquetWriter(temporary, rows.schema, compression="zstd") as writer,
    ):
        for batch in batches:
            if batch.num_rows:
                writer.write_batch(batch)
            num_rows += batch.num_rows
    return num_rows


def _to_utc(instant: datetime) -> datetime:
    return instant.astimezone(UTC)


Instant = Annotated[AwareDatetime, AfterValidator(_to_utc)]


class DatasetInfo(BaseModel):
    """`dataset.json`: what a data set is, when it begins and ends, and where its time splits lie.

    An event before `train_end_at` is training data, one before `validation_end_at` validation,
    any later one test.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    source: str
    """Where the rows come from, in words for people."""
    time_resolution: str
    """exact, day, month, or order (the source gave the order of events and no time)."""
    first_event_at: Instant
    last_event_at: Instant
    train_end_at: Instant
    validation_end_at: Instant
    seed: int | None = None
    notes: list[str] = Field(default_factory=list)
    """Decisions about this data that a reader of the figures should know."""

    @classmethod
    def read(cls, data_dir: Path) -> "DatasetInfo":
        """Read `dataset.json` of a data set folder; a missing one is a `DataError`."""
        path = data_dir / "dataset.json"
        if not path.is_file():
            raise DataError(
                f"{path} does not exist; build a data set with "
                f"`python -m feature_repo.pipelines.build --dataset NAME --out {data_dir}`"
            )
        return cls.model_validate_json(path.read_text(encoding="utf-8"))

    def write(self, data_dir: Path) -> None:
        """Write `dataset.json` into a data set folder, atomically."""
        write_text_atomic(self.model_dump_json(indent=2) + "\n", data_dir / "dataset.json")
