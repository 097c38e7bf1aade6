"""Choosing: from scored candidates to the slate.

In: scores, what the snapshot knows of the candidates, and how diverse and how curious the slate is
to be. Out: which candidates stand where, and with what probability. Without options it is the k
highest scores. Equal candidates keep their order; a shorter slate is the head of a longer one, as
long as nothing is explored.
"""

# Shapes: C candidates, k slate, E length of a text vector, G categories, R candidates of a place

import hashlib
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from serving.api import MAX_DIVERSITY, MAX_EXPLORE, RecommendRequest
from serving.config import ServingConfig
from serving.timing import stage

Positions = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]
Vectors = npt.NDArray[np.float32]

NOTHING_NEW = 1e-6  # below it a candidate is a copy of chosen ones, up to rounding of float32


class Described(Protocol):
    """What items are alike by; a snapshot is one."""

    @property
    def vectors(self) -> Vectors | None:
        """[I, E] unit text vectors, 0 for an item without text; None where no item has any."""
        ...

    def memberships(self, positions: Positions, /) -> Vectors:
        """1 where one of these items [C] is of a category [G]."""
        ...


class SlateOptions(BaseModel):
    """How a slate departs from the order of scores. A request may say otherwise."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    diversity: float = Field(default=0.0, ge=0, le=MAX_DIVERSITY)
    """0 ranks by score alone; 0.5 costs no accuracy that could be measured, 0.9 a good part of it
    (docs/adr/0017-choosing-the-slate.md has the figures)."""
    max_per_category: int | None = Field(default=None, ge=1)
    """Items of one category in a slate; an item counts in each of its categories."""
    explore: float = Field(default=0.0, ge=0, le=MAX_EXPLORE)
    """Probability that a place shows a candidate from beyond the slate."""

    @classmethod
    def of(cls, request: RecommendRequest) -> "SlateOptions":
        """What a request asks for; what it does not say is off."""
        return cls(
            diversity=request.diversity or 0.0,
            max_per_category=request.max_per_category,
            explore=request.explore or 0.0,
        )


@dataclass(frozen=True)
class Chosen:
    """A slate, as places among the candidates."""

    places: Positions
    """[k], in the slate's order."""
    is_explored: Mask
    """[k]: drawn from beyond the slate."""
    propensities: Floats | None
    """[k]: probability that the candidate was shown, which is only ever at this place; None where
    nothing was to be explored."""
    is_relaxed: bool
    """Whether a category has more than `max_per_category`, because nothing else was left."""


def filled(request: RecommendRequest, config: ServingConfig) -> RecommendRequest:
    """The request, saying what the configuration says where it says nothing itself."""
    silent = [name for name in SlateOptions.model_fields if getattr(request, name) is None]
    return request.model_copy(update={name: getattr(config, name) for name in silent})


@stage("choosing")
def choose(
    items: Described,
    positions: Positions,
    scores_C: npt.NDArray[np.floating],
    k: int,
    options: SlateOptions,
    seed: str,
) -> Chosen:
    """The slate of at most k. The same seed draws the same from the same candidates."""
    k = min(k, len(positions))
    if options == SlateOptions():
        return Chosen(ranked(scores_C)[:k], np.zeros(k, np.bool_), None, False)
    rest, quota = None, None
    if options.diversity:
        rest = Rest(unit_vectors(items, positions), k)
    if options.max_per_category is not None:
        quota = Quota(items.memberships(positions), options.max_per_category)
    slate = greedy(scores_C, k, options.diversity, rest, quota)
    chosen = Chosen(slate, np.zeros(k, np.bool_), None, quota is not None and quota.is_relaxed)
    return explored(chosen, scores_C, options.explore, quota, seed)


def ranked(scores_C: npt.NDArray[np.floating]) -> Positions:
    """Places by score, best first; equal ones as they come."""
    return np.argsort(-scores_C, kind="stable")


def standardised(scores_C: npt.NDArray[np.floating]) -> Floats:
    """Less their mean, over their spread: scores of one request are on a scale of their own."""
    centred_C = scores_C.astype(np.float64) - scores_C.mean(dtype=np.float64)
    return np.asarray(centred_C / (centred_C.std() or 1.0))


def unit_vectors(items: Described, positions: Positions) -> Vectors:
    """What candidates are alike by, [C, E]: their text, or their categories where there is none."""
    if items.vectors is not None:
        return items.vectors[positions]
    member_CG = items.memberships(positions)
    lengths_C1 = np.sqrt(np.maximum(member_CG.sum(1, keepdims=True), 1.0))
    return np.asarray(member_CG / lengths_C1, np.float32)


class Rest:
    """How much of each candidate is unlike all that was chosen: the squared length of its vector
    beside the space that the chosen ones span (Chen, Zhang and Zhou 2018, algorithm 1).

    The product over a slate is the determinant of its similarities. A candidate without a vector is
    like nothing else.
    """

    def __init__(self, unit_CE: Vectors, k: int) -> None:
        self._unit_CE = unit_CE
        self._rows_kC = np.empty((k, len(unit_CE)))
        self._num = 0
        self.share_C: Floats = np.ones(len(unit_CE))

    def add(self, place: int) -> None:
        """Take a chosen candidate into account."""
        if self.share_C[place] < NOTHING_NEW:
            return
        rows = self._rows_kC[: self._num]
        alike_C = (self._unit_CE @ self._unit_CE[place]).astype(np.float64)
        alike_C[place] = 1.0
        row_C = (alike_C - rows[:, place] @ rows) / np.sqrt(self.share_C[place])
        self._rows_kC[self._num] = row_C
        self._num += 1
        self.share_C = np.maximum(self.share_C - row_C**2, 0.0)


