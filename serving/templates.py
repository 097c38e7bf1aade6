"""Templates: one grammatical sentence from an evidence record, in microseconds.

Used when no language model is asked for, and in the place of a model's sentence that fails the
checker. Every word comes from the record or from the fixed phrases (phrases.py), so it is true by
design, and every statement knows its evidence.
"""

import zlib
from collections.abc import Sequence

from serving.evidence import KINDS, Evidence, Fact, Kind
from serving.names import shown
from serving.phrases import PHRASES, Language, Phrases, Tone
from serving.statements import Statement, joined

MAX_REASONS: dict[Tone, int] = {"neutral": 2, "friendly": 2, "brief": 1}
MAX_NAMES = 2


def write(record: Evidence, language: Language = "en", tone: Tone = "neutral") -> str:
    """One sentence. The wording is the same for the same record."""
    return joined(statements(record, language, tone))


def statements(
    record: Evidence, language: Language = "en", tone: Tone = "neutral"
) -> tuple[Statement, ...]:
    """The sentence as statements, each with the ids of its facts."""
    phrases, turn = PHRASES[language], zlib.crc32(record.item_id.encode())
    title = phrases.name.format(name=shown(record.title))
    kinds = order(record)[: MAX_REASONS[tone]]
    reasons = [reason(record, kind, phrases, turn) for kind in kinds]
    if not reasons:
        line = _pick(phrases.new if record.is_new else phrases.nothing_known, turn)
        return (Statement(text=line.format(title=title), verdict="opinion"),)
    before, after = _pick(phrases.openings[tone], turn).split("{reasons}")
    parts = [Statement(text=before.format(title=title), verdict="opinion")]
    for place, (text, facts) in enumerate(reasons):
        lead = phrases.between if place else ""
        end = after if place == len(reasons) - 1 else ""
        ids = tuple(fact.id for fact in facts)
        parts.append(Statement(text=lead + text + end, verdict="supported", evidence=ids))
    return tuple(parts)


def order(record: Evidence) -> list[Kind]:
    """The kinds of fact that the record has, those of the leading source first, then by what
    their sources contributed."""
    strength: dict[Kind, tuple[bool, float]] = {}
    for fact in record.facts:
        leads = fact.source == record.leading_source
        most = record.contributions.get(fact.source, 0.0)
        if fact.kind in strength:  # its facts may be of several sources
            leads, most = leads or strength[fact.kind][0], max(most, strength[fact.kind][1])
        strength[fact.kind] = leads, most
    # sorted is stable: with no contributions the order of KINDS stands.
    return sorted(filter(strength.__contains__, KINDS), key=strength.__getitem__, reverse=True)


def told(record: Evidence, kind: Kind) -> tuple[Fact, ...]:
    """The facts of a kind that one clause tells: of takes-up only those by the same action."""
    facts = record.of(kind)
    if kind == "history":
        facts = tuple(fact for fact in facts if fact.action == facts[0].action)
    return facts[:MAX_NAMES]


def reason(
    record: Evidence, kind: Kind, phrases: Phrases, turn: int
) -> tuple[str, tuple[Fact, ...]]:
    """The clause that tells a kind of fact, and the facts that it tells; the record has some."""
    facts = told(record, kind)
    names = _listed([phrases.name.format(name=shown(fact.name)) for fact in facts], phrases)
    number = facts[0].number
    if kind == "history":
        did = phrases.took_up.get(facts[0].action, phrases.took_up[""]).format(names=names)
        return _pick(phrases.history, turn).format(did=did), facts
    if kind == "term":
        return _pick(phrases.term, turn).format(names=names), facts
    if kind == "friends":
        choice = phrases.one_friend if number == 1 else phrases.friends
        return _pick(choice, turn).format(number=number), facts
    choice = phrases.text if kind == "text" else phrases.popularity
    return _pick(choice, turn).format(number=number), facts


def _pick(choices: Sequence[str], turn: int) -> str:
    if len(choices) == 1:
        return choices[0]
    # Mixed with the list itself, so that lists do not go in step.
    return choices[zlib.crc32(choices[0].encode(), turn) % len(choices)]


def _listed(names: Sequence[str], phrases: Phrases) -> str:
    if len(names) < 2:
        return "".join(names)
    return phrases.comma.join(names[:-1]) + phrases.last + names[-1]
