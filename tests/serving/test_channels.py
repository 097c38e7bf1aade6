"""Every channel keeps the contract, and each brings what its name says."""

import dataclasses

import numpy as np
import pytest
import torch
from feast import FeatureStore
from hypothesis import given
from hypothesis import strategies as st

from serving.api import RecommendRequest
from serving.channels import (
    NEW_DAYS,
    NOTHING,
    CategoryChannel,
    Channel,
    ContentChannel,
    FriendsChannel,
    ItemToItemChannel,
    NewItemsChannel,
    SaidChannel,
    TrendingChannel,
    TwoTowerChannel,
    gather,
    make_channels,
    merged,
)
from serving.index import by_score
from serving.quotas import CHANNELS, Quotas, read_quotas
from serving.ranker import SlateRanker
from serving.snapshot import Positions
from serving.users import User
from tests.serving.askers import REGULARS, ask, ask_user
from tests.serving.channel_contract import EVERYTHING, ChannelContract
from tests.serving.stopped import StoppedClock
from training.bundle import Bundle
from training.config import ModelConfig
from training.model import FusionModel
from training.served import Served

DAY_US = 86_400_000_000


class TestItemToItem(ChannelContract):
    def make(self, ranker: SlateRanker) -> Channel:
        return ItemToItemChannel()


class TestSaid(ChannelContract):
    def make(self, ranker: SlateRanker) -> Channel:
        return SaidChannel(ranker.voices.names.index("item-ridge"), "item-ridge")


class TestFriends(ChannelContract):
    def make(self, ranker: SlateRanker) -> Channel:
        return FriendsChannel()


class TestContent(ChannelContract):
    def make(self, ranker: SlateRanker) -> Channel:
        return ContentChannel(ranker.snapshot)


class TestNewItems(ChannelContract):
    def make(self, ranker: SlateRanker) -> Channel:
        return NewItemsChannel(ranker.snapshot, ranker.clock.now_us())


class TestTrending(ChannelContract):
    speaks_to_strangers = True

    def make(self, ranker: SlateRanker) -> Channel:
        return TrendingChannel()

    def test_it_never_runs_out(self, channel: Channel, ranker: SlateRanker, stranger: User) -> None:
        found = channel.candidates(ask(ranker, stranger), EVERYTHING).tolist()
        assert sorted(found) == list(range(len(ranker.snapshot)))
        assert found[-1] == ranker.snapshot.position["i0000014"]  # nobody took it up


class TestCategory(ChannelContract):
    categories = ("music", "art", "food")

    def make(self, ranker: SlateRanker) -> Channel:
        return CategoryChannel()


class TestTwoTower(ChannelContract):
    def make(self, ranker: SlateRanker) -> Channel:
        return TwoTowerChannel(ranker.snapshot, ranker.clock.now_us())

    @pytest.fixture
    def ranker(self, loaded: Bundle, store: FeatureStore) -> SlateRanker:
        """The same world with a model that has two towers; untrained, for order is order."""
        return SlateRanker(siamese(loaded), store, StoppedClock(loaded.as_of))

    @pytest.fixture
    def regulars(self, ranker: SlateRanker) -> list[User]:
        return [ask_user(ranker, user_id) for user_id in REGULARS]

    @pytest.fixture
    def stranger(self, ranker: SlateRanker) -> User:
        return ask_user(ranker, "nobody")

    def test_its_order_is_the_order_of_the_models_scores(
        self, channel: Channel, ranker: SlateRanker, regulars: list[User]
    ) -> None:
        at_us, snapshot = ranker.clock.now_us(), ranker.snapshot
        items = snapshot.tokens(np.arange(len(snapshot)), at_us)
        with torch.inference_mode():
            scores = snapshot.bundle.model.score(regulars[0].tokens, items)[0].numpy()
        found = channel.candidates(ask(ranker, regulars[0]), EVERYTHING)
        assert len(found) == len(snapshot)
        assert (np.diff(scores[found]) < 1e-5).all()

    def test_a_siamese_bundle_has_the_channel(self, ranker: SlateRanker) -> None:
        names = [c.name for c in make_channels(ranker.snapshot, ranker.clock.now_us())]
        assert names[0] == "two_tower"


