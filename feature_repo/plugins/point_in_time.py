"""`PointInTimeOfflineStore`: Feast's DuckDB store with a join of our own.

Chosen in feature_store.yaml by its dotted path. We own the point-in-time join, the pulls behind
`feast materialize` and the writes; monitoring is Feast's. This module only takes Feast's arguments
apart: the work is in the modules beside it.
"""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, Literal, Self

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as pads
from feast.data_source import DataSource
from feast.feature_logging import LoggingConfig, LoggingSource
from feast.feature_view import FeatureView
from feast.infra.offline_stores.duckdb import DuckDBOfflineStore, DuckDBOfflineStoreConfig
from feast.infra.offline_stores.file_source import FileLoggingDestination
from feast.infra.offline_stores.offline_store import RetrievalJob
from feast.infra.registry.base_registry import BaseRegistry
from feast.on_demand_feature_view import OnDemandFeatureView
from feast.repo_config import RepoConfig
from pydantic import ConfigDict, PositiveFloat, PositiveInt, StrictStr, model_validator

from feature_repo.plugins.disk_tasks import DiskTasks
from feature_repo.plugins.entity_frame import EntityFrame, read_entity_frame, read_entity_runs
from feature_repo.plugins.on_demand import OnDemand
from feature_repo.plugins.parquet_writer import add_part, append_rows
from feature_repo.plugins.partition_plan import PartitionOptions, memory_needed
from feature_repo.plugins.pointers import JoinOptions, Pointers, join_views
from feature_repo.plugins.pull import Span, pull_all, pull_latest
from feature_repo.plugins.retrieval_job import ArrowJob, PointInTimeJob
from feature_repo.plugins.shard_job import ShardJob
from feature_repo.plugins.snapshot_frame import snapshot_frame
from feature_repo.plugins.source_table import locate, open_source
from feature_repo.plugins.tasks import Tasks
from feature_repo.plugins.view_request import ViewRequest, describe_view


