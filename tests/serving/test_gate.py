"""What a request must pass before its route: size, key, rate; and that nothing of it is logged."""

import logging
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st

from serving.app import build
from serving.config import ServingConfig
from serving.gate import GATE
from serving.keys import check_exposure, hashed, read_keys
from serving.limits import RateLimit
from tests.serving.askers import REGULARS
from tests.serving.test_api import refusal

USER = REGULARS[0]
SLATE = {"user_id": USER, "k": 3}
HASH = "a" * 64
LIKE = {"user_id": USER, "item_id": "i0000001", "action": "like"}
Start = Callable[..., TestClient]


@pytest.fixture(autouse=True)
def _open_gate_afterwards() -> Iterator[None]:
    """Other tests' applications stand in the same process."""
    yield
    GATE.keys = GATE.max_bytes = GATE.rate = None


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    path = tmp_path / "keys.yaml"
    scopes = {"reader": ["read"], "shop": ["read", "feedback"], "boss": ["admin"]}
    entries = {n: {"sha256": hashed(f"key of {n}"), "scopes": s} for n, s in scopes.items()}
    path.write_text(yaml.safe_dump(entries))
    return path


def bearer(name: str) -> dict[str, str]:
    return {"Authorization": f"Bearer key of {name}"}


@pytest.mark.parametrize("headers", [{}, bearer("nobody"), {"Authorization": "Basic a2V5"}])
def test_without_a_key_only_what_holds_no_data(
    start: Start, keys: Path, headers: dict[str, str]
) -> None:
    client = start(api_keys=keys)
    for path in ("/", "/console/console.js", "/healthz", "/openapi.json"):
        assert client.get(path, headers=headers).status_code == 200
    for path in ("/v1/users/x", "/v1/items/x", "/v1/examples", "/nowhere"):
        refusal(client.get(path, headers=headers), 401, "no_key")
    for path in ("recommend", "explain", "explain/stream", "feedback"):
        answer = client.post(f"/v1/{path}", json={}, headers=headers)  # refused unread
        refusal(answer, 401, "no_key")
        assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize(
    ("name", "reads", "writes"), [("reader", 200, 403), ("shop", 200, 200), ("boss", 200, 200)]
)
def test_a_key_opens_what_its_scopes_say(
    start: Start, keys: Path, name: str, reads: int, writes: int
) -> None:
    client = start(api_keys=keys)
    read = client.post("/v1/recommend", json=SLATE, headers=bearer(name))
    written = client.post("/v1/feedback", json=LIKE, headers=bearer(name))
    assert (read.status_code, written.status_code) == (reads, writes)


def test_a_feedback_key_does_not_read(start: Start, tmp_path: Path) -> None:
    path = tmp_path / "keys.yaml"
    path.write_text(
        yaml.safe_dump({"bot": {"sha256": hashed("key of bot"), "scopes": ["feedback"]}})
    )
    client = start(api_keys=path)
    refusal(client.get(f"/v1/users/{USER}", headers=bearer("bot")), 403, "wrong_scope")
    assert client.post("/v1/feedback", json=LIKE, headers=bearer("bot")).status_code == 200


def test_a_made_key_opens(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "serving.keys", "--name", "shop", "--scopes", "read"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    token = printed.splitlines()[0].split()[-1]
    path = tmp_path / "keys.yaml"
    path.write_text(printed)
    found = read_keys(path).find(token)
    assert found is not None
    assert found[0] == "shop"
    assert (found[1].may("read"), found[1].may("feedback")) == (True, False)


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ("shop: {sha256: abc, scopes: [read]}", "shop.sha256"),
        (f"shop: {{sha256: {HASH}, scopes: [write]}}", "shop.scopes"),
        (f"shop: {{sha256: {HASH}, scopes: []}}", "shop.scopes"),
        ("shop: [", "keys.yaml"),
        ("", "dictionary"),
    ],
)
def test_a_wrong_file_of_keys_is_named(tmp_path: Path, content: str, named: str) -> None:
    path = tmp_path / "keys.yaml"
    path.write_text(content)
    with pytest.raises(ValueError, match=r"python -m serving\.keys") as caught:
        read_keys(path)
    assert named in str(caught.value)