def siamese(bundle: Bundle) -> Bundle:
    torch.manual_seed(0)
    config = ModelConfig(fusion="siamese", width=16)
    model = FusionModel(bundle.schema, bundle.encoder.vocabulary_sizes, config).eval()
    return dataclasses.replace(bundle, model=model)


def test_a_bundle_without_towers_has_no_channel_of_them(ranker: SlateRanker) -> None:
    names = [channel.name for channel in make_channels(ranker.snapshot, ranker.clock.now_us())]
    said = ["item_ridge", "user_ridge", "transitions", "text_link", "terms"]
    assert names == [*said, "friends", "new", "category", "trending"]


def test_a_bundle_without_channels_of_the_score_has_others_in_their_place(
    ranker: SlateRanker, loaded: Bundle, store: FeatureStore
) -> None:
    alone = Served(loaded.served.weights_NK[:, :1], loaded.served.steps, ())
    bundle = dataclasses.replace(loaded, served=alone)
    plain = SlateRanker(bundle, store, StoppedClock(loaded.as_of))
    names = [channel.name for channel in make_channels(plain.snapshot, plain.clock.now_us())]
    assert names == ["item_to_item", "friends", "content", "new", "category", "trending"]
    assert len(plain.recommend(RecommendRequest(user_id=REGULARS[0])).items) == 10


def test_the_best_are_the_highest_positive_ones_and_ties_go_to_the_first() -> None:
    order = by_score(np.arange(6), np.array([0.5, 2.0, 0.0, 2.0, -1.0, 3.0]))
    assert order(10).tolist() == [5, 1, 3, 0]
    assert order(2).tolist() == [5, 1]


def test_item_to_item_adds_up_the_similarities_to_the_history(
    ranker: SlateRanker, stranger: User
) -> None:
    ids = ranker.snapshot.item_ids
    history = (ids[3], "gone from the catalogue", ids[8])
    user = dataclasses.replace(stranger, history=history, taken_at_us=(None, None, None))
    neighbours = ranker.snapshot.bundle.neighbours
    expected = np.zeros(len(ids))
    for seed in (3, 8):
        for item, score in zip(neighbours.ids[seed], neighbours.scores[seed], strict=True):
            if item >= 0:
                expected[item] += score
    found = ItemToItemChannel().candidates(ask(ranker, user), EVERYTHING)
    assert set(found) == set(np.flatnonzero(expected))
    assert (np.diff(expected[found]) <= 1e-6).all()


def test_friends_bring_first_what_most_of_them_took_up(ranker: SlateRanker, stranger: User) -> None:
    ids = ranker.snapshot.item_ids
    counts = {ids[9]: 1, ids[2]: 3, "gone": 9, ids[5]: 1, ids[7]: 3}
    user = dataclasses.replace(stranger, others={"social": counts})
    found = FriendsChannel().candidates(ask(ranker, user), EVERYTHING)
    assert found.tolist() == [2, 7, 9, 5]  # equal counts: the newer first


def test_content_brings_first_what_reads_most_alike(ranker: SlateRanker, stranger: User) -> None:
    vectors, ids = ranker.snapshot.vectors, ranker.snapshot.item_ids
    assert vectors is not None
    user = dataclasses.replace(stranger, history=(ids[4],), taken_at_us=(None,))
    found = ContentChannel(ranker.snapshot).candidates(ask(ranker, user), 5)
    assert found[0] == 4  # nothing is more like it than itself; filters take it out
    likeness = vectors @ vectors[4]
    assert likeness[found].tolist() == sorted(likeness, reverse=True)[:5]


def test_new_items_are_young_or_untouched(ranker: SlateRanker, regulars: list[User]) -> None:
    snapshot, at_us = ranker.snapshot, ranker.clock.now_us()
    found = NewItemsChannel(ranker.snapshot, ranker.clock.now_us()).candidates(
        ask(ranker, regulars[0]), EVERYTHING
    )
    young = snapshot.available_at_us > at_us - NEW_DAYS * DAY_US
    assert set(found) <= set(np.flatnonzero(young))
    assert snapshot.position["i0000014"] in found  # young, and the only one never taken up
    aged = dataclasses.replace(snapshot, available_at_us=snapshot.available_at_us - 365 * DAY_US)
    question = dataclasses.replace(ask(ranker, regulars[0]), snapshot=aged)
    channel = NewItemsChannel(aged, at_us)
    assert channel.candidates(question, EVERYTHING).tolist() == [14]


