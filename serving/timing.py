"""Timing: what one request took, stage by stage, and what is worth knowing of it.

A request's `Passage` travels in a context variable, so that a stage says only its own name:
`with stage("scoring"):`, or `@stage("scoring")` above a function. Outside a request nothing is
kept.
"""

import time
from contextlib import ContextDecorator
from contextvars import ContextVar
from dataclasses import dataclass, field
from types import TracebackType
from typing import Literal, NamedTuple, Self, get_args

StageName = Literal[
    "user_read",
    "user_encode",
    "filters",
    "voices",
    "channels",
    "item_encode",
    "scoring",
    "choosing",
    "attribution",
    "facts",
    "weighing",
    "sentences",
    "feedback_durable",
    "feedback_push",
]
STAGES: tuple[StageName, ...] = get_args(StageName)


class Took(NamedTuple):
    """One run of a stage, on the clock of time.perf_counter_ns."""

    stage: StageName
    began_ns: int
    ended_ns: int

    @property
    def s(self) -> float:
        return (self.ended_ns - self.began_ns) / 1e9


@dataclass
class Passage:
    """One request on its way through the application."""

    request_id: str = ""
    began_at_ns: int = field(default_factory=time.time_ns)
    """Wall clock: nanoseconds since 1970."""
    began_ns: int = field(default_factory=time.perf_counter_ns)
    stages: list[Took] = field(default_factory=list)
    """In the order of their ends; a stage that ran twice is there twice."""
    user_id: str | None = None
    version: str | None = None
    """Of the bundle and the snapshot that answered."""
    degraded: tuple[str, ...] = ()
    """What was late, empty or down, and masked."""
    num_items: int | None = None
    """Length of the slate."""
    traceparent: str | None = None
    """For spans of other processes; None where nothing is traced."""

    def took_s(self) -> float:
        """So far."""
        return (time.perf_counter_ns() - self.began_ns) / 1e9

    def stages_ms(self) -> dict[str, float]:
        """Milliseconds by stage, in order of their first ends."""
        total: dict[str, float] = {}
        for took in self.stages:
            total[took.stage] = round(total.get(took.stage, 0.0) + 1e3 * took.s, 3)
        return total


PASSAGE: ContextVar[Passage | None] = ContextVar("PASSAGE", default=None)


def request_id() -> str:
    """Of the current request; empty outside of one."""
    passage = PASSAGE.get()
    return passage.request_id if passage is not None else ""


class stage(ContextDecorator):
    """Times a block, or each call of a function, as a stage of the current request."""

    def __init__(self, name: StageName) -> None:
        self._name = name
        self._began_ns = 0

    def _recreate_cm(self) -> Self:
        return type(self)(self._name)  # a function may run in several threads at once

    def __enter__(self) -> None:
        self._began_ns = time.perf_counter_ns()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        passage = PASSAGE.get()
        if passage is not None:
            passage.stages.append(Took(self._name, self._began_ns, time.perf_counter_ns()))


def note(
    *,
    user_id: str | None = None,
    version: str | None = None,
    degraded: tuple[str, ...] = (),
    num_items: int | None = None,
) -> None:
    """Keeps what logs, metrics and spans tell of the current request; what is None stays."""
    passage = PASSAGE.get()
    if passage is None:
        return
    passage.user_id = passage.user_id if user_id is None else user_id
    passage.version = passage.version if version is None else version
    passage.degraded = degraded or passage.degraded
    passage.num_items = passage.num_items if num_items is None else num_items


def trace_argument() -> dict[str, str]:
    """For a call of another process, whose spans are to go under those of the current request."""
    passage = PASSAGE.get()
    given = passage.traceparent if passage is not None else None
    return {"traceparent": given} if given else {}


def server_timing(passage: Passage) -> str:
    """The header's value: the whole up to now, then each stage, in milliseconds.

    >>> passage = Passage(stages=[Took("scoring", 0, 1_500_000)])
    >>> server_timing(passage).split(", ")[1]
    'scoring;dur=1.50'
    """
    stages = [f"{name};dur={ms:.2f}" for name, ms in passage.stages_ms().items()]
    return ", ".join([f"app;dur={1e3 * passage.took_s():.2f}", *stages])
