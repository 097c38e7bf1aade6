"""Train a fusion model: `python -m training.train --data data/current --out runs/NAME`.

In: a feature repo whose registry is applied, and the built data set its features came from. Out: a
run folder with checkpoints, metrics.json, report.html and the bundle that a server loads. Works by
itself (starts a local Ray) and as `ray job submit -- python -m training.train ...`.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import ParamSpec, TypeVar

import ray
from feast import FeatureStore

from feature_repo.pipelines.tables import DatasetInfo, write_text_atomic
from training.arrays import scratch
from training.blend import Blend
from training.blending import before_test, calibrate, contributions, fuse_models
from training.bundle import BUNDLE, EVALUATED
from training.channels import everything, fit_channels, known_sources
from training.command import Job, exit_status, parse
from training.dataset import TrainingData
from training.encode import Encoder
from training.encoded import encode_labels
from training.evaluate import EvaluationResult, evaluate
from training.events import SplitName, read_events
from training.labels import Labels
from training.loop import ModelSpec
from training.outcome import FUSED, Inputs, Learnt, describe, pack_bundle, weights_line
from training.prepare import Joined, draw_again, draw_labels, fit_encoder, join_labels
from training.protocols import until_test
from training.queries import build_queries
from training.report import metric_table, write_report
from training.schema import read_schema
from training.scorer import QueryFeatures
from training.served import Served
from training.slices import build_slices, category_vectors, read_friends
from training.tuning import fitted_again, tuned_baselines
from training.workers import Fitted, fit, start_ray

P = ParamSpec("P")
R = TypeVar("R")

RECORD = "run.json"
CHECKPOINTS = "checkpoints"
ENCODED = "encoded"
REFIT = "refit"
TRAINING = "the training period (the channels: all before the test period)"


@dataclasses.dataclass(frozen=True)
class Prepared:
    """Labels with their features as files."""

    encoder: Encoder
    data: TrainingData
    labels: dict[SplitName, Labels]
    """Each positive and its first negative, by number."""


def train(job: Job) -> Path:
    """Run the whole job; returns the bundle's folder. ValueError says what is wrong."""
    check_unused(job)
    inputs = say("schema and events", open_inputs, job)
    with scratch(job.out / ENCODED) as folder:
        prepared = prepare(job, inputs, folder)
        models = fit_models(job, prepared.encoder, prepared.data)
        features = QueryFeatures(
            inputs.store, prepared.encoder.feature_schema, prepared.encoder, inputs.events
        )
        blends = say("channels and weights", blend, job, inputs, prepared, models, features)
        served = Served.of(blends[FUSED])
        told = (served, models[FUSED].model, prepared.data, inputs.events, prepared.labels)
        calibration, figures = say("calibration", calibrate, *told)
        described = describe(models[FUSED], served, figures, contributions(*told))
    blends = say("channels before test", freshen, job, inputs, prepared.encoder, blends)
    learnt = Learnt(prepared.encoder, models[FUSED], Served.of(blends[FUSED]), TRAINING)
    result = say("evaluation", measure, job, inputs, blends)
    write_report(job.out, result, described)
    pack = functools.partial(pack_bundle, job, inputs, calibration, result)
    if not job.refit:
        bundle = pack(learnt, BUNDLE)
    else:
        pack(learnt, EVALUATED)
        bundle = pack(refit(job, inputs, learnt), BUNDLE)
    print(f"{metric_table(result)}\n{weights_line(learnt.served)}\n", flush=True)
    print(f"report  {job.out / 'report.html'}\nbundle  {bundle}", flush=True)
    return bundle


def prepare(job: Job, inputs: Inputs, folder: Path) -> Prepared:
    """The fitted encoder, and the labels with the features they see as files in `folder`.

    A function of its own so that labels and joined rows leave memory before training.
    """
    labels = say("labels and negatives", draw_labels, inputs.events, job.config.run)
    prepared = encode(job, inputs, labels, folder)
    open_run(job, prepared.encoder)
    return prepared


def encode(job: Job, inputs: Inputs, labels: dict[SplitName, Labels], folder: Path) -> Prepared:
    """Labels with the features that they see, encoded by an encoder of the training period."""
    store, schema, events = inputs.store, inputs.schema, inputs.events
    joined = say("features joined", join_labels, store, schema, events, labels)
    check_joined(job, joined)
    encoder = say("encoder", fit_encoder, store, schema, inputs.info, events)
    data = say("labels encoded", encode_labels, encoder, events, labels, joined, folder)
    return Prepared(encoder, data, {name: own.narrowed(2) for name, own in labels.items()})


