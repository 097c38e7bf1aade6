"""Sentences for a slate: from the explainer where a language model was asked for and answers in
time, from the templates otherwise. An explainer that fails or is late never costs the slate.
"""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Sequence

from ray.serve.handle import DeploymentHandle

from serving.api import ExplainRequest, Explanation, RecommendRequest
from serving.evidence import Evidence
from serving.explainer import explain_by_template

logger = logging.getLogger("ray.serve")


class Sentences:
    """Asks the explainer, or does without it."""

    def __init__(self, explainer: DeploymentHandle | None, timeout_s: float) -> None:
        self._explainer, self._timeout_s = explainer, timeout_s

    async def write(
        self, records: list[Evidence], request: RecommendRequest | ExplainRequest
    ) -> Sequence[Explanation | None]:
        """One explanation a record, None where none is wanted."""
        manner = (request.language, request.tone)
        if request.explain == "none":
            return [None] * len(records)
        if request.explain == "llm" and records and self._explainer is not None:
            try:
                answer: list[Explanation] = await asyncio.wait_for(
                    self._explainer.explain.remote(records, *manner), self._timeout_s
                )
                return answer
            except Exception as error:  # noqa: BLE001  an explainer that fails must not cost the slate
                problem = failed(error)
                return [explain_by_template(record, *manner, [problem]) for record in records]
        return [explain_by_template(record, *manner) for record in records]

    async def stream(
        self, record: Evidence, request: ExplainRequest
    ) -> AsyncIterator[str | Explanation]:
        """Checked pieces, then the whole; the template's where no model is to write or it fails."""
        manner = (request.language, request.tone)
        problems, sent = [], False
        if request.explain == "llm" and self._explainer is not None:
            try:
                pieces = self._explainer.stream.options(stream=True).remote(record, *manner)
                async for piece in pieces:
                    sent = True
                    yield piece
                if sent:
                    return
            except Exception as error:  # noqa: BLE001  as above
                problems = [failed(error)]
        explanation = explain_by_template(record, *manner, problems)
        yield explanation.text
        yield explanation


def failed(error: Exception) -> str:
    """Logged, and the reason that the answer gives."""
    logger.warning("the explainer failed, templates answer: %s", type(error).__name__)
    return f"the language model did not answer: {type(error).__name__}"


async def server_sent_events(pieces: AsyncIterator[str | Explanation]) -> AsyncIterator[str]:
    """Pieces of text and explanations as events of HTML's event stream."""
    async for piece in pieces:
        if isinstance(piece, str):
            yield f"event: piece\ndata: {json.dumps(piece)}\n\n"
        else:
            yield f"event: explanation\ndata: {piece.model_dump_json()}\n\n"
