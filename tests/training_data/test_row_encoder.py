"""Oracle: `Encoder.encode` of the same row as a table of one row."""

import datetime
import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from training import row_encoder
from training.encode import Columns, Encoder, EncoderConfig
from training.plain_rows import Row, as_table, one_row
from training.row_encoder import RowEncoder, ViewEncoder
from training.schema import FeatureSchema, FieldSpec, ViewSpec

ALL_KINDS = ViewSpec(
    name="all",
    source="s",
    entity="user",
    join_key="user_id",
    fields=(
        FieldSpec(name="category", kind="categorical", vocabulary="category"),
        FieldSpec(name="country", kind="categorical", vocabulary="all.country"),
        FieldSpec(name="visits", kind="numeric", logarithmic=True),
        FieldSpec(name="price", kind="numeric"),
        FieldSpec(name="count", kind="counter", half_life_days=7, clock="counted_at"),
        FieldSpec(name="slow_count", kind="counter", half_life_days=70, clock="counted_at"),
        FieldSpec(name="counted_at", kind="clock"),
        FieldSpec(name="born_at", kind="time"),
        FieldSpec(name="recent", kind="sequence", vocabulary="item"),
        FieldSpec(name="tags", kind="sequence", vocabulary="category"),
        FieldSpec(name="vector", kind="embedding"),
        FieldSpec(name="never", kind="embedding"),
        FieldSpec(name="title", kind="text"),
    ),
)
ONE_LIST = ALL_KINDS.model_copy(
    update={"name": "list", "fields": (ALL_KINDS.field("recent"), ALL_KINDS.field("price"))}
)
ONE_VECTOR = ALL_KINDS.model_copy(
    update={"name": "vector", "fields": (ALL_KINDS.field("vector"), ALL_KINDS.field("title"))}
)
VIEWS = (ALL_KINDS, ONE_LIST, ONE_VECTOR)
TRAINING: list[Row] = [
    {"category": "rock", "visits": 0, "price": 1.0, "recent": ["i1", "i2"], "tags": ["rock"]},
    {"category": "jazz", "visits": 7, "price": 3.25, "country": "de", "vector": [0.5, 2.0, -1.0]},
    {"visits": 30, "price": -0.1, "recent": ["i3", "i2", "i1"], "tags": ["jazz", "rock"]},
]
ENCODER = Encoder.fit(
    FeatureSchema(service="small", views=VIEWS),
    {view.name: as_table(view, TRAINING) for view in VIEWS},
    ["i1", "i2", "i3"],
    EncoderConfig(min_count=1, max_sequence=4),
)
ROWS = RowEncoder(ENCODER)

NAMES = st.none() | st.sampled_from(["rock", "jazz", "de", "i1", "i2", "i3", ""]) | st.text()
# What a 64-bit integer of the store may be, up to the greatest that every float64 tells apart.
COUNTS = st.none() | st.integers(-(2**53), 2**53)
REALS = st.none() | st.floats()
LISTS = st.none() | st.lists(NAMES, max_size=9)
PLAIN = {
    "category": NAMES,
    "country": NAMES,
    "visits": COUNTS | REALS,
    "price": REALS | COUNTS,
    "count": REALS | COUNTS,
    "slow_count": REALS,
    "counted_at": COUNTS,
    "born_at": COUNTS,
    "recent": LISTS,
    "tags": LISTS,
    "vector": st.none() | st.just([]) | st.lists(REALS, min_size=3, max_size=3),
    "never": st.none() | st.lists(REALS, max_size=5),
    "title": NAMES,
}


@pytest.mark.parametrize("view", VIEWS, ids=lambda view: view.name)
@given(row=st.fixed_dictionaries({}, optional=PLAIN))
@example(row={"count": 1e300, "price": math.inf, "visits": math.nan, "recent": ["i1"] * 60})
@example(row={})
@settings(max_examples=300, deadline=None)
def test_a_row_is_the_table_of_that_row(view: ViewSpec, row: Row) -> None:
    assert ViewEncoder(ENCODER, view).is_plain(row)
    assert_equal(ROWS.encode(view.name, row), ENCODER.encode(view.name, one_row(view, row)))


