"""Writes tables behind Feast sources, so that a reader sees the old file or the new, never half.

In: an Arrow table and a file source. Out: Parquet, local or in object storage. Other formats go
through Feast's DuckDB store.
"""

import uuid
from collections.abc import Iterable, Sequence
from itertools import chain
from pathlib import Path

import ibis  # type: ignore[import-untyped]
import pyarrow as pa
import pyarrow.fs
import pyarrow.parquet as pq
from feast.data_source import DataSource
from feast.errors import SavedDatasetLocationAlreadyExists
from feast.infra.offline_stores.duckdb import _write_data_source

from feature_repo.plugins.source_table import is_parquet, locate


def write_source(
    tables: Iterable[pa.Table], source: DataSource, repo_path: str, allow_overwrite: bool
) -> None:
    """Make the tables, at least one, the whole content of the source.

    In a folder each is a file, and one at a time is held in memory.
    """
    if not is_parquet(source):
        table = ibis.memtable(pa.concat_tables(tables))
        _write_data_source(table, source, repo_path, "overwrite", allow_overwrite)
        return
    filesystem, path = locate(source, repo_path)
    exists = Path(path).exists() if filesystem is None else filesystem.get_file_info(path).type
    if exists and not allow_overwrite:
        raise SavedDatasetLocationAlreadyExists(location=path)
    if path.endswith(".parquet"):
        _write_file(tables, filesystem, path)
        return
    names = []
    for number, table in enumerate(tables):
        names.append(f"part-{number:05}.parquet")
        _write_file([table], filesystem, f"{path}/{names[-1]}")
    _delete_others(names, filesystem or pa.fs.LocalFileSystem(), path)


def append_rows(table: pa.Table, source: DataSource, repo_path: str) -> None:
    """Add rows: a new file where the source is a folder, else the file rewritten row group by
    row group, so that memory is one row group's."""
    if not is_parquet(source):
        _write_data_source(ibis.memtable(table), source, repo_path)
        return
    filesystem, path = locate(source, repo_path)
    if not path.endswith(".parquet"):
        _write_file([table], filesystem, f"{path}/part-{uuid.uuid4().hex}.parquet")
        return
    with pq.ParquetFile(path, filesystem=filesystem) as old:
        schema = old.schema_arrow
        groups = (old.read_row_group(number) for number in range(old.num_row_groups))
        _write_file(chain(groups, [table.cast(schema)]), filesystem, path)


def _write_file(tables: Iterable[pa.Table], filesystem: pa.fs.FileSystem | None, path: str) -> None:
    """All tables in one file."""
    if filesystem is None:
        _write_atomic(tables, Path(path))
        return
    # An object appears in object storage when its upload is complete; one that is written bit by
    # bit would be completed by an error as well.
    pq.write_table(pa.concat_tables(tables), path, filesystem=filesystem)


def _delete_others(names: Sequence[str], filesystem: pa.fs.FileSystem, folder: str) -> None:
    """Delete the Parquet files of a folder that are not among the names."""
    for file in filesystem.get_file_info(pa.fs.FileSelector(folder)):
        if file.extension == "parquet" and file.base_name not in names:
            filesystem.delete_file(file.path)


def _write_atomic(tables: Iterable[pa.Table], path: Path) -> None:
    """Write beside the target, then rename over it."""
    remaining = iter(tables)
    first = next(remaining)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        with pq.ParquetWriter(beside, first.schema) as writer:
            for table in chain([first], remaining):
                writer.write_table(table)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