class Quota:
    """Which candidates would be one too many of a category."""

    def __init__(self, member_CG: Vectors, most: int) -> None:
        self._member_CG = member_CG
        self._most = most
        self._num_G = np.zeros(member_CG.shape[1], np.int64)
        self.is_full_C: Mask = np.zeros(len(member_CG), np.bool_)
        self.is_relaxed = False

    def add(self, place: int) -> None:
        """Count a chosen candidate."""
        own_G = self._member_CG[place] > 0
        self._num_G += own_G
        self._fill(own_G & (self._num_G >= self._most))

    def relax(self) -> None:
        """One more of every category, as there are no others left."""
        self.is_relaxed = True
        self._most += 1
        self.is_full_C = np.zeros_like(self.is_full_C)
        self._fill(self._num_G >= self._most)

    def keeps(self, slate_k: Positions) -> Mask:
        """Whether a candidate in the place of one of the slate adds to no category, [C, k]."""
        return np.asarray(self._member_CG @ (1.0 - self._member_CG[slate_k]).T == 0)

    def _fill(self, full_G: Mask) -> None:
        if full_G.any():
            self.is_full_C = self.is_full_C | self._member_CG[:, full_G].any(1)


def greedy(
    scores_C: npt.NDArray[np.floating],
    k: int,
    diversity: float,
    rest: Rest | None,
    quota: Quota | None,
) -> Positions:
    """k places, each the best beside those before it.

    With diversity it is the most probable slate of a determinantal point process, greedily: what a
    candidate adds is (1 - diversity) / diversity of its standardised score, plus the log of how
    much of it is unlike the slate.
    """
    worth_C = scores_C.astype(np.float64)
    if rest is not None:
        worth_C = standardised(scores_C) * (1.0 - diversity) / diversity
    left_C, places = np.ones(len(scores_C), np.bool_), []
    for _ in range(k):
        if quota is not None:
            while not (left_C & ~quota.is_full_C).any():
                quota.relax()
        may_C = left_C if quota is None else left_C & ~quota.is_full_C
        gain_C = worth_C if rest is None else worth_C + np.log(rest.share_C + NOTHING_NEW)
        place = int(np.where(may_C, gain_C, -np.inf).argmax())
        places.append(place)
        left_C[place] = False
        if rest is not None:
            rest.add(place)
        if quota is not None:
            quota.add(place)
    return np.array(places, np.int64)


def explored(
    chosen: Chosen,
    scores_C: npt.NDArray[np.floating],
    share: float,
    quota: Quota | None,
    seed: str,
) -> Chosen:
    """The slate with each place, with probability `share`, drawn from the candidates beyond it.

    Those are dealt out to the places in the order of their scores, and a place draws from its own
    by the softmax of standardised scores. So places do not depend on each other, nothing is shown
    twice, and each propensity is exact and above 0. Under a quota a draw has no category that the
    item lacks whose place it takes: the quota holds, and what fits no place is never drawn.
    """
    if not share:
        return chosen
    slate_k, places = chosen.places, np.arange(len(chosen.places))
    dealt_Rk = dealt(scores_C, slate_k)
    may_Rk = dealt_Rk >= 0
    if quota is not None:
        may_Rk &= quota.keeps(slate_k)[dealt_Rk, places]
    weight_Rk = np.exp(standardised(scores_C))[dealt_Rk] * may_Rk
    total_k = weight_Rk.sum(0)
    digest = hashlib.blake2b(seed.encode(errors="backslashreplace"), digest_size=16).digest()
    rng = np.random.default_rng(int.from_bytes(digest))
    is_explored_k = (rng.random(len(slate_k)) < share) & (total_k > 0)
    # Exponential clocks of these rates: each rings first with its share of the rates.
    clock_Rk = rng.exponential(size=weight_Rk.shape)
    row_k = np.divide(weight_Rk, clock_Rk).argmax(0)
    drawn_k = share * weight_Rk[row_k, places] / np.where(total_k > 0, total_k, 1.0)
    return replace(
        chosen,
        places=np.where(is_explored_k, dealt_Rk[row_k, places], slate_k),
        is_explored=is_explored_k,
        propensities=np.where(is_explored_k, drawn_k, np.where(total_k > 0, 1.0 - share, 1.0)),
    )


def dealt(scores_C: npt.NDArray[np.floating], slate_k: Positions) -> Positions:
    """The candidates that are not in the slate, best first and row by row, [R, k]; -1 for none."""
    order = ranked(scores_C)
    is_beyond_C = np.ones(len(scores_C), np.bool_)
    is_beyond_C[slate_k] = False
    beyond = order[is_beyond_C[order]]
    filled = np.full((len(beyond) // len(slate_k) + 1, len(slate_k)), -1, np.int64)
    filled.flat[: len(beyond)] = beyond
    return filled
