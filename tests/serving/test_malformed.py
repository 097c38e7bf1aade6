"""Ten thousand malformed requests: each is refused with the one body, and none does harm.

Some are drawn by schemathesis from the OpenAPI document, the rest by hand: nasty values in every
place of good bodies, bytes cut and flipped, wrong content types, strange paths and headers. The
application runs in this process, without Ray. Everything follows from fixed seeds.
"""

import asyncio
import copy
import json
import random
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
import schemathesis
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode

pytestmark = pytest.mark.slow

NUM_REQUESTS = 10_000
NUM_DRAWN = 60  # by schemathesis, for each operation that takes a body
JSON = "application/json"
Malformed = tuple[str, str, bytes, str]  # method, path, content, its type

GOOD: dict[str, dict[str, Any]] = {
    "/v1/recommend": {
        "user_id": "u0000002",
        "k": 3,
        "context": {"session_items": ["i0000001"], "categories": ["jazz"]},
        "filters": {"exclude_seen": True, "allow": ["i0000001"], "deny": [], "categories": None},
        "explain": "template",
        "details": False,
    },
    "/v1/explain": {"user_id": "u0000002", "item_id": "i0000001", "explain": "template"},
    "/v1/explain/stream": {"user_id": "u0000002", "item_id": "i0000001", "explain": "template"},
    "/v1/feedback": {
        "user_id": "u0000002",
        "item_id": "i0000001",
        "action": "rate",
        "value": 3.0,
        "event_id": "e",
        "at": "2025-12-30T00:00:00Z",
    },
}
# As JSON; none of them is good anywhere in the bodies above but for null and the empty list.
NASTY = [
    "NaN",
    "-Infinity",
    "1e999",
    "1" * 4000,
    "-0.1e-400",
    '"\\ud800"',
    '"\\u0000"',
    '"' + "x" * 10_000 + '"',
    '""',
    "[" * 100 + "]" * 100,
    "[" * 20_000 + "]" * 20_000,
    '{"a":' * 500 + "1" + "}" * 500,
    '{"__proto__": {}}',
    "true",
    "[null]",
    "9223372036854775808",
    '"1e9"',
    '"\' OR 1=1 --"',
    '{"$ne": null}',
    "[[]]",
    "0x10",
    "undefined",
    "\ufeff1",
]
TYPES = [
    JSON,
    "text/plain",
    "application/xml",
    "multipart/form-data",
    "application/json; charset=x",
]
PATHS = [
    "/v1/items/%00",
    "/v1/items/%ff%fe",
    "/v1/items/" + "a" * 8_000,
    "/v1/items/../../etc/passwd",
    "/v1/items/%2e%2e%2fetc%2fpasswd",
    "/v1/users/%ed%a0%80",
    "/console/../app.py",
    "/console/%2e%2e%2fapp.py",
    "//v1/recommend",
    "/v1/recommend/",
    "/v1/%72ecommend?x=%ff",
    "/v1/feedback?user_id=u",
    "/%",
    "/.git/config",
]


