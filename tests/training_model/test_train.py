"""The whole job on a tiny data set, and what a bundle refuses."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from feast import FeatureStore

from tests.training_data import tiny
from tests.training_model.projects import command, write_project
from training.bundle import Bundle, Seen, load_bundle
from training.events import read_events
from training.projector import ViewBatch
from training.protocols import until_test
from training.registry import read_schema
from training.train import main


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("project")
    write_project(folder, tiny.random_log(seed=7, num_events=900))
    return folder


@pytest.fixture(scope="module")
def run(project: Path) -> Path:
    """A finished run with one ablation."""
    assert main(command(project, "run", "--ablate", "text")) == 0
    return project / "run"


@pytest.fixture
def copy(run: Path, tmp_path: Path) -> Path:
    """A bundle to spoil."""
    shutil.copytree(run / "bundle", tmp_path / "bundle")
    return tmp_path / "bundle"


def test_a_run_leaves_its_figures_and_a_bundle(run: Path) -> None:
    metrics = json.loads((run / "metrics.json").read_text())
    assert {"fused", "most-popular-lately", "ease"} <= set(metrics["models"])
    assert set(metrics["ablations"]) == {"without text"}
    assert sum(metrics["contributions"].values()) == pytest.approx(1)
    assert 0 <= metrics["classification"]["auc"] <= 1
    assert (run / "report.html").stat().st_size > 10_000
    assert not (run / "encoded").exists(), "the encoded labels go with the training"
    names = {file.name for file in (run / "bundle").iterdir()}
    assert {"manifest.json", "MODEL_CARD.md", "report.html", "metrics.json"} <= names
    card = (run / "bundle" / "MODEL_CARD.md").read_text()
    assert "`gated` fusion" in card
    assert "| fused |" in card
    assert "| fusion model |" in card, "what each part of the score weighs"


def test_the_report_has_the_fused_score_and_each_of_its_parts(run: Path) -> None:
    metrics = json.loads((run / "metrics.json").read_text())
    parts = load_bundle(run / "bundle").served.by_name()
    assert {"fusion model", "user-ridge", "item-ridge"} <= set(metrics["models"])
    assert "fusion model" in parts
    assert len(parts) > 1
    assert set(parts) <= set(metrics["models"])
    assert all(weight > 0 for name, weight in parts.items() if name != "fusion model")


def test_what_is_served_has_learnt_from_all_periods_and_what_is_reported_has_not(
    run: Path, project: Path
) -> None:
    events = read_events(project / "data")
    evaluated, bundle = load_bundle(run / "evaluated"), load_bundle(run / "bundle")
    before = until_test(events).training_items()
    assert evaluated.encoder.vocabulary_sizes["item"] == len(before) + 1
    everything = events.item_ids[np.unique(events.item_index[events.take_ups()])]
    assert bundle.encoder.vocabulary_sizes["item"] == len(everything) + 1
    np.testing.assert_array_equal(evaluated.served.weights_NK, bundle.served.weights_NK)
    cards = [(run / name / "MODEL_CARD.md").read_text() for name in ("evaluated", "bundle")]
    assert "learnt from all before the test period" in cards[0]
    assert "learnt from all periods" in cards[1]


def test_whoever_may_read_one_file_of_a_bundle_may_read_all(run: Path) -> None:
    files = [path for path in (run / "bundle").rglob("*") if path.is_file()]
    assert len({path.stat().st_mode for path in files}) == 1


def test_a_bundle_holds_all_take_ups_in_order(run: Path, project: Path) -> None:
    events, taken = read_events(project / "data"), load_bundle(run / "bundle").taken
    assert len(taken) == len(events.user_ids)
    for user in (0, len(events.user_ids) - 1):
        own = [row for row in events.take_ups() if events.user_index[row] == user]
        assert taken.row(user).tolist() == events.item_index[own].tolist()


def scores(bundle: Bundle, item_rows: dict[str, Any]) -> torch.Tensor:
    """Scores of two users with a made-up history, for the bundle's whole catalogue."""
    at_us = int(bundle.as_of.timestamp() * 1e6)
    rows = {"recent_items": [["i001", "i002"], ["i005"]], "last_at": [None, None]}
    history = pa.table(rows)
    there = torch.ones(2, dtype=torch.bool)
    columns = bundle.encoder.encode("history", history)
    with torch.inference_mode():
        user = bundle.model.user_tokens(
            {"history": ViewBatch.gathered(columns, there, torch.full((2,), at_us))}
        )
        ids = bundle.items.column("item_id").to_pylist()
        items = {
            name: ViewBatch(
                bundle.encoder.encode(name, view.features),
                torch.from_numpy(view.rows),
                torch.full((len(ids),), at_us),
            )
            for name, view in item_rows.items()
        }
        item = bundle.model.item_tokens(items, torch.from_numpy(bundle.encoder.item_numbers(ids)))
        return bundle.model.score(user, item)


