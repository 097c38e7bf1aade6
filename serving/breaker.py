"""Circuit breaker: what has failed several times in a row is left alone for a while, then tried
with one call.

In: how each call went. Out: whether the next may be made. It makes no call itself and knows no
deadline (deadlines.py does both). Safe to ask from several threads.
"""

import threading
import time
from collections.abc import Callable


class Breaker:
    """Opens after `max_failures` in a row, for `open_s` seconds; then one trial at a time.

    >>> now_s = 0.0
    >>> breaker = Breaker(max_failures=2, open_s=5.0, now_s=lambda: now_s)
    >>> breaker.failed(), breaker.failed(), breaker.lets_pass()
    (None, None, False)
    >>> now_s = 5.0
    >>> breaker.lets_pass(), breaker.lets_pass()  # the trial, and whoever comes with it
    (True, False)
    >>> breaker.succeeded()
    >>> breaker.lets_pass()
    True
    """

    def __init__(
        self, max_failures: int, open_s: float, now_s: Callable[[], float] = time.monotonic
    ) -> None:
        self._max_failures, self._open_s, self._now_s = max_failures, open_s, now_s
        self._failures = 0
        self._trial_at_s = 0.0
        self._lock = threading.Lock()

    @property
    def is_open(self) -> bool:
        """True from the last failure that counted until a trial succeeds."""
        return self._failures >= self._max_failures

    def lets_pass(self) -> bool:
        """Whether a call may be made now. Who was let pass says how it went; a trial of which
        nothing is heard (its request was cancelled) is followed by another after `open_s`."""
        if not self.is_open:
            return True
        with self._lock:
            now_s = self._now_s()
            if now_s < self._trial_at_s:
                return False
            self._trial_at_s = now_s + self._open_s
            return True

    def succeeded(self) -> None:
        """A call went well: closed."""
        self._failures = 0

    def failed(self) -> None:
        """A call failed or was late."""
        with self._lock:
            self._failures += 1
            if self.is_open:
                self._trial_at_s = self._now_s() + self._open_s
