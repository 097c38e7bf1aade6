"""Rows of one source within a span of time: what `feast materialize` writes to the online store.

In: a data source and the names of its columns. Out: one Arrow table in one chunk, because Feast's
writer takes only the first.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from feast.data_source import DataSource
from feast.feature_view import DUMMY_ENTITY_ID, DUMMY_ENTITY_VAL

from feature_repo.plugins.as_of import NEVER, NO_KEY, ViewRows, latest_rows
from feature_repo.plugins.instants import Instants, finest, read_instants
from feature_repo.plugins.join_keys import KeyColumn, encode_keys, plain_keys
from feature_repo.plugins.source_table import open_source, read_columns


@dataclass(frozen=True)
class Span:
    """What to pull. All names are the source's own."""

    source: DataSource
    keys: Sequence[str]
    features: Sequence[str]
    """No feature means every column, as in Feast's other stores."""
    time_column: str
    created_column: str | None
    start: datetime | None
    """First instant wanted; without a zone it is UTC."""
    end: datetime | None
    """Last instant wanted."""


def pull_all(span: Span, repo_path: str) -> pa.Table:
    """Every row of the span, in file order."""
    table, at, _ = _read(span, repo_path)
    return _with_dummy_key(table.filter(_within(span, at)).combine_chunks(), span)


def pull_latest(span: Span, repo_path: str) -> pa.Table:
    """The newest row of the span for each key; of equal instants the newest created."""
    table, at, created = _read(span, repo_path)
    unit = finest(at, *created)
    within = _within(span, at)
    inside = table.filter(within)
    keys = [KeyColumn(key, *[plain_keys(inside.column(key))] * 2) for key in span.keys]
    codes = encode_keys(keys, inside.num_rows, inside.num_rows)
    view = ViewRows(
        # Rows without a key are those of one key: nobody's, but Feast's other stores pull them.
        np.where(codes.rows == NO_KEY, codes.size, codes.rows),
        codes.size + 1,
        *(
            times.in_unit(unit).filter(within).fill_null(NEVER).to_numpy()
            for times in (at, *created)
        ),
    )
    newest = inside.take(pa.array(latest_rows(view)))
    return _with_dummy_key(newest.combine_chunks(), span)


def _read(span: Span, repo_path: str) -> tuple[pa.Table, Instants, list[Instants]]:
    """The source's columns, their instants, and the created instants where there are any."""
    dataset = open_source(span.source, repo_path)
    times = [span.time_column, *([span.created_column] if span.created_column else [])]
    features = span.features or [name for name in dataset.schema.names if name not in times]
    what = f"source '{span.source.name}'"
    table = read_columns(dataset, [*span.keys, *features, *times], what)
    at, *created = (read_instants(table.column(name), f"{what}, {name}") for name in times)
    return table, at, created


def _within(span: Span, at: Instants) -> pa.Array:
    inside = pc.is_valid(at.counts)
    if span.start:
        inside = pc.and_(inside, pc.greater_equal(at.counts, _count(span.start, at)))
    if span.end:
        inside = pc.and_(inside, pc.less_equal(at.counts, _count(span.end, at)))
    return pc.fill_null(inside, False)


def _count(at: datetime, like: Instants) -> int:
    aware = at if at.tzinfo else at.replace(tzinfo=UTC)
    return int(pa.scalar(aware, pa.timestamp(like.unit, "UTC")).cast(pa.int64()).as_py())


def _with_dummy_key(table: pa.Table, span: Span) -> pa.Table:
    """A view without entity has one online row, under the key that Feast looks up for it."""
    if span.keys:
        return table
    return table.append_column(DUMMY_ENTITY_ID, pa.array([DUMMY_ENTITY_VAL] * table.num_rows))
