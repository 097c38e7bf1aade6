"""What is read together.

A name carries its version: a change that breaks readers is a new service.
"""

import os

from feast import FeatureService
from feast.feature_logging import LoggingConfig
from feast.infra.offline_stores.file_source import FileLoggingDestination

from entities import OWNER
from item_views import item_attributes, item_popularity
from social_views import user_graph, user_social
from sources import SERVED
from text_views import item_text, user_text
from user_views import user_activity, user_affinity, user_history

ranking_v1 = FeatureService(
    name="ranking_v1",
    features=[
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
    description="All that the fusion model reads; its inputs are derived from this service.",
    owner=OWNER,
    logging_config=LoggingConfig(
        FileLoggingDestination(
            path=f"{SERVED}/ranking_v1",
            s3_endpoint_override=os.environ.get("POTLUCK_S3_ENDPOINT", ""),
            partition_by=["__log_date"],
        )
    ),
)

retrieval_v1 = FeatureService(
    name="retrieval_v1",
    features=[user_history, user_social, user_text, item_attributes, item_popularity, item_text],
    description="All that the candidate channels read.",
    owner=OWNER,
)

explanation_v1 = FeatureService(
    name="explanation_v1",
    features=[
        item_attributes,
        item_text,
        item_popularity,
        user_history,
        user_affinity,
        user_social,
        user_text,
    ],
    description="All that a sentence of explanation may rest on.",
    owner=OWNER,
)
