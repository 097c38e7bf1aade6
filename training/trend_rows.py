"""Trend rows: log2(1 + decayed take-ups) of all items at an instant, by one counter an item.

In: counters valued at one instant, and the instant asked about. Out: score rows. The sums that
standardising needs are worked out at the ends of a short interval, kept up with each take-up, and
interpolated between: no pass over the catalogue for each request.
"""

# Shapes: I items, C candidates

from dataclasses import dataclass

import numpy as np

from training.baselines import DAY_US, Floats, Ints, Scores, decay
from training.score_rows import Moments

STEPS = 1_000  # intervals in a half-life; linear within one is exact to less than 1e-6 of a score


@dataclass
class Interval:
    """Sums over the items at both ends of an interval of time."""

    start_us: int
    end_us: int
    weights_2: Floats
    """What a counter is worth at the ends."""
    totals_2: Floats
    squares_2: Floats

    def at(self, at_us: int, num_items: int) -> Moments:
        """The moments at an instant of the interval."""
        share = (at_us - self.start_us) / (self.end_us - self.start_us)
        of_ends = np.array([1.0 - share, share])
        total, squares = float(of_ends @ self.totals_2), float(of_ends @ self.squares_2)
        return Moments.of_sums(total, squares, num_items)

    def change(self, before: float, after: float) -> None:
        """One item's counter has changed."""
        old_2, new_2 = np.log2(1.0 + self.weights_2 * before), np.log2(1.0 + self.weights_2 * after)
        self.totals_2 += new_2 - old_2
        self.squares_2 += new_2**2 - old_2**2


def interval_around(
    at_us: int, count_I: Floats, counted_at_us: int, half_life_days: float
) -> Interval:
    """The interval that the instant lies in; two passes over the items that have been taken up."""
    step_us = max(int(half_life_days * DAY_US) // STEPS, 1)
    start_us = at_us // step_us * step_us
    ends_us = np.array([start_us, start_us + step_us])
    weights_2 = decay(ends_us - counted_at_us, half_life_days)
    taken = count_I[count_I > 0]
    logs = [np.log2(1.0 + weight * taken) for weight in weights_2]
    totals, squares = [own.sum() for own in logs], [own @ own for own in logs]
    return Interval(start_us, start_us + step_us, weights_2, np.array(totals), np.array(squares))


@dataclass(frozen=True)
class TrendRow:
    """Scores at one instant."""

    count_I: Floats
    weight: float
    """What the counters, valued at one instant, are worth at the one asked about."""
    of_all: Moments

    def moments(self) -> Moments:
        return self.of_all

    def at(self, items_C: Ints) -> Scores:
        return np.log2(1.0 + self.weight * self.count_I[items_C]).astype(np.float32)

    def entries(self) -> tuple[Ints, Scores]:
        items = np.flatnonzero(self.count_I)
        return items, self.at(items)
