"""Small feature stores for the tests of the join: views by hand and our offline store."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType
from feast.types import Float64, PrimitiveFeastType

STORE = "feature_repo.plugins.point_in_time.PointInTimeOfflineStore"

user = Entity(name="user", join_keys=["user_id"], value_type=ValueType.STRING)
item = Entity(name="item", join_keys=["item_id"], value_type=ValueType.STRING)


def at(hours: float) -> datetime:
    """An instant, in hours after the start of 2024."""
    return datetime(2024, 1, 1, tzinfo=UTC) + timedelta(hours=hours)


# What tests that run every case on another engine add to the store's settings.
ENGINE: dict[str, Any] = {}


def open_store(folder: Path, *objects: Any) -> FeatureStore:
    """A store in `folder` with these definitions applied and nothing else in it."""
    config = RepoConfig(
        project="tiny",
        provider="local",
        registry=str(folder / "registry.db"),
        online_store={"type": "sqlite", "path": str(folder / "online.db")},
        offline_store={"type": STORE, "threads": 1, **ENGINE},
        repo_path=folder,
        entity_key_serialization_version=3,
    )
    store = FeatureStore(config=config)
    store.apply(list(objects))
    return store


def view_of(
    folder: Path,
    name: str,
    rows: Mapping[str, Sequence[Any]] | pa.Table,
    entities: Sequence[Entity] = (user,),
    features: Mapping[str, PrimitiveFeastType] | None = None,
    ttl: timedelta | None = None,
    **source: Any,
) -> FeatureView:
    """A view over rows written to Parquet; `source` goes to FileSource.

    Rows have the columns of the entities, the features (one float "value" if none is named), "at"
    and, where the source is told so, "created".
    """
    path = folder / f"{name}.parquet"
    table = rows if isinstance(rows, pa.Table) else pa.table(dict(rows))
    pq.write_table(table, path)
    return FeatureView(
        name=name,
        entities=list(entities),
        ttl=ttl,
        schema=[
            Field(name=feature, dtype=dtype)
            for feature, dtype in (features or {"value": Float64}).items()
        ],
        source=FileSource(path=str(path), **{"timestamp_field": "at", **source}),
    )


def frame(**columns: Sequence[Any]) -> pd.DataFrame:
    """An entity frame; "at" becomes event_timestamp."""
    return pd.DataFrame({("event_timestamp" if k == "at" else k): v for k, v in columns.items()})


def values(column: pd.Series) -> list[Any]:
    """A column as Python values, None where there is none."""
    return [None if pd.isna(value) else value for value in column]
