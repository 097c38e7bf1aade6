"""The world as raw tables: the same seed gives the same bytes, and texts carry what they should."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from feature_repo.pipelines.adapters import ADAPTERS
from feature_repo.pipelines.adapters.world_text import ADJECTIVES, read_themes, titles
from feature_repo.pipelines.clean import clean
from feature_repo.pipelines.raw import RawInfo, RawSink
from feature_repo.pipelines.tables import SCHEMAS, DataError, table_path

SMALL = {"users": 120, "items": 150, "events": 1_500, "seed": 5}


def make(folder: Path, options: Mapping[str, object]) -> RawInfo:
    """Draw a world, clean it, and leave the canonical tables and the truth in `folder`."""
    with RawSink(folder / "staging") as sink:
        info = ADAPTERS["world"](None, sink, {**options, "out": folder})
    counts = clean(sink, info, folder)
    assert not any(count.rejected or count.repaired for count in counts.values())
    return info


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    make(folder, SMALL)
    return folder


def test_the_same_seed_gives_the_same_bytes(made: Path, tmp_path: Path) -> None:
    make(tmp_path, SMALL)
    files = sorted(path.relative_to(made) for path in made.glob("t*/*.parquet"))
    assert len(files) == 8
    for file in files:
        assert (tmp_path / file).read_bytes() == (made / file).read_bytes(), file


def test_another_seed_gives_another_world(made: Path, tmp_path: Path) -> None:
    make(tmp_path, {**SMALL, "seed": 6})
    for name in SCHEMAS:
        assert not pq.read_table(table_path(tmp_path, name)).equals(
            pq.read_table(table_path(made, name))
        )


def test_the_truth_has_a_row_for_each_interaction(made: Path) -> None:
    truth = pq.read_table(made / "truth" / "events.parquet")
    events = pq.read_table(table_path(made, "interactions"))
    assert truth.num_rows == events.num_rows
    assert 1_400 < events.num_rows <= 1_500
    keys = set(zip(truth["user"].to_pylist(), truth["item"].to_pylist(), strict=True))
    users = pc.cast(pc.utf8_ltrim(events["user_id"], "u"), pa.int32()).to_pylist()
    items = pc.cast(pc.utf8_ltrim(events["item_id"], "i"), pa.int32()).to_pylist()
    assert set(zip(users, items, strict=True)) == keys


def test_titles_tell_the_sub_theme_and_categories_do_not(made: Path) -> None:
    themes = read_themes()
    items = pq.read_table(table_path(made, "items")).to_pylist()
    truth = pq.read_table(made / "truth" / "items.parquet")["themes"].to_pylist()
    for item, (main, _) in zip(items, truth, strict=True):
        title = item["title"].lower()
        assert sum(word in title for word in themes.words[main]) >= 2
        if item["category"] is not None:
            assert item["category"] == themes.categories[main // themes.per_category]
            assert item["categories"][0] == item["category"]
        else:
            assert item["categories"] == []
    missing = np.mean([item["category"] is None for item in items])
    assert 0.05 < missing < 0.3
    assert any(item["price"] is None for item in items)


def test_documents_are_tags_reviews_and_posts(made: Path) -> None:
    documents = pq.read_table(table_path(made, "documents"))
    assert set(documents["kind"].to_pylist()) == {"tag", "review", "post"}
    words = {word for theme in read_themes().words for word in theme}
    tags = documents.filter(pc.equal(documents["kind"], "tag"))
    assert set(tags["text"].to_pylist()) <= words


def test_no_two_titles_of_a_sub_theme_are_alike() -> None:
    themes = read_themes()
    combinations = 6 * len(ADJECTIVES) * themes.per_theme * (themes.per_theme - 1)
    made = titles(np.full(combinations, 7, dtype=np.int16))
    assert len(set(made.to_pylist())) == combinations


def test_each_word_belongs_to_one_sub_theme() -> None:
    themes = read_themes()
    words = [word for theme in themes.words for word in theme]
    assert len(words) == len(set(words)) == 96 * 8


@pytest.mark.parametrize(
    ("options", "message"),
    [({"users": 3}, "--users 3: .*greater than or equal to 10"), ({"items": "many"}, "--items")],
)
def test_an_impossible_size_is_a_clear_error(
    tmp_path: Path, options: dict[str, object], message: str
) -> None:
    with RawSink(tmp_path) as sink, pytest.raises(DataError, match=message):
        ADAPTERS["world"](None, sink, options)
