"""Laws of decayed counters: the order of arrival is immaterial, the stream equals the batch."""

import doctest
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feature_repo.pipelines.features import decay as decay_module
from feature_repo.pipelines.features.decay import DAY_US, add_event, decay, running_sum, scan

half_lives = st.sampled_from([0.5, 1.0, 7.0, 30.0, 365.0])
instants = st.integers(0, 20 * 365 * DAY_US)
events = st.lists(instants, min_size=1, max_size=30)


def closed_form(times: list[int], now: int, half_life: float) -> float:
    return math.fsum(0.5 ** ((now - t) / (half_life * DAY_US)) for t in times)


def stream(times: list[int], half_life: float) -> tuple[float, int]:
    value, at_us = 0.0, times[0]
    for time in times:
        value, at_us = add_event(value, at_us, time, half_life)
    return value, at_us


@given(events, half_lives, st.randoms())
def test_order_of_arrival_is_immaterial(times, half_life, random) -> None:
    shuffled = random.sample(times, len(times))
    value, at_us = stream(shuffled, half_life)
    assert at_us == max(times)
    assert value == pytest.approx(closed_form(times, at_us, half_life), rel=1e-12)


@given(events, half_lives)
def test_stream_equals_batch(times, half_life) -> None:
    times = sorted(times)
    starts = np.arange(len(times)) == 0
    batch = scan(np.ones(len(times)), np.array(times), starts, half_life)
    for number in range(len(times)):
        value, _ = stream(times[: number + 1], half_life)
        assert batch[number] == pytest.approx(value, rel=1e-12)


@given(st.lists(events, min_size=1, max_size=6), half_lives)
def test_a_key_does_not_depend_on_its_neighbours(keys, half_life) -> None:
    keys = [sorted(times) for times in keys]
    flat = np.array([time for times in keys for time in times])
    starts = np.concatenate([np.arange(len(times)) == 0 for times in keys])
    together = scan(np.ones(len(flat)), flat, starts, half_life)
    alone = [
        scan(np.ones(len(times)), np.array(times), np.arange(len(times)) == 0, half_life)
        for times in keys
    ]
    np.testing.assert_array_equal(together, np.concatenate(alone))


@given(instants, instants, instants, half_lives)
def test_decay_in_two_steps_is_decay_in_one(a, b, c, half_life) -> None:
    first, second, third = sorted([a, b, c])
    halfway = decay(1.0, first, second, half_life)
    twice = decay(halfway, second, third, half_life)
    assert twice == pytest.approx(decay(1.0, first, third, half_life), rel=1e-9, abs=1e-300)


def test_twenty_years_at_a_one_day_half_life() -> None:
    times = np.sort(np.random.default_rng(0).integers(0, 7300 * DAY_US, size=3000))
    values = scan(np.ones(len(times)), times, np.arange(len(times)) == 0, 1.0)
    for row in (0, 1, 1500, 2999):
        expected = closed_form(times[: row + 1].tolist(), int(times[row]), 1.0)
        assert values[row] == pytest.approx(expected, rel=1e-12)


def test_nothing_and_running_sums() -> None:
    assert len(scan(np.array([]), np.array([], dtype=np.int64), np.array([], dtype=bool), 7.0)) == 0
    starts = np.array([True, False, True, False, False])
    sums = running_sum(np.array([1.0, 2.0, 3.0, 4.0, 5.0]), starts)
    assert sums.tolist() == [1.0, 3.0, 3.0, 7.0, 12.0]


def test_a_counter_cannot_be_read_in_its_past() -> None:
    with pytest.raises(ValueError, match="cannot be read earlier"):
        decay(1.0, 10, 9, 7.0)
    with pytest.raises(ValueError, match="cannot be read earlier"):
        decay(np.ones(2), np.array([5, 10]), 9, 7.0)


def test_examples_in_the_docstrings() -> None:
    assert doctest.testmod(decay_module).failed == 0
