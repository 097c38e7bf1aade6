"""Text read by a language model: of items, and of a user's own words (source: text).

Rows are refreshed on a grid of days, when there was new text, and hold what was written strictly
before their instant.
"""

from feast import FeatureView, Field
from feast.types import Array, Float32, Int64, String

from entities import OWNER, item, user
from sources import item_text_batch, user_text_batch
from user_views import FOREVER

item_text = FeatureView(
    name="item_text",
    entities=[item],
    ttl=FOREVER,
    schema=[
        Field(
            name="text_embedding",
            dtype=Array(Float32),
            description="Mean-pooled language-model embedding of title, category, description and "
            "what people wrote.",
            tags={"kind": "embedding"},
        ),
        Field(
            name="keywords",
            dtype=Array(String),
            description="At most 8 words that set this item's text apart, strongest first.",
            tags={"kind": "sequence", "vocabulary": "keyword"},
        ),
        Field(
            name="sentiment",
            dtype=Float32,
            description="Mean tone of what people wrote, -1 to 1; null if nobody did.",
            tags={"kind": "numeric"},
        ),
        Field(
            name="num_documents",
            dtype=Int64,
            description="Tags, reviews and posts about the item so far.",
            tags={"kind": "numeric"},
        ),
    ],
    source=item_text_batch,
    description="What an item's text says.",
    owner=OWNER,
    tags={"source": "text", "entity": "item"},
)

user_text = FeatureView(
    name="user_text",
    entities=[user],
    ttl=FOREVER,
    schema=[
        Field(
            name="words_embedding",
            dtype=Array(Float32),
            description="Mean-pooled language-model embedding of what the user wrote.",
            tags={"kind": "embedding"},
        ),
        Field(
            name="own_keywords",
            dtype=Array(String),
            description="At most 8 words that set this user's writing apart, strongest first.",
            tags={"kind": "sequence", "vocabulary": "keyword"},
        ),
        Field(
            name="own_sentiment",
            dtype=Float32,
            description="Mean tone of what the user wrote, -1 to 1.",
            tags={"kind": "numeric"},
        ),
        Field(
            name="num_own_documents",
            dtype=Int64,
            description="Tags, reviews and posts by the user so far.",
            tags={"kind": "numeric"},
        ),
    ],
    source=user_text_batch,
    description="What a user's own words say.",
    owner=OWNER,
    tags={"source": "text", "entity": "user"},
)
