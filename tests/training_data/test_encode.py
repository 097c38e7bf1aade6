"""Encoding is per row, refuses no value, and is the same wherever the encoder was loaded."""

import json
import math
import os
import subprocess
import sys
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from training import vocabulary
from training.encode import Encoder, EncoderConfig
from training.schema import FeatureSchema, FieldSpec, ViewSpec
from training.vocabulary import Vocabulary

INSTANT = pa.timestamp("us", "UTC")
TYPES = {
    "category": pa.string(),
    "rank": pa.int64(),
    "visits": pa.int64(),
    "price": pa.float32(),
    "count": pa.float32(),
    "counted_at": pa.int64(),
    "born_at": INSTANT,
    "recent": pa.list_(pa.string()),
    "tags": pa.list_(pa.string()),
    "vector": pa.list_(pa.float32()),
    "title": pa.string(),
}
VIEW = ViewSpec(
    name="v",
    source="s",
    entity="user",
    join_key="user_id",
    fields=(
        FieldSpec(name="category", kind="categorical", vocabulary="category"),
        FieldSpec(name="rank", kind="categorical", vocabulary="v.rank"),
        FieldSpec(name="visits", kind="numeric", logarithmic=True),
        FieldSpec(name="price", kind="numeric"),
        FieldSpec(name="count", kind="counter", half_life_days=7, clock="counted_at"),
        FieldSpec(name="counted_at", kind="clock"),
        FieldSpec(name="born_at", kind="time"),
        FieldSpec(name="recent", kind="sequence", vocabulary="item"),
        FieldSpec(name="tags", kind="sequence", vocabulary="category"),
        FieldSpec(name="vector", kind="embedding"),
        FieldSpec(name="title", kind="text"),
    ),
)
SCHEMA = FeatureSchema(service="small", views=(VIEW,))
KNOWN = EncoderConfig(min_count=1, max_sequence=4)


