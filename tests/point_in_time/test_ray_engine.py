"""The Ray engine finds what one machine finds, whatever the partitions and whoever is lost.

One cluster of two nodes for all tests. Cases are packed: thousands of small worlds go through one
retrieval, each with its number as part of every key.
"""

import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import ray
from ray.cluster_utils import Cluster

from tests.point_in_time import stores, test_regressions

pytestmark = [
    pytest.mark.ray,
    # Ray warns of its own coming defaults, and leaves log files open at shutdown.
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray"),
    pytest.mark.filterwarnings("ignore::FutureWarning:ray"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]
_INSTANT = pa.timestamp("us", "UTC")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Two nodes of two CPUs on this machine."""
    head = {"num_cpus": 2, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    cluster.add_node(num_cpus=2)
    ray.init(cluster.address, logging_level="ERROR")
    yield cluster
    ray.shutdown()
    cluster.shutdown()


@pytest.fixture
def engine(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., None]:
    """Sets the engine of the stores that a test opens from then on."""

    def use(partitions: int | None, shard_rows: int | None) -> None:
        settings = {"ray_partitions": partitions, "ray_shard_rows": shard_rows}
        shard_dir = str(tmp_path / "shards")
        monkeypatch.setattr(stores, "ENGINE", {"engine": "ray", "shard_dir": shard_dir, **settings})

    return use


def _regressions() -> list[Any]:
    """Every case of test_regressions, with its parameters."""
    cases = []
    for name, test in inspect.getmembers(test_regressions, inspect.isfunction):
        if not name.startswith("test_"):
            continue
        marks = [mark for mark in getattr(test, "pytestmark", []) if mark.name == "parametrize"]
        assert len(marks) <= 1, name
        for number, value in enumerate(marks[0].args[1] if marks else [None]):
            arguments = {marks[0].args[0]: value} if marks else {}
            cases.append(pytest.param(test, arguments, id=f"{name}-{number}"))
    return cases


_LARGE = {
    "test_entity_frame_as_sql_keeps_its_order",
    "test_lists_and_embeddings_come_back_in_one_chunk",
}


@pytest.mark.parametrize(("case", "arguments"), _regressions())
def test_every_regression_test_passes(
    engine: Callable[..., None],
    tmp_path: Path,
    case: Callable[..., None],
    arguments: dict[str, Any],
) -> None:
    engine(partitions=3, shard_rows=1500 if case.__name__ in _LARGE else 2)
    case(tmp_path, **arguments)