def places(value: object, at: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Where in a body something else can stand."""
    if at:
        yield at
    if not isinstance(value, dict | list):
        return
    entries = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in entries:
        yield from places(inner, (*at, key))


def with_nasty(rng: random.Random) -> Malformed:
    """A good body but for one value."""
    path, good = rng.choice(list(GOOD.items()))
    body: Any = copy.deepcopy(good)
    *way, last = rng.choice(list(places(body)))
    inner = body
    for key in way:
        inner = inner[key]
    inner[last] = "NASTY"
    content = json.dumps(body).replace('"NASTY"', rng.choice(NASTY), 1)
    return "POST", path, content.encode("utf-8"), JSON


def with_wrong_fields(rng: random.Random) -> Malformed:
    path, good = rng.choice(list(GOOD.items()))
    body = copy.deepcopy(good)
    if rng.random() < 0.5:
        body[rng.choice(["K", "users", "__class__", "", "x" * 5_000])] = rng.choice([1, None, {}])
    else:
        del body[rng.choice(["user_id"])]
    return "POST", path, json.dumps(body).encode(), JSON


def with_broken_bytes(rng: random.Random) -> Malformed:
    path, good = rng.choice(list(GOOD.items()))
    content = bytearray(json.dumps(good).encode())
    if rng.random() < 0.5:
        del content[rng.randrange(len(content)) :]
    else:
        for _ in range(rng.randint(1, 8)):
            content[rng.randrange(len(content))] = rng.randrange(128, 256)
    return "POST", path, bytes(content), JSON


def with_wrong_type(rng: random.Random) -> Malformed:
    path, good = rng.choice(list(GOOD.items()))
    whole = rng.choice([b"", b"null", b"[]", b"0", b'"x"', b"\x00" * 50, json.dumps(good).encode()])
    return "POST", path, b"user_id=u&" + whole, rng.choice(TYPES)


def with_strange_path(rng: random.Random) -> Malformed:
    method = rng.choice(["GET", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW"])
    path = rng.choice([*PATHS, *(path for path in GOOD if method != "GET" or "users" in path)])
    return method, path, b"", JSON


def drawn(api: Any) -> list[Malformed]:
    """By schemathesis: what breaks the document's rules on purpose."""
    found: list[Malformed] = []
    for result in schemathesis.openapi.from_dict(api.openapi()).get_all_operations():
        operation = result.ok()
        if operation.method.upper() != "POST":
            continue

        @settings(
            max_examples=NUM_DRAWN,
            derandomize=True,
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy(generation_mode=GenerationMode.NEGATIVE))
        def draw(case: Any) -> None:
            sent = case.as_transport_kwargs(base_url="http://test")
            content = sent.get("data", b"")
            if "json" in sent:
                content = json.dumps(sent["json"])
            if isinstance(content, str):
                content = content.encode("utf-8", "surrogatepass")
            if isinstance(content, bytes):
                path = sent["url"].removeprefix("http://test")
                found.append(("POST", path, content, sent["headers"].get("Content-Type", JSON)))

        draw()
    return found


async def send_all(api: Any, requests: list[Malformed]) -> list[httpx.Response]:
    transport = httpx.ASGITransport(app=api, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        return [
            await client.request(method, path, content=content, headers={"Content-Type": kind})
            for method, path, content, kind in requests
        ]


def test_ten_thousand_malformed_requests(client: TestClient) -> None:
    health = client.get("/healthz").json()
    rng = random.Random(7)
    by_hand: list[Callable[[random.Random], Malformed]]
    by_hand = [with_nasty, with_wrong_fields, with_broken_bytes, with_wrong_type, with_strange_path]
    requests = drawn(client.app)
    assert len(requests) >= 4 * NUM_DRAWN
    while len(requests) < NUM_REQUESTS:
        requests.append(rng.choice(by_hand)(rng))
    answers = asyncio.run(send_all(client.app, requests))

    for request, answer in zip(requests, answers, strict=True):
        assert answer.status_code < 500, (request, answer.text)
        if answer.status_code >= 400:
            assert answer.json().keys() == {"error", "detail"}, (request, answer.text)
            assert len(answer.text) < 3_000, request
    seen = Counter(answer.status_code for answer in answers)
    # Here and there what was broken is still good: a null, an empty list, a cut that adds nothing.
    assert sum(n for status, n in seen.items() if status >= 400) > 0.85 * NUM_REQUESTS
    after = client.get("/healthz").json()
    assert {**after, "at": ""} == {**health, "at": ""}


def test_a_request_that_never_ends_is_cut_off(start: Callable[..., TestClient]) -> None:
    api = start(max_request_bytes=10_000).app

    async def endless() -> Any:
        while True:
            yield b'{"user_id": "' + b"x" * 5_000

    async def send() -> httpx.Response:
        transport = httpx.ASGITransport(app=api, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await client.post("/v1/recommend", content=endless())

    answer = asyncio.run(send())
    assert (answer.status_code, answer.json()["error"]) == (413, "too_large")
