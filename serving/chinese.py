"""Chinese: which statements a text makes, and whether the evidence supports them.

In: a masked text (mentions.py) and its record. Out: statements. A clause must be one of the forms
in forms.py from end to end; what the form leaves open is held against the record.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from serving.evidence import Evidence, Fact
from serving.forms import DID, GENERAL, NUMERALS, PATTERNS, QUOTES, SPLIT
from serving.mentions import PRIVATE, Masked, Mention
from serving.statements import Statement, Verdict

WORDS: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Said:
    """What a form leaves open."""

    kind: str
    names: tuple[Mention, ...]
    subject: Mention | None
    """None also for "it", which is the suggested item."""
    number: int | None
    bound: str
    """"At least" and "more than"; empty where the number is said to be exact."""
    verb: str


def judge(masked: Masked, record: Evidence) -> Iterator[Statement]:
    """Statements with verdicts, in reading order."""
    start, ends = 0, [match.end() for match in SPLIT.finditer(masked.text)]
    for end in [*ends, len(masked.text)]:
        part, start = masked.text[start:end], end
        clause = QUOTES.sub("", SPLIT.sub("", part))
        if clause:
            verdict, evidence, problems = _judged(clause, masked, record)
            text = masked.unmasked(part)
            yield Statement(text=text, verdict=verdict, evidence=evidence, problems=problems)


def _judged(
    clause: str, masked: Masked, record: Evidence
) -> tuple[Verdict, tuple[str, ...], tuple[str, ...]]:
    """The verdict by the first form that fits and that the evidence supports."""
    problem = ""
    for said in _readings(clause, masked):
        facts, wrong = _supported(said, record)
        if not wrong:
            return ("supported", tuple(f.id for f in facts), ()) if facts else ("opinion", (), ())
        problem = problem or wrong
    if problem:
        return "contradicted", (), (problem,)
    return "unsupported", (), (f"not in the evidence: {masked.unmasked(clause)!r}",)


def _readings(clause: str, masked: Masked) -> Iterator[Said]:
    for kind, pattern in PATTERNS:
        match = pattern.fullmatch(clause)
        if match is None:
            continue
        found = match.groupdict()
        names = [masked.mention(c) for c in found.get("names") or "" if PRIVATE.match(c)]
        yield Said(
            kind=kind,
            names=tuple(name for name in names if name is not None),
            subject=masked.mention(found.get("it") or ""),
            number=_number(found.get("number")),
            bound=found.get("bound") or "",
            verb=found.get("verb") or "",
        )


def _supported(said: Said, record: Evidence) -> tuple[Sequence[Fact], str]:
    """The facts behind a clause of this form, or what is wrong with it."""
    if said.subject is not None and not said.subject.is_item:
        return (), "says of another name what holds for the suggested item"
    if said.kind in ("history", "tagged", "similar"):
        return _taken(said)
    if said.kind == "term":
        terms = [name.term for name in said.names if name.term is not None]
        return terms, "" if len(terms) == len(said.names) else "names what is not shared"
    if said.kind in ("friends", "popularity", "text"):
        told = [fact for fact in record.facts if fact.kind == said.kind]
        if not told:
            return (), f"speaks of {said.kind}, of which the evidence has none"
        holds = said.number is None or _holds(said, told[0].number or 0)
        return told, "" if holds else f"not in the evidence: the number {said.number}"
    if said.kind == "new" and not record.is_new:
        return (), "says that the item is new, which the evidence does not"
    return (), ""


def _taken(said: Said) -> tuple[Sequence[Fact], str]:
    """The named take-ups, if all are the user's own and the verb says no more than the action."""
    past = [name.history for name in said.names if name.history is not None]
    if len(past) < len(said.names):
        return (), "says that the user took up what they did not"
    for fact in past:
        allowed = f"{DID.get(fact.action, '')}|{GENERAL}".split("|")
        tagged = said.kind == "tagged" or said.verb.endswith("标签")
        if fact.action != "tag" if tagged else said.verb and said.verb not in allowed:
            return (), f"says what the user did not do: {said.verb!r}"
    return past, ""


def _holds(said: Said, number: int) -> bool:
    assert said.number is not None
    if said.bound in ("超过", "多于"):
        return number > said.number
    return number >= said.number if said.bound else number == said.number


def _number(text: str | None) -> int | None:
    if text is None:
        return None
    return int(text) if text.isdecimal() else NUMERALS[text]


def without_faults(statements: Sequence[Statement]) -> str:
    """The text of the statements that may stand."""
    kept = "".join(statement.text for statement in statements if statement.may_stand)
    return kept.rstrip("，。；！？,;!?：:、 ") + "。"
