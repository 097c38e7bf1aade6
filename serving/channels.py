"""Channels: where candidates come from. Each proposes items in its own order; the ranker decides.

In: the snapshot, the user, what filters allow. Out: positions, best first. A channel that knows
nothing about the user proposes nothing; trending always has something to say. None looks at the
whole catalogue: filters are asked about the head of an order, and where they leave too little of
it, about a longer one.
"""

# Shapes: I items, E length of a text vector, C candidates

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import islice
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch

from serving.api import Context, Degradation
from serving.filters import Allowed, Rule, none_but, places_in
from serving.index import NearestItems, Ordered, by_score
from serving.quotas import Quotas
from serving.snapshot import Mask, Positions, Snapshot
from serving.timing import stage
from serving.users import User
from serving.voices import Said
from training.score_rows import VectorRow, added_up, are_first
from training.text_link import TextLink

NUM_SEEDS = 20  # history items that item-to-item and content look around from
NEW_DAYS = 30
DAY_US = 86_400_000_000
TOWER_BLOCK = 16_384  # items whose tokens are made at once
NOTHING = np.empty(0, np.int64)
# Channels of the served score that propose items too, in the order that settles ties. What friends
# did and what is trending is proposed by channels that know today's.
PROPOSING = ("item-ridge", "user-ridge", "transitions", "text-link", "terms")


@dataclass(frozen=True)
class Question:
    """What channels are asked: for whom, when, among which items, and what the score's own
    channels have said already."""

    snapshot: Snapshot
    user: User
    context: Context
    at_us: int
    allowed: Allowed
    said: Said
    degraded: list[Degradation] = field(default_factory=list)
    """Filled while channels are asked: those that were left out (serving/guards.py)."""


class Channel(Protocol):
    name: str

    def candidates(self, question: Question, limit: int) -> Positions:
        """At most `limit` allowed positions, each once, best first."""
        ...


Ask = Callable[[Sequence[Channel], Question, Sequence[int]], list[Positions]]
"""How channels are asked, each for so many."""


def seeds(question: Question) -> list[int]:
    """Positions of the newest history items that the catalogue has."""
    position = question.snapshot.position
    places = (position.get(item) for item in question.user.history)
    return list(islice((place for place in places if place is not None), NUM_SEEDS))


class SaidChannel:
    """Items that a channel of the served score raises most."""

    def __init__(self, place: int, name: str, index: NearestItems | None = None) -> None:
        """`index` is of the vectors by which the channel scores, if it scores by vectors."""
        self._place, self.name, self._index = place, name.replace("-", "_"), index

    def candidates(self, question: Question, limit: int) -> Positions:
        voice, allowed = question.said.voices[self._place], question.allowed
        if voice is None or voice.weight <= 0:  # a score that counts against an item proposes none
            return NOTHING
        row, mean = voice.row, voice.moments.mean
        if allowed.few is not None:
            return allowed.first(by_score(allowed.few, row.at(allowed.few), mean), limit)
        if self._index is not None and isinstance(row, VectorRow):
            return allowed.first(self._index.ordered(row.asked_D, mean), limit)
        return allowed.first(by_score(*row.entries(), mean), limit)


class ItemToItemChannel:
    """Items that others took up together with what this user took up."""

    name = "item_to_item"

    def candidates(self, question: Question, limit: int) -> Positions:
        found = question.snapshot.neighbours(np.array(seeds(question), np.int64))
        row = added_up(*found, len(question.snapshot))
        return question.allowed.first(by_score(*row.entries()), limit)


class FriendsChannel:
    """What people linked to the user took up lately, most of them first."""

    name = "friends"

    def candidates(self, question: Question, limit: int) -> Positions:
        scores: defaultdict[int, float] = defaultdict(float)
        for counts in question.user.others.values():
            for place, (item, count) in enumerate(counts.items()):
                position = question.snapshot.position.get(item)
                if position is not None:
                    # Lists are newest first: the place breaks ties between equal counts.
                    scores[position] += count + 1.0 / (2.0 + place)
        return question.allowed.first(counted(scores), limit)


def counted(scores: Mapping[int, float]) -> Ordered:
    """The order of few items."""
    num = len(scores)
    return by_score(
        np.fromiter(scores.keys(), np.int64, num), np.fromiter(scores.values(), np.float32, num)
    )


class TrendingChannel:
    """What most people take up lately, then what nobody has yet: it never runs out of items, so
    somebody about whom nothing is known gets a slate whatever the filters leave."""

    name = "trending"

    def candidates(self, question: Question, limit: int) -> Positions:
        popularity, allowed = question.snapshot.popularity, self.allowed(question)
        if allowed.few is not None:
            few = popularity.ordered(allowed.few)
            return allowed.first(lambda num: few[:num], limit)
        return allowed.first(popularity.first, limit)

    def allowed(self, question: Question) -> Allowed:
        return question.allowed


class CategoryChannel(TrendingChannel):
    """The trending items of the categories that the request asks for."""

    name = "category"

    def candidates(self, question: Question, limit: int) -> Positions:
        return super().candidates(question, limit) if question.context.categories else NOTHING

    def allowed(self, question: Question) -> Allowed:
        wanted = places_in(question.snapshot, question.context.categories)
        return question.allowed.and_by(none_but(wanted))


