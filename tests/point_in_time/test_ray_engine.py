"""The Ray engine finds what one machine finds, whatever the partitions and whoever is lost.

One cluster of two nodes for all tests. Cases are packed: thousands of small worlds go through one
retrieval, each with its number as part of every key.
"""

import os
import pickle
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray
from feast import FeatureView
from feast.infra.offline_stores.file_source import SavedDatasetFileStorage
from feast.types import Array, Float32, Float64
from ray.cluster_utils import Cluster

from feature_repo.plugins import partition_plan, partitioned_join
from feature_repo.plugins import partitions as partitions_of
from tests.point_in_time import stores
from tests.point_in_time.packed_worlds import check_worlds, regressions
from tests.point_in_time.stores import at, open_store, user, values, view_of

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
        settings = {"partitions": partitions, "shard_rows": shard_rows}
        shard_dir = str(tmp_path / "shards")
        monkeypatch.setattr(stores, "ENGINE", {"engine": "ray", "shard_dir": shard_dir, **settings})

    return use


# Thousands of labels: two to a shard would be thousands of files.
_LARGE = {
    "test_entity_frame_as_sql_keeps_its_order",
    "test_lists_and_embeddings_come_back_in_one_chunk",
}


@pytest.mark.parametrize(("case", "arguments"), regressions())
def test_every_regression_test_passes(
    engine: Callable[..., None],
    tmp_path: Path,
    case: Callable[..., None],
    arguments: dict[str, Any],
) -> None:
    engine(partitions=3, shard_rows=1500 if case.__name__ in _LARGE else 2)
    case(tmp_path, **arguments)


