"""The labels of a retrieval: whose features, as of when, with whatever columns came along.

In: an entity frame as pandas, Arrow or SQL for DuckDB. Out: an EntityFrame, row for row as given.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain
from typing import Any

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from feast.errors import EntityTimestampInferenceException

from feature_repo.plugins.instants import read_instants

_DEFAULT_TIME_COLUMN = "event_timestamp"


@dataclass(frozen=True)
class EntityFrame:
    """Entity rows in the order given."""

    table: pa.Table
    time_column: str

    def key(self, column: str, view: str) -> pa.ChunkedArray:
        """The values of a join key that `view` needs."""
        if column not in self.table.column_names:
            raise ValueError(
                f"view '{view}' is joined on '{column}', which the entity frame lacks "
                f"(has: {self.table.column_names})"
            )
        values = self.table.column(column)
        if values.null_count == len(values):
            # pandas takes a column without any value for numbers.
            return pa.chunked_array([pa.nulls(len(values))])
        return values

    def runs(self, num_rows: int) -> Iterator["EntityFrame"]:
        """Runs of `num_rows` rows, at least one, which may be empty."""
        for start in range(0, max(self.table.num_rows, 1), num_rows):
            yield EntityFrame(self.table.slice(start, num_rows), self.time_column)

    def span(self) -> tuple[datetime, datetime] | None:
        """The first and the last instant; None where there is none."""
        at = read_instants(self.table.column(self.time_column), self.time_column)
        ends = pc.min_max(at.counts).as_py()
        if ends["min"] is None:
            return None
        per_second = 10**6 if at.unit == "us" else 10**9
        first, last = (
            datetime.fromtimestamp(ends[end] / per_second, tz=UTC) for end in ("min", "max")
        )
        return first, last


Connect = Callable[[], AbstractContextManager[duckdb.DuckDBPyConnection]]
"""Opens a DuckDB, for SQL only: for a frame in memory it would be most of the time."""


def read_entity_frame(entity_df: Any, connect: Connect) -> EntityFrame:
    """The frame, with its time column found as Feast finds it: by name, else the only time."""
    if isinstance(entity_df, str):
        with connect() as connection:
            return _checked(_query(entity_df, connection).to_arrow_table())
    return _checked(_to_arrow(entity_df))


def read_entity_runs(entity_df: Any, connect: Connect, num_rows: int) -> Iterator[EntityFrame]:
    """The frame in runs of `num_rows` rows, at least one; of SQL one run is held at a time."""
    if not isinstance(entity_df, str):
        yield from read_entity_frame(entity_df, connect).runs(num_rows)
        return
    with connect() as connection:
        reader = _query(entity_df, connection).to_arrow_reader(num_rows)
        tables = (pa.Table.from_batches([batch]) for batch in reader)
        first = next(tables, reader.schema.empty_table())
        yield from map(_checked, chain([first], tables))


def _checked(table: pa.Table) -> EntityFrame:
    repeated = {name for name in table.column_names if table.column_names.count(name) > 1}
    if repeated:
        raise ValueError(f"the entity frame has more than one column named {sorted(repeated)}")
    return EntityFrame(table, _time_column(table.schema))


def _to_arrow(entity_df: Any) -> pa.Table:
    if isinstance(entity_df, pa.Table):
        return entity_df
    if isinstance(entity_df, pd.DataFrame):
        return pa.Table.from_pandas(_with_parsed_times(entity_df), preserve_index=False)
    raise ValueError(
        f"an entity frame is a pandas data frame, an Arrow table or SQL, not {type(entity_df)}"
    )


def _query(sql: str, connection: duckdb.DuckDBPyConnection) -> duckdb.DuckDBPyRelation:
    # Instants from SQL are shown in the session's zone; ours is UTC.
    connection.execute("SET TimeZone = 'UTC'; SET preserve_insertion_order = true")
    try:
        return connection.sql(sql)
    except duckdb.Error as error:
        raise ValueError(f"the entity frame is SQL that DuckDB refuses: {error}") from error


def _with_parsed_times(frame: pd.DataFrame) -> pd.DataFrame:
    """Times kept as Python objects or text become timestamps, so that zones may be mixed.

    So do times of which none is known: pandas takes an empty column for numbers.
    """
    times = frame.get(_DEFAULT_TIME_COLUMN)
    if isinstance(times, pd.Series) and (times.dtype == object or times.isna().all()):
        # Without a format pandas asks that all text be written like the first.
        parsed = pd.to_datetime(times, utc=True, format="ISO8601")
        return frame.assign(**{_DEFAULT_TIME_COLUMN: parsed})
    return frame


def _time_column(schema: pa.Schema) -> str:
    if _DEFAULT_TIME_COLUMN in schema.names:
        return _DEFAULT_TIME_COLUMN
    times = [field.name for field in schema if pa.types.is_timestamp(field.type)]
    if len(times) != 1:
        raise EntityTimestampInferenceException(_DEFAULT_TIME_COLUMN)
    return str(times[0])
