"""Sentences that are true by construction, said in many ways, and what they are made of.

A sentence is a list of parts, so that a fault can be planted in exactly one of them (faults.py).
The words are in english.py and chinese.py.
"""

import dataclasses
import random
from collections.abc import Sequence

from serving.evidence import Evidence, Fact
from serving.names import plain
from tests.explanations.english import ENGLISH
from tests.explanations.wordings import Wordings


@dataclasses.dataclass(frozen=True)
class Part:
    """A clause: its form, what fills it, and which facts it tells."""

    kind: str
    form: str
    names: tuple[str, ...] = ()
    number: int | None = None
    did: str = ""
    wordings: Wordings = ENGLISH

    def __str__(self) -> str:
        number, words = self.number or 0, self.wordings.number_names
        names = self.wordings.listed(self.names)
        return self.form.format(
            names=names,
            title=self.names[0] if self.names else "",
            number=number,
            word=words[number] if number < len(words) else number,
            fewer=number - 1,
            did=self.did,
            done=self.did.format(names),
        )


@dataclasses.dataclass(frozen=True)
class Sentence:
    """Parts, the opening first, and what stands between them."""

    parts: tuple[Part, ...]
    joints: tuple[str, ...]

    @property
    def wordings(self) -> Wordings:
        return self.parts[0].wordings

    def __str__(self) -> str:
        text = str(self.parts[0])
        for joint, part in zip(("", *self.joints), self.parts[1:], strict=True):
            text += joint + str(part)
        text = text.rstrip()
        return text[0].upper() + text[1:] + self.wordings.stop

    def with_part(self, place: int, part: Part) -> "Sentence":
        parts = (*self.parts[:place], part, *self.parts[place + 1 :])
        return dataclasses.replace(self, parts=parts)


def true_sentence(record: Evidence, rng: random.Random, wordings: Wordings = ENGLISH) -> Sentence:
    """A true sentence about the record, with one to three reasons."""
    kinds = sorted({fact.kind for fact in record.facts})
    chosen = rng.sample(kinds, min(len(kinds), rng.choice((1, 2, 2, 3))))
    title, form = plain(record.title), rng.choice(wordings.openings)
    opening = Part("opening", form, (title,), wordings=wordings)
    reasons = [true_part(record, kind, rng, wordings) for kind in chosen]
    joints = tuple(rng.choice(wordings.joints) for _ in reasons[1:])
    return Sentence((opening, *reasons), joints)


def true_part(record: Evidence, kind: str, rng: random.Random, wordings: Wordings) -> Part:
    """A true clause about the record's facts of a kind."""
    facts = [fact for fact in record.facts if fact.kind == kind]
    names = names_of(facts, rng)
    past = [fact for fact in record.facts if fact.kind == "history"]
    did = rng.choice(wordings.deeds[past[0].action]) if past else ""
    if kind == "history":
        facts = [fact for fact in facts if fact.action == facts[0].action]
        names = names_of(facts, rng)
    forms = [form for form in wordings.reasons[kind] if did or "{did}" not in form]
    return Part(kind, rng.choice(forms), names, facts[0].number, did, wordings)


def names_of(facts: Sequence[Fact], rng: random.Random) -> tuple[str, ...]:
    """Some of the facts' names, sometimes with a small slip that people make."""
    chosen = facts[: rng.choice((1, 2, 3))]
    return tuple(slip(plain(fact.name), rng) for fact in chosen)


def slip(name: str, rng: random.Random) -> str:
    """The name, one time in six in another case, without its hyphens, or with a letter lost."""
    kind = rng.choice(("", "", "", "", "", "case", "marks", "letter"))
    if kind == "case" and len(name) > 3:
        return name.lower()
    if kind == "marks":
        return name.replace("-", " ")
    if kind == "letter" and len(name) > 10 and name.isascii() and name.replace(" ", "").isalpha():
        place = rng.randrange(3, len(name) - 2)
        return name[:place] + name[place + 1 :] if name[place] != " " else name
    return name
