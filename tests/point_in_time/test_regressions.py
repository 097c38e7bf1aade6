"""Cases that Feast's own stores get wrong, one test each, and the rest of Feast's semantics."""

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from feast import Entity, FeatureService, FeatureStore, Field, RequestSource, ValueType
from feast.infra.offline_stores.file_source import SavedDatasetFileStorage
from feast.on_demand_feature_view import on_demand_feature_view
from feast.types import Array, Float32, Float64, String

from tests.point_in_time.stores import at, frame, item, open_store, user, values, view_of

TWO_DAYS = {"user_id": ["ann", "ann"], "at": [at(24), at(48)], "value": [1.0, 2.0]}


def test_a_feature_is_seen_at_its_own_instant_and_never_before(tmp_path: Path) -> None:
    store = open_store(tmp_path, user, view_of(tmp_path, "v", TWO_DAYS))
    instant = timedelta(microseconds=1)
    asked = frame(user_id=["ann"] * 3, at=[at(48) - instant, at(48), at(24) - instant])
    result = store.get_historical_features(asked, ["v:value"]).to_df()
    assert values(result["value"]) == [1.0, 2.0, None]


@pytest.mark.parametrize("ttl", [None, timedelta(0)])
def test_no_ttl_is_for_ever(tmp_path: Path, ttl: timedelta | None) -> None:
    store = open_store(tmp_path, user, view_of(tmp_path, "v", TWO_DAYS, ttl=ttl))
    result = store.get_historical_features(frame(user_id=["ann"], at=[at(10**6)]), ["v:value"])
    assert values(result.to_df()["value"]) == [2.0]


def test_only_expired_rows_give_null_and_keep_the_label(tmp_path: Path) -> None:
    """The file store drops such labels; the Ray store shows them the stale value."""
    store = open_store(tmp_path, user, view_of(tmp_path, "v", TWO_DAYS, ttl=timedelta(hours=10)))
    asked = frame(user_id=["ann"] * 3, at=[at(58), at(58.001), at(999)])
    result = store.get_historical_features(asked, ["v:value"]).to_df()
    assert values(result["value"]) == [2.0, None, None]


def test_feast_6787_labels_of_one_user_and_instant_are_all_kept(tmp_path: Path) -> None:
    """The file store keeps 1 of 3, the Ray store 0 of 3 above 100 MB."""
    store = open_store(tmp_path, user, view_of(tmp_path, "v", TWO_DAYS))
    asked = frame(user_id=["ann"] * 3, at=[at(30)] * 3, impression=[7, 7, 9])
    result = store.get_historical_features(asked, ["v:value"]).to_df()
    assert values(result["value"]) == [1.0, 1.0, 1.0]
    assert result["impression"].tolist() == [7, 7, 9]


def test_feast_5590_candidates_of_one_user_and_instant_are_all_kept(tmp_path: Path) -> None:
    """A user's view, an item's and an on-demand view of both: the file store keeps 1 of 2."""
    users = view_of(tmp_path, "u", {"user_id": ["ann", "bob"], "at": [at(1)] * 2, "value": [2, 3]})
    rows = {"item_id": ["x", "y"], "at": [at(1)] * 2, "price": [10.0, 20.0]}
    items = view_of(tmp_path, "i", rows, [item], {"price": Float64})

    @on_demand_feature_view(  # type: ignore[untyped-decorator]  # Feast is untyped
        sources=[users, items], schema=[Field(name="crossed", dtype=Float64)], mode="pandas"
    )
    def crossed(inputs: pd.DataFrame) -> pd.DataFrame:
        import pandas

        return pandas.DataFrame({"crossed": inputs["value"] * inputs["price"]})

    with pytest.warns(RuntimeWarning, match="On demand feature view is an experimental feature"):
        store = open_store(tmp_path, user, item, users, items, crossed)
    asked = frame(user_id=["ann", "ann"], item_id=["x", "y"], at=[at(2)] * 2)
    names = ["u:value", "i:price", "crossed:crossed"]
    result = store.get_historical_features(asked, names).to_df()
    assert result["item_id"].tolist() == ["x", "y"]
    assert values(result["price"]) == [10.0, 20.0]
    assert values(result["crossed"]) == [20.0, 40.0]


