"""The channels that a run fits beside its model.

In: the events, the canonical tables and the registry's text vectors of a data set. Out: a channel
for everything that the data set has. How they are fused with the model is in `blending.py`, what is
served of it in `served.py`.
"""

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from feast import FeatureStore

from training.baselines import Scorer
from training.encode import Encoder
from training.events import Events
from training.join import join_features
from training.protocols import PROTOCOLS
from training.served import KINDS
from training.sources import Sources, Vectors, read_sources
from training.text_link import unit

TEXT = "text"
# What of `Sources` a source tag brings; all else is of behaviour.
FIELDS = {"social": "friends_UU", "item": "terms_IG", TEXT: "vectors_ID"}


def known_sources(store: FeatureStore, encoder: Encoder, data_dir: Path, events: Events) -> Sources:
    """What channels are fitted on, all of it from before the end of the training period."""
    vectors_ID = text_vectors(store, encoder, events)
    return replace(read_sources(data_dir, events), vectors_ID=vectors_ID)


def text_vectors(store: FeatureStore, encoder: Encoder, events: Events) -> Vectors | None:
    """Unit vectors [I, D] of the items' text, from the first embedding that the registry has.

    As of the end of training; an item that came later as of its coming. Zeros where there is none.
    """
    schema = encoder.feature_schema
    views = [view for view in schema.item_views if view.source == TEXT]
    found = [(view.name, field.name) for view in views for field in view.of_kind("embedding")]
    if not found:
        return None
    view, field = found[0]
    at_us = np.maximum(events.available_at_us + 1, events.train_end_us)
    joined = join_features(store, schema, "item", events.item_ids, at_us)[view]
    there = np.flatnonzero(joined.rows >= 0)
    rows = joined.features.take(pa.array(joined.rows[there]))
    vectors = encoder.encode(view, rows)[f"embedding:{field}"].numpy()
    vectors_ID = np.zeros((len(events.item_ids), vectors.shape[1]), np.float32)
    vectors_ID[there] = unit(vectors)
    return vectors_ID if vectors_ID.any() else None


def without(sources: Sources, source: str) -> Sources:
    """The sources less what one source tag brings."""
    return replace(sources, **{FIELDS[source]: None}) if source in FIELDS else sources


def fit_channels(events: Events, sources: Sources) -> list[Scorer]:
    """Every channel that has its sources and fits; what is left out is printed with its reason."""
    fitted: list[Scorer] = []
    for name, recipe in PROTOCOLS["global-time"].channels.items():
        if name not in KINDS or any(getattr(sources, need) is None for need in recipe.needs):
            continue
        try:
            fitted.append(recipe.fit(events, sources))
        except ValueError as error:
            print(f"channel {name} is left out: {error}", flush=True)
    return fitted


def fit_without(events: Events, sources: Sources, source: str) -> list[Scorer]:
    """The channels of somebody who has never had this source."""
    fitted: list[Any] = fit_channels(events, without(sources, source))
    return [channel for channel in fitted if source not in channel.sources]


def fit_with(events: Events, sources: Sources, kept: Collection[str]) -> list[Scorer]:
    """The channels of somebody who has never had any other source than these."""
    for source in {*FIELDS} - {*kept}:
        sources = without(sources, source)
    fitted: list[Any] = fit_channels(events, sources)
    return [channel for channel in fitted if {*channel.sources} <= {*kept}]


def everything(events: Events) -> Events:
    """The same events, all of them to be learnt from."""
    end_us = int(events.at_us.max()) + 1
    return replace(events, train_end_us=end_us, validation_end_us=end_us)
