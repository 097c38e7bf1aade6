"""Train a fusion model: `python -m training.train --data data/current --out runs/NAME`.

In: a feature repo whose registry is applied, and the built data set its features came from. Out: a
run folder with checkpoints, metrics.json, report.html and the bundle that a server loads. Works by
itself (starts a local Ray) and as `ray job submit -- python -m training.train ...`.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import ParamSpec, TypeVar

import numpy as np
import ray
import torch
from feast import FeatureStore

from feature_repo.pipelines.tables import DatasetInfo, table_path, write_text_atomic
from training.arrays import scratch
from training.attribution import mean_contributions
from training.bundle import Seen
from training.calibration import Calibration, fit_calibration, labelled_scores
from training.card import model_card
from training.classification import Figures, classify
from training.command import Job, parse
from training.dataset import Batches, TrainingData
from training.encode import Encoder
from training.encoded import encode_labels
from training.evaluate import EvaluationResult, evaluate
from training.events import Events, read_events
from training.join import join_features
from training.loop import ModelSpec
from training.model import FusionModel
from training.neighbours import item_neighbours
from training.packing import Contents, read_items, write_bundle
from training.prepare import Joined, draw_labels, fit_encoder, join_labels
from training.queries import build_queries
from training.report import ReportExtra, metric_table, write_report
from training.schema import FeatureSchema, read_schema
from training.scorer import FusedScorer, QueryFeatures
from training.slices import build_slices, category_vectors, read_friends
from training.tuning import tuned_baselines
from training.workers import Fitted, fit, start_ray

P = ParamSpec("P")
R = TypeVar("R")

FUSED = "fused"
RECORD = "run.json"
CHECKPOINTS = "checkpoints"
ENCODED = "encoded"
ATTRIBUTED_LABELS = 500  # enough for a share of each source to about a percent


@dataclasses.dataclass(frozen=True)
class Inputs:
    """The data set and its registry, opened."""

    store: FeatureStore
    schema: FeatureSchema
    info: DatasetInfo
    events: Events


def train(job: Job) -> Path:
    """Run the whole job; returns the bundle's folder. ValueError says what is wrong."""
    check_unused(job)
    inputs = say("schema and events", open_inputs, job)
    with scratch(job.out / ENCODED) as folder:
        encoder, data = prepare(job, inputs, folder)
        models = fit_models(job, encoder, data)
        calibration, figures = calibrate(models[FUSED].model, data)
        described = describe(models, figures, data)
    result = say("evaluation", measure, job, inputs, encoder, models)
    write_report(job.out, result, described)
    contents = fill_bundle(job, inputs, encoder, models[FUSED], calibration, result)
    bundle = write_bundle(contents, job.out / "bundle", job.out)
    print(
        f"{metric_table(result)}\n\nreport  {job.out / 'report.html'}\nbundle  {bundle}", flush=True
    )
    return bundle


def prepare(job: Job, inputs: Inputs, folder: Path) -> tuple[Encoder, TrainingData]:
    """The fitted encoder, and the labels with the features they see as files in `folder`.

    A function of its own so that labels and joined rows leave memory before training.
    """
    store, schema, events = inputs.store, inputs.schema, inputs.events
    labels = say("labels and negatives", draw_labels, events, job.config.run)
    joined = say("features joined", join_labels, store, schema, events, labels)
    check_joined(job, joined)
    encoder = say("encoder", fit_encoder, store, schema, inputs.info, events)
    open_run(job, encoder)
    return encoder, say("labels encoded", encode_labels, encoder, events, labels, joined, folder)


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


def calibrate(model: FusionModel, data: TrainingData) -> tuple[Calibration, Figures]:
    """Calibration from validation labels, and its figures on test labels."""
    scores, truth = labelled_scores(model, data, data.validation)
    calibration = fit_calibration(scores, truth)
    test_scores, test_truth = labelled_scores(model, data, data.examples["test"])
    probabilities = (calibration.probability(scores), calibration.probability(test_scores))
    return calibration, classify(probabilities[0], truth, probabilities[1], test_truth)


def measure(
    job: Job, inputs: Inputs, encoder: Encoder, models: dict[str, Fitted]
) -> EvaluationResult:
    """Full ranking of the models, the ablations and the tuned baselines on the same queries."""
    events, schema = inputs.events, encoder.feature_schema
    queries = build_queries(events, "test")
    features = QueryFeatures(inputs.store, schema, encoder, events)
    scorers = [FusedScorer(name, own.model, features) for name, own in models.items()]
    baselines, tried = tuned_baselines(events, seed=job.config.run.seed)
    return evaluate(
        [scorers[0], *baselines],
        queries,
        slices=build_slices(queries, read_friends(job.data, events)),
        item_vectors_ID=category_vectors(job.data, events),
        fused=FUSED,
        ablations=scorers[1:],
        dataset=inputs.info,
        settings=tried,
    )


def describe(models: dict[str, Fitted], figures: Figures, data: TrainingData) -> ReportExtra:
    """What the report shows beyond ranking: curves, classification, what each source counts."""
    reports = models[FUSED].reports
    return ReportExtra(
        title="Fusion model",
        fused=FUSED,
        classification=figures,
        training_curves={
            "loss": {
                "train": [line.train_loss for line in reports],
                "validation": [line.validation_loss for line in reports],
            },
            "validation NDCG (estimated)": {"all": [line.validation_ndcg for line in reports]},
        },
        contributions=contributions(models[FUSED].model, data),
    )


def contributions(model: FusionModel, data: TrainingData) -> dict[str, float]:
    """Mean absolute Shapley value of each source over some of the test labels."""
    examples = data.examples["test"]
    chosen = np.random.default_rng(0).permutation(len(examples))[:ATTRIBUTED_LABELS]
    batch = Batches(data, torch.device("cpu")).gather(examples, chosen, np.arange(1))
    with torch.inference_mode():
        user = model.user_tokens(batch.users)
        item = model.item_tokens(batch.items, batch.item_ids.flatten())
        return mean_contributions(model, user, item.map(lambda tensor: tensor[:, None]))


def fill_bundle(
    job: Job,
    inputs: Inputs,
    encoder: Encoder,
    fitted: Fitted,
    calibration: Calibration,
    result: EvaluationResult,
) -> Contents:
    """Everything the bundle holds, with snapshots as of the data's end."""
    events, info = inputs.events, inputs.info
    num_items, taken = len(events.item_ids), events.take_ups()
    as_of_us = int(events.at_us.max())
    return Contents(
        as_of=info.last_event_at,
        dataset=info.name,
        dataset_fingerprint=hashlib.sha256(info.model_dump_json().encode()).hexdigest()[:16],
        config=job.config,
        encoder=encoder,
        model=fitted.model,
        items=read_items(table_path(job.data, "items"), events.item_ids),
        item_views=join_features(
            inputs.store,
            encoder.feature_schema,
            "item",
            events.item_ids,
            # What happened at the very end is part of the snapshot; the join asks for before.
            np.full(num_items, as_of_us + 1),
        ),
        neighbours=item_neighbours(
            events.user_index[taken], events.item_index[taken], len(events.user_ids), num_items
        ),
        seen=Seen.of_pairs(events.user_ids, events.user_index, events.item_index, num_items),
        calibration=calibration,
        card=model_card(info, job.config, encoder, fitted, result, FUSED),
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit status. What can be put right is one line, not a trace."""
    try:
        train(parse(arguments))
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
