"""One random log, its feature rows, and a store of each kind around them."""

import pyarrow as pa
import pytest
from feast import FeatureStore

from tests.training_data import tiny
from training.events import Events
from training.registry import read_schema
from training.schema import FeatureSchema


@pytest.fixture(scope="session")
def log() -> tiny.Log:
    return tiny.random_log(seed=7)


@pytest.fixture(scope="session")
def events(log: tiny.Log) -> Events:
    return tiny.events_of(log)


@pytest.fixture(scope="session")
def rows(log: tiny.Log) -> dict[str, pa.Table]:
    return tiny.feature_rows(log)


@pytest.fixture(scope="session")
def stores(
    rows: dict[str, pa.Table], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, FeatureStore]:
    """By engine: our point-in-time store, and Feast's stock DuckDB store."""
    folder = tmp_path_factory.mktemp("stores")
    return {
        engine: tiny.make_store(folder / engine.rsplit(".", 1)[-1], engine, rows)
        for engine in tiny.ENGINES
    }


@pytest.fixture(scope="session")
def schema(stores: dict[str, FeatureStore]) -> FeatureSchema:
    return read_schema(stores[tiny.OURS], "everything")
