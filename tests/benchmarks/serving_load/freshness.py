"""How soon feedback shows: hide the first item of a user's slate, ask until it is gone.

In: a server's port and users. Out: for each trial how long after the event was sent, and after it
was acknowledged, an answer without the item was there. The time is that of the whole answer's
arrival, so it holds one ranking at the least.
"""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import uvloop

from tests.benchmarks.serving_load.client import Connection, connect

GIVE_UP_S = 10.0


@dataclass(frozen=True)
class Freshness:
    """Milliseconds of each trial."""

    from_sent: list[float]
    from_acknowledged: list[float]
    unseen: int
    """Trials in which the item was still there after `GIVE_UP_S`."""

    def percentile(self, percent: float) -> float:
        """From the acknowledgement on; a change that was never seen took `GIVE_UP_S`."""
        waits = [*self.from_acknowledged, *[1e3 * GIVE_UP_S] * self.unseen]
        return float(np.percentile(waits, percent, method="higher"))


def measure(port: int, users: Sequence[str], k: int) -> Freshness:
    """One trial a user, one after the other."""
    return uvloop.run(_measure(port, users, k))


async def _measure(port: int, users: Sequence[str], k: int) -> Freshness:
    connection = await connect(port)
    found = [await _trial(connection, user, k) for user in users]
    connection.close()
    seen = [pair for pair in found if pair is not None]
    return Freshness([a for a, _ in seen], [b for _, b in seen], len(found) - len(seen))


async def _trial(connection: Connection, user: str, k: int) -> tuple[float, float] | None:
    first = (await _slate(connection, user, k))[0]
    event = {"user_id": user, "item_id": first, "action": "hide"}
    sent = time.perf_counter()
    await _post(connection, "/v1/feedback", event)
    acknowledged = time.perf_counter()
    while time.perf_counter() < acknowledged + GIVE_UP_S:
        if first not in await _slate(connection, user, k):
            seen = time.perf_counter()
            return 1e3 * (seen - sent), 1e3 * (seen - acknowledged)
    return None


async def _slate(connection: Connection, user: str, k: int) -> list[str]:
    body = {"user_id": user, "k": k, "explain": "template"}
    answer = json.loads(await _post(connection, "/v1/recommend", body))
    return [item["item_id"] for item in answer["items"]]


async def _post(connection: Connection, path: str, body: Mapping[str, object]) -> bytes:
    answer = await connection.post(path, json.dumps(body).encode())
    if connection.status != 200:
        raise ValueError(f"POST {path} {body} was answered {connection.status}: {answer[:300]!r}")
    return answer
