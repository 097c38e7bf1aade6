"""Evidence: what may be said about why an item is in a slate, and nothing else.

In: facts about the item, the user's own take-ups, and each source's contribution to the score.
Out: an `Evidence` record of typed facts, the only thing that a template or a language model may
write from. Friends are counted, never named, and only from a floor upwards. No sentence is
written here.
"""

import hashlib
from bisect import bisect_right
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from serving.clock import instant
from serving.names import spelling

POPULARITY_STEPS = (10, 50, 100)
MIN_FRIENDS = 3
CLOSE_TEXT_PERCENT = 90
MIN_WEIGHT = 1e-3  # of the score, a log-odds: less changes no ranking and may be rounding
Kind = Literal["history", "term", "friends", "popularity", "text"]
Unit = Literal["", "people", "places", "percent"]
KINDS: tuple[Kind, ...] = ("history", "term", "text", "friends", "popularity")


class Fact(BaseModel):
    """One thing that may be said, as the data has it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    """Unique within the record; statements refer to it."""
    kind: Kind
    source: str
    """The model's source that the fact belongs to."""
    name: str = ""
    """history: the title of the item taken up; term: the tag, keyword or category."""
    entity_ids: tuple[str, ...] = ()
    """history: the item taken up; term: the user's own take-ups that have it too."""
    action: str = ""
    """history: what the user did, as the event says it."""
    number: int | None = None
    unit: Unit = ""
    """people: friends who took the item up; places: it is among that many most popular; percent:
    share of the catalogue whose text is further from the user's own words."""
    at: datetime | None = None
    """When it happened, where that is known."""
    weight: float | None = None
    """By how much the score falls when the model does not see this; None if not measured."""


class Evidence(BaseModel):
    """Facts behind one recommended item, the weightiest of each kind first."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    item_id: str
    title: str
    is_new: bool = False
    """True when nobody had taken the item up by the time of the snapshot."""
    facts: tuple[Fact, ...] = ()
    contributions: dict[str, float] = Field(default={})
    """Shapley value of each source, in units of the ranking score."""
    leading_source: str | None = None
    """The source that counted most for the item, see `Attribution.leading_sources`."""

    def of(self, kind: Kind) -> tuple[Fact, ...]:
        """The facts of one kind."""
        return tuple(fact for fact in self.facts if fact.kind == kind)

    def number(self, kind: Kind) -> int | None:
        """The number of the first fact of a kind, None where there is no such fact."""
        return next((fact.number for fact in self.facts if fact.kind == kind), None)

    @property
    def is_empty(self) -> bool:
        """True when nothing is known beyond the item's name."""
        return not self.facts

    @property
    def history(self) -> tuple[str, ...]:
        """Titles of the user's own take-ups."""
        return tuple(fact.name for fact in self.of("history"))

    @property
    def shared(self) -> tuple[str, ...]:
        """Tags, keywords and categories that the item has in common with them."""
        return tuple(fact.name for fact in self.of("term"))

    @property
    def num_friends(self) -> int:
        """Friends who took the item up lately; 0 also when fewer than the privacy floor."""
        return self.number("friends") or 0

    @property
    def popular_within(self) -> int | None:
        """10, 50 or 100: the item is among that many most popular lately."""
        return self.number("popularity")

    def fingerprint(self) -> str:
        """Hash of all that a sentence can depend on: equal records are worded alike."""
        order = sorted(self.contributions, key=lambda name: -self.contributions[name])
        facts = [fact.model_copy(update={"weight": None}).model_dump_json() for fact in self.facts]
        head = [self.item_id, self.title, str(self.is_new), str(self.leading_source)]
        text = "\n".join([*head, *order, *facts])
        return hashlib.sha256(text.encode()).hexdigest()[:16]


@lru_cache(maxsize=16_384)
def by_spelling(terms: tuple[str, ...]) -> Mapping[str, str]:
    """Terms by `spelling`; of those that people take for one, the first."""
    found: dict[str, str] = {}
    for term in terms:
        found.setdefault(spelling(term), term)
    return found


class ItemFacts(NamedTuple):
    """What the catalogue and the snapshot say of one item."""

    item_id: str
    title: str
    terms: tuple[str, ...] = ()
    """Keywords and categories, strongest first."""
    categories: Collection[str] = ()
    """Those of the terms that are categories."""
    popularity_rank: int | None = None
    """0 for the most popular lately; None when nobody has taken it up, or too few to be told."""

    @property
    def spelled(self) -> Mapping[str, str]:
        """The terms by `spelling`; of those that people take for one, the first."""
        return by_spelling(self.terms)


