"""Logs: one JSON line a request, without a word of what a user wrote.

A line has the request's id, its route (the pattern, not the path), its status, the milliseconds of
each stage, the version that answered, what was degraded and how many items there were. Ray Serve
formats, rotates and collects it; its own line for each request is left out.
"""

import hashlib
import logging
import os
import re
import secrets
import traceback
import uuid

from ray.serve.schema import LoggingConfig

from serving.config import UserIds
from serving.timing import Passage, request_id

LOG_KEY_VARIABLE = "POTLUCK_LOG_KEY"
REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
REPLICA_LOGS = LoggingConfig(encoding="JSON", enable_access_log=False)

logger = logging.getLogger("ray.serve")


class UserNames:
    """What a line calls a user. A hash is keyed, so that a list of ids does not undo it: by
    POTLUCK_LOG_KEY, or by a key that lives and dies with the process."""

    def __init__(self, how: UserIds = "hash", key: str | None = None) -> None:
        self._how = how
        given = os.environ.get(LOG_KEY_VARIABLE) if key is None else key
        self._key = hashlib.sha256(given.encode()).digest() if given else secrets.token_bytes(32)

    def of(self, user_id: str | None) -> str | None:
        if user_id is None or self._how == "none":
            return None
        if self._how == "clear":
            return user_id
        return hashlib.blake2b(user_id.encode(), key=self._key, digest_size=8).hexdigest()


def request_id_of(given: str | None) -> str:
    """The client's own id where it can do no harm in a log, else a new one."""
    return given if given and REQUEST_ID.fullmatch(given) else uuid.uuid4().hex


def log_passage(
    passage: Passage, route: str, method: str, status: int, user: str | None, trace_id: str | None
) -> None:
    """The request's one line."""
    logger.info(
        "request",
        extra={
            "skip_context_filter": True,  # Ray's own fields cost as much again, and repeat ours
            "request_id": passage.request_id,
            "method": method,
            "route": route,
            "status": status,
            "took_ms": round(1e3 * passage.took_s(), 3),
            "stages_ms": passage.stages_ms(),
            "version": passage.version,
            "degraded": passage.degraded,
            "num_items": passage.num_items,
            "user": user,
            "trace_id": trace_id,
        },
    )


def log_error(what: str, error: BaseException) -> None:
    """An unforeseen error's kind and where it was raised. Its message may quote a user, and is not
    told."""
    where = [
        f"{frame.filename}:{frame.lineno} in {frame.name}"
        for frame in traceback.extract_tb(error.__traceback__)
    ]
    extra: dict[str, object] = {"where": where}
    if request_id():
        extra["request_id"] = request_id()
    logger.error("%s: %s", what, type(error).__name__, extra=extra)
