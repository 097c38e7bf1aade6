"""The Grafana file asks for metrics that there are, by labels that they have."""

import json
import re
import warnings
from pathlib import Path
from typing import Any

import pytest

with warnings.catch_warnings():
    # Ray Serve 2.60 declares its own configuration in a way that pydantic 2 deprecates.
    warnings.filterwarnings("ignore", "Using extra keyword arguments on `Field`")
    from serving.metrics import METRICS

FILE = Path(__file__).resolve().parents[2] / "docs" / "grafana" / "potluck.json"
# Ray Serve's own, as its documentation lists them; tests/system asks a running server for them.
OF_SERVE = {
    "ray_serve_replica_processing_queries": {"deployment", "application", "replica"},
    "ray_serve_deployment_queued_queries": {"deployment", "application"},
}
OF_ALL = {"deployment", "application", "replica"}
OURS = {
    name: {*OF_ALL, *metric.labels, *({"le"} if name.endswith("_bucket") else ())}
    for metric in METRICS
    for name in metric.exported_as
}
NAME = re.compile(r"\bray_[a-z_]+")
BY = re.compile(r"\bby \(([^)]*)\)")
ASKED = re.compile(r"\b(ray_[a-z_]+){([^}]*)}")
LABEL = re.compile(r"(\w+)=~?\"")


def panels() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(FILE.read_text(encoding="utf-8"))["panels"]
    return found


def expressions() -> list[Any]:
    return [
        pytest.param(target["expr"], target["legendFormat"], id=panel["title"])
        for panel in panels()
        for target in panel["targets"]
    ]


@pytest.mark.parametrize(("expression", "legend"), expressions())
def test_every_metric_and_label_is_there(expression: str, legend: str) -> None:
    known = {**OURS, **OF_SERVE}
    kept = {label.strip() for part in BY.findall(expression) for label in part.split(",")}
    asked = ASKED.findall(expression)
    assert asked
    assert len(asked) == len(NAME.findall(expression))
    for name, selector in asked:
        assert kept | set(LABEL.findall(selector)) <= known[name]
    # A legend names what the result still has.
    assert set(re.findall(r"{{(\w+)}}", legend)) <= kept - {"le"}


def test_every_metric_of_ours_is_shown() -> None:
    asked = set(NAME.findall(FILE.read_text(encoding="utf-8")))
    assert [metric.name for metric in METRICS if not set(metric.exported_as) & asked] == []


def test_panels_lie_beside_each_other() -> None:
    places = [panel["gridPos"] for panel in panels()]
    assert all(place["x"] + place["w"] <= 24 for place in places)
    corners = {(place["x"], place["y"]) for place in places}
    assert len(corners) == len(places) == len({panel["id"] for panel in panels()})


def test_no_server_is_written_into_the_file() -> None:
    """Whoever imports it chooses the Prometheus."""
    assert all(panel["datasource"]["uid"] == "${source}" for panel in panels())
    assert "http" not in FILE.read_text(encoding="utf-8")
