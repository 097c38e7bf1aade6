"""Keyword weights and PCA axes: the formulas, and that neither saw a text after training."""

import math
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer

from feature_repo.pipelines.features.keywords import (
    UNKNOWN_WEIGHT,
    fit_weights,
    terms_of,
    top_keywords,
)
from feature_repo.pipelines.features.options import FeatureOptions
from feature_repo.pipelines.features.reduce import Reducer, fit_reducer
from feature_repo.pipelines.features.sentiment import sentiment_of
from feature_repo.pipelines.features.text import build_text_features
from feature_repo.pipelines.tables import feature_path
from tests.text.hand_made import CountingEncoder, Row, document, item, write_data

PROSE = ["the red planet", "a red moon", "planet of the red moon", "blue moon over the planet"]


def test_weights_equal_scikit_learns() -> None:
    owned = pa.table(
        {"owner": [f"item {n}" for n in range(4)], "terms": [terms_of([], [p]) for p in PROSE]}
    )
    with duckdb.connect() as connection:
        connection.register("owned", owned)
        weights = fit_weights(connection, "owned")
    vectorizer = TfidfVectorizer(ngram_range=(1, 2), stop_words="english", min_df=2).fit(PROSE)
    expected = dict(zip(vectorizer.get_feature_names_out(), vectorizer.idf_, strict=True))
    assert weights == pytest.approx(expected)


def test_an_owner_counts_once_however_often_it_is_tagged() -> None:
    owned = pa.table({"owner": ["a", "a", "a", "b", "c"], "terms": [["x"]] * 4 + [["y"]]})
    with duckdb.connect() as connection:
        connection.register("owned", owned)
        assert fit_weights(connection, "owned") == pytest.approx({"x": math.log(4 / 3) + 1})


def test_ties_go_by_alphabet_and_unknown_terms_come_last() -> None:
    counts = {"b": 1, "a": 1, "new": 1, "c": 1}
    weights = {"a": 2.0, "b": 2.0, "c": UNKNOWN_WEIGHT + 0.1}
    assert top_keywords(counts, weights) == ["a", "b", "c", "new"]


def test_terms_of_other_scripts_and_emoji() -> None:
    assert terms_of(["ШУГЕЙЗ  рок"], []) == ["шугейз рок"]
    assert terms_of([], ["夜の音楽 🎸"]) == ["夜の音楽"]
    assert terms_of(["", "  "], ["", "🎸"]) == []


def test_sentiment_has_the_right_sign() -> None:
    assert (sentiment_of("What a wonderful, warm record", is_tag=False) or 0) > 0.3
    assert (sentiment_of("terrible and boring", is_tag=True) or 0) < -0.3
    assert sentiment_of("музыка 🎶", is_tag=False) == 0
    assert sentiment_of("", is_tag=True) is None


def test_pca_equals_the_singular_vectors() -> None:
    vectors = np.random.default_rng(0).normal(size=(60, 6)).astype(np.float32)
    reducer = fit_reducer(vectors, 3)
    centred = vectors.astype(float) - vectors.mean(axis=0)
    _, values, axes = np.linalg.svd(centred, full_matrices=False)
    overlap = np.abs((reducer.axes_KD * axes[:3]).sum(axis=1))  # an axis may point either way
    np.testing.assert_allclose(overlap, 1, atol=1e-4)
    np.testing.assert_allclose(reducer.apply(vectors).mean(axis=0), 0, atol=1e-6)
    assert reducer.explained == pytest.approx((values[:3] ** 2).sum() / (values**2).sum(), abs=1e-4)


def test_a_reducer_survives_the_disk(tmp_path: Path) -> None:
    vectors = np.random.default_rng(1).normal(size=(20, 4)).astype(np.float32)
    reducer = fit_reducer(vectors, 2)
    reducer.write(tmp_path / "pca.npz")
    np.testing.assert_array_equal(
        Reducer.read(tmp_path / "pca.npz").apply(vectors), reducer.apply(vectors)
    )


def fitted(folder: Path, documents: list[Row]) -> tuple[Reducer, list[object]]:
    """PCA axes of a build, and the keywords of an item that nobody writes about later."""
    items = [item(f"i{n}", f"Title {n}", "2020-01-01") for n in range(6)]
    write_data(folder, items, documents)
    build_text_features(folder, FeatureOptions(text_dims=3), CountingEncoder())
    table = pq.read_table(feature_path(folder, "item_text")).to_pylist()
    last = [row["keywords"] for row in table if row["item_id"] == "i0"][-1]
    return Reducer.read(folder / "text_model" / "pca.npz"), last


def test_nothing_is_fitted_on_the_time_after_training(tmp_path: Path) -> None:
    past = [
        document(n, text, "2020-02-01", "tag", item_id=f"i{n % 3}")
        for n, text in enumerate(["rock", "rock", "pop", "pop", "dream", "dream", "noise"])
    ]
    # Were they counted, "pop" would become common, and the axes would turn.
    future = [document(100 + n, "pop", "2020-03-01", "tag", item_id=f"i{n}") for n in range(1, 6)]
    future += [document(200 + n, f"new {n}", "2020-03-02", item_id="i5") for n in range(30)]
    without, keywords_without = fitted(tmp_path / "a", past)
    with_future, keywords_with = fitted(tmp_path / "b", past + future)
    np.testing.assert_array_equal(without.axes_KD, with_future.axes_KD)
    np.testing.assert_array_equal(without.mean_D, with_future.mean_D)
    assert keywords_without == keywords_with
