"""Delta tables behind Feast sources, read and written with the package deltalake.

In: a file source of Delta format. Out: an Arrow table, or a new version of the Delta table. Feast's
DuckDB store downloads an extension of DuckDB to read them and writes for deltalake before 1.0.
"""

from typing import Literal

import pyarrow as pa
from feast.data_format import DeltaFormat
from feast.data_source import DataSource
from feast.errors import SavedDatasetLocationAlreadyExists
from feast.infra.offline_stores.file_source import FileSource


def is_delta(source: DataSource) -> bool:
    """Whether the source is a Delta table."""
    return isinstance(source, FileSource) and isinstance(source.file_format, DeltaFormat)


def read_delta(source: FileSource, repo_path: str) -> pa.Table:
    """All rows of the newest version. ImportError without deltalake."""
    import deltalake  # not everybody needs it

    try:
        table = deltalake.DeltaTable(_uri(source, repo_path), storage_options=_options(source))
    except deltalake.exceptions.TableNotFoundError as error:
        raise ValueError(
            f"no Delta table at '{source.path}', the source of '{source.name}'"
        ) from error
    return table.to_pyarrow_table()


def write_delta(
    table: pa.Table, source: FileSource, repo_path: str, mode: Literal["append", "overwrite"]
) -> None:
    """A new version with the rows added, or with no others. Delta keeps writers apart."""
    import deltalake

    uri, options = _uri(source, repo_path), _options(source)
    if mode == "append":
        there = deltalake.DeltaTable(uri, storage_options=options)
        table = table.cast(pa.schema(there.schema()))
    deltalake.write_deltalake(uri, table, mode=mode, storage_options=options)


def refuse_delta(source: FileSource, repo_path: str) -> None:
    """SavedDatasetLocationAlreadyExists if there is a table."""
    import deltalake

    if deltalake.DeltaTable.is_deltatable(_uri(source, repo_path), _options(source)):
        raise SavedDatasetLocationAlreadyExists(location=source.path)


def _uri(source: FileSource, repo_path: str) -> str:
    return str(FileSource.get_uri_for_file_path(repo_path, source.path))


def _options(source: FileSource) -> dict[str, str]:
    """Where object storage is and who asks; what is not said here comes from AWS's variables."""
    options = {name: str(value) for name, value in (source.resolve_credentials() or {}).items()}
    endpoint = source.s3_endpoint_override
    if endpoint:
        options["AWS_ENDPOINT_URL"] = endpoint
        options["AWS_ALLOW_HTTP"] = str(endpoint.startswith("http://")).lower()
    return options
