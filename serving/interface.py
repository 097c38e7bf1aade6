"""The HTTP application around the routes: its pages, its errors, and what every request passes."""

from fastapi import FastAPI

from serving.api import ErrorBody
from serving.errors import add_error_handlers
from serving.gate import Gatekeeper
from serving.observer import Observer
from serving.page import add_pages

DESCRIPTION = "Ranked items, where each came from, what each source counted, and a checked reason."


def make_api() -> FastAPI:
    """Without a route of the interface itself: those are the ranker's methods."""
    api = FastAPI(
        title="Potluck",
        description=DESCRIPTION,
        responses={"4XX": {"model": ErrorBody}},
        docs_url=None,  # page.py has one that loads nothing from elsewhere
        redoc_url=None,
    )
    add_error_handlers(api)
    add_pages(api)
    api.add_middleware(Gatekeeper)
    api.add_middleware(Observer)  # the last one added is the first that a request meets
    return api
