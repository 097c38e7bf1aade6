"""The as-of joins that a careful engineer writes by hand, in DuckDB and in polars.

Generous: only the columns that are needed are read, no order of the result is asked for, and polars
is told where files are in the order of time, so that it need not sort. Neither knows ttl, created
times, null keys, key maps or ties, which the store has to look after.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from tests.benchmarks.joins.answers import in_label_order
from tests.benchmarks.joins.data import KEY, TIME, Integers, JoinData

_BATCH_ROWS = 122_880  # DuckDB's threads share an Arrow table by batches


def duckdb_pointers(data: JoinData) -> Callable[[], dict[str, pa.Table]]:
    """Per view the pairs (n, row) of label number and row number."""
    connection = _connect()
    labels = data.labels()

    def join() -> dict[str, pa.Table]:
        numbers = pa.array(np.arange(labels.num_rows))
        connection.register("labels", _in_batches(labels.append_column("n", numbers)))
        return {
            view: connection.execute(
                f"SELECT l.n, f.file_row_number AS row FROM labels l "
                f"ASOF JOIN read_parquet('{data.path(view)}', file_row_number = true) f "
                f"ON l.{KEY} = f.{KEY} AND l.{TIME} >= f.{TIME}"
            ).to_arrow_table()
            for view in data.views
        }

    return join


def duckdb_row_numbers(data: JoinData, pairs: Mapping[str, pa.Table]) -> dict[str, Integers]:
    """The pairs as one row number a label."""
    n = data.size.labels
    return {
        view: in_label_order(n, table.column("n").to_numpy(), table.column("row").to_numpy())
        for view, table in pairs.items()
    }


def duckdb_rows(data: JoinData) -> Callable[[], pa.Table]:
    """One query with an as-of join for each view."""
    connection = _connect()
    labels = data.labels()
    joins = "".join(
        f" ASOF LEFT JOIN read_parquet('{data.path(view)}') {view} "
        f"ON l.{KEY} = {view}.{KEY} AND l.{TIME} >= {view}.{TIME}"
        for view in data.views
    )
    columns = ", ".join([f"l.{KEY}", f"l.{TIME}", *data.result_columns()[2:]])

    def join() -> pa.Table:
        connection.register("labels", _in_batches(labels))
        table: pa.Table = connection.execute(
            f"SELECT {columns} FROM labels l{joins}"
        ).to_arrow_table()
        return table

    return join


def polars_pointers(data: JoinData) -> Callable[[], Any]:
    """A polars frame with one column of row numbers a view; its rows keep their label number."""
    return _polars(data, pointers=True)


def polars_row_numbers(data: JoinData, frame: Any) -> dict[str, Integers]:
    """The columns as arrays in the labels' order."""
    labels = frame["n"].to_numpy()
    return {
        view: in_label_order(
            data.size.labels, labels, frame[view].cast(int).fill_null(-1).to_numpy()
        )
        for view in data.views
    }


def polars_rows(data: JoinData) -> Callable[[], Any]:
    """A polars frame with all features."""
    return _polars(data, pointers=False)


def polars_table(data: JoinData, frame: Any) -> pa.Table:
    """The frame as Arrow."""
    return frame.to_arrow()


def _polars(data: JoinData, pointers: bool) -> Callable[[], Any]:
    import polars  # here, so that the other contestants' processes stay free of it

    labels = polars.DataFrame(data.labels())
    in_order = data.size.order == "time"

    def join() -> Any:
        frame = labels.lazy().with_row_index("n")
        frame = frame if in_order else frame.sort(TIME)
        for view in data.views:
            rows = polars.scan_parquet(data.path(view), row_index_name=view)
            rows = rows.select(KEY, TIME, *([view] if pointers else data.features(view)))
            frame = frame.join_asof(
                rows if in_order else rows.sort(TIME), on=TIME, by=KEY, check_sortedness=False
            )
        wanted = ["n", *data.views] if pointers else data.result_columns()
        return frame.select(wanted).collect()

    return join


def _connect() -> Any:
    import duckdb  # here, so that the other contestants' processes stay free of it

    connection = duckdb.connect()
    # DuckDB does not know an Arrow table's size, takes it for tiny, and would join by nested loops.
    connection.execute("SET asof_loop_join_threshold = 0; SET preserve_insertion_order = false")
    connection.execute("SET TimeZone = 'UTC'")
    return connection


def _in_batches(table: pa.Table) -> pa.Table:
    return pa.Table.from_batches(table.to_batches(max_chunksize=_BATCH_ROWS), table.schema)
