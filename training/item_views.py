"""Item views of a bundle: the newest rows of each, and which item each row describes.

In: a bundle's folder. Out: feature rows by view, read when somebody asks for them: a server encodes
them once, and what it keeps of them is smaller.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from training.join import NO_ROW, ViewRows


class ItemViews(Mapping[str, ViewRows]):
    """A bundle folder's item views, each read from its file at every look."""

    def __init__(self, path: Path, names: Sequence[str], num_items: int) -> None:
        self._path, self._names, self._num_items = path, tuple(names), num_items

    def __getitem__(self, name: str) -> ViewRows:
        if name not in self._names:
            raise KeyError(name)
        return read_item_view(self._path, name, self._num_items)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def read_item_view(path: Path, name: str, num_items: int) -> ViewRows:
    """One item view's snapshot."""
    table = pq.read_table(path / "item_views" / f"{name}.parquet")
    rows = np.full(num_items, NO_ROW, np.int64)
    rows[table.column("item_place").to_numpy()] = np.arange(table.num_rows)
    return ViewRows(table.drop_columns(["item_place"]).combine_chunks(), rows)