def refit(job: Job, inputs: Inputs, learnt: Learnt) -> Learnt:
    """The same learnt from all periods: as many epochs as were best, and the weights as they are.

    Its figures are nobody's: the test period is among what it has learnt from.
    """
    events = everything(inputs.events)
    end_at = inputs.info.last_event_at + timedelta(microseconds=1)
    info = inputs.info.model_copy(update={"train_end_at": end_at})
    whole = dataclasses.replace(inputs, events=events, info=info)
    run = job.config.run.model_copy(
        update={"epochs": learnt.fitted.best_epoch, "patience": learnt.fitted.best_epoch}
    )
    with scratch(job.out / ENCODED) as folder:
        labels = say("labels of all periods", draw_again, inputs.events, events, run)
        prepared = encode(job, whole, labels, folder)
        encoder = prepared.encoder
        spec = ModelSpec(encoder.feature_schema, encoder.vocabulary_sizes, job.config.model)
        with ray_running(run.workers > 0):
            fitted = say(
                "trained again", fit, spec, prepared.data, run, job.out / CHECKPOINTS, REFIT, True
            )
    sources = known_sources(inputs.store, encoder, job.data, events)
    channels = say("channels again", fit_channels, events, sources)
    fitted = dataclasses.replace(fitted, reports=learnt.fitted.reports)
    return Learnt(encoder, fitted, learnt.served.refitted(channels), "all periods")


def say(what: str, do: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Do one stage and print how long it took."""
    started = time.perf_counter()
    outcome = do(*args, **kwargs)
    print(f"{what:<24}{time.perf_counter() - started:6.1f} s", flush=True)
    return outcome


def open_inputs(job: Job) -> Inputs:
    """Open the registry and read the events."""
    if not (job.repo / "feature_store.yaml").is_file():
        raise ValueError(f"{job.repo} has no feature_store.yaml; give --repo your feature repo")
    store = FeatureStore(repo_path=str(job.repo))
    schema = read_schema(store, job.service)
    for source in job.ablate:
        schema.without(source)
    return Inputs(store, schema, DatasetInfo.read(job.data), read_events(job.data))


def check_joined(job: Job, joined: Joined) -> None:
    """Raise ValueError if not a single label found a feature row."""
    views = (*joined.users["train"].values(), *joined.items["train"].values())
    if not any((rows >= 0).any() for rows in views):
        raise ValueError(
            f"no label of {job.data} found a row in any view of '{job.service}'; check that the "
            f"sources in {job.repo} point at the features of that data set, and build them with "
            "`python -m feature_repo.pipelines.build`"
        )


def check_unused(job: Job) -> None:
    """Raise ValueError if the folder holds a run and nobody asked to continue it."""
    if not job.resume and ((job.out / RECORD).exists() or (job.out / CHECKPOINTS).exists()):
        raise ValueError(
            f"{job.out} already holds a run; add --resume to continue it, or give another --out"
        )


def open_run(job: Job, encoder: Encoder) -> None:
    """Note in the run's folder what this run is, or check that what is resumed is the same."""
    record = job.out / RECORD
    resolved = {
        "config": job.config.model_dump(mode="json"),
        "service": job.service,
        "schema": encoder.feature_schema.fingerprint(),
        "encoder": encoder.fingerprint(),
    }
    if job.resume and record.is_file():
        there = json.loads(record.read_text())
        changed = [name for name in resolved if there.get(name) != resolved[name]]
        if changed:
            raise ValueError(
                f"{job.out} cannot be resumed: {', '.join(changed)} changed since it was started; "
                "train under another --out"
            )
    write_text_atomic(json.dumps(resolved, indent=2) + "\n", record)


def fit_models(job: Job, encoder: Encoder, data: TrainingData) -> dict[str, Fitted]:
    """The model with all sources, then one without each ablated source, all with one seed."""
    schema = encoder.feature_schema
    schemas = {FUSED: schema} | {f"without {s}": schema.without(s) for s in job.ablate}
    specs = {
        name: ModelSpec(own, encoder.vocabulary_sizes, job.config.model)
        for name, own in schemas.items()
    }
    run, storage = job.config.run, job.out / CHECKPOINTS
    with ray_running(run.workers > 0):
        return {
            name: say(f"trained {name}", fit, spec, data, run, storage, name.replace(" ", "-"))
            for name, spec in specs.items()
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


def blend(
    job: Job,
    inputs: Inputs,
    prepared: Prepared,
    models: Mapping[str, Fitted],
    features: QueryFeatures,
) -> dict[str, Blend]:
    """Every model fused with the channels, by its name."""
    events = inputs.events
    sources = known_sources(inputs.store, prepared.encoder, job.data, events)
    own = {name: fitted.model for name, fitted in models.items()}
    return fuse_models(own, features, events, sources)


def freshen(
    job: Job, inputs: Inputs, encoder: Encoder, blends: Mapping[str, Blend]
) -> dict[str, Blend]:
    """The blends with channels that know all before the test period."""
    events = until_test(inputs.events)
    return before_test(blends, events, known_sources(inputs.store, encoder, job.data, events))


def measure(job: Job, inputs: Inputs, blends: Mapping[str, Blend]) -> EvaluationResult:
    """Full ranking of the fused score, its parts, the ablations and the tuned baselines on the same
    queries."""
    events = inputs.events
    queries = build_queries(events, "test")
    fused, *ablations = blends.values()
    baselines, tried = tuned_baselines(events, seed=job.config.run.seed)
    fresh = fitted_again(baselines, until_test(events))  # as the channels
    return evaluate(
        [fused, *fused.channels, *fresh],
        queries,
        slices=build_slices(queries, read_friends(job.data, events)),
        item_vectors_ID=category_vectors(job.data, events),
        fused=FUSED,
        ablations=ablations,
        dataset=inputs.info,
        settings=tried,
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    return exit_status(lambda: train(parse(arguments)))


if __name__ == "__main__":
    sys.exit(main())
