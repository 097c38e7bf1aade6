"""Health: whether a replica can answer, and what it has to do without.

In: a replica's ranker, its guards and its event log. Out: nothing or an error for Ray Serve, which
replaces a replica that cannot answer; reasons for people. A store or an explainer that is down is a
reason, no error: a new replica would find it down as well.
"""

import logging
import os
import time
from collections.abc import Callable
from pathlib import Path

from serving.api import RecommendRequest
from serving.errors import UnavailableError
from serving.garbage import settle
from serving.guards import Guards
from serving.ranker import SlateRanker

NOBODY = "health check"
FRESH_S = 1.0  # anybody may ask for health; the ranker is asked so often
LEAST_BYTES = 1_000_000  # of the disk that keeps events
logger = logging.getLogger("ray.serve")


def prove(ranker: SlateRanker) -> None:
    """Rank for somebody of whom nothing is known. Raises UnavailableError where that fails."""
    try:
        slate = ranker.recommend(RecommendRequest(user_id=NOBODY, k=1), rows={})
    except Exception as error:
        logger.exception("the ranker does not answer")
        raise UnavailableError(f"the ranker fails: {type(error).__name__}") from error
    if not slate.items:
        raise UnavailableError("the ranker finds no item, not even a popular one")


class Pulse:
    """The proof that a replica's ranker answers, remembered for a second."""

    def __init__(self, now_s: Callable[[], float] = time.monotonic) -> None:
        self._now_s = now_s
        self._proven: tuple[SlateRanker, float] | None = None

    def feel(self, ranker: SlateRanker) -> None:
        """Raises UnavailableError as `prove` does."""
        if self._proven and self._proven[0] is ranker and self._now_s() < self._proven[1]:
            return
        self._proven = None
        prove(ranker)
        self._proven = ranker, self._now_s() + FRESH_S


def warm_up(ranker: SlateRanker, guards: Guards) -> None:
    """The first request of a process takes ten times as long as the next, and no user should be
    taken for unknown because of it; nor should requests wait for tokens of items that can be made
    before them. Raises UnavailableError as `prove` does."""
    prove(ranker)
    guards.warm_up(ranker.users, NOBODY)
    ranker.snapshot.fill_tokens()
    settle()


def reasons(guards: Guards, log: Path) -> list[str]:
    """What answers do without now, in words; empty where all is well."""
    found = [f"{name}: left alone after failing several times in a row" for name in guards.open()]
    return [*found, *unwritable(log)]


def unwritable(log: Path) -> list[str]:
    """Why feedback cannot be taken in."""
    try:
        with log.open("ab"):
            disk = os.statvfs(log)
    except OSError as error:
        return [f"feedback: {error.strerror}"]
    full = disk.f_bavail * disk.f_frsize < LEAST_BYTES
    return ["feedback: the disk that keeps it is full"] if full else []
