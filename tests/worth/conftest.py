"""Queries of a random log, and the run of the small world whose model two epochs have trained."""

import shutil
from pathlib import Path

import pytest

from tests.evaluation.conftest import random_events
from training.queries import Queries, QueryOptions, build_queries


@pytest.fixture
def queries() -> Queries:
    events = random_events(0, users=60, items=80, events=3000)
    return build_queries(events, "test", QueryOptions(max_queries_per_user=5))


@pytest.fixture
def run(bundle: Path, tmp_path: Path) -> Path:
    """A copy of the run's folder, to write to."""
    return Path(shutil.copytree(bundle.parent, tmp_path / "run"))