@pytest.mark.parametrize("hours", [0.5, 1.0, 1.5, 25.0, 24.0 * 365 * 10])
def test_a_row_is_found_however_long_ago(tmp_path: Path, hours: float) -> None:
    """The Ray store joins in windows of an hour, and drops labels that find nothing in theirs."""
    rows = {"user_id": ["ann", "eve"], "at": [at(0), at(hours + 1)], "value": [1.0, 2.0]}
    store = open_store(tmp_path, user, view_of(tmp_path, "v", rows))
    asked = frame(user_id=["ann", "eve", "bob"], at=[at(hours)] * 3)
    result = store.get_historical_features(asked, ["v:value"]).to_df()
    assert result["user_id"].tolist() == ["ann", "eve", "bob"]
    assert values(result["value"]) == [1.0, None, None]


def test_views_with_different_entities_keep_each_label(tmp_path: Path) -> None:
    """A user's view and a (user, item) view, two items at once: the file store keeps 1 of 2."""
    pairs = {
        "user_id": ["ann", "ann"],
        "item_id": ["x", "y"],
        "at": [at(1), at(2)],
        "score": [0.1, 0.2],
    }
    by_pair = view_of(tmp_path, "p", pairs, [user, item], {"score": Float64})
    store = open_store(tmp_path, user, item, view_of(tmp_path, "v", TWO_DAYS), by_pair)
    asked = frame(user_id=["ann"] * 3, item_id=["x", "y", "z"], at=[at(30)] * 3)
    result = store.get_historical_features(asked, ["v:value", "p:score"]).to_df()
    assert values(result["value"]) == [1.0, 1.0, 1.0]
    assert values(result["score"]) == [0.1, 0.2, None]


@pytest.mark.parametrize("order", [[0, 1, 2], [2, 1, 0], [1, 2, 0]])
def test_of_equal_instants_the_newest_created_wins(tmp_path: Path, order: list[int]) -> None:
    """The Ray store takes the last in the file."""
    rows = {
        "user_id": ["ann"] * 3,
        "at": [at(1)] * 3,
        "created": [[at(5), at(9), None][i] for i in order],
        "value": [[5.0, 9.0, 0.0][i] for i in order],
    }
    store = open_store(
        tmp_path, user, view_of(tmp_path, "v", rows, created_timestamp_column="created")
    )
    result = store.get_historical_features(frame(user_id=["ann"], at=[at(2)]), ["v:value"])
    assert values(result.to_df()["value"]) == [9.0]


def test_null_keys_match_nothing_and_keep_the_label(tmp_path: Path) -> None:
    """The Ray store drops such labels."""
    rows = {"user_id": ["ann", None], "at": [at(1), at(1)], "value": [1.0, 9.0]}
    store = open_store(tmp_path, user, view_of(tmp_path, "v", rows))
    asked = frame(user_id=[None, "ann", None], at=[at(2)] * 3)
    result = store.get_historical_features(asked, ["v:value"]).to_df()
    assert values(result["value"]) == [None, 1.0, None]
    assert values(result["user_id"]) == [None, "ann", None]


@pytest.mark.parametrize(
    "name", ["value_y", "value_yyyy", "VALUE", "select", "two words", 'quote"d', "n", "k", "é"]
)
def test_features_may_have_any_name(tmp_path: Path, name: str) -> None:
    """The DuckDB store fails on a feature whose name ends in _y."""
    rows = {"user_id": ["ann"], "at": [at(1)], name: [1.0]}
    store = open_store(tmp_path, user, view_of(tmp_path, "v", rows, features={name: Float64}))
    result = store.get_historical_features(frame(user_id=["ann"], at=[at(2)]), [f"v:{name}"])
    assert values(result.to_df()[name]) == [1.0]


