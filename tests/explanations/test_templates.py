"""Templates are grammatical, follow the contributions, and always pass the checker."""

import doctest

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving import templates
from serving.checker import check
from serving.evidence import Evidence
from tests.explanations.records import BARE, MOVIE, NEW, RECORDS

names = st.text(st.characters(categories=["Lu", "Ll", "Nd"]), min_size=2, max_size=12)


def test_doctests() -> None:
    assert doctest.testmod(templates).failed == 0


def test_the_strongest_sources_are_told_first() -> None:
    assert "you liked The Godfather (1972) and Casino (1995)" in templates.write(MOVIE)
    by_friends = MOVIE.model_copy(update={"contributions": {"social": 5.0, "text": 1.0}})
    assert "3 of your friends took it up lately, and it shares" in templates.write(by_friends)


@pytest.mark.parametrize("record", [r for r in RECORDS if not r.is_empty], ids=lambda r: r.title)
def test_known_records_pass_the_checker(record: Evidence) -> None:
    assert check(templates.write(record), record).problems == ()


def test_an_empty_record_still_gets_an_honest_sentence() -> None:
    assert templates.write(BARE) == "Low fits what we know so far; tell us whether you like it."
    assert "new here" in templates.write(NEW)


@given(title=names, history=st.lists(names, max_size=3), friends=st.integers(0, 40))
def test_whatever_the_names_the_checker_agrees(
    title: str, history: list[str], friends: int
) -> None:
    record = Evidence(
        item_id=title, title=title, history=tuple(history), num_friends=friends, popular_within=100
    )
    if title.casefold() in {name.casefold() for name in history}:
        return  # the catalogue has two items of one name: nothing to tell them apart by
    assert check(templates.write(record), record).problems == ()
