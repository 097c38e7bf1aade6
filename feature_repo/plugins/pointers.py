"""Join pointers: per label and view the number of the matching feature row, and the rows once.

In: an entity frame and view requests. Out: Pointers, and from them the wide table that Feast
returns. Training gathers by number and never builds the wide table.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from feature_repo.plugins.as_of import CREATED, TIME, AsOf, match_rows
from feature_repo.plugins.entity_frame import EntityFrame
from feature_repo.plugins.instants import finest, read_instants
from feature_repo.plugins.source_table import open_source, read_columns
from feature_repo.plugins.view_request import ViewRequest


@dataclass(frozen=True)
class ViewPointers:
    """One view's side of the join."""

    rows: npt.NDArray[np.int64]
    """Number of the feature row that each label sees [num_labels]; -1 for none."""
    features: pa.Table
    """The view's requested features under their own names, one chunk; row i is what i means."""

    def gather(self) -> pa.Table:
        """Each label's feature values [num_labels], null where there is no row."""
        return self.features.take(pa.array(self.rows, mask=self.rows < 0))


@dataclass(frozen=True)
class Pointers:
    """A point-in-time join that has copied no feature."""

    entity: pa.Table
    """The entity frame, in the order given."""
    views: Mapping[str, ViewPointers]
    """By the name that references use (the alias where there is one)."""


def join_views(
    connection: duckdb.DuckDBPyConnection,
    frame: EntityFrame,
    requests: Sequence[ViewRequest],
    repo_path: str,
    created_cutoff: bool,
) -> Pointers:
    """As-of join of each view to the frame, one after another, so that memory is one view's."""
    views = {
        request.name: _join_view(connection, frame, request, repo_path, created_cutoff)
        for request in requests
    }
    return Pointers(frame.table, views)


def _join_view(
    connection: duckdb.DuckDBPyConnection,
    frame: EntityFrame,
    request: ViewRequest,
    repo_path: str,
    created_cutoff: bool,
) -> ViewPointers:
    what = f"view '{request.name}'"
    # One read for keys and features: a file replaced between two reads would shift the numbers.
    rows = read_columns(open_source(request.source, repo_path), request.source_columns, what)
    at = read_instants(frame.table.column(frame.time_column), "the entity frame's time column")
    seen_at = read_instants(rows.column(request.time_column), f"{what}, {request.time_column}")
    columns = {TIME: seen_at}
    if request.created_column:
        created = rows.column(request.created_column)
        columns[CREATED] = read_instants(created, f"{what}, {request.created_column}")
    unit = finest(at, *columns.values())
    as_of = AsOf(
        num_keys=len(request.keys),
        has_created=CREATED in columns,
        created_cutoff=created_cutoff,
        ttl=_ttl_count(request, unit),
    )
    label_keys, view_keys = _key_columns(frame, rows, request)
    labels = pa.table({**label_keys, TIME: at.in_unit(unit)})
    view = pa.table({**view_keys, **{name: it.in_unit(unit) for name, it in columns.items()}})
    features = pa.table({name: rows.column(column) for column, name in request.features})
    return ViewPointers(match_rows(connection, labels, view, as_of), features)


def _ttl_count(request: ViewRequest, unit: str) -> int | None:
    if request.ttl is None:
        return None
    micros = (request.ttl.days * 86_400 + request.ttl.seconds) * 10**6 + request.ttl.microseconds
    return micros * (1000 if unit == "ns" else 1)


def _key_columns(
    frame: EntityFrame, rows: pa.Table, request: ViewRequest
) -> tuple[dict[str, pa.ChunkedArray], dict[str, pa.ChunkedArray]]:
    """Join keys of labels and view as k0, k1, ...; refuses to compare text with numbers."""
    label_keys, view_keys = {}, {}
    for number, (source_column, label_column) in enumerate(request.keys):
        ours, theirs = frame.key(label_column, request.name), rows.column(source_column)
        if _is_text(ours.type) != _is_text(theirs.type) and not _has_null(ours, theirs):
            raise ValueError(
                f"join key '{label_column}' is {ours.type} in the entity frame and "
                f"{theirs.type} in view '{request.name}'; convert one of them"
            )
        label_keys[f"k{number}"], view_keys[f"k{number}"] = ours, theirs
    return label_keys, view_keys


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _has_null(*columns: pa.ChunkedArray) -> bool:
    """Whether a column has no values at all, so that its type says nothing."""
    return any(pa.types.is_null(column.type) for column in columns)
