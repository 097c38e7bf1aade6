"""Rejected rows, kept with their reasons: nothing disappears without a trace.

Each canonical table has a quarantine file with the rows that the adapter could not parse, those
that failed a check, duplicates, and rows that lost one impossible value. Nothing reads these files
but people and the data report.
"""

from collections import Counter
from pathlib import Path

import duckdb
import pyarrow as pa

from feature_repo.pipelines.judge import sql_text
from feature_repo.pipelines.raw import RawSink
from feature_repo.pipelines.rules import DUPLICATE, REPAIRED
from feature_repo.pipelines.tables import (
    QUARANTINE_SCHEMA,
    SCHEMAS,
    quarantine_path,
    write_table_atomic,
)


def write(
    db: duckdb.DuckDBPyConnection, sink: RawSink, table: str, data_dir: Path
) -> tuple[dict[str, int], dict[str, int]]:
    """Write the quarantine of one table; return rows rejected and values removed, by reason."""
    batches = db.execute(_rows_sql(sink, table)).to_arrow_reader(100_000)
    reader = pa.RecordBatchReader.from_batches(
        QUARANTINE_SCHEMA, (batch.cast(QUARANTINE_SCHEMA) for batch in batches)
    )
    path = quarantine_path(data_dir, table)
    write_table_atomic(reader, path)
    return read_reasons(db, path)


def read_reasons(
    db: duckdb.DuckDBPyConnection, path: Path
) -> tuple[dict[str, int], dict[str, int]]:
    """Rows rejected and values removed in a quarantine file, by reason, most frequent first."""
    rows = db.execute(
        f"SELECT reason, count(*) FROM read_parquet({sql_text(path)}) GROUP BY reason"
    ).fetchall()
    counts = Counter({str(reason): int(num) for reason, num in rows})
    ordered = sorted(counts.items(), key=lambda entry: (-entry[1], entry[0]))
    rejected = {reason: num for reason, num in ordered if not reason.endswith(REPAIRED)}
    repaired = {reason: num for reason, num in ordered if reason.endswith(REPAIRED)}
    return rejected, repaired


def _rows_sql(sink: RawSink, table: str) -> str:
    name, repaired = sql_text(table), sql_text(REPAIRED)
    unparsed = sql_text(sink.folder / "rejected.parquet")
    duplicate = sql_text(DUPLICATE[table])
    values = ", ".join(SCHEMAS[table].names)
    return f"""
        SELECT * FROM (
            SELECT "table", reason, source_file, line, row
            FROM read_parquet({unparsed}) WHERE "table" = {name}
            UNION ALL
            SELECT {name}, reason, source_file, line, CAST(row AS VARCHAR)
            FROM checked_{table} WHERE reason IS NOT NULL
            UNION ALL
            SELECT {name}, {duplicate}, source_file, line,
                CAST(to_json(struct_pack({values})) AS VARCHAR)
            FROM checked_{table} SEMI JOIN duplicates_{table} USING (file_row_number)
            UNION ALL
            SELECT {name}, unnest(repairs) || {repaired}, source_file, line,
                CAST(row AS VARCHAR)
            FROM kept_{table} WHERE len(repairs) > 0)
        ORDER BY source_file, line, reason, row"""
