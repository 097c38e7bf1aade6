"""The figures of scorers over seeds: gathered, compared, printed, written as JSON."""

import argparse
import json
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from training.baselines import Scorer
from training.bootstrap import Interval, intervals, user_means
from training.metrics import ndcg, recall
from training.protocols import Protocol
from training.queries import Queries
from training.ranking import hits, top_items

K = 10
METRICS = {f"recall@{K}": recall, f"ndcg@{K}": ndcg}
LEAD = f"ndcg@{K}"
FUSED = "fused"


@dataclass
class Measured:
    """The figures of one scorer, a value a seed."""

    values: dict[str, list[float]] = field(default_factory=dict)
    first: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    """The first seed's figures, one a query."""
    interval: dict[str, Interval] = field(default_factory=dict)
    fit_s: list[float] = field(default_factory=list)

    def add(self, scorer: Scorer, queries: Queries, seed: int) -> None:
        """Rank the test queries and note the figures; the first seed also gives the interval."""
        hits_QK = hits(
            top_items(scorer, queries, K, seed, progress=True), queries.relevant, queries.num_items
        )
        figures = {
            name: metric(hits_QK, queries.relevant.lengths, K) for name, metric in METRICS.items()
        }
        if not self.first:
            self.first = figures
            self.interval = intervals(figures, queries.user_index)
        for name, values_Q in figures.items():
            mean = user_means(values_Q[:, None], queries.user_index).mean()
            self.values.setdefault(name, []).append(float(mean))

    def cells(self, metric: str) -> str:
        """Mean, spread and interval of one metric, for the printed table."""
        values, interval = self.values[metric], self.interval[metric]
        between = f"{interval.low:.4f}-{interval.high:.4f}" if interval.low is not None else ""
        return f"{np.mean(values):10.4f}{np.std(values):9.4f}{between:>18s}"

    def summary(self) -> dict[str, object]:
        return {
            **{name: float(np.mean(values)) for name, values in self.values.items()},
            "spread": {name: float(np.std(values)) for name, values in self.values.items()},
            "interval": {name: [one.low, one.high] for name, one in self.interval.items()},
            "per_seed": self.values,
            "fit_s": float(np.mean(self.fit_s)) if self.fit_s else None,
        }


@dataclass
class Table:
    """All that a run measured."""

    baselines: dict[str, Measured] = field(default_factory=dict)
    channels: dict[str, Measured] = field(default_factory=dict)
    fused: dict[str, Measured] = field(default_factory=dict)
    weights: list[dict[str, float]] = field(default_factory=list)
    ahead: dict[str, dict[str, Interval]] = field(default_factory=dict)
    """Scorer -> metric: the blend's figure less the scorer's on the first seed, paired by user."""


def differences(
    fused: Measured, others: Mapping[str, Measured], queries: Queries
) -> dict[str, dict[str, Interval]]:
    """How far the blend is ahead of each scorer, with intervals over users."""
    return {
        name: intervals(
            {metric: fused.first[metric] - other.first[metric] for metric in METRICS},
            queries.user_index,
        )
        for name, other in others.items()
        if other is not fused
    }


def print_table(table: Table, protocol: Protocol) -> None:
    """Published figures and ours, with spread over seeds, interval over users and fitting cost."""
    head = "".join(f"{name:>10s}{'± seeds':>9s}{'95 % of users':>18s}" for name in METRICS)
    print(f"\n{'':28s}{head}{'fit s':>8s}")
    for one in protocol.published:
        print(f"{one.name:28s}{one.recall:10.4f}{'':27s}{one.ndcg:10.4f}{'':27s}  {one.source}")
    parts = {"baselines": table.baselines, "channels": table.channels, "fused": table.fused}
    for title, part in parts.items():
        print(f"-- {title}")
        for name, measured in part.items():
            print(f"{name:28s}" + "".join(measured.cells(metric) for metric in METRICS), end="")
            print(f"{np.mean(measured.fit_s):8.1f}" if measured.fit_s else "")
    best = max(table.channels, key=lambda name: float(np.mean(table.channels[name].values[LEAD])))
    ahead = table.ahead[best][LEAD]
    if ahead.low is not None and ahead.high is not None:
        own, other = table.fused[FUSED].interval[LEAD], table.channels[best].interval[LEAD]
        print(
            f"fused less {best}: {ahead.mean:+.4f} {LEAD} ({ahead.low:+.4f} to {ahead.high:+.4f}), "
            f"intervals {'disjoint' if own.above(other) else 'overlap'}"
        )
    weights = {name: np.mean([one[name] for one in table.weights]) for name in table.weights[0]}
    print("weights: " + ", ".join(f"{name} {weight:.2f}" for name, weight in weights.items()))


def as_json(table: Table, flags: argparse.Namespace, protocol: Protocol, wall_s: float) -> str:
    parts = {"baselines": table.baselines, "channels": table.channels}
    document = {
        "protocol": flags.protocol,
        "dataset": flags.dataset,
        "seeds": flags.seeds,
        **{name: measured.summary() for name, measured in table.fused.items()},
        **{
            part: {name: measured.summary() for name, measured in found.items()}
            for part, found in parts.items()
        },
        "fused_ahead_of": {
            name: {metric: one.model_dump() for metric, one in found.items()}
            for name, found in table.ahead.items()
        },
        "weights": table.weights,
        "published": [one.model_dump() for one in protocol.published],
        "wall_s": wall_s,
    }
    return json.dumps(document, indent=2) + "\n"
