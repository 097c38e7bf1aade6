"""Checker: does a sentence say anything that the evidence does not?

In: a sentence and the evidence record it was written from. Out: a verdict with each problem found.
The vocabulary is closed: what is not a name, a number or a tag of the record must be one of the
plain words below, so a name, a number, a person or a quality that was made up cannot pass. Names
must also stand in the right relation: the suggested item is never "what you played".
"""

import re
from dataclasses import dataclass

from serving.evidence import VERBS, Evidence

ITEM, HISTORY, SHARED = "\x01", "\x02", "\x03"
NUMBER_WORDS = {
    word: number
    for number, word in enumerate(
        "zero one two three four five six seven eight nine ten eleven twelve".split()
    )
}
# Words that state nothing by themselves. Numbers, friends and popularity have rules of their own.
PLAIN_WORDS = (
    frozenset(
        """
    a about again all also am among an and another any are as at be because been both but by can
    could enjoy enjoyed fan for from genre genres give going good great had happy has have here
    how i if in interest interested into is it its keyword keywords know lately like list look
    love made may might more most much of on one or other others our own perhaps pick picked
    please recent recently recommend recommended recommendation same say see seem seems share
    shared shares similar since so some suggest suggested suggestion tag tags taste tastes than
    that the their them these they think this those to too topic topics took try up us want we
    well what where which while who why will with would yet you your yours
    """.split()
    )
    | frozenset(VERBS.values())
    | {"item", "items"}
)
FRIEND_WORDS = frozenset({"friend", "friends"})
POPULAR_WORDS = frozenset({"popular", "popularity", "trending"})
TAKE_UP_WORDS = frozenset(VERBS.values()) | {"took", "enjoyed", "love", "enjoy"}
WORD = re.compile(rf"[{ITEM}{HISTORY}{SHARED}]|[^\W_]+(?:['’][^\W_]+)*")
ADVERBS = frozenset({"also", "both", "have", "lately", "recently"})
CLAUSE_BREAK = re.compile(r"[,;:.]|\band\b|\bbecause\b|\bwhich\b|\bthat\b|\bso\b|\bbut\b")


@dataclass(frozen=True)
class Verdict:
    """`problems` is empty exactly when every statement is supported."""

    problems: tuple[str, ...] = ()

    @property
    def is_supported(self) -> bool:
        return not self.problems


def check(text: str, evidence: Evidence) -> Verdict:
    """Every problem in the sentence, in reading order; none means that it may be shown."""
    if not text.strip():
        return Verdict(("the sentence is empty",))
    masked = _mask_names(text, evidence)
    words = [word.casefold() for word in WORD.findall(masked)]
    problems = [
        *_unknown_words(words),
        *_wrong_numbers(words, evidence),
        *_unsupported_topics(words, evidence),
        *_wrong_relations(masked),
    ]
    if ITEM not in masked:
        problems.append("the suggested item is not named")
    return Verdict(tuple(problems))


def _mask_names(text: str, evidence: Evidence) -> str:
    """Names of the record become one mark each, longest first, so that none is read as words."""
    marks = [(name, ITEM) for name in _aliases(evidence.title)]
    marks += [(alias, HISTORY) for name in evidence.history for alias in _aliases(name)]
    marks += [(name, SHARED) for name in evidence.shared]
    for name, mark in sorted(marks, key=lambda pair: len(pair[0]), reverse=True):
        text = re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", mark, text, flags=re.IGNORECASE)
    return text


def _aliases(title: str) -> set[str]:
    """A title as catalogued, and without a trailing year in brackets."""
    return {title, re.sub(r"\s*\(\d{4}\)$", "", title)} - {""}


def _unknown_words(words: list[str]) -> list[str]:
    known = (
        PLAIN_WORDS | FRIEND_WORDS | POPULAR_WORDS | NUMBER_WORDS.keys() | {ITEM, HISTORY, SHARED}
    )
    return [f"not in the evidence: {w!r}" for w in words if w not in known and not w.isdigit()]


def _wrong_numbers(words: list[str], evidence: Evidence) -> list[str]:
    """Each number must be one of the record's, and stand by the word that it counts."""
    problems = []
    for position, word in enumerate(words):
        number = int(word) if word.isdecimal() else NUMBER_WORDS.get(word)
        if number is None or word == "one":  # "one" is mostly a pronoun
            continue
        near = set(words[position + 1 : position + 6])
        is_friends = number == evidence.num_friends and bool(near & FRIEND_WORDS)
        is_rank = number == evidence.popular_within and bool(near & POPULAR_WORDS)
        if not (is_friends or is_rank):
            problems.append(f"not in the evidence: the number {word!r}")
    return problems


def _unsupported_topics(words: list[str], evidence: Evidence) -> list[str]:
    said = set(words)
    problems = []
    if said & FRIEND_WORDS and not evidence.num_friends:
        problems.append("speaks of friends, of whom the evidence has none")
    if said & POPULAR_WORDS and evidence.popular_within is None:
        problems.append("speaks of popularity, of which the evidence has none")
    return problems


def _wrong_relations(masked: str) -> list[str]:
    """ "You played X" must name a past item, and what friends took up or is popular must not."""
    problems = []
    for clause in CLAUSE_BREAK.split(masked):
        words = [word.casefold() for word in WORD.findall(clause)]
        about_others = bool(set(words) & (FRIEND_WORDS | POPULAR_WORDS))
        past = "you" in words and not _is_wish(words) and bool(set(words) & TAKE_UP_WORDS)
        if past and not about_others and (ITEM in clause or _points_at_the_item(words)):
            problems.append("says that the user already took up the suggested item")
        if about_others and HISTORY in clause:
            problems.append("says of a past item what holds for the suggested one")
    words = [word.casefold() for word in WORD.findall(masked)]
    return [*problems, *_nothing_taken_up(words), *_stray_history(words)]


def _nothing_taken_up(words: list[str]) -> list[str]:
    """ "You liked", with nothing behind it that the user did take up, states nothing true."""
    for place, word in enumerate(words[:-1]):
        said = words[place + 1 :]
        if place and words[place - 1] in {"what", "which", "that"}:
            continue  # "with what you liked"
        if word == "you" and said[0] in ADVERBS:
            said = said[1:]
        if word == "you" and said and said[0] in TAKE_UP_WORDS:
            named = next((w for w in said[1:] if w not in ADVERBS and w != "up"), "")
            if named != HISTORY and named != ITEM:  # the item is another rule's business
                return ["says that the user took something up without naming it"]
    return []


def _points_at_the_item(words: list[str]) -> bool:
    """ "You took it up": the pronoun can only mean the suggested item."""
    return bool(set(words[words.index("you") + 1 :]) & {"it", "this", "them", "these"})


def _stray_history(words: list[str]) -> list[str]:
    """A past item, or a list of them, must follow a verb of taking up or a comparing word."""
    leads = TAKE_UP_WORDS | {"up", "with", "to", "like", "as"}
    before = ""
    for word in words:
        if word == HISTORY and before not in leads:
            return ["names a past item without saying what the user did with it"]
        if word not in (HISTORY, "and", "both"):
            before = word.casefold()
    return []


def _is_wish(words: list[str]) -> bool:
    return bool(set(words) & {"may", "might", "will", "would", "could", "can", "try", "suggest"})
