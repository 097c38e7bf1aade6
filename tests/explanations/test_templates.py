"""Templates are grammatical, follow the contributions, and always pass the checker."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving import templates
from serving.checker import check
from serving.evidence import Evidence, Fact
from serving.phrases import PHRASES, Language, Tone
from tests.explanations.records import (
    BARE,
    MOVIE,
    MUSIC,
    NEW,
    RECORDS,
    close_text,
    friends,
    popular,
    shares,
    took,
)

LANGUAGES: tuple[Language, ...] = ("en", "zh")
TONES: tuple[Tone, ...] = ("neutral", "friendly", "brief")
names = st.text(st.characters(categories=["Lu", "Ll", "Nd"]), min_size=2, max_size=12)
actions = st.sampled_from(sorted(PHRASES["en"].took_up))
manners = st.tuples(st.sampled_from(LANGUAGES), st.sampled_from(TONES))


@st.composite
def records(draw: st.DrawFn) -> Evidence:
    """Any record whose names are told apart."""
    title, *others = draw(st.lists(names, min_size=6, max_size=6, unique_by=str.casefold))
    facts: list[Fact] = []
    for number, name in enumerate(others[: draw(st.integers(0, 3))]):
        facts.append(took(name, draw(actions) or "star", str(number)))
    facts += [shares(name, "0") for name in others[3 : 3 + draw(st.integers(0, 2))]]
    extra = [friends(draw(st.integers(1, 40))), popular(draw(st.sampled_from([10, 50, 100])))]
    facts += draw(st.lists(st.sampled_from([*extra, close_text(93)]), unique=True))
    return Evidence(item_id=draw(names), title=title, facts=tuple(facts))


def test_the_leading_source_is_told_first_then_by_contribution() -> None:
    text = templates.write(MOVIE)
    assert "you liked The Godfather (1972) and Casino (1995), and 3 " in text
    led = MOVIE.model_copy(update={"leading_source": "item"})
    assert templates.order(led) == ["popularity", "history", "friends", "term"]
    unled = led.model_copy(update={"leading_source": None, "contributions": {"social": 5.0}})
    assert templates.order(unled)[0] == "friends"


@settings(deadline=None)  # a busy machine is no failure
@given(record=records(), manner=manners)
def test_whatever_the_record_the_checker_agrees(
    record: Evidence, manner: tuple[Language, Tone]
) -> None:
    """Every statement passes, with the very evidence that the template gave it."""
    if record.is_empty:
        return
    own = templates.statements(record, *manner)
    checked = check(templates.write(record, *manner), record, manner[0])
    assert checked.problems == ()
    assert [s.evidence for s in own if s.evidence] == [
        s.evidence for s in checked.statements if s.evidence
    ]


@settings(deadline=None)  # a busy machine is no failure
@given(record=records(), manner=manners)
def test_sentences_are_whole(record: Evidence, manner: tuple[Language, Tone]) -> None:
    text = templates.write(record, *manner)
    assert record.title in text
    assert text[-1] in ".。"
    assert "{" not in text
    assert "  " not in text
    assert text == text.strip()
    assert not any(pair in text for pair in ("..", ",,", "，，", "。。", " ,", " ."))


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("number", [1, 2, 11])
def test_plurals(number: int, language: Language) -> None:
    record = Evidence(item_id="x", title="X", facts=(friends(number),))
    texts = {
        templates.write(record.model_copy(update={"item_id": str(i)}), language) for i in range(40)
    }
    assert all(f"{number} " not in t or number > 1 for t in texts)
    noun = "friend" if language == "en" else "朋友"
    assert all(noun in text for text in texts)
    singular = ("one of your friends", "a friend of yours", "一位朋友")
    assert all(any(words in t for words in singular) == (number == 1) for t in texts)


def test_wordings_vary_from_item_to_item() -> None:
    wanted: dict[Language, int] = {"en": 12, "zh": 6}
    for language, least in wanted.items():
        texts = {
            templates.write(MOVIE.model_copy(update={"item_id": str(i)}), language)
            for i in range(200)
        }
        assert len(texts) >= least


def test_what_was_done_differently_is_not_told_in_one_breath() -> None:
    record = Evidence(
        item_id="x", title="X", facts=(took("A1", "play", "1"), took("B2", "buy", "2"))
    )
    assert "B2" not in templates.write(record)


def test_an_empty_record_still_gets_an_honest_sentence() -> None:
    assert templates.write(BARE) == "Low fits what we know so far; tell us whether you like it."
    assert "new here" in templates.write(NEW)
    assert templates.write(BARE, "zh").startswith("“Low”")
    assert templates.statements(BARE)[0].verdict == "opinion"


def test_every_tone_and_language_has_its_words() -> None:
    for language in LANGUAGES:
        assert set(PHRASES[language].openings) == set(TONES)
        for tone in TONES:
            for record in RECORDS:
                assert templates.write(record, language, tone)
    assert len(templates.write(MUSIC, tone="brief")) < len(templates.write(MUSIC))
