"""Features of users or items as they were known at given instants.

In: a feature store, a schema, ids and instants. Out: for each view of the entity its feature rows,
once, and per (id, instant) the number of the row it sees. Everything goes through Feast's
`get_historical_features`. A feature written at the instant itself is not seen: the join asks for
one microsecond before.
"""

# Shapes: n (id, instant) pairs, m distinct ones, R feature rows

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from feast import FeatureStore

from training.events import Ids, Ints
from training.schema import EntityName, FeatureSchema, ViewSpec

NO_ROW = -1
Rows = npt.NDArray[np.int32] | npt.NDArray[np.int64]
# Pairs a request to a store without pointers: such a store may carry every column of a key's whole
# history through its join, so memory grows with slice x history.
SLICE = 20_000
ROWS_AT_ONCE = 65_536  # feature rows looked at together, however many there are
# Brings a slice's rows back into order; stores may return them in any.
PLACE = "potluck_place"


@dataclass(frozen=True)
class ViewRows:
    """One view's features, each row once, and who sees which."""

    features: pa.Table
    """[R], the view's model inputs under their own names. May be mapped from a file, in many
    chunks, and hold rows that no pair sees: read it a slice at a time, and through `rows` only."""
    rows: Rows
    """[n], the row of `features` that a pair sees, -1 where there is none or all of it is null."""


def join_features(
    store: FeatureStore,
    schema: FeatureSchema,
    entity: EntityName,
    ids: Sequence[str] | Ids,
    at_us: Ints,
) -> dict[str, ViewRows]:
    """Features of each (id, instant) [n] by view, as known strictly before the instant.

    Instants are microseconds since 1970; pairs may repeat. A store whose job has `to_pointers`
    copies no feature; another is asked in slices and yields a copy for each distinct pair.
    """
    if len(ids) != len(at_us):
        raise ValueError(f"{len(ids)} ids were given with {len(at_us)} instants")
    views = schema.of_entity(entity)
    if not len(ids):
        return {view.name: ViewRows(no_rows(view), np.empty(0, np.int64)) for view in views}
    if not views:
        return {}
    ids, at_us = np.asarray(ids, object), np.asarray(at_us, np.int64)
    job = request(store, views, entity_frame(views, ids, at_us))
    if not hasattr(job, "to_pointers"):
        return join_in_slices(store, views, ids, at_us)
    pointers = job.to_pointers().views
    return {
        view.name: without_blanks(pointers[view.name].features, pointers[view.name].rows)
        for view in views
    }


def entity_frame(views: Sequence[ViewSpec], ids: Ids, at_us: Ints) -> pd.DataFrame:
    """The frame Feast joins to: a column for each join key, and the microsecond before."""
    keys = dict.fromkeys((view.join_key for view in views), ids)
    before = pd.DatetimeIndex((at_us - 1).astype("datetime64[us]")).tz_localize("UTC")
    return pd.DataFrame({**keys, "event_timestamp": before})


def join_in_slices(
    store: FeatureStore, views: Sequence[ViewSpec], ids: Ids, at_us: Ints
) -> dict[str, ViewRows]:
    """The same by copies of the features, a slice of the distinct pairs at a time."""
    distinct_ids, distinct_at_us, pair = distinct(ids, at_us)
    frame = entity_frame(views, distinct_ids, distinct_at_us)
    parts: dict[str, list[pa.Table]] = {view.name: [] for view in views}
    for start in range(0, len(frame), SLICE):
        asked = frame.iloc[start : start + SLICE].copy()
        asked[PLACE] = np.arange(len(asked))
        wide = request(store, views, asked).to_arrow().sort_by(PLACE)
        if wide.num_rows != len(asked):
            raise ValueError(
                f"the offline store returned {wide.num_rows} rows for {len(asked)} labels; use "
                "offline_store type feature_repo.plugins.point_in_time.PointInTimeOfflineStore"
            )
        for view in views:
            names = [field.name for field in view.inputs]
            columns = wide.select([f"{view.name}__{name}" for name in names])
            parts[view.name].append(columns.rename_columns(names))
    return {
        name: without_blanks(pa.concat_tables(tables, promote_options="permissive"), pair)
        for name, tables in parts.items()
    }


def distinct(ids: Ids, at_us: Ints) -> tuple[Ids, Ints, Ints]:
    """The distinct (id, instant) pairs [m] and, for each given pair, the place of its own [n].

    >>> ids, at_us, pair = distinct(np.array(["b", "a", "b"], object), np.array([5, 5, 5]))
    >>> ids.tolist(), at_us.tolist(), pair.tolist()
    (['b', 'a'], [5, 5], [0, 1, 0])
    """
    id_number, unique_ids = pd.factorize(ids)
    at_number, unique_at = pd.factorize(at_us)
    pair, keys = pd.factorize(id_number * len(unique_at) + at_number)
    places = np.divmod(keys, len(unique_at))
    return unique_ids[places[0]], unique_at[places[1]], pair


def request(store: FeatureStore, views: Sequence[ViewSpec], frame: pd.DataFrame) -> Any:
    """Feast's retrieval job for the views' model inputs."""
    refs = [f"{view.name}:{field.name}" for view in views for field in view.inputs]
    return store.get_historical_features(entity_df=frame, features=refs, full_feature_names=True)


def without_blanks(features: pa.Table, rows: Rows) -> ViewRows:
    """The rows that pairs see [n], less those without a single value: they say nothing."""
    blank = np.zeros(features.num_rows + 1, np.bool_)  # row -1 is the last
    start = 0
    for batch in features.to_batches(max_chunksize=ROWS_AT_ONCE):
        end = start + batch.num_rows
        blank[start:end] = all_null(batch)
        start = end
    return ViewRows(features, np.where(blank[rows], NO_ROW, rows) if blank.any() else rows)


def all_null(features: pa.RecordBatch) -> npt.NDArray[np.bool_]:
    """True for rows [R] without a single value."""
    blank = np.ones(features.num_rows, np.bool_)
    for column in features.columns:
        blank &= np.asarray(pc.is_null(column))
    return blank


def no_rows(view: ViewSpec) -> pa.Table:
    """A table with the view's inputs and no rows."""
    return pa.table({field.name: pa.nulls(0) for field in view.inputs})
