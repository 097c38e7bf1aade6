"""What is known of an item: its attributes from the day it is available, and its decayed
popularity.

In: items, timed interactions. Out: one attribute row per item at `available_at`; one popularity row
per item and instant at which someone interacted with it, holding everything at or before it.
"""

from collections.abc import Iterator

import duckdb
import numpy as np
import pyarrow as pa

from feature_repo.pipelines.features.behaviour import counters
from feature_repo.pipelines.features.decay import DAY_US, running_sum
from feature_repo.pipelines.features.engine import (
    Partition,
    belongs,
    key_starts,
    stamped,
    whole_keys,
)
from feature_repo.pipelines.features.ratings import PRIOR_RATINGS, create_going_rate
from feature_repo.pipelines.features.schemas import SCHEMAS

_ATTRIBUTES = """
    SELECT item_id, title, category, coalesce(categories, []) AS categories, creator, price,
           available_at_us
    FROM items WHERE {belongs} ORDER BY item_id"""

_POPULARITY = """
    WITH told AS (
        SELECT *, row_number() OVER (
            PARTITION BY item_id, user_id ORDER BY at_us, event_id) = 1 AS is_new_user
        FROM events WHERE {belongs})
    SELECT item_id, at_us, count(*)::DOUBLE AS num_events,
           count_if(is_new_user)::DOUBLE AS new_users, count(rating)::DOUBLE AS num_ratings,
           coalesce(sum(rating ORDER BY event_id), 0) AS ratings, any_value(mean) AS going_rate
    FROM told ASOF LEFT JOIN going_rate ON at_us // {day_us} > day
    GROUP BY ALL ORDER BY item_id, at_us"""


def item_attributes(
    connection: duckdb.DuckDBPyConnection, partition: Partition = None
) -> Iterator[pa.Table]:
    """Title, categories, creator, price and age of each item, from the instant it was available."""
    sql = _ATTRIBUTES.format(belongs=belongs("item_id", partition))
    for rows in whole_keys(connection, sql, "item_id"):
        columns = {name: rows[name] for name in rows.column_names}
        yield stamped(columns, rows["available_at_us"].to_numpy(), SCHEMAS["item_attributes"])


def item_popularity(
    connection: duckdb.DuckDBPyConnection, partition: Partition = None
) -> Iterator[pa.Table]:
    """Decayed counts of all interactions, their number, how many users, and the shrunk mean rating.

    `rating_mean` is (sum of ratings + 5 going rates of that day) / (their number + 5); null before
    the first rating; the item's own mean where no day came before.
    """
    create_going_rate(connection)
    sql = _POPULARITY.format(day_us=DAY_US, belongs=belongs("item_id", partition))
    for rows in whole_keys(connection, sql, "item_id"):
        starts, at_us = key_starts(rows["item_id"]), rows["at_us"].to_numpy()
        counts = rows["num_events"].to_numpy()
        num_ratings = running_sum(rows["num_ratings"].to_numpy(), starts)
        going_rate = rows["going_rate"].to_numpy(zero_copy_only=False)
        means = _shrunk_means(
            running_sum(rows["ratings"].to_numpy(), starts), num_ratings, going_rate
        )
        columns = {
            "item_id": rows["item_id"],
            **counters(counts, at_us, starts),
            "num_events": running_sum(counts, starts).astype(np.int64),
            "num_users": running_sum(rows["new_users"].to_numpy(), starts).astype(np.int64),
            "rating_mean": pa.array(means, mask=num_ratings == 0),
            "rating_count": num_ratings.astype(np.int64),
            "counted_at_us": at_us,
        }
        yield stamped(columns, at_us, SCHEMAS["item_popularity"])


def _shrunk_means(total: np.ndarray, number: np.ndarray, going_rate: np.ndarray) -> np.ndarray:
    unknown = np.isnan(going_rate)
    own = total / np.maximum(number, 1)
    shrunk = (total + PRIOR_RATINGS * going_rate) / (number + PRIOR_RATINGS)
    means: np.ndarray = np.where(unknown, own, shrunk)
    return means
