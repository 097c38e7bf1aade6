"""One trial of a search: train with some settings, and say how well the model ranks.

In: settings, and what all trials share: encoded labels in files that each trial maps, and queries
of the validation period with their features. Out: after every epoch a report to Ray Tune.
"""

from __future__ import annotations

import copy
import dataclasses
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from feast import FeatureStore
from ray import tune

from training.config import TrainingConfig
from training.dataset import TrainingData
from training.encode import Encoder
from training.events import Events
from training.loop import EpochReport, Loop, ModelSpec, Place
from training.model import FusionModel
from training.queries import DAY_US, Queries, QueryOptions, build_queries
from training.scorer import FusedScorer, QueryFeatures
from training.spaces import with_settings
from training.tuning import validation_ndcg

METRIC = "ndcg@10"
ITEM_DAYS = 400_000  # tokens of items, once a day and epoch: some seconds of one core
QUERIES = QueryOptions(max_users=1000, max_queries_per_user=5)


class ValidationRanking:
    """Queries of the validation period with their features: what a trial's model is judged on."""

    def __init__(self, store: FeatureStore, encoder: Encoder, events: Events) -> None:
        self.queries = on_busy_days(build_queries(events, "validation", QUERIES))
        self.features = QueryFeatures(store, encoder.feature_schema, encoder, events)
        self.features.users(self.queries, np.arange(len(self.queries)))
        self.features.items(int(self.queries.at_us.min() // DAY_US))  # and the days after it

    def __getstate__(self) -> dict[str, Any]:
        """All has been read: trials get the features without a feature store."""
        features = copy.copy(self.features)
        features.store = None  # type: ignore[assignment]
        return {"queries": self.queries, "features": features}

    def ndcg(self, model: FusionModel) -> float:
        """NDCG@10 with every item ranked, averaged over users."""
        on_cpu = copy.deepcopy(model).cpu()
        return validation_ndcg(FusedScorer("trial", on_cpu, self.features), self.queries)


@dataclasses.dataclass(frozen=True)
class Setup:
    """What all trials share."""

    encoder: Encoder
    data: Path
    """Folder of the encoded labels, which every trial maps."""
    ranking: ValidationRanking
    config: TrainingConfig


def train_trial(settings: Mapping[str, Any], setup: Setup) -> None:
    """One trial: train, and after each epoch report the NDCG@10 of the best epoch so far, by the
    loop's own estimate, since that is the model training would keep."""
    logging.getLogger().setLevel(logging.WARNING)
    torch.set_num_threads(1)
    config = with_settings(setup.config, settings)
    spec = ModelSpec(setup.encoder.feature_schema, setup.encoder.vocabulary_sizes, config.model)
    device = torch.device("cuda" if config.run.gpu else "cpu")
    loop = Loop(spec, TrainingData.open(setup.data), config.run, Place(device=device))
    best = 0.0

    def report(line: EpochReport, loop: Loop) -> None:
        nonlocal best
        if loop.best_epoch == line.epoch:
            best = setup.ranking.ndcg(loop.model)
        tune.report({METRIC: best, "epoch": line.epoch})

    try:
        loop.fit(report)
    except FloatingPointError:
        tune.report({METRIC: 0.0, "epoch": loop.epoch})  # a setting to stay away from


def on_busy_days(queries: Queries) -> Queries:
    """The queries of the days with most of them: each day costs the tokens of all items."""
    days, place, number = np.unique(
        queries.at_us // DAY_US, return_inverse=True, return_counts=True
    )
    num_days = max(1, ITEM_DAYS // queries.num_items)
    busy = np.argsort(-number, kind="stable")[:num_days]
    return queries.take(np.isin(place, busy)) if len(days) > num_days else queries
