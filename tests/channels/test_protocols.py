"""The presets: which pairs are learnt from, read, asked and ranked, on hand-made and real data."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from feature_repo.pipelines.features.encoder import HuggingFaceEncoder
from tests.benchmarks.quality import built_tables
from tests.channels.tables import play, write_tables
from training.baselines import training_matrix
from training.protocols import (
    PROTOCOLS,
    Trial,
    lastfm_recbole,
    leave_last_out,
    refit_timed,
    refit_untimed,
)
from training.sources import title_vectors


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """Everybody takes up everything: 20 untimed plays, in one order or another by time as well."""
    users, items = range(5), range(4)
    plays = [play(f"u{user}", f"i{item}", 1 + item) for user in users for item in items]
    return write_tables(tmp_path, plays)


def pairs_of(trial: Trial, part: str) -> set[tuple[int, int]]:
    queries = getattr(trial, part)
    row, item = queries.relevant.flat(np.arange(len(queries)))
    return set(zip(queries.user_index[row].tolist(), item.tolist(), strict=True))


def history_pairs(trial: Trial) -> set[tuple[int, int]]:
    row, item = trial.test.history.flat(np.arange(len(trial.test)))
    return set(zip(trial.test.user_index[row].tolist(), item.tolist(), strict=True))


def training_pairs(trial: Trial) -> set[tuple[int, int]]:
    return set(
        zip(*(axis.tolist() for axis in training_matrix(trial.events).nonzero()), strict=True)
    )


def test_recbole_parts_are_apart_and_all(shop: Path) -> None:
    trial = lastfm_recbole(shop, seed=0)
    train, validation, test = (
        training_pairs(trial),
        pairs_of(trial, "validation"),
        pairs_of(trial, "test"),
    )
    assert (len(train), len(validation), len(test)) == (10, 5, 5)
    assert len(train | validation | test) == 20


def test_recbole_reads_training_and_ranks_what_was_never_seen(shop: Path) -> None:
    trial = lastfm_recbole(shop, seed=1)
    assert history_pairs(trial) == training_pairs(trial)
    # Of four items two were trained on and one validated: one candidate is left on test.
    assert trial.test.candidates(np.arange(5)).sum(axis=1).tolist() == [1] * 5
    assert trial.validation.candidates(np.arange(5)).sum(axis=1).tolist() == [2] * 5


def test_a_refit_learns_and_reads_validation_too(shop: Path) -> None:
    trial = lastfm_recbole(shop, seed=2)
    later = refit_untimed(shop, trial)
    assert training_pairs(later) == training_pairs(trial) | pairs_of(trial, "validation")
    assert history_pairs(later) == training_pairs(later)
    assert pairs_of(later, "test") == pairs_of(trial, "test")
    assert later.sources.strength_UI is not None
    assert later.sources.strength_UI.nnz == 15


def test_seeds_split_differently_and_repeat(shop: Path) -> None:
    first, again, other = (pairs_of(lastfm_recbole(shop, seed), "test") for seed in (0, 0, 3))
    assert first == again
    assert first != other


def test_recipes_without_their_source_are_left_out(shop: Path) -> None:
    trial = lastfm_recbole(shop, seed=0)
    names = set(trial.possible(PROTOCOLS["lastfm-recbole"].channels))
    assert names == {"user-ridge", "item-ridge", "als", "terms", "popularity"}


@pytest.mark.data
def test_lastfm_parts_are_as_large_as_published(real_data: Path, tmp_path: Path) -> None:
    trial = lastfm_recbole(
        built_tables("lastfm", real_data / "hetrec2011-lastfm-2k", tmp_path), seed=0
    )
    assert training_matrix(trial.events).shape == (1_892, 17_632)
    sizes = [len(pairs_of(trial, part)) for part in ("validation", "test")]
    assert [training_matrix(trial.events).nnz, *sizes] == [74_295, 9_269, 9_270]


@pytest.mark.data
def test_beauty_asks_for_the_last_item_of_everybody(real_data: Path, tmp_path: Path) -> None:
    source = real_data / "amazon-beauty"
    data = built_tables("amazon-beauty", source, tmp_path)
    title_vectors(data, Zeros())
    trial = leave_last_out(data, seed=0)
    lines = [line.split() for line in (source / "Beauty.txt").read_text().splitlines()]
    last = {line[0]: line[-1] for line in lines}
    assert len(trial.test) == len(trial.validation) == len(lines) == 22_363
    user_ids, item_ids = trial.events.user_ids, trial.events.item_ids
    asked = {str(user_ids[user]): str(item_ids[item]) for user, item in pairs_of(trial, "test")}
    assert asked == last
    walk = trial.test.history.row(0)
    user = str(user_ids[trial.test.user_index[0]])
    expected = next(line[1:-1] for line in lines if line[0] == user)
    assert [str(item) for item in item_ids[walk]] == expected
    assert training_matrix(refit_timed(data, trial).events).nnz == 153_776 + 22_363


class Zeros:
    """Fills the cache in the encoder's name: titles take minutes, and no split depends on them."""

    def __init__(self) -> None:
        real = HuggingFaceEncoder()
        self.dims, self.fingerprint = real.dims, real.fingerprint

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        return np.zeros((len(texts), self.dims), np.float32)
