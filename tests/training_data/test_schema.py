"""The schema says what the registry says, and refuses what a model could not read."""

import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from feast import Entity, FeatureService, FeatureStore, FeatureView, Field, FileSource, ValueType
from feast.repo_operations import parse_repo
from feast.types import Bytes, Float32, Int64, String

from tests.feast.tables import write_repo
from tests.training_data import tiny
from training.registry import read_schema
from training.schema import FeatureSchema, FieldSpec, ViewSpec

GOOD_TAGS = {"source": "behaviour", "entity": "user"}


def test_kinds_follow_from_tags_and_types(schema: FeatureSchema) -> None:
    assert schema.view("activity").fields == (
        FieldSpec(name="events_7d", kind="counter", half_life_days=7, clock="counted_at_us"),
        FieldSpec(name="num_events", kind="numeric", logarithmic=True),
        FieldSpec(name="rating_bias", kind="numeric"),
        FieldSpec(name="counted_at_us", kind="clock"),
    )
    assert schema.view("history").fields == (
        FieldSpec(name="recent_items", kind="sequence", vocabulary="item"),
        FieldSpec(name="last_at", kind="time"),
    )
    assert schema.view("graph").fields == (
        FieldSpec(name="graph_embedding", kind="embedding", dims=4),
    )
    assert [field.name for field in schema.view("attributes").inputs] == ["category", "price"]


def test_a_field_without_a_vocabulary_has_its_own(tmp_path: Path) -> None:
    schema = read_one_view(tmp_path, [Field(name="brand", dtype=String)])
    assert schema.view("shop").field("brand").vocabulary == "shop.brand"


def test_sources_and_entities(schema: FeatureSchema) -> None:
    assert schema.sources == ("behaviour", "text", "social", "item")
    names = [view.name for view in schema.user_views]
    assert names == ["activity", "history", "words", "graph"]
    assert [view.name for view in schema.item_views] == ["attributes"]
    assert schema.view("activity").join_key == "user_id"
    assert schema.without("behaviour").sources == ("text", "social", "item")
    with pytest.raises(ValueError, match=r"no source 'weather' \(has: behaviour, text"):
        schema.without("weather")
    with pytest.raises(ValueError, match=r"no view 'weather' \(has: activity"):
        schema.view("weather")


def test_an_unknown_service_names_those_there_are(stores: dict[str, FeatureStore]) -> None:
    with pytest.raises(
        ValueError, match=r"'ranking_v9' is not in the registry \(has: everything\)"
    ) as e:
        read_schema(stores[tiny.OURS], "ranking_v9")
    assert "apply" in str(e.value)


@pytest.mark.parametrize(
    ("field", "message"),
    [
        (Field(name="x", dtype=Int64, tags={"kind": "colour"}), "unknown kind 'colour'"),
        (Field(name="x", dtype=Bytes), "type Bytes, whose kind must be said"),
        (Field(name="x", dtype=String, tags={"kind": "embedding"}), "of type String"),
        (
            Field(name="x", dtype=Float32, tags={"kind": "counter", "half_life_days": "7"}),
            "needs the tag 'clock'",
        ),
        (
            Field(name="x", dtype=Float32, tags={"kind": "counter", "clock": "t"}),
            "needs the tag 'half_life_days'",
        ),
        (
            Field(
                name="x",
                dtype=Float32,
                tags={"kind": "counter", "clock": "t", "half_life_days": "a week"},
            ),
            "half_life_days='a week'",
        ),
        (
            Field(
                name="x",
                dtype=Float32,
                tags={"kind": "counter", "clock": "t", "half_life_days": "7"},
            ),
            "has clock 't', which is not",
        ),
        (Field(name="x", dtype=String, tags={"kind": "text"}), "no field that a model can read"),
    ],
)
def test_a_field_that_is_no_model_input_is_named(
    tmp_path: Path, field: Field, message: str
) -> None:
    with pytest.raises(ValueError, match=message) as error:
        read_one_view(tmp_path, [field])
    assert "'shop'" in str(error.value)


@pytest.mark.parametrize(
    ("tags", "message"),
    [
        ({"entity": "user"}, "no tag 'source'"),
        ({"source": "behaviour"}, "entity=''"),
        ({"source": "behaviour", "entity": "weather"}, "entity='weather'"),
    ],
)
def test_a_view_without_its_tags_is_named(
    tmp_path: Path, tags: dict[str, str], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        read_one_view(tmp_path, [Field(name="x", dtype=Int64)], tags)


def test_a_view_of_two_entities_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"2 join keys \(user_id, item_id\)"):
        read_one_view(tmp_path, [Field(name="x", dtype=Int64)], keys=("user", "item"))


