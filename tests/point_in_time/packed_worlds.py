"""Thousands of small worlds in one retrieval, for engines too slow to be asked one by one.

Each world's number is part of every key. The cases come from Hypothesis, the answers from the
oracle.
"""

import inspect
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from feast import Entity, FeatureStore, ValueType
from feast.types import Int64
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from feature_repo.plugins.oracle import Label, Row, oracle
from tests.point_in_time import test_regressions
from tests.point_in_time.stores import at, open_store, view_of

_INSTANT = pa.timestamp("us", "UTC")


class Case(NamedTuple):
    """A label, or a row with its created instant."""

    name: str | None
    number: int | None
    at: int | None
    created: int | None


_NAMES = st.sampled_from(["a", "b", "ab", None])
_NUMBERS = st.sampled_from([0, 1, 2**40, None])
_HOURS = st.one_of(st.none(), st.integers(0, 6))
_LABELS = st.lists(st.builds(Case, _NAMES, _NUMBERS, _HOURS, st.none()), max_size=8)
_ROWS = st.lists(st.builds(Case, _NAMES, _NUMBERS, _HOURS, _HOURS), max_size=12)
# The keys of the views, beside the world's number, which stands for a view without entity.
_VIEW_KEYS: dict[str, tuple[str, ...]] = {"w": (), "n": ("name",), "nn": ("name", "number")}
_TTLS = {"": None, "_ttl": 2}
_ENTITIES = [
    Entity(name="world", join_keys=["world"], value_type=ValueType.INT64),
    Entity(name="name", join_keys=["name"], value_type=ValueType.STRING),
    Entity(name="number", join_keys=["number"], value_type=ValueType.INT64),
]


Worlds = list[tuple[list[Case], list[Case]]]
"""Labels and rows of each."""


@cache
def make_worlds() -> Worlds:
    """1500 worlds that Hypothesis makes up."""
    made = []

    @settings(max_examples=1500, derandomize=True, database=None, phases=[Phase.generate])
    @given(_LABELS, _ROWS)
    def keep(labels: list[Case], rows: list[Case]) -> None:
        made.append((labels, rows))

    keep()
    return made


def _order(worlds: Sequence[Sequence[Case]]) -> list[tuple[int, int]]:
    """(world, place in it) of each packed case: all first ones, all second ones and so on, so
    that a world's ties lie in different pieces."""
    places = [(world, place) for world, cases in enumerate(worlds) for place in range(len(cases))]
    return sorted(places, key=lambda pair: (pair[1], pair[0]))


def _packed(worlds: Sequence[Sequence[Case]], instant: str) -> pa.Table:
    """The cases of all worlds in one table, `instant` being the name of their time."""
    order = _order(worlds)
    cases = [worlds[world][place] for world, place in order]
    return pa.table(
        {
            "world": pa.array([world for world, _ in order], pa.int64()),
            "name": pa.array([case.name for case in cases], pa.string()),
            "number": pa.array([case.number for case in cases], pa.int64()),
            instant: _instants([case.at for case in cases]),
            "created": _instants([case.created for case in cases]),
            "value": pa.array(range(len(cases)), pa.int64()),
        }
    )


def _instants(hours: list[int | None]) -> pa.Array:
    return pa.array([None if hour is None else at(hour) for hour in hours], _INSTANT)


def _expected(worlds: Worlds, keys: tuple[str, ...], ttl: int | None, cut: bool) -> list[int]:
    """What the oracle says of every label, in row numbers of the packed table."""
    numbers = {pair: number for number, pair in enumerate(_order([rows for _, rows in worlds]))}
    seen = [[Row(_keys(row, keys), row.at, row.created) for row in rows] for _, rows in worlds]
    expected = []
    for world, place in _order([labels for labels, _ in worlds]):
        label = worlds[world][0][place]
        found = oracle(Label(_keys(label, keys), label.at), seen[world], ttl, cut)
        expected.append(numbers.get((world, found), -1))
    return expected


def _keys(case: Case, names: tuple[str, ...]) -> tuple[object, ...]:
    return tuple(getattr(case, name) for name in names)


def _world_store(folder: Path, rows: pa.Table) -> FeatureStore:
    """Views by three kinds of keys, with and without ttl, over one file of several row groups."""
    views = [
        view_of(
            folder,
            f"{name}{suffix}",
            rows,
            [entity for entity in _ENTITIES if entity.name in ("world", *keys)],
            {"value": Int64},
            ttl=at(ttl) - at(0) if ttl else None,
            created_timestamp_column="created",
        )
        for name, keys in _VIEW_KEYS.items()
        for suffix, ttl in _TTLS.items()
    ]
    for view in views:
        pq.write_table(rows, folder / f"{view.name}.parquet", row_group_size=1700)
    return open_store(folder, *_ENTITIES, *views)


def check_worlds(folder: Path) -> None:
    """What a store opened now finds in all of the worlds is what the oracle says."""
    worlds = make_worlds()
    store = _world_store(folder, _packed([rows for _, rows in worlds], "at"))
    asked = _packed([labels for labels, _ in worlds], "event_timestamp")
    asked = asked.drop_columns(["created"]).rename_columns({"value": "label"})
    assert asked.num_rows > 3000
    references = [f"{name}{suffix}:value" for name in _VIEW_KEYS for suffix in _TTLS]
    for cut in (False, True):
        job = store.get_historical_features(
            asked, references, full_feature_names=True, filter_by_created_timestamp=cut
        )
        pointers, table = job.to_pointers(), job.to_arrow()
        assert table.select(asked.column_names).equals(asked)
        for name, keys in _VIEW_KEYS.items():
            for suffix, ttl in _TTLS.items():
                expected = _expected(worlds, keys, ttl, cut)
                view = f"{name}{suffix}"
                assert pointers.views[view].rows.tolist() == expected
                assert pointers.views[view].rows.dtype == np.int32
                assert table.column(f"{view}__value").fill_null(-1).to_pylist() == expected


def regressions() -> list[Any]:
    """Every case of test_regressions, with its parameters."""
    cases = []
    for name, test in inspect.getmembers(test_regressions, inspect.isfunction):
        if not name.startswith("test_"):
            continue
        marks = [mark for mark in getattr(test, "pytestmark", []) if mark.name == "parametrize"]
        assert len(marks) <= 1, name
        for number, value in enumerate(marks[0].args[1] if marks else [None]):
            arguments = {marks[0].args[0]: value} if marks else {}
            cases.append(pytest.param(test, arguments, id=f"{name}-{number}"))
    return cases
