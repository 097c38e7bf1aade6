"""Which categories a user's take-ups were in: the five with the largest shares, recent ones
counting more.

In: timed take-ups and the items' categories. Out: one row per user and instant with a categorised
take-up. All weights decay alike, so shares stay true until the next take-up.
"""

from collections.abc import Iterator

import duckdb
import numpy as np
import pyarrow as pa

from feature_repo.pipelines.features.decay import DAY_US
from feature_repo.pipelines.features.engine import (
    Partition,
    belongs,
    changes,
    key_starts,
    lists,
    stamped,
    whole_keys,
)
from feature_repo.pipelines.features.schemas import SCHEMAS

HALF_LIFE_DAYS = 365.0
MAX_CATEGORIES = 5

# Each category of an item takes one count. Sorted to the last column: float sums in a fixed order.
_CATEGORISED = """
    SELECT user_id, at_us,
           unnest(CASE WHEN len(categories) > 0 THEN list_distinct(categories)
                       WHEN category IS NOT NULL THEN [category] END) AS category
    FROM events JOIN items USING (item_id)
    WHERE is_positive AND {belongs} ORDER BY user_id, at_us, category"""


def user_affinity(
    connection: duckdb.DuckDBPyConnection, partition: Partition = None
) -> Iterator[pa.Table]:
    """The top categories by decayed take-ups (half-life 365 days), with their shares of all of the
    user's.

    Ties go to the category that sorts first.
    """
    sql = _CATEGORISED.format(belongs=belongs("user_id", partition))
    for rows in whole_keys(connection, sql, "user_id"):
        starts, at_us = key_starts(rows["user_id"]), rows["at_us"].to_numpy()
        last_of_instant = np.append(changes(at_us)[1:] | starts[1:], True)
        # Weights relative to 1970, not to the row: with one half-life for all, only ratios matter,
        # and 2^54 today leaves the exponents of a double room for another 900 years.
        weights = np.exp2(at_us / (HALF_LIFE_DAYS * DAY_US))
        tops, shares, lengths = _top_categories(
            rows["category"].to_pylist(), weights, starts, last_of_instant
        )
        firsts = np.cumsum(lengths) - lengths
        names = pa.array(tops, type=pa.string())
        columns = {
            "user_id": rows["user_id"].filter(pa.array(last_of_instant)),
            "top_categories": lists(names, lengths),
            "top_category_shares": lists(pa.array(shares, type=pa.float32()), lengths),
            "favourite_category": names.take(pa.array(firsts)),
        }
        yield stamped(columns, at_us[last_of_instant], SCHEMAS["user_affinity"])


def _top_categories(
    categories: list[str], weights: np.ndarray, starts: np.ndarray, last_of_instant: np.ndarray
) -> tuple[list[str], list[float], np.ndarray]:
    """Top categories of every instant end to end, their shares, and how many each instant has.

    In fixed units weights only grow, so the new top is among the old one and what was just touched.
    """
    tops: list[str] = []
    shares: list[float] = []
    lengths: list[int] = []
    total, by_category, top = 0.0, dict[str, float](), list[str]()
    for category, weight, is_first, is_last in zip(
        categories, weights.tolist(), starts.tolist(), last_of_instant.tolist(), strict=True
    ):
        if is_first:
            total, by_category, top = 0.0, {}, []
        total += weight
        by_category[category] = by_category.get(category, 0.0) + weight
        if category not in top:
            top.append(category)
        top.sort(key=lambda name: (-by_category[name], name))
        del top[MAX_CATEGORIES:]
        if is_last:
            tops.extend(top)
            shares.extend(by_category[name] / total for name in top)
            lengths.append(len(top))
    return tops, shares, np.asarray(lengths, dtype=np.int64)