class ContentChannel:
    """Items whose text is like the text of what the user took up lately."""

    name = "content"

    def __init__(self, snapshot: Snapshot, positions: Positions | None = None) -> None:
        """Of these items, or of all."""
        vectors = snapshot.vectors
        self._index = None if vectors is None else NearestItems(vectors, positions)

    def candidates(self, question: Question, limit: int) -> Positions:
        vectors, around = question.snapshot.vectors, seeds(question)
        if vectors is None or self._index is None or not around:
            return NOTHING
        asked_E, allowed = vectors.take(around, axis=0).mean(0), self.allowed(question)
        if allowed.few is not None:
            return allowed.first(by_score(allowed.few, vectors[allowed.few] @ asked_E), limit)
        return allowed.first(self._index.ordered(asked_E, above=0.0), limit)

    def allowed(self, question: Question) -> Allowed:
        return question.allowed


class NewItemsChannel(ContentChannel):
    """The same among new items and items that nobody took up, which other channels never see."""

    name = "new"

    def __init__(self, snapshot: Snapshot, at_us: int) -> None:
        """Items only cease to be new, so those that are so now are all that will be."""
        everything = np.arange(len(snapshot))
        super().__init__(snapshot, everything[is_new(snapshot, everything, at_us)])

    def allowed(self, question: Question) -> Allowed:
        snapshot, at_us = question.snapshot, question.at_us
        return question.allowed.and_by(Rule(lambda items: ~is_new(snapshot, items, at_us)))


def is_new(snapshot: Snapshot, positions: Positions, at_us: int) -> Mask:
    """Which of these came lately or have not been taken up by anybody."""
    is_young = snapshot.available_at_us[positions] > at_us - NEW_DAYS * DAY_US
    return is_young | snapshot.popularity.untouched(positions)


class TwoTowerChannel:
    """Nearest items in the model's own space; only a `siamese` bundle has one."""

    name = "two_tower"

    def __init__(self, snapshot: Snapshot, at_us: int) -> None:
        model = snapshot.bundle.model
        blocks = np.array_split(np.arange(len(snapshot)), -(-len(snapshot) // TOWER_BLOCK))
        with torch.inference_mode():
            parts = [model.retrieval_vectors(snapshot.tokens(b, at_us), "item") for b in blocks]
        self._vectors = torch.cat(parts).numpy()
        self._index = NearestItems(self._vectors)

    def candidates(self, question: Question, limit: int) -> Positions:
        model, allowed = question.snapshot.bundle.model, question.allowed
        if not question.user.tokens.present.any():
            return NOTHING  # the vector of nobody is no taste
        with torch.inference_mode():
            asked_D = model.retrieval_vectors(question.user.tokens, "user")[0].numpy()
        if allowed.few is not None:
            scores = self._vectors[allowed.few] @ asked_D
            return allowed.first(by_score(allowed.few, scores, -np.inf), limit)
        return allowed.first(self._index.ordered(asked_D), limit)


def make_channels(snapshot: Snapshot, at_us: int) -> list[Channel]:
    """All channels that the bundle has the means for, without those that a better one replaces."""
    served: Sequence[Any] = snapshot.bundle.served.channels
    places = {channel.name: place for place, channel in enumerate(served)}
    channels: list[Channel] = [
        SaidChannel(places[name], name, index_of(served[places[name]]))
        for name in PROPOSING
        if name in places
    ]
    if "item-ridge" not in places:
        channels.append(ItemToItemChannel())
    channels.append(FriendsChannel())
    if "text-link" not in places:
        channels.append(ContentChannel(snapshot))
    channels += [NewItemsChannel(snapshot, at_us), CategoryChannel(), TrendingChannel()]
    if snapshot.bundle.model.config.fusion == "siamese":
        channels.insert(0, TwoTowerChannel(snapshot, at_us))
    return channels


@lru_cache(maxsize=1)  # a new snapshot of the same bundle has the same channel
def index_of(channel: object) -> NearestItems | None:
    """Of the vectors by which a channel scores items."""
    return NearestItems(channel.answers_ID) if isinstance(channel, TextLink) else None


def ask_each(
    channels: Sequence[Channel], question: Question, limits: Sequence[int]
) -> list[Positions]:
    """What each channel proposes, asked plainly."""
    return [
        channel.candidates(question, limit) for channel, limit in zip(channels, limits, strict=True)
    ]


@stage("channels")
def gather(
    channels: Sequence[Channel], question: Question, quotas: Quotas, ask: Ask = ask_each
) -> tuple[Positions, list[str]]:
    """Candidates of all channels, each once, and the channel that ranked each highest.

    A tie between channels goes to the earlier one in the list. Where there are too many, those stay
    that some channel ranked highest.
    """
    asked = [channel for channel in channels if quotas.of(channel.name)]
    found = ask(asked, question, [quotas.of(channel.name) for channel in asked])
    positions, channel_C = merged([NOTHING, *found], quotas.together)
    names = np.array(["", *(channel.name for channel in asked)], object)
    return positions, names[channel_C].tolist()


def merged(
    lists: Sequence[Positions], num_kept: int | None
) -> tuple[Positions, npt.NDArray[np.intp]]:
    """The positions of several lists [C], in the order in which they are met, and the list that has
    each nearest to its head. Of more than `num_kept` those nearest to the head of a list."""
    positions, lengths = np.concatenate(lists), [len(own) for own in lists]
    places = np.concatenate([np.arange(length) for length in lengths])
    order = np.lexsort((places, positions))  # stable: of equal places the earlier list's is first
    starts = np.flatnonzero(are_first(positions[order]))
    best_C = order[starts]
    met_C = np.minimum.reduceat(order, starts) if len(starts) else starts
    kept = np.argsort(met_C)
    if num_kept is not None and len(kept) > num_kept:
        kept = np.lexsort((met_C, places[best_C]))[:num_kept]
    best_C = best_C[kept]
    return positions[best_C], np.repeat(np.arange(len(lists)), lengths)[best_C]
