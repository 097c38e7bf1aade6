"""The join on disk finds what the join in memory finds, holding one partition at a time."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from feast import FeatureStore
from feast.infra.offline_stores.file_source import SavedDatasetFileStorage

from feature_repo.plugins import disk_tasks, partition_plan, partitioned_join
from feature_repo.plugins.disk_tasks import DiskTasks
from feature_repo.plugins.retrieval_job import PointInTimeJob
from feature_repo.plugins.shard_job import ShardJob
from tests.point_in_time import stores
from tests.point_in_time.packed_worlds import check_worlds, regressions
from tests.point_in_time.stores import open_store, user, view_of


@pytest.mark.parametrize("partitions", [1, 2, 7])
def test_thousands_of_worlds_equal_the_oracle(
    tmp_path: Path, partitions: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(partition_plan, "PIECE_BYTES", 30_000)
    monkeypatch.setattr(partitioned_join, "SENT_BYTES", 5_000)
    settings = {"engine": "disk", "partitions": partitions, "shard_rows": 1100}
    monkeypatch.setattr(stores, "ENGINE", settings)
    check_worlds(tmp_path)


@pytest.mark.parametrize(("case", "arguments"), regressions())
def test_every_regression_test_passes(
    tmp_path: Path,
    case: Callable[..., None],
    arguments: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = {"engine": "disk", "partitions": 3, "shard_rows": 1500}
    monkeypatch.setattr(stores, "ENGINE", settings)
    case(tmp_path, **arguments)


def _store(folder: Path, num_rows: int) -> FeatureStore:
    random = np.random.default_rng(5)
    rows = pa.table(
        {
            "user_id": [f"user {n}" for n in random.integers(0, 5_000, num_rows)],
            "at": pa.array(random.integers(0, 10**15, num_rows), pa.timestamp("us", "UTC")),
            "value": random.random(num_rows),
        }
    )
    return open_store(folder, user, view_of(folder, "v", rows))


def _asked(num_labels: int) -> pa.Table:
    random = np.random.default_rng(6)
    return pa.table(
        {
            "user_id": [f"user {n}" for n in random.integers(0, 5_500, num_labels)],
            "event_timestamp": pa.array(
                random.integers(0, 10**15, num_labels), pa.timestamp("us", "UTC")
            ),
        }
    )


def test_a_view_past_the_memory_limit_goes_through_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The limit decides, unless the settings do; the result is the same, and no file stays."""
    spill = tmp_path / "spill"
    spill.mkdir()
    store, asked = _store(tmp_path, 40_000), _asked(10_000)
    expected = store.get_historical_features(asked, ["v:value"])
    assert isinstance(expected, PointInTimeJob)
    for limit, kind in ((0.001, ShardJob), (1.0, PointInTimeJob)):
        settings = {"memory_limit_gb": limit, "spill_dir": str(spill)}
        monkeypatch.setattr(stores, "ENGINE", settings)
        job = open_store(tmp_path, *_objects(store)).get_historical_features(asked, ["v:value"])
        assert isinstance(job, kind)
        assert job.to_arrow().equals(expected.to_arrow())
        pointers = job.to_pointers().views["v"]
        assert np.array_equal(pointers.rows, expected.to_pointers().views["v"].rows)
        assert pointers.features.equals(expected.to_pointers().views["v"].features)
    assert all(path.name.startswith(("point_in_time_", "join_")) for path in spill.iterdir())


def _objects(store: FeatureStore) -> list[Any]:
    return [user, *store.list_feature_views()]


def test_a_saved_data_set_is_written_shard_by_shard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, asked = _store(tmp_path, 4_000), _asked(1_000)
    expected = store.get_historical_features(asked, ["v:value"]).to_arrow()
    monkeypatch.setattr(stores, "ENGINE", {"engine": "disk", "shard_rows": 300})
    job = open_store(tmp_path, *_objects(store)).get_historical_features(asked, ["v:value"])
    job.persist(SavedDatasetFileStorage(path=str(tmp_path / "saved")))
    assert len(list((tmp_path / "saved").iterdir())) == 4
    assert pq.read_table(tmp_path / "saved").combine_chunks().equals(expected)


def test_a_result_in_a_file_is_no_larger_than_itself(tmp_path: Path) -> None:
    """Pickle alone would write a slice with the whole table it was cut from."""
    table = pa.table({"n": np.arange(100_000)})
    tasks = DiskTasks(str(tmp_path))
    stored = tasks.put([table.slice(5, 3)])
    assert stored.path.stat().st_size < 2_000
    (read,) = tasks.collect([stored])
    assert read[0].column("n").to_pylist() == [5, 6, 7]


def test_memory_stays_below_that_of_the_view(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of what the steps of a join hold at one time, measured where their arguments are read."""
    monkeypatch.setattr(partition_plan, "PIECE_BYTES", 100_000)
    monkeypatch.setattr(partition_plan, "WHOLE_BYTES", 1)
    store = _store(tmp_path, 200_000)
    pq.write_table(
        pq.read_table(tmp_path / "v.parquet"), tmp_path / "v.parquet", row_group_size=10_000
    )
    settings = {"engine": "disk", "partitions": 20, "shard_rows": 2_000}
    monkeypatch.setattr(stores, "ENGINE", settings)
    job = open_store(tmp_path, *_objects(store)).get_historical_features(
        _asked(10_000), ["v:value"]
    )
    largest = 0
    load = disk_tasks._loaded

    def weighed(argument: Any) -> Any:
        nonlocal largest
        largest = max(largest, pa.total_allocated_bytes())
        return load(argument)

    monkeypatch.setattr(disk_tasks, "_loaded", weighed)
    before = pa.total_allocated_bytes()
    job.shards  # noqa: B018  # writes them
    assert largest - before < pq.read_table(tmp_path / "v.parquet").nbytes / 4
