"""What the point-in-time join means, in a dozen lines that anyone can check by eye."""

from collections.abc import Sequence
from typing import NamedTuple


class Label(NamedTuple):
    keys: tuple[object, ...]
    at: int | None


class Row(NamedTuple):
    keys: tuple[object, ...]
    at: int | None
    created: int | None


def oracle(
    label: Label, rows: Sequence[Row], ttl: int | None = None, created_cutoff: bool = False
) -> int:
    """Number of the row that the label sees, -1 for none."""
    best, best_row = (-1.0, -1.0, -1), -1
    for number, row in enumerate(rows):
        if label.at is None or row.at is None or row.at > label.at:
            continue  # from the future, or nobody knows when
        if row.keys != label.keys or None in row.keys:
            continue  # somebody else's
        if ttl is not None and label.at - row.at > ttl:
            continue  # expired
        if created_cutoff and (row.created is None or row.created > label.at):
            continue  # not yet known
        rank = (float(row.at), -1.0 if row.created is None else float(row.created), number)
        if rank > best:
            best, best_row = rank, number
    return best_row
