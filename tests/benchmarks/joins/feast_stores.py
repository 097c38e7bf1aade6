"""The contestants that are Feast offline stores: ours and the three that come with Feast.

Each is opened from a registry of its own and asked through `FeatureStore.get_historical_features`.
In: JoinData. Out: the join to be timed, from the labels in memory to the result.
"""

import os
import tempfile
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa

from tests.benchmarks.joins.data import KEY, TIME, Integers, JoinData

POTLUCK = "feature_repo.plugins.point_in_time.PointInTimeOfflineStore"


def potluck_pointers(data: JoinData) -> Callable[[], Any]:
    """Our store: row numbers of the matches."""
    return _asking(data, {"type": POTLUCK}, data.labels(), "to_pointers")


def potluck_pointers_sql(data: JoinData) -> Callable[[], Any]:
    """Our store, with labels that it reads itself."""
    labels = f"SELECT * FROM read_parquet('{data.label_path}')"
    return _asking(data, {"type": POTLUCK}, labels, "to_pointers")


def row_numbers(data: JoinData, pointers: Any) -> dict[str, Integers]:
    """Our pointers as arrays in the labels' order."""
    return {view: pointers.views[view].rows.astype(np.int64) for view in data.views}


def potluck_rows(data: JoinData) -> Callable[[], pa.Table]:
    """Our store: all features, as Arrow."""
    return _asking(data, {"type": POTLUCK}, data.labels(), "to_arrow")


def potluck_rows_pandas(data: JoinData) -> Callable[[], pa.Table]:
    """Our store with labels in pandas, the only form that Feast's own stores take."""
    return _asking(data, {"type": POTLUCK}, data.labels().to_pandas(), "to_arrow")


def feast_duckdb(data: JoinData) -> Callable[[], pa.Table]:
    """Feast's DuckDB store."""
    return _asking(data, {"type": "duckdb"}, data.labels().to_pandas(), "to_arrow")


def feast_file(data: JoinData) -> Callable[[], pa.Table]:
    """Feast's file store, which computes with dask."""
    return _asking(data, {"type": "file"}, data.labels().to_pandas(), "to_arrow")


def feast_ray(data: JoinData) -> Callable[[], pa.Table]:
    """Feast's Ray store on a local Ray of all cores, which is up before the clock starts."""
    # Ray's spelling. Workers would run at +15 otherwise.
    os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112
    import ray

    if not ray.is_initialized():
        ray.init(include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    config = {"type": "ray", "storage_path": str(data.folder / "ray")}
    return _asking(data, config, data.labels().to_pandas(), "to_arrow")


def _asking(
    data: JoinData, offline_store: dict[str, Any], labels: Any, method: str
) -> Callable[[], Any]:
    store = _open_store(data, offline_store)
    features = [f"{view}:{name}" for view in data.views for name in data.features(view)]

    def join() -> Any:
        job = store.get_historical_features(entity_df=labels, features=features)
        return getattr(job, method)()

    return join


def _open_store(data: JoinData, offline_store: dict[str, Any]) -> Any:
    """A store with the views applied, its registry in a folder that goes with the data."""
    from feast import FeatureStore, RepoConfig  # 360 MB that the others' processes do without

    folder = tempfile.mkdtemp(dir=data.folder, prefix="registry_")
    config = RepoConfig(
        project="joins",
        provider="local",
        registry=f"{folder}/registry.db",
        online_store={"type": "sqlite", "path": f"{folder}/online.db"},
        offline_store=offline_store,
        repo_path=folder,
        entity_key_serialization_version=3,
    )
    store = FeatureStore(config=config)
    store.apply(_definitions(data))
    return store


def _definitions(data: JoinData) -> list[Any]:
    from feast import Entity, FeatureView, Field, FileSource, ValueType
    from feast.types import Array, Float32, Float64

    kind = ValueType.STRING if data.size.key_type == "string" else ValueType.INT64
    user = Entity(name="user", join_keys=[KEY], value_type=kind)
    views = [
        FeatureView(
            name=view,
            entities=[user],
            schema=[
                Field(name=name, dtype=Array(Float32) if view == "wide" else Float64)
                for name in data.features(view)
            ],
            source=FileSource(path=str(data.path(view)), timestamp_field=TIME),
        )
        for view in data.views
    ]
    return [user, *views]
