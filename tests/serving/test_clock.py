"""Instants for archived and for live data."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from serving.clock import Clock, instant, microseconds

DATA_END = datetime(2011, 6, 1, tzinfo=UTC)


def test_the_data_clock_goes_on_from_the_end_of_the_data() -> None:
    clock = Clock("data", DATA_END)
    now = instant(clock.now_us())
    assert DATA_END <= now < DATA_END + timedelta(minutes=1)


def test_the_wall_clock_is_now() -> None:
    now = instant(Clock("wall", DATA_END).now_us())
    assert abs(datetime.now(UTC) - now) < timedelta(minutes=1)


def test_instants_never_run_backwards() -> None:
    clock = Clock("data", DATA_END)
    seen = [clock.now_us() for _ in range(100)]
    assert seen == sorted(seen)


@given(st.datetimes(datetime(1971, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)))
def test_microseconds_lose_nothing(at: datetime) -> None:
    assert instant(microseconds(at)) == at
