"""Search for a configuration: `python -m training.tune --data data/current --out runs/tune`.

In: a feature repo and a data set, as in training. Out: a study of trials in OUT/study.log, its
picture, and OUT/best.yaml, which `training.train --config` takes. Optuna proposes (Bergstra et al.
2011, TPE), ASHA stops what falls behind (Li et al. 2020), Ray Tune runs trials side by side on
labels that were joined and encoded once. Trials are judged on the validation period; nothing of the
test period is read.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
import time
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import ray
import yaml
from matplotlib.figure import Figure
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState
from ray import tune
from ray.tune.schedulers import ASHAScheduler
from ray.tune.search.optuna import OptunaSearch

from feature_repo.pipelines.tables import write_text_atomic
from training.arrays import scratch
from training.command import Job, exit_status
from training.config import TrainingConfig, read_config
from training.encode import Encoder
from training.encoded import encode_labels
from training.events import SplitName
from training.labels import Labels
from training.outcome import Inputs
from training.prepare import VALIDATION_LABELS, draw, fit_encoder, join_labels
from training.spaces import SPACES, Space, most_negatives, settings_of, with_settings
from training.stages import check_joined, ray_running, say
from training.train import open_inputs
from training.trial import METRIC, Setup, ValidationRanking, train_trial

STUDY, RECORD, BEST = "study.log", "search.json", "best.yaml"
RANDOM_TRIALS = 6  # before TPE proposes; Optuna's own 10 would be half of a short search
QUIET = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # the study is the record
    "RAY_AIR_NEW_OUTPUT": "0",  # whose table of the set-up is printed however low the verbosity
}
REDUCTION = 3  # ASHA lets one trial in so many go on, after 1, 3, 9 ... epochs


@dataclasses.dataclass(frozen=True)
class Search:
    """One command."""

    job: Job
    preset: str
    minutes: float
    """From the start of the command, preparation included."""
    max_trials: int | None = None
    cpus_per_trial: float = 1.0

    @property
    def space(self) -> Space:
        return SPACES[self.preset]


def search(command: Search) -> TrainingConfig:
    """Run or continue a search; returns the best configuration. ValueError says what is wrong."""
    started, job = time.monotonic(), command.job
    check_unused(job)
    inputs = say("schema and events", open_inputs, job)
    with scratch(job.out / "encoded") as folder:
        setup = prepare(command, inputs, folder)
        open_search(command, setup.encoder)
        study = open_study(command)
        left_s = 60 * command.minutes - (time.monotonic() - started)
        if left_s <= 0:
            raise ValueError(
                f"preparation alone took the {command.minutes:g} minutes; give more --minutes"
            )
        with ray_running(True):
            run_trials(command, setup, left_s, seen=len(study.trials))
    study = optuna.load_study(study_name=command.preset, storage=storage(job.out))
    return conclude(command, study)


def prepare(command: Search, inputs: Inputs, folder: Path) -> Setup:
    """Labels of training and validation, encoded once, with as many negatives as a trial may ask
    for."""
    job, events = command.job, inputs.events
    run, most = job.config.run, most_negatives(command.space)
    labels: dict[SplitName, Labels] = {
        "train": draw(events, "train", run, 2 * most, None),
        "validation": draw(events, "validation", run, 2 * most, VALIDATION_LABELS),
    }
    joined = say("features joined", join_labels, inputs.store, inputs.schema, events, labels)
    check_joined(job, joined)
    encoder = say("encoder", fit_encoder, inputs.store, inputs.schema, inputs.info, events)
    say("labels encoded", encode_labels, encoder, events, labels, joined, folder)
    ranking = say("validation queries", ValidationRanking, inputs.store, encoder, events)
    return Setup(encoder, folder, ranking, job.config)


def check_unused(job: Job) -> None:
    """Raise ValueError if the folder holds a search and nobody asked to continue it."""
    if not job.resume and (job.out / STUDY).exists():
        raise ValueError(
            f"{job.out} already holds a search; add --resume to continue it, or another --out"
        )


def open_search(command: Search, encoder: Encoder) -> None:
    """Note what is searched, or check that what is resumed is the same."""
    record = command.job.out / RECORD
    resolved = {
        "preset": command.preset,
        "config": command.job.config.model_dump(mode="json"),
        "encoder": encoder.fingerprint(),
    }
    if command.job.resume and record.is_file():
        there = json.loads(record.read_text())
        changed = [name for name in resolved if there.get(name) != resolved[name]]
        if changed:
            raise ValueError(
                f"{command.job.out} cannot be resumed: {', '.join(changed)} changed since it was "
                "started; search under another --out"
            )
    write_text_atomic(json.dumps(resolved, indent=2) + "\n", record)


def storage(folder: Path) -> JournalStorage:
    folder.mkdir(parents=True, exist_ok=True)
    return JournalStorage(JournalFileBackend(str(folder / STUDY)))


def open_study(command: Search) -> optuna.Study:
    """The study, new or as far as it got; trials that were cut off are to start again."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        storage=storage(command.job.out),
        study_name=command.preset,
        direction="maximize",
        load_if_exists=True,
    )
    if not study.trials:
        study.enqueue_trial(settings_of(command.job.config, command.space))
    for trial in study.get_trials(states=(TrialState.RUNNING,)):
        study.tell(trial.number, state=TrialState.FAIL)
        study.enqueue_trial(trial.params)
    done = study.get_trials(states=(TrialState.COMPLETE,))
    if done:
        print(f"{len(done)} earlier trials, best {METRIC} {study.best_value:.4f}", flush=True)
    return study


