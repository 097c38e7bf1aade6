"""What is known of items: attributes, popularity, ratings (source: item)."""

from feast import FeatureView, Field
from feast.types import Array, Float32, Int64, String

from entities import OWNER, item
from sources import item_attributes_batch, item_popularity_push
from user_views import FOREVER, clock, decayed_count

item_attributes = FeatureView(
    name="item_attributes",
    entities=[item],
    ttl=FOREVER,
    schema=[
        Field(
            name="title",
            dtype=String,
            description="Name shown to people.",
            tags={"kind": "text"},
        ),
        Field(
            name="category",
            dtype=String,
            description="Primary category; null if unknown.",
            tags={"kind": "categorical", "vocabulary": "category"},
        ),
        Field(
            name="categories",
            dtype=Array(String),
            description="All categories, the primary one among them.",
            tags={"kind": "sequence", "vocabulary": "category"},
        ),
        Field(
            name="creator",
            dtype=String,
            description="Brand, artist or author; null if unknown.",
            tags={"kind": "categorical"},
        ),
        Field(
            name="price",
            dtype=Float32,
            description="Price in the shop's currency; null if unknown.",
            tags={"kind": "numeric"},
        ),
        Field(
            name="available_at_us",
            dtype=Int64,
            description="Since when the item can be taken up, microseconds since 1970 UTC.",
            tags={"kind": "time"},
        ),
    ],
    source=item_attributes_batch,
    description="What an item is.",
    owner=OWNER,
    tags={"source": "item", "entity": "item"},
)

item_popularity = FeatureView(
    name="item_popularity",
    entities=[item],
    ttl=FOREVER,
    schema=[
        decayed_count("events_1d", 1, "Events on the item"),
        decayed_count("events_7d", 7, "Events on the item"),
        decayed_count("events_30d", 30, "Events on the item"),
        decayed_count("events_365d", 365, "Events on the item"),
        Field(
            name="num_events",
            dtype=Int64,
            description="Events on the item so far, undecayed.",
            tags={"kind": "numeric"},
        ),
        Field(
            name="num_users",
            dtype=Int64,
            description="Different users among those events.",
            tags={"kind": "numeric"},
        ),
        Field(
            name="rating_mean",
            dtype=Float32,
            description="Mean rating with five ratings of the running mean mixed in, so that one "
            "enthusiast is not a verdict; null if never rated.",
            tags={"kind": "numeric"},
        ),
        Field(
            name="rating_count",
            dtype=Int64,
            description="Ratings so far.",
            tags={"kind": "numeric"},
        ),
        clock(),
    ],
    source=item_popularity_push,
    description="How much an item is taken up, and how well it is liked.",
    owner=OWNER,
    tags={"source": "item", "entity": "item"},
)
