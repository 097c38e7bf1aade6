"""Ranker: request -> ranked, explained slate, all in one process.

`recommend` reads as the table of contents: read the user, filter, gather candidates, score,
choose, attribute, gather evidence. Sentences are written elsewhere (templates.py, explainer.py).
"""

# Shapes: C candidates, k slate, S sources

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from feast import FeatureStore

from serving.api import Context, Degradation, ExplainMode, Filters, RecommendRequest
from serving.candidates import Candidates, Wanted
from serving.channels import Channel, Question, ask_each, gather, make_channels
from serving.choosing import Chosen, SlateOptions, choose
from serving.clock import Clock
from serving.counterfactuals import Counterfactual, counterfactual
from serving.evidence import MIN_FRIENDS, Evidence, Fact
from serving.filters import Allowed, allowed_items
from serving.guards import Guards
from serving.phrases import Language
from serving.quotas import Quotas
from serving.slate_facts import SlateFacts
from serving.snapshot import Positions, Snapshot
from serving.timing import stage
from serving.users import User, UserReader
from serving.voices import Voices
from training.attribution import Beside, attribute
from training.bundle import Bundle
from training.plain_rows import Row
from training.tokens import SideTokens


@dataclass(frozen=True)
class Ranked:
    """One item of a slate, before words."""

    position: int
    score: float
    probability: float
    channel: str
    evidence: Evidence
    is_explored: bool = False
    """Drawn from beyond the slate."""
    propensity: float | None = None
    """Of being shown; None where the slate explores nothing."""


@dataclass(frozen=True)
class Slate:
    user: User
    at_us: int
    items: tuple[Ranked, ...]
    version: str
    """Of the bundle and the snapshot that it was made from."""
    degraded: tuple[Degradation, ...] = ()
    """Channels that it had to do without."""
    is_relaxed: bool = False
    """Whether there was nothing else left to keep `max_per_category`."""