def test_a_join_key_map_on_one_key_of_two(tmp_path: Path) -> None:
    """The DuckDB store then joins on that key alone."""
    pairs = {
        "user_id": ["ann", "bob", "ann"],
        "item_id": ["x", "x", "y"],
        "at": [at(1)] * 3,
        "value": [1.0, 2.0, 3.0],
    }
    view = view_of(tmp_path, "p", pairs, [user, item])
    store = open_store(tmp_path, user, item, view)
    projected = view.with_name("of_friend").with_join_key_map({"user_id": "friend_id"})
    service = _service(store, projected)
    asked = frame(friend_id=["bob", "ann", "bob"], item_id=["x", "y", "y"], at=[at(2)] * 3)
    result = store.get_historical_features(asked, service).to_df()
    assert values(result["value"]) == [2.0, 3.0, None]


def test_two_aliases_of_one_view_are_joined_apart(tmp_path: Path) -> None:
    rows = {"user_id": ["ann", "bob"], "at": [at(1)] * 2, "value": [1.0, 2.0]}
    view = view_of(tmp_path, "v", rows)
    store = open_store(tmp_path, user, view)
    service = _service(
        store,
        view.with_name("sender").with_join_key_map({"user_id": "from_id"}),
        view.with_name("receiver").with_join_key_map({"user_id": "to_id"}),
    )
    asked = frame(from_id=["ann", "bob"], to_id=["bob", "zed"], at=[at(2)] * 2)
    job = store.get_historical_features(asked, service, full_feature_names=True)
    result = job.to_df()
    assert values(result["sender__value"]) == [1.0, 2.0]
    assert values(result["receiver__value"]) == [2.0, None]
    assert set(job.to_pointers().views) == {"sender", "receiver"}


def test_entity_frame_as_sql_keeps_its_order(tmp_path: Path) -> None:
    asked = pa.table({"who": ["ann", "bob"] * 5000, "h": np.arange(10_000)})
    pq.write_table(asked, tmp_path / "asked.parquet")
    rows = {"user_id": ["ann"], "at": [at(0)], "value": [1.0]}
    store = open_store(tmp_path, user, view_of(tmp_path, "v", rows))
    sql = (
        "SELECT who AS user_id, h, TIMESTAMPTZ '2024-01-02 00:00:00+00' AS event_timestamp "
        f"FROM '{tmp_path}/asked.parquet'"
    )
    result = store.get_historical_features(sql, ["v:value"]).to_df()
    assert result["h"].tolist() == list(range(10_000))
    assert values(result["value"].head(4)) == [1.0, None, 1.0, None]
    assert str(result["event_timestamp"].dt.tz) == "UTC"


def test_entity_frame_as_arrow_with_categories(tmp_path: Path) -> None:
    store = open_store(tmp_path, user, view_of(tmp_path, "v", TWO_DAYS))
    asked = pa.table(
        {
            "user_id": pa.array(["ann", "bob"]).dictionary_encode(),
            "event_timestamp": pa.array([at(30), at(30)], pa.timestamp("us", "UTC")),
        }
    )
    result = store.get_historical_features(asked, ["v:value"]).to_arrow()
    assert result.column("value").to_pylist() == [1.0, None]


def test_without_entity_frame_everyone_seen_in_the_span_as_of_its_end(tmp_path: Path) -> None:
    rows = {
        "user_id": ["ann", "ann", "bob", "cy", None],
        "at": [at(1), at(5), at(3), at(9), at(3)],
        "value": [1.0, 5.0, 3.0, 9.0, 0.0],
    }
    store = open_store(tmp_path, user, view_of(tmp_path, "v", rows))
    job = store.get_historical_features(features=["v:value"], start_date=at(2), end_date=at(6))
    result = job.to_df()
    assert result["user_id"].tolist() == ["ann", "bob"]
    assert values(result["value"]) == [5.0, 3.0]
    assert set(result["event_timestamp"]) == {pd.Timestamp(at(6))}


