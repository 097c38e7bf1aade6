"""Rows of item_text and user_text: against an oracle, at grid edges, with the future changed."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from feature_repo.pipelines.features.options import FeatureOptions
from feature_repo.pipelines.features.sentiment import sentiment_of
from feature_repo.pipelines.features.text import SCHEMAS, build_text_features
from feature_repo.pipelines.tables import DataError, feature_path
from tests.text.hand_made import CountingEncoder, Row, document, instant, item, write_data

DAY = timedelta(days=1)
WORDS = "rock awful love slow guitar great shoegaze noise tender boring".split()


def build(folder: Path, items: list[Row], documents: list[Row], **options: Any) -> CountingEncoder:
    encoder = CountingEncoder()
    build_text_features(write_data(folder, items, documents), FeatureOptions(**options), encoder)
    return encoder


def rows(folder: Path, view: str = "item_text") -> list[dict[str, Any]]:
    table = pq.read_table(feature_path(folder, view))
    assert table.schema.equals(SCHEMAS[view])
    found: list[dict[str, Any]] = table.to_pylist()
    assert all(row["created_timestamp"] == row["event_timestamp"] for row in found)
    return found


def drawn_corpus(seed: int, num_documents: int = 300) -> tuple[list[Row], list[Row]]:
    rng = np.random.default_rng(seed)
    items = [item(f"i{n}", f"Title {n}", f"2020-01-{n + 1:02} 09:00") for n in range(8)]
    kinds = ["tag", "review", "post", "title"]
    documents = [
        document(
            n,
            " ".join(rng.choice(WORDS, rng.integers(1, 4))),
            (datetime(2020, 1, 10) + timedelta(hours=int(rng.integers(0, 24 * 120)))).isoformat(),
            str(rng.choice(kinds)),
            user_id=f"u{rng.integers(5)}",
            item_id=f"i{rng.integers(8)}",
        )
        for n in range(num_documents)
    ]
    return items, documents


def expected_item_row(
    found: Row, items: list[Row], documents: list[Row], encoder: CountingEncoder
) -> dict[str, Any]:
    """Recompute a row from the raw rows, the slow and plain way."""
    at = found["event_timestamp"]
    (shown,) = [one for one in items if one["item_id"] == found["item_id"]]
    past = [
        one
        for one in documents
        if one["item_id"] == found["item_id"] and one["timestamp"] < at.replace(hour=0)
    ]
    own = [shown["title"]] if shown["available_at"] <= at else []
    own += [one["text"] for one in past if one["kind"] == "title"]
    said = [one for one in past if one["kind"] != "title"]
    means = [
        np.mean([encoder.vector(text).astype(float) for text in texts], axis=0)
        for texts in (own, [one["text"] for one in said])
        if texts
    ]
    mean = np.mean(means, axis=0)
    scores = [sentiment_of(one["text"], one["kind"] == "tag") for one in said]
    opinions = [score for score in scores if score is not None]
    return {
        "text_embedding": mean / np.linalg.norm(mean),
        "sentiment": np.mean(opinions) if opinions else None,
        "num_documents": len(said),
    }


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_item_rows_equal_a_plain_recomputation(tmp_path: Path, seed: int) -> None:
    items, documents = drawn_corpus(seed)
    encoder = build(tmp_path, items, documents)
    found = rows(tmp_path)
    assert len(found) > 100
    for row in found:
        expected = expected_item_row(row, items, documents, encoder)
        np.testing.assert_allclose(row["text_embedding"], expected["text_embedding"], atol=1e-6)
        assert row["sentiment"] == pytest.approx(expected["sentiment"], abs=1e-6)
        assert row["num_documents"] == expected["num_documents"]


def test_each_arrival_gives_one_row_and_nothing_else_does(tmp_path: Path) -> None:
    items, documents = drawn_corpus(seed=4)
    build(tmp_path, items, documents)
    found = [(row["item_id"], row["event_timestamp"]) for row in rows(tmp_path)]
    first = {(one["item_id"], one["available_at"]) for one in items}
    later = {(one["item_id"], one["timestamp"].replace(hour=0) + DAY) for one in documents}
    assert found == sorted(first | later)


def test_user_rows_are_the_mean_of_what_the_user_wrote(tmp_path: Path) -> None:
    items, documents = drawn_corpus(seed=5)
    encoder = build(tmp_path, items, documents, grid_days=7)
    found = rows(tmp_path, "user_text")
    assert found
    for row in found:
        at = row["event_timestamp"]
        assert (at - datetime(1970, 1, 1, tzinfo=UTC)) % (7 * DAY) == timedelta(0)
        past = [
            one["text"]
            for one in documents
            if one["user_id"] == row["user_id"] and one["timestamp"] < at
        ]
        mean = np.mean([encoder.vector(text).astype(float) for text in past], axis=0)
        np.testing.assert_allclose(row["words_embedding"], mean / np.linalg.norm(mean), atol=1e-6)
        assert row["num_own_documents"] == len(past)


def test_a_document_at_midnight_counts_from_the_next(tmp_path: Path) -> None:
    documents = [
        document(1, "late", "2020-02-01 23:59:59.999999", item_id="i"),
        document(2, "midnight", "2020-02-02 00:00", item_id="i"),
    ]
    build(tmp_path, [item("i", "Song", "2020-01-01 10:00")], documents)
    found = [(row["event_timestamp"], row["num_documents"]) for row in rows(tmp_path)]
    assert found == [
        (instant("2020-01-01 10:00"), 0),
        (instant("2020-02-02"), 1),
        (instant("2020-02-03"), 2),
    ]


@pytest.mark.parametrize("text_dims", [None, 4])
def test_the_future_changes_no_row_before_it(tmp_path: Path, text_dims: int | None) -> None:
    items, documents = drawn_corpus(seed=6)
    cut = instant("2020-03-15")  # after train_end_at, so nothing that is fitted moves either
    past = [one for one in documents if one["timestamp"] < cut]
    other = [
        document(n, "awful unheard-of words", "2020-03-16", "review", user_id="u1", item_id="i1")
        for n in range(900, 950)
    ]
    newcomer = item("new", "Only later", "2020-05-01", creator="Somebody")
    build(tmp_path / "a", items, documents, text_dims=text_dims)
    build(tmp_path / "b", [*items, newcomer], past + other, text_dims=text_dims)
    for view in SCHEMAS:
        before = [
            [row for row in rows(tmp_path / folder, view) if row["event_timestamp"] <= cut]
            for folder in "ab"
        ]
        assert before[0] == before[1]
        assert len(before[0]) > 20


def test_pca_keeps_unit_length_and_its_width(tmp_path: Path) -> None:
    build(tmp_path, *drawn_corpus(seed=7), text_dims=5)
    vectors = np.array([row["text_embedding"] for row in rows(tmp_path)])
    assert vectors.shape[1] == 5
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)


def test_too_many_dimensions_are_refused_with_the_flag_to_change(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"--text-dims 10 .* lower --text-dims"):
        build(tmp_path, [item("i", "One song", "2020-01-01")], [], text_dims=10)


def test_no_text_at_all_gives_empty_views_with_the_right_columns(tmp_path: Path) -> None:
    nameless = item("i1", "i1", "2020-01-01")  # the id stands in for a missing title
    build(tmp_path, [nameless], [document(1, " \t", "2020-01-02", user_id="u")], text_dims=4)
    assert rows(tmp_path, "item_text") == []
    assert rows(tmp_path, "user_text") == []


def test_item_text_is_made_of_all_its_fields(tmp_path: Path) -> None:
    shown = item(
        "i",
        "The Red Planet",
        "2020-01-01",
        category="Science Fiction",
        categories=["Science Fiction", "Drama"],
        creator="Jane Doe",
        description="A slow journey.",
    )
    encoder = build(tmp_path, [shown], [])
    text = "The Red Planet. Science Fiction, Drama. Jane Doe. A slow journey."
    assert encoder.asked == [text]
    (row,) = rows(tmp_path)
    np.testing.assert_allclose(row["text_embedding"], encoder.vector(text), atol=1e-6)
    assert {"science fiction", "jane doe", "drama"} < set(row["keywords"])
    assert row["sentiment"] is None  # what the publisher writes is no opinion


def test_tags_weigh_as_whole_terms_and_by_rarity(tmp_path: Path) -> None:
    items = [item(f"i{n}", f"i{n}", "2020-01-01") for n in range(6)]
    common = [document(n, "Rock", "2020-01-02", "tag", item_id=f"i{n}") for n in range(6)]
    rare = [
        document(n + 10, "  dream   POP", "2020-01-02", "tag", item_id=f"i{n}") for n in range(2)
    ]
    build(tmp_path, items, common + rare)
    keywords = {row["item_id"]: row["keywords"] for row in rows(tmp_path)}
    assert keywords["i0"] == ["dream pop", "rock"]
    assert keywords["i5"] == ["rock"]


def test_a_neutral_tag_has_no_say(tmp_path: Path) -> None:
    documents = [
        document(n, text, "2020-01-02", "tag", item_id="i")
        for n, text in enumerate(["rock", "indie", "love"])
    ]
    build(tmp_path, [item("i", "Song", "2020-01-01")], documents)
    first, second = rows(tmp_path)
    assert first["sentiment"] is None
    assert second["sentiment"] == pytest.approx(sentiment_of("love", is_tag=True))
