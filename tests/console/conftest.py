"""The application over HTTP in a thread of this process, and a browser that looks at it."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest
import uvicorn
from fastapi.testclient import TestClient
from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.console.browser import chromium, chromium_path
from tests.serving import conftest as serving

# The fixtures that start the application without Ray.
own_repo = serving.own_repo
start = serving.start
client = serving.client

Serve = Callable[..., AbstractContextManager[str]]
START_TIMEOUT_S = 30
expect.set_options(timeout=20_000)  # a busy machine


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One a module: Playwright keeps an event loop in this thread as long as it runs."""
    path = chromium_path()
    if path is None:
        pytest.skip("no chromium; install Debian's package or set CHROMIUM to its path")
    with chromium(path) as started:
        yield started


@pytest.fixture
def url(start: Callable[..., TestClient]) -> Iterator[str]:
    """Address of the application without a language model."""
    with served(start()) as address:
        yield address


@contextmanager
def served(client: TestClient) -> Iterator[str]:
    """The client's application on a free port of the loopback."""
    config = uvicorn.Config(client.app, port=0, log_level="error", ws="none")
    config.timeout_graceful_shutdown = 1  # what a page still asks for is given up
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + START_TIMEOUT_S
    while not server.started and time.monotonic() < deadline:
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(START_TIMEOUT_S)


@pytest.fixture
def look(browser: Browser) -> Iterator[Callable[..., Page]]:
    """Opens a page: `look(url, width=360)`. At the end the page must have met no error."""
    contexts: list[BrowserContext] = []
    errors: list[str] = []

    def opened(address: str, width: int = 1180, **options: Any) -> Page:
        size = {"width": width, "height": 900}
        context = browser.new_context(viewport=size, reduced_motion="reduce", **options)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("dialog", lambda dialog: errors.append(f"dialog: {dialog.message}"))
        page.goto(address)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert errors == []
