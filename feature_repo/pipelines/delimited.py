"""Delimited text files (CSV, TSV) as Arrow chunks of text, in bounded memory.

Comes in: a file with a header line. Goes out: chunks with the asked-for columns and, per row, its
file and line. A row that cannot be decoded or has the wrong number of fields goes to the sink's
rejects; a missing file or column is a `DataError`. Only `cast_column` interprets values.
"""

import codecs
import csv
import io
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, field_validator
from tqdm import tqdm

from feature_repo.pipelines.raw import RawSink
from feature_repo.pipelines.tables import DataError

LONGEST_FIELD = (
    16 * 2**20
)  # characters; the csv module's own limit of 128 KiB is short for articles


class Dialect(BaseModel):
    """How a delimited file is written."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    delimiter: str = Field(default=",", min_length=1, max_length=1)
    encoding: str = "utf-8"
    quoted: bool = True
    """False: a quotation mark is a character like any other (the HetRec files)."""

    @field_validator("encoding")
    @classmethod
    def _known_encoding(cls, encoding: str) -> str:
        try:
            return codecs.lookup(encoding).name
        except LookupError as error:
            raise ValueError(f"{encoding!r} is not an encoding Python knows; try utf-8") from error


TAB_SEPARATED = Dialect(delimiter="\t", quoted=False)


def require_file(source: Path | None, name: str) -> Path:
    """The file `name` in the folder `source`; a `DataError` that lists what is there instead."""
    if source is None:
        raise DataError(f"--source is missing: give the folder that holds {name}")
    path = source / name
    if path.is_file():
        return path
    if not source.is_dir():
        raise DataError(f"the source folder {source} does not exist (looked for {name} in it)")
    there = sorted(entry.name for entry in source.iterdir())[:12]
    raise DataError(f"{path} does not exist; the folder has: {', '.join(there) or 'nothing'}")


def read_delimited(
    path: Path,
    columns: Sequence[str],
    sink: RawSink,
    table: str,
    dialect: Dialect | None = None,
    *,
    may_be_empty: bool = False,
    batch_rows: int = 100_000,
) -> Iterator[pa.Table]:
    """Yield chunks with `columns` as text, `source_file` and `line`.

    Rows that cannot be read are rejected under the canonical `table` they were meant for. Raises
    `DataError` if a column is not in the header or the file has no rows.
    """
    dialect = dialect or Dialect()
    encoding = "utf-8-sig" if dialect.encoding == "utf-8" else dialect.encoding  # drop a BOM
    csv.field_size_limit(LONGEST_FIELD)
    with (
        path.open("rb") as binary,
        # A byte that is not text becomes a lone surrogate, which marks its row for rejection below.
        io.TextIOWrapper(binary, encoding, errors="surrogateescape", newline="") as text,
        tqdm(
            total=path.stat().st_size, unit="B", unit_scale=True, desc=path.name, disable=None
        ) as bar,
    ):
        rows = _numbered_rows(text, path, dialect)
        header = next(rows, (0, []))[1]
        where = _column_numbers(header, columns, path)
        num_rows = 0
        while batch := list(islice(rows, batch_rows)):
            num_rows += len(batch)
            good = _reject_ragged(batch, header, path, sink, table)
            yield _to_chunk(good, columns, where, path, sink, table)
            bar.update(binary.tell() - bar.n)
        if not num_rows and not may_be_empty:
            raise DataError(f"{path} has a header and no rows")


def _numbered_rows(
    text: io.TextIOWrapper, path: Path, dialect: Dialect
) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader(
        text,
        delimiter=dialect.delimiter,
        quoting=csv.QUOTE_MINIMAL if dialect.quoted else csv.QUOTE_NONE,
    )
    line = 1
    try:
        for row in reader:
            if row:  # an empty line is not a row
                yield line, row
            line = reader.line_num + 1
    except (csv.Error, UnicodeError) as error:
        hint = "is a quotation mark left open?" if dialect.quoted else "is the delimiter right?"
        raise DataError(f"{path}, line {line}: {error}; {hint}") from error


def _column_numbers(header: list[str], columns: Sequence[str], path: Path) -> list[int]:
    names = [name.strip() for name in header]
    if not names:
        raise DataError(f"{path} is empty: not even a header line")
    missing = [column for column in columns if column not in names]
    if missing:
        readable = _show_bytes(", ".join(names))[:300]
        raise DataError(f"{path} has no column {', '.join(map(repr, missing))} (has: {readable})")
    return [names.index(column) for column in columns]


Numbered = list[tuple[int, list[str]]]


def _reject_ragged(
    batch: Numbered, header: list[str], path: Path, sink: RawSink, table: str
) -> Numbered:
    width = len(header)
    for line, row in batch:
        if len(row) != width:
            fields = {"fields": row, "expected": width}
            sink.reject(table, "wrong number of fields", path.name, line, fields)
    return [(line, row) for line, row in batch if len(row) == width]


def _to_chunk(
    rows: Numbered, columns: Sequence[str], where: list[int], path: Path, sink: RawSink, table: str
) -> pa.Table:
    try:
        arrays = [pa.array([row[i] for _, row in rows], pa.string()) for i in where]
    except UnicodeEncodeError:
        readable = [_is_text([row[i] for i in where]) for _, row in rows]
        for (line, row), good in zip(rows, readable, strict=True):
            if not good:
                fields = {"fields": [_show_bytes(field) for field in row]}
                sink.reject(table, "bytes that are not text", path.name, line, fields)
        rows = [row for row, good in zip(rows, readable, strict=True) if good]
        return _to_chunk(rows, columns, where, path, sink, table)
    origin = [
        pa.array([path.name] * len(rows), pa.string()),
        pa.array([line for line, _ in rows], pa.int64()),
    ]
    return pa.Table.from_arrays([*arrays, *origin], [*columns, "source_file", "line"])


def _is_text(row: list[str]) -> bool:
    return not any("\udc80" <= character <= "\udcff" for field in row for character in field)


def _show_bytes(field: str) -> str:
    return field.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def cast_column(
    chunk: pa.Table, column: str, to: pa.DataType, sink: RawSink, table: str
) -> pa.Table:
    """The chunk with one text column as numbers; a row with no such number is rejected."""
    index = chunk.column_names.index(column)
    try:
        return chunk.set_column(index, column, chunk[column].cast(to))
    except pa.ArrowInvalid:
        fits = [_fits(value, to) for value in chunk[column].to_pylist()]
        for row in chunk.filter([not fit for fit in fits]).to_pylist():
            origin = row.pop("source_file"), row.pop("line")
            sink.reject(table, f"{column} is not a number", *origin, row)
        return cast_column(chunk.filter(fits), column, to, sink, table)


def _fits(value: str, to: pa.DataType) -> bool:
    try:
        pa.array([value], pa.string()).cast(to)
    except pa.ArrowInvalid:
        return False
    return True
