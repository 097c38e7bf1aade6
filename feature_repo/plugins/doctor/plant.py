"""Cases as real Feast objects: a Parquet file, a feature view over it, an entity frame.

In: a case in the oracle's small numbers and the shape of a view. Out: what Feast needs to be asked.
Values are made from those numbers, in the types that the view declares.
"""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from feast import Entity, FeatureService, FeatureView, Field, FileSource
from feast.data_format import ParquetFormat
from feast.types import (
    Bytes,
    FeastType,
    ImageBytes,
    Int64,
    PdfBytes,
    TimeUuid,
    Uuid,
    from_feast_to_pyarrow_type,
)

from feature_repo.plugins.doctor.cases import Case
from feature_repo.plugins.doctor.views import CheckedView, Shape
from feature_repo.plugins.oracle import Label

START = datetime(2000, 1, 1, tzinfo=UTC)
LABEL = "doctor_label"
ROW = "doctor_row"
MAPPED = "doctor_mapped_key"
_INSTANT = pa.timestamp("us", "UTC")


@dataclass(frozen=True)
class Planted:
    """One planted view and the case it is for."""

    case: Case
    shape: Shape
    view: FeatureView
    features: tuple[str, ...]
    """Names asked for; the first is the row number."""

    @property
    def key_columns(self) -> tuple[str, ...]:
        """Where the labels carry this view's keys."""
        names = self.shape.key_names
        return (MAPPED, *names[1:]) if self.case.mapped_key else names

    def service(self) -> FeatureService:
        """What is asked for: this view, under the case's join-key map."""
        keys = {self.shape.key_names[0]: MAPPED} if self.case.mapped_key else {}
        view = self.view.with_join_key_map(keys) if keys else self.view
        return FeatureService(name=f"of_{self.view.name}", features=[view])

    def entities(self) -> list[Entity]:
        """The entities of the view."""
        return [_entity(key, kind) for key, kind in self.shape.keys]


def plant(case: Case, shape: Shape, name: str, folder: Path) -> Planted:
    """A view of this shape, named `name`, that holds the case's rows and their numbers."""
    return _planted(case, shape, name, folder, ((ROW, Int64),), ())


def plant_features(case: Case, view: CheckedView, name: str, folder: Path) -> Planted:
    """The same with the view's own features beside the row number, as far as they can be made."""
    features = [(feature, kind) for feature, kind in view.features if can_plant(kind)]
    return _planted(case, view.shape, name, folder, ((ROW, Int64), *features), view.renamed)


def can_plant(kind: FeastType) -> bool:
    """Whether there is an Arrow type for it."""
    try:
        _arrow_type(kind)
    except ValueError:
        return False
    return True


def entity_frame(planted: Sequence[Planted]) -> pd.DataFrame:
    """The labels of views that are asked together, numbered in the order given."""
    labels = planted[0].case.labels
    columns: dict[str, Any] = {}
    for one in planted:
        for place, column in enumerate(one.key_columns):
            numbers = [label.keys[place] for label in one.case.labels]
            columns[column] = _values(numbers, one.shape.keys[place][1])
    columns["event_timestamp"] = _instants([label.at for label in labels])
    columns[LABEL] = pa.array(range(len(labels)), pa.int64())
    table = pa.table(columns)
    frame: pd.DataFrame = table.to_pandas()
    for column in table.column_names:
        # pandas would make whole numbers with a null among them floats.
        if pa.types.is_integer(table.schema.field(column).type) and table[column].null_count:
            frame[column] = pd.array(table[column].to_pylist(), dtype="Int64")
    return frame.astype({"event_timestamp": "datetime64[ns, UTC]"})


def entity_sql(planted: Planted) -> str:
    """The labels as a SELECT without a table, which every SQL engine can run."""
    return " UNION ALL ".join(
        f"SELECT {_key_literals(planted, label)}TIMESTAMPTZ '{_instant(label.at)}' "
        f'AS "event_timestamp", {number} AS "{LABEL}"'
        for number, label in enumerate(planted.case.labels)
    )


