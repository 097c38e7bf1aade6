"""Opens a Feast data source as an Arrow dataset: Parquet where it lies, all else through Feast.

In: a data source and the repo's path. Out: a pyarrow Dataset whose rows keep the files' order, and
the files theirs by name. Parquet may be a file, a folder (with Hive partitions or without) or a
pattern, on this machine or in object storage.
"""

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.dataset as pads
from feast.data_format import ParquetFormat
from feast.data_source import DataSource
from feast.infra.offline_stores.duckdb import _read_data_source
from feast.infra.offline_stores.file_source import FileSource
from fsspec.implementations.arrow import ArrowFSWrapper
from pyarrow.fs import FileSelector, FileSystem, FileType, LocalFileSystem

from feature_repo.plugins.delta_tables import is_delta, read_delta

_WILDCARDS = "*?["
_PACKAGES = {"lance": "pylance"}  # where the package is not called as the module


def open_source(source: DataSource, repo_path: str) -> pads.Dataset:
    """The rows behind a source. A relative path counts from the repo, as in Feast's file store."""
    if not is_parquet(source):
        return pads.InMemoryDataset(_read_elsewhere(source, repo_path))
    filesystem, path = locate(source, repo_path)
    try:
        files = list_files(filesystem, path)
        if not files:
            raise FileNotFoundError(path)
        if files == [path]:
            return pads.dataset(files, format="parquet", filesystem=filesystem)
        return pads.dataset(
            files,
            format="parquet",
            filesystem=filesystem,
            partitioning="hive",
            partition_base_dir=_fixed_part(path),
        )
    except FileNotFoundError as error:
        raise ValueError(
            f"no Parquet at '{source.path}', the source of '{source.name}'; write it with "
            f"`python -m feature_repo.pipelines.build`, or correct the source's path"
        ) from error
    except OSError as error:
        raise ValueError(
            f"cannot read '{source.path}', the source of '{source.name}': {error}"
        ) from error


def with_dictionaries(dataset: pads.Dataset, columns: Sequence[str]) -> pads.Dataset:
    """The dataset with text of these columns read as Parquet stores it: each name once."""
    text = [name for name in columns if dataset.schema.field(name).type == pa.string()]
    if not isinstance(dataset, pads.FileSystemDataset) or not text:
        return dataset
    kind = pads.ParquetFileFormat(dictionary_columns=text)
    schema = dataset.schema
    for name in text:
        encoded = pa.field(name, pa.dictionary(pa.int32(), pa.string()))
        schema = schema.set(schema.get_field_index(name), encoded)
    fragments = [
        kind.make_fragment(file.path, file.filesystem, file.partition_expression)
        for file in dataset.get_fragments()
    ]
    return pads.FileSystemDataset(fragments, schema, kind, dataset.filesystem)


def is_parquet(source: DataSource) -> bool:
    """Whether the source is Parquet, said outright or by Feast's default."""
    return isinstance(source, FileSource) and (
        source.file_format is None or isinstance(source.file_format, ParquetFormat)
    )


def locate(source: FileSource, repo_path: str) -> tuple[FileSystem, str]:
    """File system and path of a file source."""
    # Feast takes file:///folder for a relative path, having no host.
    plain = source.path.removeprefix("file://")
    uri = str(FileSource.get_uri_for_file_path(repo_path, plain))
    if uri.startswith("s3://"):
        filesystem, path = FileSource.create_filesystem_and_path(
            uri, source.s3_endpoint_override, source.resolve_credentials()
        )
        return filesystem, path.rstrip("/")
    if "://" in uri:
        filesystem, path = FileSystem.from_uri(uri)
        return filesystem, path.rstrip("/")
    return LocalFileSystem(), uri.rstrip("/")


def is_pattern(path: str) -> bool:
    """Whether the path stands for all files that fit it."""
    return any(wildcard in path for wildcard in _WILDCARDS)


def list_files(filesystem: FileSystem, path: str) -> list[str]:
    """Files of a path or pattern, by name.

    As Spark does, names that begin with "." or "_" are passed over, unless they are a partition.
    """
    if is_pattern(path):
        return sorted(ArrowFSWrapper(filesystem).glob(path))
    if filesystem.get_file_info(path).type == FileType.File:
        return [path]
    found = filesystem.get_file_info(FileSelector(path, recursive=True))
    inside = sorted(info.path for info in found if info.type == FileType.File)
    return [file for file in inside if not _is_hidden(file.removeprefix(path))]


def check_columns(dataset: pads.Dataset, columns: Sequence[str], what: str) -> None:
    """ValueError where the dataset lacks a column; `what` names the view in it."""
    missing = [column for column in columns if column not in dataset.schema.names]
    if missing:
        raise ValueError(
            f"{what} asks its source for {missing}, which has {dataset.schema.names}; write the "
            f"features again, or correct the view and run `feast apply`"
        )


def read_columns(dataset: pads.Dataset, columns: Sequence[str], what: str) -> pa.Table:
    """The named columns in file order, each in one chunk; `what` names the view in the error."""
    check_columns(dataset, columns, what)
    return dataset.to_table(columns=list(dict.fromkeys(columns))).combine_chunks()


def _read_elsewhere(source: DataSource, repo_path: str) -> pa.Table:
    """Delta; and Iceberg, Lance and MLflow as Feast's DuckDB store reads them."""
    kind = type(source).__name__
    if isinstance(source, FileSource) and not is_delta(source):
        raise ValueError(
            f"source '{source.name}' is a FileSource of {type(source.file_format).__name__}; this "
            f"store reads Parquet and Delta, write it as one of them"
        )
    try:
        if is_delta(source):
            return read_delta(source, repo_path)
        return _read_data_source(source, repo_path).to_pyarrow()
    except ImportError as error:
        module = str(error.name).partition(".")[0]
        package = _PACKAGES.get(module, module)
        raise ValueError(
            f"source '{source.name}' is a {kind}, which is read with the package {package}; run "
            f"`pip install {package}`"
        ) from error
    except AssertionError as error:
        raise ValueError(
            f"source '{source.name}' is a {kind}, which this store cannot read; it reads "
            f"FileSource, IcebergSource, LanceSource and MlflowDatasetSource"
        ) from error


def _fixed_part(path: str) -> str:
    """The folder below which names can differ: the path, or what is before its first wildcard."""
    first = min((path.find(wildcard) for wildcard in _WILDCARDS if wildcard in path), default=-1)
    return path if first < 0 else path[:first].rpartition("/")[0]


def _is_hidden(path: str) -> bool:
    return any(name[:1] in (".", "_") and "=" not in name for name in path.split("/") if name)
