"""Limits of one replica: how large a request may be, and how many one client may send."""

from collections import OrderedDict

from starlette.exceptions import HTTPException
from starlette.types import Message, Receive

MAX_CLIENTS = 10_000  # remembered; the one unheard of longest is forgotten, with a full bucket


class RateLimit:
    """A token bucket for each client: `per_s` requests a second, twice as many at once.

    >>> limit = RateLimit(per_s=2.0)
    >>> [limit.wait_s("shop", now_s=0.0) for _ in range(5)]
    [0.0, 0.0, 0.0, 0.0, 0.5]
    >>> limit.wait_s("shop", now_s=0.5)
    0.0
    """

    def __init__(self, per_s: float) -> None:
        self._per_s = per_s
        self._burst = max(2 * per_s, 1.0)
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # tokens, at

    def wait_s(self, client: str, now_s: float) -> float:
        """0 where the request may pass, else in how many seconds one may."""
        tokens, at_s = self._buckets.pop(client, (self._burst, now_s))
        tokens = min(tokens + (now_s - at_s) * self._per_s, self._burst)
        passes = tokens >= 1
        self._buckets[client] = (tokens - 1 if passes else tokens, now_s)
        if len(self._buckets) > MAX_CLIENTS:
            self._buckets.popitem(last=False)
        return 0.0 if passes else (1 - tokens) / self._per_s


def bounded(receive: Receive, max_bytes: int) -> Receive:
    """The same body, refused with 413 where it grows too long: its sender may not have said."""
    read = 0

    async def counted() -> Message:
        nonlocal read
        message = await receive()
        read += len(message.get("body", b""))
        if read > max_bytes:
            raise HTTPException(413, too_large(max_bytes))
        return message

    return counted


def too_large(max_bytes: int) -> str:
    return f"a request may have {max_bytes} bytes"
