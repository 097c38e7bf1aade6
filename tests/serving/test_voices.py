"""The served score is the score that was evaluated: same channels, same users, same numbers."""

import dataclasses
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from feast import FeatureStore

from serving.api import Context
from serving.ranker import SlateRanker
from tests.serving.askers import REGULARS, ask_user
from training.blend import Blend
from training.channels import everything, fit_channels, known_sources
from training.events import Events, read_events
from training.join import join_features
from training.queries import Queries, asking, before
from training.scorer import FusedScorer, QueryFeatures
from training.served import MODEL

DAY_US = 86_400_000_000


@pytest.fixture(scope="module")
def events(world: Path) -> Events:
    return everything(read_events(world))


@pytest.fixture(scope="module")
def blend(ranker: SlateRanker, store: FeatureStore, world: Path, events: Events) -> Blend:
    """The bundle's model and weights over channels that are fitted here, on the tables."""
    bundle, served = ranker.bundle, ranker.bundle.served
    features = QueryFeatures(store, bundle.schema, bundle.encoder, events)
    model = FusedScorer(MODEL, bundle.model, features)
    channels = fit_channels(events, known_sources(store, bundle.encoder, world, events))
    return Blend([model, *channels], served.weights_NK, steps=served.steps)


def asked(ranker: SlateRanker, events: Events, at_us: int) -> Queries:
    number = np.array([ranker.snapshot.number_of(user_id) for user_id in REGULARS])
    instants = np.full(len(number), at_us)
    history = before(events, events.take_ups(), number, instants)
    return asking(events, number, instants, history)


def served_scores(ranker: SlateRanker, user_id: str, at_us: int) -> npt.NDArray[np.float32]:
    """Of all items, by the stages of the ranker."""
    user, everything = ranker.users.read(user_id, Context(), at_us), np.arange(len(ranker.snapshot))
    with torch.inference_mode():
        items = ranker.snapshot.tokens(everything, at_us)
        logits = ranker.bundle.model.score(user.tokens, items)[0].numpy()
    return ranker.voices.say(user, at_us).scores(logits, everything)


def test_channels_say_online_what_they_said_in_the_evaluation(
    ranker: SlateRanker, blend: Blend, events: Events
) -> None:
    at_us = ranker.clock.now_us() + 1
    queries, rows = asked(ranker, events, at_us), np.arange(len(REGULARS))
    offline = dataclasses.replace(ranker.bundle.served, channels=tuple(blend.channels[1:]))
    expected_KBI = offline.terms(queries, rows)
    assert expected_KBI.any(axis=(1, 2)).all()
    for row, user_id in enumerate(REGULARS):
        said = ranker.voices.say(ask_user(ranker, user_id), at_us)
        np.testing.assert_allclose(said.terms_KI, expected_KBI[:, row], atol=1e-4)


def test_the_ranker_scores_as_the_blend_does(
    ranker: SlateRanker, store: FeatureStore, blend: Blend, events: Events
) -> None:
    """At the start of a day, as of which the evaluation reads items; so late that every feature row
    in the online store is known by then, and with a snapshot of that day."""
    at_us = (ranker.clock.now_us() // DAY_US + 40) * DAY_US
    instants = np.full(len(events.item_ids), at_us)
    views = join_features(store, ranker.bundle.schema, "item", events.item_ids, instants)
    bundle = dataclasses.replace(ranker.bundle, item_views=views)
    ranker = SlateRanker(bundle, store, ranker.clock)
    scores_BI = blend.score(asked(ranker, events, at_us), np.arange(len(REGULARS)))
    for row, user_id in enumerate(REGULARS):
        found = served_scores(ranker, user_id, at_us)
        np.testing.assert_allclose(found, scores_BI[row], atol=1e-4)
