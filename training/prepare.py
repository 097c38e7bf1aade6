"""From events to training data: draw labels, join features before each label, encode.

In: a data set's events, a feature store, a schema. Out: for each period labels with candidates,
their joined feature rows, the fitted encoder and TrainingData. Nothing here trains.
"""

# Shapes: n labels, P candidates in the pool (the positive first)

from __future__ import annotations

import dataclasses

import numpy as np
from feast import FeatureStore

from feature_repo.pipelines.tables import DatasetInfo
from training.config import RunConfig
from training.dataset import TrainingData, encode_labels
from training.encode import Encoder
from training.events import Events, Ints, SplitName
from training.join import ViewRows, join_features
from training.labels import Labels, Positives, first_take_ups
from training.negatives import NegativeConfig, NegativeSampler
from training.rows import training_rows
from training.schema import FeatureSchema

VALIDATION_LABELS = 5_000  # enough for an epoch's NDCG to +-0.003, at a second or two an epoch
TEST_LABELS = 20_000


@dataclasses.dataclass(frozen=True)
class Joined:
    """The feature rows that labels see, by split and view."""

    users: dict[SplitName, dict[str, ViewRows]]
    """[n] a view."""
    items: dict[SplitName, dict[str, ViewRows]]
    """[n * P] a view: every candidate of every label."""


def draw_labels(events: Events, run: RunConfig) -> dict[SplitName, Labels]:
    """First take-ups of each period with candidates; a seeded part of the later periods.

    Training and validation have a pool of candidates each, test one negative a positive.
    """
    pool = run.negatives * run.negative_pool
    return {
        "train": draw(events, "train", run, pool, None),
        "validation": draw(events, "validation", run, pool, VALIDATION_LABELS),
        "test": draw(events, "test", run, 1, TEST_LABELS),
    }


def draw(
    events: Events, split: SplitName, run: RunConfig, num_negatives: int, at_most: int | None
) -> Labels:
    """One period's labels, `at_most` so many of them, drawn by the run's seed."""
    sampler = NegativeSampler(
        events,
        NegativeConfig(num_negatives=num_negatives, uniform_share=run.uniform_share, seed=run.seed),
    )
    positives = first_take_ups(events, split)
    if at_most is not None and len(positives) > at_most:
        rng = np.random.default_rng(run.seed)
        positives = some(positives, np.sort(rng.permutation(len(positives))[:at_most]))
    return sampler.draw(positives)


def some(positives: Positives, rows: Ints) -> Positives:
    """Some of the positives, in order of time."""
    return dataclasses.replace(
        positives,
        user_index=positives.user_index[rows],
        item_index=positives.item_index[rows],
        at_us=positives.at_us[rows],
    )


def join_labels(
    store: FeatureStore, schema: FeatureSchema, events: Events, labels: dict[SplitName, Labels]
) -> Joined:
    """Features of every label's user and candidates, strictly before the label."""
    users, items = {}, {}
    for split, own in labels.items():
        users[split] = join_features(store, schema, "user", own.user_id, own.at_us)
        # A place without a candidate asks for any item; its answer is masked in the encoding.
        candidates = np.maximum(own.item_index, 0).ravel()
        at_us = np.repeat(own.at_us, own.item_index.shape[1])
        items[split] = join_features(store, schema, "item", events.item_ids[candidates], at_us)
    return Joined(users, items)


def fit_encoder(
    store: FeatureStore, schema: FeatureSchema, info: DatasetInfo, events: Events
) -> Encoder:
    """The encoder, from feature rows of the training period alone."""
    rows = training_rows(store, schema, info.train_end_at)
    return Encoder.fit(schema, rows, events.training_items().tolist())


def encode(
    encoder: Encoder,
    events: Events,
    labels: dict[SplitName, Labels],
    joined: Joined,
    splits: tuple[SplitName, ...] = ("train", "validation"),
) -> TrainingData:
    """The splits' labels and the feature rows they see, as arrays that workers can share."""
    return encode_labels(
        encoder,
        events,
        {split: labels[split] for split in splits},
        {split: joined.users[split] for split in splits},
        {split: joined.items[split] for split in splits},
    )
