"""A stand-in for Ray's metrics that remembers what it was told."""

from collections import Counter

import pytest

from serving import metrics
from serving.metrics import Labels, Metric

Key = tuple[str, tuple[tuple[str, str], ...]]


class Recorded:
    """Everything told since the test began, by metric and labels."""

    def __init__(self) -> None:
        self.counts: Counter[Key] = Counter()
        self.gauges: dict[Key, float] = {}
        self.values: dict[Key, list[float]] = {}

    def count(self, metric: Metric, **labels: str) -> float:
        return self.counts[key_of(metric, labels)]

    def of(self, metric: Metric, **labels: str) -> list[float]:
        return self.values.get(key_of(metric, labels), [])


class OneMetric:
    def __init__(self, metric: Metric, into: Recorded) -> None:
        self._metric, self._into = metric, into

    def inc(self, value: float, labels: Labels) -> None:
        self._into.counts[self._key(labels)] += value  # type: ignore[assignment]

    def set(self, value: float, labels: Labels) -> None:
        self._into.gauges[self._key(labels)] = value

    def observe(self, value: float, labels: Labels) -> None:
        self._into.values.setdefault(self._key(labels), []).append(value)

    def _key(self, labels: Labels) -> Key:
        assert set(labels) == set(self._metric.labels), "Ray refuses what was not declared"
        return key_of(self._metric, labels)


def key_of(metric: Metric, labels: Labels) -> Key:
    return metric.name, tuple(sorted(labels.items()))


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> Recorded:
    into = Recorded()
    monkeypatch.setattr(metrics, "made", lambda metric: OneMetric(metric, into))
    return into
