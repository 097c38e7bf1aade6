"""Parquet in object storage, against a local server that speaks S3."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from feast import FeatureView, Field
from feast.errors import SavedDatasetLocationAlreadyExists
from feast.infra.offline_stores.file_source import FileSource, SavedDatasetFileStorage
from feast.types import Float64
from moto.server import ThreadedMotoServer
from pyarrow.fs import S3FileSystem

from tests.point_in_time.stores import at, frame, open_store, user, values


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("AWS_ACCESS_KEY_ID", "nobody")
        environment.setenv("AWS_SECRET_ACCESS_KEY", "nothing")
        environment.setenv("AWS_DEFAULT_REGION", "us-east-1")
        server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        server.start()
        host, port = server.get_host_and_port()
        yield f"http://{host}:{port}"
        server.stop()


@pytest.fixture
def bucket(endpoint: str, request: pytest.FixtureRequest) -> tuple[S3FileSystem, str]:
    filesystem = S3FileSystem(endpoint_override=endpoint, allow_bucket_creation=True)
    name = f"bucket{abs(hash(request.node.name)) % 10**9}"
    filesystem.create_dir(name)
    return filesystem, name


def _view(path: str, endpoint: str, **source: Any) -> FeatureView:
    return FeatureView(
        name="v",
        entities=[user],
        ttl=None,
        schema=[Field(name="value", dtype=Float64)],
        source=FileSource(path=path, timestamp_field="at", s3_endpoint_override=endpoint, **source),
    )


def _rows(*hours: float) -> pa.Table:
    return pa.table(
        {"user_id": ["ann"] * len(hours), "at": [at(h) for h in hours], "value": list(hours)}
    )


ASKED = frame(user_id=["ann", "ann", "bob"], at=[at(30), at(60), at(60)])


@pytest.mark.parametrize("path", ["v.parquet", "v", "v/", "v/*.parquet", "v/**/*.parquet"])
def test_an_object_a_folder_and_a_pattern_are_read(
    tmp_path: Path, endpoint: str, bucket: tuple[S3FileSystem, str], path: str
) -> None:
    filesystem, name = bucket
    for key, hours in {"v.parquet": (24, 48), "v/a.parquet": (24,), "v/b.parquet": (48,)}.items():
        pq.write_table(_rows(*hours), f"{name}/{key}", filesystem=filesystem)
    store = open_store(tmp_path, user, _view(f"s3://{name}/{path}", endpoint))
    job = store.get_historical_features(ASKED, ["v:value"])
    assert values(job.to_df()["value"]) == [24.0, 48.0, None]
    assert job.to_pointers().views["v"].rows.tolist() == [0, 1, -1]
    store.materialize(at(0), at(30))
    online = store.get_online_features(["v:value"], [{"user_id": "ann"}]).to_dict()
    assert online["value"] == [24.0]


def test_rows_are_added_to_a_folder_of_objects(
    tmp_path: Path, endpoint: str, bucket: tuple[S3FileSystem, str]
) -> None:
    filesystem, name = bucket
    pq.write_table(_rows(24, 48), f"{name}/v/a.parquet", filesystem=filesystem)
    store = open_store(tmp_path, user, _view(f"s3://{name}/v", endpoint))
    late = pd.DataFrame({"user_id": ["bob"], "at": [pd.Timestamp(at(50))], "value": [5.0]})
    store.write_to_offline_store("v", late)
    result = store.get_historical_features(ASKED, ["v:value"]).to_df()
    assert values(result["value"]) == [24.0, 48.0, 5.0]


def test_nothing_is_added_to_a_single_object(
    tmp_path: Path, endpoint: str, bucket: tuple[S3FileSystem, str]
) -> None:
    """Two writers would overwrite each other."""
    filesystem, name = bucket
    pq.write_table(_rows(24), f"{name}/v.parquet", filesystem=filesystem)
    store = open_store(tmp_path, user, _view(f"s3://{name}/v.parquet", endpoint))
    late = pd.DataFrame({"user_id": ["bob"], "at": [pd.Timestamp(at(50))], "value": [5.0]})
    with pytest.raises(ValueError, match=r"is one object, .* make the source a folder"):
        store.write_to_offline_store("v", late)
    assert pq.read_table(f"{name}/v.parquet", filesystem=filesystem) == _rows(24)


@pytest.mark.parametrize("saved", ["saved.parquet", "saved"])
def test_a_saved_data_set_is_refused_or_replaced(
    tmp_path: Path, endpoint: str, bucket: tuple[S3FileSystem, str], saved: str
) -> None:
    filesystem, name = bucket
    pq.write_table(_rows(24, 48), f"{name}/v.parquet", filesystem=filesystem)
    store = open_store(tmp_path, user, _view(f"s3://{name}/v.parquet", endpoint))
    storage = SavedDatasetFileStorage(path=f"s3://{name}/{saved}", s3_endpoint_override=endpoint)
    store.get_historical_features(ASKED, ["v:value"]).persist(storage)
    job = store.get_historical_features(ASKED.head(1), ["v:value"])
    with pytest.raises(SavedDatasetLocationAlreadyExists):
        job.persist(storage)
    job.persist(storage, allow_overwrite=True)
    read = pq.read_table(f"{name}/{saved}", filesystem=filesystem)
    assert read.column("value").to_pylist() == [24.0]


def test_a_missing_bucket_and_a_missing_object_are_named(
    tmp_path: Path, endpoint: str, bucket: tuple[S3FileSystem, str]
) -> None:
    unreachable = ("s3://bucket/v.parquet", "http://127.0.0.1:9")
    for path, server, reason in [
        (f"s3://{bucket[1]}/v.parquet", endpoint, r"no Parquet at 's3://bucket\d+/v.parquet'"),
        ("s3://nobodys/v.parquet", endpoint, r"'s3://nobodys/v.parquet', .* bucket does not exist"),
        (*unreachable, r"cannot read 's3://bucket/v.parquet', the source of"),
    ]:
        store = open_store(tmp_path, user, _view(path, server))
        with pytest.raises(ValueError, match=reason):
            store.get_historical_features(ASKED, ["v:value"]).to_df()
