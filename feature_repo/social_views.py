"""Friends and follows as features with a time (source: social).

"Friends" are those a user links to. Rows are refreshed on a grid of days and hold what happened
strictly before their instant. A link without a time counts from the beginning.
"""

from feast import FeatureView, Field
from feast.types import Array, Float32, Int64, String

from entities import OWNER, user
from sources import user_graph_batch, user_social_batch
from user_views import FOREVER, clock, decayed_count

user_social = FeatureView(
    name="user_social",
    entities=[user],
    ttl=FOREVER,
    schema=[
        Field(
            name="num_friends",
            dtype=Int64,
            description="Users whom the user befriended or follows.",
            tags={"kind": "numeric"},
        ),
        Field(
            name="reciprocity",
            dtype=Float32,
            description="Share of the user's friends who link back, 0 to 1.",
            tags={"kind": "numeric"},
        ),
        decayed_count("friends_events_30d", 30, "Events of all friends"),
        clock(),
        Field(
            name="top_friends",
            dtype=Array(String),
            description="The user ids of at most 10 most active friends.",
            tags={"kind": "ignore"},
        ),
        Field(
            name="friends_recent_items",
            dtype=Array(String),
            description="What friends took up last, newest first, each once, at most 50.",
            tags={"kind": "sequence", "vocabulary": "item"},
        ),
        Field(
            name="friends_recent_counts",
            dtype=Array(Int64),
            description="How many friends took up each of friends_recent_items.",
            tags={"kind": "ignore"},
        ),
    ],
    source=user_social_batch,
    description="What a user's friends are up to.",
    owner=OWNER,
    tags={"source": "social", "entity": "user"},
)

user_graph = FeatureView(
    name="user_graph",
    entities=[user],
    ttl=FOREVER,
    schema=[
        Field(
            name="graph_embedding",
            dtype=Array(Float32),
            description="Place in the network of friends, 64 wide, by FastRP (Chen et al., 2019).",
            tags={"kind": "embedding"},
        ),
    ],
    source=user_graph_batch,
    description="Where a user stands among friends of friends.",
    owner=OWNER,
    tags={"source": "social", "entity": "user"},
)
