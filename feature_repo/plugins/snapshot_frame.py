"""The entity frame of a retrieval that has none: everyone who had features lately, as of one day.

In: view requests and two dates. Out: an EntityFrame with one row for each key seen in the span.
Feast's stores read such a request in different ways; this is the snapshot that its file, Spark and
BigQuery stores mean.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pyarrow.compute as pc

from feature_repo.plugins.entity_frame import EntityFrame
from feature_repo.plugins.instants import read_instants
from feature_repo.plugins.source_table import open_source, read_columns
from feature_repo.plugins.view_request import ViewRequest

_DEFAULT_SPAN = timedelta(days=30)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def snapshot_frame(
    requests: Sequence[ViewRequest],
    repo_path: str,
    start: datetime | None,
    end: datetime | None,
) -> EntityFrame:
    """Distinct keys with a row at start <= instant <= end in any view, all dated `end`.

    start None: as far back as the longest ttl, or 30 days where there is none, as in Feast.
    end None: now. Keys are sorted. Views must share their keys.
    """
    until = _aware(end) if end else datetime.now(tz=UTC)
    ttls = [request.ttl for request in requests if request.ttl]
    since = _aware(start) if start else until - max(ttls, default=_DEFAULT_SPAN)
    columns = [label_column for _, label_column in requests[0].keys]
    for request in requests:
        if [label_column for _, label_column in request.keys] != columns:
            raise ValueError(
                f"views '{requests[0].name}' and '{request.name}' have different keys, so there is "
                f"no common set of rows; pass an entity frame or ask for them one by one"
            )
    if not columns:
        return EntityFrame(pa.table({"event_timestamp": _instants(until, 1)}), "event_timestamp")
    seen = pa.concat_tables(
        [_keys_within(request, repo_path, since, until) for request in requests],
        promote_options="permissive",
    )
    keys = seen.group_by(columns).aggregate([]).sort_by([(name, "ascending") for name in columns])
    dated = keys.append_column("event_timestamp", _instants(until, keys.num_rows))
    return EntityFrame(dated, "event_timestamp")


def _instants(at: datetime, count: int) -> pa.Array:
    return pa.array([at] * count, pa.timestamp("us", "UTC"))


def _keys_within(
    request: ViewRequest, repo_path: str, since: datetime, until: datetime
) -> pa.Table:
    what = f"view '{request.name}'"
    source_keys = [column for column, _ in request.keys]
    dataset = open_source(request.source, repo_path)
    table = read_columns(dataset, [*source_keys, request.time_column], what)
    at = read_instants(table.column(request.time_column), f"{what}, {request.time_column}")
    per_us = 1 if at.unit == "us" else 1000
    inside = pc.and_(
        pc.greater_equal(at.counts, _micros(since) * per_us),
        pc.less_equal(at.counts, _micros(until) * per_us),
    )
    keys = table.select(source_keys).rename_columns([column for _, column in request.keys])
    return keys.filter(inside).drop_null()


def _micros(at: datetime) -> int:
    return (at - _EPOCH) // timedelta(microseconds=1)


def _aware(at: datetime) -> datetime:
    return at if at.tzinfo else at.replace(tzinfo=UTC)
