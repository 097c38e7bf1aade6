"""A small data set and a feature store around it, made by hand from random events.

Feature rows follow the project's rule: a row at T holds everything up to and with T. The views have
one field of every kind, one view is empty, one user has no row anywhere.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from feast import Entity, FeatureService, FeatureStore, FeatureView, Field, FileSource, ValueType
from feast.repo_config import RepoConfig
from feast.types import Array, Float32, Int64, String, UnixTimestamp

from feature_repo.pipelines.tables import SCHEMAS, DatasetInfo, table_path
from training.events import Events

START = datetime(2024, 1, 1, tzinfo=UTC)
DAY_US = 86_400_000_000
START_US = int(START.timestamp()) * 1_000_000
OURS = "feature_repo.plugins.point_in_time.PointInTimeOfflineStore"
STOCK = "duckdb"
ENGINES = (OURS, STOCK)


@dataclass(frozen=True)
class Log:
    """Events in order of time; users and items are numbers that also are their places by id."""

    user: np.ndarray
    item: np.ndarray
    at_us: np.ndarray
    num_users: int
    num_items: int

    def until(self, at_us: int) -> "Log":
        kept = self.at_us <= at_us
        return replace(self, user=self.user[kept], item=self.item[kept], at_us=self.at_us[kept])


def random_log(seed: int, num_events: int = 400, num_users: int = 12, num_items: int = 30) -> Log:
    """Events over a hundred days at six-hour instants, so that ties are many."""
    rng = np.random.default_rng(seed)
    at_us = START_US + np.sort(rng.integers(1, 400, num_events)) * (DAY_US // 4)
    item = np.minimum(rng.geometric(0.12, num_events) - 1, num_items - 1)
    # The last user never does anything.
    user = rng.integers(0, num_users - 1, num_events)
    return Log(user, item, at_us, num_users, num_items)


def user_id(number: int) -> str:
    return f"u{number:03}"


def item_id(number: int) -> str:
    return f"i{number:03}"


def available_at_us(log: Log) -> np.ndarray:
    """Each item from a day of its own, but no later than its first event."""
    at_us = START_US + np.arange(log.num_items) * DAY_US
    np.minimum.at(at_us, log.item, log.at_us)
    return at_us


def events_of(log: Log, train_days: int = 60, validation_days: int = 80) -> Events:
    return Events(
        user_ids=np.array([user_id(n) for n in range(log.num_users)], object),
        item_ids=np.array([item_id(n) for n in range(log.num_items)], object),
        available_at_us=available_at_us(log),
        user_index=log.user,
        item_index=log.item,
        at_us=log.at_us,
        is_positive=(log.user + log.item) % 4 != 0,
        train_end_us=START_US + train_days * DAY_US,
        validation_end_us=START_US + validation_days * DAY_US,
    )


def instant(at_us: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=int(at_us))


def feature_rows(log: Log) -> dict[str, pa.Table]:
    """Rows of every view, by name."""
    activity, history, words = [], [], []
    for user in range(log.num_users):
        mine = log.user == user
        for at_us in np.unique(log.at_us[mine]):
            items = log.item[mine & (log.at_us <= at_us)][::-1]
            key = {"user_id": user_id(user), "event_timestamp": instant(at_us)}
            activity.append(
                key
                | {
                    "events_7d": float(
                        np.exp2(-(at_us - log.at_us[log.user == user]) / DAY_US / 7)[
                            log.at_us[mine] <= at_us
                        ].sum()
                    ),
                    "num_events": len(items),
                    "rating_bias": None if user % 3 == 0 else float(items.mean() - 5),
                    "counted_at_us": int(at_us),
                }
            )
            names = list(dict.fromkeys(item_id(item) for item in items))
            history.append(key | {"recent_items": names, "last_at": instant(at_us)})
            if user % 2:
                vector = [float(items.sum()), float(len(items)), -1.0]
                words.append(key | {"words_embedding": vector if len(items) % 3 else None})
    attributes = [
        {
            "item_id": item_id(item),
            "event_timestamp": instant(at_us),
            "title": f"Item {item}",
            "category": None if item % 7 == 0 else f"c{item % 5}",
            "price": None if item % 4 == 0 else 1.5 * item,
        }
        for item, at_us in enumerate(available_at_us(log))
    ]
    by_view = {
        "activity": activity,
        "history": history,
        "words": words,
        "graph": [],
        "attributes": attributes,
    }
    return {view: feature_table(view, rows) for view, rows in by_view.items()}


COLUMNS: dict[str, dict[str, pa.DataType]] = {
    "activity": {
        "user_id": pa.string(),
        "events_7d": pa.float32(),
        "num_events": pa.int64(),
        "rating_bias": pa.float32(),
        "counted_at_us": pa.int64(),
    },
    "history": {
        "user_id": pa.string(),
        "recent_items": pa.list_(pa.string()),
        "last_at": pa.timestamp("us", "UTC"),
    },
    "words": {"user_id": pa.string(), "words_embedding": pa.list_(pa.float32())},
    "graph": {"user_id": pa.string(), "graph_embedding": pa.list_(pa.float32())},
    "attributes": {
        "item_id": pa.string(),
        "title": pa.string(),
        "category": pa.string(),
        "price": pa.float32(),
    },
}
INSTANT = pa.timestamp("us", "UTC")


def feature_table(view: str, rows: list[dict[str, object]]) -> pa.Table:
    times = {"event_timestamp": INSTANT, "created_timestamp": INSTANT}
    rows = [row | {"created_timestamp": row["event_timestamp"]} for row in rows]
    return pa.Table.from_pylist(rows, pa.schema({**COLUMNS[view], **times}))


def fields() -> dict[str, list[Field]]:
    """The views' fields with the tags that say what they are."""
    counter = {"kind": "counter", "half_life_days": "7", "clock": "counted_at_us"}
    return {
        "activity": [
            Field(name="events_7d", dtype=Float32, tags=counter),
            Field(name="num_events", dtype=Int64),
            Field(name="rating_bias", dtype=Float32),
            Field(name="counted_at_us", dtype=Int64, tags={"kind": "clock"}),
        ],
        "history": [
            Field(name="recent_items", dtype=Array(String), tags={"vocabulary": "item"}),
            Field(name="last_at", dtype=UnixTimestamp),
        ],
        "words": [Field(name="words_embedding", dtype=Array(Float32))],
        "graph": [Field(name="graph_embedding", dtype=Array(Float32), tags={"dims": "4"})],
        "attributes": [
            Field(name="title", dtype=String, tags={"kind": "text"}),
            Field(name="category", dtype=String, tags={"vocabulary": "category"}),
            Field(name="price", dtype=Float32),
        ],
    }


