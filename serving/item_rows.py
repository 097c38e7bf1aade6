"""Item rows: what one item view says of every item, encoded, and as the feature store has it.

In: a view's newest rows, encoded by the bundle's encoder. Out: encoded rows by position for the
model, values for people. A row that is pushed takes the place of an older one at once.
"""

# Shapes: I items, C candidates

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch

from serving.catalogue import entries, one_chunk
from training.encode import Columns, Encoder
from training.join import ViewRows
from training.plain_rows import Row, as_table
from training.projector import ViewBatch
from training.schema import ViewSpec

Instants = npt.NDArray[np.int64]
Positions = npt.NDArray[np.int64]


@dataclass
class ItemRows:
    """One item view; row i describes item i."""

    view: ViewSpec
    columns: Columns
    """Encoded rows [I]; zeros for an item without a row."""
    present: torch.Tensor
    """bool [I]: whether the view has a row for the item."""
    written_at_us: Instants
    """[I]: event time of each row, -1 where there is none."""
    values: pa.Table
    """[I]: the same rows as the feature store has them, but for embeddings."""
    dated: bool = True
    """False where `written_at_us` is the end of a bundle's data, not the rows' own times."""
    pushed: dict[int, Row] = field(default_factory=dict)
    """By position: rows that came since the others were read."""
    changes: Instants = field(init=False)
    """[I]: how often each row was written to since."""
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def __post_init__(self) -> None:
        self.changes = np.zeros(len(self.written_at_us), np.int64)

    @classmethod
    def of(cls, encoder: Encoder, view: ViewSpec, found: ViewRows, at_us: int) -> "ItemRows":
        """A bundle's rows, in memory."""
        there = found.rows >= 0
        whole = len(there) == found.features.num_rows and bool((np.diff(found.rows) == 1).all())
        columns = encoder.encode(view.name, found.features)
        return cls(
            view,
            columns if whole and there.all() else expanded(columns, found.rows),
            torch.from_numpy(there),
            np.where(there, at_us, -1),
            shown_values(view, found),
            dated=False,
        )

    def gathered(self, index: torch.Tensor, at: torch.Tensor) -> ViewBatch:
        """The encoded rows of C items, as the model takes them; none is half old and half new."""
        with self._lock:
            columns = {name: column[index] for name, column in self.columns.items()}
            return ViewBatch.gathered(columns, self.present[index], at)

    def put(self, encoder: Encoder, new: Mapping[int, tuple[int, Row]]) -> list[int]:
        """Take in whole rows, by position, each with its event time; returns the positions of those
        that are not older than what is there.

        ValueError where a row cannot be encoded; then nothing has changed.
        """
        taken = {place: own for place, own in new.items() if own[0] >= self.written_at_us[place]}
        if not taken:
            return []
        rows = [row for _, row in taken.values()]
        encoded, places = encoder.encode(self.view.name, as_table(self.view, rows)), list(taken)
        with self._lock:
            for name, column in encoded.items():
                self.columns[name][places] = column
            self.present[places] = True
            self.written_at_us[places] = [at_us for at_us, _ in taken.values()]
            self.pushed.update(zip(places, rows, strict=True))
            self.changes[places] += 1
        return places

    def row(self, position: int) -> Row | None:
        """The values behind the encoded row, embeddings as they are encoded; None without a row."""
        if not self.present[position]:
            return None
        values = self.pushed.get(position) or self.values.slice(position, 1).to_pylist()[0]
        vectors = {
            spec.name: self.columns[f"embedding:{spec.name}"][position].tolist()
            for spec in self.view.of_kind("embedding")
        }
        return {spec.name: {**values, **vectors}.get(spec.name) for spec in self.view.inputs}

    def entries(self, name: str, positions: Positions | pa.Array) -> list[list[str]]:
        """The entries of a list of several items [C], as the feature store has them; none where it
        has no row. It takes hardly longer than of one item."""
        found: list[object] = one_chunk(self.values.column(name)).take(positions).to_pylist()
        for place, position in enumerate(positions.tolist() if self.pushed else ()):
            if new := self.pushed.get(position):
                found[place] = new.get(name)
        return [list(entries(one)) for one in found]


def gathered(
    views: Mapping[str, ItemRows], positions: npt.NDArray[np.int64], at_us: int
) -> dict[str, ViewBatch]:
    """By view, the encoded rows of C items."""
    index = torch.from_numpy(positions)
    at = torch.full((len(positions),), at_us, dtype=torch.int64)
    return {view: rows.gathered(index, at) for view, rows in views.items()}


def shown_values(view: ViewSpec, found: ViewRows) -> pa.Table:
    """The rows [I] in the order of the items, but for embeddings; null where there is none."""
    names = [field.name for field in view.inputs if field.kind != "embedding"]
    rows = pa.array(found.rows, mask=found.rows < 0)
    return found.features.select(names).take(rows).combine_chunks()


def expanded(columns: Columns, rows: npt.NDArray[np.integer]) -> Columns:
    """Encoded rows in the order of the items, zeros where an item has none."""
    if not len(next(iter(columns.values()))):
        return {n: c.new_zeros((len(rows), *c.shape[1:])) for n, c in columns.items()}
    index, absent = torch.from_numpy(np.maximum(rows, 0)), torch.from_numpy(rows < 0)
    columns = {name: column[index] for name, column in columns.items()}
    for column in columns.values():
        column[absent] = 0
    return columns