def test_created_cutoff_shows_only_what_was_known(tmp_path: Path) -> None:
    rows = {
        "user_id": ["ann"] * 4,
        "at": [at(4), at(3), at(5), at(6)],
        "created": [at(4), at(8), at(20), None],
        "value": [4.0, 3.0, 5.0, 6.0],
    }
    store = open_store(
        tmp_path, user, view_of(tmp_path, "v", rows, created_timestamp_column="created")
    )
    asked = frame(user_id=["ann"] * 4, at=[at(3), at(7), at(10), at(30)])
    known = store.get_historical_features(asked, ["v:value"], filter_by_created_timestamp=True)
    assert values(known.to_df()["value"]) == [None, 4.0, 4.0, 5.0]
    all_rows = store.get_historical_features(asked, ["v:value"])
    assert values(all_rows.to_df()["value"]) == [3.0, 6.0, 6.0, 6.0]


def test_field_mapping_of_features_keys_and_times(tmp_path: Path) -> None:
    rows = {"uid": ["ann"], "ts": [at(1)], "made": [at(1)], "val": [1.0]}
    mapping = {"uid": "user_id", "val": "value", "ts": "at", "made": "created"}
    view = view_of(tmp_path, "v", rows, field_mapping=mapping, created_timestamp_column="created")
    store = open_store(tmp_path, user, view)
    asked = frame(user_id=["ann"], at=[at(2)])
    job = store.get_historical_features(asked, ["v:value"])
    assert values(job.to_df()["value"]) == [1.0]
    assert job.to_pointers().views["v"].features.column_names == ["value"]


def test_full_feature_names_and_a_clash_without_them(tmp_path: Path) -> None:
    store = open_store(tmp_path, user, view_of(tmp_path, "v", TWO_DAYS))
    asked = frame(user_id=["ann"], at=[at(30)], value=["label"])
    full = store.get_historical_features(asked, ["v:value"], full_feature_names=True).to_df()
    assert list(full.columns) == ["user_id", "event_timestamp", "value", "v__value"]
    with pytest.raises(ValueError, match="'value' of view 'v' is already a column"):
        store.get_historical_features(asked, ["v:value"]).to_df()


def test_a_view_without_entity_belongs_to_every_label(tmp_path: Path) -> None:
    view = view_of(tmp_path, "v", {"at": [at(1), at(3)], "value": [1.0, 3.0]}, entities=[])
    store = open_store(tmp_path, user, view)
    asked = frame(user_id=["ann", None, "bob"], at=[at(2), at(3), at(0)])
    result = store.get_historical_features(asked, ["v:value"]).to_df()
    assert values(result["value"]) == [1.0, 3.0, None]
    last = store.get_historical_features(features=["v:value"], end_date=at(2)).to_df()
    assert values(last["value"]) == [1.0]
    store.materialize(at(0), at(9))
    online = store.get_online_features(["v:value"], [{"user_id": "ann"}]).to_dict()
    assert online["value"] == [3.0]


def test_on_demand_views_are_computed_from_the_join(tmp_path: Path) -> None:
    view = view_of(tmp_path, "v", TWO_DAYS)
    request = RequestSource(name="r", schema=[Field(name="factor", dtype=Float64)])

    @on_demand_feature_view(  # type: ignore[untyped-decorator]  # Feast is untyped
        sources=[view, request], schema=[Field(name="scaled", dtype=Float64)], mode="pandas"
    )
    def scaled(inputs: pd.DataFrame) -> pd.DataFrame:
        import pandas

        return pandas.DataFrame({"scaled": inputs["value"] * inputs["factor"]})

    with pytest.warns(RuntimeWarning, match="On demand feature view is an experimental feature"):
        store = open_store(tmp_path, user, view, scaled)
    asked = frame(user_id=["ann", "zed"], at=[at(50)] * 2, factor=[10.0, 10.0])
    result = store.get_historical_features(asked, ["v:value", "scaled:scaled"]).to_df()
    assert values(result["scaled"]) == [20.0, None]


