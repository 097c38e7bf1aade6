"""Around a small application: what each request's answer, metrics, log line and spans say of it."""

import asyncio
import json
import logging
import re
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from fastapi.testclient import TestClient
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from ray._common.formatters import JSONFormatter

from serving.errors import add_error_handlers
from serving.logs import UserNames
from serving.metrics import DEGRADED, REQUEST_SECONDS, REQUESTS, SLATE_ITEMS, STAGE_SECONDS
from serving.observer import OBSERVING, Observer
from serving.timing import PASSAGE, note, stage
from serving.tracing import span_under, start_tracing
from tests.serving import recorded as stand_in
from tests.serving.recorded import Recorded

recorded = stand_in.recorded
SECRET = "S3CRET"
TRACE, CALLER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@stage("scoring")
def score() -> int:
    return 1


def small() -> FastAPI:
    api = FastAPI()
    add_error_handlers(api)

    @api.get("/users/{user_id}")
    async def user(user_id: str) -> dict[str, int]:
        with stage("user_read"):
            pass
        score()
        score()
        note(user_id=user_id, version="v1", degraded=("channel friends",), num_items=7)
        return {"a": 1}

    @api.get("/fails")
    async def fails() -> None:
        raise KeyError(SECRET)

    @api.get("/breaks-off")
    async def breaks_off() -> StreamingResponse:
        async def pieces() -> AsyncIterator[str]:
            yield "first"
            raise KeyError(SECRET)

        return StreamingResponse(pieces())

    @api.get("/explains")
    async def explains() -> dict[str, str | None]:
        passage = PASSAGE.get()
        assert passage is not None
        with span_under(passage.traceparent, "explain", records=2):
            pass
        return {"traceparent": passage.traceparent}

    api.add_middleware(Observer)
    return api


@pytest.fixture
def client() -> TestClient:
    return TestClient(small(), raise_server_exceptions=False)


