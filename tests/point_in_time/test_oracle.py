"""The join equals the oracle on generated views and labels: ties, nulls, several keys, ttl, created
times, any file order. Instants lie close together, so that most cases have ties and near misses."""

from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from feast import Entity, FeatureStore
from hypothesis import example, given, settings
from hypothesis import strategies as st

from feature_repo.plugins.as_of import (
    NEVER,
    AsOf,
    Axis,
    Integers,
    ViewRows,
    latest_rows,
    match_rows,
)
from feature_repo.plugins.join_keys import KeyColumn, encode_keys, plain_keys
from feature_repo.plugins.oracle import Label, Row, oracle
from tests.point_in_time.stores import at, item, open_store, user, view_of

_INSTANTS = st.one_of(st.none(), st.integers(0, 8))
_NAMES = st.sampled_from(["a", "b", "ab", None])
_USERS, _ITEMS, _HOURS = st.sampled_from("ab"), st.sampled_from("xy"), st.integers(0, 6)
_NUMBERS = st.sampled_from([0, 1, 2**40, None])


@st.composite
def worlds(draw: st.DrawFn) -> tuple[list[Label], list[Row], bool]:
    """Labels and rows with the same kinds of keys; whether rows carry a created time."""
    kinds = draw(st.lists(st.sampled_from([_NAMES, _NUMBERS]), max_size=3))
    keys = st.tuples(*kinds)
    labels = draw(st.lists(st.builds(Label, keys, _INSTANTS), max_size=12))
    rows = draw(st.lists(st.builds(Row, keys, _INSTANTS, _INSTANTS), max_size=16))
    return labels, rows, draw(st.booleans())


def _columns(records: list[Any], number: int) -> list[pa.Array]:
    columns = ([record.keys[i] for record in records] for i in range(number))
    return [plain_keys(pa.chunked_array([pa.array(column)])) for column in columns]


def _instants(instants: list[int | None], scale: int) -> Integers:
    return np.array([NEVER if at is None else at * scale for at in instants], np.int64)


def _encoded(
    labels: list[Label], rows: list[Row], has_created: bool, scale: int = 1
) -> tuple[Integers, Integers, ViewRows]:
    """The labels' keys and instants, and the view, as the join reads them."""
    number = len((labels or rows)[0].keys) if labels or rows else 0
    pairs = zip(_columns(labels, number), _columns(rows, number), strict=True)
    keys = [KeyColumn(f"key {i}", *pair) for i, pair in enumerate(pairs)]
    codes = encode_keys(keys, len(labels), len(rows))
    created = _instants([row.created for row in rows], scale) if has_created else None
    view = ViewRows(codes.rows, codes.size, _instants([row.at for row in rows], scale), created)
    return codes.labels[:], _instants([label.at for label in labels], scale), view


@settings(max_examples=3_000, deadline=None, derandomize=True)
@given(
    worlds(),
    st.one_of(st.none(), st.integers(0, 5)),
    st.booleans(),
    # Instants near together, seconds apart, and too far apart for one integer with the key.
    st.sampled_from([1, 1_000_000, 10**18 + 1]),
)
@example(
    # A late arrival with an older time must not hide the newer row.
    ([Label(("a",), 6)], [Row(("a",), 4, 4), Row(("a",), 3, 5)], True),
    None,
    True,
    1,
)
def test_join_equals_the_oracle(
    world: tuple[list[Label], list[Row], bool],
    ttl: int | None,
    created_cutoff: bool,
    scale: int,
) -> None:
    labels, rows, has_created = world
    if not has_created:
        # Without a created column there is nothing to cut off.
        rows = [row._replace(created=0) for row in rows]
    keys, at, view = _encoded(labels, rows, has_created, scale)
    found = match_rows(keys, at, view, AsOf(None if ttl is None else ttl * scale, created_cutoff))
    assert found.tolist() == [oracle(label, rows, ttl, created_cutoff) for label in labels]


@settings(max_examples=1_000, deadline=None, derandomize=True)
@given(worlds())
def test_newest_rows_are_those_that_a_label_at_the_end_sees(
    world: tuple[list[Label], list[Row], bool],
) -> None:
    _, rows, has_created = world
    rows = [row for row in rows if None not in row.keys]
    if not has_created:
        rows = [row._replace(created=0) for row in rows]
    _, _, view = _encoded([], rows, has_created)
    expected = {oracle(Label(keys, 100), rows) for keys in {row.keys for row in rows}}
    assert latest_rows(view).tolist() == sorted(expected - {-1})


