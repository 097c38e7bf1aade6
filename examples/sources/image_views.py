"""A fifth source in one file: what an item's picture shows, as any image model sees it.

Copy it beside the other definitions, write `image_vectors.parquet` into the data set's features
(item_id, event_timestamp, created_timestamp, image_vector), `feast apply`, and train with
`--service ranking_v2`. Nothing else names the new source.
"""

from feast import FeatureService, FeatureView, Field
from feast.types import Array, Float32

from entities import OWNER, item
from item_views import item_attributes, item_popularity
from social_views import user_graph, user_social
from sources import batch
from text_views import item_text, user_text
from user_views import FOREVER, user_activity, user_affinity, user_history

image_vectors = FeatureView(
    name="image_vectors",
    entities=[item],
    ttl=FOREVER,
    schema=[Field(name="image_vector", dtype=Array(Float32))],  # a list of floats is an embedding
    source=batch("image_vectors", "A row for each instant an item got a new picture."),
    description="What an item's picture shows.",
    owner=OWNER,
    tags={"source": "image", "entity": "item"},
)

ranking_v2 = FeatureService(
    name="ranking_v2",
    features=[
        image_vectors,
        user_activity,
        user_history,
        user_affinity,
        item_attributes,
        item_popularity,
        user_social,
        user_graph,
        item_text,
        user_text,
    ],
    description="ranking_v1 and pictures.",
    owner=OWNER,
)
