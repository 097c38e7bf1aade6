"""A user's friends as features: how many, how active, which ones, and what they took up lately.

In: edges (out-edges are "my friends") and timed interactions. Out: rows on a grid of days, 00:00
UTC; a row at grid instant G holds what was known strictly before G and is written only if since the
row before a friend acted or a link appeared. A link without a time is valid from the beginning, so
its first row is at 1970-01-01.
"""

from array import array
from collections.abc import Iterator
from itertools import pairwise

import duckdb
import numpy as np
import pyarrow as pa

from feature_repo.pipelines.features.decay import DAY_US, Ints, running_sum, scan
from feature_repo.pipelines.features.engine import (
    Partition,
    belongs,
    changes,
    lists,
    stamped,
    whole_keys,
)
from feature_repo.pipelines.features.friends import ACTIVITY_HALF_LIFE_DAYS, FriendFeed
from feature_repo.pipelines.features.schemas import SCHEMAS

FRIEND, RETURNED, EVENT = 0, 1, 2
"""Kinds of a touch: a friend appears, a friendship is returned, a friend acts."""

CHUNK_ROWS = 20_000
"""Feature rows a table of output: each may carry 110 list elements."""

# Codes keep the order of the ids. A touch happens at the first grid instant after both the event
# and the link.
_TOUCHES = """
    WITH links AS (
        SELECT source_id, target_id,
               min(if(timed, (valid_from_us // {step} + 1) * {step}, 0)) AS from_us
        FROM edges WHERE source_id <> target_id GROUP BY ALL),
    mine AS (SELECT * FROM links WHERE {belongs}),
    touches AS (
        SELECT source_id, target_id, from_us AS grid_us, 0 AS kind, NULL AS at_us, NULL AS item_id
        FROM mine
        UNION ALL
        SELECT mine.source_id, mine.target_id, greatest(mine.from_us, back.from_us), 1, NULL, NULL
        FROM mine JOIN links AS back
          ON back.source_id = mine.target_id AND back.target_id = mine.source_id
        UNION ALL
        SELECT source_id, target_id, greatest(from_us, (at_us // {step} + 1) * {step}), 2, at_us,
               if(is_positive, item_id, NULL)
        FROM mine JOIN events ON events.user_id = mine.target_id)
    SELECT user_codes.code AS user, grid_us, kind, friend_codes.code AS friend,
           coalesce(at_us, 0) AS at_us, coalesce(item_codes.code, -1) AS item
    FROM touches
    JOIN user_codes ON user_codes.id = source_id
    JOIN user_codes AS friend_codes ON friend_codes.id = target_id
    LEFT JOIN item_codes ON item_codes.id = item_id
    ORDER BY user, grid_us, kind, at_us, friend, item"""

_CODES = """
    CREATE TABLE IF NOT EXISTS {name} AS
    SELECT id, row_number() OVER (ORDER BY id) - 1 AS code FROM ({ids})"""


def user_social(
    connection: duckdb.DuckDBPyConnection, partition: Partition = None, grid_days: int = 1
) -> Iterator[pa.Table]:
    """Degree, reciprocity, friends' decayed activity, top friends, friends' recent take-ups.

    `friends_events_30d` sums the 30-day counters of all present friends, their past before the link
    included, and is valued at the row's instant.
    """
    users, items = _create_codes(connection)
    sql = _TOUCHES.format(step=grid_days * DAY_US, belongs=belongs("source_id", partition))
    for touches in whole_keys(connection, sql, "user"):
        columns = {name: touches[name].to_numpy() for name in touches.column_names}
        for first, last in _row_blocks(columns):
            yield _social_rows({k: v[first:last] for k, v in columns.items()}, users, items)


