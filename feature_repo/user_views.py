"""What users did: counters that decay, recent history, taste in categories (source: behaviour).

A row with event time T holds everything up to and including T. Field tags tell the model what a
value is: see the README's table of kinds.
"""

from datetime import timedelta

from feast import FeatureView, Field
from feast.types import Array, Float32, Int64, String

from entities import OWNER, user
from sources import user_activity_push, user_affinity_batch, user_history_push

FOREVER = timedelta(0)


def decayed_count(name: str, half_life_days: int, what: str) -> Field:
    """A count in which an event of one half-life ago counts half, valued at `counted_at_us`."""
    return Field(
        name=name,
        dtype=Float32,
        description=f"{what}, each halved every {half_life_days} days since it happened.",
        tags={"kind": "counter", "half_life_days": str(half_life_days), "clock": "counted_at_us"},
    )


def clock() -> Field:
    """The instant at which the counters of a row are valued; a reader decays them from there."""
    return Field(
        name="counted_at_us",
        dtype=Int64,
        description="Instant at which this row's counters are valued, microseconds since 1970 UTC.",
        tags={"kind": "clock"},
    )


user_activity = FeatureView(
    name="user_activity",
    entities=[user],
    ttl=FOREVER,
    schema=[
        decayed_count("events_1d", 1, "The user's events"),
        decayed_count("events_7d", 7, "The user's events"),
        decayed_count("events_30d", 30, "The user's events"),
        decayed_count("events_365d", 365, "The user's events"),
        Field(
            name="num_events",
            dtype=Int64,
            description="Events of the user so far, undecayed.",
            tags={"kind": "numeric"},
        ),
        Field(
            name="rating_bias",
            dtype=Float32,
            description="How much higher than the running mean the user rates, shrunk towards 0; "
            "null if nothing was rated.",
            tags={"kind": "numeric"},
        ),
        clock(),
    ],
    source=user_activity_push,
    description="How active a user is, over days, weeks, months and a year.",
    owner=OWNER,
    tags={"source": "behaviour", "entity": "user"},
)

user_history = FeatureView(
    name="user_history",
    entities=[user],
    ttl=FOREVER,
    schema=[
        Field(
            name="recent_items",
            dtype=Array(String),
            description="The last items the user took up, newest first, each once, at most 50.",
            tags={"kind": "sequence", "vocabulary": "item"},
        ),
        Field(
            name="recent_actions",
            dtype=Array(String),
            description="How each of recent_items was taken up.",
            tags={"kind": "ignore"},
        ),
        Field(
            name="recent_at_us",
            dtype=Array(Int64),
            description="When each of recent_items was taken up, microseconds since 1970 UTC.",
            tags={"kind": "ignore"},
        ),
    ],
    source=user_history_push,
    description="What a user took up last.",
    owner=OWNER,
    tags={"source": "behaviour", "entity": "user"},
)

user_affinity = FeatureView(
    name="user_affinity",
    entities=[user],
    ttl=FOREVER,
    schema=[
        Field(
            name="top_categories",
            dtype=Array(String),
            description="Categories the user took up most, strongest first, at most 5; "
            "an event a year ago counts half.",
            tags={"kind": "sequence", "vocabulary": "category"},
        ),
        Field(
            name="top_category_shares",
            dtype=Array(Float32),
            description="Share of each of top_categories in all that the user took up, 0 to 1.",
            tags={"kind": "ignore"},
        ),
        Field(
            name="favourite_category",
            dtype=String,
            description="The first of top_categories.",
            tags={"kind": "categorical", "vocabulary": "category"},
        ),
    ],
    source=user_affinity_batch,
    description="Which categories a user leans to.",
    owner=OWNER,
    tags={"source": "behaviour", "entity": "user"},
)