def run_trials(command: Search, setup: Setup, seconds: float, seen: int) -> None:
    """Trials side by side until the time is up; their figures are in the study as they come.

    `seen` trials are in the study already. ASHA compares the new ones with each other only.
    """
    job, run = command.job, setup.config.run
    sampler = optuna.samplers.TPESampler(
        # A resumed search must not draw the same settings again.
        seed=run.seed + seen,
        n_startup_trials=RANDOM_TRIALS,
    )
    searcher = OptunaSearch(
        dict(command.space),
        metric=METRIC,
        mode="max",
        sampler=sampler,
        study_name=command.preset,
        storage=storage(job.out),
    )
    resources = {"cpu": command.cpus_per_trial} | ({"gpu": 1.0} if run.gpu else {})
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    with warnings.catch_warnings():
        # Ray 2.60 reads its own deprecated settings; Feast has made such warnings visible.
        warnings.filterwarnings("ignore", category=DeprecationWarning, module=r"ray\.")
        tune.Tuner(
            tune.with_resources(tune.with_parameters(train_trial, setup=setup), resources),
            tune_config=tune.TuneConfig(
                search_alg=searcher,
                scheduler=ASHAScheduler(
                    metric=METRIC, mode="max", max_t=run.epochs, reduction_factor=REDUCTION
                ),
                num_samples=command.max_trials or -1,
                time_budget_s=seconds,
                max_concurrent_trials=at_once(resources),
            ),
            run_config=tune.RunConfig(
                name="trials", storage_path=str(job.out), verbose=0, callbacks=[Lines()]
            ),
        ).fit()


def at_once(resources: Mapping[str, float]) -> int:
    """How many trials the cluster holds side by side; ValueError where it is none."""
    has = ray.cluster_resources()
    number = min(int(has.get(name.upper(), 0) / one) for name, one in resources.items())
    if number < 1:
        raise ValueError(f"a trial needs {dict(resources)}, but the Ray cluster has {has}")
    return number


class Lines(tune.Callback):  # type: ignore[misc]
    """A line a trial, when it ends."""

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        result = trial.last_result
        if METRIC in result:
            shown = ", ".join(
                f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}"
                for name, value in trial.config.items()
            )
            print(f"{METRIC} {result[METRIC]:.4f} after {result['epoch']} epochs: {shown}")


def conclude(command: Search, study: optuna.Study) -> TrainingConfig:
    """Write and print the best configuration; ValueError if no trial got as far as an epoch."""
    done = study.get_trials(states=(TrialState.COMPLETE,))
    if not done:
        raise ValueError("no trial finished an epoch; add --resume and give more --minutes")
    out, best = command.job.out, study.best_trial
    run = command.job.config.run
    negatives = best.params.get("run.negatives", run.negatives)
    pool = 2 * most_negatives(command.space)
    config = with_settings(
        command.job.config, {**best.params, "run.negative_pool": -(-pool // negatives)}
    )
    text = yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)
    heading = f"# validation {METRIC} {best.value:.4f}, the best of {len(done)} trials\n"
    write_text_atomic(heading + text, out / BEST)
    draw_history(done, out / "history.png")
    print(f"{heading}{text}\nconfig  {out / BEST}\nhistory {out / 'history.png'}", flush=True)
    return config


def draw_history(trials: Sequence[FrozenTrial], path: Path) -> None:
    """Each trial's figure in the order in which they ended, and the best so far."""
    ended = sorted(trials, key=lambda trial: str(trial.datetime_complete))
    values = np.array([trial.value for trial in ended], float)
    numbers = np.arange(1, len(values) + 1)
    figure = Figure(figsize=(7, 3.5), layout="constrained")
    axes = figure.add_subplot()
    axes.plot(numbers, values, "o", color="#888888", label="a trial")
    axes.step(numbers, np.maximum.accumulate(values), where="post", label="best so far")
    axes.set_xlabel("trials")
    axes.set_ylabel(f"validation {METRIC}")
    axes.legend()
    figure.savefig(path, dpi=120)


def parse(arguments: Sequence[str] | None) -> Search:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m training.tune", description=__doc__)
    add = parser.add_argument
    add("--repo", type=Path, default=Path("feature_repo"), help="Feast feature repo (%(default)s)")
    add("--data", type=Path, default=Path("data/current"), help="built data set (%(default)s)")
    add("--service", default="ranking_v1", help="feature service of inputs (%(default)s)")
    add("--out", type=Path, required=True, help="folder of the search; the result is OUT/best.yaml")
    add("--preset", choices=SPACES, default="default", help="what is varied (%(default)s)")
    add("--minutes", type=float, default=30.0, help="budget, preparation included (%(default)g)")
    add("--trials", type=int, help="stop after so many trials as well")
    add("--cpus-per-trial", type=float, default=1.0, help="of the Ray cluster (%(default)g)")
    add("--gpu", action="store_true", help="one GPU a trial")
    add("--seed", type=int, default=0, help="of labels, weights and proposals (%(default)s)")
    add("--config", type=Path, help="YAML whose other settings stand, and the first trial")
    add("--resume", action="store_true", help="continue the search in --out")
    given = parser.parse_args(arguments)
    config = read_config(given.config) if given.config else TrainingConfig()
    config = with_settings(config, {"run.seed": given.seed, "run.gpu": given.gpu or config.run.gpu})
    job = Job(
        repo=given.repo.absolute(),
        data=given.data.absolute(),
        out=given.out.absolute(),
        service=given.service,
        ablate=(),
        resume=given.resume,
        config=config,
    )
    return Search(job, given.preset, given.minutes, given.trials, given.cpus_per_trial)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    return exit_status(lambda: search(parse(arguments)))


if __name__ == "__main__":
    sys.exit(main())
