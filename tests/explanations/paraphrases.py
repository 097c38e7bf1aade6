"""Sentences that are true by construction, said in many ways, and what they are made of.

Written as people write recommendations, without regard to what the checker knows: each form was
read and judged by a person to be true of any record that has the fact. A sentence is a list of
parts, so that a fault can be planted in exactly one of them (faults.py).
"""

import dataclasses
import random
from collections.abc import Sequence

from serving.evidence import Evidence, Fact
from serving.names import plain

# What a user did, by action, in words that say neither more nor less.
DEEDS = {
    "buy": ("bought", "purchased", "have bought"),
    "click": ("opened", "have opened"),
    "like": ("liked", "enjoyed", "have enjoyed"),
    "play": ("played", "listened to", "have been listening to", "have played"),
    "rate": ("liked", "enjoyed", "have liked", "rated"),
    "read": ("read", "have read"),
    "tag": ("tagged", "have tagged", "recently tagged"),
    "view": ("viewed", "have viewed"),
    "watch": ("watched", "saw", "have seen", "have watched"),
}
# {title}; the reasons follow.
OPENINGS = (
    "We suggest {title} because ",
    "We recommend {title} since ",
    "{title} is here because ",
    "{title} is recommended because ",
    "You might enjoy {title}: ",
    "You may like {title}, as ",
    "{title} might be right for you: ",
    "We picked {title} for you because ",
    "{title} made your list because ",
    "{title} could be a good fit: ",
    "{title} is suggested to you because ",
    "We think you'll like {title} because ",
    "Why {title}? Because ",
    "{title} seems a good match for you, since ",
    "How about {title}? ",
    "Our suggestion is {title}: ",
    "We chose {title} for you because ",
    "Perhaps you will enjoy {title}, because ",
)
REASONS: dict[str, tuple[str, ...]] = {
    "history": (
        "you {did} {names}",
        "you also {did} {names}",
        "it is similar to {names}, which you {did}",
        "it is close to {names}",
        "you {did} {names}, and it goes with that",
        "it is related to {names}, which you {did}",
        "it is like {names}",
    ),
    "term": (
        "it shares {names} with what you know",
        "it has {names} in common with your picks",
        "it has the tags {names} in common with things you {did}",
        "you share a taste for {names}",
        "both are tagged {names}",
        "it shares the tags {names} with your history",
        "it matches your taste for {names}",
        "it fits your taste in {names}",
        "of {names}, which it has in common with what you {did}",
    ),
    "friends": (
        "{number} of your friends took it up",
        "{number} friends of yours took it up",
        "{word} of your friends took it up",
        "{number} of your friends picked it",
        "it was picked by {number} of your friends",
        "at least {number} of your friends took it up",
        "{number} of your friends have taken it up",
        "{number} of your friends also picked it up",
        "more than {fewer} of your friends took it up",
        "it was taken up by {word} of your friends",
        "{number} people among your friends took it up",
    ),
    "popularity": (
        "it is among the {number} most popular lately",
        "it is one of the {number} most popular lately",
        "it is in the top {number} lately",
        "it has been among the {number} most popular items recently",
        "it is popular lately",
        "it is currently among the top {number}",
        "it is among the {number} most popular items right now",
        "it ranks among the {number} most popular",
        "it is trending",
    ),
    "text": (
        "its text is close to your own words",
        "its description is close to what you wrote",
        "its words are close to yours",
    ),
}
JOINTS = (", and ", "; ", " and ", ", and also ", ", plus ")
NUMBER_NAMES = "zero one two three four five six seven eight nine ten eleven twelve".split()


@dataclasses.dataclass(frozen=True)
class Part:
    """A clause: its form, what fills it, and which facts it tells."""

    kind: str
    form: str
    names: tuple[str, ...] = ()
    number: int | None = None
    did: str = ""

    def __str__(self) -> str:
        number = self.number or 0
        return self.form.format(
            names=listed(self.names),
            title=self.names[0] if self.names else "",
            number=number,
            word=NUMBER_NAMES[number] if number < len(NUMBER_NAMES) else number,
            fewer=number - 1,
            did=self.did,
        )


@dataclasses.dataclass(frozen=True)
class Sentence:
    """Parts, the opening first, and what stands between them."""

    parts: tuple[Part, ...]
    joints: tuple[str, ...]

    def __str__(self) -> str:
        text = str(self.parts[0])
        for joint, part in zip(("", *self.joints), self.parts[1:], strict=True):
            text += joint + str(part)
        text = text.rstrip()
        return text[0].upper() + text[1:] + "."

    def with_part(self, place: int, part: Part) -> "Sentence":
        parts = (*self.parts[:place], part, *self.parts[place + 1 :])
        return dataclasses.replace(self, parts=parts)


def listed(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def true_sentence(record: Evidence, rng: random.Random) -> Sentence:
    """A true sentence about the record, with one to three reasons."""
    kinds = sorted({fact.kind for fact in record.facts})
    chosen = rng.sample(kinds, min(len(kinds), rng.choice((1, 2, 2, 3))))
    opening = Part("opening", rng.choice(OPENINGS), (plain(record.title),))
    reasons = [true_part(record, kind, rng) for kind in chosen]
    joints = tuple(rng.choice(JOINTS) for _ in reasons[1:])
    return Sentence((opening, *reasons), joints)


def true_part(record: Evidence, kind: str, rng: random.Random) -> Part:
    """A true clause about the record's facts of a kind."""
    facts = [fact for fact in record.facts if fact.kind == kind]
    names = names_of(facts, rng)
    past = [fact for fact in record.facts if fact.kind == "history"]
    did = rng.choice(DEEDS[past[0].action]) if past else ""
    if kind == "history":
        facts = [fact for fact in facts if fact.action == facts[0].action]
        names = names_of(facts, rng)
    forms = [form for form in REASONS[kind] if did or "{did}" not in form]
    return Part(kind, rng.choice(forms), names, facts[0].number, did)


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
