"""The truth about a synthetic world, written beside the data set and read by tests only.

In: people, items, events. Out: `people.parquet`, `items.parquet`, `events.parquet` in a folder; the
events' file has one row an interaction, in the order in which they were drawn. Without a folder
nothing is written.
"""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from feature_repo.pipelines.adapters.world_events import CAUSES, Step
from feature_repo.pipelines.adapters.world_items import Items
from feature_repo.pipelines.adapters.world_people import People
from feature_repo.pipelines.tables import INSTANT, atomic_path, write_table_atomic

EVENT_SCHEMA = pa.schema(
    [
        ("user", pa.int32()),
        ("item", pa.int32()),
        ("timestamp", INSTANT),
        ("cause", pa.dictionary(pa.int8(), pa.string())),
        ("friend", pa.int32()),  # whom the user followed; null for other causes
        ("match", pa.float32()),
    ]
)


class Truth:
    """Writes the truth; users, items and sub-themes appear as row numbers."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._open = ExitStack()
        self._events: pq.ParquetWriter | None = None
        if folder:
            path = self._open.enter_context(atomic_path(folder / "events.parquet"))
            self._events = self._open.enter_context(
                pq.ParquetWriter(path, EVENT_SCHEMA, compression="zstd")
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._open.__exit__(kind, error, traceback)

    def write_people(self, people: People) -> None:
        """Each user's tastes (sub-themes) and how strong they are."""
        if self._folder:
            columns = {
                "tastes": list_column(people.tastes_NK),
                "shares": list_column(people.shares_NK),
                "rate": pa.array(people.rate_N),
            }
            write_table_atomic(pa.table(columns), self._folder / "people.parquet")

    def write_items(self, items: Items) -> None:
        """Each item's sub-themes and what its attraction over time is made of."""
        if self._folder:
            columns = {
                "themes": list_column(items.themes_M2),
                "shares": list_column(items.shares_M2),
                "quality": pa.array(items.quality_M),
                "half_life_days": pa.array(items.half_life_days_M),
                "burst_us": pa.array(items.burst_us_M),
            }
            write_table_atomic(pa.table(columns), self._folder / "items.parquet")

    def write_events(self, step: Step) -> None:
        """What caused each event of a step."""
        if self._events:
            cause = pa.DictionaryArray.from_arrays(pa.array(step.cause_n), pa.array(CAUSES))
            columns = [
                pa.array(step.user_n.astype(np.int32)),
                pa.array(step.item_n.astype(np.int32)),
                pa.array(step.at_us_n).cast(INSTANT),
                cause,
                pa.array(step.friend_n.astype(np.int32), mask=step.friend_n < 0),
                pa.array(step.match_n.astype(np.float32)),
            ]
            self._events.write_table(pa.table(columns, schema=EVENT_SCHEMA))


def list_column(values: np.ndarray) -> pa.Array:
    """A matrix as a column of lists of fixed length."""
    return pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), values.shape[1])
