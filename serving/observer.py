"""Observer: the outermost middleware. Each request gets an id, is timed, and is told of once.

While the request runs only clocks are read; metrics, the log's line and spans are written after the
last byte of the answer. Also here: the answer to an error that nobody foresaw.
"""

import asyncio
from dataclasses import dataclass, field

from opentelemetry.trace import Span
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.config import ServingConfig
from serving.errors import our_fault
from serving.gate import in_a_replica
from serving.logs import UserNames, log_error, log_passage, request_id_of
from serving.metrics import count_passage
from serving.timing import PASSAGE, Passage, server_timing
from serving.tracing import begin_span, end_span, start_tracing, trace_id_of, traceparent_of

CLIENT_GONE = 499  # as proxies say it
METHODS = frozenset("GET HEAD POST PUT PATCH DELETE OPTIONS".split())
ID_HEADER, TRACE_HEADER = "x-request-id", "traceparent"


@dataclass
class Observing:
    """How this process's requests are told of; filled when its replica starts."""

    users: UserNames = field(default_factory=UserNames)
    serve_answers_id: bool = False
    """Ray Serve puts the id that a request carries in its answer."""
    in_flight: int = 0


OBSERVING = Observing()


def start_observing(config: ServingConfig) -> None:
    """Raises ValueError where the environment asks for spans and there is no exporter."""
    OBSERVING.users = UserNames(config.log_user_ids)
    OBSERVING.serve_answers_id = in_a_replica()
    start_tracing()


class AnswerBrokenOffError(RuntimeError):
    """Ends the connection of an answer that failed half-way; the log says where."""


class Observer:
    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        given = headers.get(ID_HEADER)
        passage = Passage(request_id_of(given))
        answered = Answered(
            send, passage, OBSERVING.serve_answers_id and given == passage.request_id
        )
        span = begin_span(passage, headers.get(TRACE_HEADER))
        passage.traceparent = traceparent_of(span)
        OBSERVING.in_flight += 1
        token = PASSAGE.set(passage)
        try:
            await self._app(scope, receive, answered)
        except asyncio.CancelledError:
            answered.status = answered.status or CLIENT_GONE
            raise
        except Exception as error:  # noqa: BLE001  whatever it is, it is told of and answered
            log_error("request failed", error)
            if answered.status:
                raise AnswerBrokenOffError(f"request {passage.request_id}") from None
            await our_fault(error)(scope, receive, answered)
        finally:
            PASSAGE.reset(token)
            OBSERVING.in_flight -= 1
            tell(passage, scope, answered.status, span)


class Answered:
    """Sends an answer on, with the request's id and its times, and remembers its status."""

    def __init__(self, send: Send, passage: Passage, has_id: bool) -> None:
        self._send, self._passage, self._has_id = send, passage, has_id
        self.status = 0
        """0 before the answer begins."""

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            headers["server-timing"] = server_timing(self._passage)
            if not self._has_id:
                headers[ID_HEADER] = self._passage.request_id
        await self._send(message)


def tell(passage: Passage, scope: Scope, status: int, span: Span | None) -> None:
    """Metrics, log and spans of a request whose answer is out."""
    route, method = route_of(scope), scope["method"] if scope["method"] in METHODS else "other"
    count_passage(passage, route, method, status)
    user = OBSERVING.users.of(passage.user_id)
    log_passage(passage, route, method, status, user, trace_id_of(span))
    if span is not None:
        end_span(span, passage, route, method, status)


def route_of(scope: Scope) -> str:
    """The pattern, of which there are few; `other` where no route was reached."""
    return getattr(scope.get("route"), "path", "other")
