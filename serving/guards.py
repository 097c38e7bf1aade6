"""Guards: what of one replica has a deadline and a breaker.

In: the configuration. Out: a guard for reading users, for retrieval behind a handle, for each
channel, and for explanations. They outlive bundles and snapshots: what is down stays down when a
new version comes.
"""

import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from serving.api import Degradation
from serving.breaker import Breaker
from serving.channels import NOTHING, Channel, Question
from serving.config import ServingConfig
from serving.deadlines import Guard, LeftOutError
from serving.errors import UnavailableError
from serving.snapshot import Positions
from serving.timing import note, stage
from serving.turns import in_turn
from serving.users import UserReader
from training.plain_rows import Row

NUM_READS = 8  # at once; a read is a millisecond, and a store that hangs must not hold more
NUM_CHANNELS = 4  # they compute: more at once than there are cores would only be slower
WARM_UP_S = 10.0
logger = logging.getLogger("ray.serve")


class Guards:
    """The guards of one replica."""

    def __init__(self, config: ServingConfig) -> None:
        self._config = config
        self._channels: dict[str, Guard] = {}
        self._computing = ThreadPoolExecutor(NUM_CHANNELS, "channel")
        self._reading = ThreadPoolExecutor(NUM_READS, "read")
        self.users = Guard("user", config.user_deadline_ms / 1e3, self._breaker(), self._reading)
        self.retrieval = Guard(
            "retrieval", config.retrieval_deadline_ms / 1e3, self._breaker(), self._computing
        )
        self.explanations = Guard(
            "explanation", config.explain_timeout_s, self._breaker(), self._computing
        )

    async def read(
        self, users: UserReader, user_id: str
    ) -> tuple[dict[str, Row], list[Degradation]]:
        """What is stored of a user, and what went wrong; nothing is as of an unknown user."""
        note(user_id=user_id)
        try:
            with stage("user_read"):
                return await self.users.run(users.rows, user_id), []
        except LeftOutError as error:
            return {}, [error.degradation]

    async def read_or_raise(self, users: UserReader, user_id: str) -> dict[str, Row]:
        """What is stored of a user. Raises UnavailableError where that cannot be read."""
        rows, degraded = await self.read(users, user_id)
        if degraded:
            raise UnavailableError(f"the online store {degraded[0].why}")
        return rows

    def warm_up(self, users: UserReader, user_id: str) -> None:
        """The first read of all, without a deadline that it would miss. A store that is down is
        learnt of again with the first request."""
        try:
            self._reading.submit(users.rows, user_id).result(WARM_UP_S)
        except Exception as error:  # noqa: BLE001  a replica starts without the store too
            logger.warning("the online store cannot be read yet: %s", type(error).__name__)

    def ask(
        self, channels: Sequence[Channel], question: Question, limits: Sequence[int]
    ) -> list[Positions]:
        """What each channel proposes. One that is late or fails costs no answer: it proposes
        nothing, and is named."""
        calls = [
            (self._channel(channel.name), partial(channel.candidates, question, limit))
            for channel, limit in zip(channels, limits, strict=True)
        ]
        found = in_turn(calls, self._computing)
        question.degraded.extend(own.degradation for own in found if isinstance(own, LeftOutError))
        return [NOTHING if isinstance(own, LeftOutError) else own for own in found]

    def open(self) -> list[str]:
        """What is left alone now."""
        guards = {"user": self.users, "retrieval": self.retrieval}
        guards |= {"explanation": self.explanations, **self._channels}
        return [name for name, guard in guards.items() if guard.is_open]

    def _channel(self, name: str) -> Guard:
        if name not in self._channels:
            deadline_s = self._config.channel_deadline_ms / 1e3
            self._channels[name] = Guard(
                "channel", deadline_s, self._breaker(), self._computing, name
            )
        return self._channels[name]

    def _breaker(self) -> Breaker:
        return Breaker(self._config.breaker_failures, self._config.breaker_open_s)
