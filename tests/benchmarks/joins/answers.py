"""The right answer, and how far a contestant's is from it.

The right answer is found by one sort of labels and rows together, checked against the brute-force
oracle on a sample, and kept as row numbers. In: JoinData and a contestant's result. Out: a Verdict
with counts and a checksum that do not depend on the order of the result.
"""

# Shapes: n labels, m view rows, r rows of a contestant's result

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from feature_repo.plugins.oracle import Label, Row, oracle
from tests.benchmarks.joins.data import KEY, TIME, Integers, JoinData, codes, instants

Hashes = npt.NDArray[np.uint64]
Floats = npt.NDArray[np.float64]

_NO_FEATURE = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True)
class Verdict:
    """How a result compares with the right answer."""

    rows: int
    rows_lost: int
    """Labels that the result lacks."""
    rows_added: int
    values_differ: int
    """Values (pointers or feature cells) that are not the right ones, of the labels present."""
    checksum: str
    expected_checksum: str
    instants_cut: bool = False
    """The labels' instants came back without their fraction of a second, and are matched so."""

    @property
    def outcome(self) -> str:
        """`right`, or what is wrong in words."""
        wrongs = [
            (self.rows_lost, "rows lost"),
            (self.rows_added, "rows added"),
            (self.values_differ, "values differ"),
        ]
        said = [f"{count:,} {what}" for count, what in wrongs if count]
        if self.instants_cut:
            said.append("instants cut to whole seconds")
        if not said and self.checksum != self.expected_checksum:
            said = ["another checksum"]
        return f"wrong: {', '.join(said)}" if said else "right"


def write_answers(data: JoinData, sample: int = 200) -> None:
    """Row numbers of every label and view, kept beside the data.

    Raises AssertionError where the oracle disagrees on one of `sample` labels.
    """
    labels = data.labels()
    keys, at = codes(labels.column(KEY)), instants(labels.column(TIME))
    for view in data.views:
        row_keys, row_at = _keys_and_instants(data.path(view))
        rows = _newest_rows(keys, at, row_keys, row_at)
        chosen = np.random.default_rng(data.size.seed).integers(0, len(keys), sample)
        wrong = _num_wrong(rows[chosen], (keys[chosen], at[chosen]), (row_keys, row_at))
        assert wrong == 0, f"the oracle disagrees on {wrong} of {sample} labels of {view}"
        np.save(_answer_path(data, view), rows)


def judge_sample(data: JoinData, pointers: Mapping[str, Integers], sample: int = 300) -> str:
    """An outcome by the oracle alone, at sizes where a whole second answer would take too long."""
    labels = data.labels()
    chosen = np.sort(np.random.default_rng(data.size.seed).integers(0, data.size.labels, sample))
    some = labels.take(pa.array(chosen))
    sides = codes(some.column(KEY)), instants(some.column(TIME))
    for view in data.views:
        lost = data.size.labels - len(pointers[view])
        if lost:
            return f"wrong: {lost:,} rows lost"
        wrong = _num_wrong(pointers[view][chosen], sides, _keys_and_instants(data.path(view)))
        if wrong:
            return f"wrong: {wrong} of {sample} sampled values differ"
    return "right"


def judge_pointers(data: JoinData, pointers: Mapping[str, Integers]) -> Verdict:
    """pointers: per view the row number that each label sees [n], in the labels' order."""
    n, lost, differ, found, right = data.size.labels, 0, 0, 0, 0
    for number, view in enumerate(data.views):
        expected, got = answer(data, view), pointers[view]
        lost += n - len(got)
        differ += int((got != expected[: len(got)]).sum())
        found += _pointer_sum(got, salt=number * n)
        right += _pointer_sum(expected, salt=number * n)
    return Verdict(n - lost, lost, 0, differ, _hex(found), _hex(right))


def judge_rows(data: JoinData, result: pa.Table) -> Verdict:
    """result: key, time and every feature of every view [r], in any order."""
    labels = data.labels()
    ours, theirs = (instants(table.column(TIME)) for table in (labels, result))
    cut = len(theirs) > 0 and not (theirs % 1_000_000).any() and bool((ours % 1_000_000).any())
    asked = _hashes(labels, ours - ours % 1_000_000 if cut else ours)
    given = _hashes(result, theirs)
    lost, added = _surplus(asked, given), _surplus(given, asked)
    order = np.argsort(given)
    place = np.searchsorted(given, asked, sorter=order)
    at = order[np.minimum(place, max(len(order) - 1, 0))] if len(order) else order
    present = np.zeros(len(asked), dtype=bool) if not len(order) else given[at] == asked
    differ, found, right = 0, given.copy(), asked.copy()
    for number, (name, expected) in enumerate(_expected_features(data)):
        got = _floats(result.column(name))
        if len(order):
            differ += _num_different(got[at[present]], expected[present])
        found += _mix(_bits(got) + np.uint64(number))
        right += _mix(_bits(expected) + np.uint64(number))
    got_sum, right_sum = (_hex(int(_mix(each).sum(dtype=np.uint64))) for each in (found, right))
    return Verdict(result.num_rows, lost, added, differ, got_sum, right_sum, cut)