def test_the_environment_may_name_the_file(
    bundle: Path, repo: Path, keys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POTLUCK_API_KEYS", str(keys))
    assert ServingConfig(bundle=bundle, repo=repo).api_keys == keys
    monkeypatch.setenv("POTLUCK_API_KEYS", "no/such/file")
    with pytest.raises(ValueError, match="file no/such/file does not exist"):
        ServingConfig(bundle=bundle, repo=repo)


def test_a_secret_in_an_address_is_refused_and_not_repeated(bundle: Path, repo: Path) -> None:
    given = {"bundle": str(bundle), "repo": str(repo), "explainer_url": "http://me:s3cret@host/v1"}
    with pytest.raises(ValueError, match=r"explainer_url: .*EXPLAINER_API_KEY") as caught:
        build(given)
    assert "s3cret" not in str(caught.value)


def test_no_setting_holds_a_secret(
    bundle: Path, repo: Path, keys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is shown of a configuration may be read by anybody who may read the logs."""
    monkeypatch.setenv("EXPLAINER_API_KEY", "s3cret")
    monkeypatch.setenv("POTLUCK_LOG_KEY", "s3cret")
    config = ServingConfig(bundle=bundle, repo=repo, api_keys=keys)
    assert "s3cret" not in config.model_dump_json() + repr(config)
    assert "key of shop" not in keys.read_text()


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.7", "example.org"])
def test_who_listens_to_others_asks_for_keys(host: str) -> None:
    with pytest.raises(ValueError, match="without API keys; give api_keys=FILE"):
        check_exposure(host, asks_for_keys=False)
    check_exposure(host, asks_for_keys=True)
    check_exposure("127.0.0.1", asks_for_keys=False)


def test_an_exposed_server_is_not_even_built(
    bundle: Path, repo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_SERVE_DEFAULT_HTTP_HOST", "0.0.0.0")
    with pytest.raises(ValueError, match=r"listens on 0\.0\.0\.0"):
        build({"bundle": str(bundle), "repo": str(repo)})


def test_a_large_request_is_refused_whether_it_says_so_or_not(start: Start) -> None:
    client = start(max_request_bytes=1_000)
    large = {"user_id": USER, "filters": {"deny": ["i" * 100] * 20}}
    refusal(client.post("/v1/recommend", json=large), 413, "too_large")

    def pieces() -> Iterator[bytes]:
        yield b'{"user_id": "'
        for _ in range(20):
            yield b"u" * 100

    headers = {"Content-Type": "application/json"}
    answer = client.post("/v1/recommend", content=pieces(), headers=headers)
    assert "content-length" not in answer.request.headers
    refusal(answer, 413, "too_large")
    assert client.post("/v1/recommend", json=SLATE).status_code == 200


def test_who_asks_too_often_is_told_when_to_come_again(start: Start, keys: Path) -> None:
    client = start(api_keys=keys, max_requests_per_s=0.5)
    path = f"/v1/users/{USER}"
    assert client.get(path, headers=bearer("reader")).status_code == 200
    answer = client.get(path, headers=bearer("reader"))
    refusal(answer, 429, "too_many_requests")
    assert 1 <= int(answer.headers["retry-after"]) <= 2
    assert client.get(path, headers=bearer("shop")).status_code == 200  # each key its own
    assert all(client.get("/healthz").status_code == 200 for _ in range(5))


@given(
    per_s=st.floats(0.1, 100),
    gaps_s=st.lists(st.floats(0, 3), min_size=1, max_size=60),
)
def test_no_more_pass_than_the_rate_and_whoever_waits_passes(
    per_s: float, gaps_s: list[float]
) -> None:
    limit, now_s, passed = RateLimit(per_s), 0.0, 0
    for gap_s in gaps_s:
        now_s += gap_s
        wait_s = limit.wait_s("one", now_s)
        passed += wait_s == 0
        if wait_s:
            now_s += wait_s + 1e-6
            assert limit.wait_s("one", now_s) == 0
            passed += 1
    assert passed <= max(2 * per_s, 1) + now_s * per_s + 1e-6


def test_no_text_of_users_reaches_the_logs(
    start: Start, own_repo: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    client = start(max_requests_per_s=1000)
    secret = "s3cret-of-a-user"

    def everything() -> set[int]:
        bodies: list[tuple[str, dict[str, Any]]] = [
            ("recommend", {"user_id": secret, "explain": "llm"}),
            ("recommend", {"user_id": secret, secret: 1}),
            ("explain", {"user_id": secret, "item_id": secret}),
            ("feedback", {**LIKE, "user_id": secret}),
            ("feedback", {**LIKE, "event_id": secret, "action": secret}),
        ]
        paths = [f"/v1/users/{secret}", f"/v1/items/{secret}", f"/{secret}"]
        answers = [client.post(f"/v1/{path}", json=body) for path, body in bodies]
        return {answer.status_code for answer in (*answers, *map(client.get, paths))}

    assert everything() == {200, 404, 422}
    (own_repo.parent / "data" / "current" / "online.db").write_text("no database")
    assert 503 in everything()
    ours = [one for one in caplog.records if not one.name.startswith("httpx")]  # the client's own
    assert not [one.name for one in ours if secret in one.getMessage() + str(one.__dict__)]
