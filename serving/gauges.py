"""Gauges: what of a replica changes between requests, read every few seconds for Prometheus."""

import time
from collections.abc import Mapping
from pathlib import Path

from serving.gate import in_a_replica
from serving.live import Live
from serving.metrics import (
    EVENT_LOG_BYTES,
    IN_FLIGHT,
    SNAPSHOT_AGE,
    SNAPSHOT_VERSION,
    Labels,
    Metric,
    watch,
)
from serving.observer import OBSERVING


class ReplicaGauges:
    """Of the ranker's replica."""

    def __init__(self, live: Live, event_log: Path) -> None:
        self._live, self._event_log = live, event_log
        self._version, self._since_s = live.state.version, time.monotonic()

    def read(self) -> Mapping[Metric, tuple[float, Labels]]:
        """Values now. A version that no longer answers is not told of again."""
        if self._live.state.version != self._version:
            self._version, self._since_s = self._live.state.version, time.monotonic()
        size = self._event_log.stat().st_size if self._event_log.exists() else 0
        return {
            IN_FLIGHT: (OBSERVING.in_flight, {}),
            SNAPSHOT_AGE: (time.monotonic() - self._since_s, {}),
            SNAPSHOT_VERSION: (1, {"version": self._version}),
            EVENT_LOG_BYTES: (size, {}),
        }


def watch_replica(live: Live, event_log: Path) -> None:
    """Exports the gauges from now on; does nothing where Ray Serve does not run."""
    if in_a_replica():
        watch(ReplicaGauges(live, event_log).read)
