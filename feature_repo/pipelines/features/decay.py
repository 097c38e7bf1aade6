"""The algebra of exponentially decayed counters: a value, the instant it is valued at, and a
half-life.

A counter at T is the sum over events at t <= T of 2^(-(T - t) / half-life). It is exact at any
instant, takes one multiplication to update, and so is the same in batch and online. Instants are
microseconds since the epoch.
"""

import math
from typing import overload

import numpy as np
from numpy.typing import NDArray

DAY_US = 86_400_000_000

HALF_LIVES_DAYS = {"events_1d": 1.0, "events_7d": 7.0, "events_30d": 30.0, "events_365d": 365.0}
"""Counter columns of `user_activity` and `item_popularity`, and the half-life of each in days."""

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@overload
def decay(value: float, from_us: int, to_us: int, half_life_days: float) -> float: ...
@overload
def decay(value: Floats, from_us: Ints, to_us: Ints | int, half_life_days: float) -> Floats: ...
def decay(
    value: float | Floats, from_us: int | Ints, to_us: int | Ints, half_life_days: float
) -> float | Floats:
    """The counter's value at `to_us`, given its value at `from_us`.

    Raises ValueError when `to_us` is earlier: a counter has forgotten which of its events were that
    recent.

    >>> decay(4.0, 0, 14 * DAY_US, half_life_days=7.0)
    1.0
    """
    gap_us = np.subtract(to_us, from_us)
    if np.any(gap_us < 0):
        raise ValueError(
            f"a counter valued at {from_us} us cannot be read earlier, at {to_us} us; "
            "read the feature row of that instant instead"
        )
    decayed = value * np.exp2(-gap_us / (half_life_days * DAY_US))
    return decayed if isinstance(decayed, np.ndarray) else float(decayed)


def add_event(
    value: float, valued_at_us: int, event_at_us: int, half_life_days: float, count: float = 1.0
) -> tuple[float, int]:
    """The counter after one more event: (value, instant it is valued at). O(1), in any order of
    arrival.

    An event older than the counter's instant is decayed to it, so late arrivals count for what is
    left of them.

    >>> add_event(1.0, 0, 7 * DAY_US, half_life_days=7.0)
    (1.5, 604800000000)
    >>> add_event(1.0, 7 * DAY_US, 0, half_life_days=7.0)
    (1.5, 604800000000)
    """
    if event_at_us >= valued_at_us:
        return decay(value, valued_at_us, event_at_us, half_life_days) + count, event_at_us
    return value + decay(count, event_at_us, valued_at_us, half_life_days), valued_at_us


def scan(counts: Floats, at_us: Ints, starts: NDArray[np.bool_], half_life_days: float) -> Floats:
    """Each row's counter, valued at the row's own instant, for many keys at once.

    Rows are sorted by key and instant; `starts` is true on the first row of each key; `counts` is
    what happened at the row's instant. An infinite half-life gives running sums. The recurrence v_k
    = v_(k-1) 2^(-gap) + n_k is composed by doubling (Hillis and Steele 1986), n log2(longest key)
    steps in numpy: only factors in [0, 1] are multiplied, so nothing overflows however long the
    span, which the closed form with one origin would. A key's result does not depend on its
    neighbours, so a partition yields the same bits as the whole.
    """
    value = counts.astype(np.float64)
    if len(value) == 0:
        return value
    gaps = np.diff(at_us, prepend=at_us[:1])
    keep = np.where(starts, 0.0, np.exp2(-np.maximum(gaps, 0) / (half_life_days * DAY_US)))
    bounds = np.append(np.flatnonzero(starts), len(value))
    shift, longest = 1, int(np.diff(bounds).max())
    while shift < longest:
        value[shift:] += keep[shift:] * value[:-shift]
        keep[shift:] *= keep[:-shift].copy()
        shift *= 2
    return value


def running_sum(counts: Floats, starts: NDArray[np.bool_]) -> Floats:
    """Sums within each key up to and including the row, the same in a partition as in the whole."""
    return scan(counts, np.zeros(len(counts), dtype=np.int64), starts, math.inf)
