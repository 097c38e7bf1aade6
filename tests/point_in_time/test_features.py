"""Features of any name and type, versions and aliases of views, and what on-demand views add."""

from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
import ray
from feast import Entity, FeatureService, FeatureStore, Field, RepoConfig, RequestSource, ValueType
from feast.on_demand_feature_view import OnDemandFeatureView, on_demand_feature_view
from feast.types import Array, Bool, Bytes, Float32, Float64, Int32, Int64, Map, String
from feast.types import UnixTimestamp as Time

from tests.point_in_time.stores import STORE, at, frame, item, open_store, user, values, view_of

TWO_DAYS = {"user_id": ["ann", "ann"], "at": [at(24), at(48)], "value": [1.0, 2.0]}
EXPERIMENTAL = "ignore:On demand feature view is an experimental feature:RuntimeWarning"

_INSTANT = pa.timestamp("us", "UTC")
# Feast's type, and of each of two users a value.
TYPES: dict[str, tuple[Any, pa.Array]] = {
    "flag": (Bool, pa.array([True, None])),
    "blob": (Bytes, pa.array([b"\x00x", None])),
    "small": (Int32, pa.array([1, None], pa.int32())),
    # Beyond what a float holds exactly.
    "big": (Int64, pa.array([2**60 + 1, None])),
    "ratio": (Float32, pa.array([1.5, None], pa.float32())),
    "text": (String, pa.array(["é", None])),
    "instant": (Time, pa.array([at(5), None], _INSTANT)),
    "day": (Time, pa.array([date(2024, 1, 1), None])),
    "words": (Array(String), pa.array([["a"], []])),
    "numbers": (Array(Int64), pa.array([[1, 2], None])),
    "flags": (Array(Bool), pa.array([[True], None])),
    "instants": (Array(Time), pa.array([[at(1)], None], pa.list_(_INSTANT))),
    "fixed": (Array(Float32), pa.array([[1.0, 2.0], None], pa.list_(pa.float32(), 2))),
    "many": (Array(Float32), pa.array([[0.5] * 384, None], pa.list_(pa.float32()))),
    "tags": (Map, pa.array([[("a", "1")], None], pa.map_(pa.string(), pa.string()))),
}
WORDS = (
    "k t c n m rank at_ row user order Value VALUE value_y value__y index __index_level_0__ ünï "
    "1st a.b a/b a-b select created_timestamp event_time rows labels as_of"
)
NAMES = [*WORDS.split(), "two words", 'quo"te', "quo'te", "{x}", "%s", "*"]


def test_every_type_comes_back_as_it_was(tmp_path: Path) -> None:
    rows = pa.table(
        {"user_id": ["ann", "bob"], "at": [at(1)] * 2} | {n: v for n, (_, v) in TYPES.items()}
    )
    view = view_of(tmp_path, "v", rows, features={name: kind for name, (kind, _) in TYPES.items()})
    store = open_store(tmp_path, user, view)
    asked = frame(user_id=["bob", "zed", "ann", "ann"], at=[at(2)] * 4)
    job = store.get_historical_features(asked, [f"v:{name}" for name in TYPES])
    result = job.to_arrow()
    result.validate(full=True)
    for name, (_, stored) in TYPES.items():
        first, second = stored.to_pylist()
        assert result.column(name).to_pylist() == [second, None, first, first], name
        assert result.schema.field(name).type == stored.type, name
    assert len(job.to_df()) == 4


def test_types_reach_the_online_store(tmp_path: Path) -> None:
    """Feast's writer takes maps as JSON text, and makes floats of whole numbers beside a null."""
    kinds = {name: kind for name, (kind, _) in TYPES.items() if name not in ("day", "fixed")}
    columns = {name: TYPES[name][1] for name in kinds} | {
        "tags": ['{"a": "1"}', None],
        "big": [2**60 + 1, 2],
    }
    rows = pa.table({"user_id": ["ann", "bob"], "at": [at(1)] * 2, **columns})
    store = open_store(tmp_path, user, view_of(tmp_path, "v", rows, features=kinds))
    store.materialize(at(0), at(9))
    online = store.get_online_features([f"v:{name}" for name in kinds], [{"user_id": "ann"}])
    seen = {name: value for name, (value,) in online.to_dict().items()}
    assert (seen["flag"], seen["big"], seen["text"]) == (True, 2**60 + 1, "é")
    assert (seen["words"], seen["tags"], len(seen["many"])) == (["a"], {"a": "1"}, 384)