@pytest.fixture
def spans() -> Iterator[InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    start_tracing(SimpleSpanProcessor(exporter))
    yield exporter
    start_tracing()


@pytest.fixture
def lines() -> Iterator[list[dict[str, Any]]]:
    """What a replica's file would hold: lines as Ray's formatter writes them."""
    written: list[dict[str, Any]] = []

    class Keeping(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            written.append(json.loads(JSONFormatter().format(record)))

    logger, handler = logging.getLogger("ray.serve"), Keeping()
    logger.addHandler(handler)
    before = logger.level
    logger.setLevel(logging.INFO)
    yield written
    logger.setLevel(before)
    logger.removeHandler(handler)


def test_the_answer_says_how_long_each_stage_took(client: TestClient) -> None:
    told = client.get("/users/zoe").headers["server-timing"].split(", ")
    assert [one.split(";")[0] for one in told] == ["app", "user_read", "scoring"]
    assert all(float(one.split("dur=")[1]) >= 0 for one in told)


@pytest.mark.parametrize("given", ["a", "Az0._-" * 20, "0f" * 16])
def test_a_clients_request_id_is_kept(client: TestClient, given: str) -> None:
    answer = client.get("/users/zoe", headers={"X-Request-ID": given})
    assert answer.headers["x-request-id"] == given


@pytest.mark.parametrize("given", ["", "a b", "a" * 129, "<script>", "a\u00e9", "%0a", 'x"y'])
def test_any_other_request_id_is_replaced(
    client: TestClient, lines: list[dict[str, Any]], given: str
) -> None:
    answer = client.get("/users/zoe", headers={b"X-Request-ID": given.encode("latin-1")})
    made = answer.headers["x-request-id"]
    assert re.fullmatch("[0-9a-f]{32}", made)
    assert [line["request_id"] for line in lines] == [made]


def test_in_a_replica_serve_answers_the_id_that_it_was_given(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(OBSERVING, "serve_answers_id", True)
    assert "x-request-id" not in client.get("/users/a", headers={"X-Request-ID": "mine"}).headers
    assert "x-request-id" in client.get("/users/a", headers={"X-Request-ID": "not mine"}).headers


def test_a_request_counts_once_with_its_stages(client: TestClient, recorded: Recorded) -> None:
    client.get("/users/zoe")
    route = "/users/{user_id}"
    assert recorded.count(REQUESTS, route=route, method="GET", status="200") == 1
    assert len(recorded.of(REQUEST_SECONDS, route=route)) == 1
    assert len(recorded.of(STAGE_SECONDS, stage="user_read")) == 1
    assert len(recorded.of(STAGE_SECONDS, stage="scoring")) == 2
    assert recorded.count(DEGRADED, what="channel friends") == 1
    assert recorded.of(SLATE_ITEMS) == [7]


def test_unknown_paths_and_methods_make_few_series(
    client: TestClient, recorded: Recorded, lines: list[dict[str, Any]]
) -> None:
    for path in ("/nowhere", f"/{SECRET}", "/a/b/c"):
        client.get(path)
    client.request(SECRET, "/users/zoe")
    assert recorded.count(REQUESTS, route="other", method="GET", status="404") == 3
    assert recorded.count(REQUESTS, route="/users/{user_id}", method="other", status="405") == 1
    assert SECRET not in json.dumps(lines)


def test_nothing_is_in_flight_afterwards(client: TestClient) -> None:
    for path in ("/users/zoe", "/fails", "/nowhere"):
        client.get(path)
    assert OBSERVING.in_flight == 0
    assert PASSAGE.get() is None


def test_one_line_tells_of_a_request(client: TestClient, lines: list[dict[str, Any]]) -> None:
    client.get("/users/zoe?page=2", headers={"X-Request-ID": "mine"})
    (line,) = lines
    assert line["message"] == "request"
    assert (line["request_id"], line["status"], line["version"]) == ("mine", 200, "v1")
    assert (line["route"], line["method"]) == ("/users/{user_id}", "GET")
    assert line["stages_ms"].keys() == {"user_read", "scoring"}
    assert (line["degraded"], line["num_items"]) == (["channel friends"], 7)
    assert line["took_ms"] > 0
    assert "zoe" not in json.dumps(line)


@pytest.mark.parametrize(
    ("how", "is_told"), [("clear", "zoe"), ("none", None), ("hash", "[0-9a-f]{16}")]
)
def test_users_are_named_as_configured(
    client: TestClient,
    lines: list[dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
    how: Any,
    is_told: str | None,
) -> None:
    monkeypatch.setattr(OBSERVING, "users", UserNames(how, key="k"))
    client.get("/users/zoe")
    (line,) = lines
    assert line["user"] is None if is_told is None else re.fullmatch(is_told, line["user"])


def test_a_users_hash_holds_with_its_key_alone() -> None:
    assert UserNames(key="a").of("zoe") == UserNames(key="a").of("zoe")
    assert UserNames(key="a").of("zoe") != UserNames(key="b").of("zoe")
    assert UserNames(key="").of("zoe") != UserNames(key="").of("zoe")  # a process's own


def test_an_unforeseen_error_is_answered_and_told_without_its_message(
    client: TestClient, recorded: Recorded, lines: list[dict[str, Any]]
) -> None:
    answer = client.get("/fails", headers={"X-Request-ID": "mine"})
    assert (answer.status_code, answer.json()["error"]) == (500, "internal_error")
    assert answer.headers["x-request-id"] == "mine"
    assert recorded.count(REQUESTS, route="/fails", method="GET", status="500") == 1
    failure, line = lines
    assert failure["message"] == "request failed: KeyError"
    assert "test_observer.py" in failure["where"][-1]
    assert line["status"] == 500
    assert SECRET not in json.dumps(lines) + answer.text


def test_an_answer_that_breaks_off_ends_without_its_message(
    lines: list[dict[str, Any]], recorded: Recorded
) -> None:
    with pytest.raises(Exception, match="request mine") as caught:
        TestClient(small()).get("/breaks-off", headers={"X-Request-ID": "mine"})
    assert SECRET not in repr(caught.value)
    assert caught.value.__suppress_context__
    assert lines[0]["message"] == "request failed: KeyError"
    assert SECRET not in json.dumps(lines)


def test_a_client_that_leaves_is_counted(recorded: Recorded) -> None:
    async def hangs(*_: Any) -> None:
        await asyncio.sleep(60)

    async def leave() -> None:
        scope = {"type": "http", "method": "GET", "headers": []}
        running = asyncio.create_task(Observer(hangs)(scope, hangs, hangs))
        await asyncio.sleep(0)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    asyncio.run(leave())
    assert recorded.count(REQUESTS, route="other", method="GET", status="499") == 1


def test_spans_of_a_request_go_on_from_the_callers(
    client: TestClient, spans: InMemorySpanExporter, lines: list[dict[str, Any]]
) -> None:
    client.get("/users/zoe", headers={"traceparent": f"00-{TRACE}-{CALLER}-01"})
    *stages, request = spans.get_finished_spans()
    assert request.name == "GET /users/{user_id}"
    assert f"{request.context.trace_id:032x}" == TRACE == lines[0]["trace_id"]
    assert f"{request.parent.span_id:016x}" == CALLER
    assert request.attributes["http.response.status_code"] == 200
    assert [one.name for one in stages] == ["user_read", "scoring", "scoring"]
    for one in stages:
        assert one.parent.span_id == request.context.span_id
        assert request.start_time <= one.start_time <= one.end_time <= request.end_time
    assert "zoe" not in "".join(one.to_json() for one in (*stages, request))


def test_another_process_goes_on_from_the_request(
    client: TestClient, spans: InMemorySpanExporter
) -> None:
    traceparent = client.get("/explains").json()["traceparent"]
    explained, request = spans.get_finished_spans()
    assert traceparent.split("-")[2] == f"{request.context.span_id:016x}"
    assert explained.parent.span_id == request.context.span_id
    assert explained.attributes["records"] == 2


@pytest.mark.parametrize("wrong", ["", "00-zz-zz-01", "x" * 5000, f"00-{'0' * 32}-{CALLER}-01"])
def test_a_wrong_traceparent_begins_a_trace_of_its_own(
    client: TestClient, spans: InMemorySpanExporter, wrong: str
) -> None:
    assert client.get("/users/zoe", headers={"traceparent": wrong}).status_code == 200
    assert spans.get_finished_spans()[-1].parent is None


def test_what_the_caller_does_not_sample_is_not_recorded(
    client: TestClient, spans: InMemorySpanExporter
) -> None:
    client.get("/users/zoe", headers={"traceparent": f"00-{TRACE}-{CALLER}-00"})
    assert spans.get_finished_spans() == ()


def test_no_receiver_no_spans(client: TestClient) -> None:
    start_tracing()
    assert client.get("/explains").json()["traceparent"] is None


def test_a_receiver_without_an_exporter_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("opentelemetry.sdk")
    try:
        import opentelemetry.exporter.otlp.proto.http  # type: ignore[import-not-found]  # noqa: F401
    except ImportError:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318")
        with pytest.raises(ValueError, match="pip install opentelemetry-exporter-otlp-proto-http"):
            start_tracing()
        monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
        start_tracing()
    else:
        pytest.skip("the exporter is installed here")
