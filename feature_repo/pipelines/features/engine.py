"""DuckDB in bounded memory over the canonical tables, and its sorted results cut into chunks of
whole keys.

Every view reads the same three relations: `events` (timed interactions only, instants as
microseconds), `items`, `edges`. A view that is asked for partition (i, n) reads only the keys that
hash to i of n, so one machine runs the whole and a cluster runs n tasks of the same code.
"""

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from feature_repo.pipelines.features.options import FeatureOptions
from feature_repo.pipelines.tables import INSTANT, DataError, table_path

Partition = tuple[int, int] | None
"""(i, n): the i-th of n hash partitions of the key, counted from 0; None: all keys."""

CHUNK_ROWS = 200_000

_RELATIONS = {
    "events": """
        SELECT event_id, user_id, item_id, action, epoch_us(timestamp) AS at_us, is_positive,
               CASE WHEN action = 'rate' THEN value END AS rating
        FROM read_parquet('{path}') WHERE timed""",
    "items": """
        SELECT item_id, title, category, categories, creator, price,
               epoch_us(available_at) AS available_at_us
        FROM read_parquet('{path}')""",
    "edges": """
        SELECT source_id, target_id, timed, epoch_us(valid_from) AS valid_from_us
        FROM read_parquet('{path}')""",
}
_TABLES = {"events": "interactions", "items": "items", "edges": "edges"}


@contextmanager
def connect(data_dir: Path, options: FeatureOptions) -> Iterator[duckdb.DuckDBPyConnection]:
    """A DuckDB that sees the canonical tables of `data_dir`, spills beside them, and cleans up
    after itself.

    Raises DataError when a table is missing.
    """
    for name in _TABLES.values():
        if not table_path(data_dir, name).exists():
            raise DataError(
                f"table '{name}' is not in {data_dir / 'tables'}; "
                "run `python -m feature_repo.pipelines.build --only tables` first"
            )
    with tempfile.TemporaryDirectory(dir=data_dir, prefix=".duckdb-") as spill:
        config: dict[str, str | bool | int | float | list[str]] = {
            "memory_limit": f"{options.memory_limit_gb}GB",
            "temp_directory": spill,
        }
        if options.threads is not None:
            config["threads"] = options.threads
        with duckdb.connect(":memory:", config=config) as connection:
            for relation, sql in _RELATIONS.items():
                path = str(table_path(data_dir, _TABLES[relation])).replace("'", "''")
                connection.execute(f"CREATE VIEW {relation} AS {sql.format(path=path)}")
            yield connection


def belongs(column: str, partition: Partition) -> str:
    """SQL condition that a key is in the partition; by md5, the same on every machine."""
    if partition is None:
        return "true"
    index, count = partition
    if not 0 <= index < count:
        raise ValueError(f"partition {index} of {count} does not exist (have: 0 to {count - 1})")
    return f"md5_number_lower({column}) % {count} = {index}"


def whole_keys(
    connection: duckdb.DuckDBPyConnection, sql: str, key: str, chunk_rows: int = CHUNK_ROWS
) -> Iterator[pa.Table]:
    """Rows of `sql`, sorted by `key`, in tables of about `chunk_rows` that never split a key."""
    kept: list[pa.RecordBatch] = []
    # A cursor of its own: another query on the connection would end this one's result.
    with connection.cursor() as cursor:
        for batch in cursor.execute(sql).to_arrow_reader(chunk_rows):
            starts = np.flatnonzero(key_starts(batch.column(key)))
            begins_anew = bool(kept) and (
                kept[-1].column(key)[-1].as_py() != batch.column(key)[0].as_py()
            )
            cut = int(starts[-1])
            if cut > 0 or begins_anew:
                yield pa.Table.from_batches([*kept, batch.slice(0, cut)]).combine_chunks()
                kept = []
            kept.append(batch.slice(cut))
    if kept:
        yield pa.Table.from_batches(kept).combine_chunks()


def key_starts(column: pa.Array | pa.ChunkedArray) -> NDArray[np.bool_]:
    """True on the first row of each run of equal keys."""
    flat = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    codes = flat.dictionary_encode().indices.to_numpy(zero_copy_only=False)
    return changes(codes)


def changes(*columns: NDArray[np.int64]) -> NDArray[np.bool_]:
    """True on the first row and wherever any of the columns differs from the row before."""
    changed = np.ones(len(columns[0]), dtype=bool)
    if len(changed):
        changed[1:] = np.logical_or.reduce([column[1:] != column[:-1] for column in columns])
    return changed


def stamped(columns: Mapping[str, object], at_us: NDArray[np.int64], schema: pa.Schema) -> pa.Table:
    """A feature table in the view's schema, from key, features and the instant of each row."""
    instants = pa.array(at_us, type=pa.int64()).cast(INSTANT)
    stamps = {"event_timestamp": instants, "created_timestamp": instants}
    whole = {**columns, **stamps}
    arrays = [_cast(whole[field.name], field.type) for field in schema]
    return pa.Table.from_arrays(arrays, schema=schema)


def _cast(column: object, to: pa.DataType) -> pa.Array:
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    return column.cast(to) if isinstance(column, pa.Array) else pa.array(column, type=to)


def lists(values: pa.Array | pa.ChunkedArray, lengths: NDArray[np.int64]) -> pa.Array:
    """One list a row: `values` end to end, `lengths` of each row's list."""
    if isinstance(values, pa.ChunkedArray):
        values = values.combine_chunks()
    offsets = np.zeros(len(lengths) + 1, dtype=np.int32)
    np.cumsum(lengths, out=offsets[1:])
    return pa.ListArray.from_arrays(offsets, values)
