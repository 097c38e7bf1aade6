"""Evaluation: rank every candidate for every query, measure, and compare with honest baselines.

In: scorers and queries. Out: an EvaluationResult with means over users, their confidence intervals,
paired differences and slices. `python -m training.train` evaluates a model, `python -m
training.compare` the baselines by themselves.

Shapes: Q queries, K places of a ranked list, I items, D width of an item vector.
"""

import time
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from feature_repo.pipelines.tables import DatasetInfo
from training.baselines import Scorer
from training.bootstrap import Interval, intervals
from training.metrics import KS, coverage, diversity, novelty, ranking_metrics
from training.queries import Queries
from training.ranking import hits, top_items
from training.slices import Slices, build_slices, training_counts

Ints = NDArray[np.int64]
Values = dict[str, NDArray[np.float64]]
Metrics = dict[str, Interval]

BEYOND_K = 10  # list length for coverage, novelty and diversity
REFERENCE = "most-popular-lately"


class EvaluationOptions(BaseModel):
    """How lists are measured."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    ks: tuple[int, ...] = Field(default=KS, min_length=1)
    """Cut-offs; 10 is always measured as well."""
    resamples: int = Field(default=1000, ge=100)
    confidence: float = Field(default=0.95, gt=0, lt=1)
    seed: int = 0
    """Of the bootstrap and of the order among equal scores."""
    progress: bool = False


class SliceResult(BaseModel):
    """The models on a part of the queries, or on a part of the items to be found."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    queries: int
    users: int
    relevant: int
    models: dict[str, Metrics]
    """Empty where no query belongs to the slice."""


