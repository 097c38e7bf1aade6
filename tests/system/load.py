"""Load: clients that go on asking while something is broken, everything that they were told, and
what they may be told."""

import http.client
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import count, cycle
from types import TracebackType
from typing import Any, Self

from tests.system.server import Server, ask

PAUSE_S = 0.02
RESET = 0  # in place of a status: the connection was refused, or ended without an answer
NUM_ITEMS = 5
RECOVERY_S = 240  # 10 to 20 s where nothing else runs
Asked = tuple[str, dict[str, object] | None]  # a path, and what is posted there


@dataclass(frozen=True)
class Told:
    """One answer."""

    at_s: float
    path: str
    status: int
    retry_after: str | None = None
    body: dict[str, Any] = field(default_factory=dict)


class Client:
    """One connection, kept alive, and made anew where it was lost."""

    def __init__(self, port: int = 8000) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)

    def close(self) -> None:
        self._connection.close()

    def ask(self, path: str, body: object = None) -> Told:
        at_s = time.monotonic()
        sent = None if body is None else json.dumps(body)
        method, headers = "GET" if body is None else "POST", {"Content-Type": "application/json"}
        try:
            self._connection.request(method, path, sent, headers)
            answer = self._connection.getresponse()
            content = answer.read()
        except (OSError, http.client.HTTPException):
            self._connection.close()
            return Told(at_s, path, RESET)
        told = json.loads(content) if content.startswith(b"{") else {"text": content.decode()}
        return Told(at_s, path, answer.status, answer.headers.get("retry-after"), told)


class Load:
    """`with Load(rounds, ...) as load:` has a client for each round of questions, to ask them over
    and over, and one that feeds back a user's events, each until it is acknowledged."""

    def __init__(self, rounds: Sequence[Sequence[Asked]], feeder: str, item_id: str) -> None:
        self._rounds, self._feeder, self._item_id = rounds, feeder, item_id
        self._told: list[Told] = []
        self._over = threading.Event()
        self.acknowledged: list[str] = []
        """Event ids, in order."""

    def __enter__(self) -> Self:
        askers = [threading.Thread(target=self._ask, args=(asked,)) for asked in self._rounds]
        self._threads = [*askers, threading.Thread(target=self._feed_back)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Every client ends with the answer that it waits for."""
        self._over.set()
        for thread in self._threads:
            thread.join()

    def since(self, at_s: float) -> list[Told]:
        """What was asked from then on and has been answered."""
        return [told for told in list(self._told) if told.at_s >= at_s]

    def check_acknowledged(self, server: Server) -> None:
        """Ends the load. What was acknowledged is in the log once, and in what is answered."""
        self.stop()
        lines = (server.folder / "feedback.jsonl").read_text().splitlines()
        kept = Counter(json.loads(line)["event_id"] for line in lines)
        assert len(self.acknowledged) > 20
        assert set(self.acknowledged) <= kept.keys()
        assert set(kept.values()) == {1}

        def is_counted() -> bool:
            features = ask(f"/v1/users/{self._feeder}")["features"]
            return features["user_activity"]["num_events"] == len(kept)  # type: ignore[no-any-return]

        wait_until(is_counted)
        assert ask("/healthz")["status"] == "ready"

    def _ask(self, asked: Sequence[Asked]) -> None:
        with closing(Client()) as client:
            for path, body in cycle(asked):
                if self._over.is_set():
                    return
                self._told.append(client.ask(path, body))
                time.sleep(PAUSE_S)

    def _feed_back(self) -> None:
        with closing(Client()) as client:
            for number in count():
                event = {"user_id": self._feeder, "item_id": self._item_id, "action": "click"}
                event["event_id"] = f"event-{number}"
                while not self._over.is_set():
                    told = client.ask("/v1/feedback", event)
                    self._told.append(told)
                    if told.status == 200:
                        self.acknowledged.append(event["event_id"])
                        break
                    time.sleep(0.2)
                if self._over.is_set():
                    return
                time.sleep(PAUSE_S)


def slate_of(user: str, **more: object) -> Asked:
    return "/v1/recommend", {"user_id": user, "k": NUM_ITEMS, **more}


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + RECOVERY_S
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.3)


def goes_well(load: Load) -> Callable[[], bool]:
    """Whether the last answers were all good, and whole."""
    last_s = time.monotonic()

    def holds() -> bool:
        nonlocal last_s
        told = load.since(last_s)
        if any(one.status != 200 or one.body.get("degraded") for one in told):
            last_s = time.monotonic()
            return False
        return len(told) > 20 and any(one.path == "/v1/feedback" for one in told)

    return holds


def check(told: list[Told], *, max_resets: float = 0) -> Counter[int]:
    """How often each status came; fails where one may not come."""
    wrong = [one for one in told if one.status not in (200, 503, RESET)]
    assert not wrong, wrong[:3]
    assert sum(one.status == RESET for one in told) <= max_resets
    assert all(one.retry_after for one in told if one.status == 503)
    for one in told:
        if one.status == 200 and one.path == "/v1/recommend":
            assert len(one.body["items"]) == NUM_ITEMS
            stages = {part["stage"] for part in one.body["degraded"]}
            assert one.body["known_user"] or "user" in stages
    return Counter(one.status for one in told)
