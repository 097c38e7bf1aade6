"""English: which statements a text makes, and whether the evidence supports them.

In: a masked text (mentions.py) and its record. Out: statements. A clause is judged by what it
speaks of (friends, popularity, what the user did, what two items share, the user's words); each
kind has rules for who did what, for numbers and for comparisons. A word that is in none of the
lists below states something that nobody could look up.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from serving.evidence import Evidence, Fact
from serving.mentions import PRIVATE, Masked, Mention
from serving.names import fold
from serving.statements import Statement, Verdict

NUMBER_WORDS = {
    word: number
    for number, word in enumerate(
        "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen "
        "fifteen sixteen seventeen eighteen nineteen twenty".split()
    )
} | {"thirty": 30, "forty": 40, "fifty": 50, "hundred": 100}
# What a user did, by action: every form that says just that.
DID = {
    "buy": "bought buy buying purchased purchase purchasing",
    "click": "opened clicked",
    "like": "liked like enjoyed enjoy liking enjoying",
    "listen": "listened listen listening heard hear played play playing streamed",
    "play": "played play playing listened listen listening heard hear",
    "rate": "liked like enjoyed enjoy rated liking enjoying",
    "read": "read reading",
    "tag": "tagged tagging",
    "view": "viewed viewing",
    "watch": "watched watch watching seen saw",
}
TOOK_UP = frozenset("took taken take picked chose chosen know known".split())
ALL_DID = frozenset(" ".join(DID.values()).split()) | TOOK_UP | {"loved", "love", "loving"}
FRIENDS = frozenset("friend friends".split())
POPULAR = frozenset("popular popularity trending top".split())
SHARES = frozenset(
    """share shares shared sharing common tag tags genre genres keyword keywords category
    categories topic topics theme themes taste tastes mix both style styles""".split()
)
SIMILAR = frozenset("similar similarity like alike close closest closer near related goes".split())
WORDS_OF_TEXT = frozenset("text words description wrote writing written".split())
OF_NEW = frozenset("new nobody yet".split())
RELATIVE = frozenset("what that which those others things ones items picks".split())
WISHES = frozenset("may might can could will would should want let if hope try".split())
# These state nothing by themselves.
PLAIN = frozenset(
    """
    a about add added all along already also am among an and another any appeal appeals are as
    at back be because been being between brought but by check choice chose currently did do
    does due easily fan fans few fewer first fit fits for from give given go good great has have
    having here history how i in interest interested interests into is it item items its itself
    just lately least less list listen look lot made make match matches maybe me more most much
    my now of on one ones or other others our out over own people perhaps pick picks plus
    possibly probably rank ranked ranks reason recent recently recommend recommendation
    recommendations recommended recommending right see seem seems selected selection several
    since so some something suggest suggested suggesting suggestion suggestions suit suits than
    thanks that the their them then there these they thing things think this those though
    thought time to today together too turn under up us was we well what where which while who
    whose why with within worth yes you your yours yourself
    """.split()
)
# Praise is an opinion of the fit, never of the item.
PRAISE = frozenset("good great perfect nice natural".split())
PRAISED = frozenset("match fit choice pick addition suggestion recommendation one".split())
FLIPS = frozenset(
    """not no never none neither nor without hardly barely dislike disliked dislikes hate hated
    hates avoid avoided skipped skip despite unlike unpopular worst worse bad boring ignored
    rejected least against instead opposite don't didn't doesn't isn't aren't wasn't haven't
    hasn't won't can't cannot couldn't wouldn't nothing""".split()
)
WORDS = (
    PLAIN | ALL_DID | FRIENDS | POPULAR | SHARES | SIMILAR | WORDS_OF_TEXT | OF_NEW | WISHES
) | (PRAISE | NUMBER_WORDS.keys() | {"percent", "catalogue"})
SHORT = {"'s": "is", "'ve": "have", "'ll": "will", "'d": "would", "'re": "are", "'m": "am"}
TOKEN = re.compile(r"[\ue000-\uf8ff]|\d+|[^\W\d_]+(?:'[^\W\d_]+)*")
ODD = re.compile(r"[^\w\s\ue000-\uf8ff.,;:!?'\"()\[\]\-–—…“”‘’&%/*]|_|://")
LEADS = "and|but|so|because|since|as|while|plus|which|who|whom|that|where|also"
SPLIT = re.compile(
    rf"\s*[,;:.!?()–—…]+(?:\s+(?:{LEADS})\b)*"
    r"|\s+(?:because|since|so|but|while|which|who|whom|plus)\b"
    r"|\s+(?:and|as|that)\s+(?=(?:it|its|it's|is|has|you|you've|your|we|they|their|shares?|also|"
    rf"both|more|at|of|among|one|a|some|several|many|\d+|{'|'.join(NUMBER_WORDS)}|this|that|with)\b)",
    re.IGNORECASE,
)
ENDS = re.compile(r"[.!?…\s]*$")


