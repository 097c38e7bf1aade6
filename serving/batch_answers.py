"""Batch answers: several requests in one; each has its own answer or its own error.

In: requests as they came. Out: answers in the same order. They are ranked one after the other, so
that requests of others come between them.
"""

import logging
from collections.abc import Awaitable, Callable
from typing import Annotated, Any

from fastapi import Response
from pydantic import BaseModel, Field, ValidationError

from serving.api import ErrorBody, RecommendRequest, RecommendResponse, Request
from serving.errors import STATUS
from serving.logs import log_error

MAX_REQUESTS = 100
logger = logging.getLogger("ray.serve")


class BatchRequest(Request):
    requests: Annotated[list[dict[str, Any]], Field(min_length=1, max_length=MAX_REQUESTS)]
    """Each as for /v1/recommend, and checked by itself. `explain` is `none` or `template`: a
    language model takes seconds for each sentence."""


class BatchAnswer(BaseModel):
    """One of the two."""

    answer: RecommendResponse | None = None
    error: ErrorBody | None = None


class BatchResponse(BaseModel):
    answers: list[BatchAnswer]
    """In the order of the requests."""


async def answer_each(
    requests: list[dict[str, Any]],
    recommend: Callable[[RecommendRequest], Awaitable[RecommendResponse | Response]],
) -> BatchResponse:
    """Whatever one request brings about, the rest are answered."""
    return BatchResponse(answers=[await _answer(given, recommend) for given in requests])


async def _answer(
    given: dict[str, Any],
    recommend: Callable[[RecommendRequest], Awaitable[RecommendResponse | Response]],
) -> BatchAnswer:
    try:
        request = RecommendRequest.model_validate(given)
    except ValidationError as error:
        wrong = (f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
        return _refused("invalid_request", "; ".join(wrong))
    if request.explain not in ("none", "template"):
        return _refused("invalid_request", "explain: in a batch, `none` or `template`")
    try:
        answer = await recommend(request)
    except tuple(STATUS) as error:
        return _refused(STATUS[type(error)][1], str(error))
    except Exception as error:  # noqa: BLE001  one request must not cost the others
        log_error("a request of a batch failed", error)
        return _refused("internal_error", f"{type(error).__name__}; the server's log says more")
    assert isinstance(answer, RecommendResponse)  # only what is streamed is another
    return BatchAnswer(answer=answer)


def _refused(code: str, detail: str) -> BatchAnswer:
    return BatchAnswer(error=ErrorBody(error=code, detail=detail))