class PointInTimeOfflineStoreConfig(DuckDBOfflineStoreConfig):  # type: ignore[misc]
    """Settings of the join. The two staging settings are Feast's."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    type: StrictStr = "feature_repo.plugins.point_in_time.PointInTimeOfflineStore"

    engine: Literal["memory", "disk", "ray"] | None = None
    """Where labels and features are joined. "memory": here, one view at a time. "disk": here, in
    partitions by key that pass through files, one at a time in memory. "ray": in such partitions
    on the workers of a Ray. None: over Ray if ray_address is set, on disk if a view needs more than
    memory_limit_gb, else in memory."""

    memory_limit_gb: PositiveFloat | None = None
    """Memory of the join in GB (10^9 bytes), an estimate that leaves out the entity frame, where
    it is given in memory, and a result that is asked for as one table. None: no limit."""

    threads: PositiveInt | None = None
    """Threads of a join in memory; None: one a core."""

    spill_dir: StrictStr | None = None
    """Folder of memory-mapped features and of what does not fit in memory; None: the system's
    temporary folder."""

    ray_address: StrictStr | None = None
    """Address of a Ray cluster, "auto" for the one that runs here, "local" to start one. A Ray
    that this process already uses comes first. None: as RAY_ADDRESS says, else "local"."""

    partitions: PositiveInt | None = None
    """Partitions by key of each view; a task holds one at a time. None: one for up to 64 MB of
    Parquet columns, else one for each 256 MB or an eighth of memory_limit_gb, and over Ray at
    least one a CPU; at most 256."""

    shard_rows: PositiveInt | None = None
    """Rows of a Parquet shard of a partitioned result. None: as many as make 256 MB."""

    shard_dir: StrictStr | None = None
    """Folder of a partitioned result, or URI of object storage, that all nodes reach. Each job
    writes its shards to a folder of its own in it, which stays. None: a temporary folder, gone
    with this process; not for a Ray of several nodes."""

    @model_validator(mode="after")
    def _settings_agree(self) -> Self:
        if self.engine not in (None, "ray") and self.ray_address:
            raise ValueError(
                f"engine is '{self.engine}', but ray_address is set; remove one of them"
            )
        return self


class PointInTimeOfflineStore(DuckDBOfflineStore):  # type: ignore[misc]  # Feast is untyped
    """Point-in-time retrieval by one as-of join a view. Every entity row comes back once."""

    @staticmethod
    def get_historical_features(
        config: RepoConfig,
        feature_views: Sequence[FeatureView],
        feature_refs: list[str],
        entity_df: pd.DataFrame | pa.Table | str | None,
        registry: BaseRegistry,
        project: str,
        full_feature_names: bool = False,
        filter_by_created_timestamp: bool = False,
        start_date: datetime | None = None,
        end_date: datetime | None = None,
    ) -> RetrievalJob:
        """Features as of each entity row's instant, that instant included, as Feast defines it.

        entity_df: pandas, Arrow, or SQL for DuckDB. None: one row for each key that has a row
        between start_date and end_date, as of end_date.
        """
        requests = [describe_view(view, feature_refs) for view in feature_views]
        repo_path, store = str(config.repo_path), config.offline_store
        on_demand_views = OnDemandFeatureView.get_requested_odfvs(feature_refs, project, registry)
        read_snapshot = partial(snapshot_frame, requests, repo_path, start_date, end_date)
        engine = _engine(store, requests, repo_path)
        if engine != "memory":
            limit = store.memory_limit_gb
            return ShardJob(
                frames=partial(_read_runs, store, entity_df, read_snapshot),
                requests=requests,
                on_demand=OnDemand(on_demand_views, feature_refs, full_feature_names),
                repo_path=repo_path,
                options=PartitionOptions(
                    partitions=store.partitions,
                    shard_rows=store.shard_rows,
                    shard_dir=store.shard_dir,
                    spill_dir=store.spill_dir,
                    created_cutoff=filter_by_created_timestamp,
                    memory_bytes=int(limit * 1e9) if limit else None,
                ),
                tasks=partial(_start_tasks, engine, store),
            )
        return PointInTimeJob(
            read_frame=partial(_read_frame, store, entity_df, read_snapshot),
            join=partial(_join, config, requests, filter_by_created_timestamp),
            requests=requests,
            feature_refs=feature_refs,
            on_demand_views=on_demand_views,
            full_feature_names=full_feature_names,
            repo_path=repo_path,
        )

    @staticmethod
    def pull_all_from_table_or_query(
        config: RepoConfig,
        data_source: DataSource,
        join_key_columns: list[str],
        feature_name_columns: list[str],
        timestamp_field: str,
        created_timestamp_column: str | None = None,
        start_date: datetime | None = None,
        end_date: datetime | None = None,
    ) -> ArrowJob:
        """Every row of the source within the dates, both included."""
        span = Span(
            data_source,
            join_key_columns,
            feature_name_columns,
            timestamp_field,
            created_timestamp_column,
            start_date,
            end_date,
        )
        repo_path = str(config.repo_path)
        return ArrowJob(lambda: pull_all(span, repo_path), repo_path)

    @staticmethod
    def pull_latest_from_table_or_query(
        config: RepoConfig,
        data_source: DataSource,
        join_key_columns: list[str],
        feature_name_columns: list[str],
        timestamp_field: str,
        created_timestamp_column: str | None,
        start_date: datetime,
        end_date: datetime,
    ) -> ArrowJob:
        """The newest row of each key within the dates, both included."""
        span = Span(
            data_source,
            join_key_columns,
            feature_name_columns,
            timestamp_field,
            created_timestamp_column,
            start_date,
            end_date,
        )
        return ArrowJob(partial(pull_latest, span, str(config.repo_path)), str(config.repo_path))

    @staticmethod
    def offline_write_batch(
        config: RepoConfig,
        feature_view: FeatureView,
        table: pa.Table,
        progress: Callable[[int], Any] | None,
    ) -> None:
        """Add rows to the view's source, all or none, in the source's columns and order.

        Names may also be those that the source's field mapping makes of them.
        """
        source, repo_path = feature_view.batch_source, str(config.repo_path)
        columns = open_source(source, repo_path).schema.names
        rows = _in_columns_of(source, columns, table, f"rows for view '{feature_view.name}'")
        append_rows(rows, source, repo_path)
        if progress:
            progress(table.num_rows)

    @staticmethod
    def write_logged_features(
        config: RepoConfig,
        data: pa.Table | Path,
        source: LoggingSource,
        logging_config: LoggingConfig,
        registry: BaseRegistry,
    ) -> None:
        """Add logs to the folder of the destination. data: a table, or a folder of Parquet."""
        destination = logging_config.destination
        if not isinstance(destination, FileLoggingDestination):
            raise ValueError(
                f"logs go to a {type(destination).__name__}; this store writes to a "
                f"FileLoggingDestination"
            )
        logs = pads.dataset(data, format="parquet").to_table() if isinstance(data, Path) else data
        filesystem, folder = locate(destination.to_data_source(), str(config.repo_path))
        add_part(logs, filesystem, folder, destination.partition_by or ())

    @staticmethod
    def get_table_column_names_and_types_from_data_source(
        config: RepoConfig, data_source: DataSource
    ) -> list[tuple[str, str]]:
        """Names and Arrow types of a source's columns."""
        schema = open_source(data_source, str(config.repo_path)).schema
        return [(field.name, str(field.type)) for field in schema]


