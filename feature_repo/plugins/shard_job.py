"""What the store hands back where the join is partitioned: shards, written when they are needed.

In: a PartitionedJoin. Out: Feast's retrieval job. The shards are written once a job and hold
on-demand features as well; only `to_df`, `to_arrow` and `to_pointers` bring rows to this process.
"""

import uuid
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as pads
import pyarrow.fs
import pyarrow.parquet as pq
from feast.infra.offline_stores.offline_store import RetrievalMetadata
from feast.on_demand_feature_view import OnDemandFeatureView
from feast.saved_dataset import SavedDatasetStorage

from feature_repo.plugins.entity_frame import EntityFrame
from feature_repo.plugins.on_demand import OnDemand
from feature_repo.plugins.parquet_writer import write_source
from feature_repo.plugins.partition_plan import PartitionOptions
from feature_repo.plugins.partitioned_join import PartitionedJoin
from feature_repo.plugins.pointers import Pointers
from feature_repo.plugins.retrieval_job import ArrowJob, shown_names
from feature_repo.plugins.shards import open_folder
from feature_repo.plugins.tasks import Tasks
from feature_repo.plugins.view_request import ViewRequest


class ShardJob(ArrowJob):
    """A point-in-time join whose result lies in Parquet shards, in the order of the labels."""

    def __init__(
        self,
        frames: Callable[[int], Iterator[EntityFrame]],
        requests: Sequence[ViewRequest],
        on_demand: OnDemand,
        repo_path: str,
        options: PartitionOptions,
        tasks: Callable[[], Tasks],
    ) -> None:
        """frames: the entity frame in runs of so many rows, at least one run."""
        super().__init__(lambda: self._table(), repo_path)
        self._join = PartitionedJoin(frames, requests, repo_path, options, tasks)
        self._requests = requests
        self._on_demand = on_demand
        self._shard_dir = options.shard_dir

    @cached_property
    def shards(self) -> tuple[pa.fs.FileSystem, list[str]]:
        """Their file system and paths, in the order of the labels; written at the first use."""
        head, asked = self._join.labels.head, self._on_demand
        names = shown_names(head.table.column_names, self._requests, asked.full_feature_names)
        folder = self._make_folder()
        finish = asked.add_to if asked.views else None
        return open_folder(folder)[0], [
            shard.path for shard in self._join.write(folder, names, finish)
        ]

    def to_pointers(self) -> Pointers:
        """Per label and view the number of the matching feature row, and the rows once."""
        return self._join.pointers()

    def to_ray_dataset(self) -> Any:
        """The shards as a Ray Dataset."""
        import ray.data  # costs seconds, which only its users pay

        filesystem, paths = self.shards
        return ray.data.read_parquet(paths, filesystem=filesystem)

    def persist(
        self,
        storage: SavedDatasetStorage,
        allow_overwrite: bool = False,
        timeout: int | None = None,
    ) -> None:
        """Copy the shards to where Feast keeps saved data sets; into a folder one at a time."""
        filesystem, paths = self.shards
        tables = (pq.read_table(path, filesystem=filesystem) for path in paths)
        write_source(tables, storage.to_data_source(), self._repo_path, allow_overwrite)

    @property
    def full_feature_names(self) -> bool:
        return self._on_demand.full_feature_names

    @property
    def on_demand_feature_views(self) -> list[OnDemandFeatureView]:
        """None that is still to be computed: the shards hold on-demand features."""
        return []

    @property
    def metadata(self) -> RetrievalMetadata:
        """The references, the frame's other columns, and the first and last instant asked for."""
        labels = self._join.labels
        keys = [name for name in labels.head.table.column_names if name != labels.head.time_column]
        span = labels.span or (None, None)
        return RetrievalMetadata(list(self._on_demand.feature_refs), keys, *span)

    def _table(self) -> pa.Table:
        filesystem, paths = self.shards
        return pads.dataset(paths, filesystem=filesystem).to_table().combine_chunks()

    def _make_folder(self) -> str:
        """A folder of this job's own."""
        if self._shard_dir is None:
            return self._join.tasks.result_folder()
        parent = self._shard_dir if "://" in self._shard_dir else Path(self._shard_dir).absolute()
        folder = f"{parent}/{uuid.uuid4().hex}"
        filesystem, path = open_folder(folder)
        filesystem.create_dir(path, recursive=True)
        return folder
