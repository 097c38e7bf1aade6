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

from feature_repo.plugins.as_of import CREATED, KEY, TIME, AsOf, latest_rows, match_rows
from feature_repo.plugins.join_keys import KeyColumn, encode_keys
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


@pytest.fixture(scope="module")
def connection() -> duckdb.DuckDBPyConnection:
    return duckdb.connect(config={"threads": 2, "preserve_insertion_order": False})


def _columns(records: list[Any], number: int) -> list[pa.ChunkedArray]:
    return [pa.chunked_array([pa.array([r.keys[i] for r in records])]) for i in range(number)]


def _tables(labels: list[Label], rows: list[Row], has_created: bool) -> tuple[pa.Table, pa.Table]:
    number = len((labels or rows)[0].keys) if labels or rows else 0
    pairs = zip(_columns(labels, number), _columns(rows, number), strict=True)
    keys = [KeyColumn(f"key {i}", *pair) for i, pair in enumerate(pairs)]
    label_keys, row_keys = encode_keys(keys, len(labels), len(rows))
    label_at = pa.array([label.at for label in labels], pa.int64())
    view = {KEY: row_keys, TIME: pa.array([row.at for row in rows], pa.int64())}
    if has_created:
        view[CREATED] = pa.array([row.created for row in rows], pa.int64())
    return pa.table({KEY: label_keys, TIME: label_at}), pa.table(view)


@settings(max_examples=400, deadline=None, derandomize=True)
@given(worlds(), st.one_of(st.none(), st.integers(0, 5)), st.booleans())
@example(
    # A late arrival with an older time must not hide the newer row.
    ([Label(("a",), 6)], [Row(("a",), 4, 4), Row(("a",), 3, 5)], True),
    None,
    True,
)
def test_join_equals_the_oracle(
    connection: duckdb.DuckDBPyConnection,
    world: tuple[list[Label], list[Row], bool],
    ttl: int | None,
    created_cutoff: bool,
) -> None:
    labels, rows, has_created = world
    if not has_created:
        # Without a created column there is nothing to cut off.
        rows = [row._replace(created=0) for row in rows]
    label_table, view = _tables(labels, rows, has_created)
    found = match_rows(connection, label_table, view, AsOf(ttl, created_cutoff))
    assert found.tolist() == [oracle(label, rows, ttl, created_cutoff) for label in labels]


@settings(max_examples=200, deadline=None, derandomize=True)
@given(worlds())
def test_newest_rows_are_those_that_a_label_at_the_end_sees(
    connection: duckdb.DuckDBPyConnection, world: tuple[list[Label], list[Row], bool]
) -> None:
    _, rows, has_created = world
    rows = [row for row in rows if None not in row.keys]
    if not has_created:
        rows = [row._replace(created=0) for row in rows]
    _, view = _tables([], rows, has_created)
    expected = {oracle(Label(keys, 100), rows) for keys in {row.keys for row in rows}}
    assert latest_rows(connection, view).tolist() == sorted(expected - {-1})


def test_a_large_join_equals_the_newest_row_at_or_before(
    connection: duckdb.DuckDBPyConnection,
) -> None:
    """Beyond one DuckDB vector and one thread's share, against a join by sorting in numpy."""
    random = np.random.default_rng(7)
    keys, times = random.integers(0, 500, 60_000), random.integers(0, 10**6, 60_000)
    asked, asked_at = random.integers(0, 600, 90_000), random.integers(0, 10**6, 90_000)
    found = match_rows(
        connection,
        pa.table({KEY: asked, TIME: asked_at}),
        pa.table({KEY: keys, TIME: times}),
        AsOf(ttl=20_000),
    )
    order = np.lexsort((np.arange(len(keys)), times, keys))
    place = np.searchsorted((keys * 10**7 + times)[order], asked * 10**7 + asked_at, "right") - 1
    row = order[np.maximum(place, 0)]
    hit = (place >= 0) & (keys[row] == asked) & (asked_at - times[row] <= 20_000)
    assert found.tolist() == np.where(hit, row, -1).tolist()


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
