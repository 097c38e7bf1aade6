"""Writes tables behind Feast sources, so that a reader sees a file whole or not at all.

In: an Arrow table and a file source. Out: Parquet, local or in object storage. Delta goes through
its own module, other formats through Feast's DuckDB store.
"""

import fcntl
import os
import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from urllib.parse import quote

import ibis  # type: ignore[import-untyped]
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from feast.data_source import DataSource
from feast.errors import SavedDatasetLocationAlreadyExists
from feast.infra.offline_stores.duckdb import _write_data_source
from pyarrow.fs import FileSystem, FileType, LocalFileSystem

from feature_repo.plugins.delta_tables import is_delta, refuse_delta, write_delta
from feature_repo.plugins.source_table import (
    is_parquet,
    is_pattern,
    list_files,
    locate,
    open_source,
)

_NO_VALUE = "__HIVE_DEFAULT_PARTITION__"


def write_source(
    tables: Iterable[pa.Table], source: DataSource, repo_path: str, allow_overwrite: bool
) -> None:
    """Make the tables, at least one, the whole content of the source.

    A file is replaced at once. In a folder each table is a file, one at a time is held in memory,
    and the files that were there go when the new ones are written.
    """
    if is_delta(source):
        if not allow_overwrite:
            refuse_delta(source, repo_path)
        write_delta(pa.concat_tables(tables), source, repo_path, "overwrite")
        return
    if not is_parquet(source):
        table = ibis.memtable(pa.concat_tables(tables))
        _write_data_source(table, source, repo_path, "overwrite", allow_overwrite)
        return
    filesystem, path = locate(source, repo_path)
    there = filesystem.get_file_info(path).type
    if there != FileType.NotFound and not allow_overwrite:
        raise SavedDatasetLocationAlreadyExists(location=source.path)
    if _is_folder(there, path):
        old = list_files(filesystem, path) if there == FileType.Directory else []
        new = [_put(filesystem, f"{path}/part-{i:05}.parquet", [t]) for i, t in enumerate(tables)]
        for file in set(old) - set(new):
            filesystem.delete_file(file)
    elif there == FileType.File and isinstance(filesystem, LocalFileSystem):
        with _only_writer(Path(path)):
            _put(filesystem, path, tables)
    else:
        _put(filesystem, path, tables)


def append_rows(table: pa.Table, source: DataSource, repo_path: str) -> None:
    """Add rows, all or none; rows that others add meanwhile are kept.

    In a folder that is one more file. A Parquet file ends with its index and cannot grow, so a
    local file is copied, row group by row group, with the rows behind them, and replaced: use a
    folder where rows are added often. An object of object storage, where no lock would keep two
    writers apart, is refused.
    """
    if is_delta(source):
        write_delta(table, source, repo_path, "append")
        return
    if not is_parquet(source):
        _write_data_source(ibis.memtable(table), source, repo_path)
        return
    if is_pattern(source.path):
        raise ValueError(
            f"'{source.path}', the source of '{source.name}', is a pattern, to which nothing can "
            f"be added; make the source the folder"
        )
    filesystem, path = locate(source, repo_path)
    there = filesystem.get_file_info(path).type
    if _is_folder(there, path):
        schema = open_source(source, repo_path).schema if there == FileType.Directory else None
        add_part(_fitting(table, schema, source), filesystem, path)
    elif isinstance(filesystem, LocalFileSystem):
        with _only_writer(Path(path)), pq.ParquetFile(path) as old:
            schema = old.schema_arrow
            added = _fitting(table, schema, source)
            groups = (old.read_row_group(number) for number in range(old.num_row_groups))
            _put(filesystem, path, chain(groups, [added]), _compression(old))
    else:
        raise ValueError(
            f"'{source.path}', the source of '{source.name}', is one object, to which nothing can "
            f"be added safely; make the source a folder of Parquet files"
        )


def add_part(
    table: pa.Table, filesystem: FileSystem, folder: str, partition_by: Sequence[str] = ()
) -> None:
    """A new file in a folder, or one in each Hive partition. Later ones come later by name."""
    name = _part_name()
    for partition, rows in _partitions(table, partition_by):
        _put(filesystem, "/".join([folder, *partition, name]), [rows])


def _is_folder(there: FileType, path: str) -> bool:
    """Spark names folders *.parquet too; of what is not there yet, only the name can tell."""
    return there == FileType.Directory or (
        there == FileType.NotFound and not path.endswith(".parquet")
    )


def _part_name() -> str:
    return f"part-{time.time_ns()}-{uuid.uuid4().hex}.parquet"


def _fitting(table: pa.Table, schema: pa.Schema | None, source: DataSource) -> pa.Table:
    """The rows in the types of those that are there."""
    try:
        return table.cast(schema) if schema else table
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise ValueError(f"rows do not fit the source '{source.name}': {error}") from error


def _partitions(table: pa.Table, by: Sequence[str]) -> Iterator[tuple[list[str], pa.Table]]:
    """Folder names of each partition and its rows, without the columns that the names tell."""
    if not by:
        yield [], table
        return
    for values in table.group_by(list(by)).aggregate([]).to_pylist():
        rows = table
        for name, value in values.items():
            column = rows.column(name)
            rows = rows.filter(
                pc.is_null(column) if value is None else pc.equal(column, pa.scalar(value))
            )
        names = [
            f"{name}={_NO_VALUE if value is None else quote(str(value))}"
            for name, value in values.items()
        ]
        yield names, rows.drop_columns(list(by))


def _compression(file: pq.ParquetFile) -> str:
    if not file.num_row_groups:
        return "snappy"
    codec = str(file.metadata.row_group(0).column(0).compression).lower()
    return "none" if codec == "uncompressed" else codec


@contextmanager
def _only_writer(path: Path) -> Iterator[None]:
    """Wait until nobody else is replacing the file. Readers are not kept waiting."""
    while True:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            # Whoever had the lock may have put another file in this one's place.
            if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                yield
                return


def _put(
    filesystem: FileSystem, path: str, tables: Iterable[pa.Table], compression: str = "snappy"
) -> str:
    """Tables, at least one, in one file; its path."""
    if isinstance(filesystem, LocalFileSystem):
        _replace(Path(path), tables, compression)
        return path
    # An object appears when its upload ends, by an error too: so nothing is sent before all is
    # known.
    encoded = pa.BufferOutputStream()
    _encode(tables, encoded, compression)
    with filesystem.open_output_stream(path) as stream:
        stream.write(encoded.getvalue())
    return path


def _replace(path: Path, tables: Iterable[pa.Table], compression: str) -> None:
    """Write beside the target, then rename over it. Readers of the folder pass over the name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        _encode(tables, beside, compression)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def _encode(tables: Iterable[pa.Table], where: Path | pa.NativeFile, compression: str) -> None:
    remaining = iter(tables)
    first = next(remaining)
    with pq.ParquetWriter(where, first.schema, compression=compression) as writer:
        for table in chain([first], remaining):
            writer.write_table(table)
