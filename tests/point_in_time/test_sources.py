"""What may lie behind a view: files, folders, partitions, patterns, Delta, and what may not."""

import importlib.util
from pathlib import Path
from typing import Any

import deltalake
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as pads
import pyarrow.parquet as pq
import pytest
from feast import BigQuerySource, FeatureStore, FeatureView, Field, FileSource
from feast.data_format import DeltaFormat
from feast.errors import SavedDatasetLocationAlreadyExists
from feast.infra.data_sources.contrib.iceberg_catalog.iceberg_source import IcebergSource
from feast.infra.offline_stores.file_source import SavedDatasetFileStorage
from feast.types import Float64

from tests.point_in_time.stores import at, frame, open_store, user, values

ROWS = pa.table(
    {
        "user_id": ["ann", "ann"],
        "at": pa.array([at(24), at(48)], pa.timestamp("us", "UTC")),
        "value": [1.0, 2.0],
        "day": ["one", "two"],
    }
)
ASKED = frame(user_id=["ann", "ann", "zed"], at=[at(30), at(60), at(60)])


def _store(folder: Path, source: Any, feature: str = "value") -> FeatureStore:
    view = FeatureView(
        name="v",
        entities=[user],
        ttl=None,
        schema=[Field(name=feature, dtype=Float64)],
        source=source,
    )
    return open_store(folder, user, view)


def _seen(store: FeatureStore, feature: str = "value") -> list[Any]:
    return values(store.get_historical_features(ASKED, [f"v:{feature}"]).to_df()[feature])


@pytest.mark.parametrize(
    "path", ["v", "{folder}/v", "file://{folder}/v", "v/*/*.parquet", "v/**/*.parquet", "v/day=*"]
)
def test_partitions_and_patterns(tmp_path: Path, path: str) -> None:
    """A Hive partition's name is a column; relative paths count from the repo.

    Above the source's own folder names mean nothing.
    """
    tmp_path = tmp_path / "value=7"
    tmp_path.mkdir()
    pads.write_dataset(
        ROWS,
        tmp_path / "v",
        format="parquet",
        partitioning=pads.partitioning(pa.schema([("day", pa.string())]), flavor="hive"),
    )
    (tmp_path / "v" / "_SUCCESS").touch()
    (tmp_path / "v" / ".part.tmp").touch()
    if path.endswith("day=*"):
        path += "/part-0.parquet"
    source = FileSource(path=path.format(folder=tmp_path), timestamp_field="at")
    store = _store(tmp_path, source)
    assert _seen(store) == [1.0, 2.0, None]
    store.materialize(at(0), at(99))
    online = store.get_online_features(["v:value"], [{"user_id": "ann"}]).to_dict()
    assert online["value"] == [2.0]
    assert _seen(_store(tmp_path, source, "day"), "day") == ["one", "two", None]


def test_a_partition_may_be_the_key(tmp_path: Path) -> None:
    for name, value in (("ann", 1.0), ("bob", 2.0)):
        folder = tmp_path / "v" / f"user_id={name}"
        folder.mkdir(parents=True)
        pq.write_table(pa.table({"at": [at(1)], "value": [value]}), folder / "0.parquet")
    store = _store(tmp_path, FileSource(path=str(tmp_path / "v"), timestamp_field="at"))
    assert _seen(store) == [1.0, 1.0, None]


@pytest.mark.parametrize("path", ["nothing.parquet", "empty", "*.parquet"])
def test_where_nothing_is_the_path_is_named(tmp_path: Path, path: str) -> None:
    (tmp_path / "empty").mkdir()
    store = _store(tmp_path, FileSource(path=str(tmp_path / path), timestamp_field="at"))
    with pytest.raises(ValueError, match=r"no Parquet at '.*(nothing.parquet|empty|[*].parquet)'"):
        _seen(store)


def test_a_delta_table(tmp_path: Path) -> None:
    deltalake.write_deltalake(str(tmp_path / "delta"), ROWS)
    source = FileSource(path="delta", file_format=DeltaFormat(), timestamp_field="at")
    store = _store(tmp_path, source)
    assert _seen(store) == [1.0, 2.0, None]
    row = {"user_id": ["zed"], "at": [pd.Timestamp(at(29))], "value": [3.0], "day": ["x"]}
    store.write_to_offline_store("v", pd.DataFrame(row))
    assert _seen(store) == [1.0, 2.0, 3.0]
    store.materialize(at(0), at(99))
    online = store.get_online_features(["v:value"], [{"user_id": "zed"}]).to_dict()
    assert online["value"] == [3.0]


def test_a_saved_data_set_in_delta(tmp_path: Path) -> None:
    pq.write_table(ROWS, tmp_path / "v.parquet")
    store = _store(tmp_path, FileSource(path=str(tmp_path / "v.parquet"), timestamp_field="at"))
    storage = SavedDatasetFileStorage(path=str(tmp_path / "saved"), file_format=DeltaFormat())
    store.get_historical_features(ASKED, ["v:value"]).persist(storage)
    job = store.get_historical_features(ASKED.head(1), ["v:value"])
    with pytest.raises(SavedDatasetLocationAlreadyExists):
        job.persist(storage)
    job.persist(storage, allow_overwrite=True)
    saved = deltalake.DeltaTable(str(tmp_path / "saved")).to_pyarrow_table()
    assert saved.column("value").to_pylist() == [1.0]


def test_a_missing_delta_table_is_named(tmp_path: Path) -> None:
    source = FileSource(
        path=str(tmp_path / "none"), file_format=DeltaFormat(), timestamp_field="at"
    )
    with pytest.raises(ValueError, match=r"no Delta table at '.*none'"):
        _seen(_store(tmp_path, source))


@pytest.mark.skipif(importlib.util.find_spec("pyiceberg") is not None, reason="pyiceberg is here")
def test_a_source_whose_package_is_missing_says_what_to_install(tmp_path: Path) -> None:
    source = IcebergSource(
        name="ice",
        warehouse="w",
        namespace="n",
        table="t",
        endpoint="http://x",
        timestamp_field="at",
    )
    with pytest.raises(ValueError, match=r"'ice' is a IcebergSource.*`pip install pyiceberg`"):
        _seen(_store(tmp_path, source))


def test_a_source_of_another_store_is_refused(tmp_path: Path) -> None:
    source = BigQuerySource(name="big", table="a.b.c", timestamp_field="at")
    with pytest.raises(ValueError, match="'big' is a BigQuerySource, which this store cannot read"):
        _seen(_store(tmp_path, source))


def test_rows_cannot_be_added_to_a_pattern(tmp_path: Path) -> None:
    pq.write_table(ROWS, tmp_path / "v.parquet")
    store = _store(tmp_path, FileSource(path=f"{tmp_path}/*.parquet", timestamp_field="at"))
    row = ROWS.slice(0, 1).to_pandas()
    with pytest.raises(ValueError, match="is a pattern, to which nothing can be added"):
        store.write_to_offline_store("v", pd.DataFrame(row))
