"""What an answer does without: the online store, a channel or the explainer late, failing, or left
alone after failing. Each time the reply is 200 and says what is missing."""

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from serving.breaker import Breaker
from serving.config import ServingConfig
from serving.deadlines import Guard, LeftOutError
from serving.guards import Guards
from serving.ranker import SlateRanker
from serving.users import UserReader
from tests.serving.askers import REGULARS
from tests.serving.test_api import InProcess, honest

USER = REGULARS[0]
Start = Callable[..., TestClient]


class SwitchedReader:
    """Reads users as the real one does, unless told to be late or to fail."""

    def __init__(self, reader: UserReader) -> None:
        self._reader = reader
        self.behaviour = "good"
        self.num_reads = 0

    def rows(self, user_id: str) -> Any:
        self.num_reads += 1
        if self.behaviour == "failing":
            raise ConnectionError("refused")
        if self.behaviour == "late":
            time.sleep(0.3)
        return self._reader.rows(user_id)


def guards(**changes: object) -> Guards:
    folder = Path(__file__).parent
    return Guards(ServingConfig.model_validate({"bundle": folder, "repo": folder, **changes}))


@pytest.fixture
def broken_store(own_repo: Path) -> Iterator[Path]:
    online = own_repo.parent / "data" / "current" / "online.db"
    whole = online.read_bytes()
    online.write_text("no database")
    yield online
    online.write_bytes(whole)


def test_a_store_that_fails_makes_the_user_unknown_and_the_reply_says_so(
    start: Start, broken_store: Path
) -> None:
    client = start(breaker_failures=2)
    body = {"user_id": USER, "k": 5, "context": {"session_items": ["i0000001"]}}
    for why in ("failed: DatabaseError", "failed: DatabaseError", "was not asked"):
        answer = client.post("/v1/recommend", json=body)
        assert answer.status_code == 200
        told = answer.json()
        [degraded] = told["degraded"]
        assert (degraded["stage"], degraded["source"]) == ("user", None)
        assert degraded["why"].startswith(why)
        assert told["known_user"] is False
        assert "behaviour" not in told["missing_sources"]  # this session's item is a history
        assert len(told["items"]) == 5
    health = client.get("/healthz")
    assert health.status_code == 200
    assert (health.json()["status"], len(health.json()["degraded"])) == ("degraded", 1)


def test_what_is_stored_of_a_user_cannot_be_told_without_the_store(
    start: Start, broken_store: Path
) -> None:
    answer = start().get(f"/v1/users/{USER}")
    assert (answer.status_code, answer.json()["error"]) == (503, "unavailable")
    assert int(answer.headers["retry-after"]) > 0


def test_an_item_is_explained_without_the_store(start: Start, broken_store: Path) -> None:
    body = {"user_id": USER, "item_id": "i0000001", "explain": "template"}
    answer = start().post("/v1/explain", json=body).json()
    assert [one["stage"] for one in answer["degraded"]] == ["user"]


def test_feedback_that_cannot_be_kept_is_not_acknowledged(start: Start, tmp_path: Path) -> None:
    (tmp_path / "full.jsonl").symlink_to("/dev/full")
    client = start(feedback_log=tmp_path / "full.jsonl")
    body = {"user_id": USER, "item_id": "i0000001", "action": "click"}
    answer = client.post("/v1/feedback", json=body)
    assert (answer.status_code, answer.json()["error"]) == (503, "unavailable")
    assert int(answer.headers["retry-after"]) > 0
    assert client.post("/v1/recommend", json={"user_id": USER}).status_code == 200


def test_a_good_answer_is_not_degraded(start: Start) -> None:
    client = start()
    assert client.post("/v1/recommend", json={"user_id": USER}).json()["degraded"] == []
    assert client.get("/healthz").json()["degraded"] == []


def test_a_late_read_is_given_up_and_then_not_tried(ranker: SlateRanker) -> None:
    reader = SwitchedReader(ranker.users)
    own = guards(user_deadline_ms=50, breaker_failures=2, breaker_open_s=0.2)

    async def read() -> tuple[Any, str]:
        rows, degraded = await own.read(reader, USER)  # type: ignore[arg-type]
        return rows, degraded[0].why if degraded else ""

    async def story() -> None:
        assert (await read())[1] in ("", "was late: over 50 ms")  # the first of a busy machine
        reader.behaviour = "late"
        began_s = time.perf_counter()
        assert await read() == ({}, "was late: over 50 ms")
        assert time.perf_counter() - began_s < 0.25
        await read()
        so_far = reader.num_reads
        assert "not asked" in (await read())[1]
        assert reader.num_reads == so_far
        assert own.open() == ["user"]
        reader.behaviour = "good"
        deadline = time.monotonic() + 30
        while own.open() and time.monotonic() < deadline:
            await asyncio.sleep(0.05)
            await read()
        assert own.open() == []

    asyncio.run(story())


