"""The door through which adapters hand over raw rows, as yet unchecked.

An adapter parses its source and calls `write` chunk by chunk; the rows wait in staging Parquet
files, so memory stays bounded. Rows that cannot even be parsed go to `reject`. All judgement about
types, bounds, duplicates and unknown ids is in clean.py.
"""

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, Field

from feature_repo.pipelines.tables import EPOCH, QUARANTINE_SCHEMA, SCHEMAS, Instant

# Where a raw row came from; optional columns of a chunk, shown in the quarantine.
ORIGIN_COLUMNS = {"source_file", "line"}
REJECTS_PER_BATCH = 10_000


class RawInfo(BaseModel):
    """What an adapter knows about its source as a whole."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source_text: str
    """Where the rows come from, in words for people."""
    time_resolution: str
    """exact, day, month, or order."""
    snapshot_at: Instant | None = None
    """When the source was taken: later instants are impossible. None: the time of the build."""
    floor_at: Instant = EPOCH
    """Earlier instants are impossible."""
    value_bounds: dict[str, tuple[float, float]] = Field(default_factory=dict)
    """Lowest and highest allowed `value` of an action, both included."""
    train_fraction: float = 0.7
    """Share of take-ups to train on unless the build says otherwise. A fifth is left to test on:
    intervals over users are as wide as the test period has few of them."""


class RawSink:
    """Staging area for one build: `<folder>/<table>/<n>.parquet` and `<folder>/rejected.parquet`.

    A chunk's columns are a subset of the canonical ones (`SCHEMAS`) plus, if known, `source_file`
    (text) and `line` (integer). Types may be loose: any column may be text, `categories` may be a
    list of text, instants may be timestamps, ISO 8601 text (UTC where no offset is given) or
    numbers (seconds since 1970). Nulls are allowed. A table never written is derived from the
    others where that is possible (users, items); one written with no rows is an error later.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.notes: list[str] = []
        self.num_rows: Counter[str] = Counter()
        self.num_rejected: Counter[tuple[str, str]] = Counter()
        self._writers: dict[tuple[str, pa.Schema], pq.ParquetWriter] = {}
        self._rejected: list[dict[str, object]] = []
        folder.mkdir(parents=True, exist_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def tables(self) -> set[str]:
        """The tables that were written to, with rows or without."""
        return {table for table, _ in self._writers if table in SCHEMAS}

    def write(self, table_name: str, chunk: pa.Table) -> None:
        """Append raw rows of one canonical table."""
        allowed = set(SCHEMAS[table_name].names) | ORIGIN_COLUMNS
        unknown = set(chunk.column_names) - allowed
        assert not unknown, f"not columns of {table_name}: {sorted(unknown)}"
        key = (table_name, chunk.schema.remove_metadata())
        if key not in self._writers:
            part = len(list((self.folder / table_name).glob("*.parquet")))
            path = self.folder / table_name / f"{part:04d}.parquet"
            path.parent.mkdir(exist_ok=True)
            self._writers[key] = pq.ParquetWriter(path, key[1])
        self._writers[key].write_table(chunk.cast(key[1]))
        self.num_rows[table_name] += chunk.num_rows

    def reject(
        self,
        table_name: str,
        reason: str,
        source_file: str,
        line: int | None,
        row: Mapping[str, object],
    ) -> None:
        """Set aside one row that cannot be parsed. Reasons are few; details belong in `row`."""
        text = json.dumps(dict(row), ensure_ascii=False, default=str)
        self.num_rejected[table_name, reason] += 1
        self._rejected.append(
            {
                "table": table_name,
                "reason": reason,
                "source_file": source_file,
                "line": line,
                "row": text.encode("utf-8", "backslashreplace").decode(),
            }
        )
        if len(self._rejected) >= REJECTS_PER_BATCH:
            self._flush_rejected()

    def note(self, text: str) -> None:
        """Record a decision about the data that a reader of the figures should know."""
        if text not in self.notes:
            self.notes.append(text)

    def close(self) -> None:
        """Finish the staging files; `write` and `reject` must not be called afterwards."""
        self._flush_rejected()
        for writer in self._writers.values():
            writer.close()

    def _flush_rejected(self) -> None:
        key = ("rejected", QUARANTINE_SCHEMA)
        if key not in self._writers:
            self._writers[key] = pq.ParquetWriter(
                self.folder / "rejected.parquet", QUARANTINE_SCHEMA
            )
        self._writers[key].write_table(pa.Table.from_pylist(self._rejected, QUARANTINE_SCHEMA))
        self._rejected = []
