"""What one retrieval asks of one feature view, in the names of its source's columns.

In: Feast's feature view (with its projection) and feature references. Out: a ViewRequest. The
names a view shows can differ from its source's (field mapping), from the labels' (join-key map)
and from its own (alias); this is the one place that resolves them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from feast.data_source import DataSource
from feast.feature_view import DUMMY_ENTITY_ID, FeatureView


@dataclass(frozen=True)
class ViewRequest:
    """One view of a retrieval. Pairs are (name in the source, name outside)."""

    name: str
    """The name that references use: the alias where there is one."""
    prefix: str
    """The name put before features under full feature names."""
    source: DataSource
    keys: tuple[tuple[str, str], ...]
    """(source column, label column); empty for a view without entity."""
    time_column: str
    created_column: str | None
    ttl: timedelta | None
    features: tuple[tuple[str, str], ...]
    """(source column, feature name), in the order asked for."""

    @property
    def join_columns(self) -> list[str]:
        """Every source column that the join itself reads."""
        created = [self.created_column] if self.created_column else []
        columns = [*(column for column, _ in self.keys), self.time_column, *created]
        return list(dict.fromkeys(columns))

    @property
    def source_columns(self) -> list[str]:
        """Every source column that the retrieval reads."""
        return [*self.join_columns, *(column for column, _ in self.features)]


def describe_view(view: FeatureView, feature_refs: Sequence[str]) -> ViewRequest:
    """The request that the references make of this view. A ttl of None or 0 means for ever."""
    source = view.batch_source
    if source is None:
        raise ValueError(f"feature view '{view.name}' has no batch source, so it has no history")
    in_source = {shown: column for column, shown in source.field_mapping.items()}
    name = view.projection.name_to_use()
    renamed = view.projection.join_key_map
    keys = [field.name for field in view.entity_columns if field.name != DUMMY_ENTITY_ID]
    asked = [ref.split(":", 1)[1] for ref in feature_refs if ref.split(":", 1)[0] == name]
    created = source.created_timestamp_column
    return ViewRequest(
        name=name,
        prefix=view.projection.name_alias or view.name,
        source=source,
        keys=tuple((in_source.get(key, key), renamed.get(key, key)) for key in keys),
        time_column=in_source.get(source.timestamp_field, source.timestamp_field),
        created_column=in_source.get(created, created) if created else None,
        ttl=view.ttl if view.ttl else None,
        features=tuple((in_source.get(feature, feature), feature) for feature in asked),
    )
