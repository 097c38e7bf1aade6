"""An offline store that is wrong on purpose, in the way that its configuration names."""

import copy
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Literal

import pandas as pd
from feast.feature_view import FeatureView
from feast.repo_config import RepoConfig

from feature_repo.plugins.point_in_time import (
    PointInTimeOfflineStore,
    PointInTimeOfflineStoreConfig,
)
from feature_repo.plugins.retrieval_job import PointInTimeJob

Fault = Literal[
    "drops one",
    "repeats one",
    "mixes up",
    "peeks",
    "is late",
    "no ttl",
    "no created",
    "no mapping",
    "raises on ttl",
    "raises always",
]
STORE = "tests.point_in_time.wrong_store.WrongOfflineStore"


class WrongOfflineStoreConfig(PointInTimeOfflineStoreConfig):
    """Ours, and what to do wrong."""

    type: str = STORE
    fault: Fault


class WrongOfflineStore(PointInTimeOfflineStore):
    """Our store with one fault."""

    @staticmethod
    def get_historical_features(
        config: RepoConfig,
        feature_views: Sequence[FeatureView],
        feature_refs: list[str],
        entity_df: Any,
        *arguments: Any,
        **options: Any,
    ) -> PointInTimeJob:
        fault = config.offline_store.fault
        if fault == "raises always" or (fault == "raises on ttl" and feature_views[0].ttl):
            raise RuntimeError("no such table")
        if fault == "no ttl":
            feature_views = copy.deepcopy(feature_views)
            for view in feature_views:
                view.ttl = None
        if fault == "no mapping":
            feature_views = copy.deepcopy(feature_views)
            for view in feature_views:
                view.batch_source.field_mapping = {}
        if fault == "no created":
            options["filter_by_created_timestamp"] = False
        if isinstance(entity_df, pd.DataFrame):
            entity_df = _wrong_frame(entity_df, fault)
        job: PointInTimeJob = PointInTimeOfflineStore.get_historical_features(
            config, feature_views, feature_refs, entity_df, *arguments, **options
        )
        return job


def _wrong_frame(frame: pd.DataFrame, fault: Fault) -> pd.DataFrame:
    moved = {"peeks": timedelta(minutes=50), "is late": timedelta(minutes=-50)}
    if fault == "drops one":
        return frame.iloc[1:]
    if fault == "repeats one":
        return pd.concat([frame.head(1), frame])
    if fault == "mixes up":
        # The keys stay where they are, under the labels of others.
        keys = [name for name in frame.columns if name not in ("event_timestamp", "doctor_label")]
        return frame.assign(**{name: frame[name].to_numpy()[::-1] for name in keys})
    if fault in moved:
        return frame.assign(event_timestamp=frame["event_timestamp"] + moved[fault])
    return frame
