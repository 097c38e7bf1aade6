"""Deadlines: each part of an answer has its time. A part that is late, that fails, or that failed
so often that it is left alone for now, is left out, and the answer names it.

In: a function that may block, or a coroutine. Out: its result, or a `LeftOutError` that says what
is missing and why. What a deadline has given up runs on in its thread; threads are few, and before
they all wait for the same thing its breaker has opened.
"""

import asyncio
import contextlib
import contextvars
import logging
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Executor
from typing import TypeVar

from serving.api import Degradation, Stage
from serving.breaker import Breaker
from serving.timing import PASSAGE

logger = logging.getLogger("ray.serve")
T = TypeVar("T")


class LeftOutError(Exception):
    """A part that an answer has to do without."""

    def __init__(self, degradation: Degradation) -> None:
        super().__init__(f"{degradation.stage} {degradation.why}")
        self.degradation = degradation


class Guard:
    """The way to one thing that may be slow or down. Raises LeftOutError where it is."""

    def __init__(
        self,
        stage: Stage,
        deadline_s: float,
        breaker: Breaker,
        threads: Executor,
        source: str | None = None,
    ) -> None:
        self._stage, self._source = stage, source
        self._deadline_s, self._breaker, self._threads = deadline_s, breaker, threads

    @property
    def is_open(self) -> bool:
        """Whether it failed so often that it is left alone."""
        return self._breaker.is_open

    async def run(self, function: Callable[..., T], *args: object) -> T:
        """The function's result, waited for without holding up other requests."""
        with self.watched():
            loop = asyncio.get_running_loop()
            in_context = contextvars.copy_context().run  # so that its stages are timed
            running = loop.run_in_executor(self._threads, in_context, function, *args)
            return await asyncio.wait_for(running, self._deadline_s)

    async def wait(self, begin: Callable[[], Awaitable[T]]) -> T:
        """The result of what `begin` begins."""
        with self.watched():
            return await asyncio.wait_for(begin(), self._deadline_s)

    def call(self, function: Callable[..., T], *args: object) -> T:
        """The function's result, waited for here."""
        with self.watched():
            in_context = contextvars.copy_context().run
            return self._threads.submit(in_context, function, *args).result(self._deadline_s)

    @contextlib.contextmanager
    def watched(self) -> Iterator[float]:
        """For what asks in its own way, within so many seconds: asks the breaker first, and tells
        it how it went."""
        if not self._breaker.lets_pass():
            raise self._left_out("was not asked: it failed or was late several times in a row")
        try:
            yield self._deadline_s
        except TimeoutError:
            self._breaker.failed()
            raise self._left_out(f"was late: over {1e3 * self._deadline_s:.0f} ms") from None
        except Exception as error:
            self._breaker.failed()
            raise self._left_out(f"failed: {type(error).__name__}") from error
        self._breaker.succeeded()

    def _left_out(self, why: str) -> LeftOutError:
        return LeftOutError(noted(Degradation(stage=self._stage, source=self._source, why=why)))


def noted(degradation: Degradation) -> Degradation:
    """The one place that each degradation of an answer passes."""
    what = f"{degradation.stage} {degradation.source or ''}".strip()
    logger.warning("answered without %s: it %s", what, degradation.why)
    passage = PASSAGE.get()
    if passage is not None:
        passage.degraded = (*passage.degraded, what)
    return degradation