@dataclass(frozen=True)
class Past:
    """A user's own take-ups, newest first, prepared once for all items of a slate."""

    items: Sequence[ItemFacts] = ()
    actions: Sequence[str] = ()
    """Aligned with `items`."""
    at_us: Sequence[int | None] = ()
    """Aligned with `items`, where the instants are known; may be shorter."""
    asked: frozenset[str] | None = None
    """Terms of the slate, as `spelling` has them: no others are looked for. None for all."""
    places: dict[str, int] = field(init=False)
    """By item id; the newest, where an item was taken up more than once."""
    holders: dict[str, list[int]] = field(init=False)
    """By term, as `spelling` has it: places of the items that have it."""
    told: dict[tuple[str, str], Fact] = field(init=False)
    """Facts that were told of one item and can be told of another, by id and name."""

    def __post_init__(self) -> None:
        places: dict[str, int] = {}
        holders: dict[str, list[int]] = {}
        for place, item in enumerate(self.items):
            if places.setdefault(item.item_id, place) == place:
                spelled, asked = item.spelled, self.asked
                for term in spelled if asked is None else asked.intersection(spelled):
                    holders.setdefault(term, []).append(place)
        object.__setattr__(self, "places", places)
        object.__setattr__(self, "holders", holders)
        object.__setattr__(self, "told", {})

    def shared(self, item: ItemFacts) -> dict[str, list[int]]:
        """The item's terms that some take-up has too, with the places of those; of spellings that
        differ only in case or in marks ("crime", "Crime") the first stands."""
        spelled, holders = item.spelled, self.holders
        return {term: holders[own] for own, term in spelled.items() if own in holders}

    def took_up(self, place: int, source: str) -> Fact:
        """That the user took up the item in this place."""
        item = self.items[place]
        key = f"history-{item.item_id}", ""
        if key not in self.told:
            self.told[key] = Fact(
                id=key[0],
                kind="history",
                source=source,
                name=item.title,
                entity_ids=(item.item_id,),
                action=self.actions[place],
                at=self.at(place),
            )
        return self.told[key]

    def shares(self, term: str, source: str) -> Fact:
        """That items which the user took up have the term."""
        key = f"term-{spelling(term)}", f"{source} {term}"
        if key not in self.told:
            holders = tuple(self.items[place].item_id for place in self.holders[spelling(term)])
            self.told[key] = Fact(
                id=key[0], kind="term", source=source, name=term, entity_ids=holders
            )
        return self.told[key]

    def at(self, place: int) -> datetime | None:
        """When the item in this place was taken up."""
        at_us = self.at_us[place] if place < len(self.at_us) else None
        return None if at_us is None else instant(at_us)


@dataclass(frozen=True)
class Sources:
    """Which of the model's sources a kind of fact belongs to."""

    history: str = "behaviour"
    keyword: str = "text"
    category: str = "item"
    text: str = "text"
    friends: str = "social"
    popularity: str = "item"


def gather(
    item: ItemFacts,
    past: Past,
    neighbours: Mapping[str, float],
    num_friends: int = 0,
    *,
    sources: Sources | None = None,
    min_friends: int = MIN_FRIENDS,
    num_history: int = 4,
    num_terms: int = 3,
) -> tuple[Fact, ...]:
    """The facts about one item, by kind.

    `neighbours` maps item ids to their similarity to this item (item-to-item table). `min_friends`
    is the privacy floor: a smaller count is not told.
    """
    sources = sources or Sources()
    shared = past.shared(item)
    near = closest(past, neighbours, shared.values())[:num_history]
    facts = [past.took_up(place, sources.history) for place in near]
    # An item's own name as its tag says nothing.
    for term in [term for term in shared if spelling(term) != spelling(item.title)][:num_terms]:
        facts.append(
            past.shares(term, sources.category if term in item.categories else sources.keyword)
        )
    if num_friends >= max(min_friends, 1):
        facts.append(_counted("friends", sources.friends, num_friends, "people"))
    within = _popular_within(item.popularity_rank)
    if within is not None:
        facts.append(_counted("popularity", sources.popularity, within, "places"))
    return tuple(facts)


def weighed(facts: Sequence[Fact], weights: Mapping[str, float]) -> tuple[Fact, ...]:
    """The facts with their weights, by kind, the weightiest of a kind first. What is known to move
    nothing, or to speak against the item, is left out: it is no reason."""
    told = [fact.model_copy(update={"weight": weights.get(fact.id)}) for fact in facts]
    told = [fact for fact in told if fact.weight is None or fact.weight >= MIN_WEIGHT]
    return tuple(sorted(told, key=lambda fact: (KINDS.index(fact.kind), -(fact.weight or 0.0))))


def closest(
    past: Past, neighbours: Mapping[str, float], holders: Iterable[Sequence[int]]
) -> list[int]:
    """Places of related take-ups: item-to-item similarity first, then terms in common, of each of
    which `holders` has the places."""
    alike: dict[int, int] = {}
    for places in holders:
        for place in places:
            alike[place] = alike.get(place, 0) + 1
    near = {past.places[own]: value for own, value in neighbours.items() if own in past.places}
    order = [(-near.get(place, 0.0), -alike.get(place, 0), place) for place in near | alike]
    return [place for nearness, likeness, place in sorted(order) if nearness or likeness]


def text_facts(percent: int | None, sources: Sources) -> tuple[Fact, ...]:
    """That the item's text is close to the user's own words, from CLOSE_TEXT_PERCENT upwards."""
    if percent is None or percent < CLOSE_TEXT_PERCENT:
        return ()
    return (_counted("text", sources.text, percent, "percent"),)


@lru_cache(maxsize=1_024)  # a few hundred differ
def _counted(kind: Kind, source: str, number: int, unit: Unit) -> Fact:
    return Fact(id=kind, kind=kind, source=source, number=number, unit=unit)


def _popular_within(rank: int | None) -> int | None:
    place = len(POPULARITY_STEPS) if rank is None else bisect_right(POPULARITY_STEPS, rank)
    return POPULARITY_STEPS[place] if place < len(POPULARITY_STEPS) else None
