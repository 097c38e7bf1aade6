"""Where feature rows come from: Parquet of the active data set, and pushes from the live system.

The pipelines write data/<name>/features/<view>.parquet; data/current points at the active data set.
POTLUCK_FEATURES names another folder or bucket (s3://...), as production does. Paths are absolute,
so that `feast` finds them from any working directory.
"""

import os
from pathlib import Path

from feast import FileSource, PushSource
from feast.data_format import ParquetFormat

from entities import OWNER

_HERE = Path(__file__).resolve().parent
FEATURES = os.environ.get("POTLUCK_FEATURES") or f"{_HERE.parent}/data/current/features"
# Beside them, what the model was served (`feature_logging_share` of the server).
SERVED = f"{FEATURES.rstrip('/').removesuffix('/features')}/served"


def batch(view: str, description: str) -> FileSource:
    """The Parquet file of a view, written by the pipelines."""
    return FileSource(
        name=f"{view}_batch",
        path=f"{FEATURES}/{view}.parquet",
        file_format=ParquetFormat(),
        timestamp_field="event_timestamp",
        created_timestamp_column="created_timestamp",
        s3_endpoint_override=os.environ.get("POTLUCK_S3_ENDPOINT"),
        description=description,
        owner=OWNER,
    )


def push(view: str, source: FileSource) -> PushSource:
    """A source that also takes rows from the live system, in the columns of its batch source."""
    return PushSource(
        name=f"{view}_push",
        batch_source=source,
        description=f"Rows of {view} as feedback arrives, for the online store.",
        owner=OWNER,
    )


user_activity_batch = batch("user_activity", "A row for each instant a user did something.")
user_history_batch = batch("user_history", "A row for each instant a user took something up.")
user_affinity_batch = batch("user_affinity", "A row for each instant a user's taste moved.")
item_attributes_batch = batch("item_attributes", "One row an item, from the day it is available.")
item_popularity_batch = batch("item_popularity", "A row for each instant an item had events.")
user_social_batch = batch("user_social", "Daily rows of users around whom something happened.")
user_graph_batch = batch("user_graph", "Rows of users whose links changed, once or monthly.")
item_text_batch = batch("item_text", "Rows of items with new text, at most one a day.")
user_text_batch = batch("user_text", "Rows of users who wrote something, at most one a day.")

user_activity_push = push("user_activity", user_activity_batch)
user_history_push = push("user_history", user_history_batch)
item_popularity_push = push("item_popularity", item_popularity_batch)
