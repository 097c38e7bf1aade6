"""Train a fusion model: `python -m training.train --data data/current --out runs/NAME`.

In: a feature repo whose registry is applied, and the built data set its features came from. Out: a
run folder with checkpoints, metrics.json, report.html and the bundle that a server loads. Works by
itself (starts a local Ray) and as `ray job submit -- python -m training.train ...`.
"""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from feast import FeatureStore

from feature_repo.pipelines.tables import DatasetInfo, write_text_atomic
from training.arrays import scratch
from training.blend import Blend
from training.blending import calibrate, contributions, fuse_models
from training.bundle import BUNDLE, EVALUATED
from training.channels import known_sources
from training.command import Job, exit_status, parse
from training.encode import Encoder
from training.evaluate import EvaluationResult, evaluate
from training.events import read_events
from training.outcome import FUSED, Inputs, Learnt, describe, pack_bundle, weights_line
from training.prepare import draw_labels
from training.protocols import until_test
from training.queries import build_queries
from training.refitting import ENCODED, all_periods, before_test, refit
from training.registry import read_schema
from training.report import metric_table, write_report
from training.scorer import QueryFeatures
from training.served import Served
from training.slices import build_slices, category_vectors, read_friends
from training.stages import CHECKPOINTS, WITHOUT, Prepared, encode, fit_models, say
from training.tuning import fitted_again, tuned_baselines
from training.workers import Fitted

RECORD = "run.json"
TRAINING = "the training period"


def train(job: Job) -> Path:
    """Run the whole job; returns the bundle's folder. ValueError says what is wrong."""
    check_unused(job)
    inputs = say("schema and events", open_inputs, job)
    with scratch(job.out / ENCODED) as folder:
        prepared = prepare(job, inputs, folder)
        names = (FUSED, *(f"{WITHOUT}{source}" for source in job.ablate))
        models = fit_models(job, prepared, dict.fromkeys(names, job.config.run))
        blends = say("channels and weights", blend, job, inputs, prepared, models)
        served = Served.of(blends[FUSED])
        told = (served, models[FUSED].model, prepared.data, inputs.events, prepared.labels)
        calibration, figures = say("calibration", calibrate, *told)
        described = describe(models[FUSED], served, figures, contributions(*told))
    learnt = Learnt(prepared.encoder, models, blends, TRAINING)
    if job.refit:
        learnt = refit(job, inputs, before_test(inputs), learnt)
    result = say("evaluation", measure, job, inputs, learnt.blends)
    write_report(job.out, result, described)
    pack = functools.partial(pack_bundle, job, inputs, calibration, result)
    if job.refit:
        pack(learnt, EVALUATED)
        learnt = refit(job, inputs, all_periods(inputs), learnt.without_ablations())
    bundle = pack(learnt, BUNDLE)
    print(f"{metric_table(result)}\n{weights_line(served)}\n", flush=True)
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


def open_inputs(job: Job) -> Inputs:
    """Open the registry and read the events."""
    if not (job.repo / "feature_store.yaml").is_file():
        raise ValueError(f"{job.repo} has no feature_store.yaml; give --repo your feature repo")
    store = FeatureStore(repo_path=str(job.repo))
    schema = read_schema(store, job.service)
    for source in job.ablate:
        schema.without(source)
    return Inputs(store, schema, DatasetInfo.read(job.data), read_events(job.data))


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


def blend(
    job: Job,
    inputs: Inputs,
    prepared: Prepared,
    models: Mapping[str, Fitted],
) -> dict[str, Blend]:
    """Every model fused with the channels, by its name."""
    store, encoder, events = inputs.store, prepared.encoder, inputs.events
    sources = known_sources(store, encoder, job.data, events)
    features = QueryFeatures(store, encoder.feature_schema, encoder, events)
    own = {name: fitted.model for name, fitted in models.items()}
    return fuse_models(own, features, events, sources)


def measure(job: Job, inputs: Inputs, blends: Mapping[str, Blend]) -> EvaluationResult:
    """Full ranking of the fused score, its parts, the ablations and the tuned baselines on the same
    queries."""
    events = inputs.events
    queries = build_queries(events, "test")
    fused, *ablations = blends.values()
    baselines, tried = tuned_baselines(events, seed=job.config.run.seed)
    if job.refit:
        baselines = fitted_again(baselines, until_test(events))
    return evaluate(
        [fused, *fused.channels, *baselines],
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
