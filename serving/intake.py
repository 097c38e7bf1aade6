"""Intake of feedback: a request becomes an event, is made durable, then pushed to Feast.

An event id counts once; an event that Feast did not take is pushed when it is sent again.
"""

import uuid

from serving.api import FeedbackRequest, FeedbackResponse
from serving.clock import instant, microseconds
from serving.errors import FutureEventError
from serving.feedback import Event, FeaturePusher, FeedbackLog, is_positive
from serving.live import Live

FUTURE_TOLERANCE_US = 5_000_000  # clocks of phones and servers differ by seconds


class Intake:
    """Takes events in for one replica."""

    def __init__(
        self,
        log: FeedbackLog,
        pusher: FeaturePusher,
        live: Live,
        positive_from: float,
    ) -> None:
        self._log, self._pusher, self._live = log, pusher, live
        self._positive_from = positive_from
        self._unpushed: set[str] = set()

    def take(self, request: FeedbackRequest) -> FeedbackResponse:
        """Raises UnknownItemError and FutureEventError before anything is kept."""
        event = self._event(request)
        if event.event_id not in self._log:
            self._log.append(event)
            self._unpushed.add(event.event_id)
        elif event.event_id not in self._unpushed:
            return FeedbackResponse(event_id=event.event_id, accepted=False, updated_views=[])
        updated = self._pusher.push(event)  # if Feast fails here, sending the event again retries
        self._unpushed.discard(event.event_id)
        snapshot = self._live.state.snapshot
        snapshot.popularity.add(snapshot.position[event.item_id], event.at_us)
        return FeedbackResponse(event_id=event.event_id, accepted=True, updated_views=updated)

    def rejected_by(self, user_id: str) -> tuple[str, ...]:
        """Items that the user gave negative feedback on."""
        return self._log.rejected_by(user_id)

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
        )