def test_a_slow_read_does_not_hold_up_other_requests(ranker: SlateRanker) -> None:
    reader = SwitchedReader(ranker.users)
    reader.behaviour = "late"
    own = guards(user_deadline_ms=30_000)

    async def story() -> None:
        reading = asyncio.ensure_future(own.read(reader, USER))  # type: ignore[arg-type]
        ticks = 0
        while not reading.done():
            await asyncio.sleep(0.01)
            ticks += 1
        assert ticks > 5

    asyncio.run(story())


class Troubled:
    """A channel that fails or is late."""

    def __init__(self, name: str, trouble: Callable[[], None]) -> None:
        self.name, self._trouble = name, trouble

    def candidates(self, question: object, limit: int) -> Any:
        self._trouble()
        raise AssertionError


def fail() -> None:
    raise IndexError("out of range")


def be_late() -> None:
    time.sleep(0.5)


def test_a_channel_in_trouble_is_left_out_and_named(start: Start) -> None:
    client = start(channel_deadline_ms=200, breaker_failures=2)
    application = next(iter(client.app.dependency_overrides.values()))()  # type: ignore[attr-defined]
    ranker = application._live.state.ranker
    troubled = [Troubled("friends_of_friends", fail), Troubled("elsewhere", be_late)]
    ranker._channels += troubled
    for whys in (["failed: IndexError", "was late"], ["failed", "was late"], ["was not asked"] * 2):
        answer = client.post("/v1/recommend", json={"user_id": USER, "k": 5})
        assert answer.status_code == 200
        told = {one["source"]: one["why"] for one in answer.json()["degraded"]}
        assert told["friends_of_friends"].startswith(whys[0])
        assert told["elsewhere"].startswith(whys[1])
        assert len(answer.json()["items"]) == 5


def events(answer: Any) -> list[tuple[str, Any]]:
    assert answer.headers["content-type"].startswith("text/event-stream")
    blocks = [block.split("\n") for block in answer.text.strip().split("\n\n")]
    return [(name.removeprefix("event: "), json.loads(data[6:])) for name, data in blocks]


def test_a_slate_is_streamed_at_once_and_its_sentences_follow(start: Start) -> None:
    client = start(InProcess(honest))
    body = {"user_id": USER, "k": 10, "explain": "stream"}
    (first, slate), *written, (last, end) = events(client.post("/v1/recommend", json=body))
    assert (first, last, end) == ("slate", "end", {"degraded": []})
    assert len(slate["items"]) == 10
    assert all(item["explanation"]["writer"] == "template" for item in slate["items"])
    assert {name for name, _ in written} == {"explanation"}
    shown = {one["item_id"]: one["explanation"] for _, one in written}
    assert shown.keys() == {item["item_id"] for item in slate["items"]}
    assert "model" in {one["writer"] for one in shown.values()}


def test_a_stream_without_an_explainer_ends_with_the_templates(start: Start) -> None:
    body = {"user_id": USER, "explain": "stream"}
    assert [name for name, _ in events(start().post("/v1/recommend", json=body))] == [
        "slate",
        "end",
    ]


def test_a_stream_whose_explainer_is_late_or_fails_says_so_at_its_end(start: Start) -> None:
    class Late(InProcess):
        async def remote(self, records: Any, *manner: Any) -> Any:
            await asyncio.sleep(60)

    class Failing(InProcess):
        async def remote(self, records: Any, *manner: Any) -> Any:
            raise RuntimeError("out of memory")

    body = {"user_id": USER, "explain": "stream"}
    for explainer, why in ((Late(str), "was late"), (Failing(str), "failed: RuntimeError")):
        client = start(explainer, explain_timeout_s=0.2)
        *_, (last, end) = events(client.post("/v1/recommend", json=body))
        assert last == "end"
        assert end["degraded"][0]["why"].startswith(why)


def test_an_explainer_that_keeps_failing_is_left_alone() -> None:
    own = guards(breaker_failures=2, explain_timeout_s=30)
    asked = 0

    async def fail() -> None:
        nonlocal asked
        asked += 1
        raise RuntimeError

    async def story() -> None:
        for _ in range(5):
            with pytest.raises(LeftOutError):
                await own.explanations.wait(fail)

    asyncio.run(story())
    assert asked == 2
    assert own.open() == ["explanation"]


def test_a_cancelled_request_says_nothing_of_what_it_waited_for() -> None:
    breaker = Breaker(max_failures=1, open_s=60)
    guard = Guard("explanation", 60, breaker, guards()._computing)

    async def story() -> None:
        waiting = asyncio.ensure_future(guard.wait(lambda: asyncio.sleep(60)))
        await asyncio.sleep(0.01)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    asyncio.run(story())
    assert not breaker.is_open