TAGS = {
    "activity": {"source": "behaviour", "entity": "user"},
    "history": {"source": "behaviour", "entity": "user"},
    "words": {"source": "text", "entity": "user"},
    "graph": {"source": "social", "entity": "user"},
    "attributes": {"source": "item", "entity": "item"},
}


def empty_store(folder: Path, engine: str) -> FeatureStore:
    """A feature store with nothing in it."""
    folder.mkdir(parents=True, exist_ok=True)
    config = RepoConfig(
        project="tiny",
        provider="local",
        registry={"path": str(folder / "registry.db"), "cache_ttl_seconds": 3600},
        online_store={"type": "sqlite", "path": str(folder / "online.db")},
        offline_store={"type": engine},
        repo_path=folder,
        entity_key_serialization_version=3,
    )
    return FeatureStore(config=config)


def make_store(folder: Path, engine: str, tables: Mapping[str, pa.Table]) -> FeatureStore:
    """A feature store over these rows, with the service `everything`."""
    store = empty_store(folder, engine)
    entities = {
        name: Entity(name=name, join_keys=[f"{name}_id"], value_type=ValueType.STRING)
        for name in ("user", "item")
    }
    views = []
    for name, table in tables.items():
        path = folder / f"{name}.parquet"
        pq.write_table(table, path)
        source = FileSource(
            name=f"{name}_batch",
            path=str(path),
            timestamp_field="event_timestamp",
            created_timestamp_column="created_timestamp",
        )
        entity = entities[TAGS[name]["entity"]]
        views.append(
            FeatureView(
                name=name,
                entities=[entity],
                ttl=timedelta(0),
                schema=fields()[name],
                source=source,
                tags=TAGS[name],
            )
        )
    service = FeatureService(name="everything", features=views)
    store.apply([*entities.values(), *views, service])
    return store


def write_tables(folder: Path, log: Log, untimed: Log | None = None) -> None:
    """The canonical tables of a log; the events of `untimed` came without a time."""
    info = DatasetInfo(
        name="tiny",
        source="random events",
        time_resolution="exact",
        first_event_at=instant(log.at_us[0]),
        last_event_at=instant(log.at_us[-1]),
        train_end_at=START + timedelta(days=60),
        validation_end_at=START + timedelta(days=80),
    )
    folder.mkdir(parents=True, exist_ok=True)
    info.write(folder)
    available = available_at_us(log)
    # Neither file is sorted by id: numbers must not depend on the order of rows.
    users = [{"user_id": user_id(n)} for n in reversed(range(log.num_users))]
    items = [
        {"item_id": item_id(n), "available_at": instant(available[n])}
        for n in reversed(range(log.num_items))
    ]
    interactions = [
        {
            "event_id": f"{number:06}{timed}",
            "user_id": user_id(part.user[number]),
            "item_id": item_id(part.item[number]),
            "action": "play",
            "timestamp": instant(part.at_us[number]),
            "is_positive": bool((part.user[number] + part.item[number]) % 4 != 0),
            "timed": timed,
        }
        for part, timed in ((log, True), (untimed, False))
        if part is not None
        for number in range(len(part.at_us))
    ]
    for name, rows in (("users", users), ("items", items), ("interactions", interactions)):
        path = table_path(folder, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_pylist(rows, SCHEMAS[name]), path)
