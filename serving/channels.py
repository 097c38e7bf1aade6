"""Channels: where candidates come from. Each proposes items in its own order; the ranker decides.

In: the snapshot, the user, the mask of allowed items. Out: positions, best first. A channel that
knows nothing about the user proposes nothing; trending always has something to say.
"""

# Shapes: I items, E length of a text vector

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch

from serving.api import Context, Degradation
from serving.snapshot import Mask, Positions, Snapshot
from serving.timing import stage
from serving.users import User
from serving.voices import Said

NUM_SEEDS = 20  # history items that item-to-item and content look around from
NEW_DAYS = 30
LEAST = np.finfo(np.float64).tiny  # ranks an item that nobody took up after all that somebody did
DAY_US = 86_400_000_000
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
    allowed: Mask
    """[I]"""
    said: Said
    degraded: list[Degradation] = field(default_factory=list)
    """Filled while channels are asked: those that were left out (serving/guards.py)."""


class Channel(Protocol):
    name: str

    def candidates(self, question: Question, limit: int) -> Positions:
        """At most `limit` allowed positions, each once, best first."""
        ...


def best(scores: npt.NDArray[np.floating], allowed: Mask, limit: int) -> Positions:
    """Positions of the highest positive scores among the allowed, ties by position."""
    there = np.flatnonzero(allowed & (scores > 0))
    if len(there) > limit:
        cut = np.partition(scores[there], len(there) - limit)[len(there) - limit]
        there = there[scores[there] >= cut]
    return there[np.argsort(-scores[there], kind="stable")][:limit].astype(np.int64)


def seeds(question: Question) -> list[int]:
    """Positions of the newest history items that the catalogue has."""
    known = question.snapshot.position
    return [known[item] for item in question.user.history if item in known][:NUM_SEEDS]


class SaidChannel:
    """Items that a channel of the served score raises most."""

    def __init__(self, place: int, name: str) -> None:
        self._place, self.name = place, name.replace("-", "_")

    def candidates(self, question: Question, limit: int) -> Positions:
        return best(question.said.terms_KI[self._place], question.allowed, limit)


class ItemToItemChannel:
    """Items that others took up together with what this user took up."""

    name = "item_to_item"

    def candidates(self, question: Question, limit: int) -> Positions:
        scores = np.zeros(len(question.snapshot), np.float32)
        for seed in seeds(question):
            positions, similarities = question.snapshot.neighbours(seed)
            scores[positions] += similarities
        return best(scores, question.allowed, limit)


class FriendsChannel:
    """What people linked to the user took up lately, most of them first."""

    name = "friends"

    def candidates(self, question: Question, limit: int) -> Positions:
        scores = np.zeros(len(question.snapshot), np.float32)
        for counts in question.user.others.values():
            for place, (item, count) in enumerate(counts.items()):
                position = question.snapshot.position.get(item)
                if position is not None:
                    # Lists are newest first: the place breaks ties between equal counts.
                    scores[position] += count + 1.0 / (2.0 + place)
        return best(scores, question.allowed, limit)


class TrendingChannel:
    """What most people take up lately, then what nobody has yet: it never runs out of items, so
    somebody about whom nothing is known gets a slate whatever the filters leave."""

    name = "trending"

    def candidates(self, question: Question, limit: int) -> Positions:
        popularity = question.snapshot.popularity.at(question.at_us)
        return best(np.maximum(popularity, LEAST), question.allowed, limit)


class ContentChannel:
    """Items whose text is like the text of what the user took up lately."""

    name = "content"

    def candidates(self, question: Question, limit: int) -> Positions:
        vectors, around = question.snapshot.vectors, seeds(question)
        if vectors is None or not around:
            return np.empty(0, np.int64)
        return best(vectors @ vectors[around].mean(0), self.allowed(question), limit)

    def allowed(self, question: Question) -> Mask:
        return question.allowed


class NewItemsChannel(ContentChannel):
    """The same among new items and items that nobody took up, which other channels never see."""

    name = "new"

    def allowed(self, question: Question) -> Mask:
        snapshot = question.snapshot
        is_young = snapshot.available_at_us > question.at_us - NEW_DAYS * DAY_US
        return question.allowed & (is_young | (snapshot.popularity.valued_at_us < 0))


class CategoryChannel:
    """The trending items of the categories that the request asks for."""

    name = "category"

    def candidates(self, question: Question, limit: int) -> Positions:
        if not question.context.categories:
            return np.empty(0, np.int64)
        wanted = question.snapshot.in_categories(question.context.categories)
        popularity = question.snapshot.popularity.at(question.at_us)
        return best(np.maximum(popularity, LEAST), question.allowed & wanted, limit)


class TwoTowerChannel:
    """Nearest items in the model's own space; only a `siamese` bundle has one."""

    name = "two_tower"

    def __init__(self, snapshot: Snapshot, at_us: int) -> None:
        everything = snapshot.tokens(np.arange(len(snapshot)), at_us)
        with torch.inference_mode():
            vectors = snapshot.bundle.model.retrieval_vectors(everything, "item")
        self._vectors = vectors.numpy()

    def candidates(self, question: Question, limit: int) -> Positions:
        model = question.snapshot.bundle.model
        if not question.user.tokens.present.any():
            return np.empty(0, np.int64)  # the vector of nobody is no taste
        with torch.inference_mode():
            asked = model.retrieval_vectors(question.user.tokens, "user")[0].numpy()
        scores = self._vectors @ asked
        return best(scores - scores.min() + 1e-6, question.allowed, limit)


def make_channels(snapshot: Snapshot, at_us: int) -> list[Channel]:
    """All channels that the bundle has the means for, without those that a better one replaces."""
    served = snapshot.bundle.served.channels
    places = {channel.name: place for place, channel in enumerate(served)}
    channels: list[Channel] = [
        SaidChannel(places[name], name) for name in PROPOSING if name in places
    ]
    if "item-ridge" not in places:
        channels.append(ItemToItemChannel())
    channels.append(FriendsChannel())
    if "text-link" not in places:
        channels.append(ContentChannel())
    channels += [NewItemsChannel(), CategoryChannel(), TrendingChannel()]
    if snapshot.bundle.model.config.fusion == "siamese":
        channels.insert(0, TwoTowerChannel(snapshot, at_us))
    return channels


@stage("channels")
def gather(
    channels: Sequence[Channel], question: Question, limit: int
) -> tuple[Positions, list[str]]:
    """Candidates of all channels, each once, and the channel that ranked each highest.

    A tie between channels goes to the earlier one in the list.
    """
    first: dict[int, tuple[int, str]] = {}
    for channel in channels:
        for place, position in enumerate(channel.candidates(question, limit).tolist()):
            if position not in first or place < first[position][0]:
                first[position] = (place, channel.name)
    positions = np.fromiter(first, np.int64, len(first))
    return positions, [name for _, name in first.values()]
