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
        self.deadline_s, self._breaker, self._threads = deadline_s, breaker, threads

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
            return await asyncio.wait_for(running, self.deadline_s)

    async def wait(self, begin: Callable[[], Awaitable[T]]) -> T:
        """The result of what `begin` begins."""
        with self.watched():
            return await asyncio.wait_for(begin(), self.deadline_s)

    @contextlib.contextmanager
    def watched(self) -> Iterator[float]:
        """For what asks in its own way, within so many seconds: asks the breaker first, and tells
        it how it went."""
        self.begin()
        try:
            yield self.deadline_s
        except Exception as error:  # noqa: BLE001  `end` raises, whatever it was
            self.end(error)
        else:
            self.end()

    def begin(self) -> None:
        """Asks the breaker. Each `begin` that lets pass is followed by an `end`."""
        if not self._breaker.lets_pass():
            raise self._left_out("was not asked: it failed or was late several times in a row")

    def end(self, error: Exception | None = None) -> None:
        """Tells the breaker how it went; raises LeftOutError where there was an error."""
        if error is None:
            self._breaker.succeeded()
            return
        self._breaker.failed()
        if isinstance(error, TimeoutError):
            raise self._left_out(f"was late: over {1e3 * self.deadline_s:.0f} ms") from None
        raise self._left_out(f"failed: {type(error).__name__}") from error

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