def _create_codes(connection: duckdb.DuckDBPyConnection) -> tuple[pa.Array, pa.Array]:
    """Integer codes in the order of the ids, as relations; and the ids by code."""
    ids = {
        "user_codes": "SELECT source_id AS id FROM edges UNION SELECT target_id FROM edges",
        "item_codes": "SELECT DISTINCT item_id AS id FROM events",
    }
    names = []
    for name, query in ids.items():
        connection.execute(_CODES.format(name=name, ids=query))
        with connection.cursor() as cursor:
            table = cursor.execute(f"SELECT id FROM {name} ORDER BY code").to_arrow_table()
        names.append(table["id"].combine_chunks())
    return names[0], names[1]


def _row_blocks(columns: dict[str, Ints]) -> Iterator[tuple[int, int]]:
    """Bounds of runs of whole users with about CHUNK_ROWS feature rows each."""
    users = np.append(np.flatnonzero(changes(columns["user"])), len(columns["user"]))
    rows_so_far = np.cumsum(changes(columns["user"], columns["grid_us"]))
    begin = 0
    for user, end in pairwise(users.tolist()):
        if user > begin and rows_so_far[end - 1] - rows_so_far[begin] >= CHUNK_ROWS:
            yield begin, user
            begin = user
    yield begin, len(columns["user"])


def _social_rows(touches: dict[str, Ints], users: pa.Array, items: pa.Array) -> pa.Table:
    row_starts = np.flatnonzero(changes(touches["user"], touches["grid_us"]))
    user, grid_us = touches["user"][row_starts], touches["grid_us"][row_starts]
    starts = changes(user)
    kinds = touches["kind"]

    def so_far(kind: int) -> np.ndarray:
        return running_sum(np.add.reduceat((kinds == kind).astype(np.float64), row_starts), starts)

    age_us = touches["grid_us"] - touches["at_us"]
    left = np.where(kinds == EVENT, np.exp2(-age_us / (ACTIVITY_HALF_LIFE_DAYS * DAY_US)), 0.0)
    activity = scan(np.add.reduceat(left, row_starts), grid_us, starts, ACTIVITY_HALF_LIFE_DAYS)
    num_friends = so_far(FRIEND)
    columns = {
        "user_id": users.take(pa.array(user)),
        "num_friends": num_friends.astype(np.int64),
        "reciprocity": so_far(RETURNED) / num_friends,
        "friends_events_30d": activity,
        "counted_at_us": grid_us,
        **_friend_lists(touches, row_starts, starts, users, items),
    }
    return stamped(columns, grid_us, SCHEMAS["user_social"])


def _friend_lists(
    touches: dict[str, Ints], row_starts: Ints, starts: np.ndarray, users: pa.Array, items: pa.Array
) -> dict[str, pa.Array]:
    """The list features of every row: replay a user's touches, read the feed at each instant."""
    friends, num_friends = array("q"), array("q")
    recent, counts, num_recent = array("q"), array("q"), array("q")
    kept = ("kind", "friend", "at_us", "item")
    touched = list(zip(*(touches[name].tolist() for name in kept), strict=True))
    bounds = [*row_starts.tolist(), len(touched)]
    feed = FriendFeed()
    for (first, last), new_user, now_us in zip(
        pairwise(bounds), starts.tolist(), touches["grid_us"][row_starts].tolist(), strict=True
    ):
        if new_user:
            feed = FriendFeed()
        for what, who, when, which in touched[first:last]:
            if what == FRIEND:
                feed.meet(who)
            elif what == EVENT:
                feed.act(who, when)
                if which >= 0:
                    feed.take(who, which, when)
        top = feed.top_friends()
        friends.extend(top)
        num_friends.append(len(top))
        recent_items, recent_counts = feed.recent(now_us)
        recent.extend(recent_items)
        counts.extend(recent_counts)
        num_recent.append(len(recent_items))
    recent_lengths = np.frombuffer(num_recent, dtype=np.int64)
    return {
        "top_friends": lists(
            users.take(pa.array(friends)), np.frombuffer(num_friends, dtype=np.int64)
        ),
        "friends_recent_items": lists(items.take(pa.array(recent)), recent_lengths),
        "friends_recent_counts": lists(pa.array(counts), recent_lengths),
    }
