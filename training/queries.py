"""The questions that evaluation asks: at this instant, what will this user take up next?

In: the log of timed interactions and the instants that split it. Out: queries of the validation or
the test period, each with what the user had done strictly before and what the user took up for the
first time then. Users and items are numbered
as in `training.events`: by their place among the sorted ids. No scores here.

Shapes: Q queries, B queries of a block, I items, N events, P pairs of a query and an item to find.
"""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from training.events import Events

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Split = Literal["validation", "test"]
DAY_US = 86_400_000_000


class QueryOptions(BaseModel):
    """Which of the possible queries are asked."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    max_queries_per_user: int = Field(default=10, gt=0)
    """Of a user with more, this many are drawn, so that no user takes most of the time."""
    max_users: int = Field(default=2000, gt=0)
    """Of more users, this many are drawn; the report says how many there were."""
    horizon_days: float = Field(default=30.0, ge=0)
    """What the user takes up within so many days of the instant is to be found; 0 for the instant
    alone. A slate is good if it names what somebody turns to soon, not only in that microsecond."""
    seed: int = 0


class QueryCounts(BaseModel):
    """What became of every first take-up in the period; the report prints it."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    first_take_ups: int
    not_yet_available: int
    """Items that entered the catalogue at that very instant: nobody could have recommended them."""
    already_seen: int
    """Items the user had met before without taking them up: seen items are not candidates."""
    possible_queries: int
    possible_users: int
    queries: int
    users: int
    relevant: int


NOTHING_COUNTED = QueryCounts(**dict.fromkeys(QueryCounts.model_fields, 0))


