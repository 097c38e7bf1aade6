"""The application over the tiny world: to read from, and over a copy of its store to write to."""

import dataclasses
import inspect
import shutil
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient
from feast import FeatureStore

from feature_repo.pipelines.tables import table_path
from serving.config import ServingConfig
from serving.ranker import SlateRanker
from serving.users import User
from tests.conftest import copy_definitions
from tests.serving.askers import REGULARS, ask_user
from tests.serving.stopped import StoppedClock
from training.bundle import Bundle, load_bundle
from training.channels import everything, fit_channels, known_sources
from training.events import read_events
from training.served import Served

with warnings.catch_warnings():
    # Ray Serve 2.60 declares its own configuration in a way that pydantic 2 deprecates. A filter
    # in pyproject.toml would not hold: importing Feast puts filters of its own before it.
    warnings.filterwarnings("ignore", "Using extra keyword arguments on `Field`")
    from serving.app import Ranker, api

# The class as written; Ray Serve wraps it, and its decorator hides that from type checkers.
PLAIN_RANKER: Any = Ranker.func_or_class.__mro__[1]  # type: ignore[attr-defined]


def routes(router: APIRouter | FastAPI) -> Iterator[APIRoute]:
    """All routes, those of included routers too."""
    for route in router.routes:
        if isinstance(route, APIRoute):
            yield route
        elif hasattr(route, "original_router"):
            yield from routes(route.original_router)


def the_instance() -> Callable[..., object]:
    """What FastAPI calls to learn whose methods the routes are: Serve looks into its replica."""
    signatures = (inspect.signature(route.endpoint) for route in routes(api))
    one = next(signature for signature in signatures if "self" in signature.parameters)
    dependency: Callable[..., object] = one.parameters["self"].default.dependency
    return dependency


@pytest.fixture(scope="session")
def loaded(bundle: Path, world: Path, store: FeatureStore) -> Bundle:
    """With all channels of the data set, also those for which the tiny model found no use."""
    own = load_bundle(bundle)
    events = everything(read_events(world))
    channels: list[Any] = fit_channels(events, known_sources(store, own.encoder, world, events))
    weights_NK = np.array([[0.7, *np.linspace(0.1, 0.5, len(channels))]])
    served = Served(weights_NK, (), tuple(channels)).counted(events)
    return dataclasses.replace(own, served=served)


@pytest.fixture(scope="session")
def store(repo: Path) -> FeatureStore:
    """The shared store: for reading only."""
    return FeatureStore(str(repo))


@pytest.fixture(scope="session")
def ranker(loaded: Bundle, store: FeatureStore) -> SlateRanker:
    """At the end of the data; for reading only."""
    return SlateRanker(loaded, store, StoppedClock(loaded.as_of))


@pytest.fixture(scope="session")
def regulars(ranker: SlateRanker) -> list[User]:
    """Users that the store knows."""
    return [ask_user(ranker, user_id) for user_id in REGULARS]


@pytest.fixture(scope="session")
def stranger(ranker: SlateRanker) -> User:
    return ask_user(ranker, "nobody")


@pytest.fixture(scope="session")
def events_of(world: Path) -> dict[str, list[str]]:
    """By user, the items of the raw events in order of time."""
    rows = pq.read_table(table_path(world, "interactions")).sort_by("timestamp").to_pylist()
    found: dict[str, list[str]] = {}
    for row in rows:
        found.setdefault(row["user_id"], []).append(row["item_id"])
    return found


@pytest.fixture
def own_repo(repo: Path, tmp_path: Path) -> Path:
    """The applied repo with an online store that a test may write to."""
    copy_definitions(tmp_path / "feature_repo")
    data = tmp_path / "data" / "current"
    data.mkdir(parents=True)
    for name in ("registry.db", "online.db"):
        shutil.copy(repo.parent / "data" / "current" / name, data / name)
    return tmp_path / "feature_repo"


@pytest.fixture
def own_bundle(bundle: Path, tmp_path: Path) -> Path:
    """A copy, beside which a test may lay snapshots and pushed rows."""
    return Path(shutil.copytree(bundle, tmp_path / "run" / "bundle"))


@pytest.fixture
def start(bundle: Path, own_repo: Path, tmp_path: Path) -> Iterator[Callable[..., TestClient]]:
    """Starts the application without Ray: `start(explainer, **configuration)` -> HTTP client.
    `retriever` is one that runs already, or what stands in for it."""

    def started(explainer: Any = None, retriever: Any = None, **changes: Any) -> TestClient:
        given = {"bundle": bundle, "repo": own_repo, "clock": "data"}
        given["feedback_log"] = tmp_path / "feedback.jsonl"
        given["user_deadline_ms"] = given["channel_deadline_ms"] = 30_000  # of a busy machine
        given["retrieval"] = "process" if retriever is None else "handle"
        config = ServingConfig.model_validate({**given, **changes})
        application = PLAIN_RANKER(config, explainer, retriever)
        api.dependency_overrides[the_instance()] = lambda: application
        return TestClient(api, raise_server_exceptions=False)

    yield started
    api.dependency_overrides.clear()


@pytest.fixture
def client(start: Callable[..., TestClient]) -> TestClient:
    return start()
