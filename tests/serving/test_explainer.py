"""A sentence is shown only if the evidence supports it, whoever wrote it."""

from collections.abc import Sequence

from serving import templates
from serving.checker import check
from serving.evidence import Evidence
from serving.explainer import explain_by_model, explain_by_template, first_supported
from tests.explanations.records import BARE, MOVIE, MUSIC, NEW, RECORDS

TRUE = "We suggest Heat because you liked Casino."
LIE = "We suggest Heat because you liked Alien."
WORSE = "We suggest Heat because 9 of your friends took it up."


class Scribe:
    """Writes the same sentences for every record, and keeps the records it was given."""

    def __init__(self, *sentences: str) -> None:
        self._sentences = sentences
        self.asked: list[Evidence] = []

    def write(self, records: Sequence[Evidence]) -> list[list[str]]:
        self.asked.extend(records)
        return [list(self._sentences) for _ in records]


def test_the_first_supported_sentence_is_shown() -> None:
    shown = first_supported([LIE, TRUE, WORSE], MOVIE)
    assert (shown.text, shown.writer) == (TRUE, "model")
    assert len(shown.rejected) == 1
    assert "Alien" in shown.rejected[0]
    assert "'alien'" in shown.rejected[0]


def test_a_liar_is_answered_by_the_template_with_the_reasons() -> None:
    shown = explain_by_model(Scribe(LIE, WORSE), [MOVIE])[0]
    assert shown.writer == "template"
    assert shown.text == templates.write(MOVIE)
    assert [reason.split(":")[0] for reason in shown.rejected] == [f"'{LIE}'", f"'{WORSE}'"]
    assert "the number '9'" in shown.rejected[1]


def test_a_writer_without_a_word_is_answered_by_the_template() -> None:
    shown = explain_by_model(Scribe(), [MOVIE])[0]
    assert (shown.text, shown.writer, shown.rejected) == (templates.write(MOVIE), "template", [])


def test_without_evidence_the_model_is_not_asked() -> None:
    scribe = Scribe("We suggest Low because we think you might like it.")
    shown = explain_by_model(scribe, [BARE, MOVIE, NEW])
    assert scribe.asked == [MOVIE]
    assert [one.text for one in shown[::2]] == [templates.write(BARE), templates.write(NEW)]


def test_sentences_stay_with_their_records() -> None:
    """Equal records, too: each has its own answer."""

    class Namer:
        def write(self, records: Sequence[Evidence]) -> list[list[str]]:
            return [[f"{r.title} is here because you {r.verb} {r.history[0]}."] for r in records]

    again = MOVIE.model_copy()
    shown = explain_by_model(Namer(), [MUSIC, MOVIE, again])
    assert all(one.writer == "model" for one in shown)
    assert [one.text.split(" is ")[0] for one in shown] == [
        "Massive Attack",
        "Heat (1995)",
        "Heat (1995)",
    ]


def test_no_records_no_sentences() -> None:
    assert explain_by_model(Scribe(TRUE), []) == []


def test_every_template_passes_the_checker_that_models_must_pass() -> None:
    for record in RECORDS:
        if not record.is_empty:
            assert check(explain_by_template(record).text, record).problems == ()
