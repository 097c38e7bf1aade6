"""Clock: which instant a request is answered for.

A live system uses the wall clock. An archived data set ended years ago: by today's clock all its
popularity would have decayed to nothing, so the `data` clock goes on from the end of the data.
"""

import time
from datetime import UTC, datetime, timedelta
from typing import Literal

ClockName = Literal["data", "wall"]
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Clock:
    """Instants in microseconds since 1970, never running backwards within a process."""

    def __init__(self, name: ClockName, data_end_at: datetime) -> None:
        start = data_end_at if name == "data" else datetime.now(UTC)
        self.name = name
        self._start_us = microseconds(start)
        self._started = time.monotonic_ns()

    def now_us(self) -> int:
        return self._start_us + (time.monotonic_ns() - self._started) // 1_000


def microseconds(at: datetime) -> int:
    """An aware datetime as microseconds since 1970."""
    return (at - EPOCH) // timedelta(microseconds=1)


def instant(at_us: int) -> datetime:
    """Microseconds since 1970 as an aware datetime, exactly."""
    return EPOCH + timedelta(microseconds=at_us)
