"""Filters: which items may be in the slate at all.

A filter is asked about the few items that a channel has put first, and the channel goes on where it
loses some: so a filtered answer is as long as it can be, and no request looks at the whole
catalogue.
"""

# Shapes: C candidates

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np

from serving.api import FilterReason, Filters
from serving.snapshot import Mask, Positions, Snapshot
from serving.timing import stage
from serving.users import User
from training.score_rows import distinct

FEW = 20_000  # a channel's scores of so many items take a millisecond or two
GROWTH = 4  # how much longer the next head of an order is, when filters have left too few


@dataclass(frozen=True)
class Rule:
    """What keeps items out."""

    keeps_out: Callable[[Positions], Mask]
    """Which of these items [C]."""
    num_out: int = 0
    """How many it keeps out, where these are few."""
    kept: Positions | None = None
    """All that it leaves, where the request names them. Ascending."""

    def num_kept_out(self, num_items: int) -> int:
        """Of a whole catalogue, which is looked through only where nothing else tells."""
        if self.kept is not None:
            return num_items - len(self.kept)
        return self.num_out or int(self.keeps_out(np.arange(num_items)).sum())


class Allowed:
    """The items that nothing speaks against."""

    def __init__(self, rules: Sequence[Rule] = ()) -> None:
        self._rules = rules
        self._num_out = sum(rule.num_out for rule in rules)
        lists = [rule.kept for rule in rules if rule.kept is not None]
        self.listed: Positions | None = reduce(np.intersect1d, lists) if lists else None
        """Where the request names what may be shown: no other item may. Ascending."""
        is_few = self.listed is not None and len(self.listed) <= FEW
        self.few = self.listed if is_few else None
        """The same where they are so few that all are looked at."""

    def and_by(self, rule: Rule) -> "Allowed":
        """What is left by one more rule."""
        return Allowed([*self._rules, rule])

    def of(self, positions_C: Positions) -> Mask:
        """Whether each of these [C] may be shown."""
        out_C = np.zeros(len(positions_C), np.bool_)
        for rule in self._rules:
            out_C |= rule.keeps_out(positions_C)
        return ~out_C

    def first(self, ordered: Callable[[int], Positions], limit: int) -> Positions:
        """The first `limit` allowed items of an order, whose first so many `ordered` gives: fewer
        than asked for where it ends."""
        num = limit + self._num_out
        while True:
            head = ordered(num)
            kept = head[self.of(head)]
            if len(kept) >= limit or len(head) < num:
                return kept[:limit]
            num *= GROWTH


@stage("filters")
def allowed_items(snapshot: Snapshot, user: User, filters: Filters, at_us: int) -> Allowed:
    """What the request leaves to choose from."""
    return Allowed([rule for _, rule in reasons_against(snapshot, user, filters, at_us)])


def reasons_against(
    snapshot: Snapshot, user: User, filters: Filters, at_us: int
) -> Iterator[tuple[FilterReason, Rule]]:
    """Each reason of the request, and which items it keeps out."""
    yield "not_yet_available", Rule(lambda items: snapshot.available_at_us[items] > at_us)
    if filters.allow is not None:
        yield "not_allowed", none_but(places_of(snapshot, filters.allow))
    if filters.categories is not None:
        yield "category", none_but(places_in(snapshot, filters.categories))
    if filters.deny:
        yield "denied", none_of(places_of(snapshot, filters.deny))
    if filters.exclude_seen:
        yield "rejected", none_of(places_of(snapshot, user.rejected))
        yield "seen", none_of(seen_items(snapshot, user))


def seen_items(snapshot: Snapshot, user: User) -> Positions:
    """What the user met up to the end of the data, in the history since, and in this session."""
    own = places_of(snapshot, user.history), snapshot.seen_by(user.user_id)
    return distinct(np.concatenate(own))


def places_of(snapshot: Snapshot, item_ids: Iterable[str]) -> Positions:
    """Positions of the named items, ascending, each once; names that the catalogue lacks are passed
    over."""
    position = snapshot.position
    found = {position.get(item) for item in item_ids}
    return np.array(sorted(place for place in found if place is not None), np.int64)


def places_in(snapshot: Snapshot, categories: Iterable[str]) -> Positions:
    """Positions of the items with at least one of the categories, ascending."""
    return np.flatnonzero(snapshot.in_categories(categories))


def are_among(items: Positions, ascending: Positions) -> Mask:
    """Which of the items are among others, by binary search: these may be very many."""
    if not len(ascending):
        return np.zeros(len(items), np.bool_)
    place = np.searchsorted(ascending, items)
    return np.asarray(ascending.take(place, mode="clip") == items)


def none_of(out: Positions) -> Rule:
    """`out` is ascending."""
    return Rule(lambda items: are_among(items, out), num_out=len(out))


def none_but(kept: Positions) -> Rule:
    """`kept` is ascending."""
    return Rule(lambda items: ~are_among(items, kept), kept=kept)
