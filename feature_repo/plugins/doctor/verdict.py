"""What a store's answer to a planted case means, compared with the oracle.

In: a planted case and the data frame that the store returned. Out: a Verdict in a few words.
"""

import textwrap
from collections import Counter
from typing import Any, Literal, NamedTuple

import pandas as pd

from feature_repo.plugins.doctor.plant import LABEL, ROW, Planted, key_values
from feature_repo.plugins.oracle import Label, Row, oracle

Kind = Literal["kept", "fails", "note", "not checked"]


class Verdict(NamedTuple):
    """`fails` is what the exit code counts; `note` is worth knowing and loses nothing."""

    kind: Kind
    text: str


KEPT = Verdict("kept", "kept")
_WORST_FIRST = ["LEAKS", "LOSES", "STALE", "MIXED", "WRONG", "MISSES", "REPEATS"]


def judge(planted: Planted, result: pd.DataFrame, prefix: str = "") -> Verdict:
    """The worst that happened to a label, then the rest. `prefix` stands before features."""
    wanted = [LABEL, *planted.key_columns, *(prefix + feature for feature in planted.features)]
    missing = [column for column in wanted if column not in result.columns]
    if missing:
        return Verdict("fails", f"LOSES the column {', '.join(missing)}")
    faults = _faults(planted, result, prefix)
    if faults:
        return Verdict("fails", "; ".join(faults))
    if planted.case.in_order and result[LABEL].tolist() != sorted(result[LABEL]):
        return Verdict("note", "kept in another order; attach nothing by position")
    return KEPT


def failure(planted: Planted, error: Exception) -> Verdict:
    """An exception in place of an answer."""
    kind = type(error).__name__
    if planted.case.may_be_refused:
        return Verdict("note", f"the store refuses ({kind})")
    said = " ".join(str(error).split())
    return Verdict("fails", f"ERROR {kind}: {textwrap.shorten(said, 100)}")


def _faults(planted: Planted, result: pd.DataFrame, prefix: str) -> list[str]:
    """Each kind of fault with the number of labels that it befell, worst first."""
    labels = planted.case.labels
    answers = [answer for answer in result.to_dict("records") if not pd.isna(answer[LABEL])]
    returned = Counter(int(answer[LABEL]) for answer in answers)
    befell = {(n, "LOSES") for n in range(len(labels)) if not returned[n]}
    befell |= {(n, "REPEATS") for n, count in returned.items() if count > 1}
    for answer in answers:
        number = int(answer[LABEL])
        befell.add((number, _fault(planted, labels[number], answer, prefix)))
    counts = Counter(fault for _, fault in befell if fault)
    total = f"{len(labels)} label{'s' if len(labels) > 1 else ''}"
    worst_first = sorted(counts, key=lambda fault: _WORST_FIRST.index(fault.split()[0]))
    return [
        f"{fault} {counts[fault]} of {total}"
        if fault in ("LOSES", "REPEATS")
        else f"{fault} ({counts[fault]} of {total})"
        for fault in worst_first
    ]


def _fault(planted: Planted, label: Label, answer: dict[Any, Any], prefix: str) -> str:
    """What is wrong with the one answer to a label; empty if nothing is."""
    case, ttl = planted.case, planted.shape.ttl_us
    for column, asked in zip(planted.key_columns, key_values(planted, label), strict=True):
        if not _same(answer[column], asked):
            return "MIXED UP with another label"
    expected = oracle(label, case.rows, ttl, case.created_cutoff)
    seen = -1 if _empty(answer[prefix + ROW]) else int(answer[prefix + ROW])
    if seen == expected:
        lost = [name for name in planted.features if _empty(answer[prefix + name])]
        return f"MISSES {', '.join(lost)}" if lost and seen >= 0 else ""
    if seen < 0:
        return "MISSES the value"
    return _wrong_row(label, case.rows[seen], ttl, case.created_cutoff)


def _wrong_row(label: Label, row: Row, ttl: int | None, created_cutoff: bool) -> str:
    assert label.at is not None
    assert row.at is not None
    if row.at > label.at:
        return "LEAKS a value from after the label"
    if created_cutoff and (row.created is None or row.created > label.at):
        return "LEAKS a value written after the label"
    if row.keys != label.keys:
        return "WRONG value, that of another key"
    if ttl is not None and label.at - row.at > ttl:
        return "STALE value past its ttl"
    return "WRONG value, not the newest"


def _empty(value: Any) -> bool:
    if hasattr(value, "__len__") and not isinstance(value, str | bytes):
        return len(value) == 0
    return bool(pd.isna(value))


def _same(returned: Any, asked: Any) -> bool:
    if asked is None or _empty(returned):
        return asked is None and _empty(returned)
    return bool(returned == asked or str(returned) == str(asked))
