"""From lists to figures: known answers, and the law that Shapley values add up."""

from dataclasses import replace

import numpy as np
import pytest

from tests.evaluation.conftest import DAY_US, random_events
from tests.worth.planted import Planted
from training.bootstrap import Interval
from training.masks import masked_lists, only
from training.queries import Queries, QueryOptions, build_queries
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


@pytest.fixture
def sparse() -> Queries:
    """Users with few events, and items that nobody met before the day of the query."""
    events = replace(random_events(1, users=90, items=120, events=700), train_end_us=20 * DAY_US)
    events = replace(events, validation_end_us=25 * DAY_US)
    return build_queries(events, "test", QueryOptions(max_queries_per_user=5))


def test_cold_slices_are_what_their_names_say(sparse: Queries) -> None:
    events, slices = sparse.events, cold_slices(sparse)
    bounds = {"0 events": (0, 0), "1 event": (1, 1), "2 to 5 events": (2, 5)}
    for row in range(len(sparse)):
        own = events.user_index == sparse.user_index[row]
        num = int((own & (events.at_us < sparse.at_us[row])).sum())
        for name, (least, most) in bounds.items():
            assert slices.queries[f"users with {name}"][row] == (least <= num <= most), num
        assert slices.queries["users with more events"][row] == (num > 5)
    assert all(mask_Q.any() for mask_Q in slices.queries.values())


def test_items_with_no_event_before_the_instant(sparse: Queries) -> None:
    row, item = sparse.to_find()
    unmet = cold_slices(sparse).pairs["items with 0 events"]
    events = sparse.events
    for pair in range(len(row)):
        earlier = (events.item_index == item[pair]) & (events.at_us < sparse.at_us[row[pair]])
        assert unmet[pair] == (not earlier.any())
    mask_Q, narrowed = cold_slices(sparse).parts(sparse)["items with 0 events"]
    assert 0 < len(narrowed) == mask_Q.sum() == len(np.unique(row[unmet]))
    assert narrowed.relevant.lengths.sum() == unmet.sum()


def test_lists_hold_candidates_only_and_each_once(queries: Queries) -> None:
    scorer = Planted()
    found = masked_lists(scorer, queries, [only(["noise"], scorer, queries)], k=70)
    candidates_QI = queries.candidates(np.arange(len(queries)))
    for row, top_K in enumerate(found.top_MQK[0]):
        listed = top_K[top_K >= 0]
        assert candidates_QI[row, listed].all()
        assert len(np.unique(listed)) == len(listed) == min(70, candidates_QI[row].sum())