@given(number=st.floats(allow_nan=False, width=32))
@settings(max_examples=300, deadline=None)
def test_a_numbers_neighbours_do_not_change_it(number: float) -> None:
    """Vector instructions of numpy may round otherwise than those for the rest of an array."""
    row: Row = {"visits": number, "price": number, "count": number, "slow_count": number}
    many = ENCODER.encode("all", as_table(ALL_KINDS, [row] * 19))
    one = ROWS.encode("all", row)
    for name in ("numeric", "counter"):
        assert torch.equal(many[name], one[name].expand(19, -1))


ODD: list[Row] = [
    {"price": True},
    {"price": np.float32(2.5)},
    {"born_at": 3.0},
    {"born_at": 2**60},
    {"recent": ("i1", "i2")},
    {"recent": {"i1"}},
    {"recent": "i1"},
    {"vector": [1, 2, 3]},
    {"vector": np.array([1.0, math.nan, 3.0], np.float32)},
    {"category": b"rock", "tags": [b"jazz"]},
    {"counted_at": math.nan},
]


@pytest.mark.parametrize("row", ODD, ids=str)
def test_unusual_types_are_read_as_the_table_reads_them(row: Row) -> None:
    assert_equal(ROWS.encode("all", row), ENCODER.encode("all", one_row(ALL_KINDS, row)))


REFUSED: list[tuple[Row, str]] = [
    ({"category": 3}, "field 'category' of view 'all'"),
    ({"price": "dear"}, "field 'price' of view 'all'"),
    ({"visits": 2**53 + 1}, "field 'visits' of view 'all'"),
    ({"born_at": 2**64}, "field 'born_at' of view 'all'"),
    ({"counted_at": datetime.datetime(2026, 1, 1)}, "field 'counted_at' of view 'all'"),
    ({"tags": ["rock", 3]}, "field 'tags' of view 'all'"),
    ({"vector": [1.0, "x", 2.0]}, "field 'vector' of view 'all'"),
    ({"vector": [1.0, 2.0]}, "'all.vector' has 3 dimensions"),
]


@pytest.mark.parametrize(("row", "words"), REFUSED, ids=str)
def test_what_the_table_refuses_is_refused_in_its_words(row: Row, words: str) -> None:
    with pytest.raises(ValueError, match=words) as of_table:
        ENCODER.encode("all", one_row(ALL_KINDS, row))
    with pytest.raises(ValueError, match=words) as of_row:
        ROWS.encode("all", row)
    assert str(of_row.value) == str(of_table.value)


def test_a_usual_row_makes_no_table(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else it would be right and slow."""

    def refuse(*_: Any) -> None:
        raise AssertionError("a usual row went the way of tables")

    monkeypatch.setattr(row_encoder, "one_row", refuse)
    row: Row = {"visits": 3, "recent": ["i1", None], "vector": [1.0, 2.0, None], "price": None}
    assert ROWS.encode("all", row)["sequence:recent"].tolist() == [[1, 0, 0]]


def test_a_row_shares_no_memory_with_the_next() -> None:
    row: Row = {"recent": ["i1"], "price": 1.0}
    before = ROWS.encode("all", row)
    kept = {name: column.clone() for name, column in before.items()}
    for column in ROWS.encode("all", row).values():
        column.fill_(7)
    assert_equal(before, kept)
    assert_equal(ROWS.encode("all", row), kept)


def assert_equal(ours: Columns, theirs: Columns) -> None:
    assert set(ours) == set(theirs)
    for name, column in ours.items():
        assert column.dtype == theirs[name].dtype, name
        assert column.shape == theirs[name].shape, name
        assert column.numpy().tobytes() == theirs[name].numpy().tobytes(), name
