"""Writes behind sources: rows are added whole or not at all, and nobody else's are lost."""

import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.dataset as pads
import pyarrow.parquet as pq
import pytest
from feast import FeatureService, FileSource
from feast.data_source import PushMode, PushSource
from feast.errors import SavedDatasetLocationAlreadyExists
from feast.feature_logging import LoggingConfig
from feast.infra.offline_stores.file_source import FileLoggingDestination, SavedDatasetFileStorage
from feast.types import Float64, Map, String

from feature_repo.plugins.parquet_writer import append_rows
from tests.point_in_time.stores import at, frame, open_store, user, values, view_of

TWO_DAYS = {"user_id": ["ann", "ann"], "at": [at(24), at(48)], "value": [1.0, 2.0]}

_APPEND = """
import sys
import pyarrow as pa
from feast import FileSource
from feature_repo.plugins.parquet_writer import append_rows
path, name, times = sys.argv[1:]
for number in range(int(times)):
    append_rows(pa.table({"who": [name], "n": [number]}), FileSource(name="s", path=path), "/")
"""


def _late(value: float) -> pd.DataFrame:
    return pd.DataFrame({"user_id": ["ann"], "at": [pd.Timestamp(at(72))], "value": [value]})


def _version(path: Path) -> tuple[int, int, int]:
    found = path.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns


def test_rows_are_added_to_a_file_and_nothing_else_is_left(tmp_path: Path) -> None:
    store = open_store(tmp_path, user, view_of(tmp_path, "v", TWO_DAYS))
    store.write_to_offline_store("v", _late(3.0))
    # The same instant again: what was written last is what is seen.
    store.write_to_offline_store("v", _late(4.0))
    asked = frame(user_id=["ann"] * 2, at=[at(30), at(99)])
    result = store.get_historical_features(asked, ["v:value"]).to_df()
    assert values(result["value"]) == [1.0, 4.0]
    assert [path.name for path in tmp_path.glob("*v.parquet*")] == ["v.parquet"]


def test_rows_are_added_to_a_folder_as_a_file_that_comes_last(tmp_path: Path) -> None:
    view = view_of(tmp_path, "v", TWO_DAYS)
    (tmp_path / "v.parquet").rename(tmp_path / "part-00000.parquet")
    # Spark calls folders like this too.
    (tmp_path / "v.parquet").mkdir()
    (tmp_path / "part-00000.parquet").rename(tmp_path / "v.parquet" / "part-00000.parquet")
    (tmp_path / "v.parquet" / "_SUCCESS").touch()
    store = open_store(tmp_path, user, view)
    before = _version(tmp_path / "v.parquet" / "part-00000.parquet")
    store.write_to_offline_store("v", _late(3.0))
    store.write_to_offline_store("v", _late(4.0))
    result = store.get_historical_features(frame(user_id=["ann"], at=[at(99)]), ["v:value"])
    assert values(result.to_df()["value"]) == [4.0]
    assert len(list((tmp_path / "v.parquet").glob("*.parquet"))) == 3
    assert _version(tmp_path / "v.parquet" / "part-00000.parquet") == before


def test_rows_may_come_filtered_and_under_mapped_names(tmp_path: Path) -> None:
    """Feast renames them by the field mapping before it hands them over."""
    rows = {"uid": ["ann"], "at": [at(24)], "val": [1.0]}
    view = view_of(tmp_path, "v", rows, field_mapping={"uid": "user_id", "val": "value"})
    store = open_store(tmp_path, user, view)
    late = pd.DataFrame({"uid": ["x", "ann"], "at": [pd.Timestamp(at(72))] * 2, "val": [0.0, 3.0]})
    store.write_to_offline_store("v", late[late["uid"] == "ann"])
    result = store.get_historical_features(
        frame(user_id=["ann", "x"], at=[at(99)] * 2), ["v:value"]
    )
    assert values(result.to_df()["value"]) == [3.0, None]


