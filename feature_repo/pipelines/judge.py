"""The row-wise half of cleaning: raw text and loose types in, typed rows with a verdict out.

`judge` writes, per table, one Parquet file with the canonical columns, the reason for rejecting a
row (null: sound), the repairs made to it, where it came from, and the raw row as JSON if it was
rejected or repaired. The checks themselves are in rules.py; duplicates are found by clean.py.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
import pyarrow as pa

from feature_repo.pipelines.raw import RawInfo, RawSink
from feature_repo.pipelines.rules import (
    Rule,
    column_sql,
    rejections,
    repairs,
    unknown_id_rules,
)
from feature_repo.pipelines.tables import SCHEMAS

GENERATED_IDS = {
    "event_id": ("user_id", "item_id", "action", "epoch_us(timestamp)"),
    "document_id": ("user_id", "item_id", "kind", "text", "epoch_us(timestamp)"),
}


def sql_text(value: object) -> str:
    """A value as an SQL string literal."""
    return "'" + str(value).replace("'", "''") + "'"


@contextmanager
def open_duckdb(spill: Path, memory_gb: float) -> Iterator[duckdb.DuckDBPyConnection]:
    """A DuckDB in memory that thinks in UTC; beyond `memory_gb` it spills to `spill`."""
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute(f"SET memory_limit = '{memory_gb}GB'")
        connection.execute(f"SET temp_directory = {sql_text(spill)}")
        yield connection


def judge(db: duckdb.DuckDBPyConnection, sink: RawSink, table: str, info: RawInfo) -> None:
    """Create the view `checked_<table>` over the judged rows, numbered by `file_row_number`.

    Reads the tables `known_users` and `known_items` where the source gave such tables.
    """
    path = sink.folder / f"checked_{table}.parquet"
    query = _judged_sql(sink, table, info, _staged_types(db, sink, table))
    db.execute(f"COPY ({query}) TO {sql_text(path)} (FORMAT parquet)")
    db.execute(
        f"CREATE VIEW checked_{table} AS "
        f"SELECT * FROM read_parquet({sql_text(path)}, file_row_number = true)"
    )


def _judged_sql(sink: RawSink, table: str, info: RawInfo, staged: dict[str, str]) -> str:
    fixes = repairs(table, staged, info)
    known = sink.tables & {"users", "items"}
    checks = rejections(table, staged, info) + unknown_id_rules(table, known)
    return f"""
        WITH typed AS (SELECT {_typed(table, staged)}, r FROM ({_staged_sql(sink, table)}) r),
        completed AS (SELECT * {_completion(table, info)} FROM typed),
        judged AS (
            SELECT *, {_first_reason(checks)} AS reason, {_all_reasons(fixes)} AS repairs
            FROM completed)
        SELECT * EXCLUDE (r) {_repaired_columns(fixes)},
            CASE WHEN reason IS NOT NULL OR len(repairs) > 0 THEN to_json(r) END AS row
        FROM judged"""


def _typed(table: str, staged: dict[str, str]) -> str:
    columns = []
    for field in SCHEMAS[table]:
        raw = column_sql(field.name, field.type, staged)
        columns.append(f"CAST({raw} AS {_sql_type(field.type)}) AS {field.name}")
    for name, sql_type in (("source_file", "VARCHAR"), ("line", "BIGINT")):
        raw = f"r.{name}" if name in staged else "NULL"
        columns.append(f"CAST({raw} AS {sql_type}) AS {name}")
    return ", ".join(columns)


def _staged_sql(sink: RawSink, table: str) -> str:
    if table not in sink.tables:
        return "SELECT 1 AS nothing WHERE false"
    pattern = sql_text(sink.folder / table / "*.parquet")
    return f"SELECT * FROM read_parquet({pattern}, union_by_name = true)"


def _staged_types(db: duckdb.DuckDBPyConnection, sink: RawSink, table: str) -> dict[str, str]:
    rows = db.execute(f"DESCRIBE {_staged_sql(sink, table)}").fetchall()
    return {name: sql_type for name, sql_type, *_ in rows}


def _sql_type(to: pa.DataType) -> str:
    if pa.types.is_list(to):
        return "VARCHAR[]"
    if pa.types.is_timestamp(to):
        return "TIMESTAMPTZ"
    return {"string": "VARCHAR", "double": "DOUBLE", "bool": "BOOLEAN"}[str(to)]


def _completion(table: str, info: RawInfo) -> str:
    """Defaults that need other columns, as replaced columns."""
    assert info.snapshot_at is not None
    if table == "items":
        return """REPLACE (
            coalesce(category, categories[1]) AS category,
            CASE WHEN len(categories) > 0 OR category IS NULL THEN categories
                ELSE [category] END AS categories)"""
    if table == "interactions":
        snapshot = info.snapshot_at.isoformat()
        instant = f"CASE WHEN timed THEN timestamp ELSE TIMESTAMPTZ '{snapshot}' END"
        return f"REPLACE ({instant} AS timestamp, {_identity(table, 'event_id', instant)})"
    if table == "documents":
        return f"REPLACE ({_identity(table, 'document_id', 'timestamp')})"
    return ""


def _identity(table: str, column: str, instant: str) -> str:
    """The source's id or, failing that, a hash of what the row says (80 bits of MD5)."""
    parts = [part.replace("timestamp", instant) for part in GENERATED_IDS[column]]
    # Lengths before the parts, so that ('ab', 'c') and ('a', 'bc') differ.
    texts = [f"coalesce(CAST({part} AS VARCHAR), '')" for part in parts]
    written = " || ".join(f"len({text}) || ':' || {text}" for text in texts)
    return f"coalesce({column}, md5({written})[:20]) AS {column}"


def _first_reason(rules: list[Rule]) -> str:
    cases = " ".join(f"WHEN {rule.condition} THEN {sql_text(rule.reason)}" for rule in rules)
    return f"CASE {cases} END"


def _all_reasons(fixes: dict[str, list[Rule]]) -> str:
    cases = [
        f"CASE WHEN {rule.condition} THEN {sql_text(rule.reason)} END"
        for rules in fixes.values()
        for rule in rules
    ]
    found = f"[{', '.join(cases)}]" if cases else "CAST([] AS VARCHAR[])"
    return f"list_filter({found}, lambda x: x IS NOT NULL)"


def _repaired_columns(fixes: dict[str, list[Rule]]) -> str:
    columns = []
    for name, rules in fixes.items():
        wrong = " OR ".join(rule.condition for rule in rules)
        columns.append(f"CASE WHEN {wrong} THEN NULL ELSE {name} END AS {name}")
    return f"REPLACE ({', '.join(columns)})" if columns else ""
