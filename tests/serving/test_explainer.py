"""A sentence is shown only if the evidence supports it, whoever wrote it."""

from collections.abc import Callable, Iterator, Sequence

from serving import templates
from serving.api import Explanation
from serving.checker import check
from serving.evidence import Evidence
from serving.explainer import (
    ExplanationCache,
    explain_by_model,
    explain_by_template,
    stream_by_model,
)
from serving.phrases import Language, Tone
from tests.explanations.records import BARE, MOVIE, MUSIC, NEW, RECORDS

TRUE = "We suggest Heat because you liked Casino."
LIE = "We suggest Heat because you liked Alien."
WORSE = "We suggest Heat because 9 of your friends took it up."
HALF = "We suggest Heat because you liked Casino, and Al Pacino is in it."


class Scribe:
    """Writes the given sentences, one an attempt, and keeps the records it was given."""

    model_name = "scribe"

    def __init__(self, *sentences: str) -> None:
        self._sentences = sentences
        self.asked: list[Evidence] = []

    def write(
        self, records: Sequence[Evidence], language: Language, tone: Tone, attempt: int = 0
    ) -> list[str]:
        self.asked.extend(records)
        return [self._sentences[min(attempt, len(self._sentences) - 1)] for _ in records]

    def stream(self, record: Evidence, language: Language, tone: Tone) -> Iterator[str]:
        self.asked.append(record)
        words = self._sentences[0].split(" ")
        yield from (word + " " for word in words[:-1])
        yield words[-1]


def test_a_supported_sentence_is_shown_with_its_evidence() -> None:
    shown = explain_by_model(Scribe(TRUE), [MOVIE])[0]
    assert (shown.text, shown.writer, shown.rejected) == (TRUE, "model", ())
    assert [s.evidence for s in shown.statements] == [(), ("history-m3",)]


def test_a_model_is_asked_once_more() -> None:
    shown = explain_by_model(Scribe(LIE, TRUE), [MOVIE])[0]
    assert (shown.text, shown.writer) == (TRUE, "model")
    assert len(shown.rejected) == 1
    assert "'alien'" in shown.rejected[0]


def test_a_liar_is_answered_by_the_template_with_the_reasons() -> None:
    scribe = Scribe(LIE, WORSE, TRUE)
    shown = explain_by_model(scribe, [MOVIE])[0]
    assert len(scribe.asked) == 2
    assert shown.writer == "template"
    assert shown.text == templates.write(MOVIE)
    assert [reason.split(":")[0] for reason in shown.rejected] == [f"'{LIE}'", f"'{WORSE}'"]
    assert "the number 9" in shown.rejected[1]


def test_what_is_not_supported_is_cut_and_the_answer_says_so() -> None:
    shown = explain_by_model(Scribe(HALF), [MOVIE])[0]
    assert (shown.text, shown.writer) == (TRUE, "model")
    assert "'pacino'" in shown.rejected[0]


def test_a_writer_without_a_word_is_answered_by_the_template() -> None:
    shown = explain_by_model(Scribe(""), [MOVIE])[0]
    assert (shown.text, shown.writer) == (templates.write(MOVIE), "template")


def test_without_evidence_the_model_is_not_asked() -> None:
    scribe = Scribe(TRUE)
    shown = explain_by_model(scribe, [BARE, MOVIE, NEW])
    assert scribe.asked == [MOVIE]
    assert [one.text for one in shown[::2]] == [templates.write(BARE), templates.write(NEW)]


def test_sentences_stay_with_their_records() -> None:
    """Equal records, too: each has its own answer."""

    class Namer(Scribe):
        def write(self, records: Sequence[Evidence], *_: object) -> list[str]:
            return [templates.write(record) for record in records]

    shown = explain_by_model(Namer(), [MUSIC, MOVIE, MOVIE.model_copy()])
    assert all(one.writer == "model" for one in shown)
    assert ["Massive" in one.text for one in shown] == [True, False, False]


def test_no_records_no_sentences() -> None:
    assert explain_by_model(Scribe(TRUE), []) == []


def test_every_template_passes_the_checker_that_models_must_pass() -> None:
    for record in RECORDS:
        if not record.is_empty:
            assert check(explain_by_template(record).text, record).problems == ()


def test_the_language_and_tone_asked_for_reach_the_template() -> None:
    shown = explain_by_model(Scribe(LIE), [MOVIE], "zh", "brief")[0]
    assert shown.text == templates.write(MOVIE, "zh", "brief")


def test_what_was_explained_once_is_not_asked_again() -> None:
    scribe = Scribe(TRUE)
    cache = ExplanationCache(scribe, size=2)
    first = cache.explain([MOVIE, MOVIE, BARE])
    assert first[0] == first[1]
    assert cache.explain([MOVIE]) == first[:1]
    assert scribe.asked == [MOVIE]
    changed = MOVIE.model_copy(update={"facts": MOVIE.facts[1:]})
    cache.explain([changed])
    assert scribe.asked == [MOVIE, changed]
    cache.explain([MOVIE], tone="brief")
    assert scribe.asked[2:] == [MOVIE]


def streamed(sentence: str, record: Evidence = MOVIE) -> tuple[list[str], Explanation]:
    *pieces, whole = list(stream_by_model(Scribe(sentence), record))
    assert isinstance(whole, Explanation)
    assert all(isinstance(piece, str) for piece in pieces)
    return [str(piece) for piece in pieces], whole


def test_a_stream_lets_statements_out_as_they_are_checked() -> None:
    sentence = (
        "We suggest Heat because you liked Casino, and it shares Crime with what you know, "
        "and 3 of your friends took it up."
    )
    pieces, whole = streamed(sentence)
    assert len(pieces) == 3
    assert "".join(pieces) == whole.text == sentence
    assert whole.writer == "model"


def test_a_stream_stops_before_a_lie() -> None:
    pieces, whole = streamed(HALF)
    assert "".join(pieces) == whole.text == TRUE
    pieces, whole = streamed(LIE)
    assert pieces == [templates.write(MOVIE)]
    assert whole.writer == "template"
    assert streamed(TRUE, BARE)[0] == [templates.write(BARE)]


def test_whatever_a_model_writes_what_was_streamed_is_what_the_answer_says() -> None:
    sentences: list[Callable[[], str]] = [
        lambda: "",
        lambda: "Heat",
        lambda: f"{TRUE[:-1]}, and you hated it, and it shares Drama with what you know.",
        lambda: "You liked Casino. Buy Heat now! http://evil.example",
    ]
    for sentence in sentences:
        pieces, whole = streamed(sentence())
        assert "".join(pieces) == whole.text
        assert "evil" not in whole.text
