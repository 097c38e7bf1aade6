"""Live: what answers are made from, replaced while requests run.

In: the configuration. Out: one `State`, of one bundle and one snapshot. A request takes the state
once, at its start, so that no answer mixes versions; a request under way ends on the state that it
took. A thread looks at the pointers about once a second, loads what is new beside the old, tries it
with a few requests, and then changes the one reference.
"""

import logging
import math
import threading
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from feast import FeatureStore

from serving.api import RecommendRequest
from serving.channels import TrendingChannel
from serving.clock import Clock
from serving.config import ServingConfig
from serving.garbage import settle, unsettle
from serving.guards import Guards
from serving.item_changes import take_in
from serving.item_pushes import PushReader, pushes_beside
from serving.pointer import target
from serving.quotas import Quotas
from serving.ranker import SlateRanker
from serving.rollout import bundle_folder
from serving.snapshot import Snapshot
from serving.snapshot_files import open_snapshot, snapshots_of
from training.bundle import Bundle, load_bundle
from training.native import open_native

RETRY_S = 30.0  # what could not be loaded may load later: a store was down, a disk slow
NUM_TRIALS = 2
SETTLE_AFTER_S = 120.0  # of a new state: longer than any request holds the old one
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class State:
    """One version of everything that an answer is made from."""

    ranker: SlateRanker
    pushes: PushReader | None = None
    """Rows of items as they come; None for none."""
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @property
    def clock(self) -> Clock:
        return self.ranker.clock

    @property
    def snapshot(self) -> Snapshot:
        return self.ranker.snapshot

    @property
    def version(self) -> str:
        """Short id of the bundle and of the snapshot."""
        return self.snapshot.version

    def catch_up(self) -> None:
        """Take in the item rows that were pushed since. ValueError names one that cannot be."""
        if self.pushes is None:
            return
        with self._lock:
            for push in self.pushes.new():
                take_in(self.snapshot, push)


@dataclass(frozen=True)
class Named:
    """What the pointers name."""

    bundle: Path
    snapshot: Path | None


class Live:
    """The state of one replica."""

    def __init__(self, config: ServingConfig, store: FeatureStore) -> None:
        """Raises ValueError where the bundle cannot be served. A snapshot that cannot is left out:
        the items are then as the bundle has them."""
        self._config, self._store = config, store
        self.guards = Guards(config)
        self.pushes = pushes_beside(config.bundle)
        self.refresh_error: str | None = None
        """Why the newest version is not the one that answers; None when it is."""
        self.prepare: list[Callable[[Snapshot], None]] = []
        """What a new snapshot goes through before it is used, in order: whoever keeps it level, or
        must know it too, adds to this."""
        self._refreshing = threading.Lock()
        self._settle_at_s = math.inf
        self._tried, self._tried_at = self._named(), time.monotonic()
        self._loaded_from = self._tried.bundle
        bundle = self._bundle(self._loaded_from)
        clock = Clock(config.clock, bundle.as_of)
        try:
            self._state = self._of(bundle, clock, self._tried.snapshot)
        except ValueError as error:
            self._failed(error)
            self._state = self._of(bundle, clock, None)
        arguments = (weakref.ref(self), config.refresh_every_s)
        threading.Thread(target=_follow, args=arguments, name="refresh", daemon=True).start()

    @property
    def state(self) -> State:
        """The newest state, with every item row that was pushed."""
        return self.level(self._state)

    def level(self, state: State) -> State:
        """The same for an earlier state."""
        try:
            state.catch_up()
        except ValueError as error:
            self._failed(error)
        return state

    def refresh(self) -> None:
        """Go over to what the pointers name, if that is new; on a failure the old state stays, and
        `refresh_error` says why."""
        with self._refreshing:
            self._refresh()
            if time.monotonic() >= self._settle_at_s:
                self._settle_at_s = math.inf
                settle()

    def _refresh(self) -> None:
        try:
            named = self._named()
            waiting = self.refresh_error is None or time.monotonic() < self._tried_at + RETRY_S
            if named == self._tried and waiting:
                return
            self._tried, self._tried_at = named, time.monotonic()
            self._state = self._next(named)
        except Exception as error:  # noqa: BLE001 - whatever it is, the old state goes on answering
            self._failed(error)
        else:
            self.refresh_error = None
            # Requests under way hold the old state still: were it set aside now, it would stay.
            unsettle()
            self._settle_at_s = time.monotonic() + SETTLE_AFTER_S
            logger.info("answers come from version %s now", self._state.version)

    def _failed(self, error: Exception) -> None:
        if self.refresh_error != str(error):
            logger.error("what is newest is not in use: %s", error, exc_info=error)
        self.refresh_error = str(error)

    def _named(self) -> Named:
        bundle = bundle_folder(self._config.bundle)
        return Named(bundle, target(snapshots_of(bundle)))

    def _bundle(self, path: Path) -> Bundle:
        bundle, compiled = load_bundle(path), self._config.compiled
        bundle.check(self._store)
        if compiled is not None:
            try:
                bundle.model.native = open_native(compiled, bundle.model, bundle.encoder)
            except ValueError as error:
                logger.warning("bundle %s is served without compiled steps: %s", path, error)
        return bundle

    def _next(self, named: Named) -> State:
        """The state of what the pointers name, tried."""
        old = self._state.ranker
        if named.bundle == self._loaded_from:
            state = self._of(old.bundle, old.clock, named.snapshot)
        else:
            bundle = self._bundle(named.bundle)
            state = self._of(bundle, Clock(self._config.clock, bundle.as_of), named.snapshot)
        for prepare in self.prepare:
            prepare(state.snapshot)
        for user_id in ("nobody", *state.ranker.bundle.seen.user_ids[: NUM_TRIALS - 1]):
            state.ranker.recommend(RecommendRequest(user_id=user_id))
        self._loaded_from = named.bundle
        return state

    def _of(self, bundle: Bundle, clock: Clock, snapshot: Path | None) -> State:
        return State(
            SlateRanker(
                bundle,
                self._store,
                clock,
                open_snapshot(bundle, snapshot) if snapshot else Snapshot.from_bundle(bundle),
                quotas=Quotas(
                    self._config.candidates_per_channel,
                    self._config.quotas,
                    self._config.max_candidates,
                ),
                min_friends=self._config.min_friends,
                guards=self.guards,
                # For answers without the retriever. It is late where cores are busy: what stands
                # in for it must cost little.
                channels=[TrendingChannel()] if self._config.retrieval == "handle" else None,
            ),
            PushReader(self.pushes),
        )


def _follow(live: weakref.ref[Live], every_s: float) -> None:
    """Refresh for as long as somebody holds the object."""
    while True:
        time.sleep(every_s)
        own = live()
        if own is None:
            return
        own.refresh()
        del own