@dataclass(frozen=True)
class Clause:
    """A part of the text: the words that lead to it, and its own."""

    lead: str
    body: str
    words: tuple[str, ...]
    """Of lead and body, folded; names are private characters."""

    @property
    def own(self) -> tuple[str, ...]:
        return words_of(self.body)


def words_of(text: str) -> tuple[str, ...]:
    """Words and names of a part, with contractions written out."""
    found: list[str] = []
    for word in TOKEN.findall(fold(text)):
        short = next((s for s in SHORT if word.endswith(s)), "")
        found += [word.removesuffix(short), SHORT[short]] if short else [word]
    return tuple(found)


def clauses(text: str) -> list[Clause]:
    """The clauses in order; together they are the text."""
    parts, start, lead = [], 0, ""
    for match in SPLIT.finditer(text):
        parts.append((lead, text[start : match.start()]))
        lead, start = match[0], match.end()
    parts.append((lead, text[start:]))
    merged: list[tuple[str, str]] = []
    for lead, body in parts:
        if merged and _goes_on(body):  # "you played A, B and C" is one clause
            merged[-1] = (merged[-1][0], merged[-1][1] + lead + body)
        else:
            merged.append((lead, body))
    return [Clause(lead, body, words_of(lead + body)) for lead, body in merged]


def _goes_on(body: str) -> bool:
    listed = {"and", "or", "also", "both", "as", "well", "too"}
    return all(PRIVATE.match(word) or word in listed for word in words_of(body))


def judge(masked: Masked, record: Evidence) -> Iterator[Statement]:
    """Statements with verdicts, in reading order."""
    about: Mention | None = None  # what "which" would point at
    for clause in clauses(masked.text):
        judgement = _Judgement(clause, masked, record, about)
        verdict, evidence = judgement.verdict()
        yield Statement(
            text=masked.unmasked(clause.lead + clause.body),
            verdict=verdict,
            evidence=tuple(dict.fromkeys(evidence)),
            problems=tuple(dict.fromkeys(judgement.problems)),
        )
        last = clause.own[-1] if clause.own else ""
        about = masked.mention(last) if PRIVATE.match(last) else None


