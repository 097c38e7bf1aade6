"""A view's source cut into pieces that can be read apart: runs of Parquet row groups.

In: an Arrow dataset. Out: pieces in file order, each with the number of its first row, that another
process reads by itself. Knows nothing of Feast, whose import would cost that process seconds.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.dataset as pads

_TABLE_ROWS = 1 << 20


@dataclass(frozen=True)
class Piece:
    """Rows of a source that follow one another."""

    source: pads.FileSystemDataset | pa.Table
    """Row groups with the schema of the whole source; a table where the source is not Parquet."""
    first_row: int
    """Its number in the whole source."""
    num_rows: int
    num_bytes: int
    """Of the columns asked for; in Parquet encoded, but not compressed."""
    versions: tuple[tuple[str, int, int], ...] = ()
    """What is known of the files since the pieces were cut."""

    def read(self, columns: Sequence[str]) -> pa.Table:
        """The named columns; ValueError if a file is no longer the one that was cut."""
        names = list(dict.fromkeys(columns))
        if isinstance(self.source, pa.Table):
            return self.source.select(names)
        table = self.source.to_table(columns=names)
        # Asked after reading: a file replaced before or meanwhile shows its new time.
        if file_versions(self.source) != self.versions:
            raise ValueError(
                f"{sorted(set(self.source.files))} were written while they were being joined, so "
                f"row numbers no longer mean the same rows; ask again"
            )
        return table


def cut_source(dataset: pads.Dataset, columns: Sequence[str], piece_bytes: int) -> list[Piece]:
    """Pieces of about `piece_bytes` of these columns, at least one, together the whole dataset."""
    if isinstance(dataset, pads.FileSystemDataset):
        return _cut_files(dataset, set(columns), piece_bytes)
    table = dataset.to_table(columns=list(dict.fromkeys(columns)))
    starts = range(0, max(table.num_rows, 1), _TABLE_ROWS)
    parts = [(start, table.slice(start, _TABLE_ROWS)) for start in starts]
    return [Piece(part, start, part.num_rows, part.nbytes) for start, part in parts]


def file_versions(dataset: pads.Dataset) -> tuple[tuple[str, int, int], ...]:
    """Path, size and time of writing of each file: another where one was replaced."""
    if not isinstance(dataset, pads.FileSystemDataset):
        return ()
    paths = sorted(set(dataset.files))
    files = dataset.filesystem.get_file_info(paths) if paths else []
    return tuple((file.path, file.size, file.mtime_ns) for file in files)


def _cut_files(dataset: pads.FileSystemDataset, columns: set[str], piece_bytes: int) -> list[Piece]:
    pieces: list[Piece] = []
    first_row = 0
    for run in _runs(dataset, columns, piece_bytes):
        groups = [group for group, _ in run]
        source = pads.FileSystemDataset(groups, dataset.schema, dataset.format, dataset.filesystem)
        num_rows = sum(group.row_groups[0].num_rows for group in groups)
        num_bytes = sum(size for _, size in run)
        pieces.append(Piece(source, first_row, num_rows, num_bytes, file_versions(source)))
        first_row += num_rows
    return pieces


def _runs(
    dataset: pads.FileSystemDataset, columns: set[str], piece_bytes: int
) -> Iterator[list[tuple[pads.ParquetFileFragment, int]]]:
    """Row groups with their bytes, together about `piece_bytes`; one empty run for no row group."""
    run: list[tuple[pads.ParquetFileFragment, int]] = []
    groups = [group for file in dataset.get_fragments() for group in file.split_by_row_group()]
    for group in groups:
        run.append((group, _num_bytes(group, columns)))
        if sum(size for _, size in run) >= piece_bytes:
            yield run
            run = []
    if run or not groups:
        yield run


def _num_bytes(group: pads.ParquetFileFragment, columns: set[str]) -> int:
    stored = group.metadata.row_group(group.row_groups[0].id)
    leaves = (stored.column(number) for number in range(stored.num_columns))
    # A list's values are stored as "name.list.element".
    return sum(
        leaf.total_uncompressed_size
        for leaf in leaves
        if leaf.path_in_schema.split(".", 1)[0] in columns or leaf.path_in_schema in columns
    )