def _in_columns_of(
    source: DataSource, columns: Sequence[str], table: pa.Table, what: str
) -> pa.Table:
    # A data frame that was filtered brings its index along as a column.
    given = [name for name in table.column_names if not name.startswith("__index_level_")]
    if given == [source.field_mapping.get(column, column) for column in columns]:
        return table.select(given).rename_columns(list(columns))
    if given == list(columns):
        return table.select(given)
    raise ValueError(
        f"{what} have columns {given}; its source '{source.name}' has {columns}, in this order"
    )


def _engine(
    config: PointInTimeOfflineStoreConfig, requests: Sequence[ViewRequest], repo_path: str
) -> str:
    if config.engine:
        return config.engine
    if config.ray_address:
        return "ray"
    limit = config.memory_limit_gb
    return "disk" if limit and memory_needed(requests, repo_path) > limit * 1e9 else "memory"


def _start_tasks(engine: str, config: PointInTimeOfflineStoreConfig) -> Tasks:
    if engine == "disk":
        return DiskTasks(config.spill_dir)
    # Only whoever uses Ray pays for its import.
    from feature_repo.plugins.ray_tasks import RayTasks

    return RayTasks(config.ray_address)


def _read_frame(
    config: PointInTimeOfflineStoreConfig, entity_df: Any, read_snapshot: Callable[[], EntityFrame]
) -> EntityFrame:
    if entity_df is None:
        return read_snapshot()
    return read_entity_frame(entity_df, partial(_connect, config))


def _read_runs(
    config: PointInTimeOfflineStoreConfig,
    entity_df: Any,
    read_snapshot: Callable[[], EntityFrame],
    num_rows: int,
) -> Iterator[EntityFrame]:
    if entity_df is None:
        yield from read_snapshot().runs(num_rows)
        return
    yield from read_entity_runs(entity_df, partial(_connect, config), num_rows)


def _join(
    config: RepoConfig, requests: Sequence[ViewRequest], created_cutoff: bool, frame: EntityFrame
) -> Pointers:
    store = config.offline_store
    options = JoinOptions(created_cutoff, store.threads, store.spill_dir)
    return join_views(frame, requests, str(config.repo_path), options)


@contextmanager
def _connect(config: PointInTimeOfflineStoreConfig) -> Iterator[duckdb.DuckDBPyConnection]:
    """A DuckDB of our own, gone with its spilled files when the work is done."""
    with tempfile.TemporaryDirectory(prefix="as_of_", dir=config.spill_dir) as spill:
        settings: dict[str, Any] = {"temp_directory": spill, "preserve_insertion_order": False}
        if config.memory_limit_gb:
            settings["memory_limit"] = f"{config.memory_limit_gb}GB"
        if config.threads:
            settings["threads"] = config.threads
        with duckdb.connect(config=settings) as connection:
            yield connection
