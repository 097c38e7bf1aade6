"""Turns: guarded calls that one thread makes one after another.

In: calls that compute, each with its guard. Out: for each its result, or why it is left out.
Handing over to a thread and back costs as much as some calls do, so they share one thread;
whichever is late keeps that one to itself, and those after it go on in another.
"""

import contextvars
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from serving.deadlines import Guard, LeftOutError

T = TypeVar("T")
Call = Callable[[], T]


@dataclass
class Turns(Generic[T]):
    """What a thread has done of its calls, for another to see."""

    calls: Sequence[Call[T]]
    done: list[T | Exception] = field(default_factory=list)
    """Results, or errors, of the first calls."""
    now: tuple[int, float] = field(default_factory=lambda: (0, time.monotonic()))
    """Which call it is at, and since when."""
    is_given_up: bool = False

    def run(self) -> None:
        for place, call in enumerate(self.calls):
            if self.is_given_up:
                return
            self.now = place, time.monotonic()
            try:
                self.done.append(call())
            except Exception as error:  # noqa: BLE001  it is told to whoever waits for this
                self.done.append(error)


def in_turn(guarded: Sequence[tuple[Guard, Call[T]]], threads: Executor) -> list[T | LeftOutError]:
    """Each call's result, waited for here."""
    found: dict[int, T | LeftOutError] = {}
    left = []
    for place, (guard, _) in enumerate(guarded):
        try:
            guard.begin()
            left.append(place)
        except LeftOutError as error:
            found[place] = error
    while left:
        done = waited_for([guarded[place] for place in left], threads)
        for place, result in zip(left, done, strict=False):
            found[place] = ended(guarded[place][0], result)
        left = left[len(done) :]
    return [found[place] for place in range(len(guarded))]


def waited_for(guarded: Sequence[tuple[Guard, Call[T]]], threads: Executor) -> list[T | Exception]:
    """Results and errors of the calls up to the first that is late, which has a TimeoutError."""
    turns = Turns([call for _, call in guarded])
    running = threads.submit(contextvars.copy_context().run, turns.run)  # stages are timed there
    while True:
        place, since_s = turns.now
        left_s = since_s + guarded[place][0].deadline_s - time.monotonic()
        if left_s <= 0 and len(turns.done) <= place:
            turns.is_given_up = True
            return [*turns.done[:place], TimeoutError()]
        try:
            running.result(max(left_s, 0.0))
            return turns.done
        except TimeoutError:
            continue


def ended(guard: Guard, result: T | Exception) -> T | LeftOutError:
    """Tells the guard how its call went."""
    try:
        guard.end(result if isinstance(result, Exception) else None)
    except LeftOutError as error:
        return error
    assert not isinstance(result, Exception)
    return result
