"""Joined features equal those a search through all rows finds, from either kind of store."""

from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from feast import Entity, FeatureService, FeatureStore, FeatureView, Field, FileSource, ValueType
from feast.types import Int64

from tests.training_data import tiny
from training import join
from training.encode import Encoder
from training.events import Events
from training.join import ViewRows, join_features
from training.registry import read_schema
from training.rows import training_rows
from training.schema import FeatureSchema


def search(table: pa.Table, key: str, ids: np.ndarray, at_us: np.ndarray) -> list[dict | None]:
    """For each pair the newest row before the instant, by going through all rows."""
    rows = table.to_pylist()
    found = []
    for wanted, at in zip(ids, at_us, strict=True):
        before = [r for r in rows if r[key] == wanted and r["event_timestamp"] < tiny.instant(at)]
        found.append(max(before, key=lambda row: row["event_timestamp"], default=None))
    return found


def seen(view: ViewRows, names: list[str]) -> list[dict | None]:
    features = view.features.select(names).to_pylist()
    return [features[row] if row >= 0 else None for row in view.rows]


def ask(events: Events, num: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Users, items and instants: repeated ones, instants of events, one before all, one after."""
    rng = np.random.default_rng(seed)
    at_us = rng.choice(events.at_us, num) + rng.integers(-1, 2, num)
    at_us[:2] = tiny.START_US - 1, tiny.START_US + 1000 * tiny.DAY_US
    users, items = rng.choice(events.user_ids, num), rng.choice(events.item_ids, num)
    return users, items, at_us


@pytest.mark.parametrize("engine", tiny.ENGINES)
def test_joined_features_equal_a_search(
    engine: str,
    stores: dict[str, FeatureStore],
    schema: FeatureSchema,
    rows: dict[str, pa.Table],
    events: Events,
) -> None:
    users, items, at_us = ask(events, 300, seed=1)
    joined = join_features(stores[engine], schema, "user", users, at_us)
    joined |= join_features(stores[engine], schema, "item", items, at_us)
    assert set(joined) == {view.name for view in schema.views}
    for view in schema.views:
        names = [field.name for field in view.inputs]
        ids = users if view.entity == "user" else items
        expected = search(rows[view.name], view.join_key, ids, at_us)
        expected = [row and {name: row[name] for name in names} for row in expected]
        # A row that holds nothing counts as no row.
        expected = [
            row if row and any(v is not None for v in row.values()) else None for row in expected
        ]
        assert seen(joined[view.name], names) == expected
    assert (joined["graph"].rows == -1).all()
    assert 0 < (joined["words"].rows == -1).sum() < 300


def test_both_engines_give_equal_tensors(
    stores: dict[str, FeatureStore],
    schema: FeatureSchema,
    events: Events,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Several slices, the last one short.
    monkeypatch.setattr(join, "SLICE", 64)
    users, items, at_us = ask(events, 200, seed=2)
    encoded = {}
    for engine, store in stores.items():
        fitted = training_rows(store, schema, tiny.instant(events.train_end_us))
        encoder = Encoder.fit(schema, fitted, list(events.training_items()))
        tensors = {}
        for entity, ids in (("user", users), ("item", items)):
            for name, view in join_features(store, schema, entity, ids, at_us).items():
                for column, values in encoder.encode(name, view.features).items():
                    # Row -1 is the last: zeros for whom there is no row.
                    padded = torch.cat([values, values.new_zeros(1, values.shape[1])])
                    tensors[f"{name}/{column}"] = padded[torch.from_numpy(view.rows)]
                tensors[f"{name}/present"] = torch.from_numpy(view.rows >= 0)
        encoded[engine] = (encoder.fingerprint(), tensors)
    (ours, our_tensors), (stock, stock_tensors) = encoded[tiny.OURS], encoded[tiny.STOCK]
    assert ours == stock
    assert our_tensors.keys() == stock_tensors.keys()
    for name, tensor in our_tensors.items():
        assert torch.equal(tensor, stock_tensors[name]), name
    assert any(tensor.any() for tensor in our_tensors.values())


@pytest.mark.parametrize("engine", tiny.ENGINES)
def test_each_pair_is_joined_once_and_nothing_is_no_error(
    engine: str, stores: dict[str, FeatureStore], schema: FeatureSchema, events: Events
) -> None:
    users = np.repeat(events.user_ids[:3], 100)
    at_us = np.full(300, events.train_end_us)
    joined = join_features(stores[engine], schema, "user", users, at_us)["activity"]
    assert len(joined.rows) == 300
    assert len(np.unique(joined.rows)) == 3
    if engine == tiny.STOCK:
        assert joined.features.num_rows == 3
    none = join_features(stores[engine], schema, "user", [], np.empty(0, np.int64))
    assert none["activity"].rows.shape == (0,)
    assert none["activity"].features.column_names == [
        "events_7d",
        "num_events",
        "rating_bias",
        "counted_at_us",
    ]


def test_a_schema_without_the_entity_joins_nothing(
    stores: dict[str, FeatureStore], schema: FeatureSchema
) -> None:
    assert (
        join_features(
            stores[tiny.OURS], schema.without("item"), "item", ["i001"], np.zeros(1, np.int64)
        )
        == {}
    )


def test_ids_and_instants_must_pair_up(
    stores: dict[str, FeatureStore], schema: FeatureSchema
) -> None:
    with pytest.raises(ValueError, match="1 ids were given with 2 instants"):
        join_features(stores[tiny.OURS], schema, "user", ["u001"], np.zeros(2, np.int64))


@pytest.mark.parametrize("engine", tiny.ENGINES)
def test_training_rows_end_before_the_instant(
    engine: str,
    stores: dict[str, FeatureStore],
    schema: FeatureSchema,
    rows: dict[str, pa.Table],
) -> None:
    table = rows["activity"]
    at = table["event_timestamp"][table.num_rows // 2].as_py()
    pulled = training_rows(stores[engine], schema, at)
    for view in schema.views:
        times = rows[view.name]["event_timestamp"].to_pylist()
        names = [field.name for field in view.inputs]
        kept = [
            row
            for row, time in zip(rows[view.name].select(names).to_pylist(), times, strict=True)
            if time < at
        ]
        assert sorted(map(repr, pulled[view.name].to_pylist())) == sorted(map(repr, kept))


@pytest.mark.parametrize("engine", tiny.ENGINES)
def test_a_source_may_know_a_feature_by_another_name(engine: str, tmp_path: Path) -> None:
    store = tiny.empty_store(tmp_path, engine)
    path = str(tmp_path / "shop.parquet")
    at = [tiny.START, tiny.START + timedelta(days=2)]
    columns = {"person": ["a", "a"], "n": [1, 2], "at": pa.array(at, tiny.INSTANT)}
    pq.write_table(pa.table(columns), path)
    source = FileSource(
        name="shop_batch",
        path=path,
        timestamp_field="at",
        field_mapping={"n": "num_visits", "person": "user_id"},
    )
    user = Entity(name="user", join_keys=["user_id"], value_type=ValueType.STRING)
    view = FeatureView(
        name="shop",
        entities=[user],
        ttl=timedelta(0),
        schema=[Field(name="num_visits", dtype=Int64)],
        source=source,
        tags={"source": "behaviour", "entity": "user"},
    )
    store.apply([user, view, FeatureService(name="visits", features=[view])])
    schema = read_schema(store, "visits")
    assert training_rows(store, schema, day(1))["shop"].to_pydict() == {"num_visits": [1]}
    at_us = np.array([to_us(day(1)), to_us(day(3)), to_us(day(0))])
    joined = join_features(store, schema, "user", ["a", "a", "a"], at_us)["shop"]
    assert seen(joined, ["num_visits"]) == [{"num_visits": 1}, {"num_visits": 2}, None]


def day(number: int) -> datetime:
    return tiny.START + timedelta(days=number)


def to_us(at: datetime) -> int:
    return int(at.timestamp()) * 1_000_000