def table(rows: list[dict[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist(rows, pa.schema(TYPES))


TRAINING = table(
    [
        {
            "category": "rock",
            "rank": 1,
            "visits": 0,
            "price": 1.0,
            "count": 2.5,
            "counted_at": 10,
            "recent": ["i1", "i2"],
            "tags": ["rock"],
            "vector": [1.0, 2.0],
        },
        {
            "category": "jazz",
            "rank": 2,
            "visits": 3,
            "price": 3.0,
            "count": 0.5,
            "counted_at": 20,
            "recent": ["i3", "i2", "i1"],
            "tags": ["jazz", "rock"],
            "vector": [0.0, 1.0],
        },
    ]
)
ENCODER = Encoder.fit(SCHEMA, {"v": TRAINING}, ["i1", "i2", "i3"], KNOWN)


def test_known_rows_have_known_tensors() -> None:
    columns = ENCODER.encode("v", TRAINING)
    # rock is named three times, jazz twice; rank "1" and "2" once each, so by name.
    assert columns["categorical"].tolist() == [[1, 1], [2, 2]]
    # log(1 + 0) and log(1 + 3), and 1 and 3: two values are one deviation from their mean.
    assert columns["numeric"].tolist() == [[-1.0, -1.0], [1.0, 1.0]]
    assert columns["numeric_missing"].tolist() == [[0.0, 0.0], [0.0, 0.0]]
    assert columns["counter"].tolist() == [[2.5], [0.5]]
    assert columns["clock_us"].tolist() == [[10], [20]]
    assert columns["time_us"].tolist() == [[-1], [-1]]
    assert columns["sequence:recent"].tolist() == [[1, 2, 0], [3, 2, 1]]
    assert columns["sequence:tags"].tolist() == [[1, 0], [2, 1]]
    assert columns["embedding:vector"].tolist() == [[1.0, 2.0], [0.0, 1.0]]
    assert ENCODER.vocabulary_sizes == {"item": 4, "category": 3, "v.rank": 3}
    assert ENCODER.feature_schema.view("v").field("vector").dims == 2
    assert ENCODER.item_numbers(["i3", "unheard of"]).tolist() == [3, 0]


def test_missing_and_odd_values_are_missing() -> None:
    odd = table(
        [
            {},
            {"price": math.nan, "count": math.inf, "category": "polka", "tags": [None, "jazz"]},
            {"price": math.inf, "visits": -3, "vector": [], "recent": []},
            {"price": 1e30, "vector": [math.nan, math.inf]},
        ]
    )
    columns = ENCODER.encode("v", odd)
    assert columns["numeric_missing"].tolist() == [[1, 1], [1, 1], [0, 1], [1, 0]]
    assert columns["numeric"][:, 1].tolist() == [0, 0, 0, 10]
    # Three visits taken back are as far below zero as three are above.
    mean = math.log(4) / 2
    assert columns["numeric"][2, 0].item() == pytest.approx((-math.log(4) - mean) / mean)
    assert columns["counter"].tolist() == [[0], [0], [0], [0]]
    assert columns["clock_us"].tolist() == [[-1]] * 4
    assert not columns["categorical"].any()
    assert columns["sequence:tags"].tolist() == [[0, 0], [0, 2], [0, 0], [0, 0]]
    assert not columns["embedding:vector"].any()


def test_a_long_list_keeps_its_front() -> None:
    columns = ENCODER.encode("v", table([{"recent": ["i1", "x", "i3", "i2", "i2"]}]))
    # Training rows had three entries at most, so no model has places for more.
    assert columns["sequence:recent"].tolist() == [[1, 0, 3]]
    long = table([{"recent": ["i1"] * 9}])
    capped = Encoder.fit(SCHEMA, {"v": long}, ["i1"], KNOWN).encode("v", long)
    assert capped["sequence:recent"].tolist() == [[1, 1, 1, 1]]


def test_other_arrow_types_of_the_same_values_encode_alike() -> None:
    other = {
        "category": pa.large_string(),
        "visits": pa.float64(),
        "price": pa.float64(),
        "counted_at": INSTANT,
        "recent": pa.large_list(pa.large_string()),
        "vector": pa.list_(pa.float64(), 2),
    }
    types = pa.schema({**TYPES, **other})
    columns = [TRAINING.column(field.name).combine_chunks() for field in types]
    fixed = pa.FixedSizeListArray.from_arrays(pa.array([1.0, 2.0, 0.0, 1.0]), 2)
    cast = [
        fixed if field.name == "vector" else column.cast(field.type)
        for field, column in zip(types, columns, strict=True)
    ]
    chunked = pa.concat_tables([pa.table(cast, schema=types).slice(n, 1) for n in (0, 1)])
    assert_equal(ENCODER.encode("v", chunked), ENCODER.encode("v", TRAINING))
    empty_types = pa.table({name: pa.nulls(2) for name in TYPES})
    assert_equal(ENCODER.encode("v", empty_types), ENCODER.encode("v", table([{}, {}])))


def test_values_hidden_behind_a_null_are_not_read() -> None:
    values = pa.array(["i1", "i2", "i3"])
    offsets, is_null = pa.array([0, 2, 3], pa.int32()), pa.array([True, False])
    hidden = pa.ListArray.from_arrays(offsets, values, mask=is_null)
    place = TRAINING.column_names.index("recent")
    columns = ENCODER.encode("v", TRAINING.set_column(place, "recent", hidden))
    assert columns["sequence:recent"].tolist() == [[0, 0, 0], [3, 0, 0]]


def test_a_dictionary_column_is_read_as_strings() -> None:
    place = TRAINING.column_names.index("category")
    short = TRAINING.column("category").dictionary_encode()
    shortened = TRAINING.set_column(place, "category", short)
    assert_equal(ENCODER.encode("v", shortened), ENCODER.encode("v", TRAINING))


def test_a_changed_embedding_is_refused_with_its_name() -> None:
    with pytest.raises(ValueError, match=r"'v\.vector' has 2 dimensions, but 1 of 2 rows"):
        ENCODER.encode("v", table([{"vector": [1.0, 2.0]}, {"vector": [1.0, 2.0, 3.0]}]))
    mixed = table([{"vector": [1.0]}, {"vector": [1.0, 2.0]}])
    with pytest.raises(ValueError, match="has 1 dimensions"):
        Encoder.fit(SCHEMA, {"v": mixed}, [], KNOWN)


def test_an_embedding_without_training_values_is_one_column_of_zeros() -> None:
    encoder = Encoder.fit(SCHEMA, {"v": table([{}, {}])}, [], KNOWN)
    assert encoder.empty_embeddings == ("v.vector",)
    assert encoder.feature_schema.view("v").field("vector").dims == 1
    later = encoder.encode("v", TRAINING)
    assert later["embedding:vector"].tolist() == [[0.0], [0.0]]
    # Nothing to measure by either: values pass as they are.
    assert later["numeric"][:, 1].tolist() == [1.0, 3.0]


def test_a_constant_column_is_measured_in_its_own_unit() -> None:
    # The mean of thirteen logarithms of 5 is not quite that logarithm.
    rows = table([{"price": 0.1, "visits": 4}] * 13)
    encoder = Encoder.fit(SCHEMA, {"v": rows}, [], KNOWN)
    assert [scale.std for scale in encoder.scales.values()] == [1.0, 1.0]
    assert encoder.encode("v", rows)["numeric"].abs().max() < 1e-6


def test_rare_names_are_unknown_and_the_vocabulary_is_bounded() -> None:
    names = ["a"] * 3 + ["b"] * 2 + ["c"] * 2 + ["d"]
    rows = table([{"category": name} for name in names])
    encoder = Encoder.fit(SCHEMA, {"v": rows}, [], EncoderConfig(min_count=2, max_vocabulary=2))
    assert encoder.vocabularies["category"].names == ("a", "b")


def test_what_is_missing_is_named() -> None:
    with pytest.raises(ValueError, match="lack the columns category, rank"):
        ENCODER.encode("v", TRAINING.select(["visits", "price"]))
    with pytest.raises(ValueError, match="no training rows were given for views: v"):
        Encoder.fit(SCHEMA, {}, [])
    words = TRAINING.set_column(3, "price", pa.array(["cheap", "dear"]))
    with pytest.raises(ValueError, match="'price' of view 'v' is of kind 'numeric' and came as"):
        ENCODER.encode("v", words)
    with pytest.raises(ValueError, match="names something twice"):
        Encoder.fit(SCHEMA, {"v": TRAINING}, ["i1", "i1"])


def test_no_rows_encode_to_no_rows() -> None:
    for name, column in ENCODER.encode("v", TRAINING.slice(0, 0)).items():
        assert column.shape == (0, ENCODER.encode("v", TRAINING)[name].shape[1])


WORDS = st.none() | st.sampled_from(["rock", "jazz", "i1", "i2", "i3", ""]) | st.text(max_size=3)
REALS = st.none() | st.floats(width=32)
INTEGERS = st.none() | st.integers(-(2**63), 2**63 - 1)
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "category": WORDS,
            "rank": INTEGERS,
            "visits": INTEGERS,
            "price": REALS,
            "count": REALS,
            "counted_at": INTEGERS,
            "born_at": INTEGERS,
            "recent": st.none() | st.lists(WORDS, max_size=6),
            "tags": st.none() | st.lists(WORDS, max_size=6),
            "vector": st.none() | st.just([]) | st.lists(REALS, min_size=2, max_size=2),
            "title": WORDS,
        }
    ),
    max_size=6,
)


