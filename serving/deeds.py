"""Deeds: English clauses about what the user took up, and what the item shares with that."""

from itertools import pairwise

from serving.evidence import Fact
from serving.mentions import Mention
from serving.reading import Reading, means
from serving.vocabulary import (
    ALL_DID,
    FITS,
    HISTORY,
    REASON,
    RELATIVE,
    SHARES,
    SIMILAR,
    TOOK_UP,
    WISHES,
)

FILLERS = frozenset("have also both recently lately already did just too".split())
THIS = frozenset("it this them these".split())


def did(reading: Reading) -> list[str] | None:
    """ "You played X": None where the clause does not say that the user did anything."""
    place = your_deed(reading)
    place = _lone_deed(reading) if place is None else place
    if place is None:
        return None
    verb, objects = reading.words[place], _objects(reading, place)
    points = THIS & set(reading.words[place + 1 : place + 4])
    past = [m.history for m in objects if m.history is not None]
    if any(m.is_item and m.history is None for m in objects) or (points and not past):
        reading.against("says that the user already took up the suggested item")
    if not past:
        _did_what(reading, verb, place)
        return []
    for fact in past:
        if not means(verb, fact.action):
            reading.against(f"says what the user did not do: {verb!r}")
    if reading.terms and not reading.said & (SHARES | SIMILAR):
        reading.object("says that the user took up a word")
    return [fact.id for fact in past]


def _objects(reading: Reading, place: int) -> list[Mention]:
    """What was taken up: what follows the verb, or else what the clause points at."""
    names = [(at, reading.name_of[w]) for at, w in enumerate(reading.words) if w in reading.name_of]
    after = [m for at, m in names if at > place and (not m.term or m.history or m.is_item)]
    if after:
        return after
    if reading.subject is not None:
        return [reading.subject]
    if reading.topic is not None and THIS & set(reading.words[place + 1 : place + 4]):
        return [reading.topic]
    if not set(reading.words[:place]) & RELATIVE or reading.said & (SHARES | SIMILAR | FITS):
        return []
    before = [m for at, m in names if at < place and not m.term]  # "X is something you played"
    about = reading.about  # "X, one of the things you played"
    return before or ([about] if about is not None and about.history else [])


def _did_what(reading: Reading, verb: str, place: int) -> None:
    """ "What you liked" may stand beside what is shared; "you liked" alone says nothing."""
    relative = set(reading.words[:place]) & RELATIVE
    shared = reading.terms or (reading.about is not None and reading.about.term)
    if not (relative and (shared or reading.said & (SIMILAR | FITS))):
        reading.object("says that the user took something up without naming it")
    actions = {fact.action for fact in reading.record.of("history")}
    if verb not in TOOK_UP and not any(means(verb, action) for action in actions):
        reading.object(f"says what the user did not do: {verb!r}")


def your_deed(reading: Reading) -> int | None:
    """Where the verb stands of which "you" is the subject; wishes are no deeds."""
    for place, word in enumerate(reading.words):
        if word not in ALL_DID or (word == "tagged" and _is_passive(reading, place)):
            continue
        before = reading.words[max(0, place - 4) : place]
        if "you" not in before or set(before) & WISHES - {"if"}:
            continue
        if set(before[len(before) - before[::-1].index("you") :]) <= FILLERS:
            return place
    return None


def _lone_deed(reading: Reading) -> int | None:
    """Where a verb stands that could be anybody's: "played X"."""
    if {"your", "by"} <= reading.said or "we" in reading.said:
        return None
    for place, word in enumerate(reading.words):
        if word not in ALL_DID or word in SIMILAR:
            continue
        passive = (word in TOOK_UP or word == "tagged") and _is_passive(reading, place)
        wished = set(reading.words[:place]) & WISHES
        if not passive and not wished and not _is_noun(reading, place):
            return place
    return None


def _is_passive(reading: Reading, place: int) -> bool:
    """ "Both are tagged rock": no deed of the user."""
    before = reading.words[max(0, place - 2) : place]
    return bool({"is", "are", "was", "both", "been"} & set(before)) and "you" not in before


def _is_noun(reading: Reading, place: int) -> bool:
    """ "Give it a listen", "shares a read"."""
    return place > 0 and reading.words[place - 1] in {"a", "the", "your", "good", "great", "to"}


def named(reading: Reading) -> list[str]:
    """A past item that is named without what the user did with it must be likened, be the reason,
    or be said to be in the user's history."""
    said, past = reading.said, reading.past
    in_history = "your" in said and said & HISTORY and "in" in said
    likened = said & (SIMILAR | FITS) or (reading.terms and said & SHARES)
    if not (likened or in_history or REASON in said):
        reading.against("names a past item without saying what the user did with it")
    suggests = said & {"suggest", "recommend", "suggesting", "recommending"}
    if suggests and not any(mention.is_item for mention in reading.names):
        reading.against("suggests a past item")
    return [fact.id for fact in past]


def shared(reading: Reading) -> list[str]:
    """Every term must be shared, and be held by the past items that are named beside it."""
    said = reading.said
    held: list[Fact] = []
    if said & {"share", "shares", "sharing", "common", "both"}:
        held = reading.past
    if reading.subject is not None and reading.subject.history is not None:
        held = [*held, reading.subject.history]
    for term in reading.terms:
        if any(fact.entity_ids[0] not in term.entity_ids for fact in held):
            reading.against(f"says that a past item has {term.name!r}, and it has not")
    if _lists_both(reading):
        reading.against("lists a past item among what is shared")
    in_history = "your" in said and said & HISTORY and "in" in said
    if in_history and not (reading.terms or reading.past or said & (SHARES | SIMILAR | FITS)):
        reading.against("says that the user already took up the suggested item")
    return [term.id for term in reading.terms]


def _lists_both(reading: Reading) -> bool:
    """ "Shares rock and Casino": a word and a past item in one list."""
    words = [word for word in reading.words if word not in ("and", "or")]
    for pair in pairwise(words):
        if all(word in reading.name_of for word in pair):
            one, other = (reading.name_of[word] for word in pair)
            if bool(one.history) != bool(other.history) and bool(one.term) != bool(other.term):
                return True
    return False
