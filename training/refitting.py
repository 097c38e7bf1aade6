"""Learning again from more periods; epochs and weights stay as they were chosen on validation.

In: what was learnt from the training period. Out: the same with encoder, models and channels of all
that lies before the test, which the evaluation asks, or of everything, which is served.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from datetime import datetime, timedelta

from training.arrays import scratch
from training.blend import Blend
from training.blending import fit_all
from training.channels import everything, known_sources
from training.command import Job
from training.encode import Encoder
from training.events import Events, SplitName
from training.outcome import FUSED, Inputs, Learnt
from training.prepare import draw_again
from training.protocols import until_test
from training.scorer import FusedScorer, QueryFeatures
from training.served import MODEL
from training.stages import WITHOUT, encode, fit_models, say
from training.workers import Fitted

ENCODED = "encoded"


@dataclasses.dataclass(frozen=True)
class Period:
    """What is learnt from again."""

    stage: str
    """As it is printed, and named among the checkpoints."""
    learnt_from: str
    """In words, for the model card."""
    events: Events
    """With all of the period as training."""
    end_at: datetime
    watched: SplitName
    """Of the original periods the newest that is learnt from: its figures show that learning goes
    on, and no more than that."""


def before_test(inputs: Inputs) -> Period:
    """Training and validation: what a server knows on the day on which the test begins."""
    end_at, events = inputs.info.validation_end_at, until_test(inputs.events)
    return Period("before test", "all before the test period", events, end_at, "validation")


def all_periods(inputs: Inputs) -> Period:
    """What is served; the test period is among it, so that its figures are nobody's."""
    end_at = inputs.info.last_event_at + timedelta(microseconds=1)
    return Period("all periods", "all periods", everything(inputs.events), end_at, "test")


def refit(job: Job, inputs: Inputs, period: Period, learnt: Learnt) -> Learnt:
    """The same learnt from the period: each model by as many epochs as were best for it."""
    info = inputs.info.model_copy(update={"train_end_at": period.end_at})
    known = dataclasses.replace(inputs, events=period.events, info=info)
    run = job.config.run
    runs = {
        name: run.model_copy(update={"epochs": own.best_epoch, "patience": own.best_epoch})
        for name, own in learnt.models.items()
    }
    with scratch(job.out / ENCODED) as folder:
        labels = say(
            f"labels, {period.stage}", draw_again, inputs.events, period.events, period.watched, run
        )
        prepared = encode(job, known, labels, folder)
        models = fit_models(job, prepared, runs, period.stage, take_last=True)
    models = {
        name: dataclasses.replace(own, reports=learnt.models[name].reports)
        for name, own in models.items()
    }
    encoder = prepared.encoder
    blends = say("channels again", blend_again, job, inputs, period, encoder, models, learnt.blends)
    return Learnt(encoder, models, blends, period.learnt_from)


def blend_again(
    job: Job,
    inputs: Inputs,
    period: Period,
    encoder: Encoder,
    models: Mapping[str, Fitted],
    blends: Mapping[str, Blend],
) -> dict[str, Blend]:
    """The same weights over models and channels that have learnt from the period."""
    sources = known_sources(inputs.store, encoder, job.data, period.events)
    features = QueryFeatures(inputs.store, encoder.feature_schema, encoder, inputs.events)
    again: dict[str, Blend] = {}
    for name, own in models.items():
        lacks = "" if name == FUSED else name.removeprefix(WITHOUT)
        fresh = {c.name: c for c in fit_all(period.events, sources, lacks)}
        _, *channels = blends[name].channels
        asked = [FusedScorer(MODEL, own.model, features), *(fresh[c.name] for c in channels)]
        again[name] = blends[name].over(asked)
    return again
