"""Impressions: what was shown where places were explored, in one append-only file.

In: a slate with propensities. Out: one JSON object a line, which `off_policy.py` reads beside the
feedback. Unlike feedback an impression is not waited for: one that a crash takes away is missing
from an estimate, and biases none, as what was drawn does not depend on it.
"""

import json
import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

logger = logging.getLogger("ray.serve")


@dataclass(frozen=True)
class Impression:
    """A slate as it was shown."""

    request_id: str
    version: str
    """Of the bundle and the snapshot that ranked."""
    user_id: str
    at_us: int
    """By the application's clock, which feedback without an instant of its own goes by too."""
    item_ids: Sequence[str]
    """In the slate's order."""
    propensities: Sequence[float]
    """For each item the probability that this slate would show it."""
    explore: float
    """Probability with which a place was explored."""


class ImpressionLog:
    """Replicas of a node may write to the same file: a line is one write at its end."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path

    def append(self, impression: Impression | None) -> None:
        """Costs tens of microseconds. A disk that takes nothing is told of, and fails no answer."""
        if impression is None:
            return
        line = json.dumps(asdict(impression)) + "\n"
        try:
            handle = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
            try:
                os.write(handle, line.encode())
            finally:
                os.close(handle)
        except OSError as error:
            logger.warning("impression %s is lost: %s", impression.request_id, error)


def read_impressions(path: Path) -> Iterator[Impression]:
    """The impressions of a log. ValueError names the line that is none; a last line without its end
    is being written."""
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            if not line.endswith("\n"):
                return
            try:
                yield Impression(**json.loads(line))
            except (ValueError, TypeError) as error:
                raise ValueError(f"{path}, line {number} is no impression: {error}") from error
