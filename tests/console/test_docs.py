"""The page of the HTTP interface: whole, from this server alone, and not framed."""

from collections.abc import Callable

import pytest
from fastapi.testclient import TestClient
from playwright.sync_api import Page, expect

from serving.page import SWAGGER_UI

Look = Callable[..., Page]


def test_the_interface_is_shown_and_nothing_is_asked_elsewhere(url: str, look: Look) -> None:
    page = look("about:blank")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    refused: list[str] = []
    page.on("console", lambda line: refused.append(line.text) if line.type == "error" else None)
    page.goto(f"{url}/docs")
    expect(page.get_by_text("/v1/recommend").first).to_be_visible()
    assert [one for one in asked if not one.startswith((url, "data:"))] == []
    assert refused == []


def test_its_files_come_with_the_package(client: TestClient) -> None:
    for name in SWAGGER_UI:
        assert len(client.get(f"/docs/{name}").content) > 100_000


@pytest.mark.parametrize("path", ["/docs/core.py", "/docs/..%2fcore.py", "/redoc"])
def test_nothing_else_is_served(client: TestClient, path: str) -> None:
    assert client.get(path).status_code == 404


def test_its_policy_lets_no_other_server_in(client: TestClient) -> None:
    policy = client.get("/docs").headers["content-security-policy"]
    assert "default-src 'none'; script-src 'self'; connect-src 'self'" in policy
    assert "http" not in policy
    assert "frame-ancestors 'none'" in policy
