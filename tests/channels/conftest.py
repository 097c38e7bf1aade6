"""A small log of timed events with friends, terms and vectors, random but seeded."""

from collections.abc import Callable

import numpy as np
import pytest
import scipy.sparse as sp

from tests.evaluation.conftest import random_events
from training.events import Events
from training.profiles import strong_training
from training.queries import Queries, QueryOptions, build_queries
from training.sources import Sources, relative

EVERYTHING = QueryOptions(max_queries_per_user=1_000, horizon_days=0.0)


def random_sources(events: Events, seed: int = 0) -> Sources:
    """Every kind of source, none of which has anything to do with the events."""
    rng = np.random.default_rng(seed)
    users, items = len(events.user_ids), len(events.item_ids)
    links = np.triu(rng.random((users, users)) < 0.2, 1)
    vectors = rng.normal(size=(items, 6)).astype(np.float32)
    taken_UI = strong_training(events, Sources())
    values = sp.csr_matrix(taken_UI.multiply(rng.integers(1, 50, taken_UI.shape)))
    return Sources(
        strength_UI=relative(values),
        friends_UU=sp.csr_matrix((links | links.T).astype(np.float64)),
        terms_IG=sp.csr_matrix(rng.integers(0, 3, (items, 5)).astype(np.float64)),
        vectors_ID=vectors / np.linalg.norm(vectors, axis=1, keepdims=True),
    )


@pytest.fixture
def events() -> Events:
    return random_events(3, users=14, items=20, events=300)


@pytest.fixture
def sources(events: Events) -> Sources:
    return random_sources(events)


@pytest.fixture
def queries(events: Events) -> Queries:
    return build_queries(events, "test", EVERYTHING)


@pytest.fixture
def make_sources() -> Callable[..., Sources]:
    return random_sources
