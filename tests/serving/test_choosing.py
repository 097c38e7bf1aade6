"""Choosing: diverse, capped and explored slates, each against what its definition says."""

import dataclasses
import itertools
from collections import Counter
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from pydantic import ValidationError

from serving.catalogue import Catalogue
from serving.choosing import Chosen, SlateOptions, choose, ranked, standardised

NUM = 30  # candidates
PLAIN = SlateOptions()
SCORES = arrays(np.float32, NUM, elements=st.floats(-4, 4, width=16))
OPTIONS = st.builds(
    SlateOptions,
    diversity=st.sampled_from([0.0, 0.3, 0.9]),
    max_per_category=st.sampled_from([None, 1, 3]),
    explore=st.sampled_from([0.0, 0.4]),
)


@dataclass(frozen=True)
class Shelf:
    """Candidates, described."""

    vectors: NDArray[np.float32] | None
    categories: list[frozenset[str]]

    def memberships(self, positions: NDArray[np.int64]) -> NDArray[np.float32]:
        names = sorted(frozenset().union(*self.categories))
        rows = [[name in self.categories[i] for name in names] for i in positions]
        return np.array(rows, np.float32).reshape(len(positions), len(names))


@pytest.fixture(scope="module")
def shelf() -> Shelf:
    """Half of them have one category, some two, some none; text of one category is alike."""
    rng = np.random.default_rng(1)
    names = np.array(["art", "film", "music", "travel"])
    categories = [
        frozenset(rng.choice(names, size, replace=False).tolist())
        for size in rng.choice([0, 1, 2], NUM, p=[0.2, 0.5, 0.3])
    ]
    is_of = np.array([[name in own for name in names] for own in categories], np.float64)
    vectors = is_of @ rng.normal(size=(4, 64)) + 0.5 * rng.normal(size=(NUM, 64))
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return Shelf(unit.astype(np.float32), categories)


def some(scores: np.ndarray, options: SlateOptions, shelf: Shelf, k: int = 8) -> Chosen:
    return choose(shelf, np.arange(len(scores)), scores, k, options, "a request")


def drawn_scores(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=NUM).astype(np.float32)


@given(scores=SCORES, options=OPTIONS, k=st.integers(1, NUM + 3))
def test_a_slate_is_full_and_has_each_candidate_once(
    shelf: Shelf, scores: np.ndarray, options: SlateOptions, k: int
) -> None:
    places = some(scores, options, shelf, k).places.tolist()
    assert len(places) == len(set(places)) == min(k, NUM)
    assert set(places) <= set(range(NUM))


@given(scores=SCORES, k=st.integers(1, NUM))
def test_without_options_the_highest_scores_stand_in_order(
    shelf: Shelf, scores: np.ndarray, k: int
) -> None:
    """And of equal ones the first to be proposed."""
    expected = sorted(range(NUM), key=lambda place: (-scores[place], place))[:k]
    chosen = some(scores, PLAIN, shelf, k)
    assert chosen.places.tolist() == expected
    assert chosen.propensities is None
    assert not chosen.is_explored.any()


@given(scores=SCORES, options=OPTIONS.map(lambda o: o.model_copy(update={"explore": 0.0})))
def test_a_shorter_slate_is_the_head_of_a_longer(
    shelf: Shelf, scores: np.ndarray, options: SlateOptions
) -> None:
    long = some(scores, options, shelf, NUM).places
    assert some(scores, options, shelf, 7).places.tolist() == long[:7].tolist()


@given(order=st.permutations(range(NUM)), options=OPTIONS)
def test_the_order_of_the_candidates_does_not_matter(
    shelf: Shelf, order: list[int], options: SlateOptions
) -> None:
    scores, shuffled = drawn_scores(), np.array(order)
    straight = some(scores, options, shelf).places
    places = choose(shelf, shuffled, scores[shuffled], 8, options, "a request").places
    assert shuffled[places].tolist() == straight.tolist()


