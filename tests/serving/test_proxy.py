"""What HAProxy is started with, tested with HAProxy itself, which checks its configuration."""

import os
import subprocess
from pathlib import Path

import pytest

from serving.errors import RETRY_AFTER_S
from serving.proxy import SCRIPT, proxy_flags

RAYS = """defaults
    mode http
    timeout connect 5s
    timeout client 5s
    timeout server 5s
    errorfile 503 {folder}/500.http
frontend prometheus
    bind :{port}
    http-request use-service prometheus-exporter if {{ path /metrics }}
frontend http_frontend
    bind {host}:8000
    {routes}
    default_backend default_backend
backend default_backend
    http-request return status 404 content-type text/plain lf-string "Path '%[path]' not found."
backend replicas
    server one 127.0.0.1:30000
listen stats
  bind *:8404
  stats enable
"""


def started(folder: Path, host: str = "127.0.0.1", routes: str = "use_backend replicas") -> str:
    """The configuration after the script has run; HAProxy says whether it is a good one."""
    config = folder / "haproxy.cfg"
    config.write_text(RAYS.format(folder=folder, host=host, port=9101, routes=routes))
    (folder / "500.http").write_text("HTTP/1.1 500 Internal Server Error\r\n\r\n")
    flags = proxy_flags()
    command = [flags["RAY_SERVE_HAPROXY_BINARY_PATH"], "-c", "-f", str(config)]
    done = subprocess.run(command, env={**os.environ, **flags}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return config.read_text()


def test_a_request_that_no_replica_answered_may_be_sent_again(tmp_path: Path) -> None:
    config = started(tmp_path)
    head, body = (tmp_path / "500.http").read_bytes().split(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 503 ")
    assert f"Retry-After: {RETRY_AFTER_S}".encode() in head
    assert f"Content-Length: {len(body)}".encode() in head
    assert body.startswith(b'{"error":"unavailable"')
    assert "disable-l7-retry if { path_beg /v1/feedback }" in config
    assert f"set-header retry-after {RETRY_AFTER_S} if {{ status 503 }}" in config


def test_a_proxy_that_knows_no_replica_yet_says_so(tmp_path: Path) -> None:
    assert "return status 404" in started(tmp_path)
    config = started(tmp_path, routes="")
    assert "return status 404" not in config
    assert "return status 503 content-type application/json" in config


@pytest.mark.parametrize(("host", "others"), [("127.0.0.1", "127.0.0.1"), ("0.0.0.0", "")])
def test_statistics_listen_no_wider_than_the_server(tmp_path: Path, host: str, others: str) -> None:
    config = started(tmp_path, host)
    assert f"bind {others}:9101" in config
    assert f"bind {others or '*'}:8404" in config
    assert f"bind {host}:8000" in config


def test_the_script_may_be_run() -> None:
    assert os.access(SCRIPT, os.X_OK)
