"""Arrow schemas of the behaviour, item and social feature tables: join key, features, two
timestamps.

A row with `event_timestamp` T holds what happened at instants <= T. `created_timestamp` equals it
in batch.
"""

import pyarrow as pa

from feature_repo.pipelines.tables import INSTANT

STRINGS = pa.list_(pa.string())
INTS = pa.list_(pa.int64())
GRAPH_DIMS = 64

_COUNTERS: dict[str, pa.DataType] = {
    "events_1d": pa.float32(),
    "events_7d": pa.float32(),
    "events_30d": pa.float32(),
    "events_365d": pa.float32(),
}


def _schema(key: str, fields: dict[str, pa.DataType]) -> pa.Schema:
    stamps = {"event_timestamp": INSTANT, "created_timestamp": INSTANT}
    return pa.schema(list({key: pa.string(), **fields, **stamps}.items()))


SCHEMAS: dict[str, pa.Schema] = {
    "user_activity": _schema(
        "user_id",
        {
            **_COUNTERS,
            "num_events": pa.int64(),
            "rating_bias": pa.float32(),
            "counted_at_us": pa.int64(),
        },
    ),
    "user_history": _schema(
        "user_id", {"recent_items": STRINGS, "recent_actions": STRINGS, "recent_at_us": INTS}
    ),
    "user_affinity": _schema(
        "user_id",
        {
            "top_categories": STRINGS,
            "top_category_shares": pa.list_(pa.float32()),
            "favourite_category": pa.string(),
        },
    ),
    "item_attributes": _schema(
        "item_id",
        {
            "title": pa.string(),
            "category": pa.string(),
            "categories": STRINGS,
            "creator": pa.string(),
            "price": pa.float32(),
            "available_at_us": pa.int64(),
        },
    ),
    "item_popularity": _schema(
        "item_id",
        {
            **_COUNTERS,
            "num_events": pa.int64(),
            "num_users": pa.int64(),
            "rating_mean": pa.float32(),
            "rating_count": pa.int64(),
            "counted_at_us": pa.int64(),
        },
    ),
    "user_social": _schema(
        "user_id",
        {
            "num_friends": pa.int64(),
            "reciprocity": pa.float32(),
            "friends_events_30d": pa.float32(),
            "counted_at_us": pa.int64(),
            "top_friends": STRINGS,
            "friends_recent_items": STRINGS,
            "friends_recent_counts": INTS,
        },
    ),
    "user_graph": _schema("user_id", {"graph_embedding": pa.list_(pa.float32())}),
}
