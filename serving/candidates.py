"""Candidates: what retrieval is asked for and what it finds, as both travel between processes."""

from collections.abc import Sequence
from dataclasses import dataclass

from serving.api import Degradation, RecommendRequest
from serving.snapshot import Positions
from training.plain_rows import Row


@dataclass(frozen=True)
class Wanted:
    """All that candidates follow from, beside the snapshot and what is counted in it."""

    request: RecommendRequest
    rejected: tuple[str, ...]
    rows: dict[str, Row]
    """The user's, as the store has them."""
    at_us: int
    version: str
    """Of the snapshot whose positions are meant."""


@dataclass(frozen=True)
class Candidates:
    """Positions, each once, and the channel that ranked each highest."""

    positions: Positions
    channels: Sequence[str]
    at_us: int
    """The instant that channels were asked for."""
    degraded: tuple[Degradation, ...] = ()
    """Channels that were left out."""
