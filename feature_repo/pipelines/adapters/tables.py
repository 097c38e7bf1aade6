"""The `tables` source: a team's own CSV, JSON lines and Parquet files, by a YAML mapping.

In: a folder of files and the page that says which column means what (mapping.py). Out: raw rows of
the canonical tables. Values are mapped here (columns.py) and judged in cleaning.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from feature_repo.pipelines.adapters.columns import map_chunk
from feature_repo.pipelines.adapters.mapping import FileRule, read_mapping
from feature_repo.pipelines.adapters.table_files import find_files, read_chunks
from feature_repo.pipelines.raw import RawInfo, RawSink
from feature_repo.pipelines.tables import DataError


def read(source: Path | None, sink: RawSink, options: Mapping[str, object]) -> RawInfo:
    """Read the files named by the mapping. Options: `mapping`, the path of the YAML page."""
    path = options.get("mapping")
    if path is None:
        raise DataError("--mapping is missing: a YAML page such as examples/mappings/shop.yaml")
    mapping = read_mapping(Path(str(path)))
    if source is None:
        raise DataError("--source is missing: the folder that holds the files of the mapping")
    # All files are looked for before the first is read: a typo should not cost an hour.
    work = [
        (table, rule, file)
        for table, rules in mapping.tables.items()
        for rule in rules
        for file in find_files(source, rule)
    ]
    for table, rule, file in work:
        _read_file(table, rule, file, sink)
    return RawInfo(
        source_text=mapping.about,
        time_resolution=mapping.time_resolution,
        snapshot_at=mapping.snapshot_at,
        value_bounds=mapping.value_bounds,
    )


def _read_file(table: str, rule: FileRule, file: Path, sink: RawSink) -> None:
    num_rows = num_used = 0
    for chunk in read_chunks(file, rule, sink, table):
        num_before = sum(sink.num_rejected.values())
        mapped = map_chunk(chunk, rule, table, sink)
        sink.write(table, mapped)
        num_rows += len(chunk)
        num_used += len(mapped) + sum(sink.num_rejected.values()) - num_before
    if rule.only:
        sink.note(
            f"{table}: {num_rows - num_used:,} of {num_rows:,} rows of {file.name} were left out "
            f"by `only` ({', '.join(rule.only)})."
        )
