"""The trained models and the channels become fused scores, and the fused score a probability.

In: models that were trained, the events and labels they were trained on. Out: a blend for the model
with all sources and one for each ablation, weights learnt on the validation period; calibration and
each source's share in the served score.
"""

# Shapes: n labels, P candidates of a label, K channels

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch

from training.attribution import Beside, mean_contributions
from training.baselines import Scorer
from training.blend import Blend, BlendOptions, learn_blend
from training.calibration import Calibration, fit_calibration, labelled, sampled_scores
from training.channels import fit_channels, fit_without
from training.classification import Figures, classify
from training.dataset import Batches, TrainingData
from training.events import Events, SplitName
from training.labels import Labels
from training.model import FusionModel
from training.queries import build_queries
from training.scorer import FusedScorer, QueryFeatures
from training.served import MODEL, Served, label_terms
from training.sources import Sources

# A validation query costs as much as one of the test. Of few users, each must be asked often: with
# 2 queries of each of MovieLens' 88 the weights are worth .014 NDCG@10 less than with 10.
# Cross-validated over the users of Last.fm's validation period, NDCG@10: free weights .0892, of at
# least 0 .0909, by length of history .0859; the model alone .0759.
WEIGHTS = BlendOptions(max_queries=2_000, steps=(), at_least_zero=True)
CALIBRATED_LABELS = 4_000  # of a period: two parameters, and an AUC to about a percent
ATTRIBUTED_LABELS = 500  # enough for a share of each source to about a percent


def fuse_models(
    models: Mapping[str, FusionModel], features: QueryFeatures, events: Events, sources: Sources
) -> dict[str, Blend]:
    """Each model with the channels of its sources; `models` is by name, the first has them all and
    the others are called "without SOURCE".
    """
    blends: dict[str, Blend] = {}
    for name, model in models.items():
        channels = fit_all(events, sources, name.removeprefix("without ") if blends else "")
        blends[name] = fuse_one(FusedScorer(MODEL, model, features), channels, events)
        blends[name].name = name
    return blends


def fuse_one(model: FusedScorer, channels: Sequence[Scorer], events: Events) -> Blend:
    """A model and channels, with weights learnt on the validation period."""
    return learn_blend([model, *channels], build_queries(events, "validation"), WEIGHTS)


def fit_all(events: Events, sources: Sources, lacks: str) -> list[Scorer]:
    """The channels of somebody who has everything, or all but one source."""
    return fit_without(events, sources, lacks) if lacks else fit_channels(events, sources)


def calibrate(
    served: Served,
    model: FusionModel,
    data: TrainingData,
    events: Events,
    labels: Mapping[SplitName, Labels],
) -> tuple[Calibration, Figures]:
    """Calibration of the served score from validation labels, and its figures on test labels."""
    scores, truth = served_scores(served, model, data, events, labels["validation"])
    calibration = fit_calibration(scores, truth)
    test_scores, test_truth = served_scores(served, model, data, events, labels["test"])
    probabilities = (calibration.probability(scores), calibration.probability(test_scores))
    return calibration, classify(probabilities[0], truth, probabilities[1], test_truth)


def served_scores(
    served: Served, model: FusionModel, data: TrainingData, events: Events, labels: Labels
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    """Served scores of some positives and their first negatives, and which are positives."""
    examples = data.examples[labels.split]
    chosen = np.random.default_rng(0).permutation(len(labels))[:CALIBRATED_LABELS]
    some = labels.take(np.sort(chosen))
    logits_n2 = sampled_scores(model, data, examples, 2)[np.sort(chosen)]
    weight_n, terms_n2K = label_terms(served, events, some)
    return labelled(weight_n[:, None] * logits_n2 + terms_n2K.sum(-1), some.mask)


def contributions(
    served: Served,
    model: FusionModel,
    data: TrainingData,
    events: Events,
    labels: Mapping[SplitName, Labels],
) -> dict[str, float]:
    """Mean absolute Shapley value of each source in the served score of some test positives."""
    examples = data.examples["test"]
    chosen = np.random.default_rng(0).permutation(len(examples))[:ATTRIBUTED_LABELS]
    batch = Batches(data, torch.device("cpu")).gather(examples, chosen, np.arange(1))
    weight_n, terms_nPK = label_terms(served, events, labels["test"].take(chosen))
    with torch.inference_mode():
        user = model.user_tokens(batch.users)
        item = model.item_tokens(batch.items, batch.item_ids.flatten())
        beside = Beside(
            weight_n, terms_nPK[:, :1], served.lives(model.sources, user.present).numpy()
        )
        return mean_contributions(model, user, item.map(lambda tensor: tensor[:, None]), beside)