def test_rows_with_nothing_but_nulls_take_the_types_of_the_source(tmp_path: Path) -> None:
    """A data frame says of such a column neither that it is a struct nor that it is text."""
    rows = {**TWO_DAYS, "home": [{"city": "Oslo"}, None], "note": ["a", "b"]}
    features = {"value": Float64, "home": Map, "note": String}
    store = open_store(tmp_path, user, view_of(tmp_path, "v", rows, features=features))
    before = pq.read_schema(tmp_path / "v.parquet")
    store.write_to_offline_store("v", _late(3.0).assign(home=None, note=None))
    assert pq.read_schema(tmp_path / "v.parquet").equals(before)
    asked = frame(user_id=["ann"] * 2, at=[at(30), at(99)])
    result = store.get_historical_features(asked, [f"v:{name}" for name in features]).to_df()
    assert values(result["value"]) == [1.0, 3.0]
    assert values(result["home"]) == [{"city": "Oslo"}, None]
    assert values(result["note"]) == ["a", None]


def test_rows_that_do_not_fit_change_nothing(tmp_path: Path) -> None:
    view = view_of(tmp_path, "v", TWO_DAYS)
    store = open_store(tmp_path, user, view)
    before = (tmp_path / "v.parquet").read_bytes()
    with pytest.raises(ValueError, match=r"rows do not fit the source .*Failed to parse"):
        store.write_to_offline_store("v", _late(3.0).assign(value="much"))
    with pytest.raises(ValueError, match=r"view 'v' have columns \['user_id', 'value', 'at'\]"):
        store.write_to_offline_store(
            "v", _late(3.0)[["user_id", "value", "at"]], reorder_columns=False
        )
    assert (tmp_path / "v.parquet").read_bytes() == before
    assert [path.name for path in tmp_path.glob("*v.parquet*")] == ["v.parquet"]


def test_a_file_keeps_its_compression_and_row_groups(tmp_path: Path) -> None:
    path = tmp_path / "v.parquet"
    pq.write_table(pa.table({"n": range(10)}), path, compression="zstd", row_group_size=4)
    append_rows(pa.table({"n": [10]}), FileSource(name="s", path=str(path)), "/")
    written = pq.ParquetFile(path).metadata
    assert [written.row_group(i).num_rows for i in range(4)] == [4, 4, 2, 1]
    assert written.row_group(3).column(0).compression == "ZSTD"


def test_pushed_rows_reach_both_stores(tmp_path: Path) -> None:
    view = view_of(tmp_path, "v", TWO_DAYS)
    view.stream_source = PushSource(name="push", batch_source=view.batch_source)
    store = open_store(tmp_path, user, view)
    store.push("push", _late(3.0), to=PushMode.ONLINE_AND_OFFLINE)
    result = store.get_historical_features(frame(user_id=["ann"], at=[at(99)]), ["v:value"])
    assert values(result.to_df()["value"]) == [3.0]
    online = store.get_online_features(["v:value"], [{"user_id": "ann"}]).to_dict()
    assert online["value"] == [3.0]


@pytest.mark.parametrize("where", ["v.parquet", "folder"])
def test_writers_at_once_lose_no_row(tmp_path: Path, where: str) -> None:
    source = FileSource(name="s", path=str(tmp_path / where))
    first = tmp_path / where if where.endswith(".parquet") else tmp_path / where / "0.parquet"
    first.parent.mkdir(exist_ok=True)
    pq.write_table(pa.table({"n": [-1]}), first)
    with ThreadPoolExecutor(8) as threads:
        added = threads.map(lambda n: append_rows(pa.table({"n": [n]}), source, "/"), range(40))
        assert len(list(added)) == 40
    read = pads.dataset(tmp_path / where).to_table().column("n").to_pylist()
    assert sorted(read) == list(range(-1, 40))


@pytest.mark.slow
def test_processes_at_once_lose_no_row(tmp_path: Path) -> None:
    path = tmp_path / "v.parquet"
    pq.write_table(pa.table({"who": ["start"], "n": [0]}), path)
    writers = [
        subprocess.Popen([sys.executable, "-c", _APPEND, str(path), name, "15"]) for name in "ab"
    ]
    assert [writer.wait(timeout=120) for writer in writers] == [0, 0]
    read = pq.read_table(path).to_pylist()
    assert len(read) == 31
    for name in "ab":
        assert [row["n"] for row in read if row["who"] == name] == list(range(15))


