"""The as-of join: for each label the newest view row that was there at the label's instant.

In: labels and a view as Arrow tables of one integer key and integer instants. Out: one row number
a label, -1 where the view has none. Features never enter the SQL: a wide embedding costs the join
nothing, and a feature may have any name. Knows nothing of Feast.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

Integers = npt.NDArray[np.int64]

# Columns of the two tables, all int64. A null key or instant, on either side, matches nothing.
KEY = "k"
TIME = "t"
CREATED = "c"
_BATCH_ROWS = 122_880  # DuckDB's own row group
_NEVER = np.iinfo(np.int64).min


@dataclass(frozen=True)
class AsOf:
    """What the join has to respect beside key and time."""

    ttl: int | None = None
    """Greatest age of a row that counts, inclusive, in the unit of the instants; None: any."""
    created_cutoff: bool = False
    """A row created after the label, or at an unknown instant, does not exist for it."""


def match_rows(
    connection: duckdb.DuckDBPyConnection, labels: pa.Table, view: pa.Table, as_of: AsOf
) -> Integers:
    """Number of the view row that each label sees.

    A row is seen if its key is equal and its instant is at or before the label's. Of rows with
    equal key and instant the newest created wins, and of those the last.

    labels: columns k, t. view: columns k, t and, where rows carry a created time, c; all times in
    one unit. Result: int64 [labels.num_rows], in the order of the labels.

    >>> labels = pa.table({"k": [1, 1, 2], "t": [15, 5, 99]})
    >>> view = pa.table({"k": [1, 1, 3], "t": [10, 20, 30]})
    >>> match_rows(duckdb.connect(), labels, view, AsOf()).tolist()
    [0, -1, -1]
    """
    rows = np.full(labels.num_rows, -1, dtype=np.int64)
    if labels.num_rows == 0 or view.num_rows == 0:
        return rows
    if CREATED in view.column_names and view.column(CREATED).equals(view.column(TIME)):
        # Features computed for their own instant: created says nothing that time does not.
        view = view.drop_columns([CREATED])
    # Ranks are compared at one instant only, where without a created time the last row is best.
    has_created = CREATED in view.column_names
    worst_first = _worst_first(view) if has_created else np.arange(view.num_rows, dtype=np.int64)
    ranked = _ranked(view, worst_first)
    # Of an Arrow table DuckDB does not know the size; it takes it for tiny and would join by
    # nested loops: minutes in place of a second. 0 means never.
    connection.execute("SET asof_loop_join_threshold = 0")
    query = pointer_query(as_of.created_cutoff and has_created)
    with _registered(connection, as_of_labels=_numbered(labels), as_of_view=ranked):
        # The join does not keep the labels' order: each batch says which labels it is about.
        for batch in connection.execute(query).to_arrow_reader(1_000_000):
            rows[batch.column(0).to_numpy()] = worst_first[batch.column(1).to_numpy()]
    return rows if as_of.ttl is None else _without_expired(rows, labels, view, as_of.ttl)


def latest_rows(connection: duckdb.DuckDBPyConnection, view: pa.Table) -> Integers:
    """Numbers of the newest row of each key, ascending; ties as in `match_rows`.

    view: columns k, t and optionally c. Null keys are one key; a row without an instant is
    nobody's newest.

    >>> latest_rows(duckdb.connect(), pa.table({"k": [1, 1, 3], "t": [10, 20, 30]})).tolist()
    [1, 2]
    """
    worst_first = _worst_first(view)
    newest = "SELECT max(rank) AS rank FROM as_of_view WHERE t IS NOT NULL GROUP BY k"
    with _registered(connection, as_of_view=_ranked(view, worst_first)):
        ranks = connection.execute(newest).to_arrow_table().column("rank").to_numpy()
    return np.sort(worst_first[ranks])


def pointer_query(created_cutoff: bool) -> str:
    """SQL over `as_of_labels` (k, t, n) and `as_of_view` (k, t, c, rank): the matches' (n, rank).

    An as-of join picks any one among rows of equal key and instant, so the view is first reduced
    to its best row for each.
    """
    # An as-of join takes a label without an instant for one at the end of time.
    asked = "SELECT k, t, n FROM as_of_labels WHERE k IS NOT NULL AND t IS NOT NULL"
    best = "SELECT k, t AS seen_at, max(rank) AS rank FROM as_of_view WHERE t IS NOT NULL"
    if created_cutoff:
        # A row appears when its time and its creation have both passed. A late arrival with an
        # older time must not hide a newer row, so each appearance carries the best row so far.
        so_far = (
            "SELECT k, greatest(t, c) AS seen_at, max(rank) OVER "
            "(PARTITION BY k ORDER BY greatest(t, c) RANGE UNBOUNDED PRECEDING) AS rank "
            "FROM as_of_view WHERE t IS NOT NULL AND c IS NOT NULL"
        )
        best = f"SELECT k, seen_at, max(rank) AS rank FROM ({so_far})"
    return (
        f"SELECT l.n, f.rank FROM ({asked}) l "
        f"ASOF JOIN ({best} GROUP BY k, seen_at) f ON l.k = f.k AND l.t >= f.seen_at"
    )


def _worst_first(view: pa.Table) -> Integers:
    """Row numbers from the oldest to the newest, by instant, then created, then place in the file.

    A row's place in this list is its rank. With it the SQL compares rows by one integer: taking
    the greatest of structs is hundreds of times slower in DuckDB.
    """
    at = _filled(view, TIME)
    if CREATED not in view.column_names:
        order: Integers = np.argsort(at, kind="stable")
        return order
    return np.lexsort((_filled(view, CREATED), at))


def _ranked(view: pa.Table, worst_first: Integers) -> pa.Table:
    rank = np.empty_like(worst_first)
    rank[worst_first] = np.arange(len(worst_first))
    return view.append_column("rank", pa.array(rank))


def _filled(table: pa.Table, column: str) -> Integers:
    """A column as numpy, where null is older than anything."""
    values: Integers = table.column(column).fill_null(_NEVER).to_numpy()
    return values


def _without_expired(rows: Integers, labels: pa.Table, view: pa.Table, ttl: int) -> Integers:
    """ttl after the join: the match is the newest row, so if it has expired, all others have."""
    label_at, row_at = _filled(labels, TIME), _filled(view, TIME)[rows]
    # A match is never younger than 0, so the difference fits in 64 bits without a sign.
    age = label_at.view(np.uint64) - row_at.view(np.uint64)
    return np.where((rows >= 0) & (age <= np.uint64(ttl)), rows, -1)


def _numbered(table: pa.Table) -> pa.Table:
    return table.append_column("n", pa.array(np.arange(table.num_rows, dtype=np.int64)))


@contextmanager
def _registered(connection: duckdb.DuckDBPyConnection, **tables: pa.Table) -> Iterator[None]:
    """Arrow tables under names in SQL, for as long as they are needed."""
    for name, table in tables.items():
        # DuckDB's threads share the work by batches.
        batches = table.to_batches(max_chunksize=_BATCH_ROWS)
        connection.register(name, pa.Table.from_batches(batches, table.schema))
    try:
        yield
    finally:
        for name in tables:
            connection.unregister(name)
