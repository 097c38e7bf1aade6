"""The cluster file against Ray's own schema and the promises that its comments make."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

CLUSTER_FILE = Path(__file__).resolve().parents[2] / "ray_cluster.yaml"


@pytest.fixture
def cluster() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(CLUSTER_FILE.read_text())
    return loaded


def test_ray_accepts_it(cluster: dict[str, Any]) -> None:
    validate_config(prepare_config(cluster))


def test_ray_rejects_it_once_a_key_is_misspelt(cluster: dict[str, Any]) -> None:
    cluster["available_node_type"] = cluster.pop("available_node_types")
    with pytest.raises(Exception, match="available_node_type"):
        validate_config(prepare_config(cluster))


def test_it_has_head_cpu_and_gpu_types(cluster: dict[str, Any]) -> None:
    assert set(cluster["available_node_types"]) == {"head", "cpu_worker", "gpu_worker"}
    assert cluster["head_node_type"] == "head"
    assert cluster["available_node_types"]["gpu_worker"]["min_workers"] == 0


def test_the_dashboard_stays_on_loopback(cluster: dict[str, Any]) -> None:
    start = " ".join(cluster["head_start_ray_commands"])
    assert "--dashboard-host=127.0.0.1" in start
    assert "RAY_SERVE_ENABLE_HA_PROXY=1" in start


def test_every_node_asks_for_the_token(cluster: dict[str, Any]) -> None:
    for kind in ("head", "worker"):
        command = next(c for c in cluster[f"{kind}_start_ray_commands"] if "ray start" in c)
        assert "RAY_AUTH_MODE=token" in command.split("ray start")[0]
        assert "--metrics-export-port=8080" in command
    assert cluster["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"


def test_each_top_level_key_is_commented() -> None:
    lines = CLUSTER_FILE.read_text().splitlines()
    uncommented = [
        line.split(":")[0]
        for number, line in enumerate(lines)
        if line[:1].isalpha() and not _explained(lines, number)
    ]
    # `auth` and the two blocks below explain themselves key by key.
    assert set(uncommented) <= {
        "provider",
        "auth",
        "available_node_types",
        "worker_start_ray_commands",
    }


def _explained(lines: list[str], number: int) -> bool:
    return number > 0 and lines[number - 1].startswith("#")
