"""The blend: its loss against differences, planted weights, and what it refuses."""

import numpy as np
import pytest
import scipy.optimize
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from training.baselines import Ints, Scores
from training.blend import Blend, BlendOptions, Head, learn_blend, loss_and_gradient, standardised
from training.queries import Queries
from training.ranking import hits, top_items


class Told:
    """Scores the items to be found of a share of the queries above others, and adds noise."""

    def __init__(self, name: str, queries: Queries, share: slice, noise: float, seed: int) -> None:
        self.name = name
        rng = np.random.default_rng(seed)
        truth = np.zeros((len(queries), queries.num_items))
        truth[queries.relevant.flat(np.arange(len(queries)))] = 1.0
        self.scores = noise * rng.normal(size=truth.shape)
        self.scores[share] += truth[share]

    def score(self, queries: Queries, rows: Ints) -> Scores:
        return self.scores[rows].astype(np.float32)


def share_found(scorer: Blend | Told, queries: Queries) -> float:
    return float(hits(top_items(scorer, queries, 2), queries.relevant, queries.num_items).sum())


def test_what_helps_weighs_and_noise_does_not(queries: Queries) -> None:
    helps = Told("helps", queries, slice(None), 0.5, seed=0)
    noise = Told("noise", queries, slice(0), 1.0, seed=1)
    weights = learn_blend([noise, helps], queries, BlendOptions(head=8)).by_channel()
    assert weights["helps"] > 5 * abs(weights["noise"])


def test_channels_that_know_different_things_are_better_together(queries: Queries) -> None:
    evens = Told("evens", queries, slice(0, None, 2), 0.4, seed=0)
    odds = Told("odds", queries, slice(1, None, 2), 0.4, seed=1)
    blend = learn_blend([evens, odds], queries, BlendOptions(head=8))
    alone = max(share_found(evens, queries), share_found(odds, queries))
    assert share_found(blend, queries) > 1.1 * alone


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), penalty=st.sampled_from([0.0, 0.1]))
def test_the_gradient_is_that_of_the_loss(seed: int, penalty: float) -> None:
    rng = np.random.default_rng(seed)
    kind = rng.integers(0, 3, (5, 6))  # to be found, other, no candidate
    kind[:, 0], kind[:, 1] = 0, 1
    head = Head(rng.normal(size=(5, 6, 3)), kind == 0, kind == 1, rng.integers(0, 2, 5))
    options = BlendOptions(steps=(4,), penalty=penalty, band_penalty=2 * penalty, query_power=0.3)
    parameters = rng.normal(size=9)  # shared, and two bands' deviations

    def loss(at: NDArray[np.float64]) -> float:
        return loss_and_gradient(at, head, options)[0]

    gradient = loss_and_gradient(parameters, head, options)[1]
    expected = scipy.optimize.approx_fprime(parameters, loss, 1e-6)
    np.testing.assert_allclose(gradient, expected, atol=1e-4)


def test_the_loss_is_the_softmax_of_each_found_item_against_the_others() -> None:
    scores = np.array([[2.0, 1.0, 0.5, 9.0]])
    head = Head(
        scores[..., None],
        np.array([[True, True, False, False]]),
        np.array([[False, False, True, False]]),  # the last one is no candidate
        np.array([0]),
    )
    expected = np.mean([np.log1p(np.exp(0.5 - 2.0)), np.log1p(np.exp(0.5 - 1.0))])
    options = BlendOptions(penalty=0.0, band_penalty=0.0, steps=())
    assert loss_and_gradient(np.array([0.25, 0.75]), head, options)[0] == pytest.approx(expected)


def test_the_score_is_the_weighted_sum(queries: Queries) -> None:
    one, other = (Told(str(n), queries, slice(None), 1.0, seed=n) for n in (0, 1))
    blend, rows = Blend([one, other], np.array([0.25, -2.0])), np.arange(len(queries))
    expected = 0.25 * standardised(one.score(queries, rows)) - 2 * standardised(
        other.score(queries, rows)
    )
    np.testing.assert_allclose(blend.score(queries, rows), expected, atol=1e-5)


def test_items_of_a_query_that_finds_much_count_less() -> None:
    found = np.array([[True, False, False, False, False], [True, True, True, True, False]])
    scores = np.array([[1.0, 0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0, 0.5]])
    head = Head(scores[..., None], found, ~found, np.array([0, 0]))
    options = BlendOptions(penalty=0.0, band_penalty=0.0, steps=(), query_power=0.5)
    first, second = np.log1p(4 * np.exp(-1.0)), np.log1p(np.exp(0.5))
    expected = (first + 4 * 4**-0.5 * second) / (1 + 4 * 4**-0.5)
    assert loss_and_gradient(np.array([1.0, 0.0]), head, options)[0] == pytest.approx(expected)


