"""Event log: accepted events in one append-only file that all replicas of a node share.

In: accepted events. Out: the same events in the same order to every replica, one JSON object a
line. Who writes holds the lock; who reads needs none: it takes the whole lines after those it had.
What replicas know of feedback follows from the log alone, so all of them end in one state.
"""

import fcntl
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from serving.pointer import durable

CHUNK_BYTES = 1 << 22  # of a long log read at a time


@dataclass(frozen=True)
class Event:
    event_id: str
    user_id: str
    item_id: str
    action: str
    value: float | None
    at_us: int
    """When it happened."""
    is_positive: bool
    received_at_us: int
    """When it was taken in, by the application's clock: data that ends later has it already."""


class LogReader:
    """Reads a log from `offset` on, each event once. A missing file is an empty log."""

    def __init__(self, path: Path, offset: int = 0, since_us: int | None = None) -> None:
        self.path, self.offset = path, offset
        self._since_us = since_us

    def new(self, limit: int | None = None) -> list[Event]:
        """Events appended since the last call and received since `since_us`, of `limit` lines at
        most; where there are none this costs a look at the file's size.

        ValueError names a line that is no event, and a log that was replaced by a shorter one.
        """
        events: list[Event] = []
        while (limit is None or len(events) < limit) and (lines := self._lines()):
            left = None if limit is None else limit - len(events)
            events += [self._event(line) for line in lines[:left]]
        return [e for e in events if self._since_us is None or e.received_at_us >= self._since_us]

    def _lines(self) -> list[bytes]:
        """The next whole lines, ends included."""
        size = self.path.stat().st_size if self.path.exists() else 0
        if size < self.offset:
            raise ValueError(
                f"feedback log {self.path} has {size} bytes, {self.offset} were read before: it "
                "was replaced while it was in use; restart the application"
            )
        if size == self.offset:
            return []
        with self.path.open("rb") as file:
            file.seek(self.offset)
            content = file.read(CHUNK_BYTES)
        # A line without its end is being written, or was when its writer died: not accepted.
        return content[: content.rfind(b"\n") + 1].splitlines(keepends=True)

    def _event(self, line: bytes) -> Event:
        try:
            event = Event(**json.loads(line))
        except (ValueError, TypeError) as error:
            raise ValueError(
                f"{self.path}, byte {self.offset} begins no feedback event: {error}"
            ) from error
        self.offset += len(line)
        return event


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """One writer of a file at a time, of all threads and processes of the machine; a dead one holds
    nothing."""
    with path.with_name(path.name + ".lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


class EventLog:
    """The writing side."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        durable(path.parent)  # the file's name must be as durable as its lines
        self.path = path

    def append(self, events: Sequence[Event], end: int) -> None:
        """Returns when the events are on the disk. Only within the log's lock, and `end` is where a
        reader that has read everything stands: what comes after it a dead writer left unfinished.
        OSError leaves the log as it was."""
        lines = [json.dumps(asdict(event), ensure_ascii=False) + "\n" for event in events]
        os.truncate(self.path, end)
        try:
            with self.path.open("ab") as file:
                file.write("".join(lines).encode())
                file.flush()
                os.fsync(file.fileno())
        except OSError:
            os.truncate(self.path, end)
            raise
