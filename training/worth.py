"""What each source is worth: `python -m training.worth --data data/current --run runs/NAME`.

In: a finished training run, the data set and the feature repo it was trained on. Out: worth.json in
the run's folder, a section of its report.html, and the figures on the terminal: exact Shapley
values of the sources, the model without each and with only one (hidden, and trained again), the
same for new users, new items and the long tail, and what is left when rows go missing. Chooses
nothing and changes no model.
"""

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
from feast import FeatureStore

from feature_repo.pipelines.tables import DatasetInfo, write_text_atomic
from training.attribution import subsets
from training.baselines import Scorer
from training.blending import fuse_one
from training.bundle import BUNDLE, EVALUATED, Bundle, load_bundle
from training.channels import fit_channels, fit_with, known_sources
from training.evaluate import REFERENCE
from training.events import Events, Ints, read_events
from training.masks import Maskable, MaskableServed, masked_lists, only
from training.prepare import draw_again, draw_labels, fit_encoder
from training.protocols import until_test
from training.queries import Queries, QueryOptions, build_queries
from training.ranking import top_items
from training.report import read_report, write_report
from training.retrained import Retrained, choices
from training.robustness import missing_rows
from training.scorer import FusedScorer, QueryFeatures
from training.served import MODEL, Served
from training.slices import Slices, build_slices, cold_slices, read_friends
from training.sources import Sources
from training.tuning import tuned_baselines
from training.valuation import (
    FUSED,
    RETRAINED,
    K,
    Lists,
    Worth,
    robustness,
    score_shares,
    table,
    value_parts,
)

RECORD = "worth.json"
KEPT = "retrained"  # folder of the retrained models
AGAIN = "again"  # in it, those that were then trained on all before the test
KINDS = {"all": ("without", "only"), "without": ("without",), "none": ()}


@dataclasses.dataclass(frozen=True)
class Known:
    """What channels are fitted on."""

    events: Events
    sources: Sources


@dataclasses.dataclass(frozen=True)
class Opened:
    """A run, the data it was trained on and the questions of the test period."""

    bundle: Bundle
    store: FeatureStore
    events: Events
    queries: Queries
    slices: Slices
    features: QueryFeatures
    info: DatasetInfo
    trained: Known
    """The training period, on which weights rest."""
    fresh: Known
    """What the bundle has learnt from: all before the test period, if the run has refitted."""


def measure_worth(flags: argparse.Namespace) -> Worth:
    """Measure everything that the flags ask for; ValueError says what does not fit together."""
    opened = open_run(flags)
    # The bundle's channels have counted all events: only their weights are taken over.
    channels = fit_channels(opened.fresh.events, opened.fresh.sources)
    served = opened.bundle.served.refitted(channels)
    scorer = MaskableServed(FusedScorer(MODEL, opened.bundle.model, opened.features), served, FUSED)
    others = popular_lately(opened)
    others |= retrained(opened, flags.run / KEPT, KINDS[flags.retrain], flags.seed)
    lists, shares = hidden(scorer, opened.queries, others, flags.seed)
    queries, resamples = opened.queries, flags.resamples
    return Worth(
        dataset=opened.bundle.manifest.dataset,
        bundle=opened.bundle.manifest.created_at.isoformat(),
        sources=scorer.sources,
        parts=value_parts(lists, queries, opened.slices, resamples, flags.seed),
        score_shares=shares,
        robustness=robustness(lists, queries, resamples, flags.seed),
    )


def open_run(flags: argparse.Namespace) -> Opened:
    """Open bundle, registry and data set, and check that they belong together."""
    evaluated = flags.run / EVALUATED
    refits = evaluated.is_dir()
    bundle = load_bundle(evaluated if refits else flags.run / BUNDLE)
    info = DatasetInfo.read(flags.data)
    if (info.name, info.last_event_at) != (bundle.manifest.dataset, bundle.as_of):
        raise ValueError(
            f"{flags.run} was trained on '{bundle.manifest.dataset}' as of {bundle.as_of}, but "
            f"{flags.data} holds '{info.name}' as of {info.last_event_at}; give --data the former"
        )
    if not (flags.repo / "feature_store.yaml").is_file():
        raise ValueError(f"{flags.repo} has no feature_store.yaml; give --repo your feature repo")
    store = FeatureStore(repo_path=str(flags.repo))
    bundle.check(store)
    subsets(len(bundle.schema.sources))  # too many sources are an error now, not after an hour
    events = read_events(flags.data)
    asked = QueryOptions(max_users=flags.max_users, max_queries_per_user=flags.max_queries_per_user)
    queries = build_queries(events, "test", asked)
    standing, cold = build_slices(queries, read_friends(flags.data, events)), cold_slices(queries)
    slices = Slices(standing.queries | cold.queries, standing.items | cold.items, cold.pairs)
    features = QueryFeatures(store, bundle.schema, bundle.encoder, events)
    trained, fresh = (
        Known(part, known_sources(store, bundle.encoder, flags.data, part))
        for part in (events, until_test(events) if refits else events)
    )
    return Opened(bundle, store, events, queries, slices, features, info, trained, fresh)


