"""Explainer: evidence records -> sentences that passed the checker, or the template's.

A model's sentence is checked statement by statement. Statements that may not stand are cut; where
nothing is left the model is asked once more, and then the template answers. The reply says who
wrote, which facts support each statement, and what was turned down.
"""

from collections import OrderedDict
from collections.abc import Iterator, Sequence

from serving import templates
from serving.api import Explanation
from serving.checker import Checked, check, cut
from serving.evidence import Evidence
from serving.metrics import EXPLANATIONS, add
from serving.phrases import Language, Tone
from serving.prompts import names_of
from serving.statements import joined
from serving.writer import Writer, is_over

ATTEMPTS = 2
MAX_CACHED = 10_000
Key = tuple[str, str, Language, Tone]


def explain_by_template(
    record: Evidence,
    language: Language = "en",
    tone: Tone = "neutral",
    rejected: Sequence[str] = (),
) -> Explanation:
    """The template's sentence; every statement of it is supported by design."""
    statements = templates.statements(record, language, tone)
    return Explanation(
        text="".join(statement.text for statement in statements),
        writer="template",
        statements=statements,
        rejected=tuple(rejected),
    )


def explain_by_model(
    writer: Writer,
    records: Sequence[Evidence],
    language: Language = "en",
    tone: Tone = "neutral",
) -> list[Explanation]:
    """One explanation a record. A record without evidence goes to the template: a model would
    have nothing to write from but its imagination."""
    shown: dict[int, Explanation] = {}
    rejected: dict[int, list[str]] = {place: [] for place in range(len(records))}
    left = [place for place, record in enumerate(records) if not record.is_empty]
    for attempt in range(ATTEMPTS):
        if not left:
            break
        texts = writer.write([records[place] for place in left], language, tone, attempt)
        for place, text in zip(left, texts, strict=True):
            kept = supported(text, records[place], language, rejected[place])
            if kept is not None:
                shown[place] = by_model(kept, rejected[place])
        left = [place for place in left if place not in shown]
    return [
        shown.get(place) or explain_by_template(record, language, tone, rejected[place])
        for place, record in enumerate(records)
    ]


def supported(
    text: str, record: Evidence, language: Language, rejected: list[str]
) -> Checked | None:
    """What may be shown of a text; `rejected` learns what was wrong with the rest."""
    checked = check(text, record, language)
    if checked.is_supported:
        return checked
    rejected.append(f"{text!r}: {'; '.join(checked.problems)}")
    return cut(checked, record, language)


def by_model(kept: Checked, rejected: Sequence[str]) -> Explanation:
    return Explanation(
        text=kept.text, writer="model", statements=kept.statements, rejected=tuple(rejected)
    )


def stream_by_model(
    writer: Writer, record: Evidence, language: Language = "en", tone: Tone = "neutral"
) -> Iterator[str | Explanation]:
    """The sentence piece by piece, each as soon as it is checked, then the whole explanation.

    A statement is let out when the next one has begun. After one that may not stand nothing more
    is let out: if nothing that says anything had been, the template's sentence takes its place.
    """
    if record.is_empty:
        yield from _whole(explain_by_template(record, language, tone))
        return
    names, sent, text = names_of(record), "", ""
    for piece in writer.stream(record, language, tone):
        text += piece
        checked = check(text, record, language)
        ready = checked.statements if is_over(text, names) else checked.statements[:-1]
        if not all(statement.may_stand for statement in ready):
            break
        # Only from the first reason on: an opening alone could not be taken back.
        now = joined(ready)
        if any(statement.evidence for statement in ready) and now != sent:
            yield now.removeprefix(sent)
            sent = now
    rejected: list[str] = []
    kept = supported(text, record, language, rejected)
    if kept is None:
        yield from _whole(explain_by_template(record, language, tone, rejected))
        return
    if kept.text != sent:
        yield kept.text.removeprefix(sent)
    yield by_model(kept, rejected)


def _whole(explanation: Explanation) -> Iterator[str | Explanation]:
    yield explanation.text
    yield explanation


class ExplanationCache:
    """Explanations by what they depend on, the least recently used dropped first.

    Equal evidence is worded alike: the fingerprint has every fact, but neither the user nor the
    score.
    """

    def __init__(self, writer: Writer, size: int = MAX_CACHED) -> None:
        self._writer, self._size = writer, size
        self._known: OrderedDict[Key, Explanation] = OrderedDict()

    def explain(
        self, records: Sequence[Evidence], language: Language = "en", tone: Tone = "neutral"
    ) -> list[Explanation]:
        """One explanation a record; only records not seen before cost the model anything."""
        keys = [self._key(record, language, tone) for record in records]
        new = {key: r for key, r in zip(keys, records, strict=True) if key not in self._known}
        written = explain_by_model(self._writer, list(new.values()), language, tone)
        fresh = dict(zip(new, written, strict=True))
        add(EXPLANATIONS, len(keys) - len(new), outcome="cached")
        for explanation in written:
            add(EXPLANATIONS, outcome=explanation.writer)
        answer = [fresh[key] if key in fresh else self._known[key] for key in keys]
        for key, explanation in zip(keys, answer, strict=True):
            self._known[key] = explanation
            self._known.move_to_end(key)
        while len(self._known) > self._size:
            self._known.popitem(last=False)
        return answer

    def _key(self, record: Evidence, language: Language, tone: Tone) -> Key:
        return record.fingerprint(), self._writer.model_name, language, tone
