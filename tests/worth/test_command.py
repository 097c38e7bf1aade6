"""The command on the run of a small world: figures and page written, models kept, clear errors."""

import json
from pathlib import Path

import pytest

from training.report import read_report
from training.valuation import Worth
from training.worth import main


def arguments(run: Path, world: Path, repo: Path, *more: str) -> list[str]:
    few = ["--max-users", "20", "--max-queries-per-user", "1", "--resamples", "100"]
    paths = ["--run", str(run), "--data", str(world), "--repo", str(repo)]
    return [*paths, *few, "--retrain", "none", *more]


def test_figures_and_page(
    run: Path, world: Path, repo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = read_report(run)
    everything = ["--max-users", "2000", "--max-queries-per-user", "10"]
    assert main(arguments(run, world, repo, *everything)) == 0
    worth = Worth.model_validate_json((run / "worth.json").read_text())
    everybody = worth.parts["everybody"]
    assert worth.sources == ("behaviour", "item", "social", "text")
    told = before[0].models
    assert everybody.figures["most-popular-lately"].mean == pytest.approx(
        told["most-popular-lately"]["ndcg@10"].mean
    )
    # The same lists as in the run's evaluation, but for scores that differ by rounding alone;
    # channels that know the training period only are .001 away.
    assert everybody.figures["fused"].mean == pytest.approx(told["fused"]["ndcg@10"].mean, abs=5e-4)
    assert {"fused", "no source", "most-popular-lately", "only text"} <= set(everybody.figures)
    assert everybody.ahead["most-popular-lately"].mean == pytest.approx(
        everybody.figures["fused"].mean - everybody.figures["most-popular-lately"].mean
    )
    assert {"without friends", "new items", "users with 2 to 5 events"} <= set(worth.parts)
    assert sum(worth.score_shares.values()) == pytest.approx(1)
    assert [gap.missing for gap in worth.robustness["text"]] == [0, 0.25, 0.5, 0.75, 1]
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "What each source is worth" in page
    assert "tail decile of items" in page
    assert read_report(run) == before
    assert "what each source adds (Shapley)" in capsys.readouterr().out


@pytest.mark.slow  # sixteen short trainings
def test_a_model_that_was_trained_again_is_kept(run: Path, world: Path, repo: Path) -> None:
    given = arguments(run, world, repo, "--retrain", "all")
    assert main(given) == 0
    first = Worth.model_validate_json((run / "worth.json").read_text())
    # Items have no social view and users none of items: one side of these models knows nothing.
    assert {f"only {s}, retrained" for s in first.sources} <= set(first.parts["everybody"].figures)
    assert {f"without {s}, retrained" for s in first.sources} <= set(first.parts["everybody"].ahead)
    kept = {path: path.stat().st_mtime_ns for path in (run / "retrained").rglob("*.safetensors")}
    assert len(kept) == 16, "each on the training period, then on all before the test"
    next(iter(kept)).unlink()
    assert main(given) == 0
    changed = [path for path, at in kept.items() if path.stat().st_mtime_ns != at]
    assert changed == [next(iter(kept))]
    assert Worth.model_validate_json((run / "worth.json").read_text()) == first


def test_no_run_is_one_line(
    tmp_path: Path, world: Path, repo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments(tmp_path, world, repo)) == 2
    assert "holds no finished run" in capsys.readouterr().err


def test_another_data_set_is_refused(
    run: Path, world: Path, repo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    content = json.loads((world / "dataset.json").read_text())
    (other / "dataset.json").write_text(json.dumps(content | {"name": "another"}))
    assert main(arguments(run, other, repo)) == 2
    assert "was trained on 'tiny' as of" in capsys.readouterr().err
