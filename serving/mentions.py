"""Mentions: the names of an evidence record, found in a text and put out of the way.

In: a text and a record. Out: the text with one private character in the place of each name, so
that no name is read as words, and what each character stands for. A name is found whatever its
case, accents and punctuation; a near miss of a long name is taken for it, and what is shown
afterwards has the catalogue's spelling.
"""

import dataclasses
import difflib
import re
from collections.abc import Collection
from dataclasses import dataclass

from serving.evidence import Evidence, Fact
from serving.names import fold, plain, shown, spelling

FIRST = 0xE000
PRIVATE = re.compile("[\ue000-\uf8ff]")
# Letters and digits, but for Chinese, Japanese and Korean ones: those stand beside names unspaced.
LETTER = r"[^\W_\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff]"
LETTERS = re.compile(rf"{LETTER}+")
WORDS = re.compile(r"[^\W_]+")
LIKENESS = 0.85
SHORTEST_LIKE = 6  # letters: "Heat" and "Heart" are two names, "Portishead" and "Portishad" one


@dataclass(frozen=True)
class Mention:
    """What a name may mean; two things can have one name."""

    name: str
    is_item: bool = False
    history: Fact | None = None
    term: Fact | None = None


@dataclass(frozen=True)
class Masked:
    """A text whose names are single characters."""

    text: str
    mentions: tuple[Mention, ...]

    def mention(self, char: str) -> Mention | None:
        """What the character stands for; None for any other text."""
        place = ord(char) - FIRST if len(char) == 1 else -1
        return self.mentions[place] if 0 <= place < len(self.mentions) else None

    def unmasked(self, part: str) -> str:
        """A part of the text with the names as they are shown."""
        return PRIVATE.sub(lambda found: self.mentions[ord(found[0]) - FIRST].name, part)


def mask(text: str, record: Evidence, words: Collection[str] = ()) -> Masked:
    """The text with the record's names masked. A name that is one of the ordinary `words` counts
    only as it is spelt in the catalogue."""
    text = PRIVATE.sub("?", text)  # nobody else's characters may pass for names
    mentions = _mentions(record)
    marks = [(mention.name, chr(FIRST + place)) for place, mention in enumerate(mentions)]
    for alias, char in sorted(marks, key=lambda mark: -len(mark[0])):
        text = _replaced(text, alias, char, exact=fold(alias) in words)
    for alias, char in marks:
        text = _near_misses_replaced(text, alias, char, words)
    return Masked(text, mentions)


def _mentions(record: Evidence) -> tuple[Mention, ...]:
    """Every name and, where it ends in a year in brackets, the name without it."""
    found: dict[str, Mention] = {}

    def add(name: str, fact: Fact | None) -> None:
        for alias in dict.fromkeys((shown(name), plain(name))):
            known = found.get(spelling(alias), Mention(alias))
            if fact is None:
                known = dataclasses.replace(known, is_item=True)
            elif fact.kind == "history":
                known = dataclasses.replace(known, history=fact)
            else:
                known = dataclasses.replace(known, term=fact)
            found[spelling(alias)] = known

    add(record.title, None)
    for fact in record.facts:
        if fact.kind in ("history", "term"):
            add(fact.name, fact)
    return tuple(found.values())


def _replaced(text: str, name: str, char: str, exact: bool) -> str:
    words = WORDS.findall(fold(name))
    if name in text:  # as it is spelt first: a name's own marks go with it
        text = re.sub(rf"(?<!{LETTER}){re.escape(name)}(?!{LETTER})", char, text)
    if exact or not words or words[0 if words[0] != "and" else -1] not in fold(text):
        return text  # most names; a pattern of each costs ten times as much as all the rest
    joined = r"[^\w\ue000-\uf8ff]*".join(
        "(?:and|&)" if word == "and" else re.escape(word) for word in words
    )
    pattern = re.compile(rf"(?<!{LETTER}){joined}(?!{LETTER})")
    parts, end = [], 0
    for match in pattern.finditer(fold(text)):  # folding keeps places
        stop = match.end()
        tail = name[len(name.rstrip("!?.…)]")) :]  # marks that belong to the name go with it
        if tail and text.startswith(tail, stop):
            stop += len(tail)
        parts += [text[end : match.start()], char]
        end = stop
    return "".join([*parts, text[end:]])


def _near_misses_replaced(text: str, name: str, char: str, words: Collection[str]) -> str:
    wanted = spelling(name)
    if len(wanted) < SHORTEST_LIKE:
        return text
    length = len(wanted.split())
    found = list(LETTERS.finditer(text))
    for size in {length, length + 1, max(1, length - 1)}:
        for first, last in zip(found, found[size - 1 :], strict=False):
            part = text[first.start() : last.end()]
            if PRIVATE.search(part) or all(fold(w) in words for w in WORDS.findall(part)):
                continue
            if _is_like(spelling(part), wanted):
                return text[: first.start()] + char + text[last.end() :]
    return text


def _is_like(one: str, other: str) -> bool:
    if re.findall(r"\d+", one) != re.findall(r"\d+", other) or one[0] != other[0]:
        return False
    return difflib.SequenceMatcher(None, one, other).ratio() >= LIKENESS
