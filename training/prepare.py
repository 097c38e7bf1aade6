"""From events to what is encoded: draw labels, join features before each label, fit the encoder.

In: a data set's events, a feature store, a schema. Out: for each period labels with candidates,
the feature rows they see, and the fitted encoder. Nothing here trains.
"""

# Shapes: n labels, P candidates in the pool (the positive first), R feature rows

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping

import numpy as np
import pyarrow as pa
from feast import FeatureStore

from feature_repo.pipelines.tables import DatasetInfo
from training.config import RunConfig
from training.encode import Encoder
from training.events import Events, Ints, SplitName
from training.join import Rows, ViewRows, join_features
from training.labels import Labels, Positives, first_take_ups, outcomes_of
from training.negatives import NegativeConfig, NegativeSampler
from training.rows import training_rows
from training.schema import FeatureSchema

VALIDATION_LABELS = 5_000  # enough for an epoch's NDCG to +-0.003, at a second or two an epoch
TEST_LABELS = 20_000


@dataclasses.dataclass(frozen=True)
class Joined:
    """Which feature rows labels see, by number, and the rows once for all splits."""

    features: dict[str, pa.Table]
    """By view [R], as in `ViewRows`."""
    users: dict[SplitName, dict[str, Rows]]
    """By split and view [n]: the row of the label's user."""
    items: dict[SplitName, dict[str, Rows]]
    """By split and view [n, P]: the row of every candidate."""


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


def draw_again(
    events: Events, known: Events, newest: SplitName, run: RunConfig
) -> dict[SplitName, Labels]:
    """Labels to learn from in several periods, which are one training period in `known`.

    Those of the newest, a period of `events`, are there as validation too: their figures show that
    learning goes on, and no more than that.
    """
    pool = run.negatives * run.negative_pool
    return {
        "train": draw(known, "train", run, pool, None),
        "validation": draw(events, newest, run, pool, VALIDATION_LABELS),
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
    labels = sampler.draw(positives)
    return dataclasses.replace(labels, outcomes=outcomes_of(events, positives))


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
    """Features of every label's user and candidates, strictly before the label.

    One join for all the splits, so that a feature row which several of them see is one row.
    """
    own = labels.values()
    users = join_features(
        store,
        schema,
        "user",
        np.concatenate([it.user_id for it in own]),
        np.concatenate([it.at_us for it in own]),
    )
    items = join_features(
        store,
        schema,
        "item",
        # A place without a candidate asks for any item; its answer is masked in the encoding.
        np.concatenate([events.item_ids[np.maximum(it.item_index, 0).ravel()] for it in own]),
        np.concatenate([np.repeat(it.at_us, it.item_index.shape[1]) for it in own]),
    )
    return Joined(
        features={name: view.features for name, view in (users | items).items()},
        users=by_split(users, {name: (len(split),) for name, split in labels.items()}),
        items=by_split(items, {name: split.item_index.shape for name, split in labels.items()}),
    )


def by_split(
    joined: Mapping[str, ViewRows], shapes: Mapping[SplitName, tuple[int, ...]]
) -> dict[SplitName, dict[str, Rows]]:
    """Row numbers of several splits end to end, cut into each split's own, in its shape."""
    parts: dict[SplitName, dict[str, Rows]] = {}
    start = 0
    for split, shape in shapes.items():
        end = start + math.prod(shape)
        parts[split] = {name: view.rows[start:end].reshape(shape) for name, view in joined.items()}
        start = end
    return parts


def fit_encoder(
    store: FeatureStore, schema: FeatureSchema, info: DatasetInfo, events: Events
) -> Encoder:
    """The encoder, from feature rows of the training period alone."""
    rows = training_rows(store, schema, info.train_end_at)
    return Encoder.fit(schema, rows, events.training_items().tolist())