@pytest.mark.parametrize("in_time_order", [False, True])
@pytest.mark.parametrize("apart", [1, 10**6, 10**12 + 7])
@pytest.mark.parametrize("num_keys", [6_000, 200_000])
def test_a_large_join_equals_duckdbs(apart: int, in_time_order: bool, num_keys: int) -> None:
    """Many slices, few and many keys, instants in all three packings, in order of time or not."""
    random = np.random.default_rng(7)
    keys, at = random.integers(0, num_keys, 60_000), random.permutation(10**6)[:60_000] * apart
    asked, asked_at = random.integers(-1, num_keys, 700_000), random.integers(0, 10**6, 700_000)
    asked_at *= apart
    if in_time_order:
        at, asked_at = np.sort(at), np.sort(asked_at)
    view = ViewRows(keys, num_keys, at)
    found = match_rows(asked, asked_at, view, AsOf(ttl=20_000 * apart), threads=3)
    labels = pa.table({"k": asked, "t": asked_at, "n": np.arange(len(asked))})
    rows = pa.table({"k": keys, "t": at, "row": np.arange(len(keys))})
    with duckdb.connect() as connection:
        connection.register("labels", labels)
        connection.register("rows", rows)
        expected = connection.execute(
            "SET asof_loop_join_threshold = 0;"
            f"SELECT if(labels.t - rows.t <= {20_000 * apart}, row, -1) AS row FROM labels "
            "ASOF LEFT JOIN rows ON labels.k = rows.k AND labels.t >= rows.t ORDER BY n"
        ).to_arrow_table()
    assert np.array_equal(found, expected.column("row").fill_null(-1).to_numpy())


# Years apart and within a microsecond of one another, so that no coarser step will do.
_MOMENTS = st.builds(lambda far, near: far * 2**57 + near, st.integers(-9, 9), st.integers(-2, 2))


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.lists(_MOMENTS, min_size=1), st.lists(st.integers(NEVER, -NEVER - 1), max_size=3))
def test_positions_keep_the_order_of_instants(known: list[int], others: list[int]) -> None:
    axis = Axis.build(np.array(known), num_keys=10)
    own = axis.positions(np.array(known))
    assert own.max() < axis.width
    asked = [it + step for it in known for step in (-1, 0, 1)] + others
    for instant, position in zip(asked, axis.positions(np.array(asked)), strict=True):
        assert (own <= position).tolist() == [it <= instant for it in known]


_VIEWS: dict[str, list[Entity]] = {"u": [user], "i": [item], "ui": [item, user], "none": []}


@pytest.fixture(scope="module", params=[None, 2])
def stored(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[FeatureStore, Path, int | None]:
    """One view by user, one by item, one by both, one by nobody, of one file; its ttl in hours."""
    folder = tmp_path_factory.mktemp("store")
    ttl = None if request.param is None else at(request.param) - at(0)
    views = [
        view_of(
            folder, name, _rows_table([]), entities, ttl=ttl, created_timestamp_column="created"
        )
        for name, entities in _VIEWS.items()
    ]
    return open_store(folder, user, item, *views), folder, request.param


def _rows_table(rows: list[tuple[str, str, int, int]]) -> pa.Table:
    instant = pa.timestamp("us", "UTC")
    return pa.table(
        {
            "user_id": pa.array([row[0] for row in rows], pa.string()),
            "item_id": pa.array([row[1] for row in rows], pa.string()),
            "at": pa.array([at(row[2]) for row in rows], instant),
            "created": pa.array([at(row[3]) for row in rows], instant),
            "value": pa.array(range(len(rows)), pa.float64()),
        }
    )


@settings(max_examples=30, deadline=None, derandomize=True)
@given(
    st.lists(st.tuples(_USERS, _ITEMS, _HOURS), max_size=9),
    st.lists(st.tuples(_USERS, _ITEMS, _HOURS, _HOURS), max_size=9),
    st.booleans(),
)
def test_the_store_equals_the_oracle(
    stored: tuple[FeatureStore, Path, int | None],
    labels: list[tuple[str, str, int]],
    rows: list[tuple[str, str, int, int]],
    created_cutoff: bool,
) -> None:
    """From Parquet to data frame: every label once, in order, with what it sees of each view."""
    store, folder, ttl = stored
    for name in _VIEWS:
        pq.write_table(_rows_table(rows), folder / f"{name}.parquet")
    asked = _rows_table([(*label, 0) for label in labels]).drop_columns(["created", "value"])
    job = store.get_historical_features(
        asked.rename_columns(["user_id", "item_id", "event_timestamp"]).to_pandas(),
        [f"{name}:value" for name in _VIEWS],
        full_feature_names=True,
        filter_by_created_timestamp=created_cutoff,
    )
    result, pointers = job.to_df(), job.to_pointers()
    assert result["user_id"].tolist() == [label[0] for label in labels]
    for name, entities in _VIEWS.items():
        places = [{user: 0, item: 1}[entity] for entity in entities]
        expected = [
            oracle(
                Label(tuple(label[place] for place in places), label[2]),
                [Row(tuple(row[place] for place in places), row[2], row[3]) for row in rows],
                ttl,
                created_cutoff,
            )
            for label in labels
        ]
        assert result[f"{name}__value"].fillna(-1).tolist() == expected
        assert pointers.views[name].rows.tolist() == expected
