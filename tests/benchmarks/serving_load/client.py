"""Load: many requests from a process of its own, each timed.

In: a `Traffic`. Out: an `Outcome`. The client must be much faster than what it measures, on the
same two cores: so it speaks HTTP/1.1 over kept connections by uvloop and httptools, in some 40 us a
request, where a client for every need takes hundreds.
"""

import asyncio
import itertools
import multiprocessing
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import cast

import httptools
import numpy as np
import uvloop
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Traffic:
    """What to send, where to, and how."""

    port: int
    path: str
    bodies: tuple[bytes, ...]
    """JSON, sent in turn, again from the first after the last."""
    clients: int = 1
    seconds: float = 2.0
    warm_up_s: float = 0.5
    """Requests begun before it are not counted."""
    rate: float | None = None
    """Requests a second, sent on time whether or not others were answered; waiting for one of the
    `clients` connections counts as latency. None: each client asks again when it was answered."""


@dataclass(frozen=True)
class Outcome:
    """What came of it."""

    ms: Floats
    """Latency of each counted request."""
    statuses: dict[int, int]
    seconds: float
    """From the end of the warm-up to the last counted answer."""
    busy: float
    """Share of one core that the client took: near 1, it measured itself."""
    timings: list[str] = field(default_factory=list)
    """`Server-Timing` headers."""

    @property
    def qps(self) -> float:
        return len(self.ms) / self.seconds

    def percentile(self, percent: float) -> float:
        return float(np.percentile(self.ms, percent)) if len(self.ms) else float("nan")


class Connection(asyncio.Protocol):
    """One kept connection, one request at a time."""

    def __init__(self) -> None:
        self.status = 0
        self.timing = ""
        self._body = bytearray()
        self._transport: asyncio.Transport | None = None
        self._answered: asyncio.Future[bytes] | None = None
        self._parser = httptools.HttpResponseParser(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's own class is none by name

    def connection_lost(self, error: Exception | None) -> None:
        if self._answered is not None and not self._answered.done():
            self._answered.set_exception(error or ConnectionError("the server hung up"))

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == b"server-timing":
            self.timing = value.decode()

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        self.status = self._parser.get_status_code()
        self._parser = httptools.HttpResponseParser(self)  # one parser reads one answer
        assert self._answered is not None
        self._answered.set_result(bytes(self._body))

    async def post(self, path: str, body: bytes) -> bytes:
        """The answer's body; `status` and `timing` are the answer's until the next request."""
        assert self._transport is not None
        self._body.clear()
        self._answered = asyncio.get_running_loop().create_future()
        head = (
            f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        self._transport.write(head.encode() + body)
        return await self._answered

    def close(self) -> None:
        assert self._transport is not None
        self._transport.close()


async def connect(port: int) -> Connection:
    loop = asyncio.get_running_loop()
    _, connection = await loop.create_connection(Connection, "127.0.0.1", port)
    return connection


def send(traffic: Traffic) -> Outcome:
    """Send it all, in this process."""
    return uvloop.run(_send(traffic))


async def _send(traffic: Traffic) -> Outcome:
    connections = [await connect(traffic.port) for _ in range(traffic.clients)]
    began, busy = time.perf_counter(), time.process_time()
    schedule = (
        itertools.repeat(None)
        if traffic.rate is None
        else (began + number / traffic.rate for number in itertools.count())
    )
    bodies = itertools.cycle(traffic.bodies)
    counted = began + traffic.warm_up_s
    end = counted + traffic.seconds
    records: list[tuple[float, float, int, str]] = []

    async def work(connection: Connection) -> None:
        while True:
            due = next(schedule)
            if due is not None and due > time.perf_counter():
                await asyncio.sleep(due - time.perf_counter())
            start = due or time.perf_counter()
            if start >= end:
                return
            await connection.post(traffic.path, next(bodies))
            if start >= counted:
                stop = time.perf_counter()
                records.append((start, stop, connection.status, connection.timing))

    await asyncio.gather(*(work(connection) for connection in connections))
    busy = (time.process_time() - busy) / (time.perf_counter() - began)
    for connection in connections:
        connection.close()
    return Outcome(
        ms=np.array([1e3 * (stop - start) for start, stop, _, _ in records]),
        statuses=dict(Counter(status for _, _, status, _ in records)),
        seconds=max((stop for _, stop, _, _ in records), default=end) - counted,
        busy=busy,
        timings=[timing for *_, timing in records if timing],
    )


@contextmanager
def another_process() -> Iterator[ProcessPoolExecutor]:
    """One process beside this one, to send from: `submit(send, traffic).result()`."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield pool