def answer(data: JoinData, view: str) -> Integers:
    """The right row numbers [n], -1 for none."""
    rows: Integers = np.load(_answer_path(data, view))
    return rows


def in_label_order(n: int, labels: Integers, rows: Integers) -> Integers:
    """Pairs of label number and row number as one row number a label [n]."""
    pointers = np.full(n, -1, dtype=np.int64)
    pointers[labels] = rows
    return pointers


def _num_wrong(
    found: Integers, labels: tuple[Integers, Integers], rows: tuple[Integers, Integers]
) -> int:
    """How many of the labels (keys, instants) have another row number than the oracle finds."""
    return sum(
        int(got) != _by_oracle(int(key), int(at), *rows)
        for got, key, at in zip(found, *labels, strict=True)
    )


def _by_oracle(key: int, at: int, row_keys: Integers, row_at: Integers) -> int:
    numbers = np.flatnonzero(row_keys == key)  # no other key's row can match: for speed
    history = [Row((key,), int(row_at[number]), None) for number in numbers]
    best = oracle(Label((key,), at), history)
    return int(numbers[best]) if best >= 0 else -1


def _answer_path(data: JoinData, view: str) -> Path:
    return data.folder / f"answer_{view}.npy"


def _keys_and_instants(path: Path) -> tuple[Integers, Integers]:
    table = pq.read_table(path, columns=[KEY, TIME])
    return codes(table.column(KEY)), instants(table.column(TIME))


def _newest_rows(keys: Integers, at: Integers, row_keys: Integers, row_at: Integers) -> Integers:
    """One sort of rows and labels together: the last row before a label is its match."""
    n, m = len(keys), len(row_keys)
    both_keys = np.concatenate([row_keys, keys])
    # Rows come first and the sort is stable: a row at the label's own instant is seen.
    order = np.lexsort((np.concatenate([row_at, at]), both_keys))
    last = np.maximum.accumulate(np.where(order < m, np.arange(n + m), -1))
    is_label = order >= m
    candidate = order[last[is_label]]  # -1 picks some label, which the next line refuses
    label = order[is_label]
    matched = (last[is_label] >= 0) & (both_keys[candidate] == both_keys[label])
    return in_label_order(n, label - m, np.where(matched, candidate, -1))


def _expected_features(data: JoinData) -> Iterator[tuple[str, Floats]]:
    for view in data.views:
        rows = answer(data, view)
        mask = pa.array(rows, mask=rows < 0)
        for name in data.features(view):
            column = pq.read_table(data.path(view), columns=[name]).column(name).combine_chunks()
            yield name, _floats(column.take(mask))


def _hashes(table: pa.Table, at: Integers) -> Hashes:
    """One number for a label: its key and instant."""
    return _mix(codes(table.column(KEY)).astype(np.uint64) ^ _mix(at.astype(np.uint64)))


def _num_different(some: Floats, others: Floats) -> int:
    return int(((some != others) & ~(np.isnan(some) & np.isnan(others))).sum())


def _surplus(these: Hashes, others: Hashes) -> int:
    """How many of these the others lack, counting repeats."""
    values, counts = np.unique(these, return_counts=True)
    there, there_counts = np.unique(others, return_counts=True)
    if not len(there):
        return len(these)
    place = np.minimum(np.searchsorted(there, values), len(there) - 1)
    matched = np.where(there[place] == values, there_counts[place], 0)
    return int(np.maximum(counts - matched, 0).sum())


def _floats(column: pa.Array | pa.ChunkedArray) -> Floats:
    """Null as NaN: through pandas the two are one."""
    values: Floats = pc.fill_null(pc.cast(column, pa.float64()), np.nan).to_numpy(
        **({} if isinstance(column, pa.ChunkedArray) else {"zero_copy_only": False})
    )
    return values


def _bits(values: Floats) -> Hashes:
    return np.where(np.isnan(values), _NO_FEATURE, values.view(np.uint64))


def _mix(values: Hashes) -> Hashes:
    """The finaliser of splitmix64: spreads a difference in any bit over all."""
    mixed = values + _NO_FEATURE
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


def _pointer_sum(rows: Integers, salt: int) -> int:
    """A sum over (label, row), the same in any order of the labels."""
    labels = _mix(np.arange(salt, salt + len(rows), dtype=np.uint64))
    return int(_mix(labels + rows.astype(np.uint64)).sum(dtype=np.uint64))


def _hex(total: int) -> str:
    return f"{total % 2**64:016x}"