def slate_worth(shelf: Shelf, scores: np.ndarray, slate: list[int], diversity: float) -> float:
    """Log-probability of a slate under the point process, up to a constant, by its definition."""
    assert shelf.vectors is not None
    quality = np.exp(standardised(scores)[slate] * (1 - diversity) / diversity / 2)
    unit = shelf.vectors[slate].astype(np.float64)
    kernel = quality[:, None] * (unit @ unit.T) * quality[None]
    return float(np.linalg.slogdet(kernel)[1])


@pytest.mark.parametrize("diversity", [0.2, 0.6, 0.9])
def test_each_place_raises_the_determinant_most(shelf: Shelf, diversity: float) -> None:
    """Oracle: the determinant of the whole kernel, anew for each candidate of each place."""
    scores = drawn_scores()
    chosen = some(scores, SlateOptions(diversity=diversity), shelf).places.tolist()
    slate: list[int] = []
    for place in chosen:
        others = set(range(NUM)) - set(slate)
        worth = {one: slate_worth(shelf, scores, [*slate, one], diversity) for one in others}
        assert worth[place] == pytest.approx(max(worth.values()), abs=1e-3)
        slate.append(place)


def similarity(shelf: Shelf, places: np.ndarray) -> float:
    assert shelf.vectors is not None
    alike = shelf.vectors[places] @ shelf.vectors[places].T
    return float(alike[np.triu_indices(len(places), 1)].mean())


def test_more_diversity_is_less_alike_and_scores_less(shelf: Shelf) -> None:
    alike, totals = np.zeros(3), np.zeros(3)
    for scores in map(drawn_scores, range(20)):
        for row, diversity in enumerate((0.0, 0.6, 0.95)):
            places = some(scores, SlateOptions(diversity=diversity), shelf).places
            alike[row] += similarity(shelf, places)
            totals[row] += scores[places].sum()
    assert alike[0] > alike[1] > alike[2]
    assert totals[0] > totals[1] > totals[2]


def test_copies_are_left_to_the_end(shelf: Shelf) -> None:
    """And do not break the sums of what comes after them."""
    assert shelf.vectors is not None
    vectors = shelf.vectors.copy()
    vectors[1] = vectors[2] = vectors[0]
    copied = dataclasses.replace(shelf, vectors=vectors)
    scores = np.linspace(2, 1, NUM, dtype=np.float32)
    places = some(scores, SlateOptions(diversity=0.9), copied, NUM).places.tolist()
    assert places[0] == 0
    assert set(places[-2:]) == {1, 2}


def test_without_text_categories_tell_what_is_alike(shelf: Shelf) -> None:
    wordless = dataclasses.replace(shelf, vectors=None)
    scores = np.linspace(1.1, 1, NUM, dtype=np.float32)
    of = [shelf.categories[place] for place in range(NUM)]
    plain = Counter(itertools.chain.from_iterable(of[p] for p in range(8)))
    chosen = some(scores, SlateOptions(diversity=0.9), wordless).places
    diverse = Counter(itertools.chain.from_iterable(of[p] for p in chosen))
    assert max(diverse.values()) < max(plain.values())


@given(scores=SCORES, explore=st.sampled_from([0.0, 0.5]), most=st.integers(1, 3))
def test_no_category_has_more_than_its_share(
    shelf: Shelf, scores: np.ndarray, explore: float, most: int
) -> None:
    """Also when places are explored; and without diversity the best of what may be are chosen."""
    options = SlateOptions(max_per_category=most, explore=explore)
    chosen = some(scores, options, shelf, 6)
    counts = Counter(name for place in chosen.places for name in shelf.categories[place])
    assert chosen.is_relaxed or max(counts.values()) <= most
    if not explore:
        assert chosen.is_relaxed == (max(counts.values()) > most)
        held: Counter[str] = Counter()
        expected = []
        for place in ranked(scores).tolist():
            if all(held[name] < most for name in shelf.categories[place]):
                expected.append(place)
                held.update(shelf.categories[place])
        assert chosen.places[: len(expected)].tolist() == expected[:6]


