"""The console's files and headers; what the page does is in test_console.py."""

import re

import pytest
from fastapi.testclient import TestClient
from setuptools import find_namespace_packages

from serving.page import FOLDER, KINDS

FILES = sorted(path.name for path in FOLDER.iterdir() if path.suffix in KINDS)
LOCAL = re.compile(r'(?:src|href)="([^"#]+)"|from "\./([^"]+)"')


@pytest.mark.parametrize("path", ["/", *(f"/console/{name}" for name in FILES)])
def test_every_part_forbids_what_is_not_its_own(client: TestClient, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 200
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert "require-trusted-types-for 'script'" in policy
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_all_that_the_page_names_is_there(client: TestClient) -> None:
    for name in FILES:
        text = (FOLDER / name).read_text(encoding="utf-8")
        for found in LOCAL.finditer(text):
            path = found[1] or f"console/{found[2]}"
            assert client.get(f"/{path}").status_code == 200, f"{name} names {path}"


def test_nothing_comes_from_elsewhere() -> None:
    for name in FILES:
        text = (FOLDER / name).read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"https?://|//[a-z]+\.[a-z]|innerHTML|insertAdjacentHTML", text), name


@pytest.mark.parametrize(
    "name", ["page.py", "..%2fapp.py", "..%2f..%2fpyproject.toml", "%2e%2e", ""]
)
def test_no_other_file_is_served(client: TestClient, name: str) -> None:
    assert client.get(f"/console/{name}").status_code == 404


def test_the_files_are_in_the_package() -> None:
    assert "serving.console" in find_namespace_packages(
        str(FOLDER.parents[1]), include=["serving*"]
    )


def test_every_answer_says_how_long_it_took(client: TestClient) -> None:
    for answer in (client.get("/healthz"), client.get("/nowhere")):
        whole = answer.headers["server-timing"].split(", ")[0]
        assert float(whole.removeprefix("app;dur=")) > 0
