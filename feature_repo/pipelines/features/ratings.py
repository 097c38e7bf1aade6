"""The going rate: what ratings were on average before a day, which a user's or an item's ratings
are held against.

Means are kept per UTC day, so a partition needs only some thousand rows that are not its own, and
an update from a stream needs one number that stays still all day. Nothing of the day itself enters,
so nothing leaks.
"""

import duckdb

from feature_repo.pipelines.features.decay import DAY_US

PRIOR_RATINGS = 5
"""Ratings that the going rate weighs: one rating of its own moves an item's mean by a sixth."""


def create_going_rate(connection: duckdb.DuckDBPyConnection) -> None:
    """Create `going_rate(day, mean)`: the mean of all ratings up to `day` (days since 1970).

    Join it with `ASOF ... ON at_us // DAY_US > day`: a day's own ratings count from the next
    day on.
    """
    # Ordered sums: floating addition in the order threads happen to finish would differ from run to
    # run.
    connection.execute(f"""
        CREATE TABLE IF NOT EXISTS going_rate AS
        WITH days AS (
            SELECT at_us // {DAY_US} AS day, sum(rating ORDER BY event_id) AS total,
                   count(*) AS number
            FROM events WHERE rating IS NOT NULL GROUP BY ALL)
        SELECT day, sum(total) OVER so_far / sum(number) OVER so_far AS mean
        FROM days WINDOW so_far AS (ORDER BY day ROWS UNBOUNDED PRECEDING)""")
