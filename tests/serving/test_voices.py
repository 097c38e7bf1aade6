"""The served score is the score that was evaluated: same channels, same users, same numbers."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from feast import FeatureStore

from serving.api import Context
from serving.ranker import SlateRanker, rank_of
from serving.voices import Said
from tests.serving.askers import REGULARS, ask_user
from tests.serving.stopped import StoppedClock
from training.blend import Blend
from training.bundle import Bundle
from training.channels import everything, fit_channels, known_sources
from training.events import Events, read_events
from training.join import join_features
from training.queries import Queries, asking, before
from training.scorer import FusedScorer, QueryFeatures
from training.served import MODEL

DAY_US = 86_400_000_000
NUM_ITEMS = 100


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


def terms_of(said: Said) -> npt.NDArray[np.float32]:
    """What every channel adds to the score of every item, [K, I]."""
    return said.terms(np.arange(NUM_ITEMS))


def test_a_hidden_source_silences_what_lives_on_it(ranker: SlateRanker) -> None:
    said = ranker.voices.say(ask_user(ranker, REGULARS[0]), ranker.clock.now_us())
    sources, places = ranker.bundle.model.sources, {n: p for p, n in enumerate(said.names)}
    quiet = terms_of(said.without(sources.index("behaviour")))
    assert not quiet[[places["item-ridge"], places["user-ridge"], places["terms"]]].any()
    assert quiet[places["trending-30-days"]].any()
    alone = terms_of(said.without_only(sources.index("social")))
    assert not alone[places["friends"]].any()
    assert alone[places["user-ridge"]].any()


def test_a_stranger_hears_what_is_trending_and_no_more(ranker: SlateRanker) -> None:
    said = ranker.voices.say(ask_user(ranker, "nobody"), ranker.clock.now_us())
    heard = {n for n, row in zip(said.names, terms_of(said), strict=True) if row.any()}
    assert heard == {"trending-30-days", "trending-365-days"}


def test_a_source_that_the_store_lost_is_not_replaced_by_what_the_bundle_remembers(
    ranker: SlateRanker,
) -> None:
    user = ask_user(ranker, REGULARS[0])
    sources = ranker.bundle.model.sources
    kept = torch.tensor([source not in ("behaviour", "social") for source in sources])
    lost = dataclasses.replace(
        user, tokens=user.tokens.masked(kept), history=(), taken_at_us=(), actions=()
    )
    said = ranker.voices.say(lost, ranker.clock.now_us())
    for name, row in zip(said.names, terms_of(said), strict=True):
        assert row.any() == name.startswith("trending"), name


def test_a_history_is_the_bundles_and_what_came_since(ranker: SlateRanker, events: Events) -> None:
    user, ids = ask_user(ranker, REGULARS[0]), ranker.snapshot.item_ids
    number = ranker.snapshot.number_of(user.user_id)
    taken = events.take_ups()
    own = events.item_index[taken][events.user_index[taken] == number]
    assert ranker.voices.history(user).tolist() == own.tolist()
    fresh = next(item for item in range(len(ids)) if item not in own)
    session = ask_user(ranker, REGULARS[0], ids[fresh])
    assert ranker.voices.history(session).tolist() == [*own.tolist(), fresh]
    hidden = dataclasses.replace(user, rejected=(ids[own[0]],))
    assert own[0] not in ranker.voices.history(hidden)


def test_a_take_up_that_came_by_feedback_makes_an_item_trend(
    loaded: Bundle, store: FeatureStore
) -> None:
    ranker = SlateRanker(loaded, store, StoppedClock(loaded.as_of))
    user, at_us = ask_user(ranker, "nobody"), ranker.clock.now_us()
    place = ranker.voices.names.index("trending-30-days")
    before_I = terms_of(ranker.voices.say(user, at_us))[place]
    item = int(np.argsort(before_I)[len(before_I) // 2])
    for _ in range(20):
        ranker.snapshot.popularity.add(item, at_us)
    after_I = terms_of(ranker.voices.say(user, at_us))[place]
    assert rank_of(after_I, item) < rank_of(before_I, item)
    fresh = SlateRanker(loaded, store, StoppedClock(loaded.as_of))
    np.testing.assert_array_equal(terms_of(fresh.voices.say(user, at_us))[place], before_I)


def test_channels_say_online_what_they_said_in_the_evaluation(
    ranker: SlateRanker, blend: Blend, events: Events
) -> None:
    at_us = ranker.clock.now_us() + 1
    queries, rows = asked(ranker, events, at_us), np.arange(len(REGULARS))
    channels: list[Any] = blend.channels[1:]
    offline = dataclasses.replace(ranker.bundle.served, channels=tuple(channels))
    expected_KBI = offline.terms(queries, rows)
    assert expected_KBI.any(axis=(1, 2)).all()
    for row, user_id in enumerate(REGULARS):
        said = ranker.voices.say(ask_user(ranker, user_id), at_us)
        np.testing.assert_allclose(terms_of(said), expected_KBI[:, row], atol=1e-4)


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