def test_a_renamed_view_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="renamed"):
        read_one_view(tmp_path, [Field(name="x", dtype=Int64)], name="friends_shop")


def test_the_fingerprint_is_that_of_what_the_model_reads() -> None:
    schema = small_schema(FieldSpec(name="x", kind="numeric"))
    seen = {schema.fingerprint()}
    for field in (
        FieldSpec(name="y", kind="numeric"),
        FieldSpec(name="x", kind="numeric", logarithmic=True),
        FieldSpec(name="x", kind="categorical", vocabulary="x"),
        FieldSpec(name="x", kind="categorical", vocabulary="y"),
    ):
        seen.add(small_schema(field).fingerprint())
    assert len(seen) == 5
    with_title = small_schema(
        FieldSpec(name="x", kind="numeric"), FieldSpec(name="title", kind="text")
    )
    assert with_title.fingerprint() == schema.fingerprint()


@pytest.fixture
def project_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FeatureStore]:
    """The project's own definitions, applied."""
    repo = write_repo(tmp_path, {})
    # Definitions import each other flat, as `feast apply` has it: from their own folder.
    monkeypatch.chdir(repo)
    monkeypatch.syspath_prepend(repo)
    flat = {path.stem for path in repo.glob("*.py")}
    before = {name: sys.modules.pop(name) for name in flat & sys.modules.keys()}
    parsed = parse_repo(repo)
    store = FeatureStore(repo_path=str(repo))
    definitions = (parsed.entities, parsed.data_sources, parsed.feature_views)
    store.apply([*(it for kind in definitions for it in kind), *parsed.feature_services])
    yield store
    for name in flat & sys.modules.keys():
        del sys.modules[name]
    sys.modules.update(before)


def test_the_projects_own_services_can_be_read(project_store: FeatureStore) -> None:
    ranking = read_schema(project_store, "ranking_v1")
    assert set(ranking.sources) == {"behaviour", "item", "social", "text"}
    kinds = {
        f"{view.name}.{field.name}": (field.kind, field.vocabulary)
        for view in ranking.views
        for field in view.fields
    }
    assert kinds["user_history.recent_items"] == ("sequence", "item")
    assert kinds["user_social.friends_recent_items"] == ("sequence", "item")
    assert kinds["item_attributes.category"] == ("categorical", "category")
    assert kinds["user_affinity.top_categories"] == ("sequence", "category")
    assert kinds["item_text.keywords"] == ("sequence", "keyword")
    assert kinds["user_text.own_keywords"] == ("sequence", "keyword")
    assert kinds["item_text.text_embedding"] == ("embedding", None)
    assert kinds["item_attributes.title"] == ("text", None)
    counter = ranking.view("user_activity").field("events_30d")
    assert (counter.half_life_days, counter.clock) == (30.0, "counted_at_us")
    for service in ("retrieval_v1", "explanation_v1"):
        assert read_schema(project_store, service).views


def small_schema(*fields: FieldSpec) -> FeatureSchema:
    view = ViewSpec(name="v", source="s", entity="user", join_key="user_id", fields=fields)
    return FeatureSchema(service="small", views=(view,))


def read_one_view(
    folder: Path,
    fields: list[Field],
    tags: dict[str, str] | None = None,
    keys: tuple[str, ...] = ("user",),
    name: str = "shop",
) -> FeatureSchema:
    """Apply a service with one view `shop`, called `name` there, and read it back."""
    store = tiny.empty_store(folder, tiny.STOCK)
    entities = [
        Entity(name=key, join_keys=[f"{key}_id"], value_type=ValueType.STRING) for key in keys
    ]
    path = str(folder / "shop.parquet")
    view = FeatureView(
        name="shop",
        entities=entities,
        ttl=timedelta(0),
        schema=fields,
        source=FileSource(name="shop_batch", path=path, timestamp_field="event_timestamp"),
        tags=GOOD_TAGS if tags is None else tags,
    )
    write_source(path, fields, keys)
    shown = view if name == "shop" else view.with_name(name)
    store.apply([*entities, view, FeatureService(name="one_view", features=[shown])])
    return read_schema(store, "one_view")


def write_source(path: str, fields: list[Field], keys: tuple[str, ...]) -> None:
    """An empty source file: Feast looks at its columns at apply."""
    names = {f"{key}_id": pa.string() for key in keys} | {"event_timestamp": tiny.INSTANT}
    columns = names | {field.name: pa.float32() for field in fields}
    pq.write_table(pa.schema(columns).empty_table(), path)