@pytest.mark.parametrize("partitions", [1, 2, 7])
def test_thousands_of_worlds_equal_the_oracle(
    engine: Callable[..., None],
    tmp_path: Path,
    partitions: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(partition_plan, "PIECE_BYTES", 30_000)
    monkeypatch.setattr(partitioned_join, "SENT_BYTES", 5_000)
    engine(partitions, shard_rows=1100)
    check_worlds(tmp_path)


class Large(NamedTuple):
    """60,000 rows in eight row groups, 20,000 labels, and what one machine makes of them."""

    view: FeatureView
    asked: pa.Table
    joined: pa.Table
    pointers: list[int]

    def job(self, folder: Path) -> Any:
        folder.mkdir(exist_ok=True)
        store = open_store(folder, user, self.view)
        return store.get_historical_features(self.asked, ["v:value", "v:embedding"])


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Large:
    folder, random = tmp_path_factory.mktemp("large"), np.random.default_rng(7)
    rows = pa.table(
        {
            "user_id": [f"user {n}" for n in random.integers(0, 5000, 60_000)],
            "at": pa.array(random.integers(0, 10**12, 60_000), _INSTANT),
            "value": random.random(60_000),
            "embedding": pa.array(list(random.random((60_000, 4))), pa.list_(pa.float32())),
        }
    )
    features = {"value": Float64, "embedding": Array(Float32)}
    view = view_of(folder, "v", rows, features=features, ttl=at(24) - at(0))
    pq.write_table(rows, folder / "v.parquet", row_group_size=7500)
    names = pa.array([f"user {n}" for n in random.integers(0, 5500, 20_000)])
    asked = pa.table(
        {
            "user_id": names.dictionary_encode(),
            "event_timestamp": pa.array(random.integers(0, 10**12, 20_000), _INSTANT),
            "impression": np.arange(20_000),
        }
    )
    job = Large(view, asked, asked, []).job(folder)
    return Large(view, asked, job.to_arrow(), job.to_pointers().views["v"].rows.tolist())


def test_the_result_is_in_shards_and_nothing_large_comes_to_the_driver(
    engine: Callable[..., None], large: Large, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    received: list[int] = []
    get = ray.get

    def weighed(references: Any, **options: Any) -> Any:
        results = get(references, **options)
        received.append(len(pickle.dumps(results)))
        return results

    engine(partitions=4, shard_rows=6000)
    job = large.job(tmp_path / "repo")
    with monkeypatch.context() as patch:
        patch.setattr(ray, "get", weighed)
        filesystem, paths = job.shards
    assert sum(received) < 5000
    shards = [pq.read_table(path, filesystem=filesystem) for path in paths]
    assert [shard.num_rows for shard in shards] == [6000, 6000, 6000, 2000]
    assert pa.concat_tables(shards).combine_chunks().equals(large.joined)
    assert not [path for path in Path(paths[0]).parent.iterdir() if path.suffix != ".parquet"]
    result = job.to_arrow()
    assert result.schema.equals(large.joined.schema)
    assert result.equals(large.joined)
    assert {column.num_chunks for column in result.columns} == {1}
    assert job.to_pointers().views["v"].rows.tolist() == large.pointers
    assert job.metadata.keys == ["user_id", "impression"]


def test_ray_data_reads_the_shards_and_a_saved_data_set_holds_them(
    engine: Callable[..., None], large: Large, tmp_path: Path
) -> None:
    engine(partitions=2, shard_rows=8000)
    job = large.job(tmp_path / "repo")
    read = job.to_ray_dataset().to_pandas().sort_values("impression")
    assert values(read["value"]) == large.joined.column("value").to_pylist()
    folder = tmp_path / "saved"
    folder.mkdir()
    (folder / "part-00007.parquet").write_bytes(b"of an earlier data set")
    job.persist(SavedDatasetFileStorage(path=str(folder)), allow_overwrite=True)
    assert len(list(folder.iterdir())) == 3
    assert pq.read_table(folder).combine_chunks().equals(large.joined)


def _marked(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """Under the name that the engine gives its tasks, pickled by value as a test's function is."""
    function.__name__ = name
    return function


@pytest.mark.parametrize("name", ["split_labels", "split_rows", "match_partition", "write_shard"])
def test_what_a_killed_worker_held_is_done_again(
    engine: Callable[..., None],
    large: Large,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    """The first worker that has done such a task dies before anybody hears of it."""
    original, killed = getattr(partitioned_join, name), tmp_path / "killed"

    def dies_once(*arguments: Any) -> Any:
        result = original(*arguments)
        try:
            killed.touch(exist_ok=False)
        except FileExistsError:
            return result
        os._exit(1)

    engine(partitions=3, shard_rows=7000)
    monkeypatch.setattr(partitioned_join, name, _marked(name, dies_once))
    assert large.job(tmp_path / "repo").to_arrow().equals(large.joined)
    assert killed.exists()


def test_what_a_lost_node_held_is_made_again(
    cluster: Cluster,
    engine: Callable[..., None],
    large: Large,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A node goes when it holds rows that were split, and before anybody can have fetched them:
    what is split on the other node is not done until then, and a match needs all of it.
    """
    done, gone = tmp_path / "done", tmp_path / "gone"
    done.mkdir()
    split, victim = partitions_of.split_rows, cluster.list_all_nodes()[-1]
    lost = victim.node_id

    def split_rows(*arguments: Any) -> Any:
        result = split(*arguments)
        node = ray.get_runtime_context().get_node_id()
        while node != lost and not gone.exists():
            time.sleep(0.05)
        (done / f"{node}.{time.monotonic_ns()}").touch()
        return result

    engine(partitions=2, shard_rows=7000)
    monkeypatch.setattr(partition_plan, "PIECE_BYTES", 1)
    monkeypatch.setattr(partitioned_join, "split_rows", split_rows)
    job = large.job(tmp_path / "repo")
    with ThreadPoolExecutor(1) as pool:
        result = pool.submit(job.to_arrow)
        pieces, other_cpus = 8, 2
        while len(list(done.iterdir())) < pieces - other_cpus:
            assert not result.done(), result.result()
            time.sleep(0.05)
        held = list(done.iterdir())
        cluster.remove_node(victim, allow_graceful=False)
        gone.touch()
        assert result.result().equals(large.joined)
    assert len(list(done.iterdir())) >= pieces + len(held)


def test_shards_need_a_folder_that_all_nodes_share(
    engine: Callable[..., None], large: Large, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine(partitions=2, shard_rows=7000)
    monkeypatch.setitem(stores.ENGINE, "shard_dir", None)
    if len([node for node in ray.nodes() if node["Alive"]]) == 1:
        assert large.job(tmp_path).to_arrow().equals(large.joined)
        return
    with pytest.raises(ValueError, match="nodes, which share no temporary folder; set shard_dir"):
        large.job(tmp_path).to_arrow()
