"""The as-of join: for each label the newest view row that was there at the label's instant.

In: labels and a view's rows as integer keys and integer instants. Out: one row number a label, -1
where the view has none. The rows are sorted once; each label is then a binary search. Features
never enter: a wide embedding costs the join nothing. Knows nothing of Feast.
"""

# Shapes: m view rows, s of them sorted (those with a key and an instant), n labels

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

Integers = npt.NDArray[np.int64]
Pointers = npt.NDArray[np.int32] | Integers

NEVER = int(np.iinfo(np.int64).min)
"""The instant of what has none; such a label sees nothing, and such a row is never seen."""
NO_KEY = -1
"""The key of what has none, or none that the other side knows; it matches nothing."""
NO_ROW = -1

_LARGEST = 2**62  # packed keys stay below, so that sums of two cannot overflow
_SLICE = 1 << 17  # labels of one thread at a time: what is sorted stays in a core's own cache
_BLOCK = 2048  # wanted values whose places are looked for near to one another
# Micro- and nanoseconds in themselves, in ms, s and days; the first that fits is taken.
_STEPS = (1, 1_000, 1_000_000, 1_000_000_000, 86_400_000_000, 86_400_000_000_000)


class Column(Protocol):
    """Integers a slice at a time: an array, or what makes them when asked."""

    def __getitem__(self, part: slice, /) -> Integers: ...


@dataclass(frozen=True)
class ViewRows:
    """What the join has to know of a view's rows. All instants in one unit."""

    keys: Integers
    """[m]: 0 <= key < num_keys, or NO_KEY."""
    num_keys: int
    at: Integers
    """[m]"""
    created: Integers | None = None
    """[m]: of rows with equal key and instant the newest created wins, and of those the last."""


@dataclass(frozen=True)
class AsOf:
    """What the join has to respect beside key and time."""

    ttl: int | None = None
    """Greatest age of a row that counts, inclusive, in the unit of the instants; None: any."""
    created_cutoff: bool = False
    """A row created after the label, or at an unknown instant, does not exist for it."""


def match_rows(
    keys: Column, at: Integers, view: ViewRows, as_of: AsOf, threads: int | None = None
) -> Pointers:
    """Number of the view row that each label sees [n]; int32 where m allows it.

    A row is seen if its key is equal and its instant is at or before the label's. keys, at: the
    labels' [n], in the terms of the view. threads: None is one a core.

    >>> view = ViewRows(np.array([0, 0, 1]), 2, np.array([10, 20, 30]))
    >>> match_rows(np.array([0, 0, 1]), np.array([15, 5, 99]), view, AsOf()).tolist()
    [0, -1, 2]
    """
    rows = as_pointers(np.broadcast_to(np.int64(NO_ROW), len(at)), len(view.keys))
    sorted_rows = SortedRows.build(view, as_of.created_cutoff)
    if not len(sorted_rows.order):
        return rows

    def match(part: slice) -> None:
        asked = at[part]
        found = sorted_rows.newest(keys[part], asked)
        if as_of.ttl is not None:
            # ttl after the search: if the newest row has expired, so have all others. A match is
            # never younger than 0, so the difference fits in 64 bits without a sign.
            age = asked.view(np.uint64) - view.at[found].view(np.uint64)
            found = np.where(age <= np.uint64(as_of.ttl), found, NO_ROW)
        rows[part] = found

    parts = [slice(start, start + _SLICE) for start in range(0, len(at), _SLICE)]
    with ThreadPoolExecutor(threads or len(os.sched_getaffinity(0))) as pool:
        # numpy sorts and searches without holding the interpreter.
        list(pool.map(match, parts))
    return rows


def as_pointers(rows: Integers, num_rows: int) -> Pointers:
    """Numbers among `num_rows` rows, in 32 bits where they suffice."""
    if num_rows <= np.iinfo(np.int32).max:
        return rows.astype(np.int32)
    return rows.astype(np.int64)


def latest_rows(view: ViewRows) -> Integers:
    """Numbers of the newest row of each key, ascending; ties as in `match_rows`.

    >>> latest_rows(ViewRows(np.array([0, 0, 1]), 2, np.array([10, 20, 30]))).tolist()
    [1, 2]
    """
    rows = SortedRows.build(view, created_cutoff=False)
    if not len(rows.order):
        return rows.order
    keys = rows.packed // rows.axis.width
    newest: Integers = np.sort(rows.order[np.append(keys[1:] != keys[:-1], True)])
    return newest


