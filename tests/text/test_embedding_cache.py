"""The cache embeds nothing twice, keeps what a stopped build had, refuses what is not its own."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from feature_repo.pipelines.features import embed
from feature_repo.pipelines.features.embedding_cache import EmbeddingCache
from feature_repo.pipelines.features.options import FeatureOptions
from feature_repo.pipelines.features.text import build_text_features
from tests.text.hand_made import CountingEncoder, document, item, write_data

ITEMS = [item("i1", "First", "2020-01-01"), item("i2", "Second", "2020-01-02")]
DOCUMENTS = [
    document(1, "great", "2020-01-05", "tag", user_id="u", item_id="i1"),
    document(2, "great", "2020-01-06", "review", user_id="v", item_id="i2"),
]


def build(folder: Path, encoder: CountingEncoder) -> int:
    return build_text_features(folder, FeatureOptions(), encoder).num_embedded


def test_equal_texts_are_embedded_once_whoever_says_them(tmp_path: Path) -> None:
    encoder = CountingEncoder()
    assert build(write_data(tmp_path, ITEMS, DOCUMENTS), encoder) == 3
    assert sorted(encoder.asked) == ["First", "Second", "great"]


def test_a_rebuild_embeds_only_what_is_new_or_changed(tmp_path: Path) -> None:
    build(write_data(tmp_path, ITEMS, DOCUMENTS), CountingEncoder())
    again = CountingEncoder()
    assert build(tmp_path, again) == 0
    assert again.asked == []
    changed = [ITEMS[0], item("i2", "Second, remastered", "2020-01-02")]
    more = [*DOCUMENTS, document(3, "dull", "2020-01-07", user_id="u", item_id="i1")]
    build(write_data(tmp_path, changed, more), again)
    assert sorted(again.asked) == ["Second, remastered", "dull"]


def test_a_stopped_build_keeps_what_it_had(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embed, "CHUNK_TEXTS", 2)

    class Failing(CountingEncoder):
        def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
            if self.asked:
                raise RuntimeError("power cut")
            return super().encode(texts)

    folder = write_data(tmp_path, ITEMS, DOCUMENTS)
    failing = Failing()
    with pytest.raises(RuntimeError, match="power cut"):
        build(folder, failing)
    assert not list(folder.glob("features/*")), "half a view was left behind"
    rest = CountingEncoder()
    build(folder, rest)
    assert sorted(failing.asked + rest.asked) == ["First", "Second", "great"]


def test_gather_gives_vectors_in_the_order_asked_over_many_files(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    hashes = rng.permutation(np.arange(100, dtype=np.uint64))
    vectors = rng.normal(size=(100, 4)).astype(np.float32)
    cache = EmbeddingCache(tmp_path, 4)
    for start in range(0, 100, 30):
        cache.add(hashes[start : start + 30], vectors[start : start + 30])
    asked = rng.integers(0, 100, 500)
    for opened in (cache, EmbeddingCache(tmp_path, 4)):
        assert len(opened) == 100
        np.testing.assert_array_equal(opened.gather(hashes[asked]), vectors[asked])
    unknown = np.array([7, 1_000], np.uint64)
    assert cache.missing(unknown).tolist() == [False, True]
    with pytest.raises(KeyError, match="1 of 2 texts were never embedded"):
        cache.gather(unknown)


def test_wrong_width_and_not_a_number_are_refused(tmp_path: Path) -> None:
    one = np.array([1], np.uint64)
    cache = EmbeddingCache(tmp_path, 4)
    with pytest.raises(ValueError, match=r"expected vectors of shape \(1, 4\)"):
        cache.add(one, np.zeros((1, 3), np.float32))
    with pytest.raises(ValueError, match="not finite"):
        cache.add(one, np.full((1, 4), np.nan, np.float32))
    cache.add(one, np.zeros((1, 4), np.float32))
    with pytest.raises(ValueError, match="it is only a cache"):
        EmbeddingCache(tmp_path, 5)
