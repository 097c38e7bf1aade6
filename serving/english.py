"""English: which statements a text makes, and whether the evidence supports them.

In: a masked text (mentions.py) and its record. Out: statements. A clause is judged by what it
speaks of (friends, popularity, what the user did, what two items share, the user's words); each
kind has rules for who did what, for numbers and for comparisons. The words are in vocabulary.py:
one that is not there states something that nobody could look up.
"""

import re
from collections.abc import Iterator

from serving import counted, deeds
from serving.clauses import clauses, without_faults
from serving.evidence import Evidence
from serving.mentions import PRIVATE, Masked
from serving.reading import Reading
from serving.statements import Statement, Verdict
from serving.vocabulary import (
    FLIPS,
    FRIENDS,
    OF_NEW,
    POPULAR,
    PRAISE,
    PRAISED,
    WORDS,
    WORDS_OF_TEXT,
)

__all__ = ["WORDS", "judge", "without_faults"]
ODD = re.compile(r"[^\w\s\ue000-\uf8ff.,;:!?'\"()\[\]\-–—…“”‘’&%/*]|_|://")
COMPARATIVES = ("more", "most", "less", "than", "fewer", "over", "under", "first", "all")


def judge(masked: Masked, record: Evidence) -> Iterator[Statement]:
    """Statements with verdicts, in reading order."""
    before: Reading | None = None
    for clause in clauses(masked.text):
        reading = Reading(clause, masked, record, before)
        evidence = _read(reading)
        verdict: Verdict = "supported" if evidence else "opinion"
        if reading.problems:
            verdict = "contradicted" if reading.contradicted else "unsupported"
        yield Statement(
            text=masked.unmasked(clause.lead + clause.body),
            verdict=verdict,
            evidence=() if reading.problems else tuple(dict.fromkeys(evidence)),
            problems=tuple(dict.fromkeys(reading.problems)),
        )
        before = reading


def _read(reading: Reading) -> list[str]:
    """Ids of the facts that the clause tells; its problems are in the reading."""
    _unknown_words(reading)
    if reading.is_of_friends:
        return counted.friends(reading)
    if reading.said & POPULAR:
        return counted.popularity(reading)
    if reading.said & OF_NEW and not reading.record.is_new:
        reading.object("says that the item is new, which the evidence does not")
    if reading.said & WORDS_OF_TEXT:
        return counted.text(reading)
    _comparatives(reading)
    for _, number in reading.numbers:
        reading.against(f"not in the evidence: the number {number}")
    done = deeds.did(reading)
    if done is None:
        done = deeds.named(reading) if reading.past else []
    return done + deeds.shared(reading)


def _unknown_words(reading: Reading) -> None:
    for word in reading.words:
        if word in FLIPS or word.endswith("n't"):
            reading.against(f"turns the meaning round: {word!r}")
        elif not (word in WORDS or word.isdecimal() or PRIVATE.match(word)):
            reading.object(f"not in the evidence: {word!r}")
    if reading.said & {"people", "fan", "fans"} and not reading.said & FRIENDS:
        reading.object("speaks of people, of whom the evidence has none")
    for place, word in enumerate(reading.words):
        if word in PRAISE and not PRAISED & set(reading.words[place + 1 : place + 3]):
            reading.object(f"not in the evidence: {word!r}")
    for mark in ODD.findall(reading.clause.lead + reading.clause.body):
        reading.object(f"not in the evidence: the mark {mark!r}")


def _comparatives(reading: Reading) -> None:
    for word in COMPARATIVES:
        if word in reading.said and not (word == "first" and reading.record.is_new):
            reading.object(f"compares what the evidence does not: {word!r}")
