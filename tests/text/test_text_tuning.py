"""The tuned encoder: it learns a link that no title tells, from training pairs, and round-trips."""

import json
from datetime import timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from feature_repo.pipelines.features.encoder import HuggingFaceEncoder
from feature_repo.pipelines.features.options import FeatureOptions
from feature_repo.pipelines.features.text import build_text_features
from feature_repo.pipelines.tables import SCHEMAS, table_path, write_table_atomic
from tests.text.hand_made import TRAIN_END, document, item, write_data
from training.events import read_events
from training.text_tuning import (
    Outcome,
    TextTuningConfig,
    main,
    split,
    texts_of,
    training_pairs,
    tune,
)

# Whoever takes up one of a theme turns to the next theme, which no sentence encoder can know.
THEMES = ("violin sonata", "mountain bicycle", "tomato seeds", "detective novel")
CONFIG = TextTuningConfig(
    steps=25, batch_size=16, learning_rate=2e-3, max_tokens=16, max_held_out=64
)
NUM_USERS = 30


def item_id(number: int) -> str:
    return f"i{number:02}"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Users who go round the themes; after the training period they go round the other way."""
    folder = tmp_path_factory.mktemp("themes")
    items = [item(item_id(n), f"{THEMES[n % 4]} {n // 4}", "2019-01-01") for n in range(40)]
    write_data(folder, [*items, item("i99", "i99", "2019-01-01")], [])
    rng, rows = np.random.default_rng(0), []
    for user in range(NUM_USERS):
        for step in range(-12, 6):
            theme = (user + step if step < 0 else user - step) % 4
            rows.append(
                {
                    "event_id": f"{user:03}{step + 12:03}",
                    "user_id": f"u{user:03}",
                    "item_id": item_id(theme + 4 * int(rng.integers(10))),
                    "action": "view",
                    "timestamp": TRAIN_END + timedelta(days=step, seconds=user),
                    "is_positive": True,
                    "timed": True,
                }
            )
    users = [{"user_id": f"u{user:03}"} for user in range(NUM_USERS)]
    for name, own in (("interactions", rows), ("users", users)):
        write_table_atomic(pa.Table.from_pylist(own, SCHEMAS[name]), table_path(folder, name))
    return folder


@pytest.fixture(scope="module")
def tuned(data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Outcome]:
    out = tmp_path_factory.mktemp("adapter") / "themes"
    return out, tune(data, out, config=CONFIG)


def test_pairs_are_neighbours_in_the_training_period_alone(data: Path) -> None:
    events = read_events(data)
    pairs = training_pairs(events, texts_of(data, events))
    assert len(pairs) == NUM_USERS * 11
    # Round the themes in one direction; the later pairs, which go the other way, were not read.
    assert ((pairs.following - pairs.past) % 4 == 1).all()
    learnt, held_out = split(pairs, CONFIG)
    assert (len(learnt), len(held_out)) == (297, 33)


def test_an_item_without_a_text_is_in_no_pair(data: Path) -> None:
    events = read_events(data)
    texts = texts_of(data, events)
    assert texts[0] == "violin sonata 0"
    assert texts[-1] == ""  # whose title is only its id
    silent = [text if "novel" not in text else "" for text in texts]
    pairs = training_pairs(events, silent)
    assert 0 < len(pairs) < NUM_USERS * 11
    assert all(silent[n] for n in {*pairs.past.tolist(), *pairs.following.tolist()})


@pytest.mark.slow
def test_the_planted_link_is_learnt(tuned: tuple[Path, Outcome]) -> None:
    out, outcome = tuned
    assert outcome.after < 0.75 * outcome.before
    told = json.loads((out / "tuning.json").read_text())
    assert (told["model"], told["steps"], told["after"]) == ("minilm", 25, outcome.after)


@pytest.mark.slow
def test_the_adapter_round_trips_and_changes_the_fingerprint(tuned: tuple[Path, Outcome]) -> None:
    plain, other = HuggingFaceEncoder(), HuggingFaceEncoder(adapter=tuned[0])
    assert other.fingerprint != plain.fingerprint
    assert other.fingerprint == HuggingFaceEncoder(adapter=tuned[0]).fingerprint
    titles = [f"{theme} 3" for theme in THEMES]
    before, after = plain.encode(titles), other.encode(titles)
    np.testing.assert_allclose(after, HuggingFaceEncoder(adapter=tuned[0]).encode(titles))
    np.testing.assert_allclose(np.linalg.norm(after, axis=1), 1, rtol=1e-5)
    linked = [(n, (n + 1) % 4) for n in range(4)]
    gained = [after[a] @ after[b] - before[a] @ before[b] for a, b in linked]
    assert min(gained) > 0.1


@pytest.mark.slow
def test_a_build_with_the_adapter_embeds_anew(tuned: tuple[Path, Outcome], tmp_path: Path) -> None:
    items = [item("a", "violin sonata 1", "2020-01-01")]
    folder = write_data(
        tmp_path / "data", items, [document(1, "lovely", "2020-01-05", item_id="a")]
    )
    assert build_text_features(folder, FeatureOptions()).num_embedded == 2
    assert build_text_features(folder, FeatureOptions()).num_embedded == 0
    options = FeatureOptions(text_adapter=tuned[0])
    assert build_text_features(folder, options).num_embedded == 2
    model = json.loads((folder / "text_model" / "model.json").read_text())
    assert model["fingerprint"] == HuggingFaceEncoder(adapter=tuned[0]).fingerprint
    assert model["adapter"] == str(tuned[0])


def test_mistakes_are_one_line(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--data", str(data), "--out", str(data)]) == 2
    assert "is not empty; give another --out" in capsys.readouterr().err
    out = str(tmp_path / "out")
    assert main(["--data", str(data), "--out", out, "--batch-size", "500"]) == 2
    assert "has 330 pairs of items with a text, too few" in capsys.readouterr().err
    with pytest.raises(ValueError, match=r"holds no adapter .*training.text_tuning"):
        HuggingFaceEncoder(adapter=tmp_path)
