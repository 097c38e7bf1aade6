"""A view's feature rows, read when somebody wants them and not before.

In: the Arrow dataset behind a view and the columns asked for. Out: the rows in file order, in
memory or as memory-mapped columns. Row numbers of a join count these rows, so a source that has
changed since is an error.
"""

import tempfile
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as pads

from feature_repo.plugins.source_pieces import file_versions


class FeatureRows:
    """Columns of a dataset under the names that a view gives them."""

    def __init__(
        self,
        dataset: pads.Dataset,
        columns: Sequence[tuple[str, str]],
        what: str,
        spill_dir: str | None = None,
    ) -> None:
        """columns: (name in the dataset, name outside). what: names the view in an error."""
        self._dataset = dataset
        self._columns = columns
        self._what = what
        self._spill_dir = spill_dir
        self._version = file_versions(dataset)

    def read(self) -> pa.Table:
        """All rows, in memory, one chunk."""
        table = self._dataset.to_table(columns=[column for column, _ in self._columns])
        self._check_version()
        return self._named(table.combine_chunks())

    @cached_property
    def mapped(self) -> pa.Table:
        """All rows as columns in a file that is mapped, not read: memory holds what is in use."""
        columns = [column for column, _ in self._columns]
        scanner = self._dataset.scanner(columns=columns)
        with tempfile.TemporaryDirectory(prefix="features_", dir=self._spill_dir) as folder:
            path = Path(folder) / "rows.arrow"
            with pa.ipc.new_file(path, scanner.projected_schema) as writer:
                for batch in scanner.to_batches():
                    writer.write_batch(batch)
            self._check_version()
            # The mapping outlives the file's name, so nothing is left behind.
            return self._named(pa.ipc.open_file(pa.memory_map(str(path))).read_all())

    def _named(self, table: pa.Table) -> pa.Table:
        return table.rename_columns([name for _, name in self._columns])

    def _check_version(self) -> None:
        if file_versions(self._dataset) != self._version:
            raise ValueError(
                f"the source of {self._what} was written while it was being joined, so its rows "
                f"are no longer those that were matched; ask again"
            )
