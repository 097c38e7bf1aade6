"""A search gives up what falls behind, goes on where it was cut off, and reads no test data."""

import os
import pickle
from pathlib import Path

import numpy as np
import optuna
import pytest
import yaml

from tests.training_data import tiny
from training import trial
from training.arrays import scratch
from training.config import TrainingConfig, read_config
from training.dataset import TrainingData
from training.encode import Encoder
from training.loop import ModelSpec
from training.queries import DAY_US, Ragged, asking
from training.schema import FeatureSchema
from training.spaces import SPACES, settings_of, with_settings
from training.train import open_inputs
from training.tune import BEST, main, open_search, open_study, parse, prepare, storage

RUN = {"epochs": 3, "batch_size": 256, "learning_rate": 5e-3, "weight_decay": 0.1}


def command(world: Path, repo: Path, out: Path, *more: str, preset: str = "small") -> list[str]:
    given = ["--repo", str(repo), "--data", str(world), "--out", str(out), "--preset", preset]
    return [*given, "--minutes", "5", *more]


def base(folder: Path) -> Path:
    """A small configuration to start from."""
    path = folder / "base.yaml"
    path.write_text(yaml.safe_dump({"model": {"width": 16, "dropout": 0.2}, "run": RUN}))
    return path


def trials(out: Path) -> list[optuna.trial.FrozenTrial]:
    return optuna.load_study(study_name="small", storage=storage(out)).trials


@pytest.mark.ray
@pytest.mark.slow
# Ray 2.60 reads its own deprecated settings and leaves sockets and files to the interpreter.
@pytest.mark.filterwarnings("ignore::DeprecationWarning:ray")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_search_gives_up_what_falls_behind_and_goes_on_where_it_was_cut_off(
    world: Path, repo: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out, more = tmp_path / "tune", ["--config", str(base(tmp_path))]
    # With all CPUs for each, one after the other: who is compared with whom is then no chance.
    one = [*command(world, repo, out, *more), "--resume", "--cpus-per-trial", str(os.cpu_count())]
    study = open_study(parse(one))
    bad = {**study.trials[0].system_attrs["fixed_params"], "run.learning_rate": 5e-4}
    study.enqueue_trial(bad)
    assert main([*one, "--trials", "2"]) == 0
    first, second = trials(out)
    assert first.params["run.learning_rate"] == 5e-3  # the given configuration goes first
    assert (first.last_step, second.last_step) == (2, None)  # of three epochs, the last not counted
    assert f"ndcg@10 {second.value:.4f} after 1 epochs" in capfd.readouterr().out
    best = read_config(out / BEST)
    assert best == with_settings(best, first.params)
    assert best.run.epochs == 3
    assert (out / "history.png").stat().st_size > 5_000
    assert not (out / "encoded").exists()

    optuna.load_study(study_name="small", storage=storage(out)).ask(  # killed in a trial's midst
        dict(SPACES["small"])
    )
    assert main([*one, "--trials", "1"]) == 0
    assert capfd.readouterr().out.count("2 earlier trials, best ndcg@10") == 1
    cut_off, again = trials(out)[2:]
    assert cut_off.state == optuna.trial.TrialState.FAIL
    assert again.params == cut_off.params
    assert again.value is not None


def test_trials_see_nothing_of_the_test_period(world: Path, repo: Path, tmp_path: Path) -> None:
    one = parse(command(world, repo, tmp_path / "tune", "--config", str(base(tmp_path))))
    inputs = open_inputs(one.job)
    with scratch(tmp_path / "encoded") as folder:
        setup = prepare(one, inputs, folder)
        data = TrainingData.open(folder)
        assert set(data.examples) == {"train", "validation"}
        assert data.train.item_ids.shape[1] == 1 + 2 * 24  # as many as any trial may ask for, twice
    events, queries = inputs.events, setup.ranking.queries
    assert (queries.at_us >= events.train_end_us).all()
    assert (queries.at_us < events.validation_end_us).all()
    shared = pickle.loads(pickle.dumps(setup))
    spec = ModelSpec(
        shared.encoder.feature_schema, shared.encoder.vocabulary_sizes, one.job.config.model
    )
    model = spec.build(seed=0)
    assert shared.ranking.ndcg(model) == setup.ranking.ndcg(model) > 0


def test_a_search_is_not_mixed_with_another(
    world: Path, repo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "tune"
    encoder = Encoder.fit(FeatureSchema(service="none", views=()), {}, [])
    open_study(parse(command(world, repo, out)))
    assert main(command(world, repo, out)) == 2
    assert "already holds a search; add --resume" in capsys.readouterr().err
    open_search(parse(command(world, repo, out)), encoder)
    other = parse(command(world, repo, out, "--resume", "--seed", "9", preset="default"))
    with pytest.raises(ValueError, match="cannot be resumed: preset, config changed"):
        open_search(other, encoder)


@pytest.mark.parametrize("preset", SPACES)
def test_a_presets_settings_are_those_of_a_configuration(preset: str) -> None:
    space, config = SPACES[preset], TrainingConfig()
    own = settings_of(config, space)
    assert set(own) == set(space)  # the default configuration may be drawn, and so is the first
    assert with_settings(config, own) == config
    drawn = optuna.create_study().ask(dict(space)).params
    assert settings_of(with_settings(config, drawn), space) == drawn


def test_what_lies_outside_the_space_is_left_to_the_search() -> None:
    config = with_settings(TrainingConfig(), {"run.negatives": 7})
    assert "run.negatives" not in settings_of(config, SPACES["small"])


def test_queries_of_the_busiest_days_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "ITEM_DAYS", 8 * 30 + 5)  # of thirty items
    users = np.arange(40)
    at_us = np.concatenate([np.arange(20), np.repeat(30, 20)]) * DAY_US
    none = Ragged(np.empty(0, np.int64), np.zeros(40, np.int64), np.zeros(40, np.int64))
    kept = trial.on_busy_days(asking(tiny.events_of(tiny.random_log(seed=1)), users, at_us, none))
    assert len(kept) == 20 + 7
    assert len(np.unique(kept.at_us)) == 8
