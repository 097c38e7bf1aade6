"""Join pointers: per label and view the number of the matching feature row, and the rows once.

In: an entity frame and view requests. Out: Pointers, and from them the wide table that Feast
returns. Training gathers by number and never builds the wide table.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import pyarrow as pa

from feature_repo.plugins import as_of
from feature_repo.plugins.entity_frame import EntityFrame
from feature_repo.plugins.feature_rows import FeatureRows
from feature_repo.plugins.instants import Instants, read_instants
from feature_repo.plugins.join_keys import KeyColumn, plain_keys
from feature_repo.plugins.keyed_join import KeyedJoin
from feature_repo.plugins.source_table import check_columns, open_source, with_dictionaries
from feature_repo.plugins.view_request import ViewRequest

VIEWS_AT_ONCE = 2
"""While one is read and sorted, which is one thread's work, labels are searched in the other."""


@dataclass(frozen=True)
class ViewPointers:
    """One view's side of the join."""

    rows: as_of.Pointers
    """Number of the feature row that each label sees [num_labels]; -1 for none. int32, or int64
    for a view of more rows than that can count."""
    source: FeatureRows

    @property
    def features(self) -> pa.Table:
        """The view's requested features under their own names; row i is what i means.

        Memory-mapped, in as many chunks as the source was read in; made at the first use.
        """
        return self.source.mapped

    def gather(self) -> pa.Table:
        """Each label's feature values [num_labels], null where there is no row."""
        return self.source.read().take(pa.array(self.rows, mask=self.rows < 0))


@dataclass(frozen=True)
class Pointers:
    """A point-in-time join that has copied no feature."""

    entity: pa.Table
    """The entity frame, in the order given."""
    views: Mapping[str, ViewPointers]
    """By the name that references use (the alias where there is one)."""


@dataclass(frozen=True)
class Labels:
    """An entity frame as the join reads it: each column is made ready once for all views."""

    frame: EntityFrame
    at: Instants
    keys: Mapping[str, pa.Array]

    @classmethod
    def of(cls, frame: EntityFrame, requests: Sequence[ViewRequest]) -> "Labels":
        at = read_instants(frame.table.column(frame.time_column), "the entity frame's time column")
        columns = {
            outside: frame.key(outside, request.name)
            for request in requests
            for _, outside in request.keys
        }
        return cls(frame, at, {name: plain_keys(column) for name, column in columns.items()})


@dataclass(frozen=True)
class JoinOptions:
    """How one machine goes about the join."""

    created_cutoff: bool = False
    threads: int | None = None
    """None: one a core."""
    spill_dir: str | None = None
    """Folder of memory-mapped features; None: the system's temporary folder."""


def join_views(
    frame: EntityFrame, requests: Sequence[ViewRequest], repo_path: str, options: JoinOptions
) -> Pointers:
    """As-of join of each view to the frame, two at a time, so that memory is two views'."""
    labels = Labels.of(frame, requests)
    join = partial(_join_view, labels, repo_path, options)
    with ThreadPoolExecutor(min(options.threads or VIEWS_AT_ONCE, VIEWS_AT_ONCE)) as pool:
        views = list(pool.map(join, requests))
    return Pointers(frame.table, {view.name: it for view, it in zip(requests, views, strict=True)})


def _join_view(
    labels: Labels, repo_path: str, options: JoinOptions, request: ViewRequest
) -> ViewPointers:
    what = f"view '{request.name}'"
    dataset = open_source(request.source, repo_path)
    check_columns(dataset, request.source_columns, what)
    # From here on its files may not change: the features are read later, by row number.
    features = FeatureRows(dataset, request.features, what, options.spill_dir)
    keys = [column for column, _ in request.keys]
    rows = with_dictionaries(dataset, keys).to_table(columns=request.join_columns)
    return ViewPointers(_match(labels, request, rows, options), features)


def match_view(
    frame: EntityFrame,
    request: ViewRequest,
    rows: pa.Table,
    created_cutoff: bool,
    threads: int | None = None,
) -> as_of.Pointers:
    """Number of the row of `rows` that each label sees [num_labels], -1 for none.

    rows: at least the request's key, time and created columns, under the source's names.
    """
    labels = Labels.of(frame, [request])
    return _match(labels, request, rows, JoinOptions(created_cutoff, threads))


def _match(
    labels: Labels, request: ViewRequest, rows: pa.Table, options: JoinOptions
) -> as_of.Pointers:
    keys = [
        KeyColumn(outside, labels.keys[outside], plain_keys(rows.column(column)))
        for column, outside in request.keys
    ]
    times = [request.time_column, *([request.created_column] if request.created_column else [])]
    at, *created = (
        read_instants(rows.column(column), f"view '{request.name}', {column}") for column in times
    )
    join = KeyedJoin(
        keys, labels.at, at, created[0] if created else None, request.ttl, options.created_cutoff
    )
    return join.match(options.threads)
