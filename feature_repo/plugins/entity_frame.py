"""The labels of a retrieval: whose features, as of when, with whatever columns came along.

In: an entity frame as pandas, Arrow or SQL for DuckDB. Out: an EntityFrame, row for row as given.
"""

from dataclasses import dataclass
from typing import Any

import duckdb
import pandas as pd
import pyarrow as pa
from feast.errors import EntityTimestampInferenceException

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
        return self.table.column(column)


def read_entity_frame(entity_df: Any, connection: duckdb.DuckDBPyConnection) -> EntityFrame:
    """The frame, with its time column found as Feast finds it: by name, else the only time."""
    table = _to_arrow(entity_df, connection)
    repeated = {name for name in table.column_names if table.column_names.count(name) > 1}
    if repeated:
        raise ValueError(f"the entity frame has more than one column named {sorted(repeated)}")
    return EntityFrame(table, _time_column(table.schema))


def _to_arrow(entity_df: Any, connection: duckdb.DuckDBPyConnection) -> pa.Table:
    if isinstance(entity_df, str):
        # Instants from SQL are shown in the session's zone; ours is UTC.
        connection.execute("SET TimeZone = 'UTC'; SET preserve_insertion_order = true")
        return connection.sql(entity_df).to_arrow_table()
    if isinstance(entity_df, pa.Table):
        return entity_df
    if isinstance(entity_df, pd.DataFrame):
        return pa.Table.from_pandas(_with_parsed_times(entity_df), preserve_index=False)
    raise ValueError(
        f"an entity frame is a pandas data frame, an Arrow table or SQL, not {type(entity_df)}"
    )


def _with_parsed_times(frame: pd.DataFrame) -> pd.DataFrame:
    """Times kept as Python objects or text become timestamps, so that zones may be mixed."""
    times = frame.get(_DEFAULT_TIME_COLUMN)
    if isinstance(times, pd.Series) and times.dtype == object:
        return frame.assign(**{_DEFAULT_TIME_COLUMN: pd.to_datetime(times, utc=True)})
    return frame


def _time_column(schema: pa.Schema) -> str:
    if _DEFAULT_TIME_COLUMN in schema.names:
        return _DEFAULT_TIME_COLUMN
    times = [field.name for field in schema if pa.types.is_timestamp(field.type)]
    if len(times) != 1:
        raise EntityTimestampInferenceException(_DEFAULT_TIME_COLUMN)
    return str(times[0])
