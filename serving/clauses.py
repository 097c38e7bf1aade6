"""Clauses: an English text in parts that can each be judged by itself.

In: a text whose names are private characters (mentions.py). Out: clauses, each with the words that
lead to it. Nothing is lost: together they are the text.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from serving.mentions import PRIVATE
from serving.names import fold
from serving.statements import Statement
from serving.vocabulary import ALL_DID, IDIOM, IDIOMS, NUMBER_WORDS

SHORT = {"'s": "is", "'ve": "have", "'ll": "will", "'d": "would", "'re": "are", "'m": "am"}
TOKEN = re.compile(r"[\ue000-\uf8ff]|\d+|[^\W\d_]+(?:'[^\W\d_]+)*")
LEADS = "and|but|so|because|since|as|while|plus|which|who|whom|that|where|also"
NAME = "[\ue000-\uf8ff]"
# What a clause can begin with after "and", "as" and "that", which also stand within clauses.
STARTS = (
    "it|its|it's|is|has|you|you've|your|we|they|their|shares?|also|both|more|at|of|among|one|a|"
    r"some|several|many|\d+|this|that|with|there|lately|recently|currently|now|what (?:is|was)|"
    rf"{NAME} (?:is|are|was|were|has|have|shares?)|{'|'.join(NUMBER_WORDS)}"
)
SPLIT = re.compile(
    rf"\s*[,;:.!?()–—…]+(?:\s+(?:{LEADS})\b)*"
    r"|\s+-\s+"
    r"|\s+(?:because|since|so|but|while|which|who|whom|plus)\b"
    rf"|\s+(?:and|as|that)\s+(?=(?:{STARTS})\b)"
    r"|(?<=ed|up|ow)\s+(?=it (?:is|has|shares)\b)",  # "like things you know it is tagged A"
    re.IGNORECASE,
)
ENDS = re.compile(r"[.!?…\s]*$")
VERBS = ALL_DID | frozenset("is are was were has have share shares suggest recommend".split())
# "Among your friends, 5 took it up": such a start is no clause by itself; nor is "you and 5 of".
FRONTED = frozenset("among besides out within".split())


@dataclass(frozen=True)
class Clause:
    """A part of the text: the words that lead to it, and its own."""

    lead: str
    body: str

    @cached_property
    def words(self) -> tuple[str, ...]:
        """Of lead and body, folded; names are private characters."""
        return words_of(self.lead + self.body)

    @cached_property
    def own(self) -> tuple[str, ...]:
        return words_of(self.body)


def words_of(text: str) -> tuple[str, ...]:
    """Words and names of a part, with contractions written out and idioms as one word."""
    found: list[str] = []
    for word in TOKEN.findall(fold(text)):
        short = next((s for s in SHORT if word.endswith(s)), "")
        found += [word.removesuffix(short), SHORT[short]] if short else [word]
    return tuple(IDIOM.sub(lambda match: IDIOMS[match[0]], " ".join(found)).split())


def clauses(text: str) -> list[Clause]:
    """The clauses in order; together they are the text."""
    parts, start, lead = [], 0, ""
    for match in SPLIT.finditer(text):
        parts.append((lead, text[start : match.start()]))
        lead, start = match[0], match.end()
    parts.append((lead, text[start:]))
    merged: list[tuple[str, str]] = []
    for lead, body in parts:
        if merged and (_goes_on(body) or _is_fronted(merged[-1][1])):
            # "You played A, B and C" is one clause.
            merged[-1] = (merged[-1][0], merged[-1][1] + lead + body)
        else:
            merged.append((lead, body))
    return [Clause(lead, body) for lead, body in merged]


def _goes_on(body: str) -> bool:
    listed = {"and", "or", "also", "both", "as", "well", "too"}
    return all(PRIVATE.match(word) or word in listed for word in words_of(body))


def _is_fronted(body: str) -> bool:
    words = words_of(body)
    return words == ("you",) or bool(words and words[0] in FRONTED and not VERBS & set(words))


def without_faults(statements: Sequence[Statement]) -> str:
    """The text of the statements that may stand, joined so that it reads on."""
    text, lost_lead = "", ""
    for statement in statements:
        match = SPLIT.match(statement.text)
        lead = match[0] if match and text else ""
        body = statement.text[len(lead) :]
        if not statement.may_stand:
            lost_lead = lost_lead or lead
            continue
        text += (lost_lead or lead) + body if text else body
        lost_lead = ""
    return ENDS.sub("", text) + "."
