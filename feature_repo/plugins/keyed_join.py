"""One view's join, from columns of any type to row numbers.

In: key columns and instants of labels and of a view's rows. Out: one row number a label. Knows
nothing of Feast, whose import would cost a worker of the Ray engine seconds.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from feature_repo.plugins.as_of import NEVER, AsOf, Integers, Pointers, ViewRows, match_rows
from feature_repo.plugins.instants import Instants, Unit, finest, in_units
from feature_repo.plugins.join_keys import KeyColumn, encode_keys


@dataclass(frozen=True)
class KeyedJoin:
    """Both sides of a join: n labels, m rows."""

    keys: Sequence[KeyColumn]
    """None: a view without entity, whose rows belong to every label."""
    labels_at: Instants
    rows_at: Instants
    rows_created: Instants | None
    ttl: timedelta | None
    created_cutoff: bool

    def match(self, threads: int | None = None) -> Pointers:
        """Number of the row that each label sees [n], -1 for none."""
        codes = encode_keys(self.keys, len(self.labels_at.counts), len(self.rows_at.counts))
        created = [self.rows_created] if self.rows_created else []
        unit = finest(self.labels_at, self.rows_at, *created)
        rows = ViewRows(
            codes.rows,
            codes.size,
            _counts(self.rows_at, unit),
            *(_counts(instants, unit) for instants in created),
        )
        as_of = AsOf(in_units(self.ttl, unit), self.created_cutoff)
        return match_rows(codes.labels, _counts(self.labels_at, unit), rows, as_of, threads)


def _counts(at: Instants, unit: Unit) -> Integers:
    counts = at.in_unit(unit)
    if counts.null_count:
        counts = counts.fill_null(NEVER)
    instants: Integers = counts.to_numpy()
    return instants