def test_names_of_any_kind(tmp_path: Path) -> None:
    rows = {"user_id": ["ann"], "at": [at(1)]} | {n: [float(i)] for i, n in enumerate(NAMES)}
    view = view_of(tmp_path, "v", rows, features=dict.fromkeys(NAMES, Float64))
    store = open_store(tmp_path, user, view)
    job = store.get_historical_features(
        frame(user_id=["ann"], at=[at(2)]), [f"v:{name}" for name in NAMES]
    )
    assert job.to_df()[NAMES].iloc[0].tolist() == [float(i) for i in range(len(NAMES))]
    assert set(job.to_pointers().views["v"].features.column_names) == set(NAMES)


def test_the_views_own_instants_are_features_too(tmp_path: Path) -> None:
    """A created time that a model reads, and a column called as the frame's own."""
    rows = {"user_id": ["ann"], "at": [at(1)], "created": [at(3)], "event_timestamp": [at(7)]}
    features = dict.fromkeys(["at", "created", "event_timestamp"], Time)
    view = view_of(tmp_path, "v", rows, features=features, created_timestamp_column="created")
    store = open_store(tmp_path, user, view)
    result = store.get_historical_features(
        frame(user_id=["ann"], at=[at(5)]), [f"v:{name}" for name in features], True
    ).to_df()
    assert [result[f"v__{name}"][0] for name in features] == [at(1), at(3), at(7)]
    assert result["event_timestamp"][0] == at(5)


def test_part_of_a_view_by_service(tmp_path: Path) -> None:
    view = view_of(
        tmp_path,
        "v",
        {**TWO_DAYS, "other": [3.0, 4.0]},
        features={"value": Float64, "other": Float64},
    )
    store = open_store(
        tmp_path, user, view, FeatureService(name="part", features=[view[["other"]]])
    )
    service = store.get_feature_service("part")
    job = store.get_historical_features(frame(user_id=["ann"], at=[at(50)]), service)
    assert list(job.to_df().columns) == ["user_id", "event_timestamp", "other"]
    assert job.to_pointers().views["v"].features.column_names == ["other"]


def test_a_join_key_map_that_swaps_both_keys(tmp_path: Path) -> None:
    pairs = {"user_id": ["ann", "bob"], "item_id": ["x"] * 2, "at": [at(1)] * 2, "value": [1.0, 2]}
    view = view_of(tmp_path, "p", pairs, [user, item])
    renamed = view.with_name("renamed").with_join_key_map({"user_id": "who", "item_id": "what"})
    swapped = view.with_name("swap").with_join_key_map({"user_id": "item_id", "item_id": "user_id"})
    store = open_store(
        tmp_path, user, item, view, FeatureService(name="both", features=[renamed, swapped])
    )
    asked = frame(
        who=["bob", "x"], what=["x", "bob"], item_id=["ann"] * 2, user_id=["x", "y"], at=[at(2)] * 2
    )
    service = store.get_feature_service("both")
    result = store.get_historical_features(asked, service, full_feature_names=True).to_df()
    assert values(result["renamed__value"]) == [2.0, None]
    assert values(result["swap__value"]) == [1.0, None]


def test_pinned_versions_of_a_view(tmp_path: Path) -> None:
    registry = {"path": str(tmp_path / "r.db"), "enable_online_feature_view_versioning": True}
    config = RepoConfig(
        project="tiny",
        provider="local",
        registry=registry,
        online_store={"type": "sqlite", "path": str(tmp_path / "online.db")},
        offline_store={"type": STORE},
        repo_path=tmp_path,
        entity_key_serialization_version=3,
    )
    store = FeatureStore(config=config)
    rows = {**TWO_DAYS, "other": [3.0, 4.0]}
    store.apply([user, view_of(tmp_path, "v", rows)])
    store.apply([view_of(tmp_path, "v", rows, features={"value": Float64, "other": Float64})])
    asked = frame(user_id=["ann"], at=[at(30)])
    for ref, column, value in [
        ("v@v0:value", "value", 1.0),
        ("v@v1:other", "other", 3.0),
        ("v@latest:other", "other", 3.0),
    ]:
        assert values(store.get_historical_features(asked, [ref]).to_df()[column]) == [value]
        full = store.get_historical_features(asked, [ref], full_feature_names=True).to_df()
        assert values(full[f"v__{column}"]) == [value]