@dataclass(frozen=True)
class Ragged:
    """Rows of unequal length over one array: row i is values[start[i]:end[i]]; rows may overlap."""

    values: Ints
    start: Ints
    end: Ints

    def __len__(self) -> int:
        return len(self.start)

    @property
    def lengths(self) -> Ints:
        return self.end - self.start

    def row(self, index: int) -> Ints:
        return self.values[self.start[index] : self.end[index]]

    def take(self, rows: Ints | Bools) -> "Ragged":
        return Ragged(self.values, self.start[rows], self.end[rows])

    def last(self, limit: int | None) -> "Ragged":
        """The last `limit` values of each row; all of them for None."""
        if limit is None:
            return self
        return Ragged(self.values, np.maximum(self.start, self.end - limit), self.end)

    def flat(self, rows: Ints) -> tuple[Ints, Ints]:
        """The values of these rows one after the other, each with its place in `rows`.

        >>> ragged = Ragged(np.array([5, 6, 7]), np.array([0, 0]), np.array([2, 3]))
        >>> [part.tolist() for part in ragged.flat(np.array([1, 0]))]
        [[0, 0, 0, 1, 1], [5, 6, 7, 5, 6]]
        """
        lengths = self.lengths[rows]
        place = np.repeat(np.arange(len(rows)), lengths)
        within = np.arange(len(place)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        return place, self.values[np.repeat(self.start[rows], lengths) + within]


@dataclass(frozen=True)
class Queries:
    """Queries in order of time. History and seen are oldest first and end strictly before at_us."""

    split: Split
    events: Events
    user_index: Ints
    at_us: Ints
    """Microseconds since 1970, UTC."""
    history: Ragged
    """Items the user took up, a repeated one repeatedly."""
    seen: Ragged
    """Items the user met in any way, which are not candidates."""
    relevant: Ragged
    """Items to be found: taken up for the first time within the horizon, and candidates."""
    counts: QueryCounts

    def __len__(self) -> int:
        return len(self.at_us)

    @property
    def num_items(self) -> int:
        return len(self.events.item_ids)

    def candidates(self, rows: Ints) -> Bools:
        """[B, I]: items available strictly before the instant that the user had not seen."""
        mask_BI = self.events.available_at_us[None, :] < self.at_us[rows, None]
        mask_BI[self.seen.flat(rows)] = False
        return mask_BI

    def to_find(self) -> tuple[Ints, Ints]:
        """Every pair of a query and an item to be found [P], query by query."""
        return self.relevant.flat(np.arange(len(self)))

    def looking_for(self, mask_P: Bools) -> "Queries":
        """The same queries with only these pairs of `to_find`; some may have nothing left."""
        row, item = self.to_find()
        end = np.cumsum(np.bincount(row[mask_P], minlength=len(self)))
        return replace(self, relevant=Ragged(item[mask_P], np.append(0, end[:-1]), end))

    def only_relevant(self, mask_I: Bools) -> "Queries":
        """The same queries looking only for these items; some may have nothing left to find."""
        return self.looking_for(mask_I[self.to_find()[1]])

    def take(self, rows: Ints | Bools) -> "Queries":
        """A part of the queries; the counts go on telling of the whole."""
        return replace(
            self,
            user_index=self.user_index[rows],
            at_us=self.at_us[rows],
            history=self.history.take(rows),
            seen=self.seen.take(rows),
            relevant=self.relevant.take(rows),
        )


def build_queries(events: Events, split: Split, options: QueryOptions | None = None) -> Queries:
    """The queries of a period: one a user and instant with at least one first take-up.

    Raises ValueError when the period holds none.
    """
    options = options or QueryOptions()
    start_us, end_us = events.window(split)
    taken = events.take_ups()
    first = first_of_pairs(events, taken)
    first = first[(events.at_us[first] >= start_us) & (events.at_us[first] < end_us)]
    available = events.available_at_us[events.item_index[first]] < events.at_us[first]
    unseen = ~met_before(events, first)
    found = first[available & unseen]
    if not len(found):
        raise ValueError(
            f"the {split} period has no first take-up that could have been recommended "
            f"({len(first)} first take-ups); build the tables with a larger "
            "--validation-fraction or a smaller --train-fraction"
        )
    user, at_us, relevant = group(events, found)
    relevant = within(events, user, at_us, relevant, options.horizon_days)
    chosen = draw(user, options)
    counts = QueryCounts(
        first_take_ups=len(first),
        not_yet_available=int((~available).sum()),
        already_seen=int((available & ~unseen).sum()),
        possible_queries=len(user),
        possible_users=len(np.unique(user)),
        queries=len(chosen),
        users=len(np.unique(user[chosen])),
        relevant=int(relevant.lengths[chosen].sum()),
    )
    chosen = chosen[np.lexsort((user[chosen], at_us[chosen]))]
    user, at_us = user[chosen], at_us[chosen]
    return Queries(
        split=split,
        events=events,
        user_index=user,
        at_us=at_us,
        history=before(events, taken, user, at_us),
        seen=before(events, np.arange(len(events.at_us)), user, at_us),
        relevant=relevant.take(chosen),
        counts=counts,
    )


def asking(events: Events, user_index: Ints, at_us: Ints, history: Ragged) -> Queries:
    """Queries to score and not to measure: nothing is to be found, what was seen is not known.

    A user with the number -1 is one that `events` lacks.
    """
    none = np.zeros(len(at_us), dtype=np.int64)
    nothing = Ragged(np.empty(0, dtype=np.int64), none, none)
    return Queries("test", events, user_index, at_us, history, nothing, nothing, NOTHING_COUNTED)


def pair_keys(events: Events, rows: Ints) -> Ints:
    """One number a (user, item) pair."""
    return events.user_index[rows].astype(np.int64) * len(events.item_ids) + events.item_index[rows]


def first_of_pairs(events: Events, rows: Ints) -> Ints:
    """Of these events (in order of time), the first of each user with each item."""
    _, first = np.unique(pair_keys(events, rows), return_index=True)
    return rows[np.sort(first)]


def met_before(events: Events, rows: Ints) -> Bools:
    """True where the user had any event with the item strictly before this one."""
    earliest = first_of_pairs(events, np.arange(len(events.at_us)))
    keys = pair_keys(events, earliest)
    order = np.argsort(keys)
    place = np.searchsorted(keys[order], pair_keys(events, rows))
    return events.at_us[earliest[order[place]]] < events.at_us[rows]


def group(events: Events, rows: Ints) -> tuple[Ints, Ints, Ragged]:
    """User, instant and items of each (user, instant), by user and then time."""
    user, at_us, item = events.user_index[rows], events.at_us[rows], events.item_index[rows]
    order = np.lexsort((item, at_us, user))
    user, at_us, item = user[order], at_us[order], item[order]
    start = np.flatnonzero(np.append(True, (user[1:] != user[:-1]) | (at_us[1:] != at_us[:-1])))
    end = np.append(start[1:], len(rows))
    return user[start].astype(np.int64), at_us[start], Ragged(item.astype(np.int64), start, end)


def within(
    events: Events, user: Ints, at_us: Ints, relevant: Ragged, horizon_days: float
) -> Ragged:
    """For each (user, instant), sorted so, also what the user first took up soon after.

    Items that entered the catalogue after the instant are left out: they were no candidates.
    """
    horizon_us = int(horizon_days * DAY_US)
    if not horizon_us:
        return relevant
    instants, rank = np.unique(at_us, return_inverse=True)
    width = len(instants) + 1
    last = user * width + np.searchsorted(instants, at_us + horizon_us)
    stop = np.searchsorted(user * width + rank, last)  # the first query beyond the horizon
    end = np.append(relevant.end, 0)[stop - 1]
    place, item = Ragged(relevant.values, relevant.start, end).flat(np.arange(len(user)))
    kept = events.available_at_us[item] < at_us[place]
    ends = np.cumsum(np.bincount(place[kept], minlength=len(user)))
    return Ragged(item[kept], np.append(0, ends[:-1]), ends)


def draw(user: Ints, options: QueryOptions) -> Ints:
    """Rows of the queries to ask: at most so many users, and of each at most so many queries."""
    rng = np.random.default_rng(options.seed)
    shuffled = rng.permutation(len(user))
    shuffled = shuffled[np.argsort(user[shuffled], kind="stable")]
    _, start, num = np.unique(user[shuffled], return_index=True, return_counts=True)
    nth = np.arange(len(user)) - np.repeat(start, num)
    users = rng.permutation(np.unique(user))[: options.max_users]
    kept = (nth < options.max_queries_per_user) & np.isin(user[shuffled], users)
    return np.sort(shuffled[kept])


def before(events: Events, rows: Ints, user: Ints, at_us: Ints) -> Ragged:
    """For each (user, instant) the items of these events of the user strictly before it."""
    instants, rank = np.unique(events.at_us, return_inverse=True)
    order = rows[np.argsort(events.user_index[rows], kind="stable")]
    # User and time in one sortable number, so that one binary search finds both ends of a row.
    width = len(instants) + 1
    keys = events.user_index[order].astype(np.int64) * width + rank[order]
    start = np.searchsorted(keys, user * width)
    end = np.searchsorted(keys, user * width + np.searchsorted(instants, at_us))
    return Ragged(events.item_index[order].astype(np.int64), start, end)
