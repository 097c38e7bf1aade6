"""Live: what answers are made from, replaced while requests run.

In: the configuration. Out: one `State`, of one bundle and one snapshot. A request takes the state
once, at its start, so that no answer mixes versions; a request under way ends on the state that it
took.
"""

from dataclasses import dataclass

from feast import FeatureStore

from serving.clock import Clock
from serving.config import ServingConfig
from serving.guards import Guards
from serving.ranker import SlateRanker
from serving.snapshot import Snapshot
from training.bundle import load_bundle


@dataclass(frozen=True)
class State:
    """One version of everything that an answer is made from."""

    ranker: SlateRanker

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


class Live:
    """The state of one replica."""

    def __init__(self, config: ServingConfig, store: FeatureStore) -> None:
        self._config, self._store = config, store
        self.guards = Guards(config)
        self.state = self._loaded()
        self.refresh_error: str | None = None
        """Why the newest version is not the one that answers; None when it is."""

    def _loaded(self) -> State:
        bundle = load_bundle(self._config.bundle)
        bundle.check(self._store)
        return State(
            SlateRanker(
                bundle,
                self._store,
                Clock(self._config.clock, bundle.as_of),
                candidates_per_channel=self._config.candidates_per_channel,
                min_friends=self._config.min_friends,
                guards=self.guards,
            )
        )
