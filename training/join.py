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
# Pairs a request to a store without pointers: such a store may carry every column of a key's whole
# history through its join, so memory grows with slice x history.
SLICE = 20_000
# Brings a slice's rows back into order; stores may return them in any.
PLACE = "potluck_place"


@dataclass(frozen=True)
class ViewRows:
    """One view's features, each row once, and who sees which."""

    features: pa.Table
    """[R], the view's model inputs under their own names, one chunk. May hold rows that no pair
    sees; read it through `rows` only."""
    rows: Ints
    """[n], the row of `features` that a pair sees, -1 where there is none or all of it is null."""


def join_features(
    store: FeatureStore,
    schema: FeatureSchema,
    entity: EntityName,
    ids: Sequence[str] | Ids,
    at_us: Ints,
) -> dict[str, ViewRows]:
    """Features of each (id, instant) [n] by view, as known strictly before the instant.

    Instants are microseconds since 1970. Pairs may repeat; each distinct one is joined once. A
    store whose job has `to_pointers` copies no feature; another is asked in slices and yields a
    copy for each distinct pair.
    """
    if len(ids) != len(at_us):
        raise ValueError(f"{len(ids)} ids were given with {len(at_us)} instants")
    views = schema.of_entity(entity)
    if not views:
        return {}
    distinct_ids, distinct_at_us, pair = distinct(ids, np.asarray(at_us, np.int64))
    frame = entity_frame(views, distinct_ids, distinct_at_us)
    joined = join_frame(store, views, frame)
    return {name: ViewRows(view.features, view.rows[pair]) for name, view in joined.items()}


def distinct(ids: Sequence[str] | Ids, at_us: Ints) -> tuple[Ids, Ints, Ints]:
    """The distinct (id, instant) pairs [m] and, for each given pair, the place of its own [n].

    >>> ids, at_us, pair = distinct(["b", "a", "b"], np.array([5, 5, 5]))
    >>> ids.tolist(), at_us.tolist(), pair.tolist()
    (['b', 'a'], [5, 5], [0, 1, 0])
    """
    id_number, unique_ids = pd.factorize(np.asarray(ids, object))
    at_number, unique_at = pd.factorize(at_us)
    pair, keys = pd.factorize(id_number * max(1, len(unique_at)) + at_number)
    places = np.divmod(keys, max(1, len(unique_at)))
    return np.asarray(unique_ids)[places[0]], np.asarray(unique_at)[places[1]], pair


def entity_frame(views: Sequence[ViewSpec], ids: Ids, at_us: Ints) -> pd.DataFrame:
    """The frame Feast joins to: a column for each join key, and the microsecond before."""
    keys = dict.fromkeys((view.join_key for view in views), ids)
    before = pd.DatetimeIndex((at_us - 1).astype("datetime64[us]")).tz_localize("UTC")
    return pd.DataFrame({**keys, "event_timestamp": before})


def join_frame(
    store: FeatureStore, views: Sequence[ViewSpec], frame: pd.DataFrame
) -> dict[str, ViewRows]:
    """Join the views to a frame [m] without repetitions, by pointers where the store has them."""
    if frame.empty:
        return {view.name: ViewRows(no_rows(view), np.empty(0, np.int64)) for view in views}
    job = request(store, views, frame)
    if not hasattr(job, "to_pointers"):
        return join_in_slices(store, views, frame)
    pointers = job.to_pointers().views
    joined = {}
    for view in views:
        rows, features = pointers[view.name].rows, pointers[view.name].features
        blank = np.append(all_null(features), True)  # row -1 is the last
        joined[view.name] = ViewRows(features, np.where(blank[rows], NO_ROW, rows))
    return joined


def join_in_slices(
    store: FeatureStore, views: Sequence[ViewSpec], frame: pd.DataFrame
) -> dict[str, ViewRows]:
    """The same by copies of the features, a slice of the frame at a time."""
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
    joined = {}
    for name, tables in parts.items():
        features = pa.concat_tables(tables, promote_options="permissive").combine_chunks()
        rows = np.where(all_null(features), NO_ROW, np.arange(len(frame)))
        joined[name] = ViewRows(features, rows)
    return joined


def request(store: FeatureStore, views: Sequence[ViewSpec], frame: pd.DataFrame) -> Any:
    """Feast's retrieval job for the views' model inputs."""
    refs = [f"{view.name}:{field.name}" for view in views for field in view.inputs]
    return store.get_historical_features(entity_df=frame, features=refs, full_feature_names=True)


def all_null(features: pa.Table) -> npt.NDArray[np.bool_]:
    """True for rows [R] without a single value: they say no more than the lack of a row."""
    blank = np.ones(features.num_rows, np.bool_)
    for column in features.columns:
        blank &= np.asarray(pc.is_null(column))
    return blank


def no_rows(view: ViewSpec) -> pa.Table:
    """A table with the view's inputs and no rows."""
    return pa.table({field.name: pa.nulls(0) for field in view.inputs})
