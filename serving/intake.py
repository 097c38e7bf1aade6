"""Intake of feedback: a request becomes an event, is made durable, then pushed to Feast.

In: requests, and what other replicas wrote to the log. Out: answers, and a state to answer from
that knows all of it. Waiting for the disk happens in one thread of its own, which takes all events
that wait as one group: one flush and one push for all of them (pushing.py).
"""

import asyncio
import threading
import uuid
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from serving.api import FeedbackRequest, FeedbackResponse
from serving.clock import instant, microseconds
from serving.counting import Counting
from serving.errors import FutureEventError
from serving.event_log import Event, EventLog, LogReader, locked
from serving.feedback import Rejections, is_positive
from serving.live import Live, State
from serving.metrics import timed
from serving.pusher import FeaturePusher
from serving.pushing import Pushing
from serving.timing import note

FUTURE_TOLERANCE_US = 5_000_000  # clocks of phones and servers differ by seconds


class Committer:
    """Commits events in the order they came, those that wait meanwhile as one group."""

    def __init__(self, commit: Callable[[Sequence[Event]], list[FeedbackResponse]]) -> None:
        self._commit = commit
        self._waiting: deque[tuple[Event, Future[FeedbackResponse]]] = deque()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="feedback")

    def submit(self, event: Event) -> "Future[FeedbackResponse]":
        answer: Future[FeedbackResponse] = Future()
        self._waiting.append((event, answer))
        self._thread.submit(self._run)
        return answer

    def nudge(self) -> None:
        """Commit an empty group, which pushes what was not pushed."""
        self._thread.submit(self._commit, ())

    def _run(self) -> None:
        group = [self._waiting.popleft() for _ in range(len(self._waiting))]
        group = [one for one in group if one[1].set_running_or_notify_cancel()]
        if not group:
            return
        try:
            answers = self._commit([event for event, _ in group])
        except Exception as error:  # noqa: BLE001 - raised again in each request that waits
            for _, answer in group:
                answer.set_exception(error)
        else:
            for (_, answer), given in zip(group, answers, strict=True):
                answer.set_result(given)


class Intake:
    """Takes events in for one replica, and keeps it level with the others of its node."""

    def __init__(
        self, log: EventLog, pusher: FeaturePusher, live: Live, positive_from: float
    ) -> None:
        self._log, self._pusher, self._live = log, pusher, live
        self._positive_from = positive_from
        # What the data holds already is not kept in memory.
        since_us = microseconds(live.state.ranker.bundle.as_of)
        self._reader = LogReader(log.path, since_us=since_us)
        self._pushing = Pushing(pusher, log.path, since_us)
        self._ids: set[str] = set()
        self._rejections = Rejections()
        self._counting = Counting(log.path)
        self._lock = threading.Lock()  # around what requests and the committing thread both read
        self._committer = Committer(self._commit)
        self._commit(())  # what was in the log and not in the store when the last process died
        live.prepare.append(self._counting.begin)

    async def take(self, request: FeedbackRequest) -> FeedbackResponse:
        """Answers when the event is durable. Raises UnknownItemError and FutureEventError before
        anything is kept."""
        note(user_id=request.user_id)
        return await asyncio.wrap_future(self._committer.submit(self._event(request)))

    def state(self) -> State:
        """The state to answer from, with every event that a replica has acknowledged."""
        if self._pushing.is_due():
            self._committer.nudge()
        state = self._live.state
        with self._lock:
            self._catch_up()
        self._counting.catch_up(state.snapshot)
        return state

    def rejected_by(self, user_id: str) -> tuple[str, ...]:
        """Items that the user gave negative feedback on."""
        with self._lock:
            self._catch_up()
            return self._rejections.of(user_id)

    def _catch_up(self) -> None:
        events = self._reader.new()
        self._ids.update(event.event_id for event in events)
        self._rejections.add(events)

    def _commit(self, events: Sequence[Event]) -> list[FeedbackResponse]:
        """Make new events durable, then push everything that is not pushed yet."""
        with locked(self._log.path):
            with self._lock:
                self._catch_up()
                fresh = self._fresh(events)
                end = self._reader.offset
            if fresh:
                with timed("feedback_durable"):
                    self._log.append(list(fresh.values()), end)
        pushed = self._pushing.catch_up()
        answers = []
        for event in events:
            accepted = fresh.get(event.event_id) is event
            views = self._pusher.views(event) if accepted and pushed else []
            answers.append(
                FeedbackResponse(event_id=event.event_id, accepted=accepted, updated_views=views)
            )
        return answers

    def _fresh(self, events: Sequence[Event]) -> dict[str, Event]:
        """By id, events that no replica has taken in; the first of each id."""
        fresh: dict[str, Event] = {}
        for event in events:
            if event.event_id not in self._ids:
                fresh.setdefault(event.event_id, event)
        return fresh

    def _event(self, request: FeedbackRequest) -> Event:
        state = self._live.state
        state.snapshot.place(request.item_id)  # an unknown item is refused here
        now_us = state.clock.now_us()
        at_us = microseconds(request.at) if request.at else now_us
        if at_us > now_us + FUTURE_TOLERANCE_US:
            raise FutureEventError(
                f"at: {request.at} lies after the server's now, {instant(now_us)}"
            )
        return Event(
            event_id=request.event_id or uuid.uuid4().hex,
            user_id=request.user_id,
            item_id=request.item_id,
            action=request.action,
            value=request.value,
            at_us=at_us,
            is_positive=is_positive(request.action, request.value, self._positive_from),
            received_at_us=now_us,
        )
