"""Faults, planted into true sentences: what is said afterwards is false or cannot be known, by
construction. Nothing here comes from the checker.

Structured faults change one part of a sentence (paraphrases.py); faults of text are worked into
any true text, also one that a language model wrote.
"""

import dataclasses
import random
import re
from collections.abc import Callable, Sequence

from serving.evidence import Evidence
from serving.names import plain, spelling
from tests.explanations.english import INJECTED, PEOPLE, QUALITIES
from tests.explanations.paraphrases import Part, Sentence

Names = Sequence[str]
"""Titles of the catalogue."""
Plant = Callable[[Sentence, Evidence, Names, random.Random], Sentence | None]

AT_LEAST = ("at least", "more than", "至少", "超过")


def strangers(record: Evidence, names: Names, rng: random.Random, num: int = 1) -> list[str]:
    """Names of the catalogue that the record does not have, not even as a part."""
    own = [spelling(name) for name in (record.title, *record.history, *record.shared)]
    found: list[str] = []
    while len(found) < num:
        name = plain(rng.choice(names))
        other = spelling(name)
        related = any(other in known or known in other for known in own)
        if not related and len(other) > 3 and name not in found:
            found.append(name)
    return found


def swapped_name(s: Sentence, r: Evidence, names: Names, rng: random.Random) -> Sentence | None:
    """A past item or a shared term becomes one that the user has nothing to do with."""
    places = [p for p, part in enumerate(s.parts) if part.kind in ("history", "term")]
    places = [p for p in places if s.parts[p].names]
    if not places:
        return None
    place = rng.choice(places)
    part = s.parts[place]
    new = list(part.names)
    new[rng.randrange(len(new))] = strangers(r, names, rng)[0]
    return s.with_part(place, dataclasses.replace(part, names=tuple(new)))


def swapped_item(s: Sentence, r: Evidence, names: Names, rng: random.Random) -> Sentence:
    """Another item is suggested."""
    opening = dataclasses.replace(s.parts[0], names=tuple(strangers(r, names, rng)))
    return s.with_part(0, opening)


def changed_number(s: Sentence, r: Evidence, names: Names, rng: random.Random) -> Sentence | None:
    """A count or a rank becomes another."""
    places = [
        p
        for p, part in enumerate(s.parts)
        if part.number is not None and re.search(r"\{(number|word|fewer)\}", part.form)
    ]
    if not places:
        return None
    place = rng.choice(places)
    part = s.parts[place]
    number = part.number or 0
    # "At least" and "more than" stay true of smaller numbers.
    only_up = any(words in part.form for words in AT_LEAST)
    others = [n for n in (2, 3, 4, 5, 7, 9, 12, 20, 25, 40, 60, 100, 500) if n != number]
    others = [n for n in others if not only_up or n > number]
    return s.with_part(place, dataclasses.replace(part, number=rng.choice(others)))


def flipped_deed(s: Sentence, r: Evidence, names: Names, rng: random.Random) -> Sentence | None:
    """What the user took up is said to be disliked or passed over."""
    places = [p for p, part in enumerate(s.parts) if part.kind == "history"]
    if not places:
        return None
    part = dataclasses.replace(s.parts[places[0]], form=rng.choice(s.wordings.false.flipped))
    return s.with_part(places[0], part)


def invented_friends(s: Sentence, r: Evidence, names: Names, rng: random.Random) -> Sentence:
    """Friends where there are none, or a name, or a quantity that nobody counted."""
    true = r.num_friends
    number = rng.choice([n for n in (2, 3, 4, 6, 8, 15) if n != true])
    false = s.wordings.false
    form = rng.choice(false.friends).replace("{person}", rng.choice(false.people))
    return added(s, form, rng, number=number)


def flipped_comparative(s: Sentence, r: Evidence, names: Names, rng: random.Random) -> Sentence:
    """A comparison that the record says nothing about."""
    others = [plain(name) for name in r.history] or strangers(r, names, rng)
    did = next((part.did for part in s.parts if part.did), s.wordings.false.liked)
    form = rng.choice(s.wordings.false.compared).replace("{other}", rng.choice(others))
    return added(s, form, rng, did=did)


