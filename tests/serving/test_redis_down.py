"""Redis is killed while requests come: answers go on without it and say so; what was acknowledged
meanwhile is in the store once it is back."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from tests.serving.redis_server import Redis, production_store

pytestmark = pytest.mark.slow

Start = Callable[..., TestClient]
SESSION = {"session_items": ["i0000001"]}
WAIT_S = 60


@pytest.fixture
def redis(tmp_path: Path, repo: Path) -> Iterator[Redis]:
    """Empty whenever it is started."""
    folder = tmp_path / "production"
    folder.mkdir()
    server = Redis(folder)
    server.start()
    with production_store(repo, folder, server.port):
        yield server
    server.kill()


def recommend(client: TestClient, user_id: str) -> dict[str, Any]:
    body = {"user_id": user_id, "k": 5, "context": SESSION}
    answer = client.post("/v1/recommend", json=body)
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.json()
    assert len(told["items"]) == 5
    return told


def feed_back(client: TestClient, event_id: str) -> None:
    body = {"user_id": "u", "item_id": "i0000003", "action": "click", "event_id": event_id}
    answer = client.post("/v1/feedback", json=body)
    assert (answer.status_code, answer.json()["accepted"]) == (200, True), answer.text


def test_redis_is_killed_and_comes_back(start: Start, redis: Redis, tmp_path: Path) -> None:
    client = start(repo=tmp_path / "production", breaker_failures=3, breaker_open_s=0.5)
    feed_back(client, "before")
    assert recommend(client, "u")["known_user"]
    redis.kill()
    with ThreadPoolExecutor(4) as clients:
        for told in clients.map(lambda _: recommend(client, "u"), range(40)):
            [degraded] = told["degraded"]
            assert degraded["stage"] == "user"
            assert "behaviour" not in told["missing_sources"]  # this session's item
    feed_back(client, "meanwhile")
    redis.start()

    def is_back() -> bool:
        told = recommend(client, "u")
        return told["known_user"] and not told["degraded"]

    deadline = time.monotonic() + WAIT_S
    while not is_back():
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert client.get("/v1/users/u").json()["history"]
    assert client.get("/healthz").json()["status"] == "ready"
