"""Writes tables behind Feast sources, so that a reader sees the old file or the new, never half.

In: an Arrow table and a file source. Out: Parquet, local or in object storage. Other formats go
through Feast's DuckDB store.
"""

import uuid
from collections.abc import Iterable
from itertools import chain
from pathlib import Path

import ibis  # type: ignore[import-untyped]
import pyarrow as pa
import pyarrow.parquet as pq
from feast.data_source import DataSource
from feast.errors import SavedDatasetLocationAlreadyExists
from feast.infra.offline_stores.duckdb import _write_data_source

from feature_repo.plugins.source_table import is_parquet, locate


def write_source(
    table: pa.Table, source: DataSource, repo_path: str, allow_overwrite: bool
) -> None:
    """Make the table the whole content of the source."""
    if not is_parquet(source):
        _write_data_source(ibis.memtable(table), source, repo_path, "overwrite", allow_overwrite)
        return
    filesystem, path = locate(source, repo_path)
    exists = Path(path).exists() if filesystem is None else filesystem.get_file_info(path).type
    if exists and not allow_overwrite:
        raise SavedDatasetLocationAlreadyExists(location=path)
    target = path if path.endswith(".parquet") else f"{path}/part-0.parquet"
    if filesystem is not None:
        # An object appears in object storage when its upload is complete.
        pq.write_table(table, target, filesystem=filesystem)
        return
    _write_atomic([table], table.schema, Path(target))


def append_rows(table: pa.Table, source: DataSource, repo_path: str) -> None:
    """Add rows: a new file where the source is a folder, else the file rewritten row group by
    row group, so that memory is one row group's."""
    if not is_parquet(source):
        _write_data_source(ibis.memtable(table), source, repo_path)
        return
    filesystem, path = locate(source, repo_path)
    if not path.endswith(".parquet"):
        name = f"{path}/part-{uuid.uuid4().hex}.parquet"
        if filesystem is not None:
            pq.write_table(table, name, filesystem=filesystem)
        else:
            _write_atomic([table], table.schema, Path(name))
        return
    with pq.ParquetFile(path, filesystem=filesystem) as old:
        schema = old.schema_arrow
        groups = (old.read_row_group(number) for number in range(old.num_row_groups))
        if filesystem is None:
            _write_atomic(chain(groups, [table.cast(schema)]), schema, Path(path))
            return
        whole = pa.concat_tables([*groups, table.cast(schema)])
    pq.write_table(whole, path, filesystem=filesystem)


def _write_atomic(tables: Iterable[pa.Table], schema: pa.Schema, path: Path) -> None:
    """Write beside the target, then rename over it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        with pq.ParquetWriter(beside, schema) as writer:
            for table in tables:
                writer.write_table(table)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
