"""Evidence: what may be said about why an item is in a slate, and nothing else.

In: facts about the item, the user's own take-ups, and each source's contribution to the score.
Out: an `Evidence` record, the only thing that a template or a language model may write from.
Friends are counted, never named, and only from a floor upwards. No sentence is written here.
"""

from collections.abc import Mapping, Sequence

from pydantic import BaseModel, ConfigDict, Field

# How an action reads in a sentence; any other action is "took up".
VERBS = {
    "buy": "bought",
    "click": "opened",
    "like": "liked",
    "play": "played",
    "rate": "liked",  # only ratings that count as take-ups come into a history
    "read": "read",
    "tag": "tagged",
    "view": "viewed",
    "watch": "watched",
}
POPULARITY_STEPS = (10, 50, 100)


class Evidence(BaseModel):
    """Facts behind one recommended item. Names are as the catalogue has them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    item_id: str
    title: str
    verb: str = "took up"
    """Past tense of what the user did with the `history` items."""
    history: tuple[str, ...] = ()
    """Titles of the user's own take-ups that are closest to the item, closest first."""
    shared: tuple[str, ...] = ()
    """Tags, keywords or categories that the item and the user's history have in common."""
    num_friends: int = Field(default=0, ge=0)
    """Friends who took the item up lately; 0 also when fewer than the privacy floor."""
    popular_within: int | None = None
    """10, 50 or 100: the item is among that many most popular lately."""
    is_new: bool = False
    """True when nobody had taken the item up by the time of the snapshot."""
    contributions: dict[str, float] = {}
    """Shapley value of each source, in units of the ranking score."""

    @property
    def is_empty(self) -> bool:
        """True when nothing is known beyond the item's name."""
        return not (self.history or self.shared or self.num_friends or self.popular_within)

    def names(self) -> tuple[str, ...]:
        """Every name that a sentence about this item may contain."""
        return (self.title, *self.history, *self.shared)


class ItemFacts(BaseModel):
    """What the catalogue and the snapshot say of one item."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    item_id: str
    title: str
    terms: tuple[str, ...] = ()
    """Keywords and categories, strongest first."""
    popularity_rank: int | None = None
    """0 for the most popular lately; None when nobody has taken it up."""


def gather(
    item: ItemFacts,
    history: Sequence[ItemFacts],
    actions: Sequence[str],
    neighbours: Mapping[str, float],
    num_friends: int,
    contributions: Mapping[str, float],
    *,
    min_friends: int = 2,
    num_history: int = 2,
    num_shared: int = 3,
) -> Evidence:
    """Evidence for one item.

    `history` and `actions` are aligned, newest first. `neighbours` maps item ids to their
    similarity to this item (item-to-item table). `min_friends` is the privacy floor: a smaller
    count is not told.
    """
    closest = _closest(item, history, actions, neighbours)[:num_history]
    verb = VERBS.get(actions[closest[0]], "took up") if closest else "took up"
    same_verb = [i for i in closest if VERBS.get(actions[i], "took up") == verb]
    known_terms = {term.casefold() for past in history for term in past.terms}
    return Evidence(
        item_id=item.item_id,
        title=item.title,
        verb=verb,
        history=tuple(history[i].title for i in same_verb),
        shared=tuple(t for t in item.terms if t.casefold() in known_terms)[:num_shared],
        num_friends=num_friends if num_friends >= min_friends else 0,
        popular_within=_popular_within(item.popularity_rank),
        is_new=item.popularity_rank is None,
        contributions=dict(contributions),
    )


def _closest(
    item: ItemFacts,
    history: Sequence[ItemFacts],
    actions: Sequence[str],
    neighbours: Mapping[str, float],
) -> list[int]:
    """Positions of related history items: item-to-item similarity first, then shared terms."""
    terms = {term.casefold() for term in item.terms}

    def closeness(position: int) -> tuple[float, int]:
        past = history[position]
        common = len(terms & {term.casefold() for term in past.terms})
        return neighbours.get(past.item_id, 0.0), common

    related = [i for i in range(min(len(history), len(actions))) if closeness(i) > (0.0, 0)]
    return sorted(related, key=closeness, reverse=True)


def _popular_within(rank: int | None) -> int | None:
    if rank is None:
        return None
    return next((step for step in POPULARITY_STEPS if rank < step), None)
