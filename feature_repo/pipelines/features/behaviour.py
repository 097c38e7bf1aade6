"""What a user did: decayed activity counters with rating bias, and the last items taken up.

In: timed interactions. Out: one row per user and instant at which something happened, holding
everything at or before it; several events of one instant are one row. Category affinities are in
affinity.py.
"""

from array import array
from collections.abc import Iterator

import duckdb
import numpy as np
import pyarrow as pa

from feature_repo.pipelines.features.decay import (
    DAY_US,
    HALF_LIVES_DAYS,
    Floats,
    Ints,
    running_sum,
    scan,
)
from feature_repo.pipelines.features.engine import (
    Partition,
    belongs,
    changes,
    key_starts,
    lists,
    stamped,
    whole_keys,
)
from feature_repo.pipelines.features.ratings import PRIOR_RATINGS, create_going_rate
from feature_repo.pipelines.features.schemas import SCHEMAS

MAX_RECENT = 50
"""Items that a history remembers."""

_ACTIVITY = """
    SELECT user_id, at_us, count(*)::DOUBLE AS num_events, count(rating)::DOUBLE AS num_ratings,
           coalesce(sum(rating - mean ORDER BY event_id) FILTER (rating IS NOT NULL), 0) AS
           deviation
    FROM events ASOF LEFT JOIN going_rate ON at_us // {day_us} > day
    WHERE {belongs} GROUP BY ALL ORDER BY user_id, at_us"""

# Within an instant the order is unknowable, so it is settled by id: rows come oldest first and the
# lists are newest first, hence the descending item. Of several actions on one item at once the
# first by name stands.
_TAKE_UPS = """
    SELECT user_id, item_id, action, at_us FROM events
    WHERE is_positive AND {belongs} ORDER BY user_id, at_us, item_id DESC, action DESC"""


def user_activity(
    connection: duckdb.DuckDBPyConnection, partition: Partition = None
) -> Iterator[pa.Table]:
    """Decayed counts of all interactions, their number, and the rating bias, per user and instant.

    `rating_bias` is the sum over the user's ratings of (value - going rate of that day), divided by
    their number + 5; null before the first rating. Where no day came before, a rating deviates by
    nothing.
    """
    create_going_rate(connection)
    sql = _ACTIVITY.format(day_us=DAY_US, belongs=belongs("user_id", partition))
    for rows in whole_keys(connection, sql, "user_id"):
        starts, at_us = key_starts(rows["user_id"]), rows["at_us"].to_numpy()
        counts = rows["num_events"].to_numpy()
        num_ratings = running_sum(rows["num_ratings"].to_numpy(), starts)
        bias = running_sum(rows["deviation"].to_numpy(), starts) / (num_ratings + PRIOR_RATINGS)
        columns = {
            "user_id": rows["user_id"],
            **counters(counts, at_us, starts),
            "num_events": running_sum(counts, starts).astype(np.int64),
            "rating_bias": pa.array(bias, mask=num_ratings == 0),
            "counted_at_us": at_us,
        }
        yield stamped(columns, at_us, SCHEMAS["user_activity"])


def counters(counts: Floats, at_us: Ints, starts: np.ndarray) -> dict[str, Floats]:
    """The four decayed counters of each row, valued at the row's own instant."""
    return {name: scan(counts, at_us, starts, days) for name, days in HALF_LIVES_DAYS.items()}


def user_history(
    connection: duckdb.DuckDBPyConnection, partition: Partition = None
) -> Iterator[pa.Table]:
    """The last 50 items taken up, newest first, each once, with its latest action and instant."""
    sql = _TAKE_UPS.format(belongs=belongs("user_id", partition))
    # A row may carry 50 of them, so chunks of rows are kept small.
    for rows in whole_keys(connection, sql, "user_id", chunk_rows=20_000):
        starts, at_us = key_starts(rows["user_id"]), rows["at_us"].to_numpy()
        last_of_instant = np.append(changes(at_us)[1:] | starts[1:], True)
        recent, lengths = _recent_rows(rows["item_id"].to_pylist(), starts, last_of_instant)
        columns = {
            "user_id": rows["user_id"].filter(pa.array(last_of_instant)),
            "recent_items": lists(rows["item_id"].take(recent), lengths),
            "recent_actions": lists(rows["action"].take(recent), lengths),
            "recent_at_us": lists(rows["at_us"].take(recent), lengths),
        }
        yield stamped(columns, at_us[last_of_instant], SCHEMAS["user_history"])


def _recent_rows(
    item_ids: list[str], starts: np.ndarray, last_of_instant: np.ndarray
) -> tuple[Ints, Ints]:
    """Row numbers of the last items at each instant, newest first, end to end; and how many."""
    flat, lengths = array("q"), array("q")
    recent: array[int] = array("q")
    latest: dict[str, int] = {}
    for row, (item_id, is_first, is_last) in enumerate(
        zip(item_ids, starts.tolist(), last_of_instant.tolist(), strict=True)
    ):
        if is_first:
            recent, latest = array("q"), {}
        before = latest.get(item_id)
        if before is not None and before >= recent[-1] and before in recent:
            recent.remove(before)
        latest[item_id] = row
        recent.insert(0, row)
        del recent[MAX_RECENT:]
        if is_last:
            flat.extend(recent)
            lengths.append(len(recent))
    return np.frombuffer(flat, dtype=np.int64), np.frombuffer(lengths, dtype=np.int64)
