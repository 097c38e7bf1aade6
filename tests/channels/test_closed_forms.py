"""Each channel against its definition, computed the slow and obvious way on dense matrices."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.channels.conftest import EVERYTHING, random_sources
from tests.evaluation.conftest import random_events
from training import linear_items
from training.baselines import DAY_US, EASE, training_matrix
from training.events import Events
from training.item_ridge import ItemRidge, ItemRidgeOptions
from training.profiles import FriendsTaste, Popularity, TermProfile, Trending
from training.queries import Queries, build_queries
from training.sources import Sources
from training.text_link import TextLink, TextLinkOptions
from training.transitions import TransitionOptions, Transitions
from training.user_ridge import UserRidge, UserRidgeOptions

Dense = NDArray[np.float64]


def everything(queries: Queries) -> NDArray[np.int64]:
    return np.arange(len(queries))


def taken(events: Events) -> Dense:
    return training_matrix(events).toarray().astype(np.float64)


def strengths(events: Events, sources: Sources) -> Dense:
    known = (
        sources.strength_UI.toarray() if sources.strength_UI is not None else 0.0 * taken(events)
    )
    return np.where(known > 0, known, taken(events))


def histories(queries: Queries) -> Dense:
    dense = np.zeros((len(queries), queries.num_items))
    for q in range(len(queries)):
        dense[q, queries.history.row(q)] = 1.0
    return dense


def strong_histories(queries: Queries, sources: Sources) -> Dense:
    assert sources.strength_UI is not None
    known = sources.strength_UI.toarray()[queries.user_index]
    dense = histories(queries)
    return np.where((dense > 0) & (known > 0), known, dense)


def sequence(events: Events, user: int) -> list[int]:
    rows = events.take_ups()
    mine = rows[(events.user_index[rows] == user) & (events.at_us[rows] < events.train_end_us)]
    return events.item_index[mine].tolist()


def cosine(left: Dense, right: Dense) -> Dense:
    def unit(rows: Dense) -> Dense:
        length = np.linalg.norm(rows, axis=1, keepdims=True)
        return rows / np.where(length > 0, length, 1.0)

    return unit(left) @ unit(right).T


def weighted_terms(sources: Sources) -> Dense:
    """Unit term vectors of items, rare terms counting more."""
    assert sources.terms_IG is not None
    terms = sources.terms_IG.toarray()
    weighted = terms * np.log(len(terms) / np.maximum((terms > 0).sum(0), 1))
    length = np.linalg.norm(weighted, axis=1, keepdims=True)
    return weighted / np.where(length > 0, length, 1.0)


def test_user_ridge_solves_its_problem_for_every_query(
    events: Events, sources: Sources, queries: Queries
) -> None:
    options = UserRidgeOptions(
        regularisation=3.0, item_power=0.3, term_gain=2.0, circle_gain=1.5, friend_prior=0.1
    )
    found = UserRidge(events, sources, options).score(queries, everything(queries))
    assert sources.friends_UU is not None
    binary, strong = taken(events), strengths(events, sources)
    weight = np.maximum(binary.sum(0), 1.0) ** -0.3
    friends = sources.friends_UU.toarray()
    circles, terms = friends + np.eye(len(friends)), weighted_terms(sources)
    history, own = histories(queries), strong_histories(queries, sources)
    for q, user in enumerate(queries.user_index):
        # A user's own row is left out before anything is solved: the zero on the diagonal.
        others = np.flatnonzero((binary.sum(1) > 0) & (np.arange(len(binary)) != user))
        kernel = (
            (strong[others] * weight) @ strong[others].T
            + 2.0 * cosine(binary[others] @ terms, binary[others] @ terms)
            + 1.5 * cosine(circles[others], circles[others])
        )
        resembles = (
            (own[q] * weight) @ strong[others].T
            + 2.0 * cosine(history[[q]] @ terms, binary[others] @ terms)[0]
            + 1.5 * cosine(circles[[user]], circles[others])[0]
        )
        right = resembles + 3.0 * 0.1 * friends[user, others]
        weights = np.linalg.solve(kernel + 3.0 * np.eye(len(others)), right)
        np.testing.assert_allclose(found[q], weights @ strong[others], atol=1e-5)


def test_user_ridge_without_sources_is_the_plain_one(events: Events, queries: Queries) -> None:
    options = UserRidgeOptions(regularisation=2.0, item_power=0.0)
    found = UserRidge(events, Sources(), options).score(queries, everything(queries))
    binary, history = taken(events), histories(queries)
    q, user = 0, queries.user_index[0]
    others = np.arange(len(binary)) != user
    kernel = binary[others] @ binary[others].T + 2.0 * np.eye(others.sum())
    expected = np.linalg.solve(kernel, binary[others] @ history[q]) @ binary[others]
    np.testing.assert_allclose(found[q], expected, atol=1e-5)


@pytest.mark.parametrize(("users", "items"), [(30, 12), (10, 40)])
def test_item_ridge_is_ease_on_scaled_strengths(users: int, items: int) -> None:
    events = random_events(5, users=users, items=items, events=400)
    sources, queries = random_sources(events), build_queries(events, "test", EVERYTHING)
    options = ItemRidgeOptions(regularisation=4.0, item_power=0.3)
    found = ItemRidge(events, sources, options).score(queries, everything(queries))
    scale = np.maximum(taken(events).sum(0), 1.0) ** -0.3
    scaled, asked = strengths(events, sources) * scale, strong_histories(queries, sources) * scale
    asked *= taken(events).any(0)
    for item in range(items):
        others = np.arange(items) != item  # each item's own regression on all others
        gram = scaled[:, others].T @ scaled[:, others] + 4.0 * np.eye(items - 1)
        weights = np.linalg.solve(gram, scaled[:, others].T @ scaled[:, item])
        np.testing.assert_allclose(found[:, item], asked[:, others] @ weights, atol=1e-5)


def test_item_ridge_without_strengths_and_scaling_is_ease(events: Events, queries: Queries) -> None:
    options = ItemRidgeOptions(regularisation=5.0, item_power=0.0)
    found = ItemRidge(events, Sources(), options).score(queries, everything(queries))
    expected = EASE(events, regularisation=5.0).score(queries, everything(queries))
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_transitions_count_pairs_by_distance_and_direction(
    events: Events, queries: Queries
) -> None:
    options = TransitionOptions(
        distance_decay=0.7, backwards=0.4, history_decay=0.5, from_power=0.5, to_power=0.2, window=4
    )
    items = queries.num_items
    counts = np.zeros((items, items))
    for user in range(len(events.user_ids)):
        walk = sequence(events, user)
        for first in range(len(walk)):
            for second in range(first + 1, min(first + 5, len(walk))):
                weight = 0.7 ** (second - first - 1)
                counts[walk[first], walk[second]] += weight
                counts[walk[second], walk[first]] += 0.4 * weight
    users = np.maximum(taken(events).sum(0), 1.0)
    counts = counts / users[:, None] ** 0.5 / users[None, :] ** 0.2
    found = Transitions(events, options).score(queries, everything(queries))
    for q in range(len(queries)):
        walk = queries.history.row(q)
        expected = sum(0.5**back * counts[item] for back, item in enumerate(walk[::-1]))
        np.testing.assert_allclose(found[q], expected, rtol=1e-4, atol=1e-5)


def test_text_link_is_canonical_correlation(
    events: Events, sources: Sources, queries: Queries
) -> None:
    options = TextLinkOptions(history_decay=0.6, ridge=0.05, correlation_power=0.5)
    assert sources.vectors_ID is not None
    centred = (sources.vectors_ID - sources.vectors_ID.mean(0)).astype(np.float64)

    def mean_vector(walk: list[int]) -> Dense:
        decay = 0.6 ** np.arange(len(walk))[::-1]
        return (decay @ centred[walk]) / decay.sum()

    past, following = [], []
    for user in range(len(events.user_ids)):
        walk = sequence(events, user)
        for place in range(1, len(walk)):
            past.append(mean_vector(walk[max(0, place - 20) : place]))
            following.append(centred[walk[place]])
    x, y = np.array(past) - np.mean(past, 0), np.array(following) - np.mean(following, 0)

    def inverse_root(matrix: Dense) -> Dense:
        values, axes = np.linalg.eigh(matrix / len(x) + 0.05 * np.eye(len(matrix)))
        return axes @ np.diag(values**-0.5) @ axes.T

    left, middle, right = np.linalg.svd(
        inverse_root(x.T @ x) @ (x.T @ y / len(x)) @ inverse_root(y.T @ y)
    )
    ask, answer = (
        inverse_root(x.T @ x) @ left @ np.diag(middle**0.5),
        inverse_root(y.T @ y) @ right.T,
    )
    answers = centred @ answer
    answers /= np.linalg.norm(answers, axis=1, keepdims=True)
    found = TextLink(events, sources, options).score(queries, everything(queries))
    for q in range(len(queries)):
        expected = mean_vector(queries.history.row(q).tolist()) @ ask @ answers.T
        np.testing.assert_allclose(found[q], expected, atol=1e-4)


def test_text_link_finds_the_direction_that_people_take() -> None:
    # Everybody goes from an item of the first kind to one of the second: no title says so.
    events = random_events(0, users=60, items=20, events=120)
    user = np.repeat(np.arange(60), 2)
    item = np.stack([np.arange(60) % 10, 10 + np.arange(60) % 10], axis=1).ravel()
    at_us = np.tile([0, 1], 60)
    order = np.argsort(at_us, kind="stable")
    events = replace(
        events,
        user_index=user[order],
        item_index=item[order],
        at_us=at_us[order],
        is_positive=np.ones(120, dtype=bool),
        train_end_us=2,
        validation_end_us=2,
    )
    vectors = np.random.default_rng(0).normal(size=(20, 8)).astype(np.float32)
    channel = TextLink(events, Sources(vectors_ID=vectors), TextLinkOptions(ridge=1e-3))
    best = (channel.asks_ID[:10] @ channel.answers_ID.T).argmax(axis=1)
    assert (best == np.arange(10, 20)).mean() >= 0.8


def test_one_source_channels(events: Events, sources: Sources, queries: Queries) -> None:
    rows, strong = everything(queries), strengths(events, sources)
    assert sources.friends_UU is not None
    friends = sources.friends_UU.toarray()[queries.user_index] @ strong
    np.testing.assert_allclose(
        FriendsTaste(events, sources).score(queries, rows), friends, rtol=1e-5
    )
    popular = np.log1p(taken(events).sum(0))
    np.testing.assert_allclose(Popularity(events).score(queries, rows)[3], popular, rtol=1e-5)
    terms = weighted_terms(sources)
    decayed = np.zeros((len(queries), queries.num_items))
    for q in range(len(queries)):
        for back, item in enumerate(queries.history.row(q)[::-1]):
            decayed[q, item] += 0.5**back
    expected = cosine(decayed @ terms, terms)
    found = TermProfile(sources, decay=0.5).score(queries, rows)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_trending_decays_and_stays_finite(events: Events, queries: Queries) -> None:
    found = Trending(half_life_days=7.0).score(queries, everything(queries))
    for q in range(len(queries)):
        rows = events.is_positive & (events.at_us < queries.at_us[q])
        weight = 2.0 ** (-(queries.at_us[q] - events.at_us[rows]) / (7.0 * DAY_US))
        count = np.bincount(events.item_index[rows], weight, minlength=queries.num_items)
        np.testing.assert_allclose(found[q], np.log2(1.0 + count), atol=1e-5)


def test_a_side_that_does_not_fit_is_refused(
    events: Events, sources: Sources, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(linear_items, "LARGEST_SIDE", 5)
    with pytest.raises(ValueError, match="at most 5"):
        UserRidge(events, sources)
    with pytest.raises(ValueError, match="at most 5"):
        ItemRidge(events, sources)


def test_a_channel_without_its_source_says_so(events: Events) -> None:
    for fit in (
        lambda: FriendsTaste(events, Sources()),
        lambda: TermProfile(Sources()),
        lambda: TextLink(events, Sources()),
    ):
        with pytest.raises(ValueError, match="leave out"):
            fit()
