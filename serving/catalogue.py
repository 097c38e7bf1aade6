"""Catalogue: what people are shown of items, in Arrow columns, looked up by position.

In: a table of items. Out: titles and categories of single items, masks of categories. Nothing here
is a Python object for each item: a million of them would take a gigabyte.
"""

# Shapes: I items

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property
from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from serving.item_ids import ItemIds

T = TypeVar("T")
Mask = npt.NDArray[np.bool_]
Positions = npt.NDArray[np.int64]

COLUMNS = ("item_id", "title", "category", "categories", "available_at_us")


class ByPosition(Generic[T]):
    """Something of each item, made when it is asked for."""

    def __init__(self, num_items: int, look_up: Callable[[int], T]) -> None:
        self._num_items, self._look_up = num_items, look_up

    def __getitem__(self, position: int) -> T:
        if not 0 <= position < self._num_items:
            raise IndexError(f"position {position} of {self._num_items} items")
        return self._look_up(int(position))

    def __len__(self) -> int:
        return self._num_items

    def __iter__(self) -> Iterator[T]:
        return map(self._look_up, range(self._num_items))


class Catalogue:
    """A table of items [I] with the columns of `COLUMNS`, each id once."""

    def __init__(self, items: pa.Table) -> None:
        self._columns = {name: one_chunk(items.column(name)) for name in COLUMNS}
        self.position = ItemIds(self._columns["item_id"])
        self._changed: dict[int, Mapping[str, object]] = {}
        num = items.num_rows
        self.item_ids = ByPosition(num, lambda place: str(self._value("item_id", place)))
        self.titles = ByPosition(num, lambda place: str(self._value("title", place)))
        self.category = ByPosition(num, self._category)
        self.categories = ByPosition(num, self._category_set)

    def __len__(self) -> int:
        return len(self.position)

    def available_at_us(self) -> Positions:
        """Since when each item can be taken up [I], microseconds since 1970; a copy."""
        return np.array(self._columns["available_at_us"], np.int64)

    def since_us(self, position: int) -> int:
        """Since when an item can be taken up."""
        return int(str(self._value("available_at_us", position)))

    def texts(self, name: str, positions: Positions | pa.Array) -> list[str]:
        """A column of text of several items [C], which takes hardly longer than of one."""
        return [str(value) for value in self._values(name, positions)]

    def listed_categories(self, positions: Positions | pa.Array) -> list[tuple[str, ...]]:
        """Of several items [C], each in the order of the data."""
        return [entries(value) for value in self._values("categories", positions)]

    def memberships(self, positions: Positions) -> npt.NDArray[np.float32]:
        """1 where an item [C] is of a category [G]: of all that these items have, by name."""
        lists = self._columns["categories"].take(pa.array(positions))
        rows = np.asarray(pc.list_parent_indices(lists), np.int64)
        names = pc.list_flatten(lists).to_numpy(zero_copy_only=False)
        places = [i for i, position in enumerate(positions.tolist()) if position in self._changed]
        if places:
            kept = ~np.isin(rows, places)
            own = self.listed_categories(positions[places])
            rows = np.append(rows[kept], np.repeat(places, [len(listed) for listed in own]))
            names = np.append(names[kept], [name for listed in own for name in listed])
        found, codes = np.unique(names.astype(str), return_inverse=True)
        member_CG = np.zeros((len(positions), len(found)), np.float32)
        member_CG[rows, codes] = 1.0
        return member_CG

    def change(self, position: int, values: Mapping[str, object]) -> None:
        """Show these values of an item from now on; those that are none of `COLUMNS` or null have
        no effect."""
        shown = {name: values[name] for name in COLUMNS[1:] if values.get(name) is not None}
        self._changed[position] = {**self._changed.get(position, {}), **shown}

    def in_categories(self, names: Iterable[str]) -> Mask:
        """Mask [I] of items with at least one of the categories."""
        wanted, mask = frozenset(names), np.zeros(len(self), np.bool_)
        for name in wanted & self._members.keys():
            mask[self._members[name]] = True
        for position in self._changed:
            mask[position] = bool(wanted & self.categories[position])
        return mask

    def category_sizes(self) -> dict[str, int]:
        """Number of items of each category, as the table has them."""
        return {name: len(members) for name, members in self._members.items()}

    @cached_property
    def _members(self) -> dict[str, Positions]:
        """Positions by category."""
        lists = self._columns["categories"]
        names = one_chunk(pc.list_flatten(lists)).dictionary_encode()
        parents = np.asarray(pc.list_parent_indices(lists), np.int64)
        codes = names.indices.to_numpy()
        ends = np.cumsum(np.bincount(codes, minlength=len(names.dictionary)))
        parts = np.split(parents[np.argsort(codes, kind="stable")], ends[:-1])
        return dict(zip(names.dictionary.to_pylist(), parts, strict=False))

    def _category(self, position: int) -> str | None:
        found = self._value("category", position)
        return None if found is None else str(found)

    def _category_set(self, position: int) -> frozenset[str]:
        return frozenset(entries(self._value("categories", position)))

    def _values(self, name: str, positions: Positions | pa.Array) -> list[object]:
        found: list[object] = self._columns[name].take(positions).to_pylist()
        if self._changed:
            own = [self._changed.get(position, {}) for position in positions.tolist()]
            found = [new.get(name, old) for new, old in zip(own, found, strict=True)]
        return found

    def _value(self, name: str, position: int) -> object:
        changed = self._changed.get(position)
        if changed is not None and name in changed:
            return changed[name]
        return self._columns[name][position].as_py()  # type: ignore[no-any-return]


def entries(value: object) -> tuple[str, ...]:
    """Of a list, in the order of the data; none of null."""
    # Not `list | tuple`, which is a new object for each of a request's items.
    return tuple(map(str, value)) if isinstance(value, (list, tuple)) else ()


def one_chunk(column: pa.ChunkedArray | pa.Array) -> pa.Array:
    """The column as one array; what is one already, and mapped from a file, is not copied."""
    if isinstance(column, pa.Array):
        return column
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
