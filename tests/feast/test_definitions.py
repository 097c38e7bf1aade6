"""The definitions as any Feast user applies them: registry, tags, services, both stores."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from feast import FeatureStore
from feast.types import from_feast_to_pyarrow_type

from tests.feast.tables import FEATURES, day, feature_table, write_repo

ROWS: dict[str, list[dict[str, Any]]] = {
    "user_history": [
        {"user_id": "ann", "recent_items": ["a"], "recent_at_us": [1], "event_timestamp": day(2)},
        {
            "user_id": "ann",
            "recent_items": ["b", "a"],
            "recent_actions": ["play", "play"],
            "recent_at_us": [2, 1],
            "event_timestamp": day(5),
        },
        {"user_id": "bob", "recent_items": [], "event_timestamp": day(3)},
    ],
    "user_activity": [
        {"user_id": "ann", "events_1d": 1.5, "num_events": 3, "event_timestamp": day(5)},
        {"user_id": "bob", "rating_bias": -0.25, "counted_at_us": 9, "event_timestamp": day(3)},
    ],
    "item_text": [
        {
            "item_id": "a",
            "text_embedding": [i / 384 for i in range(384)],
            "keywords": [],
            "num_documents": 0,
            "event_timestamp": day(1),
        }
    ],
}
"""Every other view is empty: user_social, say, as on a data set without friends."""


def _feast(*arguments: str, cwd: Path) -> str:
    """Run Feast's own command line and return what it printed."""
    command = [sys.executable, "-m", "feast.cli.cli", *arguments]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    """The real definitions, applied and materialised by the real commands from another folder."""
    folder = tmp_path_factory.mktemp("repo")
    repo = write_repo(folder, ROWS)
    _feast("-c", str(repo), "apply", cwd=folder)
    _feast("-c", str(repo), "materialize", "1970-01-01T00:00:00", "2026-01-02T00:00:00", cwd=folder)
    return FeatureStore(str(repo))


def test_the_registry_describes_every_view_and_field(store: FeatureStore) -> None:
    views = {view.name: view for view in store.list_feature_views()}
    assert set(views) == set(FEATURES)
    for name, view in views.items():
        assert view.description
        assert view.owner
        assert view.tags["entity"] == name.split("_")[0]
        assert view.tags["source"] in {"behaviour", "item", "social", "text"}
        assert [field.name for field in view.features] == list(FEATURES[name])
        for field in view.features:
            assert field.description
            assert "kind" in field.tags, f"{name}:{field.name}"


def test_field_types_are_those_of_the_tables(store: FeatureStore) -> None:
    for view in store.list_feature_views():
        for field in view.features:
            declared = from_feast_to_pyarrow_type(field.dtype)
            assert declared == FEATURES[view.name][field.name], f"{view.name}:{field.name}"


def test_counters_name_their_half_life_and_a_clock_of_their_view(store: FeatureStore) -> None:
    counters = 0
    for view in store.list_feature_views():
        fields = {field.name: field.tags for field in view.features}
        for tags in fields.values():
            if tags["kind"] == "counter":
                counters += 1
                assert float(tags["half_life_days"]) > 0
                assert fields[tags["clock"]]["kind"] == "clock"
    assert counters == 9


def test_services_and_push_sources(store: FeatureStore) -> None:
    services = {service.name: service for service in store.list_feature_services()}
    assert set(services) == {"ranking_v1", "retrieval_v1", "explanation_v1"}
    ranked = {projection.name for projection in services["ranking_v1"].feature_view_projections}
    assert ranked == set(FEATURES)
    pushed = {source.name for source in store.list_data_sources() if source.name.endswith("push")}
    assert pushed == {"user_activity_push", "user_history_push", "item_popularity_push"}


def test_history_is_as_of_the_label(store: FeatureStore) -> None:
    asked = pd.DataFrame(
        {
            "user_id": ["ann", "ann", "bob", "zed"],
            "item_id": ["a", "a", "a", "zz"],
            "event_timestamp": [day(4), day(5), day(9), day(9)],
        }
    )
    service = store.get_feature_service("ranking_v1")
    job = store.get_historical_features(asked, service, full_feature_names=True)
    result = job.to_arrow()
    recent = result.column("user_history__recent_items").to_pylist()
    assert recent == [["a"], ["b", "a"], [], None]
    assert result.column("user_social__num_friends").to_pylist() == [None] * 4
    assert result.column("user_activity__events_1d").to_pylist() == [None, 1.5, None, None]
    pointers = job.to_pointers()
    assert pointers.views["user_history"].rows.tolist() == [0, 1, 2, -1]
    assert pointers.views["item_text"].rows.tolist() == [0, 0, 0, -1]
    assert pointers.views["user_social"].features.num_rows == 0


def test_online_is_the_newest_row_with_lists_and_nulls(store: FeatureStore) -> None:
    features = [
        "user_history:recent_items",
        "user_history:recent_at_us",
        "user_activity:events_1d",
        "user_activity:rating_bias",
        "user_activity:num_events",
        "user_social:num_friends",
    ]
    rows = [{"user_id": "ann"}, {"user_id": "bob"}, {"user_id": "zed"}]
    online = store.get_online_features(features, rows).to_dict()
    assert online["recent_items"] == [["b", "a"], [], None]
    assert online["recent_at_us"] == [[2, 1], None, None]
    assert online["events_1d"] == [1.5, None, None]
    assert online["rating_bias"] == [None, -0.25, None]
    assert online["num_events"] == [3, None, None]
    assert online["num_friends"] == [None, None, None]
    embedding = store.get_online_features(["item_text:text_embedding"], [{"item_id": "a"}])
    stored = embedding.to_dict()["text_embedding"][0]
    assert stored == pa.array([i / 384 for i in range(384)], pa.float32()).to_pylist()


def test_a_push_shows_at_once_and_leaves_others_alone(store: FeatureStore) -> None:
    row = feature_table(
        "user_activity",
        [{"user_id": "cy", "events_1d": 1.0, "num_events": 1, "event_timestamp": day(6)}],
    )
    store.push("user_activity_push", row.to_pandas())
    users = [{"user_id": "cy"}, {"user_id": "ann"}]
    online = store.get_online_features(["user_activity:num_events"], users)
    assert online.to_dict()["num_events"] == [1, 3]