def test_lists_and_embeddings_come_back_in_one_chunk(tmp_path: Path) -> None:
    rows = pa.table(
        {
            "user_id": ["ann", "bob"],
            "at": [at(1)] * 2,
            "words": [["a", "b"], []],
            "embedding": pa.array([[0.5] * 384, None], pa.list_(pa.float32())),
        }
    )
    features = {"words": Array(String), "embedding": Array(Float32)}
    store = open_store(tmp_path, user, view_of(tmp_path, "v", rows, features=features))
    asked = frame(user_id=["bob", "zed", "ann"] * 1000, at=[at(2)] * 3000)
    result = store.get_historical_features(asked, ["v:words", "v:embedding"]).to_arrow()
    assert result.column("words").to_pylist()[:3] == [[], None, ["a", "b"]]
    assert result.column("embedding").to_pylist()[:3] == [None, None, [0.5] * 384]
    assert {column.num_chunks for column in result.columns} == {1}


def test_times_without_zone_and_in_other_zones(tmp_path: Path) -> None:
    rows = {"user_id": ["ann"], "at": [datetime(2024, 1, 1, 12)], "value": [1.0]}
    store = open_store(tmp_path, user, view_of(tmp_path, "v", rows))
    noon = pd.Timestamp("2024-01-01 12:00")
    for seen, instant in [
        (1.0, noon),
        (None, noon - pd.Timedelta("1us")),
        (1.0, pd.Timestamp("2024-01-01 17:30", tz="Asia/Kolkata")),
        (None, pd.Timestamp("2024-01-01 12:00", tz="Asia/Kolkata")),
    ]:
        result = store.get_historical_features(frame(user_id=["ann"], at=[instant]), ["v:value"])
        assert values(result.to_df()["value"]) == [seen], instant


def test_nanoseconds_are_not_rounded_into_the_past(tmp_path: Path) -> None:
    base = 1_704_067_200_000_000_000
    rows = pa.table(
        {
            "user_id": ["ann"],
            "at": pa.array([base + 700], pa.timestamp("ns", "UTC")),
            "value": [1.0],
        }
    )
    store = open_store(tmp_path, user, view_of(tmp_path, "v", rows))
    asked = pa.table(
        {
            "user_id": ["ann"] * 2,
            "event_timestamp": pa.array([base + 699, base + 700], pa.timestamp("ns", "UTC")),
        }
    )
    result = store.get_historical_features(asked, ["v:value"]).to_arrow()
    assert result.column("value").to_pylist() == [None, 1.0]


def test_an_empty_view_and_an_empty_frame(tmp_path: Path) -> None:
    empty = pa.table({"user_id": ["a"], "at": [at(0)], "value": [0.0]}).slice(0, 0)
    store = open_store(tmp_path, user, view_of(tmp_path, "v", empty))
    asked = frame(user_id=["ann"], at=[at(1)])
    result = store.get_historical_features(asked, ["v:value"]).to_df()
    assert values(result["value"]) == [None]
    none = store.get_historical_features(asked.head(0), ["v:value"]).to_df()
    assert list(none.columns) == ["user_id", "event_timestamp", "value"]
    store.materialize(at(0), at(9))


