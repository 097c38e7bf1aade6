"""Stages that a run goes through more than once: labels encoded, models fitted.

In: a job and its inputs. Out: encoded labels as files, and fitted models; each stage prints how
long it took. The order of stages is in `train.py`.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import ParamSpec, TypeVar

import ray

from training.command import Job
from training.config import RunConfig
from training.dataset import TrainingData
from training.encode import Encoder
from training.encoded import encode_labels
from training.events import SplitName
from training.labels import Labels
from training.loop import ModelSpec
from training.outcome import FUSED, Inputs
from training.prepare import Joined, fit_encoder, join_labels
from training.workers import Fitted, fit, start_ray

P = ParamSpec("P")
R = TypeVar("R")

CHECKPOINTS = "checkpoints"
WITHOUT = "without "


@dataclasses.dataclass(frozen=True)
class Prepared:
    """Labels with their features as files."""

    encoder: Encoder
    data: TrainingData
    labels: dict[SplitName, Labels]
    """Each positive and its first negative, by number."""


def say(what: str, do: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Do one stage and print how long it took."""
    started = time.perf_counter()
    outcome = do(*args, **kwargs)
    print(f"{what:<24}{time.perf_counter() - started:6.1f} s", flush=True)
    return outcome


def encode(job: Job, inputs: Inputs, labels: dict[SplitName, Labels], folder: Path) -> Prepared:
    """Labels with the features that they see, encoded by an encoder of the training period."""
    store, schema, events = inputs.store, inputs.schema, inputs.events
    joined = say("features joined", join_labels, store, schema, events, labels)
    check_joined(job, joined)
    encoder = say("encoder", fit_encoder, store, schema, inputs.info, events)
    data = say("labels encoded", encode_labels, encoder, events, labels, joined, folder)
    return Prepared(encoder, data, {name: own.narrowed(2) for name, own in labels.items()})


def check_joined(job: Job, joined: Joined) -> None:
    """Raise ValueError if not a single label found a feature row."""
    views = (*joined.users["train"].values(), *joined.items["train"].values())
    if not any((rows >= 0).any() for rows in views):
        raise ValueError(
            f"no label of {job.data} found a row in any view of '{job.service}'; check that the "
            f"sources in {job.repo} point at the features of that data set, and build them with "
            "`python -m feature_repo.pipelines.build`"
        )


def specs(job: Job, encoder: Encoder, names: Collection[str]) -> dict[str, ModelSpec]:
    """What each model is built from: FUSED has every source, the others are "without SOURCE"."""
    schema = encoder.feature_schema
    schemas = {n: schema if n == FUSED else schema.without(n.removeprefix(WITHOUT)) for n in names}
    return {
        name: ModelSpec(own, encoder.vocabulary_sizes, job.config.model)
        for name, own in schemas.items()
    }


def fit_models(
    job: Job,
    prepared: Prepared,
    runs: Mapping[str, RunConfig],
    stage: str = "trained",
    take_last: bool = False,
) -> dict[str, Fitted]:
    """A model for each run, by name. Checkpoints of `stage` and name are continued."""
    folder = job.out / CHECKPOINTS
    folder = folder if stage == "trained" else folder / stage.replace(" ", "-")
    with ray_running(job.config.run.workers > 0):
        return {
            name: say(
                f"{stage} {name}",
                fit,
                spec,
                prepared.data,
                runs[name],
                folder,
                name.replace(" ", "-"),
                take_last,
            )
            for name, spec in specs(job, prepared.encoder, runs).items()
        }


@contextmanager
def ray_running(wanted: bool) -> Iterator[None]:
    """Ray for the length of the block; a connection that was there before stays."""
    started = wanted and start_ray()
    try:
        yield
    finally:
        if started:
            ray.shutdown()
