"""The order that is kept is that of the counters, whatever comes in and whenever it is asked."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.popularity import DAY_US, Order, Popularity

NUM_ITEMS = 12
KEYS = st.floats(-3, 3) | st.just(-np.inf)
EVENTS = st.lists(st.tuples(st.integers(0, NUM_ITEMS - 1), st.integers(0, 400)), max_size=30)


def untouched() -> Popularity:
    return Popularity(30.0, np.zeros(NUM_ITEMS), np.full(NUM_ITEMS, -1))


@settings(max_examples=100)
@given(
    st.lists(KEYS, min_size=1, max_size=NUM_ITEMS),
    st.lists(st.tuples(st.integers(0, NUM_ITEMS - 1), KEYS), max_size=20),
)
def test_moving_one_at_a_time_is_sorting_anew(
    keys: list[float], changes: list[tuple[int, float]]
) -> None:
    order, keys_I = Order(np.array(keys)), np.array(keys)
    for position, key in changes:
        position %= len(keys)
        order.set(position, key)
        keys_I[position] = key
        assert order.positions.tolist() == np.argsort(-keys_I, kind="stable").tolist()
    for place, position in enumerate(order.positions.tolist()):
        assert order.place(position) == place


@settings(max_examples=60)
@given(EVENTS, st.integers(400, 900))
def test_the_order_is_that_of_the_counters_at_any_later_instant(
    events: list[tuple[int, int]], day: int
) -> None:
    popularity = untouched()
    for position, at_day in events:
        popularity.add(position, at_day * DAY_US)
    values = popularity.at(day * DAY_US)
    ordered = popularity.first(NUM_ITEMS)
    falling = values[ordered]
    assert (falling[1:] <= falling[:-1] * (1 + 1e-9)).all()
    assert sorted(ordered) == list(range(NUM_ITEMS))
    ranks = [popularity.rank(position) for position in range(NUM_ITEMS)]
    assert [rank < 0 for rank in ranks] == (values == 0).tolist()
    assert sorted(rank for rank in ranks if rank >= 0) == list(range(int((values > 0).sum())))


def test_what_nobody_has_taken_up_comes_last_by_position() -> None:
    popularity = untouched()
    popularity.add(7, DAY_US)
    assert popularity.first(4).tolist() == [7, 0, 1, 2]
    assert popularity.ordered(np.array([1, 3, 7])).tolist() == [7, 1, 3]
    assert popularity.untouched(np.array([7, 8])).tolist() == [False, True]


def test_a_counter_that_is_put_takes_its_place() -> None:
    popularity = untouched()
    popularity.add(7, DAY_US)
    popularity.put(3, 5.0, DAY_US)
    assert popularity.first(2).tolist() == [3, 7]
    popularity.put(3, 0.0, -1)
    assert popularity.first(2).tolist() == [7, 0]


def test_after_hundreds_of_half_lives_the_order_still_stands() -> None:
    """A decayed value would have run out of digits."""
    popularity = Popularity(1.0, np.zeros(3), np.full(3, -1))
    popularity.add(0, 0)
    popularity.add(1, 2_000 * DAY_US)
    popularity.add(2, 4_000 * DAY_US)
    assert popularity.first(3).tolist() == [2, 1, 0]
