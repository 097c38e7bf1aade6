"""Views of any Feast repo, reduced to what a point-in-time join can get wrong.

In: an open FeatureStore. Out: CheckedViews; those of one Shape are joined alike, so that planting
the cases once speaks for all of them. Reads definitions only, never data.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from feast import FeatureStore, FeatureView
from feast.data_source import DataSource
from feast.types import FeastType, Invalid, String, from_value_type

_LONGEST_TTL = timedelta(days=36_500)  # beyond it instants leave what nanoseconds can hold
_US = timedelta(microseconds=1)


class Refusal(ValueError):
    """Why a repo cannot be checked, with the command that helps."""


@dataclass(frozen=True)
class Shape:
    """What decides how rows of a view are matched. Names are the view's own."""

    keys: tuple[tuple[str, FeastType], ...]
    """Join keys and their types; empty for a view without entity."""
    ttl: timedelta | None
    time_column: str
    created_column: str | None
    renamed: tuple[tuple[str, str], ...]
    """Field mapping of keys and times: (name in the source, name outside)."""

    @property
    def key_names(self) -> tuple[str, ...]:
        """Join keys without their types."""
        return tuple(name for name, _ in self.keys)

    @property
    def ttl_us(self) -> int | None:
        """ttl in microseconds; None where rows never expire within a century."""
        return self.ttl // _US if self.ttl and self.ttl < _LONGEST_TTL else None

    def describe(self) -> str:
        """One line for the report."""
        keys = ", ".join(f"{name} ({kind})" for name, kind in self.keys)
        ttl = f"ttl {self.ttl}".removesuffix(", 0:00:00") if self.ttl else "no ttl"
        created = f"created column '{self.created_column}'" if self.created_column else "no created"
        mapped = ", mapped names" if self.renamed else ""
        return f"by {keys or 'nobody (no entity)'}; {ttl}; {created}{mapped}"


@dataclass(frozen=True)
class CheckedView:
    """A view with its shape and its features."""

    name: str
    shape: Shape
    features: tuple[tuple[str, FeastType], ...]
    renamed: tuple[tuple[str, str], ...]
    """Field mapping of features: (name in the source, name outside)."""
    source: DataSource
    served_online: bool


def read_views(store: FeatureStore, wanted: Sequence[str]) -> list[CheckedView]:
    """The repo's views that have a history, sorted by name; `wanted` restricts them.

    Refusal if a wanted view is not in the registry.
    """
    found = {view.name: view for view in store.list_batch_feature_views()}
    found |= {view.name: view for view in store.list_stream_feature_views()}
    missing = sorted(set(wanted) - found.keys())
    if missing:
        raise Refusal(
            f"no view named {missing} in the registry (has: {sorted(found)}); correct --view, or "
            f"run `feast apply`"
        )
    names = sorted(set(wanted) or found)
    return [_checked(store, found[name]) for name in names if found[name].batch_source]


def _checked(store: FeatureStore, view: FeatureView) -> CheckedView:
    source = view.batch_source
    keys = tuple(_key(store, view, entity) for entity in view.entities)
    times = (source.timestamp_field, source.created_timestamp_column)
    of_join = {*(name for name, _ in keys), *times}
    mapping = sorted(source.field_mapping.items())
    shape = Shape(
        keys=keys,
        ttl=view.ttl or None,
        time_column=source.timestamp_field,
        created_column=source.created_timestamp_column or None,
        renamed=tuple(pair for pair in mapping if of_join.intersection(pair)),
    )
    return CheckedView(
        name=view.name,
        shape=shape,
        features=tuple((field.name, field.dtype) for field in view.features),
        renamed=tuple(pair for pair in mapping if not of_join.intersection(pair)),
        source=source,
        served_online=view.online,
    )


def _key(store: FeatureStore, view: FeatureView, entity_name: str) -> tuple[str, FeastType]:
    """Join key of an entity and its type; text where nobody said it."""
    entity = store.get_entity(entity_name)
    declared = {field.name: field.dtype for field in view.entity_columns}
    kind = declared.get(entity.join_key, Invalid)
    if kind == Invalid:
        kind = from_value_type(entity.value_type)
    return entity.join_key, String if kind == Invalid else kind
