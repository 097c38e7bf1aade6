"""Counting: the counters of the snapshots in use, level with the log of events.

In: snapshots, and the log that all replicas of a node share. Out: the same snapshots, with every
event counted once that a replica has acknowledged.
"""

import threading
import weakref
from pathlib import Path

from serving.clock import microseconds
from serving.event_log import LogReader
from serving.item_changes import count
from serving.popularity import Popularity
from serving.snapshot import Snapshot


class Counting:
    """Of one process. A snapshot that nobody uses any more is forgotten."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._counts: list[Counts] = []
        self._lock = threading.Lock()

    def begin(self, snapshot: Snapshot) -> None:
        """Count the whole log for a snapshot that nobody uses yet, so that no request waits."""
        counts = Counts(snapshot, self._log)
        counts.catch_up(snapshot)
        with self._lock:
            self._counts.append(counts)

    def catch_up(self, snapshot: Snapshot) -> None:
        """Count what was appended since."""
        with self._lock:
            self._counts_of(snapshot).catch_up(snapshot)

    def _counts_of(self, snapshot: Snapshot) -> "Counts":
        self._counts = [counts for counts in self._counts if counts.popularity() is not None]
        for counts in self._counts:
            if counts.popularity() is snapshot.popularity:
                return counts
        self._counts.append(Counts(snapshot, self._log))
        return self._counts[-1]


class Counts:
    """How far the counters of one snapshot have followed the log."""

    def __init__(self, snapshot: Snapshot, log: Path) -> None:
        self.popularity: weakref.ref[Popularity] = weakref.ref(snapshot.popularity)
        self._reader = LogReader(log, since_us=microseconds(snapshot.bundle.as_of))

    def catch_up(self, snapshot: Snapshot) -> None:
        """Count what was appended. Items that this snapshot lacks are passed over."""
        count(snapshot, self._reader.new())
