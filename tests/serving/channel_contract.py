"""What every channel owes. The test of a new channel is a class of three lines:

class TestSeasonal(ChannelContract):
    def make(self, ranker: SlateRanker) -> Channel:
        return SeasonalChannel()
"""

import dataclasses

import numpy as np
import pytest

from serving.channels import NOTHING, Channel, Question
from serving.filters import none_of
from serving.ranker import SlateRanker
from serving.users import User
from tests.serving.askers import ask

EVERYTHING = 10_000


class ChannelContract:
    speaks_to_strangers = False
    """Whether the channel has something to say when nothing is known of the user."""
    categories: tuple[str, ...] = ()
    """What the request says is liked."""

    def make(self, ranker: SlateRanker) -> Channel:
        raise NotImplementedError

    @pytest.fixture
    def channel(self, ranker: SlateRanker) -> Channel:
        return self.make(ranker)

    @pytest.fixture
    def questions(self, ranker: SlateRanker, regulars: list[User]) -> list[Question]:
        """Each regular asks among all items, and among a half of them."""
        half = np.flatnonzero(np.random.default_rng(7).random(len(ranker.snapshot)) < 0.5)
        return [
            ask(ranker, user, listed, self.categories)
            for user in regulars
            for listed in (None, half)
        ]

    def test_it_has_a_name(self, channel: Channel) -> None:
        assert channel.name.isidentifier()

    def test_it_knows_something_for_somebody(
        self, channel: Channel, questions: list[Question]
    ) -> None:
        assert any(len(channel.candidates(question, EVERYTHING)) for question in questions)

    def test_only_allowed_items_each_once(
        self, channel: Channel, questions: list[Question]
    ) -> None:
        for question in questions:
            found = channel.candidates(question, EVERYTHING)
            assert question.allowed.of(found).all()
            assert len(np.unique(found)) == len(found)

    def test_nothing_where_nothing_is_allowed(
        self, channel: Channel, ranker: SlateRanker, regulars: list[User]
    ) -> None:
        question = ask(ranker, regulars[0], NOTHING, self.categories)
        assert len(channel.candidates(question, EVERYTHING)) == 0

    @pytest.mark.parametrize("limit", [1, 3, 10])
    def test_a_shorter_list_is_the_head_of_the_longer(
        self, channel: Channel, questions: list[Question], limit: int
    ) -> None:
        """So it is best first, at most `limit` long, and the same each time."""
        for question in questions:
            everything = channel.candidates(question, EVERYTHING)
            assert channel.candidates(question, limit).tolist() == everything[:limit].tolist()

    def test_forbidding_the_best_moves_the_rest_up(
        self, channel: Channel, questions: list[Question]
    ) -> None:
        for question in questions:
            before = channel.candidates(question, EVERYTHING).tolist()
            if before:
                allowed = question.allowed.and_by(none_of(np.array(before[:1])))
                asked = dataclasses.replace(question, allowed=allowed)
                assert set(channel.candidates(asked, EVERYTHING)) == set(before[1:])

    def test_a_stranger(self, channel: Channel, ranker: SlateRanker, stranger: User) -> None:
        found = channel.candidates(ask(ranker, stranger), EVERYTHING)
        assert bool(len(found)) is self.speaks_to_strangers
