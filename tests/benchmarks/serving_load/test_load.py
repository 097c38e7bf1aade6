"""The load generator against a server that does nothing, and the figures of a run."""

import json
import warnings
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from tests.benchmarks.serving_load.client import Outcome, Traffic, another_process, send
from tests.benchmarks.serving_load.figures import figures, stages
from tests.benchmarks.serving_load.freshness import Freshness
from tests.benchmarks.serving_load.page import main, table
from tests.benchmarks.serving_load.reads import Reads

with warnings.catch_warnings():
    # Ray Serve 2.60 declares its own configuration in a way that pydantic 2 deprecates.
    warnings.filterwarnings("ignore", "Using extra keyword arguments on `Field`")
    from tests.benchmarks.serving_load.floors import PATH, bare_server

BODIES = (b"{}", b'{"user_id": "u"}')


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with bare_server() as port:
        yield port


@pytest.mark.slow
def test_every_request_is_answered_and_timed_from_another_process(port: int) -> None:
    traffic = Traffic(port, PATH, BODIES, clients=4, seconds=0.5, warm_up_s=0.1)
    with another_process() as process:
        outcome = process.submit(send, traffic).result()
    assert outcome.statuses == {200: len(outcome.ms)}
    assert len(outcome.ms) > 10
    assert (outcome.ms > 0).all()


@pytest.mark.slow
def test_an_open_loop_sends_as_many_as_it_is_told(port: int) -> None:
    traffic = Traffic(port, PATH, BODIES, clients=32, seconds=1.0, warm_up_s=0.0, rate=50.0)
    assert len(send(traffic).ms) == pytest.approx(50, abs=2)


@pytest.mark.slow
def test_a_wrong_answer_is_counted(port: int) -> None:
    outcome = send(Traffic(port, "/nowhere", BODIES, seconds=0.2, warm_up_s=0.0))
    assert set(outcome.statuses) == {404}


def outcome(ms: float, qps: float = 100.0) -> Outcome:
    many = np.full(100, ms)
    return Outcome(many, {200: 100}, 100 / qps, 0.1, ["app;dur=9.0, user_read;dur=1.5"])


OUTCOMES = {
    "bare one": [outcome(0.2)],
    "bare many": [outcome(1.0)],
    "noop one": [outcome(1.0)],
    "noop many": [outcome(2.0)],
    "composed one": [outcome(4.0), outcome(5.0), outcome(6.0)],
    "composed many": [outcome(9.0, qps=200)],
    "app one": [outcome(9.0), outcome(10.0), outcome(50.0)],
    "app many": [outcome(90.0, qps=90)],
    "app open": [outcome(12.0)],
}
READS = Reads(np.full(9, 1.0), np.full(9, 1.5), np.full(9, 4.0), np.full(3, 60.0))
FRESH = {
    "alone": Freshness([12.0] * 100, [10.0] * 100, 0),
    "loaded": Freshness([22.0] * 100, [20.0] * 100, 0),
}


def test_a_ratio_is_of_medians_over_rounds() -> None:
    report = figures(OUTCOMES, READS, FRESH)
    assert (report["p50_ms"], report["noop_p50_ms"]) == (10.0, 5.0)
    assert report["ratios"] == {"p50": 2.0, "p99": 2.0, "qps": 0.45}
    assert report["met"] == {
        "p50": True, "p99": True, "qps": False, "feature_read": True, "feedback": True,
    }  # fmt: skip
    assert report["feature_read_p50_ms"] == 2.5
    assert report["feedback_visible_p99_ms"] == 20.0


def test_a_change_that_nobody_saw_is_no_quick_one() -> None:
    unseen = replace(FRESH["alone"], unseen=2)
    assert unseen.percentile(99) == 10_000
    report = figures(OUTCOMES, READS, {**FRESH, "alone": unseen})
    assert not report["met"]["feedback"]


def test_stages_are_read_from_the_servers_own_header() -> None:
    assert stages([outcome(1.0)]) == {"app": 9.0, "user_read": 1.5}


def test_the_table_names_what_was_missed() -> None:
    size = {"users": 10, "items": 20, "candidates": 5, "k": 2, "clients": 4}
    report = figures(OUTCOMES, READS, FRESH)
    report |= {"size": size, "rounds": 3, "seconds": 1.0, "machine": {"cores": 2}}
    shown = table(json.loads(json.dumps(report)))
    assert "| throughput, share of two no-op deployments' | 45% | at least 50% | missed |" in shown
    assert "2.0 | at most 3 | met |" in shown


def test_the_page_in_docs_is_fresh() -> None:
    main(["--check"])
