"""The as-of join: for each label the newest view row that was there at the label's instant.

In: labels and a view as Arrow tables of join keys and integer instants. Out: one row number per
label, -1 where the view has none. Feature columns never enter the SQL: a wide embedding costs the
join nothing, and a feature may have any name. Knows nothing of Feast.
"""

from dataclasses import dataclass

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

# Column names of the two tables. Keys are `k0`, `k1`, ... in the same order on both sides.
TIME = "t"
CREATED = "c"
_OLDEST = "(-9223372036854775808)::BIGINT"


@dataclass(frozen=True)
class AsOf:
    """What the join has to respect beside keys and time."""

    num_keys: int
    """Join keys; 0 for a view without entity, whose rows belong to every label."""
    has_created: bool = False
    """The view has a created column: of rows with equal keys and time the newest created wins."""
    created_cutoff: bool = False
    """Rows created after the label do not exist for it, and rows never marked created do not."""
    ttl: int | None = None
    """Oldest age of a row that still counts, inclusive, in the unit of the instants; None: any."""


def match_rows(
    connection: duckdb.DuckDBPyConnection, labels: pa.Table, view: pa.Table, as_of: AsOf
) -> npt.NDArray[np.int64]:
    """Number of the view row that each label sees.

    A row is seen if its keys are equal and its instant is at or before the label's. A null key or
    instant, on either side, matches nothing. Of rows that are equal in keys, instant and created
    time, the last one wins.

    labels: columns k0.. and t (int64). view: columns k0.., t (int64) and, if as_of.has_created,
    c (int64, same unit). Result: int64 [labels.num_rows], in the order of the labels.

    >>> labels = pa.table({"k0": ["ann", "ann", "bob"], "t": [15, 5, 99]})
    >>> view = pa.table({"k0": ["ann", "ann", "cy"], "t": [10, 20, 30]})
    >>> match_rows(duckdb.connect(), labels, view, AsOf(num_keys=1)).tolist()
    [0, -1, -1]
    """
    rows = np.full(labels.num_rows, -1, dtype=np.int64)
    if labels.num_rows == 0 or view.num_rows == 0:
        return rows
    connection.register("as_of_labels", _numbered(labels))
    connection.register("as_of_view", _numbered(view))
    try:
        # The join does not keep the labels' order: each batch says which labels it is about.
        for batch in connection.execute(pointer_query(as_of)).to_arrow_reader(1_000_000):
            rows[batch.column(0).to_numpy()] = batch.column(1).to_numpy()
    finally:
        connection.unregister("as_of_labels")
        connection.unregister("as_of_view")
    return rows


def pointer_query(as_of: AsOf) -> str:
    """SQL over `as_of_labels` and `as_of_view` that yields (label, row) for the labels that match.

    The view is first reduced to one row per keys and instant, because an as-of join picks any
    one among equals. ttl is applied afterwards: the match is the newest row, so if it has expired,
    every older one has too.
    """
    keys = [f"k{number}" for number in range(as_of.num_keys)]
    on = " AND ".join([*(f"l.{key} = f.{key}" for key in keys), "l.t >= f.seen_at"])
    fresh = "" if as_of.ttl is None else f"WHERE l.t::HUGEINT - f.best.t <= {as_of.ttl}"
    return (
        f"SELECT l.n AS label, f.best.n AS row FROM as_of_labels l "
        f"ASOF JOIN ({_best_rows(keys, as_of)}) f ON {on} {fresh}"
    )


def _best_rows(keys: list[str], as_of: AsOf) -> str:
    """SQL: per keys and `seen_at`, the row that a label from that instant on has to see."""
    columns = "".join(f"{key}, " for key in keys)
    if as_of.has_created and as_of.created_cutoff:
        # A row appears when its time and its creation have both passed. A late arrival with an
        # older time must not hide a newer row, so each appearance carries the best row so far.
        partition = f"PARTITION BY {', '.join(keys)} " if keys else ""
        so_far = (
            f"SELECT {columns}greatest(t, c) AS seen_at, max(struct_pack(t := t, c := c, n := n)) "
            f"OVER ({partition}ORDER BY greatest(t, c) RANGE UNBOUNDED PRECEDING) AS best "
            f"FROM as_of_view WHERE t IS NOT NULL AND c IS NOT NULL"
        )
        return f"SELECT {columns}seen_at, max(best) AS best FROM ({so_far}) GROUP BY ALL"
    created = f"coalesce(c, {_OLDEST})" if as_of.has_created else "0"
    return (
        f"SELECT {columns}t AS seen_at, max(struct_pack(t := t, c := {created}, n := n)) AS best "
        f"FROM as_of_view WHERE t IS NOT NULL GROUP BY {columns}t"
    )


def _numbered(table: pa.Table) -> pa.Table:
    return table.append_column("n", pa.array(np.arange(table.num_rows, dtype=np.int64)))


def latest_rows(
    connection: duckdb.DuckDBPyConnection, view: pa.Table, num_keys: int
) -> npt.NDArray[np.int64]:
    """Numbers of the newest row of each distinct keys, ascending; ties as in `match_rows`.

    view: columns k0.., t and optionally c. Rows without an instant are nobody's newest.

    >>> view = pa.table({"k0": ["ann", "ann", "cy"], "t": [10, 20, 30]})
    >>> latest_rows(duckdb.connect(), view, num_keys=1).tolist()
    [1, 2]
    """
    created = f"coalesce(c, {_OLDEST})" if CREATED in view.column_names else "0"
    keys = ", ".join(f"k{number}" for number in range(num_keys))
    connection.register("as_of_view", _numbered(view))
    try:
        newest = connection.execute(
            f"SELECT max(struct_pack(t := t, c := {created}, n := n)).n AS row FROM as_of_view "
            f"WHERE t IS NOT NULL {f'GROUP BY {keys}' if keys else 'HAVING count(*) > 0'}"
        ).fetchnumpy()["row"]
    finally:
        connection.unregister("as_of_view")
    return np.sort(np.asarray(newest, dtype=np.int64))