def invented_quality(s: Sentence, r: Evidence, names: Names, rng: random.Random) -> Sentence:
    """Praise, prices, places, dates."""
    return added(s, rng.choice(s.wordings.false.qualities), rng)


def turned_relation(s: Sentence, r: Evidence, names: Names, rng: random.Random) -> Sentence | None:
    """Who did what is turned round."""
    past = [plain(name) for name in r.history]
    if not past:
        return None
    did = next((part.did for part in s.parts if part.did), s.wordings.false.liked)
    title = plain(r.title).replace("{", "").replace("}", "")
    form = rng.choice(s.wordings.false.turned).replace("{title}", title)
    return added(s, form, rng, names=(rng.choice(past),), did=did)


def invented_term(s: Sentence, r: Evidence, names: Names, rng: random.Random) -> Sentence:
    """A tag that the item does not share."""
    words = ("accordion", "polka", "baroque", "1920s", "Estonian", "yodelling", "surf punk")
    return added(s, s.wordings.false.term, rng, names=(rng.choice(words),))


def injected(s: Sentence, r: Evidence, names: Names, rng: random.Random) -> Sentence:
    """The model obeyed a text that was hidden in a title, a tag or a review."""
    return added(s, rng.choice(s.wordings.false.injected), rng)


def added(
    s: Sentence,
    form: str,
    rng: random.Random,
    names: tuple[str, ...] = (),
    number: int | None = None,
    did: str = "",
) -> Sentence:
    """The sentence with one more clause."""
    part = Part("fault", form, names, number, did, s.wordings)
    return Sentence((*s.parts, part), (*s.joints, rng.choice(s.wordings.joints)))


PLANTS: dict[str, Plant] = {
    "swapped name": swapped_name,
    "swapped item": swapped_item,
    "changed number": changed_number,
    "flipped sentiment": flipped_deed,
    "invented friends": invented_friends,
    "flipped comparative": flipped_comparative,
    "invented quality": invented_quality,
    "turned relation": turned_relation,
    "invented term": invented_term,
    "injected instruction": injected,
}


def in_text(text: str, r: Evidence, names: Names, rng: random.Random) -> dict[str, str]:
    """Every fault that can be worked into a text that somebody wrote, by kind."""
    title, found = plain(r.title), {}
    past = [plain(name) for name in r.history if plain(name) in text and plain(name) not in title]
    stranger = strangers(r, names, rng)[0]
    body = text.rstrip(".")
    if past:
        found["swapped name"] = text.replace(past[0], stranger)
        if title in text and past[0] != title:
            turned = text.replace(title, "\0").replace(past[0], title).replace("\0", past[0])
            found["turned relation"] = turned
    deeds = "|".join(sorted({d for deeds in DEED_WORDS for d in deeds}, key=len, reverse=True))
    deed = re.search(rf"\byou ({deeds})\b", text)
    if deed:
        flip = rng.choice(("never", "did not enjoy what you", "hardly", "no longer wish you"))
        found["flipped sentiment"] = f"{text[: deed.start(1)]}{flip} {text[deed.start(1) :]}"
    outside = text.replace(title, " " * len(title))
    numbers = [m for m in re.finditer(r"\b\d+\b", outside) if "friends" in text or "most" in text]
    told = {str(f.number) for f in r.facts if f.number is not None}
    numbers = [m for m in numbers if m[0] in told]
    if numbers:
        m = rng.choice(numbers)
        number = rng.choice([n for n in ("2", "6", "13", "30", "77", "200") if n not in told])
        found["changed number"] = text[: m.start()] + number + text[m.end() :]
    if "most popular" in text:
        found["flipped comparative"] = text.replace("most popular", "least popular")
    if not r.num_friends:
        found["invented friends"] = (
            f"{body}, and {rng.choice((2, 3, 5))} of your friends took it up."
        )
    else:
        found["invented friends"] = f"{body}, and your friend {rng.choice(PEOPLE[:1])} took it up."
    found["invented quality"] = f"{body}, and {rng.choice(QUALITIES)}."
    found["injected instruction"] = f"{body}. {rng.choice(INJECTED)}."
    return found


DEED_WORDS = (
    ("bought", "opened", "liked", "enjoyed", "played", "listened to", "read"),
    ("tagged", "viewed", "watched", "took up", "rated"),
)