def test_a_bundle_that_was_moved_answers_bit_for_bit(run: Path, copy: Path) -> None:
    first, again = load_bundle(run / "bundle"), load_bundle(copy)
    ours, theirs = scores(first, first.item_views), scores(again, again.item_views)
    assert ours.shape == (2, 30)
    assert len(torch.unique(ours)) > 30
    assert torch.equal(ours, theirs)
    assert first.config == again.config
    assert first.calibration == again.calibration


def test_the_snapshot_is_of_the_end_of_the_data(run: Path) -> None:
    bundle = load_bundle(run / "bundle")
    assert bundle.items.column_names == [
        "item_id",
        "title",
        "category",
        "categories",
        "creator",
        "available_at_us",
    ]
    prices = bundle.item_views["attributes"]
    row = prices.features.slice(int(prices.rows[5]), 1).to_pylist()[0]
    assert row["price"] == 7.5
    log = tiny.random_log(seed=7, num_events=900)
    user = bundle.seen.user_ids.index("u003")
    assert bundle.seen.items_of(user).tolist() == sorted(set(log.item[log.user == 3].tolist()))
    assert bundle.neighbours.ids.shape == (30, 50)
    assert bundle.as_of == tiny.instant(log.at_us[-1])


def test_seen_by_hand() -> None:
    seen = Seen.of_pairs(
        np.array(["a", "b", "c"], object), np.array([2, 0, 2, 2]), np.array([4, 1, 0, 4]), 5
    )
    assert [seen.items_of(user).tolist() for user in range(3)] == [[1], [], [0, 4]]


def test_a_bundle_fits_the_registry_it_was_trained_on(run: Path, project: Path) -> None:
    load_bundle(run / "bundle").check(FeatureStore(repo_path=str(project / "repo")))


def test_another_feature_service_is_refused(run: Path, project: Path, tmp_path: Path) -> None:
    rows = tiny.feature_rows(tiny.random_log(seed=7))
    other = tiny.make_store(tmp_path, tiny.OURS, {k: v for k, v in rows.items() if k != "words"})
    bundle = load_bundle(run / "bundle")
    there = read_schema(other, "everything").fingerprint()
    stated = bundle.manifest.schema_fingerprint
    with pytest.raises(ValueError, match=rf"fingerprint {stated}, .* has {there}.*feast apply"):
        bundle.check(other)


def test_a_damaged_file_is_refused(copy: Path) -> None:
    with (copy / "items.parquet").open("ab") as file:
        file.write(b"x")
    with pytest.raises(ValueError, match=r"'items\.parquet' .* SHA-256 .* the manifest says"):
        load_bundle(copy)
    (copy / "items.parquet").unlink()
    with pytest.raises(ValueError, match=r"lacks its file 'items\.parquet'"):
        load_bundle(copy)


def test_another_format_is_refused(copy: Path) -> None:
    manifest = json.loads((copy / "manifest.json").read_text())
    (copy / "manifest.json").write_text(json.dumps(manifest | {"format_version": 99}))
    with pytest.raises(ValueError, match=r"format version 99, this code reads 2; train again"):
        load_bundle(copy)
    (copy / "manifest.json").write_text("{")
    with pytest.raises(ValueError, match="cannot be read"):
        load_bundle(copy)
    (copy / "manifest.json").unlink()
    with pytest.raises(ValueError, match=r"is not a bundle .*training\.train"):
        load_bundle(copy)


def test_another_encoder_is_refused(copy: Path) -> None:
    """Even where its hash was put right: the weights belong to one encoder."""
    manifest = json.loads((copy / "manifest.json").read_text())
    manifest["encoder_fingerprint"] = "0" * 16
    (copy / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ValueError, match=r"encoder in bundle .* but the model was trained .* 0000"):
        load_bundle(copy)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"service": "ranking_v9"}, "feature service 'ranking_v9' is not in the registry"),
        ({"repo": "nowhere"}, "has no feature_store.yaml; give --repo"),
        ({"data": "nowhere"}, "does not exist; build a data set with"),
        ({"config": "nowhere.yaml"}, "does not exist; check --config"),
        ({"ablate": "smell"}, "has no source 'smell' (has: behaviour, text, social, item)"),
        ({"out": "run"}, "already holds a run; add --resume to continue it"),
    ],
)
def test_mistakes_are_one_line(
    run: Path,
    project: Path,
    changes: dict[str, str],
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if "out" in changes:
        changes = {"out": str(run)}
    assert main(command(project, "other", **changes)) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert message in error
    assert error.count("\n") == 1
    assert not (project / "other").exists()


def test_a_run_is_not_resumed_with_another_configuration(
    run: Path, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command(project, "run", "--resume", "--seed", "9")) == 2
    assert "cannot be resumed: config changed since it was started" in capsys.readouterr().err
