"""Figures of a serving run: what its JSON holds.

In: outcomes by place and load, a number a round; reads; freshness. Out: medians over rounds with
their range, ratios to the floors, and which targets are met.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from tests.benchmarks.serving_load.client import Outcome
from tests.benchmarks.serving_load.freshness import Freshness
from tests.benchmarks.serving_load.reads import Reads

Report = dict[str, Any]
TARGETS = {"p50": 3.0, "p99": 4.0, "qps": 0.5, "feature_read_ms": 3.0, "feedback_ms": 1_000.0}
FEAST_PUBLISHED_MS = 40.3  # Feast's own figure of 2026: 500 rows, precomputed, p50


def line(outcome: Outcome) -> str:
    """One load on a terminal."""
    wrong = {status: num for status, num in outcome.statuses.items() if status != 200}
    return (
        f"p50 {outcome.percentile(50):7.2f} ms  p99 {outcome.percentile(99):7.2f} ms  "
        f"{outcome.qps:7.0f} a second  client {100 * outcome.busy:3.0f} % busy"
        + (f"  not 200: {wrong}" if wrong else "")
    )


def figures(
    outcomes: Mapping[str, Sequence[Outcome]], reads: Reads, fresh: Mapping[str, Freshness]
) -> Report:
    """What the JSON holds beside size and machine."""
    loads = {name: over_rounds(rounds) for name, rounds in outcomes.items()}
    one, floor = loads["app one"], loads["composed one"]
    many, floor_many = loads["app many"], loads["composed many"]
    feature_ms = float(np.median(reads.request))
    report = {
        "p50_ms": one["p50_ms"],
        "p99_ms": one["p99_ms"],
        "qps": many["qps"],
        "noop_p50_ms": floor["p50_ms"],
        "noop_p99_ms": floor["p99_ms"],
        "noop_qps": floor_many["qps"],
        "feature_read_p50_ms": round(feature_ms, 3),
        "feedback_visible_p99_ms": round(max(own.percentile(99) for own in fresh.values()), 1),
        "ratios": {
            "p50": round(one["p50_ms"] / floor["p50_ms"], 2),
            "p99": round(one["p99_ms"] / floor["p99_ms"], 2),
            "qps": round(many["qps"] / floor_many["qps"], 2),
        },
        "reads": {
            "user_p50_ms": round(float(np.median(reads.user)), 3),
            "items_p50_ms": round(float(np.median(reads.items)), 3),
            "tokens_p50_ms": round(float(np.median(reads.tokens)), 3),
            "feast_items_p50_ms": round(float(np.median(reads.feast_items)), 1),
            "feast_published_p50_ms": FEAST_PUBLISHED_MS,
        },
        "freshness": {name: freshness(own) for name, own in fresh.items()},
        "stages_p50_ms": stages(outcomes["app one"]),
        "loads": loads,
    }
    return report | {"met": met(report)}


def over_rounds(rounds: Sequence[Outcome]) -> Report:
    """Medians over rounds, and the least and greatest of them."""
    own: dict[str, Callable[[Outcome], float]] = {
        "p50_ms": lambda outcome: outcome.percentile(50),
        "p99_ms": lambda outcome: outcome.percentile(99),
        "qps": lambda outcome: outcome.qps,
        "client_busy": lambda outcome: outcome.busy,
    }
    found: Report = {"requests": sum(len(outcome.ms) for outcome in rounds)}
    for name, figure in own.items():
        values = [figure(outcome) for outcome in rounds]
        found[name] = round(float(np.median(values)), 3)
        found[f"{name}_range"] = [round(min(values), 3), round(max(values), 3)]
    found["not_200"] = sum(
        num for outcome in rounds for status, num in outcome.statuses.items() if status != 200
    )
    return found


def freshness(own: Freshness) -> Report:
    """Milliseconds from the acknowledgement, and from the sending, to a changed answer."""
    return {
        "trials": len(own.from_sent) + own.unseen,
        "unseen": own.unseen,
        "p50_ms": round(own.percentile(50), 1),
        "p99_ms": round(own.percentile(99), 1),
        "from_sent_p99_ms": round(float(np.percentile(own.from_sent, 99)), 1),
    }


def stages(rounds: Sequence[Outcome]) -> dict[str, float]:
    """Median milliseconds by stage, as the server timed itself."""
    found: dict[str, list[float]] = defaultdict(list)
    for outcome in rounds:
        for timing in outcome.timings:
            for name, ms in re.findall(r"(\w+);dur=([\d.]+)", timing):
                found[name].append(float(ms))
    return {name: round(float(np.median(values)), 3) for name, values in found.items()}


def met(report: Report) -> dict[str, bool]:
    """Whether each target is met."""
    ratios = report["ratios"]
    return {
        "p50": ratios["p50"] <= TARGETS["p50"],
        "p99": ratios["p99"] <= TARGETS["p99"],
        "qps": ratios["qps"] >= TARGETS["qps"],
        "feature_read": report["feature_read_p50_ms"] < TARGETS["feature_read_ms"],
        "feedback": report["feedback_visible_p99_ms"] <= TARGETS["feedback_ms"],
    }
