"""Opens a Feast data source as an Arrow dataset: Parquet files in place, all else through Feast.

In: a data source and the repo's path. Out: a pyarrow Dataset whose rows keep the files' order.
"""

import glob
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.dataset as pads
from feast.data_format import ParquetFormat
from feast.data_source import DataSource
from feast.infra.offline_stores.duckdb import _read_data_source
from feast.infra.offline_stores.file_source import FileSource


def open_source(source: DataSource, repo_path: str) -> pads.Dataset:
    """The rows behind a source. A relative path counts from the repo, as in Feast's file store."""
    if not is_parquet(source):
        # Delta, Iceberg, Lance: Feast's DuckDB store knows how to read them.
        return pads.InMemoryDataset(_read_data_source(source, repo_path).to_pyarrow())
    filesystem, path = locate(source, repo_path)
    # The path is absolute, which Path.glob refuses.
    files = sorted(glob.glob(path)) if filesystem is None and "*" in path else path  # noqa: PTH207
    try:
        return pads.dataset(files, format="parquet", filesystem=filesystem)
    except FileNotFoundError as error:
        raise ValueError(
            f"no Parquet at '{path}', the source of '{source.name}'; write it with "
            f"`python -m feature_repo.pipelines.build`, or correct the source's path"
        ) from error


def with_dictionaries(dataset: pads.Dataset, columns: Sequence[str]) -> pads.Dataset:
    """The dataset with text of these columns read as Parquet stores it: each name once."""
    if not isinstance(dataset, pads.FileSystemDataset):
        return dataset
    text = [name for name in columns if dataset.schema.field(name).type == pa.string()]
    return pads.dataset(
        dataset.files,
        format=pads.ParquetFileFormat(dictionary_columns=text),
        filesystem=dataset.filesystem,
    )


def is_parquet(source: DataSource) -> bool:
    """Whether the source is Parquet, said outright or by Feast's default."""
    return isinstance(source, FileSource) and (
        source.file_format is None or isinstance(source.file_format, ParquetFormat)
    )


def locate(source: FileSource, repo_path: str) -> tuple[pa.fs.FileSystem | None, str]:
    """File system (None: local) and path of a file source."""
    uri = str(FileSource.get_uri_for_file_path(repo_path, source.path))
    filesystem, path = FileSource.create_filesystem_and_path(
        uri, source.s3_endpoint_override, source.resolve_credentials()
    )
    return filesystem, path.removeprefix("file://")


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
