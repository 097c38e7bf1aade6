"""What reaches the online store, by Python and by `feast materialize`.

feast#6821: a view's ttl is not enforced when the online store is read. An offline store is asked
for the rows of a span of time and is not told the ttl, so all it can do is keep to the span: with
`materialize_incremental`, whose first span begins one ttl ago, no expired row is written; with
`materialize`, the caller chooses the span. What was written stays until it is overwritten.
"""

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from feast import FeatureStore

from tests.point_in_time.stores import STORE, at, frame, open_store, user, values, view_of

ROWS: dict[str, list[Any]] = {
    "user_id": ["ann", "ann", "bob", "cy", "cy", None],
    "at": [at(1), at(5), at(3), at(4), at(4), at(4)],
    "created": [at(1), at(5), at(3), at(8), at(6), at(6)],
    "value": [1.0, 5.0, 3.0, 8.0, 6.0, 0.0],
}


def _online(store: FeatureStore, *users: str) -> list[float | None]:
    asked = [{"user_id": user} for user in users]
    online: list[float | None] = store.get_online_features(["v:value"], asked).to_dict()["value"]
    return online


@pytest.mark.parametrize("latest", [False, True])
def test_the_newest_row_of_the_span_is_online(tmp_path: Path, latest: bool) -> None:
    """Both ways in which Feast asks for it, ends included; of a tie the newest created."""
    rows = {name: column[:5] for name, column in ROWS.items()}
    view = view_of(tmp_path, "v", rows, created_timestamp_column="created")
    store = open_store(tmp_path, user, view)
    store.config.materialization_config.pull_latest_features = latest
    store.materialize(at(3), at(4))
    assert _online(store, "ann", "bob", "cy") == [None, 3.0, 8.0]
    store.materialize(at(5), at(5))
    assert _online(store, "ann", "bob", "cy") == [5.0, 3.0, 8.0]


def test_pulls_keep_file_order_and_ends(tmp_path: Path) -> None:
    view = view_of(tmp_path, "v", ROWS, created_timestamp_column="created")
    store = open_store(tmp_path, user, view)
    provider, source = store._get_provider(), view.batch_source
    everything = provider.offline_store.pull_all_from_table_or_query(
        store.config, source, ["user_id"], ["value"], "at", "created", at(3), at(4)
    ).to_arrow()
    assert everything.column("value").to_pylist() == [3.0, 8.0, 6.0, 0.0]
    assert everything.column_names == ["user_id", "value", "at", "created"]
    assert {column.num_chunks for column in everything.columns} == {1}
    newest = provider.offline_store.pull_latest_from_table_or_query(
        store.config, source, ["user_id"], ["value"], "at", "created", at(0), at(9)
    ).to_arrow()
    assert newest.column("value").to_pylist() == [5.0, 3.0, 8.0, 0.0]


def test_feast_6821_incremental_materialisation_writes_nothing_expired(tmp_path: Path) -> None:
    now = datetime.now(tz=UTC)
    rows = {
        "user_id": ["old", "new"],
        "at": [now - timedelta(hours=3), now - timedelta(hours=1)],
        "value": [1.0, 2.0],
    }
    store = open_store(tmp_path, user, view_of(tmp_path, "v", rows, ttl=timedelta(hours=2)))
    store.materialize_incremental(end_date=now)
    assert _online(store, "old", "new") == [None, 2.0]
    asked = frame(user_id=["old", "new"], at=[now] * 2)
    offline = store.get_historical_features(asked, ["v:value"]).to_df()
    assert values(offline["value"]) == [None, 2.0]


def test_feast_6821_what_was_in_span_stays_online_after_its_ttl(tmp_path: Path) -> None:
    """Where the offline store can do nothing; this fails when Feast enforces ttl online."""
    rows = {"user_id": ["ann"], "at": [at(1)], "value": [1.0]}
    store = open_store(tmp_path, user, view_of(tmp_path, "v", rows, ttl=timedelta(hours=2)))
    store.materialize(at(0), at(9))
    assert _online(store, "ann") == [1.0]
    offline = store.get_historical_features(frame(user_id=["ann"], at=[at(9)]), ["v:value"])
    assert values(offline.to_df()["value"]) == [None]


@pytest.mark.slow
def test_the_commands_materialize_through_the_store(tmp_path: Path) -> None:
    view_of(tmp_path, "v", {name: column[:5] for name, column in ROWS.items()})
    (tmp_path / "feature_store.yaml").write_text(
        f"project: tiny\nprovider: local\nregistry: registry.db\n"
        f"online_store: {{type: sqlite, path: online.db}}\noffline_store: {{type: {STORE}}}\n"
        f"entity_key_serialization_version: 3\n"
    )
    # The path is relative to the repo, and the command is run elsewhere.
    (tmp_path / "views.py").write_text(
        "from feast import Entity, FeatureView, Field, FileSource, ValueType\n"
        "from feast.types import Float64\n"
        "user = Entity(name='user', join_keys=['user_id'], value_type=ValueType.STRING)\n"
        "v = FeatureView(name='v', entities=[user], schema=[Field(name='value', dtype=Float64)],\n"
        "    source=FileSource(path='v.parquet', timestamp_field='at',\n"
        "    created_timestamp_column='created'))\n"
    )
    start, middle, end = (at(hours).isoformat() for hours in (0, 4, 9))
    for command in (["apply"], ["materialize", start, middle], ["materialize-incremental", end]):
        run = [str(Path(sys.executable).with_name("feast")), "-c", str(tmp_path)]
        done = subprocess.run([*run, *command], capture_output=True, text=True, cwd="/")
        assert done.returncode == 0, done.stderr
    store = FeatureStore(repo_path=str(tmp_path))
    assert _online(store, "ann", "bob", "cy") == [5.0, 3.0, 8.0]
