"""Counted: English clauses about friends, about popularity and about the user's words."""

from itertools import pairwise

from serving.deeds import your_deed
from serving.evidence import Fact, Kind
from serving.reading import Reading, means
from serving.vocabulary import ALL_DID, AT_LEAST, FITS, POPULAR, SHARES, SIMILAR, TOOK_UP, WISHES


def friends(reading: Reading) -> list[str]:
    """How many friends took the suggested item up, and nothing else of them."""
    fact = _fact(reading, "friends")
    if fact is None or fact.number is None:
        reading.object("speaks of friends, of whom the evidence has none")
        return []
    said = reading.said
    if reading.tells_of_a_past_item:
        reading.against("says of a past item what holds for the suggested one")
    if said & POPULAR or reading.terms:
        reading.object("says more of friends than the evidence")
    _numbers_hold(reading, fact, "friends")
    _vague_counts(reading, fact.number)
    if "friend" in said and fact.number != 1:
        reading.against("speaks of one friend where there are more")
    did = said & (ALL_DID - TOOK_UP - SIMILAR)
    actions = {one.action for one in reading.record.of("history")}
    if not all(any(means(word, action) for action in actions) for word in did):
        reading.object("says that friends did something else than the evidence")
    if "you" in said and said & {"want", "let", "hope", "should"}:
        reading.object("says what friends want, which the evidence does not")
    words = reading.words
    joined = any(pair in (("you", "and"), ("and", "you")) for pair in pairwise(words))
    if said & ALL_DID and not said & WISHES and (joined or your_deed(reading) is not None):
        reading.against("says that the user already took up the suggested item")
    return [fact.id]


def _vague_counts(reading: Reading, number: int) -> None:
    said = reading.words
    for place, word in enumerate(said):
        compares = said[place + 1 : place + 2] == ("than",)
        if word in {"all", "every", "most", "any", "lot", "more", "less"} and not compares:
            reading.object(f"not in the evidence: {word!r} of the friends")
    if reading.said & {"several", "some"} and number < 3:
        reading.object("says that several friends did, and there are fewer")
    if "few" in reading.said and not 3 <= number <= 6:
        reading.object("says that a few friends did, and there are not")


def popularity(reading: Reading) -> list[str]:
    """That the suggested item is among so many most popular, and nothing else."""
    fact = _fact(reading, "popularity")
    if fact is None:
        reading.object("speaks of popularity, of which the evidence has none")
        return []
    said, numbers = reading.said, reading.numbers
    if reading.tells_of_a_past_item:
        reading.against("says of a past item what holds for the suggested one")
    if reading.terms:
        reading.object("says more of popularity than the evidence")
    _numbers_hold(reading, fact, "places")
    if "most" in said and not (numbers or said & {"among", "one", "some"}):
        reading.against("says that it is the most popular, and the evidence does not")
    compares = {"less", "fewer", "least", "more", "than", "all", "over", "under"} & said
    if compares and not (numbers and "popular" in reading.words[numbers[0][0] :]):
        reading.against("compares popularity, which the evidence does not")
    for word, following in pairwise(reading.words):
        if word == "first" and not following.isdecimal():
            reading.against("says which place it has among the most popular")
    if said & (ALL_DID - SIMILAR - TOOK_UP) and not said & WISHES:
        reading.object("mixes popularity with what somebody did")
    return [fact.id]


def text(reading: Reading) -> list[str]:
    """That the item's text is close to the user's own words."""
    fact = _fact(reading, "text")
    if fact is None:
        reading.object("speaks of the user's words, of which the evidence has none")
        return []
    _numbers_hold(reading, fact, "percent")
    if reading.past or reading.terms:
        reading.object("says more of the user's words than the evidence")
    if not reading.said & (SIMILAR | FITS | SHARES):
        reading.object("speaks of words without saying that they are close")
    return [fact.id]


def _fact(reading: Reading, kind: Kind) -> Fact | None:
    return next(iter(reading.record.of(kind)), None)


def _numbers_hold(reading: Reading, fact: Fact, what: str) -> None:
    """Every number must be the fact's, or in the comparison that stands before it."""
    assert fact.number is not None
    for place, number in reading.numbers:
        before = " ".join(reading.words[max(0, place - 2) : place])
        if before.endswith(("more than", "over")):
            holds = fact.number > number
        elif before.endswith(("fewer than", "less than", "under")):
            holds = fact.number < number
        elif before.endswith(AT_LEAST):
            holds = fact.number >= number
        elif before.endswith("at most"):
            holds = fact.number <= number
        else:
            holds = fact.number == number
        after = reading.words[place + 1 : place + 2]
        if not holds or (after == ("percent",) and fact.unit != "percent"):
            reading.against(f"not in the evidence: the number {number} of {what}")