@given(ROWS, ROWS)
@settings(max_examples=60, deadline=None)
def test_a_row_is_encoded_by_itself(
    first: list[dict[str, Any]], second: list[dict[str, Any]]
) -> None:
    parts = [ENCODER.encode("v", table(rows)) for rows in (first, second)]
    # Two chunks, and a slice in the midst of a longer table.
    whole = ENCODER.encode("v", pa.concat_tables([table(first), table(second)]))
    assert_equal(whole, {name: torch.cat([part[name] for part in parts]) for name in parts[0]})
    middle = table(first + second + first).slice(len(first), len(second))
    assert_equal(ENCODER.encode("v", middle), parts[1])
    for name, column in whole.items():
        assert torch.isfinite(column.double()).all(), name


@given(ROWS)
@settings(max_examples=40, deadline=None)
def test_a_fitted_encoder_survives_json(rows: list[dict[str, Any]]) -> None:
    encoder = Encoder.fit(SCHEMA, {"v": table(rows)}, ["i1", "ü"], KNOWN)
    loaded = Encoder.from_json(encoder.to_json())
    assert loaded == encoder
    assert loaded.fingerprint() == encoder.fingerprint()
    assert_equal(loaded.encode("v", table(rows)), encoder.encode("v", table(rows)))


@given(ROWS, st.randoms())
@settings(max_examples=30, deadline=None)
def test_fitting_does_not_depend_on_the_order_of_rows(
    rows: list[dict[str, Any]], random: Any
) -> None:
    shuffled = random.sample(rows, len(rows))
    fitted = [Encoder.fit(SCHEMA, {"v": table(r)}, ["i1"], KNOWN) for r in (rows, shuffled)]
    assert fitted[0].fingerprint() == fitted[1].fingerprint()


@given(st.lists(WORDS, max_size=20), st.sets(st.text(max_size=3), max_size=8))
@settings(max_examples=60, deadline=None)
def test_both_ways_of_looking_up_agree(values: list[str | None], names: set[str]) -> None:
    known = Vocabulary(names=tuple(sorted(names)))
    expected = [known.names.index(v) + 1 if v in names else 0 for v in values]
    array = pa.array(values, pa.string())
    assert known.lookup(array).tolist() == expected
    few, vocabulary.FEW_VALUES = vocabulary.FEW_VALUES, -1
    try:
        assert known.lookup(array).tolist() == expected
    finally:
        vocabulary.FEW_VALUES = few


def test_fingerprints_are_the_same_in_another_process() -> None:
    code = (
        "import sys; from training.encode import Encoder; "
        "e = Encoder.from_json(sys.stdin.read()); "
        "print(e.fingerprint(), e.feature_schema.fingerprint())"
    )
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        input=ENCODER.to_json(),
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"PYTHONHASHSEED": "7"},
    )
    assert run.stdout.split() == [ENCODER.fingerprint(), SCHEMA.fingerprint()]
    assert json.loads(ENCODER.to_json())["vocabularies"]["item"] == {"names": ["i1", "i2", "i3"]}


def assert_equal(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> None:
    assert ours.keys() == theirs.keys()
    for name, column in ours.items():
        assert column.dtype == theirs[name].dtype, name
        np.testing.assert_array_equal(column.numpy(), theirs[name].numpy(), err_msg=name)
