"""What a server in the wild tells of itself, and to whom: metrics, logs, and who may reach what."""

import json
import re
import time
import urllib.error
import urllib.request
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.project.test_dashboard import OF_SERVE
from tests.system.server import SERVER, Server, ask, serving

with warnings.catch_warnings():
    # Ray Serve 2.60 declares its own configuration in a way that pydantic 2 deprecates.
    warnings.filterwarnings("ignore", "Using extra keyword arguments on `Field`")
    from serving.metrics import REQUESTS, SNAPSHOT_VERSION, STAGE_SECONDS

pytestmark = [pytest.mark.ray, pytest.mark.slow]

USER = "u0000002"
EXPORT_TIMEOUT_S = 60  # agents export every ten seconds
OPEN_BY_HAPROXY = {8404, 9101}  # its statistics; Ray Serve has no setting for their address


@pytest.fixture(scope="module")
def server(repo: Path, bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("observed")
    with serving(repo, bundle, folder, explainer_replicas=0) as running:
        yield running


def told_to_ray(server: Server, option: str) -> str:
    """What the server's own Ray was started with: another one may run on this machine."""
    found = re.findall(rf"--{option}=(\S+)", " ".join(server.descendants().values()))
    return str(found[0])


def exported(server: Server) -> str:
    """What Prometheus would scrape from all agents of this machine."""
    listed = Path(told_to_ray(server, "session-dir")).parent / "prom_metrics_service_discovery.json"
    found = json.loads(listed.read_text())
    pages = []
    for address in found[0]["targets"]:
        with urllib.request.urlopen(f"http://{address}/metrics", timeout=10) as answer:
            pages.append(answer.read().decode())
    return "\n".join(pages)


def test_prometheus_is_told_of_stages_and_versions(server: Server) -> None:
    assert len(ask("/v1/recommend", {"user_id": USER, "k": 3})["items"]) == 3
    wanted = [
        name
        for metric in (REQUESTS, STAGE_SECONDS, SNAPSHOT_VERSION)
        for name in metric.exported_as
    ]
    deadline, told = time.monotonic() + EXPORT_TIMEOUT_S, ""
    while time.monotonic() < deadline and not all(name in told for name in wanted):
        told = exported(server)
        time.sleep(1)
    lines = [line for line in told.splitlines() if line.startswith("ray_potluck_requests_total")]
    assert any('route="/v1/recommend"' in line and 'status="200"' in line for line in lines)
    assert all('deployment="Ranker"' in line and "replica=" in line for line in lines)
    assert [name for name in [*wanted, *OF_SERVE] if name not in told] == []
    assert USER not in told


def test_a_replicas_log_has_one_line_a_request(server: Server) -> None:
    content = json.dumps({"user_id": USER, "k": 3}).encode()
    headers = {"Content-Type": "application/json", "X-Request-ID": "seen-in-the-log"}
    request = urllib.request.Request(SERVER + "/v1/recommend", content, headers)
    with urllib.request.urlopen(request, timeout=60) as answer:
        assert answer.headers.get_all("X-Request-ID") == ["seen-in-the-log"]
    ask(f"/v1/users/{USER}")
    time.sleep(1)
    session = Path(told_to_ray(server, "session-dir"))
    logs = list((session / "logs" / "serve").glob("replica_*Ranker*.log"))
    lines = [json.loads(line) for log in logs for line in log.read_text().splitlines()]
    (ours,) = [line for line in lines if line.get("request_id") == "seen-in-the-log"]
    assert (ours["route"], ours["status"], ours["num_items"]) == ("/v1/recommend", 200, 3)
    assert {"user_read", "scoring", "attribution"} <= ours["stages_ms"].keys()
    assert USER not in json.dumps(lines)


def listening(server: Server) -> dict[int, str]:
    """Address by port of what the server's processes listen on for HTTP."""
    family = server.descendants()
    return {
        one.laddr.port: one.laddr.ip
        for one in psutil.net_connections("tcp4")
        if one.status == psutil.CONN_LISTEN and one.pid in family
    }


def dashboard_port(server: Server) -> int:
    """8265, or one of the next where another Ray's dashboard has it."""
    return min(port for port in listening(server) if 8265 <= port < 8315)


def test_dashboard_and_http_are_on_the_loopback_alone(server: Server) -> None:
    found = listening(server)
    assert {found[8000], found[dashboard_port(server)]} == {"127.0.0.1"}
    replicas = [ip for port, ip in found.items() if 30_000 <= port < 30_100]
    assert set(replicas) == {"127.0.0.1"}
    assert found.keys() >= OPEN_BY_HAPROXY


@pytest.mark.parametrize("body", [None, {"entrypoint": "id"}])
def test_a_job_without_the_token_is_refused(server: Server, body: Any) -> None:
    """Whoever may submit a job may run anything."""
    content = None if body is None else json.dumps(body).encode()
    jobs = f"http://127.0.0.1:{dashboard_port(server)}/api/jobs/"
    request = urllib.request.Request(jobs, content)
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=60)
    assert refused.value.code == 401
    assert re.search("Missing authentication token", refused.value.read().decode())