def test_a_folder_of_files_is_one_view(tmp_path: Path) -> None:
    folder = tmp_path / "v.parquet"
    view = view_of(tmp_path, "v", TWO_DAYS)
    folder.unlink()
    folder.mkdir()
    for number, hour in enumerate([24, 48]):
        part = pa.table({"user_id": ["ann"], "at": [at(hour)], "value": [float(hour)]})
        pq.write_table(part, folder / f"part-{number}.parquet")
    store = open_store(tmp_path, user, view)
    asked = frame(user_id=["ann", "ann"], at=[at(30), at(60)])
    result = store.get_historical_features(asked, ["v:value"]).to_df()
    assert values(result["value"]) == [24.0, 48.0]


def test_keys_of_other_integer_types_meet_and_text_never_meets_numbers(tmp_path: Path) -> None:
    shop = Entity(name="shop", join_keys=["shop_id"], value_type=ValueType.INT64)
    rows = {"shop_id": pa.array([7, 8], pa.int32()), "at": [at(1)] * 2, "value": [1.0, 2.0]}
    store = open_store(tmp_path, shop, view_of(tmp_path, "v", rows, [shop]))
    # pandas keeps whole numbers with a gap as floats.
    asked = frame(shop_id=[7.0, None, 2.0**40], at=[at(2)] * 3)
    result = store.get_historical_features(asked, ["v:value"]).to_df()
    assert values(result["value"]) == [1.0, None, None]
    with pytest.raises(ValueError, match="'shop_id' is string in the entity frame and int64"):
        store.get_historical_features(frame(shop_id=["7"], at=[at(2)]), ["v:value"]).to_df()


def test_errors_say_what_is_missing(tmp_path: Path) -> None:
    store = open_store(tmp_path, user, view_of(tmp_path, "v", TWO_DAYS))
    with pytest.raises(ValueError, match="view 'v' is joined on 'user_id', which the entity fr"):
        store.get_historical_features(frame(who=["ann"], at=[at(2)]), ["v:value"]).to_df()
    pq.write_table(pa.table({"user_id": ["ann"], "at": [at(1)]}), tmp_path / "v.parquet")
    with pytest.raises(ValueError, match=r"view 'v' asks its source for \['value'\]"):
        store.get_historical_features(frame(user_id=["ann"], at=[at(2)]), ["v:value"]).to_df()
    (tmp_path / "v.parquet").unlink()
    with pytest.raises(ValueError, match="no Parquet at"):
        store.get_historical_features(frame(user_id=["ann"], at=[at(2)]), ["v:value"]).to_df()


def test_a_saved_data_set_comes_back(tmp_path: Path) -> None:
    store = open_store(tmp_path, user, view_of(tmp_path, "v", TWO_DAYS))
    job = store.get_historical_features(frame(user_id=["ann"], at=[at(30)]), ["v:value"])
    storage = SavedDatasetFileStorage(path=str(tmp_path / "saved.parquet"))
    with pytest.warns(RuntimeWarning, match="Saving dataset is an experimental feature"):
        store.create_saved_dataset(from_=job, name="saved", storage=storage)
    with pytest.warns(RuntimeWarning, match="Retrieving datasets is an experimental feature"):
        saved = store.get_saved_dataset("saved").to_df()
    assert values(saved["value"]) == [1.0]


def test_offline_writes_add_rows_and_leave_no_half_file(tmp_path: Path) -> None:
    view = view_of(tmp_path, "v", TWO_DAYS)
    store = open_store(tmp_path, user, view)
    late = pd.DataFrame({"user_id": ["ann"], "at": [pd.Timestamp(at(72))], "value": [3.0]})
    store.write_to_offline_store("v", late)
    result = store.get_historical_features(
        frame(user_id=["ann"] * 2, at=[at(30), at(99)]), ["v:value"]
    ).to_df()
    assert values(result["value"]) == [1.0, 3.0]
    assert [path.name for path in tmp_path.glob("*.parquet*")] == ["v.parquet"]


def _service(store: FeatureStore, *projected: Any) -> FeatureService:
    service = FeatureService(name="service", features=list(projected))
    store.apply([service])
    return service
