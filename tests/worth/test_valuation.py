"""From lists to figures: known answers, and the law that Shapley values add up."""

import numpy as np
import pytest

from tests.worth.planted import Planted
from training.bootstrap import Interval
from training.queries import Queries
from training.slices import build_slices, cold_slices
from training.valuation import (
    EVERYBODY,
    Lists,
    gains,
    robustness,
    score_shares,
    shapley_values,
    sign,
    value_parts,
)
from training.worth import hidden


def random_lists(queries: Queries, num_sources: int) -> Lists:
    """Lists in which nothing is planted."""
    rng = np.random.default_rng(0)
    shape = (2**num_sources, len(queries), queries.num_items)
    top_NQI = rng.permuted(np.broadcast_to(np.arange(queries.num_items), shape), axis=2)
    names = tuple(f"s{n}" for n in range(num_sources))
    return Lists(names, top_NQI[..., :10], {"most-popular-lately": top_NQI[0, :, 20:30]}, {})


def test_values_add_up_to_the_whole_less_nothing_in_every_slice(queries: Queries) -> None:
    lists = random_lists(queries, num_sources=4)
    parts = value_parts(lists, queries, build_slices(queries), resamples=100)
    assert len(parts) > 5
    for part in parts.values():
        if part.queries:
            added = sum(value.mean for value in part.shapley.values())
            apart = part.figures["fused"].mean - part.figures["no source"].mean
            assert added == pytest.approx(apart, abs=1e-9)


def test_values_add_up_query_by_query(queries: Queries) -> None:
    lists = random_lists(queries, num_sources=3)
    values_NQ = np.stack([gains(top_QK, queries) for top_QK in lists.subsets_NQK])
    added_Q = shapley_values(values_NQ).sum(axis=0)
    np.testing.assert_allclose(added_Q, values_NQ[-1] - values_NQ[0], atol=1e-9, rtol=0)


def test_the_source_that_tells_the_truth_is_worth_everything(queries: Queries) -> None:
    lists, shares = hidden(Planted(), queries, {}, seed=0)
    everybody = value_parts(lists, queries, build_slices(queries))[EVERYBODY]
    figures, ahead = everybody.figures, everybody.ahead
    assert figures["fused"].mean == pytest.approx(1)
    assert figures["only truth"].mean == pytest.approx(1)
    assert figures["only noise"] == figures["no source"] == figures["without truth"]
    assert everybody.shapley["truth"].mean == pytest.approx(1 - figures["no source"].mean)
    assert everybody.shapley["noise"].mean == pytest.approx(0, abs=1e-9)
    assert ahead["without truth"].mean == pytest.approx(everybody.shapley["truth"].mean)
    assert shares == pytest.approx({"truth": 1 / 1.5, "noise": 0.5 / 1.5})


def test_more_missing_rows_leave_less(queries: Queries) -> None:
    lists, _ = hidden(Planted(), queries, {}, seed=0)
    curves = robustness(lists, queries)
    assert [gap.missing for gap in curves["truth"]] == [0, 0.25, 0.5, 0.75, 1]
    figures = [gap.figure.mean for gap in curves["truth"]]
    assert figures[0] == pytest.approx(1)
    assert figures == sorted(figures, reverse=True)
    assert figures[4] < 0.5
    for gap in curves["truth"]:
        assert gap.lost.mean == pytest.approx(1 - gap.figure.mean)
    assert [gap.lost.mean for gap in curves["noise"]] == pytest.approx([0] * 5)


def test_score_shares_of_an_additive_score() -> None:
    """Three items; `a` adds 1, -1 and 1, `b` always 3."""
    a, b = np.array([1.0, -1.0, 1.0]), np.array([3.0, 3.0, 3.0])
    found_NP = np.stack([0 * a, a, b, a + b]).astype(np.float32)
    assert score_shares(found_NP, ["a", "b"]) == {"a": 0.25, "b": 0.75}


@pytest.mark.parametrize(
    ("low", "high", "says"),
    [
        (0.1, 0.2, True),
        (-0.2, -0.1, False),
        (-0.1, 0.1, None),
        (0.0, 0.1, None),
        (None, None, None),
    ],
)
def test_sign(low: float | None, high: float | None, says: bool | None) -> None:
    assert sign(Interval(mean=0.0, low=low, high=high)) is says


def test_cold_slices_are_what_their_names_say(queries: Queries) -> None:
    events, slices = queries.events, cold_slices(queries)
    assert (np.stack(list(slices.queries.values())).sum(axis=0) == 1).all(), "each in one slice"
    for row in range(0, len(queries), 7):
        own = events.user_index == queries.user_index[row]
        num = int((own & (events.at_us < queries.at_us[row])).sum())
        name = (
            f"users with {num} event{'s' if num != 1 else ''}"
            if num < 2
            else "users with 2 to 5 events"
            if num <= 5
            else "users with more events"
        )
        assert slices.queries[name][row], (row, num)


def test_items_with_no_event_before_the_instant(queries: Queries) -> None:
    """One item loses all its events: it is unmet whenever it is to be found."""
    row, item = queries.to_find()
    unmet = cold_slices(queries).pairs["items with 0 events"]
    events = queries.events
    for pair in range(0, len(row), 11):
        earlier = (events.item_index == item[pair]) & (events.at_us < queries.at_us[row[pair]])
        assert unmet[pair] == (not earlier.any())
    parts = cold_slices(queries).parts(queries)
    mask_Q, narrowed = parts["items with 0 events"]
    assert len(narrowed) == mask_Q.sum() == len(np.unique(row[unmet]))
    assert narrowed.relevant.lengths.sum() == unmet.sum()