@dataclass(frozen=True)
class Axis:
    """Instants as positions 1 to width - 1, in their order; 0 is before the first."""

    first: int
    last: int
    step: int
    """All instants are a multiple of it after the first."""
    moments: Integers | None
    """The distinct instants, ascending, where multiples of a step would be too many."""

    @classmethod
    def build(cls, at: Integers, num_keys: int) -> "Axis":
        """An axis so short that a key and a position fit in one integer."""
        first, last = int(at.min()), int(at.max())
        for step in _STEPS:
            if num_keys * ((last - first) // step + 2) >= _LARGEST or last - first >= _LARGEST:
                continue
            if step == 1 or not ((at - first) % step).any():
                return cls(first, last, step, None)
        ordered = at if _ascends(at) else np.sort(at)
        return cls(first, last, 1, ordered[np.append(True, ordered[1:] != ordered[:-1])])

    @property
    def width(self) -> int:
        if self.moments is not None:
            return len(self.moments) + 1
        return (self.last - self.first) // self.step + 2

    def positions(self, at: Integers) -> Integers:
        """The last position at or before each instant [n]."""
        if self.moments is not None:
            return last_places(self.moments, at) + 1
        since = np.clip(at, self.first, self.last) - self.first
        if self.step > 1:
            since //= self.step
        since += at >= self.first
        return since


@dataclass(frozen=True)
class SortedRows:
    """A view's rows by key and by the instant from which they are seen."""

    axis: Axis
    num_keys: int
    packed: Integers
    """[s], ascending: key * axis.width + position."""
    order: Integers
    """[s]: the row to be seen at this key and position; among equal ones the last counts."""

    @classmethod
    def build(cls, view: ViewRows, created_cutoff: bool) -> "SortedRows":
        created = view.created
        if created is not None and np.array_equal(created, view.at):
            # Features computed for their own instant: created says nothing that time does not.
            created = None
        valid = (view.keys != NO_KEY) & (view.at != NEVER)
        seen_at = view.at
        if created_cutoff and created is not None:
            # A row appears when its time and its creation have both passed.
            valid &= created != NEVER
            seen_at = np.maximum(view.at, created)
        if not valid.all():
            kept = np.flatnonzero(valid)
            rows = ViewRows(
                view.keys[kept],
                view.num_keys,
                view.at[kept],
                None if created is None else created[kept],
            )
            part = cls.build(rows, created_cutoff)
            return cls(part.axis, view.num_keys, part.packed, kept[part.order])
        if not len(valid):
            return cls(Axis(0, 0, 1, None), 0, seen_at, seen_at)
        axis = Axis.build(seen_at, view.num_keys)
        packed = view.keys * axis.width
        packed += axis.positions(seen_at)
        order = _order(packed, view.keys, seen_at, view.num_keys)
        ascending = packed[order]
        if created_cutoff and created is not None:
            order = _best_so_far(view.keys, view.at, created, order)
        elif (ascending[1:] == ascending[:-1]).any():
            # Ties are rare, and a sort that respects them takes four times as long.
            order = np.lexsort((packed,) if created is None else (created, packed))
        return cls(axis, view.num_keys, ascending, order)

    def newest(self, keys: Integers, at: Integers) -> Integers:
        """The row that each label sees [n], NO_ROW for none."""
        base = keys * self.axis.width
        wanted = base + self.axis.positions(at)
        by = _order(wanted, keys, at, self.num_keys)
        place = _places(self.packed, wanted[by])
        # The place may be a row of an earlier key; a label without one is before all rows.
        hit = (place >= 0) & (self.packed[place] >= base[by])
        rows = np.empty_like(place)
        rows[by] = np.where(hit, self.order[place], NO_ROW)
        return rows


def _order(packed: Integers, keys: Integers, at: Integers, num_keys: int) -> Integers:
    """An order in which packed keys and instants ascend."""
    if num_keys >= 1 << 32 or not _ascends(at):
        return np.argsort(packed)
    # A log, in order of time already: it is left to sort by key. numpy sorts integers of 16 bits by
    # counting, comparing none and keeping the order of equal ones. NO_KEY comes first.
    numbers = (keys + 1).view(np.uint64)
    order: Integers = np.argsort(numbers.astype(np.uint16), kind="stable")
    if num_keys >= 1 << 16:
        high = (numbers >> np.uint64(16)).astype(np.uint16)
        order = order[np.argsort(high[order], kind="stable")]
    return order


def _best_so_far(keys: Integers, at: Integers, created: Integers, order: Integers) -> Integers:
    """For each place of `order` the best row of its key up to there.

    A late arrival with an older time must not hide a newer row.
    """
    worst_first = np.lexsort((created, at))
    rank = np.empty_like(worst_first)
    rank[worst_first] = np.arange(len(worst_first))
    of_key = keys[order] * len(keys)  # lifts each key above all ranks of the one before
    return worst_first[np.maximum.accumulate(rank[order] + of_key) - of_key]


def last_places(ascending: Integers, wanted: Integers) -> Integers:
    """The last place at or before each wanted value, -1 for none.

    Values are looked for in ascending order: a search that jumps about in memory takes five times
    as long.
    """
    if _ascends(wanted):
        return _places(ascending, wanted)
    by = np.argsort(wanted)
    places = np.empty(len(wanted), np.int64)
    places[by] = _places(ascending, wanted[by])
    return places


def _ascends(values: Integers) -> bool:
    return bool((values[1:] >= values[:-1]).all())


def _places(ascending: Integers, wanted: Integers) -> Integers:
    """The last place at or before each of the wanted values, which ascend; -1 for none."""
    firsts = np.searchsorted(ascending, wanted[::_BLOCK], side="right").tolist()
    places = np.empty(len(wanted), np.int64)
    for number, (low, high) in enumerate(zip(firsts, [*firsts[1:], len(ascending)], strict=False)):
        # Between the place of a block's first value and of the next one's: that much is in cache.
        block = slice(number * _BLOCK, (number + 1) * _BLOCK)
        found = np.searchsorted(ascending[low:high], wanted[block], side="right")
        places[block] = found + (low - 1)
    return places