def test_a_category_brings_its_own_items_only(ranker: SlateRanker, stranger: User) -> None:
    question = ask(ranker, stranger, categories=("music",))
    found = CategoryChannel().candidates(question, EVERYTHING)
    assert set(found) == {
        i for i, names in enumerate(ranker.snapshot.categories) if "music" in names
    }


def test_session_items_are_enough_for_personal_channels(ranker: SlateRanker) -> None:
    newcomer = ask_user(ranker, "nobody", "i0000003")
    assert not newcomer.known
    assert len(ContentChannel(ranker.snapshot).candidates(ask(ranker, newcomer), 5)) == 5


class ListedChannel:
    """Proposes a list, whatever is asked."""

    def __init__(self, name: str, *positions: int) -> None:
        self.name, self._positions = name, np.array(positions)

    def candidates(self, question: object, limit: int) -> Positions:
        return self._positions[:limit]


def test_a_candidate_is_kept_once_under_the_channel_that_ranked_it_highest(
    ranker: SlateRanker, stranger: User
) -> None:
    channels = [ListedChannel("a", 1, 2, 3), ListedChannel("b", 2, 4), ListedChannel("c", 5, 4)]
    positions, names = gather(channels, ask(ranker, stranger), Quotas(3))
    assert dict(zip(positions.tolist(), names, strict=True)) == {
        1: "a",
        2: "b",
        3: "a",
        4: "b",  # second in both: the earlier channel
        5: "c",
    }


LISTS = st.lists(st.lists(st.integers(0, 12), max_size=8, unique=True), max_size=5)


@given(lists=LISTS, num_kept=st.none() | st.integers(0, 14))
def test_lists_are_merged_as_one_would_by_hand(
    lists: list[list[int]], num_kept: int | None
) -> None:
    best: dict[int, tuple[int, int]] = {}  # position: place and list, in the order of meeting
    for number, own in enumerate(lists, start=1):
        for place, position in enumerate(own):
            if position not in best or place < best[position][0]:
                best[position] = (place, number)
    kept = list(best.items())
    if num_kept is not None and len(kept) > num_kept:
        kept = sorted(kept, key=lambda one: one[1][0])[:num_kept]
    found = merged([NOTHING, *(np.array(own, np.int64) for own in lists)], num_kept)
    assert [own.tolist() for own in found] == [
        [position for position, _ in kept],
        [number for _, (_, number) in kept],
    ]


def test_quotas_are_by_channel_and_together(ranker: SlateRanker, stranger: User) -> None:
    channels = [ListedChannel("a", 1, 2, 3), ListedChannel("b", 4, 5, 6), ListedChannel("c", 7)]
    question = ask(ranker, stranger)
    positions, _ = gather(channels, question, Quotas(2, {"b": 3, "c": 0}))
    assert positions.tolist() == [1, 2, 4, 5, 6]
    positions, names = gather(channels, question, Quotas(3, together=4))
    assert positions.tolist() == [1, 4, 7, 2]
    assert names == ["a", "b", "c", "a"]


def test_quotas_name_channels_that_there_are(ranker: SlateRanker) -> None:
    made = {channel.name for channel in make_channels(ranker.snapshot, ranker.clock.now_us())}
    assert made <= set(CHANNELS)
    assert read_quotas("trending:200,friends:0") == {"trending": 200, "friends": 0}
    for wrong in ("trendy:5", "trending", "trending:-1"):
        with pytest.raises(ValueError, match=r"trending:200 \(channels: two_tower"):
            read_quotas(wrong)


def test_no_channel_no_candidate(ranker: SlateRanker, stranger: User) -> None:
    positions, names = gather([TrendingChannel()], ask(ranker, stranger, NOTHING), Quotas(3))
    assert len(positions) == 0
    assert names == []
