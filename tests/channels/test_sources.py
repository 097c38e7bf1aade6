"""Sources read from tables made by hand: what belongs to training is in them, and nothing else."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.channels.tables import link, play, tag, write_tables
from training.events import read_events
from training.protocols import untimed_events
from training.sources import read_sources, title_vectors
from training.split import RandomSplit


def test_strengths_are_relative_to_the_user_and_from_before_the_end(tmp_path: Path) -> None:
    plays = [
        play("u0", "i0", 9, 1),
        play("u0", "i1", 99, 2),
        play("u0", "i2", 9_999, 15),  # in the validation period
        play("u1", "i0", 5, 3),
        play("u0", "i0", 9_999),  # the snapshot's count, of later
    ]
    data = write_tables(tmp_path, plays)
    strength = read_sources(data, read_events(data)).strength_UI
    assert strength is not None
    expected = np.zeros((5, 4))
    expected[0, :2] = np.log([10.0, 100.0]) / np.log([10.0, 100.0]).mean()
    expected[1, 0] = 1.0
    np.testing.assert_allclose(strength.toarray(), expected)


def test_links_are_mutual_and_those_of_later_unknown(tmp_path: Path) -> None:
    edges = [link("u0", "u1"), link("u1", "u0"), link("u2", "u1"), link("u3", "u0", 12)]
    data = write_tables(tmp_path, [play("u0", "i0", 1, 1)], edges=[*edges, link("u4", "u4")])
    friends = read_sources(data, read_events(data)).friends_UU
    assert friends is not None
    expected = np.zeros((5, 5))
    expected[[0, 1, 1, 2], [1, 0, 2, 1]] = 1.0
    np.testing.assert_array_equal(friends.toarray(), expected)


def test_tags_of_later_are_unknown(tmp_path: Path) -> None:
    tags = [tag("u0", "i0", "slow", 2), tag("u1", "i0", "Slow", 3), tag("u2", "i1", "late", 12)]
    data = write_tables(tmp_path, [play("u0", "i0", 1, 1)], documents=tags)
    terms = read_sources(data, read_events(data)).terms_IG
    assert terms is not None
    # Columns: "in kind 0", "in kind 1", "tag slow"; the case of a tag says nothing.
    expected = np.array([[1, 0, np.log(3)], [0, 1, 0], [1, 0, 0], [0, 1, 0]])
    np.testing.assert_allclose(terms.toarray(), expected)


def split_of(pairs: Sequence[tuple[int, int, int]]) -> RandomSplit:
    user, item, part = np.array(pairs).T
    return RandomSplit(
        user_ids=np.array([f"u{n}" for n in range(5)], object),
        item_ids=np.array([f"i{n}" for n in range(4)], object),
        user_index=user,
        item_index=item,
        part=part,
    )


def test_a_random_split_takes_only_what_belongs_to_training_pairs(tmp_path: Path) -> None:
    plays = [play("u0", "i0", 9), play("u0", "i1", 99), play("u0", "i2", 9), play("u1", "i1", 3)]
    tags = [
        tag("u0", "i0", "kept"),
        tag("u0", "i1", "gives validation away"),
        tag("u0", "i2", "gives test away"),
        tag("u0", "i3", "says that i3 is not to be found"),
        tag("u1", "i1", "kept, too"),
    ]
    data = write_tables(tmp_path, plays, documents=tags, edges=[link("u0", "u1", 25)])
    events = untimed_events(split_of([(0, 0, 0), (0, 1, 1), (0, 2, 2), (1, 1, 0)]))
    sources = read_sources(data, events, by_time=False)
    assert sources.strength_UI is not None
    assert sources.terms_IG is not None
    assert sources.friends_UU is not None
    expected = np.zeros((5, 4))
    expected[0, 0] = expected[1, 1] = 1.0
    np.testing.assert_allclose(sources.strength_UI.toarray(), expected)
    # Two categories and the two tags of training pairs.
    assert sources.terms_IG.shape[1] == 4
    assert sources.terms_IG.toarray()[:, 2:].sum(1).round(2).tolist() == [0.69, 0.69, 0.0, 0.0]
    assert sources.friends_UU[0, 1] == 1.0


def test_what_is_not_there_is_none(tmp_path: Path) -> None:
    interaction = play("u0", "i0", 1, 1) | {"value": None}
    data = write_tables(tmp_path, [interaction])
    sources = read_sources(data, read_events(data))
    assert sources.strength_UI is None
    assert sources.friends_UU is None
    assert sources.vectors_ID is None


class CountingEncoder:
    """Writes down what it was asked to embed."""

    dims, fingerprint = 2, "counting"

    def __init__(self) -> None:
        self.asked: list[str] = []

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        self.asked += texts
        return np.array([[len(text), float(text[-1])] for text in texts], np.float32)


def test_titles_are_embedded_once(tmp_path: Path) -> None:
    data, encoder = write_tables(tmp_path, [play("u0", "i0", 1, 1)]), CountingEncoder()
    first = title_vectors(data, encoder)
    assert sorted(encoder.asked) == ["title 0", "title 1"]
    np.testing.assert_array_equal(first, [[7, 0], [7, 1], [7, 0], [7, 1]])
    np.testing.assert_array_equal(title_vectors(data, encoder), first)
    assert len(encoder.asked) == 2


def test_a_data_set_that_was_not_built_names_the_command(tmp_path: Path) -> None:
    data = write_tables(tmp_path, [play("u0", "i0", 1, 1)])
    events = read_events(data)
    (data / "tables" / "documents.parquet").unlink()
    with pytest.raises(ValueError, match=r"feature_repo\.pipelines\.build"):
        read_sources(data, events)
