"""Which queries and items belong to which slice of the evaluation.

In: queries and, for friends, the edges table. Out: named masks: over queries where the slice is
about who asks, over items, or pairs of both, where it is about what is to be found. Computes no
metric.

Shapes: Q queries, I items, P pairs of a query and an item to find, as `Queries.to_find` has them.
"""

from dataclasses import dataclass, field
from pathlib import Path

import duckdb
import numpy as np
from numpy.typing import NDArray

from feature_repo.pipelines.tables import table_path
from training.events import Events
from training.queries import Queries

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

HEAD_SHARE = 0.2  # the most popular fifth of the items taken up in training is the head
TAIL_SHARE = 0.1  # of all take-ups in training: what the least popular items have together


@dataclass(frozen=True)
class Slices:
    """Masks by name. An item or pair slice keeps the queries that have such a thing to find."""

    queries: dict[str, Bools]
    items: dict[str, Bools]
    pairs: dict[str, Bools] = field(default_factory=dict)

    def parts(self, queries: Queries) -> dict[str, tuple[Bools, Queries]]:
        """By slice: which queries belong to it [Q], and those queries with what they look for."""
        asked = {name: (mask_Q, queries) for name, mask_Q in self.queries.items()}
        sought = {name: queries.only_relevant(mask_I) for name, mask_I in self.items.items()}
        sought |= {name: queries.looking_for(mask_P) for name, mask_P in self.pairs.items()}
        asked |= {
            name: (narrowed.relevant.lengths > 0, narrowed) for name, narrowed in sought.items()
        }
        return {name: (mask_Q, whole.take(mask_Q)) for name, (mask_Q, whole) in asked.items()}


def build_slices(queries: Queries, friend_since_us: Ints | None = None) -> Slices:
    """The standing slices; those about friends only when a data set has friends.

    `friend_since_us` is the instant of each user's first link, the greatest int64 without one.
    """
    events = queries.events
    count_I = training_counts(events)
    by_query = {
        "new users": ~trained_users(events)[queries.user_index],
        "known users": trained_users(events)[queries.user_index],
        "no history": queries.history.lengths == 0,
    }
    if friend_since_us is not None:
        with_friends = friend_since_us[queries.user_index] < queries.at_us
        by_query |= {"with friends": with_friends, "without friends": ~with_friends}
    by_item = {
        "new items": count_I == 0,
        "tail items": (count_I > 0) & ~head_items(count_I),
        "head items": head_items(count_I),
    }
    return Slices(by_query, by_item)


def cold_slices(queries: Queries) -> Slices:
    """How little is known: users by their events before the instant, items nobody had met by then,
    and the least popular items."""
    num_Q = queries.seen.lengths
    by_query = {
        "users with 0 events": num_Q == 0,
        "users with 1 event": num_Q == 1,
        "users with 2 to 5 events": (num_Q >= 2) & (num_Q <= 5),
        "users with more events": num_Q > 5,
    }
    row, item = queries.to_find()
    unmet_P = first_met_us(queries.events)[item] >= queries.at_us[row]
    return Slices(
        by_query,
        {"tail decile of items": tail_items(training_counts(queries.events))},
        {"items with 0 events": unmet_P},
    )


def first_met_us(events: Events) -> Ints:
    """Instant of each item's first event, the greatest int64 without one."""
    first_us = np.full(len(events.item_ids), np.iinfo(np.int64).max)
    np.minimum.at(first_us, events.item_index, events.at_us)
    return first_us


def tail_items(count_I: Ints) -> Bools:
    """The least popular items taken up in training that together have a tenth of the take-ups; ties
    at the edge fall inside.

    >>> tail_items(np.array([0, 1, 1, 2, 16])).tolist()
    [False, True, True, False, False]
    """
    counts = np.sort(count_I[count_I > 0])
    if not len(counts):
        return np.zeros(len(count_I), dtype=bool)
    edge = counts[np.searchsorted(np.cumsum(counts), TAIL_SHARE * counts.sum())]
    return np.asarray((count_I > 0) & (count_I <= edge))


def training_counts(events: Events) -> Ints:
    """Take-ups of each item in the training period."""
    taken = events.training_take_ups()
    return np.bincount(events.item_index[taken], minlength=len(events.item_ids))


def trained_users(events: Events) -> Bools:
    """Users with any timed event in the training period."""
    known = np.zeros(len(events.user_ids), dtype=bool)
    known[events.user_index[events.at_us < events.train_end_us]] = True
    return known


def head_items(count_I: Ints) -> Bools:
    """The most popular fifth of the items taken up in training; ties at the edge fall outside.

    >>> head_items(np.array([9, 4, 3, 2, 1, 0])).tolist()
    [True, False, False, False, False, False]
    """
    counts = np.sort(count_I[count_I > 0])[::-1]
    if not len(counts):
        return np.zeros(len(count_I), dtype=bool)
    edge = counts[min(int(np.ceil(HEAD_SHARE * len(counts))), len(counts) - 1)]
    return np.asarray(count_I > edge)


def read_friends(data_dir: Path, events: Events) -> Ints | None:
    """Microsecond of each user's first outgoing link; None for a data set without links."""
    with duckdb.connect() as connection:
        rows = connection.execute(
            "SELECT source_id, epoch_us(min(valid_from)) AS us FROM read_parquet(?) GROUP BY 1",
            [str(table_path(data_dir, "edges"))],
        ).fetchnumpy()
    if not len(rows["us"]):
        return None
    since = np.full(len(events.user_ids), np.iinfo(np.int64).max)
    source = np.asarray(rows["source_id"], dtype=object)
    place = np.minimum(np.searchsorted(events.user_ids, source), len(events.user_ids) - 1)
    known = events.user_ids[place] == source
    since[place[known]] = np.asarray(rows["us"], dtype=np.int64)[known]
    return since


def category_vectors(data_dir: Path, events: Events, limit: int = 64) -> NDArray[np.float32] | None:
    """Which of the commonest categories each item has, [I, up to limit]; None without categories.

    What intra-list diversity compares when no better item vectors are given.
    """
    with duckdb.connect() as connection:
        rows = connection.execute(
            "WITH own AS (SELECT item_id, unnest(categories) AS category FROM read_parquet(?)), "
            "common AS (SELECT category, row_number() OVER (ORDER BY count(*) DESC, category) - 1 "
            "AS number FROM own GROUP BY category) "
            "SELECT item_id, number FROM own JOIN common USING (category) WHERE number < ?",
            [str(table_path(data_dir, "items")), limit],
        ).fetchnumpy()
    if not len(rows["number"]):
        return None
    number = np.asarray(rows["number"], dtype=np.int64)
    vectors = np.zeros((len(events.item_ids), int(number.max()) + 1), dtype=np.float32)
    item = np.searchsorted(events.item_ids, np.asarray(rows["item_id"], dtype=object))
    vectors[item, number] = 1.0
    return vectors
