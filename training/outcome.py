"""What a run leaves behind: the report's facts and the bundle.

In: what was learnt and measured. Out: what the report shows beyond ranking, a line of weights for
the terminal, and a bundle with snapshots as of the data's end. Nothing is learnt here.
"""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path
from typing import Self

import numpy as np
from feast import FeatureStore

from feature_repo.pipelines.tables import DatasetInfo, table_path
from training.blend import Blend
from training.bundle import Seen
from training.calibration import Calibration
from training.card import model_card
from training.classification import Figures
from training.command import Job
from training.encode import Encoder
from training.evaluate import EvaluationResult
from training.events import Events
from training.join import join_features
from training.neighbours import item_neighbours
from training.packing import Contents, read_items, write_bundle
from training.queries import before
from training.report import ReportExtra
from training.schema import FeatureSchema
from training.served import Served
from training.workers import Fitted

FUSED = "fused"
"""What the served score is called in the evaluation."""


@dataclasses.dataclass(frozen=True)
class Inputs:
    """The data set and its registry, opened."""

    store: FeatureStore
    schema: FeatureSchema
    info: DatasetInfo
    events: Events


@dataclasses.dataclass(frozen=True)
class Learnt:
    """What ranks: an encoder, models that read what it encodes, and their blends with channels."""

    encoder: Encoder
    models: dict[str, Fitted]
    """By name: `FUSED`, then "without SOURCE" for each ablation."""
    blends: dict[str, Blend]
    periods: str
    """What all of it has learnt from, in words."""

    @property
    def served(self) -> Served:
        return Served.of(self.blends[FUSED])

    def without_ablations(self) -> Self:
        """What is served."""
        fused, blend = self.models[FUSED], self.blends[FUSED]
        return dataclasses.replace(self, models={FUSED: fused}, blends={FUSED: blend})


def describe(
    fitted: Fitted, served: Served, figures: Figures, shares: dict[str, float]
) -> ReportExtra:
    """What the report shows beyond ranking: curves, classification, what each source counts."""
    reports = fitted.reports
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
        contributions=shares,
        facts={f"weight of {name}": round(w, 4) for name, w in served.by_name().items()},
    )


def weights_line(served: Served) -> str:
    """The weights for a terminal."""
    return "weights  " + "  ".join(f"{name} {w:.3f}" for name, w in served.by_name().items())


def pack_bundle(
    job: Job,
    inputs: Inputs,
    calibration: Calibration,
    result: EvaluationResult,
    learnt: Learnt,
    name: str,
) -> Path:
    """Write a bundle with snapshots as of the data's end into the run's folder."""
    events, info, encoder = inputs.events, inputs.info, learnt.encoder
    num_items, taken = len(events.item_ids), events.take_ups()
    fitted, served = learnt.models[FUSED], learnt.served
    as_of_us = int(events.at_us.max())
    num_users = len(events.user_ids)
    contents = Contents(
        as_of=info.last_event_at,
        dataset=info.name,
        dataset_fingerprint=hashlib.sha256(info.model_dump_json().encode()).hexdigest()[:16],
        config=job.config,
        encoder=encoder,
        model=fitted.model,
        served=served.counted(events),
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
            events.user_index[taken], events.item_index[taken], num_users, num_items
        ),
        seen=Seen.of_pairs(events.user_ids, events.user_index, events.item_index, num_items),
        taken=before(events, taken, np.arange(num_users), np.full(num_users, as_of_us + 1)),
        calibration=calibration,
        card=model_card(
            info,
            job.config,
            encoder,
            fitted,
            result,
            FUSED,
            served.by_name(),
            learnt.periods,
        ),
    )
    return write_bundle(contents, job.out / name, job.out)