def popular_lately(opened: Opened) -> dict[str, Ints]:
    """Lists of what most took up lately, its half-life chosen on the validation period."""
    seed = opened.bundle.config.run.seed  # as in the run's own evaluation
    baselines, _ = tuned_baselines(opened.events, without=("item-knn", "ease"), seed=seed)
    return {
        scorer.name: top_items(scorer, opened.queries, K, progress=True)
        for scorer in baselines
        if scorer.name == REFERENCE
    }


def retrained(opened: Opened, folder: Path, kinds: Sequence[str], seed: int) -> dict[str, Ints]:
    """Lists of models and channels that never had a source, or had only one, fused anew."""
    lists = {}
    for name, (scorer, served) in fused_anew(opened, folder, kinds).items():
        masked = MaskableServed(scorer, served, name)
        whole = [only(masked.sources, masked, opened.queries)]
        found = masked_lists(masked, opened.queries, whole, K, seed, progress=True)
        lists[name + RETRAINED] = found.top_MQK[0]
    return lists


def fused_anew(
    opened: Opened, folder: Path, kinds: Sequence[str]
) -> dict[str, tuple[FusedScorer, Served]]:
    """Models of some of the sources and how they are fused with channels of these, learnt as the
    bundle was: chosen on validation, then from all before the test."""
    bundle, store, events = opened.bundle, opened.store, opened.events
    wanted, run = choices(bundle.schema, kinds), bundle.config.run
    if not wanted:
        return {}
    encoder = fit_encoder(store, bundle.schema, opened.info, events)
    draw = partial(draw_labels, events, run)
    models = Retrained(bundle, encoder, store, events, draw, folder).models(wanted)
    features = QueryFeatures(store, bundle.schema, encoder, events)
    found = {}
    for name, own in models.items():
        scorer = FusedScorer(MODEL, own.model, features)
        found[name] = scorer, weighed(scorer, opened)
    if opened.fresh.events is events:
        return found
    draw = partial(draw_again, events, opened.fresh.events, "validation", run)
    again = Retrained(bundle, bundle.encoder, store, opened.fresh.events, draw, folder / AGAIN)
    epochs = {name: own.best_epoch for name, own in models.items()}
    return {
        name: (
            FusedScorer(MODEL, own.model, opened.features),
            found[name][1].refitted(channels_of(opened.fresh, own.model.sources)),
        )
        for name, own in again.models(wanted, epochs).items()
    }


def channels_of(known: Known, sources: Sequence[str]) -> list[Scorer]:
    """The channels of somebody who never had other sources."""
    return fit_with(known.events, known.sources, sources)


def weighed(model: FusedScorer, opened: Opened) -> Served:
    """The model with the channels of its sources; alone where these are too weak to be weighed."""
    kept = model.model.sources
    try:
        return Served.of(fuse_one(model, channels_of(opened.trained, kept), opened.events))
    except ValueError as error:
        print(f"{', '.join(kept)}: {error}; the model ranks alone", flush=True)
        return Served(np.ones((1, 1)), (), ())


def hidden(
    scorer: Maskable, queries: Queries, others: dict[str, Ints], seed: int
) -> tuple[Lists, dict[str, float]]:
    """Lists of one model with sources hidden, wholly and in part, and shares of its scores."""
    sources = scorer.sources
    members_NS = subsets(len(sources))[0].numpy()
    masks = [only(np.array(sources)[row].tolist(), scorer, queries) for row in members_NS]
    gaps = missing_rows(sources, len(queries.events.user_ids), queries.num_items, seed)
    found = masked_lists(scorer, queries, [*masks, *gaps.values()], K, seed, progress=True)
    num = len(masks)
    lists = Lists(
        sources, found.top_MQK[:num], others, dict(zip(gaps, found.top_MQK[num:], strict=True))
    )
    return lists, score_shares(found.found_MP[:num], sources)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit status. What can be put right is one line, not a trace."""
    flags = parser().parse_args(arguments)
    try:
        result, extra = read_report(flags.run)
        worth = measure_worth(flags)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    write_text_atomic(worth.model_dump_json(indent=2) + "\n", flags.run / RECORD)
    page = write_report(flags.run, result, extra, worth)
    print(f"{table(worth)}\n\nfigures {flags.run / RECORD}\nreport  {page}")
    return 0


def parser() -> argparse.ArgumentParser:
    flags = argparse.ArgumentParser(
        prog="python -m training.worth",
        description="What each source of a trained model is worth, to whom, and on what items.",
    )
    add = flags.add_argument
    add("--run", type=Path, required=True, help="folder of a finished run, runs/NAME")
    add("--repo", type=Path, default=Path("feature_repo"), help="Feast feature repo (%(default)s)")
    add("--data", type=Path, default=Path("data/current"), help="built data set (%(default)s)")
    add(
        "--retrain",
        choices=KINDS,
        default="all",
        help="models to train again: without each source and with only one, the former alone, or "
        "none, which is by far the quickest; a model that was trained before is not trained again "
        "(%(default)s)",
    )
    add("--max-users", type=int, default=2000, help="draw at most so many (%(default)s)")
    add("--max-queries-per-user", type=int, default=10, help="draw at most so many (%(default)s)")
    add("--resamples", type=int, default=1000, help="of the bootstrap (%(default)s)")
    add("--seed", type=int, default=0, help="of the rows that go missing, the bootstrap and ties")
    return flags


if __name__ == "__main__":
    sys.exit(main())
