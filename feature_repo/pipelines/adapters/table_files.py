"""Files of users' own tables (CSV, JSON lines, Parquet) as Arrow chunks, in bounded memory.

In: a file rule of the mapping. Out: chunks with the rule's columns as text (lists of text for list
columns, instants where Parquet has them), `source_file` and `line` (the row's number for Parquet).
A row that cannot be read is rejected; a missing file or column is a `DataError`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from feature_repo.pipelines.adapters.mapping import FileRule
from feature_repo.pipelines.delimited import Dialect, read_delimited
from feature_repo.pipelines.raw import RawSink
from feature_repo.pipelines.tables import DataError

BATCH_ROWS = 50_000
FORMATS = {
    ".csv": "csv",
    ".tsv": "csv",
    ".txt": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
}


def find_files(folder: Path, rule: FileRule) -> list[Path]:
    """The files that a rule names, sorted; a pattern that matches nothing is a `DataError`."""
    found: list[Path] = []
    for pattern in rule.files:
        absolute = Path(pattern).is_absolute()
        matches = [Path(pattern)] if absolute else sorted(folder.glob(pattern))
        matches = [path for path in matches if path.is_file()]
        if not matches:
            raise DataError(f"no file {pattern} in {folder}; {_listing(folder)}")
        found += matches
    return list(dict.fromkeys(found))


def _listing(folder: Path) -> str:
    if not folder.is_dir():
        return "that folder does not exist; --source says where the files lie"
    names = sorted(path.name for path in folder.iterdir())[:12]
    return f"it has: {', '.join(names) or 'nothing'}"


def read_chunks(path: Path, rule: FileRule, sink: RawSink, table: str) -> Iterator[pa.Table]:
    """Chunks of one file."""
    kind = rule.format or FORMATS.get(path.suffix.lower())
    if kind is None:
        known = ", ".join(FORMATS)
        raise DataError(f"{path}: say `format` in the mapping (the ending is none of {known})")
    columns = rule.source_columns()
    if kind == "csv":
        delimiter = rule.delimiter or ("\t" if path.suffix.lower() == ".tsv" else ",")
        dialect = Dialect(delimiter=delimiter, encoding=rule.encoding)
        return read_delimited(path, columns, sink, table, dialect)
    if kind == "jsonl":
        return _read_json_lines(path, columns, rule.list_columns(), sink, table)
    return _read_parquet(path, columns, rule.list_columns())


def _read_json_lines(
    path: Path, columns: Sequence[str], lists: set[str], sink: RawSink, table: str
) -> Iterator[pa.Table]:
    """One object a line. A column that no row has is an error; where a row lacks it, it is null."""
    unseen, keys = set(columns), set[str]()
    with path.open("rb") as lines:
        numbered = ((i, line) for i, line in enumerate(lines, 1) if line.strip())
        while batch := list(islice(numbered, BATCH_ROWS)):
            rows = []
            for line, text in batch:
                record = _parse_line(text, path, line, sink, table)
                if record is None:
                    continue
                keys |= record.keys()
                values = {name: _reach(record, name) for name in columns}
                unseen -= {name for name, (there, _) in values.items() if there}
                row = {name: _to_text(value, name in lists) for name, (_, value) in values.items()}
                if listed := [name for name in columns if row[name] is NotImplemented]:
                    sink.reject(table, f"{listed[0]} is a list", path.name, line, record)
                    continue
                rows.append(row | {"source_file": path.name, "line": line})
            yield pa.Table.from_pylist(rows, schema=_text_schema(columns, lists))
    if not keys:
        raise DataError(f"{path} has no rows that can be read")
    if unseen:
        raise DataError(
            f"{path} has no column {', '.join(map(repr, sorted(unseen)))} "
            f"(has: {', '.join(sorted(keys))[:300]})"
        )


def _text_schema(columns: Sequence[str], lists: set[str]) -> pa.Schema:
    fields = [(name, pa.list_(pa.string()) if name in lists else pa.string()) for name in columns]
    return pa.schema([*fields, ("source_file", pa.string()), ("line", pa.int64())])


def _parse_line(
    text: bytes, path: Path, line: int, sink: RawSink, table: str
) -> dict[str, object] | None:
    shown = {"text": text.decode("utf-8", "backslashreplace").strip()}
    try:
        record = json.loads(text.decode("utf-8"))
        if b"\\ud" in text.lower():  # half of a pair, which is no character
            json.dumps(record, ensure_ascii=False).encode("utf-8")
    except UnicodeError:
        sink.reject(table, "bytes that are not text", path.name, line, shown)
        return None
    except (json.JSONDecodeError, RecursionError):
        record = None
    if not isinstance(record, dict):
        sink.reject(table, "not a JSON object", path.name, line, shown)
        return None
    return record


def _reach(record: dict[str, object], name: str) -> tuple[bool, object]:
    """Whether the record has the column, and its value; a dot leads into a nested object."""
    if name in record:
        return True, record[name]
    head, _, rest = name.partition(".")
    inner = record.get(head)
    return _reach(inner, rest) if rest and isinstance(inner, dict) else (False, None)


def _to_text(value: object, may_be_list: bool) -> object:
    """Text as it would stand in a CSV; `NotImplemented` for a list where one value is expected."""
    if isinstance(value, list):
        if not may_be_list:
            return NotImplemented
        return [_to_text(inner, False) for inner in value if not isinstance(inner, list)]
    if value is None or isinstance(value, str):
        return [value] if may_be_list and value is not None else value
    text = json.dumps(value, ensure_ascii=False)
    return [text] if may_be_list else text


def _read_parquet(path: Path, columns: Sequence[str], lists: set[str]) -> Iterator[pa.Table]:
    try:
        file = pq.ParquetFile(path)
    except pa.ArrowInvalid as error:
        raise DataError(f"{path} is not a Parquet file: {error}") from error
    with file:
        names = _leaf_names(file.schema_arrow)
        missing = [name for name in columns if name not in names]
        if missing:
            raise DataError(
                f"{path} has no column {', '.join(map(repr, missing))} "
                f"(has: {', '.join(names)[:300]})"
            )
        num_rows = 0
        for batch in file.iter_batches(BATCH_ROWS, columns=list(columns)):
            flat = _flatten(pa.Table.from_batches([batch]))
            arrays = [_simplify(flat[name], name in lists, path, name) for name in columns]
            lines = pa.array(range(num_rows + 1, num_rows + len(batch) + 1), pa.int64())
            num_rows += len(batch)
            origin = [pa.repeat(path.name, len(batch)), lines]
            yield pa.Table.from_arrays([*arrays, *origin], [*columns, "source_file", "line"])
    if not num_rows:
        raise DataError(f"{path} has no rows")


def _leaf_names(schema: pa.Schema) -> list[str]:
    return list(_flatten(schema.empty_table()).column_names)


def _flatten(table: pa.Table) -> pa.Table:
    """Nested objects as columns named with dots."""
    while any(pa.types.is_struct(field.type) for field in table.schema):
        table = table.flatten()
    return table


def _simplify(column: pa.ChunkedArray, may_be_list: bool, path: Path, name: str) -> pa.Array:
    """Text, or what keeps its meaning without: instants, and lists of text."""
    array = column.combine_chunks()
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if pa.types.is_timestamp(array.type) or pa.types.is_date(array.type):
        return array
    is_list = pa.types.is_list(array.type) or pa.types.is_large_list(array.type)
    try:
        return array.cast(pa.list_(pa.string()) if is_list and may_be_list else pa.string())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise DataError(f"{path}, column {name!r}: {array.type} cannot be read as text") from error
