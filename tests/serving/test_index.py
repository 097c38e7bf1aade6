"""Nearest items: exact below a size, nearly all of them above, and filters are asked first."""

import numpy as np
import pytest

from serving import index as module
from serving.filters import Allowed, none_but, none_of
from serving.index import NearestItems, by_score
from serving.snapshot import Positions

NUM_ITEMS, WIDTH, LIMIT = 4_000, 16, 50
RNG = np.random.default_rng(11)
CENTRES = RNG.standard_normal((40, WIDTH))
DRAWN = CENTRES[RNG.integers(0, 40, NUM_ITEMS)] + 0.4 * RNG.standard_normal((NUM_ITEMS, WIDTH))
VECTORS = (DRAWN / np.linalg.norm(DRAWN, axis=1, keepdims=True)).astype(np.float32)
ASKED = VECTORS[:20] + VECTORS[20:40]


@pytest.fixture(scope="module")
def approximate() -> NearestItems:
    return NearestItems(VECTORS, exact_below=0)


def nearest(asked: np.ndarray, positions: Positions) -> list[int]:
    scores = VECTORS[positions] @ asked
    found: list[int] = positions[np.argsort(-scores, kind="stable")].tolist()
    return found


def test_a_small_index_is_exact() -> None:
    order = NearestItems(VECTORS).ordered(ASKED[0])
    assert order(LIMIT).tolist() == nearest(ASKED[0], np.arange(NUM_ITEMS))[:LIMIT]
    assert len(order(10 * NUM_ITEMS)) == NUM_ITEMS


def test_a_large_index_finds_nearly_all_of_the_nearest_in_their_order(
    approximate: NearestItems, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PROBES", 16)
    shares = []
    for asked in ASKED:
        found = approximate.ordered(asked)(LIMIT)
        assert (np.diff(VECTORS[found] @ asked) <= 0).all()
        expected = nearest(asked, np.arange(NUM_ITEMS))[:LIMIT]
        shares.append(len(set(expected) & set(found.tolist())) / LIMIT)
    assert np.mean(shares) > 0.95


def test_it_looks_at_a_part_of_the_vectors_only(
    approximate: NearestItems, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Work is counted: products worked out exactly are few for each item asked for."""
    looked_at = []
    monkeypatch.setattr(module, "PROBES", 16)
    monkeypatch.setattr(
        module,
        "by_score",
        lambda found, scores, above: looked_at.append(len(found)) or by_score(found, scores, above),
    )
    approximate.ordered(ASKED[0])(LIMIT)
    assert looked_at == [module.AMONG * LIMIT]


def test_an_index_of_some_items_finds_no_others() -> None:
    some = np.arange(0, NUM_ITEMS, 7)
    for built in (NearestItems(VECTORS, some), NearestItems(VECTORS, some, exact_below=0)):
        found = built.ordered(ASKED[1])(LIMIT)
        assert set(found) <= set(some)
        assert len(found) == LIMIT


def test_a_channel_that_loses_its_best_to_filters_goes_on(approximate: NearestItems) -> None:
    """Nine tenths of what is nearest may not be shown; as many come back as were asked for."""
    every = nearest(ASKED[2], np.arange(NUM_ITEMS))
    kept_out = np.sort(np.array([p for place, p in enumerate(every[:2_000]) if place % 10]))
    allowed = Allowed([none_of(kept_out)])
    found = allowed.first(approximate.ordered(ASKED[2]), LIMIT)
    assert len(found) == LIMIT
    assert not set(found) & set(kept_out)
    listed = Allowed([none_but(np.sort(np.array(every[-100:])))])
    assert set(listed.first(approximate.ordered(ASKED[2]), 100)) == set(every[-100:])


def test_scores_at_the_mark_are_left_out() -> None:
    asked = ASKED[3]
    everything = NearestItems(VECTORS).ordered(asked)(NUM_ITEMS)
    mark = float((VECTORS @ asked)[everything[9]])
    assert NearestItems(VECTORS).ordered(asked, mark)(LIMIT).tolist() == everything[:9].tolist()
    large = NearestItems(VECTORS, exact_below=0).ordered(asked, mark)(LIMIT)
    assert set(large) <= set(everything[:9].tolist())
