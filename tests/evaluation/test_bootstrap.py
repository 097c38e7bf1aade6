"""Intervals: users are resampled, not queries; models are paired; seeds decide."""

import numpy as np
import pytest

from training.bootstrap import Interval, intervals, resampled_means, user_means


def test_users_count_the_same_however_many_queries_they_ask() -> None:
    values = np.array([1.0, 1.0, 1.0, 0.0])
    found = intervals({"x": values}, np.array([3, 3, 3, 8]))
    assert found["x"].mean == 0.5


def test_interval_of_normal_figures_is_near_the_textbook_one() -> None:
    values = np.random.default_rng(0).normal(2.0, 1.0, size=2000)
    found = intervals({"x": values}, np.arange(2000), resamples=2000)["x"]
    half = 1.96 * values.std() / np.sqrt(2000)
    assert found.low == pytest.approx(values.mean() - half, abs=0.1 * half)
    assert found.high == pytest.approx(values.mean() + half, abs=0.1 * half)


def test_repeating_a_users_queries_does_not_narrow_the_interval() -> None:
    values, users = np.random.default_rng(1).random(50), np.arange(50)
    once = intervals({"x": values}, users)["x"]
    often = intervals({"x": np.tile(values, 20)}, np.tile(users, 20))["x"]
    assert once.low == pytest.approx(often.low)
    assert once.high == pytest.approx(often.high)


def test_a_constant_difference_has_no_spread() -> None:
    values = np.random.default_rng(2).random(40)
    found = intervals({"gap": (values + 0.25) - values}, np.arange(40))["gap"]
    assert found.low == pytest.approx(0.25)
    assert found.high == pytest.approx(0.25)


def test_resamples_are_seeded_and_the_same_for_every_figure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    values = np.random.default_rng(3).random((30, 2))
    both = resampled_means(values, 100, seed=5)
    np.testing.assert_allclose(both[:, :1], resampled_means(values[:, :1], 100, seed=5))
    assert not np.allclose(both, resampled_means(values, 100, seed=6))
    monkeypatch.setattr("training.bootstrap.CELLS_AT_ONCE", 70)
    np.testing.assert_allclose(both, resampled_means(values, 100, seed=5))


def test_one_user_has_no_interval_and_nobody_nothing() -> None:
    alone = intervals({"x": np.array([0.3, 0.5])}, np.array([1, 1]))["x"]
    assert (alone.mean, alone.low, alone.high) == (pytest.approx(0.4), None, None)
    assert intervals({"x": np.array([])}, np.array([], dtype=np.int64)) == {}


def test_above_means_disjoint() -> None:
    low, high = Interval(mean=1, low=0.5, high=1.5), Interval(mean=3, low=2, high=4)
    assert high.above(low)
    assert not low.above(high)
    assert not high.above(Interval(mean=1, low=0, high=2.5))
    assert not high.above(Interval(mean=0))


def test_user_means_follow_the_order_of_users() -> None:
    found = user_means(np.array([[2.0], [4.0], [9.0]]), np.array([5, 5, 1]))
    assert found.tolist() == [[9.0], [3.0]]
