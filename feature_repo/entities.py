"""Who and what features are about. Join keys are strings in every table."""

from feast import Entity, ValueType

OWNER = "ml-platform@example.com"

user = Entity(
    name="user",
    join_keys=["user_id"],
    value_type=ValueType.STRING,
    description="Someone who takes things up: a listener, viewer, reader or shopper.",
    owner=OWNER,
)

item = Entity(
    name="item",
    join_keys=["item_id"],
    value_type=ValueType.STRING,
    description="Something that can be taken up: an artist, film, article or product.",
    owner=OWNER,
)
