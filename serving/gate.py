"""Gate: what every request passes before its route: its size, its key, its client's rate.

Middleware is made with the application, before any configuration is known; so the one gate of a
process is filled in when its replica starts.
"""

import math
import time
from dataclasses import dataclass

from ray import serve
from ray.serve.context import _get_global_client
from ray.serve.exceptions import RayServeException
from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from serving.config import ServingConfig
from serving.errors import error_body
from serving.keys import KeyRing, check_exposure, read_keys
from serving.keys import Scope as KeyScope
from serving.limits import RateLimit, bounded, too_large

OPEN = ("/", "/healthz", "/docs", "/openapi.json")  # these and the console's files hold no data


@dataclass
class Gate:
    keys: KeyRing | None = None
    """None asks for no key."""
    max_bytes: int | None = None
    rate: RateLimit | None = None


GATE = Gate()


def fill_gate(config: ServingConfig) -> None:
    """What this process's requests pass from now on. ValueError where keys are wrong or missing."""
    GATE.keys = read_keys(config.api_keys) if config.api_keys else None
    GATE.max_bytes = config.max_request_bytes
    per_s = config.max_requests_per_s
    GATE.rate = RateLimit(per_s) if per_s else None
    if in_a_replica():
        # Ray Serve 2.60 has no public word for the address that it listens on.
        host = _get_global_client().http_config.host
        check_exposure(host, asks_for_keys=GATE.keys is not None)


def in_a_replica() -> bool:
    """False where the application runs without Ray Serve."""
    try:
        serve.get_replica_context()
    except RayServeException:
        return False
    return True


class Gatekeeper:
    """Lets a request through, or answers it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        refused = refusal(scope)
        if refused is not None:
            await refused(scope, receive, send)
            return
        if GATE.max_bytes is not None:
            receive = bounded(receive, GATE.max_bytes)
        await self._app(scope, receive, send)


def refusal(scope: Scope) -> JSONResponse | None:
    """The answer to a request that may not pass."""
    headers = Headers(scope=scope)
    length = headers.get("content-length", "")
    if GATE.max_bytes is not None and length.isdecimal() and int(length) > GATE.max_bytes:
        return error_body(413, "too_large", too_large(GATE.max_bytes))
    wanted = scope_of(scope["path"].removeprefix(scope.get("root_path", "")))
    if wanted is None:
        return None
    client = scope["client"][0] if scope.get("client") else "unknown"
    if GATE.keys is not None:
        found = GATE.keys.find(headers.get("authorization", "").removeprefix("Bearer "))
        if found is None:
            how = "send `Authorization: Bearer KEY` with a key that this server knows"
            return error_body(401, "no_key", how, {"WWW-Authenticate": "Bearer"})
        client, key = found
        if not key.may(wanted):
            return error_body(403, "wrong_scope", f"the key lacks the scope {wanted!r}")
    wait_s = GATE.rate.wait_s(client, time.monotonic()) if GATE.rate is not None else 0.0
    if wait_s:
        retry = {"Retry-After": str(math.ceil(wait_s))}
        return error_body(429, "too_many_requests", "this client asks too often", retry)
    return None


def scope_of(path: str) -> KeyScope | None:
    """What a key needs for a path; None where none is needed."""
    if path in OPEN or path.startswith(("/console/", "/docs/")):
        return None
    if path.startswith("/v1/feedback"):
        return "feedback"
    # The path itself takes items' rows in; below it they are read.
    return "admin" if path == "/v1/items" or path.startswith("/admin") else "read"
