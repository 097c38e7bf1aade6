"""What the store hands back: work that runs when its result is asked for.

In: a function that yields Arrow (or, for a point-in-time join, pointers). Out: Feast's retrieval
jobs, one chunk a column.
"""

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import pandas as pd
import pyarrow as pa
from feast.infra.offline_stores.offline_store import RetrievalJob, RetrievalMetadata
from feast.on_demand_feature_view import OnDemandFeatureView
from feast.saved_dataset import SavedDatasetStorage

from feature_repo.plugins.entity_frame import EntityFrame
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
        write_source([self.to_arrow()], storage.to_data_source(), self._repo_path, allow_overwrite)


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
        frame = self._frame
        keys = [name for name in frame.table.column_names if name != frame.time_column]
        return RetrievalMetadata(self._feature_refs, keys, *(frame.span() or (None, None)))

    @cached_property
    def _frame(self) -> EntityFrame:
        return self._read_frame()

    def _wide_table(self) -> pa.Table:
        """Entity columns and, behind them, each view's features in the order asked for."""
        pointers = self.to_pointers()
        columns: dict[str, Any] = dict(
            zip(pointers.entity.column_names, pointers.entity.columns, strict=True)
        )
        shown = shown_names(pointers.entity.column_names, self._requests, self._full_feature_names)
        for request, names in zip(self._requests, shown, strict=True):
            gathered = pointers.views[request.name].gather()
            columns |= dict(zip(names, gathered.columns, strict=True))
        return pa.table(columns).combine_chunks()


def shown_names(
    entity_columns: Sequence[str], requests: Sequence[ViewRequest], full_feature_names: bool
) -> list[tuple[str, ...]]:
    """What each view's features are called in the result; ValueError if a name is taken."""
    taken = set(entity_columns)
    shown = []
    for request in requests:
        prefix = f"{request.prefix}__" if full_feature_names else ""
        names = tuple(f"{prefix}{feature}" for _, feature in request.features)
        for name in names:
            if name in taken:
                raise ValueError(
                    f"'{name}' of view '{request.name}' is already a column of the result; "
                    f"rename that entity column or ask with full_feature_names=True"
                )
            taken.add(name)
        shown.append(names)
    return shown