class EvaluationResult(BaseModel):
    """All that evaluation found out; metrics.json is this, plus what the training job adds."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    protocol: dict[str, str | int | float | list[int]]
    split: dict[str, str | int]
    models: dict[str, Metrics]
    ablations: dict[str, Metrics] = {}
    differences: dict[str, dict[str, Metrics]] = {}
    """Reference -> model -> metric: the model's figure less the reference's, paired by user."""
    slices: dict[str, SliceResult] = {}
    seconds: dict[str, float] = {}
    settings: dict[str, dict[str, float]] = {}
    """Baseline -> setting tried -> its NDCG@10 on validation."""


def evaluate(
    scorers: Sequence[Scorer],
    queries: Queries,
    slices: Slices | None = None,
    item_vectors_ID: NDArray[np.float32] | None = None,
    fused: str | None = None,
    ablations: Sequence[Scorer] = (),
    options: EvaluationOptions | None = None,
    dataset: DatasetInfo | None = None,
    settings: Mapping[str, Mapping[str, float]] | None = None,
) -> EvaluationResult:
    """Measure every scorer on the same queries.

    `fused` names the scorer that the others, and the ablations, are also compared with. Item
    vectors, [I, D], make diversity measurable. Raises ValueError for two scorers of one name.
    """
    options = options or EvaluationOptions()
    slices = slices or build_slices(queries)
    everyone = [*scorers, *ablations]
    check_names(everyone, fused)
    values, seconds, tops = {}, {}, {}
    for scorer in everyone:
        started = time.perf_counter()
        top_QK = top_items(scorer, queries, depth(options), options.seed, options.progress)
        seconds[scorer.name] = round(time.perf_counter() - started, 2)
        tops[scorer.name] = top_QK
        values[scorer.name] = query_values(top_QK, queries, item_vectors_ID, options)
    found = {name: measured(values[name], tops[name], queries, options) for name in values}
    references = [name for name in (REFERENCE, fused) if name in values]
    return EvaluationResult(
        protocol=protocol(queries, options),
        split=split_facts(queries, dataset),
        models={scorer.name: found[scorer.name] for scorer in scorers},
        ablations={scorer.name: found[scorer.name] for scorer in ablations},
        differences={
            str(name): differences(values, str(name), queries.user_index, options)
            for name in references
        },
        slices=slice_results(tops, queries, slices, options),
        seconds=seconds,
        settings={name: dict(tried) for name, tried in (settings or {}).items()},
    )


def check_names(scorers: Sequence[Scorer], fused: str | None) -> None:
    names = [scorer.name for scorer in scorers]
    if len(set(names)) < len(names):
        raise ValueError(f"scorers must have different names, got {names}")
    if fused is not None and fused not in names:
        raise ValueError(f"no scorer is called {fused!r} (have: {', '.join(names)})")


def depth(options: EvaluationOptions) -> int:
    return max(*options.ks, BEYOND_K)


def cutoffs(options: EvaluationOptions) -> list[int]:
    return sorted({*options.ks, BEYOND_K})


def query_values(
    top_QK: Ints,
    queries: Queries,
    item_vectors_ID: NDArray[np.float32] | None,
    options: EvaluationOptions,
) -> Values:
    """Every metric of every query."""
    hits_QK = hits(top_QK, queries.relevant, queries.num_items)
    values = ranking_metrics(hits_QK, queries.relevant.lengths, cutoffs(options))
    values[f"novelty@{BEYOND_K}"] = novelty(top_QK, training_counts(queries.events), BEYOND_K)
    if item_vectors_ID is not None:
        values[f"diversity@{BEYOND_K}"] = diversity(top_QK, item_vectors_ID, BEYOND_K)
    return values


def measured(values: Values, top_QK: Ints, queries: Queries, options: EvaluationOptions) -> Metrics:
    """Means and intervals over users, and the coverage, which is one figure for all users."""
    available = queries.events.available_at_us < queries.at_us.max()
    share = coverage(top_QK, int(available.sum()), BEYOND_K)
    return {
        **spread(values, queries.user_index, options),
        f"coverage@{BEYOND_K}": Interval(mean=share),
    }


def spread(values: Values, user_Q: Ints, options: EvaluationOptions) -> Metrics:
    return intervals(values, user_Q, options.resamples, options.seed, options.confidence)


def differences(
    values: Mapping[str, Values], reference: str, user_Q: Ints, options: EvaluationOptions
) -> dict[str, Metrics]:
    """Every other scorer less the reference, query by query."""
    return {
        name: spread(
            {metric: own[metric] - values[reference][metric] for metric in own}, user_Q, options
        )
        for name, own in values.items()
        if name != reference
    }


def slice_results(
    tops: Mapping[str, Ints], queries: Queries, slices: Slices, options: EvaluationOptions
) -> dict[str, SliceResult]:
    """An item slice keeps only its items among the relevant; lists still rank all candidates."""
    results = {}
    for name, (mask_Q, part) in slices.parts(queries).items():
        num_Q = part.relevant.lengths
        models = {
            scorer: spread(
                ranking_metrics(
                    hits(top_QK[mask_Q], part.relevant, part.num_items), num_Q, cutoffs(options)
                ),
                part.user_index,
                options,
            )
            for scorer, top_QK in tops.items()
        }
        results[name] = SliceResult(
            queries=len(part),
            users=len(np.unique(part.user_index)),
            relevant=int(num_Q.sum()),
            models=models if len(part) else {},
        )
    return results


def protocol(
    queries: Queries, options: EvaluationOptions
) -> dict[str, str | int | float | list[int]]:
    return {
        "split": f"global time split, {queries.split} period",
        "query": "a user and an instant at which the user took up at least one item for the "
        "first time; those items are relevant",
        "candidates": "every item available strictly before the instant that the user had not "
        "met; all are ranked, none is sampled",
        "averaging": "over a user's queries, then over users",
        "intervals": f"{options.confidence:.0%}, percentile bootstrap over users, "
        f"{options.resamples} resamples",
        "ks": cutoffs(options),
        "seed": options.seed,
    }


def split_facts(queries: Queries, dataset: DatasetInfo | None) -> dict[str, str | int]:
    events = queries.events
    taken = events.at_us[events.take_ups()]
    facts: dict[str, str | int] = {"period": queries.split}
    if dataset is not None:
        facts |= {"dataset": dataset.name, "time_resolution": dataset.time_resolution}
    return {
        **facts,
        "train_end_at": instant(events.train_end_us),
        "validation_end_at": instant(events.validation_end_us),
        "training_take_ups": int((taken < events.train_end_us).sum()),
        "items": len(events.item_ids),
        "all_users": len(events.user_ids),
        **queries.counts.model_dump(),
    }


def instant(at_us: int) -> str:
    return f"{np.datetime_as_string(np.datetime64(at_us, 'us'), unit='s')}Z"