class SlateRanker:
    """Holds the model and the snapshot of one replica."""

    def __init__(
        self,
        bundle: Bundle,
        store: FeatureStore,
        clock: Clock,
        snapshot: Snapshot | None = None,
        *,
        quotas: Quotas | None = None,
        min_friends: int = MIN_FRIENDS,
        guards: Guards | None = None,
        channels: Sequence[Channel] | None = None,
    ) -> None:
        """`channels` are None for all that the bundle has the means for."""
        self.bundle = bundle
        self.clock = clock
        self.snapshot = snapshot or Snapshot.from_bundle(bundle)
        self.users = UserReader(store, bundle.encoder, bundle.model)
        self.voices = Voices(self.snapshot)
        if channels is None:
            channels = make_channels(self.snapshot, clock.now_us())
        self._channels = channels
        self._ask = guards.ask if guards else ask_each
        self._quotas = quotas or Quotas()
        self._facts = SlateFacts(self.snapshot, self.voices, min_friends)

    def recommend(
        self,
        request: RecommendRequest,
        rejected: Sequence[str] = (),
        rows: dict[str, Row] | None = None,
        request_id: str = "",
        retrieved: Candidates | None = None,
    ) -> Slate:
        """`rows` are the user's, where they were read already; `retrieved` are candidates of
        this version, where they were found elsewhere. What is explored follows from the request's
        id and the user."""
        at_us = self.clock.now_us() if retrieved is None else retrieved.at_us
        user = self.users.read(request.user_id, request.context, at_us, rejected, rows)
        question = self._question(user, request.context, request.filters, at_us)
        said = question.said
        retrieved = retrieved or self._gather(question)
        positions, channels = self._with_allow_list(retrieved, question.allowed, request.filters)
        if not len(positions):
            return Slate(user, at_us, (), self.snapshot.version, retrieved.degraded)
        items = self.snapshot.tokens(positions, at_us)
        terms_KC = said.terms(positions)
        scores = said.summed(self._logits(user, items), terms_KC)
        options, seed = SlateOptions.of(request), f"{request_id} {request.user_id}"
        chosen = choose(self.snapshot, positions, scores, request.k, options, seed)
        index = torch.from_numpy(chosen.places)
        items = items.map(lambda tensor: tensor[index])
        slate = self._slate(
            user,
            said.beside(terms_KC[:, chosen.places]),
            positions[chosen.places],
            items,
            [channels[i] for i in chosen.places],
            at_us,
            request.explain,
        )
        return dataclasses.replace(
            slate,
            items=marked(slate.items, chosen),
            degraded=retrieved.degraded,
            is_relaxed=chosen.is_relaxed,
        )

    def candidates(self, wanted: Wanted) -> Candidates:
        """The first half of `recommend`, for a ranker elsewhere to go on with."""
        request, at_us = wanted.request, wanted.at_us
        user = self.users.read(
            request.user_id, request.context, at_us, wanted.rejected, wanted.rows
        )
        return self._gather(self._question(user, request.context, request.filters, at_us))

    def explain(
        self,
        user_id: str,
        item_id: str,
        context: Context,
        rejected: Sequence[str] = (),
        rows: dict[str, Row] | None = None,
    ) -> Slate:
        """A slate of the one named item, whatever the filters. Raises UnknownItemError."""
        positions = np.array([self.snapshot.place(item_id)])
        at_us = self.clock.now_us()
        user = self.users.read(user_id, context, at_us, rejected, rows)
        items = self.snapshot.tokens(positions, at_us)
        said = self.voices.say(user, at_us)
        beside = said.beside(said.terms(positions))
        return self._slate(user, beside, positions, items, ["asked"], at_us, "llm")

    @torch.inference_mode()
    def counterfactuals(
        self,
        user: User,
        item_id: str,
        context: Context,
        language: Language = "en",
        retrieved: Candidates | None = None,
    ) -> list[Counterfactual]:
        """Where the item would rank among the user's candidates without each source, the greatest
        change first. Sources that say nothing of user or item are left out. `retrieved` as in
        `recommend`."""
        position = self.snapshot.place(item_id)
        at_us = self.clock.now_us() if retrieved is None else retrieved.at_us
        question = self._question(user, context, Filters(), at_us)
        said = question.said
        retrieved = retrieved or self._gather(question)
        positions = np.union1d(retrieved.positions, [position]).astype(np.int64)
        items, own = (
            self.snapshot.tokens(positions, at_us),
            int(np.searchsorted(positions, position)),
        )
        model = self.bundle.model
        num = len(model.sources)
        keeps = ~torch.eye(num, dtype=torch.bool)
        ranks = [rank_of(said.scores(self._logits(user, items), positions), own)]
        for hidden, keep in enumerate(keeps):
            masked = dataclasses.replace(user, tokens=user.tokens.masked(keep))
            logits = self._logits(masked, items.masked(keep))
            ranks.append(rank_of(said.without(hidden).scores(logits, positions), own))
        speaks = user.tokens.present[0] | items.present[own]
        found = [
            counterfactual(
                source, self.snapshot.titles[position], ranks[0], without, len(positions), language
            )
            for source, without, there in zip(
                model.sources, ranks[1:], speaks.tolist(), strict=True
            )
            if there
        ]
        return sorted(found, key=lambda one: -abs(one.rank_without - one.rank))

    def _question(self, user: User, context: Context, filters: Filters, at_us: int) -> Question:
        allowed = allowed_items(self.snapshot, user, filters, at_us)
        said = self.voices.say(user, at_us)
        return Question(self.snapshot, user, context, at_us, allowed, said)

    def _gather(self, question: Question) -> Candidates:
        positions, channels = gather(self._channels, question, self._quotas, self._ask)
        return Candidates(positions, channels, question.at_us, tuple(question.degraded))

    @staticmethod
    def _with_allow_list(
        found: Candidates, allowed: Allowed, filters: Filters
    ) -> tuple[Positions, Sequence[str]]:
        """With an allow list its items are candidates even where no channel thought of them."""
        if filters.allow is None or allowed.listed is None:
            return found.positions, found.channels
        more = np.setdiff1d(allowed.listed[allowed.of(allowed.listed)], found.positions)
        together = np.concatenate([found.positions, more])
        return together, [*found.channels, *["allow_list"] * len(more)]

    @stage("scoring")
    @torch.inference_mode()
    def _logits(self, user: User, items: SideTokens) -> npt.NDArray[np.float32]:
        """The model's scores [C]."""
        logits: npt.NDArray[np.float32] = self.bundle.model.score(user.tokens, items)[0].numpy()
        return logits

    def _slate(
        self,
        user: User,
        beside: Beside,
        positions: Positions,
        items: SideTokens,
        channels: Sequence[str],
        at_us: int,
        explain: ExplainMode,
    ) -> Slate:
        """Attribution and evidence for the chosen items, in the order given.

        Facts are weighed only where a language model is to write or one item was asked about: the
        forward pass takes longer than all templates of a slate.
        """
        sources, snapshot = self.bundle.model.sources, self.snapshot
        with stage("attribution"):
            found = attribute(self.bundle.model, user.tokens, items, beside)
        contributions_kS = found.contributions_BCS[0].tolist()
        leading_k = found.leading_sources()[0].tolist()
        scores = found.scores_BC[0]
        facts: list[tuple[Fact, ...]] = [()] * len(positions)
        if explain == "none":
            named = snapshot.named(positions)
        else:
            named, facts = self._facts.gather(user, positions)
        if explain in ("llm", "stream"):
            facts = self._facts.weighed(user, positions, scores, at_us, facts)
        found_k = zip(
            named,
            snapshot.popularity.untouched(positions).tolist(),
            facts,
            contributions_kS,
            leading_k,
            strict=True,
        )
        evidence_k = [
            Evidence(
                item_id=item.item_id,
                title=item.title,
                is_new=is_new,
                facts=own,
                contributions=dict(zip(sources, contributions_S, strict=True)),
                leading_source=sources[leading],
            )
            for item, is_new, own, contributions_S, leading in found_k
        ]
        ranked_k = map(
            Ranked,
            positions.tolist(),
            scores.tolist(),
            self.bundle.calibration.probability(scores).tolist(),
            channels,
            evidence_k,
        )
        return Slate(user, at_us, tuple(ranked_k), snapshot.version)


def marked(items: tuple[Ranked, ...], chosen: Chosen) -> tuple[Ranked, ...]:
    """The items of a slate with how each came to its place."""
    if chosen.propensities is None:
        return items
    found = zip(items, chosen.is_explored.tolist(), chosen.propensities.tolist(), strict=True)
    return tuple(
        dataclasses.replace(item, is_explored=is_explored, propensity=propensity)
        for item, is_explored, propensity in found
    )


def rank_of(scores: npt.NDArray[np.float32], place: int) -> int:
    """1 for the highest score; among equal ones the earlier place comes first."""
    better = (scores > scores[place]).sum() + (scores[:place] == scores[place]).sum()
    return int(better) + 1