@pytest.mark.slow
def test_a_writer_that_is_killed_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "v.parquet"
    many = 4_000_000
    pq.write_table(
        pa.table({"who": ["x"] * many, "n": range(many)}), path, row_group_size=many // 100
    )
    before = _version(path)
    writer = subprocess.Popen([sys.executable, "-c", _APPEND, str(path), "late", "1"])
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob(".v.parquet.*")) and time.monotonic() < deadline:
        time.sleep(0.005)
    writer.send_signal(signal.SIGKILL)
    assert writer.wait(timeout=60) == -signal.SIGKILL
    assert _version(path) == before
    # Its lock went with it.
    append_rows(pa.table({"who": ["y"], "n": [-1]}), FileSource(name="s", path=str(path)), "/")
    assert pq.ParquetFile(path).metadata.num_rows == many + 1


def test_saved_data_sets_are_refused_or_replaced_whole(tmp_path: Path) -> None:
    store = open_store(tmp_path, user, view_of(tmp_path, "v", TWO_DAYS))
    for name in ("saved.parquet", "folder"):
        storage = SavedDatasetFileStorage(path=str(tmp_path / name))
        for hours, overwrite in ((30, False), (60, True)):
            asked = frame(user_id=["ann"], at=[at(hours)])
            job = store.get_historical_features(asked, ["v:value"])
            job.persist(storage, allow_overwrite=overwrite)
            if (tmp_path / name).is_dir():
                # What was there under another name goes with the next overwrite.
                (tmp_path / name / "part-00000.parquet").rename(tmp_path / name / "old.parquet")
        job.persist(storage, allow_overwrite=True)
        with pytest.raises(SavedDatasetLocationAlreadyExists):
            job.persist(storage)
        assert pads.dataset(tmp_path / name).to_table().column("value").to_pylist() == [2.0]


@pytest.mark.parametrize("partition_by", [None, ["__log_date"]])
def test_logged_features_come_back(tmp_path: Path, partition_by: list[str] | None) -> None:
    view = view_of(tmp_path, "v", TWO_DAYS)
    destination = FileLoggingDestination(path="logs", partition_by=partition_by)
    service = FeatureService(
        name="served", features=[view], logging_config=LoggingConfig(destination=destination)
    )
    store = open_store(tmp_path, user, view, service)
    logs = pa.table(
        {
            "user_id": ["ann", "bob"],
            "v__value": [1.0, None],
            "v__value__timestamp": pa.array([at(24), None], pa.timestamp("us", "UTC")),
            "v__value__status": pa.array([2, 1], pa.int32()),
            "__log_timestamp": pa.array([at(30), at(60)], pa.timestamp("us", "UTC")),
            "__log_date": pa.array([at(30).date(), at(60).date()]),
            "__request_id": ["one", "two"],
        }
    )
    store.write_logged_features(logs.slice(0, 1), service)
    (tmp_path / "elsewhere").mkdir()
    pq.write_table(logs.slice(1), tmp_path / "elsewhere" / "0.parquet")
    store.write_logged_features(tmp_path / "elsewhere", service)
    provider = store._get_provider()
    job = provider.retrieve_feature_service_logs(
        service, at(0), at(59), store.config, store.registry
    )
    assert job.to_arrow().column("__request_id").to_pylist() == ["one"]
    assert str(job.to_arrow().column("__log_date")[0]) == "2024-01-02"
    # Logs are a source like any other.
    seen = view_of(tmp_path, "seen", TWO_DAYS)
    seen.batch_source = FileSource(
        path=str(tmp_path / "logs"),
        timestamp_field="__log_timestamp",
        field_mapping={"v__value": "value"},
    )
    store.apply([seen])
    asked = frame(user_id=["ann", "ann"], at=[at(30), at(30) - timedelta(seconds=1)])
    result = store.get_historical_features(asked, ["seen:value"]).to_df()
    assert values(result["value"]) == [1.0, None]
