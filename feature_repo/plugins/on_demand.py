"""On-demand features of a part of the rows, so that each worker computes its own.

In: a joined table and on-demand views. Out: the table with their features behind, in the types that
the views declare, because parts must agree in them. The computing is Feast's.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
import pyarrow as pa
from feast.infra.offline_stores.offline_store import RetrievalJob, RetrievalMetadata
from feast.on_demand_feature_view import OnDemandFeatureView
from feast.type_map import feast_value_type_to_pa


@dataclass(frozen=True)
class OnDemand:
    """What a retrieval asks of on-demand views."""

    views: Sequence[OnDemandFeatureView]
    feature_refs: Sequence[str]
    full_feature_names: bool

    def add_to(self, table: pa.Table) -> pa.Table:
        """The table with the on-demand features that were asked for."""
        added = _Joined(table, self).to_arrow()
        types = self._types()
        columns = {
            name: column.cast(types[name], safe=False) if name in types else column
            for name, column in zip(added.column_names, added.columns, strict=True)
            if name in table.column_names or name in types
        }
        return pa.table(columns)

    def _types(self) -> dict[str, pa.DataType]:
        types = {}
        for view in self.views:
            name = view.projection.name_to_use()
            prefix = f"{name}__" if self.full_feature_names else ""
            for feature in view.features:
                types[f"{prefix}{feature.name}"] = feast_value_type_to_pa(
                    feature.dtype.to_value_type()
                )
        return types


class _Joined(RetrievalJob):  # type: ignore[misc]  # Feast is untyped
    """A join that is done: Feast adds on-demand features to what it holds."""

    def __init__(self, table: pa.Table, asked: OnDemand) -> None:
        super().__init__()
        self._table = table
        self._asked = asked

    def _to_arrow_internal(self, timeout: int | None = None) -> pa.Table:
        return self._table

    def _to_df_internal(self, timeout: int | None = None) -> pd.DataFrame:
        frame: pd.DataFrame = self._table.to_pandas()
        return frame

    @property
    def full_feature_names(self) -> bool:
        return self._asked.full_feature_names

    @property
    def on_demand_feature_views(self) -> list[OnDemandFeatureView]:
        return list(self._asked.views)

    @property
    def metadata(self) -> RetrievalMetadata:
        return RetrievalMetadata(list(self._asked.feature_refs), [])
