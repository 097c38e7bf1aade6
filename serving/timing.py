"""Server-Timing: each answer says how long the application took over it."""

import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send


class ServerTiming:
    """Milliseconds from a request's arrival to the first byte of its answer, as a header."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = time.perf_counter()

        async def timed(message: Message) -> None:
            if message["type"] == "http.response.start":
                took_ms = 1e3 * (time.perf_counter() - started)
                timing = (b"server-timing", f"app;dur={took_ms:.2f}".encode())
                message = {**message, "headers": [*message.get("headers", []), timing]}
            await send(message)

        await self._app(scope, receive, timed)
