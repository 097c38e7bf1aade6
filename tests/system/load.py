"""Load: clients that go on asking while something is broken, and everything that they were told."""

import http.client
import json
import threading
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import count
from types import TracebackType
from typing import Any, Self

PAUSE_S = 0.02
RESET = 0  # in place of a status: the connection was refused, or ended without an answer


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

    def post(self, path: str, body: object) -> Told:
        at_s = time.monotonic()
        headers = {"Content-Type": "application/json"}
        try:
            self._connection.request("POST", path, json.dumps(body), headers)
            answer = self._connection.getresponse()
            content = answer.read()
        except (OSError, http.client.HTTPException):
            self._connection.close()
            return Told(at_s, path, RESET)
        told = json.loads(content) if content.startswith(b"{") else {"text": content.decode()}
        return Told(at_s, path, answer.status, answer.headers.get("retry-after"), told)


class Load:
    """`with Load(users) as load:` asks for slates, and feeds back events that are sent again until
    they are acknowledged."""

    def __init__(self, users: Sequence[str], feeder: str, item_id: str) -> None:
        self._users, self._feeder, self._item_id = users, feeder, item_id
        self._told: list[Told] = []
        self._over = threading.Event()
        self.acknowledged: list[str] = []
        """Event ids, in order."""

    def __enter__(self) -> Self:
        askers = [threading.Thread(target=self._ask, args=(user,)) for user in self._users]
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

    def _ask(self, user: str) -> None:
        # One waits for the language model; the others must not notice how long that takes.
        explain = "llm" if user == self._users[0] else "template"
        with closing(Client()) as client:
            while not self._over.is_set():
                body = {"user_id": user, "k": 5, "explain": explain}
                self._told.append(client.post("/v1/recommend", body))
                time.sleep(PAUSE_S)

    def _feed_back(self) -> None:
        with closing(Client()) as client:
            for number in count():
                event = {"user_id": self._feeder, "item_id": self._item_id, "action": "click"}
                event["event_id"] = f"event-{number}"
                while not self._over.is_set():
                    told = client.post("/v1/feedback", event)
                    self._told.append(told)
                    if told.status == 200:
                        self.acknowledged.append(event["event_id"])
                        break
                    time.sleep(0.2)
                if self._over.is_set():
                    return
                time.sleep(PAUSE_S)
