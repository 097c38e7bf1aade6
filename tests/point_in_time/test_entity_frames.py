"""Entity frames of every kind: each row comes back once, in its place, with what it brought."""

from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from feast import FeatureStore

from tests.point_in_time.stores import at, frame, open_store, user, values, view_of

TWO_DAYS = {"user_id": ["ann", "ann"], "at": [at(24), at(48)], "value": [1.0, 2.0]}
KOLKATA = ZoneInfo("Asia/Kolkata")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    folder = tmp_path_factory.mktemp("store")
    return open_store(folder, user, view_of(folder, "v", TWO_DAYS))


def _seen(store: FeatureStore, asked: Any) -> pd.DataFrame:
    result: pd.DataFrame = store.get_historical_features(asked, ["v:value"]).to_df()
    return result


@pytest.mark.parametrize("index", [[5, 5, 2], ["z", "a", "z"], [3.5, np.nan, 1.0]])
def test_an_odd_index_is_only_an_index(store: FeatureStore, index: list[Any]) -> None:
    asked = frame(user_id=["ann", "bob", "ann"], at=[at(30)] * 3, label=[1, 2, 3])
    asked.index = pd.Index(index, name="user_id")
    result = _seen(store, asked)
    assert result["label"].tolist() == [1, 2, 3]
    assert values(result["value"]) == [1.0, None, 1.0]
    assert result.index.tolist() == [0, 1, 2]


def test_categories_lists_and_other_columns_come_along(store: FeatureStore) -> None:
    asked = frame(user_id=["ann", None, "bob"], at=[at(30)] * 3, slate=[["x"], [], None])
    asked["user_id"] = asked["user_id"].astype("category")
    asked["kind"] = pd.Categorical(["p", "q", "p"])
    asked["count"] = pd.array([1, None, 3], dtype="Int64")
    asked[7] = [0.5, 0.25, 0.125]
    result = _seen(store, asked)
    assert values(result["value"]) == [1.0, None, None]
    assert [None if row is None else list(row) for row in result["slate"]] == [["x"], [], None]
    assert result["kind"].tolist() == ["p", "q", "p"]
    assert values(result["count"]) == [1, None, 3]
    assert result["7"].tolist() == [0.5, 0.25, 0.125]


def test_instants_may_mix_zones_and_none(store: FeatureStore) -> None:
    """Midnight in UTC is half past five in Kolkata; a time without a zone is UTC."""
    midnight = datetime(2024, 1, 2)
    instants = [
        midnight,
        midnight.replace(tzinfo=UTC),
        datetime(2024, 1, 2, 5, 30, tzinfo=KOLKATA),
        datetime(2024, 1, 2, 5, 29, tzinfo=KOLKATA),
        None,
    ]
    asked = pd.DataFrame({"user_id": ["ann"] * 5})
    asked["event_timestamp"] = pd.Series(instants, dtype=object)
    assert values(_seen(store, asked)["value"]) == [1.0, 1.0, 1.0, None, None]


@pytest.mark.parametrize("dtype", [object, "string"])
def test_instants_may_be_text(store: FeatureStore, dtype: Any) -> None:
    text = ["2024-01-02T00:00:00Z", "2024-01-02T05:29:59+05:30", "2024-01-02"]
    asked = frame(user_id=["ann"] * 3, at=text)
    asked["event_timestamp"] = asked["event_timestamp"].astype(dtype)
    assert values(_seen(store, asked)["value"]) == [1.0, None, 1.0]


def test_text_that_is_no_instant_is_an_error(store: FeatureStore) -> None:
    with pytest.raises(ValueError, match="yesterday"):
        _seen(store, frame(user_id=["ann"], at=["yesterday"]))


def test_a_label_without_an_instant_sees_nothing(store: FeatureStore) -> None:
    result = _seen(store, frame(user_id=["ann"] * 2, at=[pd.NaT, at(30)]))
    assert values(result["value"]) == [None, 1.0]


def test_a_frame_without_rows_or_values_needs_no_types(store: FeatureStore) -> None:
    """pandas makes columns without a value numbers."""
    empty = _seen(store, pd.DataFrame({"user_id": [], "event_timestamp": []}))
    assert list(empty.columns) == ["user_id", "event_timestamp", "value"]
    unknown = pd.DataFrame({"user_id": [np.nan] * 2, "event_timestamp": [pd.NaT] * 2})
    assert values(_seen(store, unknown)["value"]) == [None, None]


def test_the_only_time_is_the_instant_whatever_its_name(store: FeatureStore) -> None:
    asked = pd.DataFrame({"user_id": ["ann"], "clicked": [pd.Timestamp(at(30))]})
    assert values(_seen(store, asked)["value"]) == [1.0]


def test_arrow_in_many_chunks(store: FeatureStore) -> None:
    one = pa.Table.from_pandas(frame(user_id=["ann", "bob"], at=[at(30)] * 2, n=[0, 1]))
    result = _seen(store, pa.concat_tables([one, one.slice(0, 0), one]))
    assert values(result["value"]) == [1.0, None, 1.0, None]
    assert result["n"].tolist() == [0, 1, 0, 1]


def test_sql_that_is_wrong_is_shown(store: FeatureStore) -> None:
    with pytest.raises(ValueError, match=r"SQL that DuckDB refuses: .*nowhere"):
        _seen(store, "SELECT * FROM nowhere")


def test_two_columns_of_one_name_are_refused(store: FeatureStore) -> None:
    asked = frame(user_id=["ann"], at=[at(30)], label=[1])
    with pytest.raises(ValueError, match="label"):
        _seen(store, pd.concat([asked, asked[["label"]]], axis=1))


def test_repeated_labels_in_any_order_keep_their_place(store: FeatureStore) -> None:
    random = np.random.default_rng(3)
    hours = random.integers(0, 60, 5000)
    asked = frame(user_id=["ann"] * 5000, at=[at(int(h)) for h in hours], n=range(5000))
    result = _seen(store, asked)
    assert result["n"].tolist() == list(range(5000))
    expected = np.select([hours >= 48, hours >= 24], [2.0, 1.0], np.nan)
    np.testing.assert_array_equal(result["value"], expected)