def key_values(planted: Planted, label: Label) -> list[Any]:
    """The label's keys as they stand in the entity frame."""
    kinds = [kind for _, kind in planted.shape.keys]
    return [_value(number, kind) for number, kind in zip(label.keys, kinds, strict=True)]


def _key_literals(planted: Planted, label: Label) -> str:
    values = zip(planted.key_columns, key_values(planted, label), strict=True)
    return "".join(
        f'{value if isinstance(value, int) else repr(str(value))} AS "{column}", '
        for column, value in values
    )


def _planted(
    case: Case,
    shape: Shape,
    name: str,
    folder: Path,
    features: Sequence[tuple[str, FeastType]],
    renamed: Sequence[tuple[str, str]],
) -> Planted:
    mapping = dict([*shape.renamed, *renamed])
    in_source = {shown: column for column, shown in mapping.items()}
    columns: dict[str, pa.Array] = {}
    for place, (key, kind) in enumerate(shape.keys):
        columns[key] = _values([row.keys[place] for row in case.rows], kind)
    for feature, kind in features:
        columns[feature] = _values(range(len(case.rows)), kind)
    columns[shape.time_column] = _instants([row.at for row in case.rows])
    if shape.created_column:
        columns[shape.created_column] = _instants([row.created for row in case.rows])
    path = folder / f"{name}.parquet"
    pq.write_table(
        pa.table({in_source.get(shown, shown): column for shown, column in columns.items()}), path
    )
    view = FeatureView(
        name=name,
        entities=[_entity(key, kind) for key, kind in shape.keys],
        ttl=shape.ttl,
        schema=[Field(name=shown, dtype=kind) for shown, kind in (*shape.keys, *features)],
        source=FileSource(
            path=str(path),
            file_format=ParquetFormat(),
            timestamp_field=shape.time_column,
            created_timestamp_column=shape.created_column or "",
            field_mapping=mapping,
        ),
        online=False,
    )
    return Planted(case, shape, view, tuple(feature for feature, _ in features))


def _entity(key: str, kind: FeastType) -> Entity:
    return Entity(name=f"doctor_{key}_{kind}", join_keys=[key], value_type=kind.to_value_type())


def _values(numbers: Sequence[Any], kind: FeastType) -> pa.Array:
    return pa.array([_value(number, kind) for number in numbers], _arrow_type(kind))


def _value(number: Any, kind: FeastType) -> Any:
    if kind in (Uuid, TimeUuid) and number is not None:
        return str(uuid.UUID(int=number))
    return _arrow_value(number, _arrow_type(kind))


def _arrow_type(kind: FeastType) -> pa.DataType:
    return (
        pa.binary() if kind in (Bytes, PdfBytes, ImageBytes) else from_feast_to_pyarrow_type(kind)
    )


def _arrow_value(number: Any, kind: pa.DataType) -> Any:
    """The number as a value of this type, another one for another number (truth values aside)."""
    if number is None:
        return None
    if pa.types.is_list(kind):
        return [_arrow_value(number, kind.value_type)]
    if pa.types.is_struct(kind):
        return {field.name: _arrow_value(number, field.type) for field in kind}
    if pa.types.is_map(kind):
        return [("key", str(number))]
    if pa.types.is_timestamp(kind):
        return START + timedelta(seconds=number)
    if pa.types.is_boolean(kind):
        return bool(number % 2)
    if pa.types.is_binary(kind):
        return str(number).encode()
    # Digits are good text, good JSON and a good decimal.
    return str(number) if pa.types.is_string(kind) or pa.types.is_large_string(kind) else number


def _instants(counts: Sequence[int | None]) -> pa.Array:
    return pa.array([_instant(count) for count in counts], _INSTANT)


def _instant(count: int | None) -> datetime | None:
    return None if count is None else START + timedelta(microseconds=count)
