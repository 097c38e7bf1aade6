"""One table from exceptions to HTTP answers. The body is always {"error": code, "detail": text}."""

from collections.abc import Awaitable, Callable

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException


class UnknownItemError(ValueError):
    """An item id that neither the snapshot nor the feature store knows."""


class FutureEventError(ValueError):
    """Feedback that claims to have happened later than now."""


class ItemRowError(ValueError):
    """Features of an item that are not those of the view they were sent for."""


class UnavailableError(Exception):
    """Something that the request cannot be answered without is down; it may be sent again."""


RETRY_AFTER_S = 2
MAX_DETAIL = 1_000  # characters: a detail quotes the request, which may be megabytes
STATUS: dict[type[Exception], tuple[int, str]] = {
    UnknownItemError: (404, "unknown_item"),
    FutureEventError: (422, "event_in_the_future"),
    ItemRowError: (422, "invalid_item_row"),
    UnavailableError: (503, "unavailable"),
}


def add_error_handlers(api: FastAPI) -> None:
    """Make every error of the application answer with the one body."""
    for kind, (status, code) in STATUS.items():
        api.add_exception_handler(kind, _handler(status, code))
    api.add_exception_handler(RequestValidationError, _invalid_request)
    api.add_exception_handler(HTTPException, _http_error)


def error_body(
    status: int, code: str, detail: str, headers: dict[str, str] | None = None
) -> JSONResponse:
    """The one body of all errors. Whoever may try again is told when."""
    if status in (429, 503):
        headers = {"Retry-After": str(RETRY_AFTER_S), **(headers or {})}
    shown = detail if len(detail) <= MAX_DETAIL else f"{detail[:MAX_DETAIL]} ..."
    return JSONResponse({"error": code, "detail": shown}, status_code=status, headers=headers)


def _handler(status: int, code: str) -> Callable[[Request, Exception], Awaitable[JSONResponse]]:
    async def answer(_request: Request, error: Exception) -> JSONResponse:
        return error_body(status, code, str(error))

    return answer


async def _invalid_request(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    wrong = []
    for issue in error.errors():
        where = ".".join(str(part) for part in issue["loc"] if part != "body")
        wrong.append(f"{where or 'body'}: {issue['msg']}")
    return error_body(422, "invalid_request", "; ".join(wrong))


async def _http_error(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    codes = {
        400: "bad_request",
        404: "not_found",
        405: "method_not_allowed",
        413: "too_large",
    }
    code = codes.get(error.status_code, "http_error")
    return error_body(error.status_code, code, str(error.detail))


def our_fault(error: Exception) -> JSONResponse:
    """What was not foreseen. The log has the trace; the answer gives nothing away."""
    return error_body(500, "internal_error", f"{type(error).__name__}; the server's log says more")
