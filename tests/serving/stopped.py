"""A clock that stands still, so that an answer asked for twice is the same to the last bit."""

from datetime import datetime

from serving.clock import Clock


class StoppedClock(Clock):
    """Shows one instant of a data set until it is moved."""

    def __init__(self, at: datetime) -> None:
        super().__init__("data", at)

    def now_us(self) -> int:
        return self._start_us

    def move(self, microseconds: int) -> None:
        self._start_us += microseconds
