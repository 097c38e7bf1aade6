"""Items in columns are what they were as Python objects."""

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.catalogue import Catalogue
from serving.item_ids import ItemIds

NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=4)
ROWS = [
    ("b", "Bee", "insects", ["insects", "small"], 5),
    ("a", "Ant", None, [], 7),
    ("c", "Cat", "pets", None, 9),
]


@given(st.lists(NAMES, unique=True, max_size=60), st.lists(NAMES, max_size=20))
def test_positions_are_those_of_a_dictionary(ids: list[str], others: list[str]) -> None:
    expected = {item_id: place for place, item_id in enumerate(ids)}
    found = ItemIds(pa.array(ids, pa.string()))
    assert dict(found) == expected
    assert [found.get(name) for name in (*ids, *others)] == [
        expected.get(name) for name in (*ids, *others)
    ]
    assert "\ud800" not in found  # JSON can hold it, no id can


@pytest.fixture
def catalogue() -> Catalogue:
    names = ["item_id", "title", "category", "categories", "available_at_us"]
    return Catalogue(pa.table([pa.array(column) for column in zip(*ROWS, strict=True)], names))


def test_each_item_is_described_and_each_category_found(catalogue: Catalogue) -> None:
    assert list(catalogue.item_ids) == ["b", "a", "c"]
    assert list(catalogue.category) == ["insects", None, "pets"]
    assert list(catalogue.categories) == [{"insects", "small"}, set(), set()]
    assert catalogue.in_categories(["small", "none"]).tolist() == [True, False, False]
    assert catalogue.category_sizes() == {"insects": 1, "small": 1}
    assert catalogue.available_at_us().tolist() == [5, 7, 9]
    with pytest.raises(IndexError):
        catalogue.titles[3]


def test_what_changes_is_shown_and_what_is_not_told_stays(catalogue: Catalogue) -> None:
    assert not catalogue.in_categories(["pets"]).any()
    catalogue.change(0, {"categories": ["pets"], "title": None, "price": 3})
    catalogue.change(0, {"title": "Bumblebee"})
    assert catalogue.in_categories(["pets"]).tolist() == [True, False, False]
    assert not catalogue.in_categories(["insects"]).any()
    assert (catalogue.titles[0], catalogue.category[0]) == ("Bumblebee", "insects")
