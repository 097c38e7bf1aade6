"""Pushing: the online store kept level with the event log, in a thread of its own.

In: the log, and a pusher. Out: whether the store has everything. Who asks waits for it, but once it
was late nobody does until it has caught up: a store that is slow or down holds up no event, for
what is acknowledged is in the log.
"""

import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from serving.event_log import LogReader
from serving.logs import log_error
from serving.metrics import timed
from serving.pusher import FeaturePusher, mark_beside

WAIT_S = 2.0  # a push is some 50 ms; clients of stores try again for 10 s before they fail
RETRY_S = 1.0  # after the store took no rows


class Pushing:
    """Of one process. `catch_up` is for one thread to call."""

    def __init__(self, pusher: FeaturePusher, log: Path, since_us: int) -> None:
        self._pusher, self._log, self._since_us = pusher, log, since_us
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="push")
        self._next: Future[bool] = self._thread.submit(self._push)
        self._is_late = False
        self._retry_at: float | None = None

    def catch_up(self) -> bool:
        """Push what is not pushed yet; whether the store has everything that the log has now."""
        if self._next.running() or self._next.done():  # it may have read the log already
            self._next = self._thread.submit(self._push)
        try:
            return self._next.result(0 if self._is_late else WAIT_S)
        except TimeoutError:
            self._is_late = True
            return False

    def is_due(self) -> bool:
        """Once a while after a push failed: whether it is time to catch up."""
        due = self._retry_at is not None and time.monotonic() >= self._retry_at
        if due:
            self._retry_at = None
        return due

    def _push(self) -> bool:
        reader = LogReader(self._log, since_us=self._since_us)
        try:
            with timed("feedback_push"):
                while self._pusher.push(reader, mark_beside(self._log)):
                    pass
        except Exception as error:  # noqa: BLE001  whatever it is, it is tried again
            log_error("feedback is in the log and not yet in the online store", error)
            self._retry_at = time.monotonic() + RETRY_S
            return False
        self._is_late = False
        return True
