"""The circuit breaker, its clock driven by hand."""

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.breaker import Breaker


class DrivenClock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> DrivenClock:
    return DrivenClock()


@pytest.fixture
def breaker(clock: DrivenClock) -> Breaker:
    return Breaker(max_failures=3, open_s=5.0, now_s=clock)


def fail(breaker: Breaker, times: int) -> None:
    for _ in range(times):
        breaker.failed()


def test_it_opens_after_failures_in_a_row(breaker: Breaker) -> None:
    fail(breaker, 2)
    assert breaker.lets_pass()
    fail(breaker, 1)
    assert breaker.is_open
    assert not breaker.lets_pass()


def test_a_success_between_failures_keeps_it_closed(breaker: Breaker) -> None:
    fail(breaker, 2)
    breaker.succeeded()
    fail(breaker, 2)
    assert breaker.lets_pass()


def test_one_trial_decides(breaker: Breaker, clock: DrivenClock) -> None:
    fail(breaker, 3)
    clock.now_s += 4.9
    assert not breaker.lets_pass()
    clock.now_s += 0.1
    assert breaker.lets_pass()
    assert not breaker.lets_pass()  # while the trial runs
    breaker.failed()
    clock.now_s += 4.9
    assert not breaker.lets_pass()
    clock.now_s += 0.1
    assert breaker.lets_pass()
    breaker.succeeded()
    assert breaker.lets_pass()
    assert breaker.lets_pass()


def test_a_trial_that_is_never_heard_of_is_followed_by_another(
    breaker: Breaker, clock: DrivenClock
) -> None:
    fail(breaker, 3)
    clock.now_s += 5
    assert breaker.lets_pass()
    clock.now_s += 5
    assert breaker.lets_pass()


def test_of_many_threads_one_makes_the_trial(breaker: Breaker, clock: DrivenClock) -> None:
    fail(breaker, 3)
    clock.now_s += 5
    start, passed = threading.Barrier(8), []

    def ask() -> None:
        start.wait()
        passed.append(breaker.lets_pass())

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(passed) == 1


@given(st.lists(st.sampled_from(["succeeded", "failed", "wait", "ask"]), max_size=40))
def test_whatever_happened_a_success_closes_it_and_waiting_allows_a_trial(steps: list[str]) -> None:
    clock = DrivenClock()
    breaker = Breaker(max_failures=3, open_s=5.0, now_s=clock)
    for step in steps:
        if step == "wait":
            clock.now_s += 2.0
        elif step == "ask":
            breaker.lets_pass()
        else:
            getattr(breaker, step)()
    clock.now_s += 5.0
    assert breaker.lets_pass()
    breaker.succeeded()
    assert breaker.lets_pass()
    assert breaker.lets_pass()