def test_a_slate_is_filled_and_says_so_when_a_category_is_all_there_is(shelf: Shelf) -> None:
    name = next(name for own in shelf.categories for name in own)
    alone = np.array([i for i, own in enumerate(shelf.categories) if name in own])
    scores = np.linspace(1, 0, len(alone), dtype=np.float32)
    options = SlateOptions(max_per_category=1)
    chosen = choose(shelf, alone, scores, 4, options, "a request")
    assert len(chosen.places) == 4
    assert chosen.is_relaxed
    assert not choose(shelf, alone, scores, 1, options, "a request").is_relaxed


@pytest.mark.parametrize("quota", [None, 1])
def test_propensities_are_the_frequencies(shelf: Shelf, quota: int | None) -> None:
    """Over many requests each candidate stands at its place as often as its propensity says."""
    scores, k, times = drawn_scores(), 5, 5_000
    options = SlateOptions(explore=0.3, max_per_category=quota)
    shown: Counter[tuple[int, int]] = Counter()
    told: dict[tuple[int, int], float] = {}
    for number in range(times):
        chosen = choose(shelf, np.arange(NUM), scores, k, options, f"request {number}")
        assert chosen.propensities is not None
        stands = list(enumerate(chosen.places.tolist()))
        shown.update(stands)
        for stand, propensity in zip(stands, chosen.propensities.tolist(), strict=True):
            assert told.setdefault(stand, propensity) == propensity
    assert len({place for _, place in told}) == len(told)  # each only ever at one place
    for stand, propensity in told.items():
        error = np.sqrt(propensity * (1 - propensity) / times)
        assert shown[stand] / times == pytest.approx(propensity, abs=4.5 * error + 1e-12)
    for place in range(k):
        assert sum(p for (at, _), p in told.items() if at == place) == pytest.approx(1, abs=1e-6)


def test_a_request_explores_the_same_when_it_is_sent_again(shelf: Shelf) -> None:
    scores, options = drawn_scores(), SlateOptions(explore=0.5)
    slates = {
        request_id: tuple(choose(shelf, np.arange(NUM), scores, 8, options, request_id).places)
        for request_id in ("a", "b", "\ud800", "a longer one")
    }
    assert len(set(slates.values())) > 1
    for request_id, slate in slates.items():
        again = choose(shelf, np.arange(NUM), scores, 8, options, request_id)
        assert tuple(again.places) == slate
        base = some(scores, PLAIN, shelf).places
        assert again.is_explored.tolist() == [x != y for x, y in zip(slate, base, strict=True)]


def test_nothing_beyond_the_slate_is_nothing_to_explore(shelf: Shelf) -> None:
    chosen = some(drawn_scores(), SlateOptions(explore=0.5), shelf, NUM)
    assert chosen.propensities is not None
    assert chosen.propensities.tolist() == [1.0] * NUM
    assert not chosen.is_explored.any()


@pytest.mark.parametrize(
    "wrong", [{"diversity": 1.0}, {"max_per_category": 0}, {"explore": 0.6}, {"mmr": 0.5}]
)
def test_options_out_of_bounds_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        SlateOptions.model_validate(wrong)


def test_a_catalogue_tells_who_is_of_what_category() -> None:
    """Also of items without any, of one asked for twice and of one that was changed."""
    listed = [["film", "art"], None, [], ["music"], ["art"]]
    catalogue = Catalogue(
        pa.table(
            {
                "item_id": list("abcde"),
                "title": list("ABCDE"),
                "category": ["film", None, None, "music", "art"],
                "categories": pa.array(listed, pa.list_(pa.string())),
                "available_at_us": [0] * 5,
            }
        )
    )
    asked = np.array([4, 1, 0, 4, 2])
    assert catalogue.memberships(asked).tolist() == [[1, 0], [0, 0], [1, 1], [1, 0], [0, 0]]
    assert catalogue.memberships(np.array([1, 2])).shape == (2, 0)
    catalogue.change(4, {"categories": ["travel", "film"]})
    catalogue.change(0, {"categories": []})
    expected = [[1, 1], [0, 0], [0, 0], [1, 1], [0, 0]]  # film, travel
    assert catalogue.memberships(asked).tolist() == expected
