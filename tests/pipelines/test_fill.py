"""Missing values and normalisation: learnt before the training end, applied to all rows."""

import math
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feature_repo.pipelines.fill import Fill, Normaliser, Policy, apply_policies, parse_requests
from feature_repo.pipelines.judge import open_duckdb
from feature_repo.pipelines.tables import DataError, table_path
from tests.pipelines.raw_rows import Row, clean_rows, day, event

# Three items of the training period (one without a price) and two of the time after it.
PRICES = [(1, 10.0), (2, 20.0), (3, 60.0), (4, None), (20, 1000.0), (21, None)]


def build(folder: Path, fill: str = "", normalise: str = "") -> tuple[list[Policy], list[Row]]:
    items = [
        {
            "item_id": f"i{number:02d}",
            "price": price,
            "category": "rare" if number > 19 else ("common" if price else None),
            "available_at": day(number),
        }
        for number, price in PRICES
    ]
    events = [event("u", row["item_id"], day(25)) for row in items]
    clean_rows(folder, {"items": items, "interactions": events})
    requests = parse_requests(fill, "--fill") + parse_requests(normalise, "--normalise")
    with open_duckdb(folder, 1.0) as db:
        policies = apply_policies(db, folder / "out", requests, day(10))
    return policies, pq.read_table(table_path(folder / "out", "items")).to_pylist()


@pytest.mark.parametrize(
    ("method", "value"),
    [("mean", 30.0), ("median", 20.0), ("most_frequent", 10.0), ("constant:7", 7.0)],
)
def test_a_fill_is_learnt_in_the_training_period(method: str, value: float, tmp_path: Path) -> None:
    """The late item of 1,000 would move the mean and the median if it were read."""
    _, rows = build(tmp_path, fill=f"price={method}")
    assert [row["price"] for row in rows] == [10.0, 20.0, 60.0, value, 1000.0, value]
    assert [row["price_missing"] for row in rows] == [False, False, False, True, False, True]


def test_text_is_filled_by_the_most_frequent_or_a_constant(tmp_path: Path) -> None:
    _, rows = build(tmp_path / "a", fill="category=most_frequent")
    assert rows[3]["category"] == "common"
    policies, rows = build(tmp_path / "b", fill="category=constant:unknown")
    assert (rows[3]["category"], rows[3]["category_missing"]) == ("unknown", True)
    assert policies[0].text() == "category: missing values become 'unknown' (constant)"


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("minmax", [0.0, 0.2, 1.0]),
        (
            "zscore",
            [-20 / math.sqrt(1400 / 3), -10 / math.sqrt(1400 / 3), 30 / math.sqrt(1400 / 3)],
        ),
        ("log", [math.log1p(10), math.log1p(20), math.log1p(60)]),
        ("quantile", [0.0, 0.5, 1.0]),
    ],
)
def test_a_normalisation_is_a_new_column(
    method: str, expected: list[float], tmp_path: Path
) -> None:
    _, rows = build(tmp_path, normalise=f"price={method}")
    assert [row["price_normalised"] for row in rows[:3]] == pytest.approx(expected)
    assert rows[3]["price_normalised"] is None
    assert [row["price"] for row in rows[:3]] == [10.0, 20.0, 60.0]


def test_fills_come_before_normalisations(tmp_path: Path) -> None:
    _, rows = build(tmp_path, fill="price=constant:60", normalise="price=minmax")
    assert rows[3]["price_normalised"] == 1.0


def test_a_column_of_one_value_normalises_to_nought() -> None:
    for method, parameters in (("minmax", (5.0, 5.0)), ("zscore", (5.0, 0.0))):
        policy = Normaliser.model_validate(
            {"column": "price", "method": method, "parameters": parameters}
        )
        assert policy.scale(np.array([5.0, 9.0])).tolist() == [0.0, 0.0]


def test_policies_round_trip_as_json() -> None:
    fill = Fill(column="price", method="mean", value=3.5)
    assert Fill.model_validate_json(fill.model_dump_json()) == fill
    scale = Normaliser(column="price", method="quantile", parameters=(1.0, 2.0, 9.0))
    assert Normaliser.model_validate_json(scale.model_dump_json()) == scale


@given(
    st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=20), st.sampled_from(["log", "quantile"])
)
def test_a_normalisation_keeps_the_order(values: list[float], method: str) -> None:
    quantiles = tuple(np.quantile(values, np.linspace(0, 1, 11)).tolist())
    policy = Normaliser.model_validate(
        {
            "column": "value",
            "method": method,
            "parameters": quantiles if method == "quantile" else (),
        }
    )
    scaled = policy.scale(np.sort(np.array(values)))
    assert (np.diff(scaled) >= 0).all()
    assert method == "log" or (scaled.min() >= 0 and scaled.max() <= 1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("prize=mean", r"no column 'prize' \(has: price"),
        ("price=average", r"no method 'average' \(has: constant, mean"),
        ("price=constant", "write a constant as price=constant:VALUE"),
        ("price=mean:3", "write a constant"),
        ("category=mean", "category is text"),
    ],
)
def test_a_request_that_makes_no_sense_is_an_error(text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        parse_requests(text, "--fill")


def test_a_column_that_training_never_saw_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no creator is known in the training period"):
        build(tmp_path, fill="creator=most_frequent")
    with pytest.raises(DataError, match="price is a number; got 'cheap'"):
        build(tmp_path / "b", fill="price=constant:cheap")