class _Judgement:
    """One clause, held against the record; problems gather as rules are gone through."""

    def __init__(
        self, clause: Clause, masked: Masked, record: Evidence, about: Mention | None
    ) -> None:
        self.record = record
        self.words, self.own = clause.words, clause.own
        self.said = frozenset(clause.words)
        self.problems: list[str] = []
        self.contradicted = False
        self.names = [m for w in clause.words if (m := masked.mention(w)) is not None]
        self.name_of = {w: m for w in clause.words if (m := masked.mention(w)) is not None}
        points_back = bool(self.said & {"which", "who", "whom"}) and about is not None
        self.about, self.subject = about, about if points_back else None
        self.odd = ODD.findall(clause.lead + clause.body)

    @property
    def past(self) -> list[Fact]:
        """Facts of past items named here, unless the name can also be the item's."""
        return [m.history for m in self.names if m.history and not m.is_item]

    @property
    def terms(self) -> list[Fact]:
        return [m.term for m in self.names if m.term and not m.is_item and not m.history]

    def against(self, problem: str) -> None:
        self.problems.append(problem)
        self.contradicted = True

    def verdict(self) -> tuple[Verdict, list[str]]:
        """The verdict and the ids of the facts that support it."""
        evidence = self._read()
        if self.contradicted:
            return "contradicted", []
        if self.problems:
            return "unsupported", []
        return ("supported", evidence) if evidence else ("opinion", [])

    def _read(self) -> list[str]:
        self._unknown_words()
        evidence: list[str] = []
        if self.said & FRIENDS:
            return self._friends()
        if self.said & POPULAR:
            return self._popularity()
        if self.said & OF_NEW and not self.record.is_new:
            self.problems.append("says that the item is new, which the evidence does not")
        if self.said & WORDS_OF_TEXT:
            return self._text()
        self._comparatives()
        for _, number in self._numbers():
            self.against(f"not in the evidence: the number {number}")
        did = self._did()
        if did is not None:
            evidence += did
        elif self.past:
            evidence += self._similar()
        return evidence + self._shared()

    def _unknown_words(self) -> None:
        for place, word in enumerate(self.words):
            at_least = word == "least" and place and self.words[place - 1] == "at"
            if (word in FLIPS and not at_least) or word.endswith("n't"):
                self.against(f"turns the meaning round: {word!r}")
            elif not (word in WORDS or word.isdecimal() or PRIVATE.match(word)):
                self.problems.append(f"not in the evidence: {word!r}")
        if self.said & {"people", "fan", "fans"} and not self.said & FRIENDS:
            self.problems.append("speaks of people, of whom the evidence has none")
        for place, word in enumerate(self.words):
            if word in PRAISE and not PRAISED & set(self.words[place + 1 : place + 3]):
                self.problems.append(f"not in the evidence: {word!r}")
        self.problems += [f"not in the evidence: the mark {mark!r}" for mark in self.odd]

    def _numbers(self) -> list[tuple[int, int]]:
        """Places and values. "One" is a pronoun except where it counts friends."""
        return [
            (place, int(word) if word.isdecimal() else NUMBER_WORDS[word])
            for place, word in enumerate(self.words)
            if word.isdecimal() or (word in NUMBER_WORDS and word != "one")
        ]

    def _count(self, fact: Fact, what: str) -> None:
        """Every number must be the fact's, or in the comparison that stands before it."""
        assert fact.number is not None
        for place, number in self._numbers():
            before = " ".join(self.words[max(0, place - 2) : place])
            if before.endswith(("more than", "over")):
                holds = fact.number > number
            elif before.endswith(("fewer than", "less than", "under")):
                holds = fact.number < number
            elif before.endswith("at least"):
                holds = fact.number >= number
            elif before.endswith("at most"):
                holds = fact.number <= number
            else:
                holds = fact.number == number
            if not holds:
                self.against(f"not in the evidence: the number {number} of {what}")

    def _friends(self) -> list[str]:
        fact = next(iter(self.record.of("friends")), None)
        if fact is None or fact.number is None:
            self.problems.append("speaks of friends, of whom the evidence has none")
            return []
        if self.past or (self.subject is not None and self.subject.history):
            self.against("says of a past item what holds for the suggested one")
        if self.said & POPULAR or self.terms:
            self.problems.append("says more of friends than the evidence")
        self._count(fact, "friends")
        self._vague_counts(fact.number)
        if "friend" in self.said and fact.number != 1 and "one" not in self.said:
            self.against("speaks of one friend where there are more")
        if "one" in self.said and "friend" in self.said and fact.number != 1:
            self.against("speaks of one friend where there are more")
        did = self.said & (ALL_DID - TOOK_UP - SIMILAR)
        actions = {one.action for one in self.record.of("history")}
        if not all(any(self.means(word, a) for a in actions) for word in did):
            self.problems.append("says that friends did something else than the evidence")
        if "you" in self.said and self.said & ALL_DID and not self.said & WISHES:
            self.against("says that the user already took up the suggested item")
        return [fact.id]

    def _vague_counts(self, number: int) -> None:
        said = self.words
        wrong = self.said & {"all", "every", "most", "any", "lot", "more", "less"}
        for place, word in enumerate(said):
            following = said[place + 1] if place + 1 < len(said) else ""
            compares = following == "than" or (word in ("less", "more") and following == "than")
            if word in wrong and not compares:
                self.problems.append(f"not in the evidence: {word!r} of the friends")
        if self.said & {"several", "some"} and number < 3:
            self.problems.append("says that several friends did, and there are fewer")
        if "few" in self.said and not 3 <= number <= 6:
            self.problems.append("says that a few friends did, and there are not")

    def _popularity(self) -> list[str]:
        fact = next(iter(self.record.of("popularity")), None)
        if fact is None:
            self.problems.append("speaks of popularity, of which the evidence has none")
            return []
        if self.past or (self.subject is not None and self.subject.history):
            self.against("says of a past item what holds for the suggested one")
        if self.terms:
            self.problems.append("says more of popularity than the evidence")
        self._count(fact, "places")
        place = self.words.index("most") if "most" in self.said else -1
        if place >= 0 and not (self._numbers() or self.said & {"among", "one", "some"}):
            self.against("says that it is the most popular, and the evidence does not")
        compares = {"less", "fewer", "least", "more", "than", "all", "over", "under"} & self.said
        numbers = self._numbers()
        if compares and not (numbers and "popular" in self.words[numbers[0][0] :]):
            self.against("compares popularity, which the evidence does not")
        if self.said & (ALL_DID - SIMILAR - TOOK_UP) and not self.said & WISHES:
            self.problems.append("mixes popularity with what somebody did")
        return [fact.id]

    def _text(self) -> list[str]:
        fact = next(iter(self.record.of("text")), None)
        if fact is None:
            self.problems.append("speaks of the user's words, of which the evidence has none")
            return []
        self._count(fact, "percent")
        if self.past or self.terms:
            self.problems.append("says more of the user's words than the evidence")
        return [fact.id]

    def _comparatives(self) -> None:
        for word in ("more", "most", "less", "than", "fewer", "over", "under", "first", "all"):
            if word in self.said and not (word == "first" and self.record.is_new):
                self.problems.append(f"compares what the evidence does not: {word!r}")

    def _did(self) -> list[str] | None:
        """ "You played X": None where the clause does not say that the user did anything."""
        place = self._place_of_deed()
        if place is None:
            return None
        verb = self.words[place]
        after = [self.name_of[w] for w in self.words[place + 1 :] if w in self.name_of]
        subject = [] if self.subject is None else [self.subject]
        objects = [m for m in after if not m.term or m.history or m.is_item] or subject
        points = set(self.words[place + 1 : place + 4]) & {"it", "this", "them", "these"}
        past = [m.history for m in objects if m.history is not None]
        if any(m.is_item and m.history is None for m in objects) or (points and not past):
            self.against("says that the user already took up the suggested item")
        if not past:
            self._did_what(place)
            return []
        for fact in past:
            if not self.means(verb, fact.action):
                self.against(f"says what the user did not do: {verb!r}")
        if self.terms and not self.said & SHARES and not self.said & SIMILAR:
            self.problems.append("says that the user took up a word")
        return [fact.id for fact in past]

    def _did_what(self, place: int) -> None:
        """ "What you liked" may stand beside what is shared; "you liked" alone says nothing."""
        verb = self.words[place]
        relative = set(self.words[:place]) & RELATIVE
        shared = self.terms or (self.about is not None and self.about.term)
        if not (relative and (shared or self.said & SIMILAR)):
            self.problems.append("says that the user took something up without naming it")
        actions = {fact.action for fact in self.record.of("history")}
        if verb not in TOOK_UP and not any(self.means(verb, action) for action in actions):
            self.problems.append(f"says what the user did not do: {verb!r}")

    def _place_of_deed(self) -> int | None:
        """Where the verb of what the user did stands; wishes are no deeds."""
        passive = {"your", "by"} <= self.said
        for place, word in enumerate(self.words):
            if word not in ALL_DID or (word == "tagged" and self._is_passive(place)):
                continue
            before = self.words[max(0, place - 4) : place]
            if "you" in before and not set(before) & WISHES - {"if"}:
                between = before[len(before) - 1 - before[::-1].index("you") + 1 :]
                fillers = {"have", "also", "both", "recently", "lately", "already", "did", "just"}
                if set(between) <= fillers:
                    return place
            lone = word not in SIMILAR and not passive and "we" not in self.said
            lone = lone and not (word in TOOK_UP and self._is_passive(place))
            if lone and not set(self.words[:place]) & WISHES and not self._is_noun(place):
                return place
        return None

    def _is_passive(self, place: int) -> bool:
        """ "Both are tagged rock": no deed of the user."""
        before = self.words[max(0, place - 2) : place]
        return bool({"is", "are", "was", "both", "been"} & set(before)) and "you" not in before

    def _is_noun(self, place: int) -> bool:
        """ "Give it a listen", "shares a read"."""
        return place > 0 and self.words[place - 1] in {"a", "the", "your", "good", "great", "to"}

    def _similar(self) -> list[str]:
        """A past item that is named without what the user did with it must be likened."""
        likened = self.said & (SIMILAR | {"match", "matches", "along", "taste"})
        if not likened and not (self.terms and self.said & SHARES):
            self.against("names a past item without saying what the user did with it")
        if self.said & {"suggest", "recommend", "suggesting", "recommending"} and not any(
            m.is_item for m in self.names
        ):
            self.against("suggests a past item")
        return [fact.id for fact in self.past]

    def _shared(self) -> list[str]:
        held = self.past if self.said & {"share", "shares", "sharing", "common", "both"} else []
        if self.subject is not None and self.subject.history is not None:
            held = [*held, self.subject.history]
        for term in self.terms:
            if any(fact.entity_ids[0] not in term.entity_ids for fact in held):
                self.against(f"says that a past item has {term.name!r}, and it has not")
        return [term.id for term in self.terms]

    def means(self, verb: str, action: str) -> bool:
        """Whether the verb says no more than the action."""
        return verb in TOOK_UP or verb in DID.get(action, "").split()


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
