"""What the store hands back: work that runs when its result is asked for.

In: a function that yields Arrow (or, for a point-in-time join, pointers). Out: Feast's retrieval
jobs, one chunk a column.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from feast.infra.offline_stores.offline_store import RetrievalJob, RetrievalMetadata
from feast.on_demand_feature_view import OnDemandFeatureView
from feast.saved_dataset import SavedDatasetStorage

from feature_repo.plugins.entity_frame import EntityFrame
from feature_repo.plugins.instants import read_instants
from feature_repo.plugins.parquet_writer import write_source
from feature_repo.plugins.pointers import Pointers
from feature_repo.plugins.view_request import ViewRequest


class ArrowJob(RetrievalJob):  # type: ignore[misc]  # Feast is untyped
    """A pull of one source: `load` runs at each request for the result."""

    def __init__(self, load: Callable[[], pa.Table], repo_path: str) -> None:
        super().__init__()
        self._load = load
        self._repo_path = repo_path

    def _to_arrow_internal(self, timeout: int | None = None) -> pa.Table:
        return self._load()

    def _to_df_internal(self, timeout: int | None = None) -> pd.DataFrame:
        frame: pd.DataFrame = self._to_arrow_internal(timeout).to_pandas()
        return frame

    @property
    def full_feature_names(self) -> bool:
        return False

    @property
    def on_demand_feature_views(self) -> list[OnDemandFeatureView]:
        return []

    @property
    def metadata(self) -> RetrievalMetadata | None:
        return None

    def persist(
        self,
        storage: SavedDatasetStorage,
        allow_overwrite: bool = False,
        timeout: int | None = None,
    ) -> None:
        """Write the result, on-demand features included, where Feast keeps saved data sets."""
        write_source(self.to_arrow(), storage.to_data_source(), self._repo_path, allow_overwrite)


class PointInTimeJob(ArrowJob):
    """A point-in-time join of views to an entity frame.

    read_frame: yields the entity frame. join: the as-of join of that frame to the requests.
    """

    def __init__(
        self,
        read_frame: Callable[[], EntityFrame],
        join: Callable[[EntityFrame], Pointers],
        requests: Sequence[ViewRequest],
        feature_refs: Sequence[str],
        on_demand_views: Sequence[OnDemandFeatureView],
        full_feature_names: bool,
        repo_path: str,
    ) -> None:
        super().__init__(lambda: self._wide_table(), repo_path)
        self._read_frame = read_frame
        self._join = join
        self._requests = requests
        self._feature_refs = list(feature_refs)
        self._on_demand_views = list(on_demand_views)
        self._full_feature_names = full_feature_names

    def to_pointers(self) -> Pointers:
        """Per label and view the number of the matching feature row, and the rows once.

        On-demand views are not part of it: they are computed from the wide table.
        """
        return self._join(self._frame)

    @property
    def full_feature_names(self) -> bool:
        return self._full_feature_names

    @property
    def on_demand_feature_views(self) -> list[OnDemandFeatureView]:
        return self._on_demand_views

    @property
    def metadata(self) -> RetrievalMetadata:
        """The references, the frame's other columns, and the first and last instant asked for."""
        table, time_column = self._frame.table, self._frame.time_column
        instants = read_instants(table.column(time_column), time_column)
        ends = pc.min_max(instants.counts).as_py()
        per_second = 10**6 if instants.unit == "us" else 10**9
        first, last = (_from_count(ends[end], per_second) for end in ("min", "max"))
        keys = [name for name in table.column_names if name != time_column]
        return RetrievalMetadata(self._feature_refs, keys, first, last)

    @cached_property
    def _frame(self) -> EntityFrame:
        return self._read_frame()

    def _wide_table(self) -> pa.Table:
        """Entity columns and, behind them, each view's features in the order asked for."""
        pointers = self.to_pointers()
        columns: dict[str, Any] = dict(
            zip(pointers.entity.column_names, pointers.entity.columns, strict=True)
        )
        for request in self._requests:
            gathered = pointers.views[request.name].gather()
            for feature in gathered.column_names:
                shown = f"{request.prefix}__{feature}" if self._full_feature_names else feature
                if shown in columns:
                    raise ValueError(
                        f"'{shown}' of view '{request.name}' is already a column of the result; "
                        f"rename that entity column or ask with full_feature_names=True"
                    )
                columns[shown] = gathered.column(feature)
        return pa.table(columns).combine_chunks()


def _from_count(count: int | None, per_second: int) -> datetime | None:
    return None if count is None else datetime.fromtimestamp(count / per_second, tz=UTC)