def _on_demand(view: Any) -> list[OnDemandFeatureView]:
    request = RequestSource(name="request", schema=[Field(name="factor", dtype=Float64)])
    result = [Field(name="scaled", dtype=Float64)]

    @on_demand_feature_view(sources=[view, request], schema=result, mode="pandas")  # type: ignore[untyped-decorator]
    def by_frame(inputs: pd.DataFrame) -> pd.DataFrame:
        import pandas

        return pandas.DataFrame({"scaled": inputs["value"] * inputs["factor"]})

    @on_demand_feature_view(sources=[view, request], schema=result, mode="python")  # type: ignore[untyped-decorator]
    def by_lists(inputs: dict[str, list[Any]]) -> dict[str, list[Any]]:
        pairs = zip(inputs["value"], inputs["factor"], strict=True)
        return {"scaled": [None if value is None else value * factor for value, factor in pairs]}

    return [by_frame, by_lists]


@pytest.fixture
def on_demand_store(tmp_path: Path) -> FeatureStore:
    view = view_of(tmp_path, "v", TWO_DAYS)
    return open_store(tmp_path, user, view, *_on_demand(view))


@pytest.mark.filterwarnings(EXPERIMENTAL)
@pytest.mark.parametrize("mode", ["by_frame", "by_lists"])
@pytest.mark.parametrize("full", [False, True])
def test_on_demand_features_of_both_modes(
    on_demand_store: FeatureStore, mode: str, full: bool
) -> None:
    """Also where the view that they read was not asked for."""
    asked = frame(user_id=["ann", "zed", "ann"], at=[at(50), at(50), at(30)], factor=[10.0] * 3)
    for given in (asked, pa.Table.from_pandas(asked)):
        job = on_demand_store.get_historical_features(given, [f"{mode}:scaled"], full)
        name = f"{mode}__scaled" if full else "scaled"
        assert job.to_arrow().column(name).to_pylist()[0] == 20.0
        assert values(job.to_df()[name]) == [20.0, None, 10.0]


@pytest.mark.filterwarnings(EXPERIMENTAL)
def test_on_demand_features_of_no_label(on_demand_store: FeatureStore) -> None:
    asked = frame(user_id=["ann"], at=[at(50)], factor=[10.0]).head(0)
    result = on_demand_store.get_historical_features(asked, ["by_frame:scaled"]).to_df()
    assert "scaled" in result
    assert len(result) == 0


@pytest.fixture
def local_ray() -> Iterator[None]:
    ray.init(num_cpus=2, include_dashboard=False, logging_level="ERROR", ignore_reinit_error=True)
    yield
    ray.shutdown()


@pytest.mark.ray
@pytest.mark.usefixtures("local_ray")
@pytest.mark.filterwarnings(
    EXPERIMENTAL,
    # Ray warns of its own coming defaults, and leaves log files open at shutdown.
    "ignore::DeprecationWarning:ray",
    "ignore::FutureWarning:ray",
    "ignore::ResourceWarning",
)
def test_on_demand_features_in_a_ray_data_set(on_demand_store: FeatureStore) -> None:
    """Feast's Ray store skips them."""
    asked = frame(user_id=["ann", "zed"], at=[at(50)] * 2, factor=[10.0] * 2)
    job = on_demand_store.get_historical_features(asked, ["v:value", "by_frame:scaled"])
    rows = job.to_ray_dataset().take_all()
    assert [row["user_id"] for row in rows] == ["ann", "zed"]
    assert values(pd.Series([row["scaled"] for row in rows])) == [20.0, None]


def test_a_key_of_bytes_or_of_time(tmp_path: Path) -> None:
    kinds: dict[str, tuple[ValueType, list[Any]]] = {
        "blob": (ValueType.BYTES, [b"\x00", b"\x01"]),
        "day": (ValueType.UNIX_TIMESTAMP, [at(0), at(24)]),
        "flag": (ValueType.BOOL, [False, True]),
    }
    for name, (kind, keys) in kinds.items():
        entity = Entity(name=name, join_keys=[f"{name}_id"], value_type=kind)
        rows = {f"{name}_id": keys, "at": [at(1)] * 2, "value": [1.0, 2.0]}
        store = open_store(tmp_path, entity, view_of(tmp_path, f"of_{name}", rows, [entity]))
        asked = pa.table({f"{name}_id": keys[::-1], "event_timestamp": [at(2)] * 2})
        result = store.get_historical_features(asked, [f"of_{name}:value"]).to_df()
        assert values(result["value"]) == [2.0, 1.0], name
