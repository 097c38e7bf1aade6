"""Raw rows in, canonical tables and a quarantine out, with every row accounted for.

The work is SQL over Parquet files in a DuckDB that spills to disk, so memory is bounded whatever
the size. For each table: rows read + reverse links added = rows kept + rows rejected.

Policies. Users or items without a table of their own are derived from the events that name them.
An item without a title is called by its id. A missing primary category is the first of the
categories. An item is available from the earliest of what the source says, its first timed event
and its first document; one that is never seen, from the data set's first event. Links without a
time hold from the beginning (1970-01-01). A friendship given in one direction is stored in both.
"""

from pathlib import Path

import duckdb
import pyarrow as pa
from pydantic import BaseModel, ConfigDict
from tqdm import tqdm

from feature_repo.pipelines import quarantine
from feature_repo.pipelines.judge import judge, open_duckdb, sql_text
from feature_repo.pipelines.raw import RawInfo, RawSink
from feature_repo.pipelines.rules import KEYS
from feature_repo.pipelines.tables import SCHEMAS, DataError, table_path, write_table_atomic

# An item may be older than computer time; for the age of an item in a catalogue this is old enough.
EARLIEST = "TIMESTAMPTZ '1970-01-01 00:00:00+00'"
SORTED_BY = {
    "users": "user_id",
    "items": "item_id",
    "interactions": "timestamp, user_id, item_id, action, event_id",
    "edges": "source_id, target_id, kind",
    "documents": "timestamp, document_id",
}
MISSING_REVERSE = """
    SELECT target_id, source_id, kind, valid_from, timed FROM kept_edges AS there
    WHERE kind = 'friend' AND NOT EXISTS (
        FROM kept_edges AS back WHERE back.kind = 'friend'
        AND back.source_id = there.target_id AND back.target_id = there.source_id)"""


