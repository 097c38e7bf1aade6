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

from feature_repo.plugins.as_of import CREATED, KEY, TIME, AsOf, match_rows
from feature_repo.plugins.entity_frame import EntityFrame
from feature_repo.plugins.instants import finest, in_units, read_instants
from feature_repo.plugins.join_keys import KeyColumn, encode_keys
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
    # One read for keys and features: a file replaced between two reads would shift the numbers.
    what = f"view '{request.name}'"
    rows = read_columns(open_source(request.source, repo_path), request.source_columns, what)
    features = pa.table({name: rows.column(column) for column, name in request.features})
    return ViewPointers(match_view(connection, frame, request, rows, created_cutoff), features)


def match_view(
    connection: duckdb.DuckDBPyConnection,
    frame: EntityFrame,
    request: ViewRequest,
    rows: pa.Table,
    created_cutoff: bool,
) -> npt.NDArray[np.int64]:
    """Number of the row of `rows` that each label sees [num_labels], -1 for none.

    rows: at least the request's key, time and created columns, under the source's names.
    """
    label_keys, row_keys = encode_keys(
        [
            KeyColumn(label_column, frame.key(label_column, request.name), rows.column(column))
            for column, label_column in request.keys
        ],
        frame.table.num_rows,
        rows.num_rows,
    )
    at = read_instants(frame.table.column(frame.time_column), "the entity frame's time column")
    times = {
        name: read_instants(rows.column(column), f"view '{request.name}', {column}")
        for name, column in ((TIME, request.time_column), (CREATED, request.created_column))
        if column
    }
    unit = finest(at, *times.values())
    labels = pa.table({KEY: label_keys, TIME: at.in_unit(unit)})
    view = pa.table({KEY: row_keys, **{name: it.in_unit(unit) for name, it in times.items()}})
    as_of = AsOf(ttl=in_units(request.ttl, unit), created_cutoff=created_cutoff)
    return match_rows(connection, labels, view, as_of)