def test_weights_are_carried_over_to_channels_fitted_again(queries: Queries) -> None:
    old, new = (Told("one", queries, slice(None), 1.0, seed=n) for n in (0, 1))
    blend = Blend([old], np.array([[1.0], [3.0]]), name="ours", steps=(5,)).over([new])
    assert blend.weights_of(np.array([4, 5])).tolist() == [[1.0], [3.0]]
    assert (blend.name, blend.channels) == ("ours", [new])


def test_weights_follow_the_length_of_the_history(queries: Queries) -> None:
    step = int(np.median(queries.history.lengths))
    is_known = queries.history.lengths >= step
    known, new = np.flatnonzero(is_known), np.flatnonzero(~is_known)
    assert min(len(known), len(new)) > 3
    for_new, for_known = (Told(str(n), queries, slice(0), 0.5, seed=n) for n in (0, 1))
    for channel, rows in ((for_new, new), (for_known, known)):
        place, item = queries.relevant.flat(rows)
        channel.scores[rows[place], item] += 1.0
    options = BlendOptions(head=8, steps=(step,), band_penalty=1e-3)
    blend = learn_blend([for_new, for_known], queries, options)
    weights = blend.weights_of(np.array([0, step - 1, step, 900]))
    assert (weights[:2, 0] > weights[:2, 1]).all()
    assert (weights[2:, 1] > weights[2:, 0]).all()
    everybody = learn_blend([for_new, for_known], queries, BlendOptions(head=8, steps=()))
    assert share_found(blend, queries) > share_found(everybody, queries)
    rows = np.arange(len(queries))
    expected = np.einsum(
        "bk,kbi->bi",
        blend.weights_of(queries.history.lengths),
        np.stack([standardised(one.score(queries, rows)) for one in blend.channels]),
    )
    np.testing.assert_allclose(blend.score(queries, rows), expected, atol=1e-4)


def test_a_band_without_queries_shares_the_weights_of_all(queries: Queries) -> None:
    channels = [Told(str(n), queries, slice(n, None, 2), 0.4, seed=n) for n in (0, 1)]
    blend = learn_blend(channels, queries, BlendOptions(head=8, steps=(10_000,)))
    same = learn_blend(channels, queries, BlendOptions(head=8, steps=()))
    np.testing.assert_allclose(blend.weights_of(np.array([0])), same.weights[None], rtol=1e-2)
    np.testing.assert_allclose(blend.weights_of(np.array([10_000])), same.weights[None], rtol=0.3)


def test_equal_scores_say_nothing() -> None:
    assert not standardised(np.full((2, 3), 7.0, dtype=np.float32)).any()


def test_a_drawn_part_of_the_queries_gives_the_same_weights_again(queries: Queries) -> None:
    channels = [Told(str(n), queries, slice(n, None, 2), 0.4, seed=n) for n in (0, 1)]
    options = BlendOptions(head=8, max_queries=len(queries) // 2, seed=3)
    first, again = (learn_blend(channels, queries, options) for _ in range(2))
    np.testing.assert_array_equal(first.weights, again.weights)


def test_nothing_to_learn_from_is_an_error(queries: Queries) -> None:
    blind = Told("blind", queries, slice(0), 0.0, seed=0)
    blind.scores[queries.relevant.flat(np.arange(len(queries)))] = -1.0
    with pytest.raises(ValueError, match="blind"):
        learn_blend([blind], queries, BlendOptions(head=2))


def test_weights_belong_to_channels(queries: Queries) -> None:
    one = [Told("one", queries, slice(None), 1.0, 0)]
    with pytest.raises(ValueError, match="1 channels"):
        Blend(one, np.ones(2))
    with pytest.raises(ValueError, match="2 rows"):
        Blend(one, np.ones((1, 1)), steps=(5,))


def test_weights_are_at_least_zero_where_that_is_asked(queries: Queries) -> None:
    helps = Told("helps", queries, slice(None), 0.5, seed=0)
    against = Told("against", queries, slice(None), 0.5, seed=1)
    against.scores = -against.scores
    free, held = (
        learn_blend([helps, against], queries, BlendOptions(head=8, steps=(), at_least_zero=asked))
        for asked in (False, True)
    )
    assert free.by_channel()["against"] < 0 == held.by_channel()["against"]
    assert held.by_channel()["helps"] > 0
    with pytest.raises(ValueError, match="give no steps"):
        BlendOptions(at_least_zero=True, steps=(3,))