class TableCounts(BaseModel):
    """What became of the rows of one table."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    read: int
    added: int
    """Links added because the source gave a friendship in one direction; derived users, items."""
    kept: int
    rejected: dict[str, int]
    """Rows set aside, by reason."""
    repaired: dict[str, int]
    """Values removed from rows that were kept, by reason."""


def clean(
    sink: RawSink, info: RawInfo, data_dir: Path, memory_gb: float = 2.0
) -> dict[str, TableCounts]:
    """Check the staged rows of `sink` and write canonical and quarantine tables to `data_dir`.

    `info.snapshot_at` must be set. Raises `DataError` when a table that is needed has no rows.
    """
    _require_rows(sink)
    with (
        open_duckdb(sink.folder / "spill", memory_gb) as db,
        tqdm(total=2 * len(SCHEMAS), desc="cleaning", disable=None) as bar,
    ):
        for table in SCHEMAS:
            judge(db, sink, table, info)
            _find_duplicates(db, table)
            _remember_ids(db, table, sink.tables)
            bar.update()
        if not _count(db, "kept_interactions"):
            raise DataError(f"no interaction is left after cleaning: {_why(db)}")
        _derive_missing(db, sink.tables)
        counts = {}
        for table in SCHEMAS:
            kept = write_table_atomic(_final_rows(db, table, data_dir), table_path(data_dir, table))
            counts[table] = _account(db, sink, table, kept, data_dir)
            bar.update()
    return counts


def _require_rows(sink: RawSink) -> None:
    for table in ("interactions", "users", "items"):
        given = table in sink.tables or table == "interactions"
        rejected = sum(n for (name, _), n in sink.num_rejected.items() if name == table)
        if given and not sink.num_rows[table] and not rejected:
            raise DataError(f"the table of {table} is empty: the source has no rows for it")


def _find_duplicates(db: duckdb.DuckDBPyConnection, table: str) -> None:
    """Make `duplicates_<table>` (row numbers; the first of each kind stays) and `kept_<table>`."""
    keys = ", ".join(KEYS[table])
    # 64-bit hashes first: grouping a hundred million long ids would cost many times the memory.
    suspects = f"""SELECT hash({keys}) AS h FROM checked_{table} WHERE reason IS NULL
        GROUP BY h HAVING count(*) > 1"""
    db.execute(f"""
        CREATE TABLE duplicates_{table} AS
        SELECT file_row_number FROM checked_{table}
        WHERE reason IS NULL AND hash({keys}) IN ({suspects})
        QUALIFY row_number() OVER (PARTITION BY {keys} ORDER BY file_row_number) > 1""")
    db.execute(f"""
        CREATE VIEW kept_{table} AS SELECT * FROM checked_{table} WHERE reason IS NULL
        AND file_row_number NOT IN (SELECT file_row_number FROM duplicates_{table})""")


def _remember_ids(db: duckdb.DuckDBPyConnection, table: str, given: set[str]) -> None:
    if table in given and table in ("users", "items"):
        db.execute(f"CREATE TABLE known_{table} AS SELECT {KEYS[table][0]} FROM kept_{table}")


def _derive_missing(db: duckdb.DuckDBPyConnection, given: set[str]) -> None:
    """Users and items that have no table of their own are those that anything names."""
    if "users" not in given:
        db.execute("""
            CREATE TABLE known_users AS
            SELECT user_id FROM kept_interactions UNION SELECT source_id FROM kept_edges
            UNION SELECT target_id FROM kept_edges
            UNION SELECT user_id FROM kept_documents WHERE user_id IS NOT NULL""")
    if "items" not in given:
        db.execute("""
            CREATE TABLE known_items AS SELECT item_id FROM kept_interactions
            UNION SELECT item_id FROM kept_documents WHERE item_id IS NOT NULL""")
    db.execute("""
        CREATE TABLE seen AS SELECT item_id, min(timestamp) AS seen_at FROM (
            SELECT item_id, timestamp FROM kept_interactions WHERE timed UNION ALL
            SELECT item_id, timestamp FROM kept_documents WHERE item_id IS NOT NULL)
        GROUP BY item_id""")
    db.execute("""
        CREATE TABLE beginning AS SELECT
            coalesce(min(timestamp) FILTER (WHERE timed), min(timestamp)) AS first_event_at
        FROM kept_interactions""")


def _final_rows(db: duckdb.DuckDBPyConnection, table: str, data_dir: Path) -> pa.RecordBatchReader:
    """The canonical rows of a table in their order, as a stream."""
    columns = ", ".join(SCHEMAS[table].names)
    query = f"SELECT {columns} FROM ({_final_sql(table, data_dir)}) ORDER BY {SORTED_BY[table]}"
    batches = db.execute(query).to_arrow_reader(100_000)
    return pa.RecordBatchReader.from_batches(
        SCHEMAS[table], (batch.cast(SCHEMAS[table]) for batch in batches)
    )


def _final_sql(table: str, data_dir: Path) -> str:
    if table == "users":
        return "FROM known_users LEFT JOIN kept_users USING (user_id)"
    if table == "items":
        available = f"""greatest({EARLIEST},
            coalesce(least(available_at, seen_at), (SELECT first_event_at FROM beginning)))"""
        return f"""SELECT * REPLACE (coalesce(title, item_id) AS title,
                coalesce(categories, []) AS categories, {available} AS available_at)
            FROM known_items LEFT JOIN kept_items USING (item_id) LEFT JOIN seen USING (item_id)"""
    if table == "edges":
        return f"""SELECT * REPLACE (coalesce(valid_from, {EARLIEST}) AS valid_from,
                timed AND valid_from IS NOT NULL AS timed)
            FROM (SELECT {", ".join(SCHEMAS["edges"].names)} FROM kept_edges
                UNION ALL {MISSING_REVERSE})"""
    if table == "documents":
        items = sql_text(table_path(data_dir, "items"))
        return f"""SELECT * REPLACE (coalesce(timestamp, available_at) AS timestamp)
            FROM kept_documents LEFT JOIN
                (SELECT item_id, available_at FROM read_parquet({items})) USING (item_id)"""
    return "FROM kept_interactions"


def _account(
    db: duckdb.DuckDBPyConnection, sink: RawSink, table: str, kept: int, data_dir: Path
) -> TableCounts:
    rejected, repaired = quarantine.write(db, sink, table, data_dir)
    read = sink.num_rows[table] + sum(
        num for (name, _), num in sink.num_rejected.items() if name == table
    )
    added = kept - _count(db, f"kept_{table}")
    assert read + added == kept + sum(rejected.values()), f"rows of {table} went missing"
    return TableCounts(read=read, added=added, kept=kept, rejected=rejected, repaired=repaired)


def _count(db: duckdb.DuckDBPyConnection, relation: str) -> int:
    row = db.execute(f"SELECT count(*) FROM {relation}").fetchone()
    assert row is not None
    return int(row[0])


def _why(db: duckdb.DuckDBPyConnection) -> str:
    reasons = db.execute("""
        SELECT reason, count(*) AS num FROM checked_interactions WHERE reason IS NOT NULL
        GROUP BY reason ORDER BY num DESC, reason""").fetchall()
    return ", ".join(f"{num} rows: {reason}" for reason, num in reasons) or "none could be parsed"
