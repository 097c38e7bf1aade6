"""Retrieval behind a handle: candidates from a deployment of its own, for indexes that are too
large for every ranker to hold (docs/adr/0019-retrieval-behind-a-handle.md).

In: a request and the version that it is answered from. Out: candidates of that very version, found
by the code that finds them in the ranker's process; or none, and why, where the retriever is late,
down or has another version. The ranker then makes do with what is trending.
"""

import asyncio
import time
from collections.abc import Sequence

from feast import FeatureStore
from ray import serve
from ray.serve.handle import DeploymentHandle

from serving.api import Degradation, RecommendRequest
from serving.candidates import Candidates, Wanted
from serving.config import ServingConfig
from serving.counting import Counting
from serving.deadlines import Guard, LeftOutError, noted
from serving.errors import UnavailableError
from serving.garbage import settle
from serving.health import Pulse
from serving.live import Live, State
from serving.proxy import STANDING
from serving.ranker import SlateRanker
from serving.snapshot import Snapshot
from serving.threads import limit_threads
from serving.timing import stage, trace_argument
from serving.tracing import span_under, start_tracing
from training.plain_rows import Row

KEPT_S = 30.0  # a version is let go when it was not asked for so long
PATIENCE_S = 300.0  # that a retriever may take to load a version: it builds indexes
LOOK_EVERY_S = 0.2


@serve.deployment(name="Retriever", max_ongoing_requests=32, max_queued_requests=256, **STANDING)
class Retriever:
    """Follows the pointers and the logs as a ranker does. While rankers go over to a new version
    it answers from the one before, too."""

    def __init__(self, config: ServingConfig) -> None:
        limit_threads(config.threads)
        start_tracing()
        in_process = config.model_copy(update={"retrieval": "process"})
        self._live = Live(in_process, FeatureStore(repo_path=str(config.repo)))
        self._counting = Counting(config.event_log)
        self._live.prepare.append(self._counting.begin)
        self._pulse = Pulse()
        self._newest = self._live.state
        self._before: State | None = None
        self._asked_at_s = 0.0
        """When the version before was last asked for."""
        self._pulse.feel(self._newest.ranker)
        settle()

    async def candidates(self, wanted: Wanted, traceparent: str = "") -> Candidates | None:
        """None where this replica does not have the version."""
        with span_under(traceparent, "retrieve"):
            state = self._state(wanted.version)
            return None if state is None else state.ranker.candidates(wanted)

    async def has(self, version: str) -> bool:
        """Whether candidates of this version may be asked for."""
        return self._state(version) is not None

    async def check_health(self) -> None:
        """Ray Serve replaces a replica of which this fails three times in a row."""
        self._state(self._live.state.version)
        if time.monotonic() > self._asked_at_s + KEPT_S:
            self._before = None
        self._pulse.feel(self._newest.ranker)

    def _state(self, version: str) -> State | None:
        """The state of this version, with everything that was pushed and fed back."""
        newest = self._live.state
        if newest is not self._newest:
            self._before, self._newest = self._newest, newest
            self._asked_at_s = time.monotonic()
        if version == newest.version:
            state = newest
        elif self._before is not None and version == self._before.version:
            state, self._asked_at_s = self._live.level(self._before), time.monotonic()
        else:
            return None
        self._counting.catch_up(state.snapshot)
        return state


class Retrieval:
    """The ranker's way to candidates: the retriever's, where there is one."""

    def __init__(self, retriever: DeploymentHandle | None, guard: Guard) -> None:
        self._retriever, self._guard = retriever, guard
        self._loop: asyncio.AbstractEventLoop | None = None
        """Where the handle is used; None before it was."""

    async def candidates(
        self,
        ranker: SlateRanker,
        request: RecommendRequest,
        rejected: Sequence[str],
        rows: dict[str, Row],
    ) -> tuple[Candidates | None, list[Degradation]]:
        """None where the ranker is to find them itself, and what went wrong."""
        if self._retriever is None:
            return None, []
        self._loop = asyncio.get_running_loop()
        at_us, version = ranker.clock.now_us(), ranker.snapshot.version
        wanted = Wanted(request, tuple(rejected), rows, at_us, version)
        try:
            with stage("channels"):
                found = await self._guard.wait(lambda: self._asked(wanted))
        except LeftOutError as error:
            return None, [error.degradation]
        if found is None:  # no failure: it answers, and will soon have what was asked for
            return None, [noted(Degradation(stage="retrieval", why="had another version"))]
        for degradation in found.degraded:
            noted(degradation)
        return found, []

    def wait_for(self, snapshot: Snapshot) -> None:
        """Returns when every retriever has this version: only then is a ranker to go over to it.
        For the thread that loads. Raises UnavailableError where that takes too long.

        Before the first request nobody waits for candidates, so neither does this.
        """
        if self._retriever is not None and self._loop is not None:
            asking = self._until_all_have(snapshot.version)
            asyncio.run_coroutine_threadsafe(asking, self._loop).result()

    async def _asked(self, wanted: Wanted) -> Candidates | None:
        assert self._retriever is not None
        found: Candidates | None = await self._retriever.candidates.remote(
            wanted, **trace_argument()
        )
        return found

    async def _until_all_have(self, version: str) -> None:
        assert self._retriever is not None
        try:
            async with asyncio.timeout(PATIENCE_S):
                while not await self._all_have(version):
                    await asyncio.sleep(LOOK_EVERY_S)
        except TimeoutError as error:
            raise UnavailableError(
                f"not every retriever has version {version} after {PATIENCE_S:.0f} s; "
                "their logs say why"
            ) from error

    async def _all_have(self, version: str) -> bool:
        assert self._retriever is not None
        asking = self._retriever.broadcast("has", version)
        answers = await asking.results_async(return_exceptions=True)
        return all(answer is True for answer in answers)
