"""Ranker: request -> ranked, explained slate, all in one process.

`recommend` reads as the table of contents: read the user, filter, gather candidates, score,
choose, attribute, gather evidence. Sentences are written elsewhere (templates.py, explainer.py).
"""

# Shapes: C candidates, k slate, S sources

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from feast import FeatureStore

from serving.api import Context, Filters, RecommendRequest
from serving.channels import Question, gather, make_channels
from serving.clock import Clock
from serving.evidence import Evidence
from serving.evidence import gather as gather_evidence
from serving.filters import allowed_items
from serving.snapshot import Positions, Snapshot
from serving.users import User, UserReader
from training.attribution import shapley
from training.bundle import Bundle
from training.tokens import SideTokens


@dataclass(frozen=True)
class Ranked:
    """One item of a slate, before words."""

    position: int
    score: float
    probability: float
    channel: str
    evidence: Evidence


@dataclass(frozen=True)
class Slate:
    user: User
    at_us: int
    items: tuple[Ranked, ...]


class SlateRanker:
    """Holds the model and the snapshot of one replica."""

    def __init__(
        self,
        bundle: Bundle,
        store: FeatureStore,
        clock: Clock,
        *,
        candidates_per_channel: int = 100,
        min_friends: int = 2,
    ) -> None:
        self.bundle = bundle
        self.clock = clock
        self.snapshot = Snapshot.from_bundle(bundle)
        self.users = UserReader(store, bundle.encoder, bundle.model)
        self._channels = make_channels(self.snapshot, clock.now_us())
        self._limit = candidates_per_channel
        self._min_friends = min_friends

    def recommend(self, request: RecommendRequest, rejected: Sequence[str] = ()) -> Slate:
        at_us = self.clock.now_us()
        user = self.users.read(request.user_id, request.context, at_us, rejected)
        allowed = allowed_items(self.snapshot, user, request.filters, at_us)
        question = Question(self.snapshot, user, request.context, at_us, allowed)
        positions, channels = gather(self._channels, question, self._limit)
        positions, channels = self._with_allow_list(positions, channels, allowed, request.filters)
        if not len(positions):
            return Slate(user, at_us, ())
        items = self.snapshot.tokens(positions, at_us)
        chosen = np.argsort(-self._score(user, items), kind="stable")[: request.k]
        index = torch.from_numpy(chosen)
        items = items.map(lambda tensor: tensor[index])
        return self._slate(user, positions[chosen], items, [channels[i] for i in chosen], at_us)

    def explain(
        self, user_id: str, item_id: str, context: Context, rejected: Sequence[str] = ()
    ) -> Slate:
        """A slate of the one named item, whatever the filters. Raises UnknownItemError."""
        positions = np.array([self.snapshot.place(item_id)])
        at_us = self.clock.now_us()
        user = self.users.read(user_id, context, at_us, rejected)
        items = self.snapshot.tokens(positions, at_us)
        return self._slate(user, positions, items, ["asked"], at_us)

    @staticmethod
    def _with_allow_list(
        positions: Positions, channels: list[str], allowed: np.ndarray, filters: Filters
    ) -> tuple[Positions, list[str]]:
        """With an allow list its items are candidates even where no channel thought of them."""
        if filters.allow is None:
            return positions, channels
        more = np.setdiff1d(np.flatnonzero(allowed), positions)
        return np.concatenate([positions, more]), [*channels, *["allow_list"] * len(more)]

    @torch.inference_mode()
    def _score(self, user: User, items: SideTokens) -> npt.NDArray[np.float32]:
        """Scores [C]."""
        scores: npt.NDArray[np.float32] = self.bundle.model.score(user.tokens, items)[0].numpy()
        return scores

    def _slate(
        self,
        user: User,
        positions: Positions,
        items: SideTokens,
        channels: Sequence[str],
        at_us: int,
    ) -> Slate:
        """Attribution and evidence for the chosen items, in the order given."""
        contributions_kS, baseline = shapley(self.bundle.model, user.tokens, items)
        contributions = contributions_kS[0].numpy()
        scores = baseline[0].numpy() + contributions.sum(1)
        ranks = self.snapshot.ranks(at_us)
        probabilities = self.bundle.calibration.probability(scores)
        return Slate(
            user,
            at_us,
            tuple(
                Ranked(
                    position=int(position),
                    score=float(scores[row]),
                    probability=float(probabilities[row]),
                    channel=channels[row],
                    evidence=self._evidence(user, int(position), contributions[row], ranks),
                )
                for row, position in enumerate(positions)
            ),
        )

    def _evidence(
        self, user: User, position: int, contributions_S: np.ndarray, ranks: Positions
    ) -> Evidence:
        snapshot = self.snapshot
        near, similarities = snapshot.neighbours(position)
        neighbours = {
            snapshot.item_ids[i]: float(s) for i, s in zip(near, similarities, strict=True)
        }
        past = [
            (snapshot.position[item], action)
            for item, action in zip(user.history, user.actions, strict=True)
            if item in snapshot.position and snapshot.position[item] != position
        ]
        item_id = snapshot.item_ids[position]
        sources = self.bundle.model.sources
        return gather_evidence(
            snapshot.facts(position, int(ranks[position])),
            [snapshot.facts(i, int(ranks[i])) for i, _ in past],
            [action for _, action in past],
            neighbours,
            max((counts.get(item_id, 0) for counts in user.others.values()), default=0),
            {name: float(c) for name, c in zip(sources, contributions_S, strict=True)},
            min_friends=self._min_friends,
        )
