"""Sentences for a slate: from the explainer where a language model was asked for and answers in
time, from the templates otherwise. An explainer that fails or is late never costs the slate.
"""

import asyncio
import json
import math
import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from typing import TypeVar

from ray.serve.handle import DeploymentHandle

from serving.api import (
    Degradation,
    ExplainRequest,
    Explanation,
    RecommendRequest,
    RecommendResponse,
)
from serving.deadlines import Guard, LeftOutError
from serving.evidence import Evidence
from serving.explainer import explain_by_template
from serving.timing import stage, trace_argument

NUM_STREAMED = 8  # calls for one slate at a time: the explainer queues few
Asked = RecommendRequest | ExplainRequest
T = TypeVar("T")


class Sentences:
    """Asks the explainer, or does without it."""

    def __init__(self, explainer: DeploymentHandle | None, guard: Guard) -> None:
        self._explainer, self._guard = explainer, guard

    async def write(
        self, records: list[Evidence], request: Asked
    ) -> tuple[Sequence[Explanation | None], list[Degradation]]:
        """One explanation a record, None where none is wanted, and what went wrong."""
        if request.explain == "none":
            return [None] * len(records), []
        with stage("sentences"):
            if request.explain != "llm" or self._explainer is None or not records:
                return templates(records, request), []
            try:
                return await self._guard.wait(lambda: self._written(records, request)), []
            except LeftOutError as error:
                return templates(records, request, [problem(error)]), [error.degradation]

    async def stream(self, record: Evidence, request: ExplainRequest) -> AsyncIterator[str]:
        """Events of one explanation: checked pieces, then the whole; the template's where no model
        is to write or it fails."""
        problems = []
        if request.explain == "llm" and self._explainer is not None:
            handle = self._explainer.stream.options(stream=True)
            pieces = handle.remote(record, request.language, request.tone, **trace_argument())
            try:
                async for piece in self._in_time(pieces):
                    yield told(piece)
                    if isinstance(piece, Explanation):
                        return
            except LeftOutError as error:
                problems = [problem(error)]
        [explanation] = templates([record], request, problems)
        yield told(explanation.text)
        yield told(explanation)

    async def stream_slate(
        self, answer: RecommendResponse, records: list[Evidence], request: RecommendRequest
    ) -> AsyncIterator[str]:
        """The answer as it stands, then each explanation that the model has written, then the end,
        which says what went wrong."""
        yield event("slate", answer.model_dump_json())
        degraded = []
        try:
            if self._explainer is not None and records:
                async with aclosing(self._each(records, request)) as pairs:
                    async for record, written in self._in_time(pairs):
                        told_of = {"item_id": record.item_id, "explanation": written.model_dump()}
                        yield event("explanation", json.dumps(told_of))
        except LeftOutError as error:
            degraded = [error.degradation.model_dump()]
        yield event("end", json.dumps({"degraded": degraded}))

    async def _written(self, records: list[Evidence], request: Asked) -> list[Explanation]:
        assert self._explainer is not None
        written: list[Explanation] = await self._explainer.explain.remote(
            records, request.language, request.tone, **trace_argument()
        )
        return written

    async def _each(
        self, records: list[Evidence], request: Asked
    ) -> AsyncGenerator[tuple[Evidence, Explanation]]:
        """Records with their explanations, those written first first."""

        async def ask(some: list[Evidence]) -> list[tuple[Evidence, Explanation]]:
            return list(zip(some, await self._written(some, request), strict=True))

        size = math.ceil(len(records) / NUM_STREAMED)
        parts = [records[start : start + size] for start in range(0, len(records), size)]
        asks = [asyncio.ensure_future(ask(part)) for part in parts]
        try:
            for written in asyncio.as_completed(asks):
                for pair in await written:
                    yield pair
        finally:
            for one in asks:  # of a client that is gone, or after a failure
                one.cancel()
            await asyncio.gather(*asks, return_exceptions=True)

    async def _in_time(self, pieces: AsyncIterator[T]) -> AsyncIterator[T]:
        """The pieces, as long as all come within the explainer's time. Raises LeftOutError."""
        with self._guard.watched() as deadline_s:
            ends_at_s = time.monotonic() + deadline_s
            while True:
                try:
                    piece = await asyncio.wait_for(anext(pieces), ends_at_s - time.monotonic())
                except StopAsyncIteration:
                    return
                yield piece


def templates(
    records: Sequence[Evidence], request: Asked, rejected: Sequence[str] = ()
) -> list[Explanation]:
    """The templates' sentences, in the language and tone asked for."""
    return [explain_by_template(one, request.language, request.tone, rejected) for one in records]


def problem(error: LeftOutError) -> str:
    """Why a template stands where a model was asked for."""
    return f"the language model {error.degradation.why}"


def told(piece: str | Explanation) -> str:
    """A piece of text, or the whole, as an event."""
    if isinstance(piece, str):
        return event("piece", json.dumps(piece))
    return event("explanation", piece.model_dump_json())


def event(name: str, content: str) -> str:
    """An event of HTML's event stream; its content is JSON, which has no line breaks."""
    return f"event: {name}\ndata: {content}\n\n"
