"""Metrics: what Prometheus is told, by Ray's own agent, which each node exports for all its
replicas.

A `/metrics` route of the application would be answered by whichever replica the proxy picks, so
Ray's metrics are used (docs/adr/0016). Ray puts `ray_` before each name and `_total` behind that of
a counter, and adds the labels deployment, replica and application.
"""

import functools
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from ray.serve import metrics

from serving.timing import Passage, StageName

Labels = dict[str, str]
READ_EVERY_S = 5.0


@dataclass(frozen=True)
class Metric:
    name: str
    kind: Literal["counter", "gauge", "histogram"]
    says: str
    labels: tuple[str, ...] = ()
    bounds: tuple[float, ...] = ()
    """Of a histogram's buckets."""

    @property
    def exported_as(self) -> tuple[str, ...]:
        """Names of its series in Prometheus."""
        ends = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count")}
        return tuple(f"ray_{self.name}{end}" for end in ends[self.kind])


# Seconds; a stage takes tens of microseconds to a few milliseconds, a language model seconds.
SLOW_S = (1e-2, 2e-2, 5e-2, 0.1, 0.2, 0.5, 1, 5, 20, 60)
STAGE_BOUNDS_S = (1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, *SLOW_S)
REQUEST_BOUNDS_S = (1e-3, 2e-3, 3e-3, 5e-3, 7e-3, *SLOW_S)
COUNT_BOUNDS = (0.5, 1, 2, 4, 8, 16, 32, 64, 100)  # 0.5 parts none from one

REQUESTS = Metric(
    "potluck_requests", "counter", "Requests answered.", ("route", "method", "status")
)
REQUEST_SECONDS = Metric(
    "potluck_request_seconds",
    "histogram",
    "From a request's arrival to the end of its answer.",
    ("route",),
    REQUEST_BOUNDS_S,
)
STAGE_SECONDS = Metric(
    "potluck_stage_seconds", "histogram", "One run of a stage.", ("stage",), STAGE_BOUNDS_S
)
DEGRADED = Metric(
    "potluck_degraded", "counter", "Answers that did without a source or a stage.", ("what",)
)
SLATE_ITEMS = Metric("potluck_slate_items", "histogram", "Items in a slate.", (), COUNT_BOUNDS)
EXPLANATIONS = Metric(
    "potluck_explanations",
    "counter",
    "Sentences asked of the explainer; `cached` were written before.",
    ("outcome",),
)
EXPLAINER_BATCH = Metric(
    "potluck_explainer_batch_records",
    "histogram",
    "Records that the explainer's writer is given at once.",
    (),
    COUNT_BOUNDS,
)
LOGGED_VECTORS = Metric(
    "potluck_logged_vectors", "counter", "Served vectors for Feast's feature log.", ("outcome",)
)
IN_FLIGHT = Metric("potluck_requests_in_flight", "gauge", "Requests not yet answered.")
SNAPSHOT_AGE = Metric(
    "potluck_snapshot_age_seconds", "gauge", "Since the version that answers was taken over."
)
SNAPSHOT_VERSION = Metric(
    "potluck_snapshot_version", "gauge", "1 for the version that answers.", ("version",)
)
EVENT_LOG_BYTES = Metric("potluck_event_log_bytes", "gauge", "Size of the log of feedback.")

METRICS = (
    REQUESTS,
    REQUEST_SECONDS,
    STAGE_SECONDS,
    DEGRADED,
    SLATE_ITEMS,
    EXPLANATIONS,
    EXPLAINER_BATCH,
    LOGGED_VECTORS,
    IN_FLIGHT,
    SNAPSHOT_AGE,
    SNAPSHOT_VERSION,
    EVENT_LOG_BYTES,
)


@functools.cache
def made(metric: Metric) -> metrics.Counter | metrics.Gauge | metrics.Histogram:
    """Ray's metric, made when first needed: only in a replica does Ray know its labels."""
    if metric.kind == "histogram":
        return metrics.Histogram(metric.name, metric.says, list(metric.bounds), metric.labels)
    kind = metrics.Counter if metric.kind == "counter" else metrics.Gauge
    return kind(metric.name, metric.says, metric.labels)


def add(metric: Metric, value: float = 1, **labels: str) -> None:
    """Count on; 0 counts nothing."""
    if value:
        made(metric).inc(value, labels)


def observe(metric: Metric, value: float, **labels: str) -> None:
    made(metric).observe(value, labels)


def count_passage(passage: Passage, route: str, method: str, status: int) -> None:
    """All that one request counts for, once its answer is out."""
    add(REQUESTS, route=route, method=method, status=str(status))
    observe(REQUEST_SECONDS, passage.took_s(), route=route)
    for took in passage.stages:
        observe(STAGE_SECONDS, took.s, stage=took.stage)
    for what in passage.degraded:
        add(DEGRADED, what=what)
    if passage.num_items is not None:
        observe(SLATE_ITEMS, passage.num_items)


@contextmanager
def timed(name: StageName) -> Iterator[None]:
    """A stage that belongs to no single request: of a group of events, say."""
    began_s = time.perf_counter()
    try:
        yield
    finally:
        observe(STAGE_SECONDS, time.perf_counter() - began_s, stage=name)


Reading = Callable[[], Mapping[Metric, tuple[float, Labels]]]


def export_gauges(read: Reading) -> None:
    """Set gauges to what `read` says now."""
    for metric, (value, labels) in read().items():
        made(metric).set(value, labels)


def watch(read: Reading) -> threading.Thread:
    """Exports gauges every few seconds as long as the process runs."""

    def keep_reading() -> None:
        while True:
            export_gauges(read)
            threading.Event().wait(READ_EVERY_S)

    thread = threading.Thread(target=keep_reading, name="gauges", daemon=True)
    thread.start()
    return thread
