"""A briefly trained bundle for a data set of any size.

In: a data set and its applied repo. Out: a bundle that the ordinary loader takes. What is not as
`training.train` makes it, since speed is measured here and not quality: the model sees one epoch of
`NUM_LABELS` take-ups; the channels' weights are set by hand, the calibration is the identity, and
nothing is evaluated. The channels `user-ridge` and `item-ridge` are left out: they hold a number
for each pair of users and of items, 40 GB and 4 TB at the full size.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
from feast import FeatureStore

from feature_repo.pipelines.tables import DatasetInfo, table_path
from training.arrays import scratch
from training.bundle import Seen
from training.calibration import Calibration
from training.channels import everything, known_sources
from training.config import ModelConfig, RunConfig, TrainingConfig
from training.encode import Encoder
from training.encoded import encode_labels
from training.events import Events, SplitName, read_events
from training.join import join_features
from training.labels import Labels
from training.loop import ModelSpec
from training.neighbours import item_neighbours
from training.packing import Contents, read_items, write_bundle
from training.prepare import draw, fit_encoder, join_labels
from training.profiles import FriendsTaste, TermProfile, Trending
from training.queries import before
from training.registry import read_schema
from training.served import Served
from training.text_link import TextLink
from training.transitions import TransitionOptions, Transitions
from training.workers import Fitted, fit

NUM_LABELS = 5_000
CHANNEL_WEIGHT = 0.3  # beside a model weight of 1: about what training learns on the small world
CONFIG = TrainingConfig(
    model=ModelConfig(), run=RunConfig(epochs=1, workers=0, negatives=6, negative_pool=1)
)
CARD = "# A bundle to measure serving on\n\nBriefly trained on a synthetic world: no quality.\n"


def make_bundle(repo: Path, data: Path, folder: Path) -> Path:
    """Train briefly and write `folder`/bundle."""
    store, info = FeatureStore(repo_path=str(repo)), DatasetInfo.read(data)
    events = read_events(data)
    encoder = fit_encoder(store, read_schema(store, "ranking_v1"), info, events)
    fitted = train_briefly(store, encoder, events, folder)
    whole = everything(events)
    served = fit_served(store, encoder, data, whole).counted(whole)
    contents = pack(store, data, info, whole, encoder, fitted, served)
    (folder / "metrics.json").write_text(json.dumps({"labels": NUM_LABELS, "epochs": 1}) + "\n")
    (folder / "report.html").write_text("<p>Nothing was evaluated: see the model card.</p>\n")
    return write_bundle(contents, folder / "bundle", folder)


def train_briefly(store: FeatureStore, encoder: Encoder, events: Events, folder: Path) -> Fitted:
    """One epoch over some labels of the training period."""
    run = CONFIG.run
    labels: dict[SplitName, Labels] = {
        "train": draw(events, "train", run, run.negatives, NUM_LABELS),
        "validation": draw(events, "validation", run, run.negatives, NUM_LABELS // 20),
    }
    joined = join_labels(store, encoder.feature_schema, events, labels)
    spec = ModelSpec(encoder.feature_schema, encoder.vocabulary_sizes, CONFIG.model)
    with scratch(folder / "encoded") as encoded:
        training = encode_labels(encoder, events, labels, joined, encoded)
        return fit(spec, training, run, folder / "checkpoints", "brief")


def fit_served(store: FeatureStore, encoder: Encoder, data: Path, events: Events) -> Served:
    """The channels whose state grows no faster than the catalogue, all with one weight."""
    sources = known_sources(store, encoder, data, events)
    channels: tuple[Any, ...] = (
        # Pairs of neighbours in time alone: fifty steps apart would be a hundred million pairs.
        Transitions(events, TransitionOptions(window=5)),
        TextLink(events, sources),
        FriendsTaste(events, sources),
        TermProfile(sources),
        Trending(30.0, "trending-30-days"),
    )
    return Served(np.array([[1.0, *[CHANNEL_WEIGHT] * len(channels)]]), (), channels)


def pack(
    store: FeatureStore,
    data: Path,
    info: DatasetInfo,
    events: Events,
    encoder: Encoder,
    fitted: Fitted,
    served: Served,
) -> Contents:
    """Snapshots as of the data's end, as `training.outcome` takes them."""
    num_users, num_items = len(events.user_ids), len(events.item_ids)
    taken, end_us = events.take_ups(), events.train_end_us
    return Contents(
        as_of=info.last_event_at,
        dataset=info.name,
        dataset_fingerprint=hashlib.sha256(info.model_dump_json().encode()).hexdigest()[:16],
        config=CONFIG,
        encoder=encoder,
        model=fitted.model,
        items=read_items(table_path(data, "items"), events.item_ids),
        item_views=join_features(
            store, encoder.feature_schema, "item", events.item_ids, np.full(num_items, end_us)
        ),
        neighbours=item_neighbours(
            events.user_index[taken], events.item_index[taken], num_users, num_items
        ),
        seen=Seen.of_pairs(events.user_ids, events.user_index, events.item_index, num_items),
        taken=before(events, taken, np.arange(num_users), np.full(num_users, end_us)),
        served=served,
        calibration=Calibration(),
        card=CARD,
    )
