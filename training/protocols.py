"""Protocols that figures were published under, as presets: data, split, channels, and the figures.

In: the canonical tables of a data set. Out: a `Trial`: what may be learnt from, what is asked on
validation and on test, and which channels are blended. Everything is chosen on validation; test is
asked once.

- `lastfm-recbole` is that of RecBole-GNN's social benchmark (results/social/lastfm.md): no filter,
  all 92,834 plays as implicit feedback, each user's shuffled and split 8:1:1 (a tenth rounded down,
  at least one), friends both ways. Every item is ranked except, on validation, the training items,
  and on test the training and validation items. Models learn from the training part and read no
  more of a user on test. Recall and NDCG (gains 1, ideal list cut at k) are means over users.
- `beauty-leave-last-out` is SASRec's: each user's last item is test, the one before it validation,
  the rest training; on test the validation item belongs to the history. All other items are
  ranked.
- `global-time` splits at two instants of the data set, asks at each instant at which a user took
  something up, and knows what lies before. Weights are learnt from scorers that were fitted on the
  training period; before the test all are fitted again, on validation too, with those weights.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict

from feature_repo.pipelines.features.encoder import HuggingFaceEncoder
from training.als import ALS
from training.baselines import EASE, ItemKNN, Scorer
from training.events import Events, read_events
from training.item_ridge import ItemRidge
from training.light_graph import LightGraph
from training.matrix_factors import MatrixFactors
from training.profiles import FriendsTaste, Popularity, TermProfile, Trending
from training.queries import Queries, QueryOptions, Split, before, build_queries
from training.sources import Sources, read_sources, title_vectors
from training.split import RandomSplit, random_split
from training.text_link import TextLink
from training.transitions import Transitions
from training.two_tower import TwoTower
from training.user_ridge import UserRidge

EVERYBODY = 1_000_000_000
FIRST_US = -(2**62)  # before any event


@dataclass(frozen=True)
class Recipe:
    """How a scorer is fitted, and the fields of `Sources` without which it is left out."""

    fit: Callable[[Events, Sources], Scorer]
    needs: tuple[str, ...] = ()


class Published(BaseModel):
    """A figure of others under the same protocol."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: str
    recall: float
    ndcg: float
    source: str


@dataclass(frozen=True)
class Trial:
    """One split of one data set."""

    events: Events
    sources: Sources
    validation: Queries
    test: Queries

    def possible(self, recipes: dict[str, Recipe]) -> dict[str, Recipe]:
        """The recipes whose sources this data set has."""
        return {
            name: recipe
            for name, recipe in recipes.items()
            if all(getattr(self.sources, need) is not None for need in recipe.needs)
        }


@dataclass(frozen=True)
class Protocol:
    """A preset: how to get a trial, and what is measured on it."""

    trial: Callable[[Path, int], Trial]
    """Of a data set folder and a seed."""
    refit: Callable[[Path, Trial], Trial]
    """The trial with validation counted as training, for a last fit before the test."""
    refits: bool
    """Whether everything, baselines as well, is fitted again before the test, as a server would be
    that is not to be years behind. What was published under the other protocols was not."""
    splits_at_random: bool
    """False where the seed changes neither the split nor the queries."""
    baselines: dict[str, Recipe]
    channels: dict[str, Recipe]
    """What is blended."""
    published: tuple[Published, ...] = ()


def lastfm_recbole(data_dir: Path, seed: int) -> Trial:
    """Random 8:1:1 of each user's plays; see the head of the module."""
    events = untimed_events(random_split(data_dir, seed, action="play"))
    return Trial(
        events=events,
        sources=read_sources(data_dir, events, by_time=False),
        validation=all_queries(events, "validation"),
        test=reading_training_only(all_queries(events, "test")),
    )


def refit_untimed(data_dir: Path, trial: Trial) -> Trial:
    """Training and validation together are learnt from, and read of a user on test."""
    events = until_test(trial.events)
    sources = read_sources(data_dir, events, by_time=False)
    return replace(trial, events=events, sources=sources, test=all_queries(events, "test"))


def leave_last_out(data_dir: Path, seed: int) -> Trial:
    """The adapter of Amazon Beauty dates everybody's last two items to the last two days."""
    events = read_events(data_dir)
    # Published figures rank all items, those that nobody took up before the last day as well.
    events = replace(events, available_at_us=np.full_like(events.available_at_us, FIRST_US))
    return Trial(
        events=events,
        sources=sources_with_titles(data_dir, events),
        validation=all_queries(events, "validation"),
        test=all_queries(events, "test"),
    )


def global_time(data_dir: Path, seed: int) -> Trial:
    """The data set's own instants, and queries as evaluation asks them."""
    events = read_events(data_dir)
    return Trial(
        events=events,
        sources=sources_with_titles(data_dir, events),
        validation=build_queries(events, "validation"),
        test=build_queries(events, "test"),
    )


def refit_timed(data_dir: Path, trial: Trial) -> Trial:
    """What lies before the test period is learnt from; queries read of a user what they did."""
    events = until_test(trial.events)
    sources = replace(read_sources(data_dir, events), vectors_ID=trial.sources.vectors_ID)
    return replace(trial, events=events, sources=sources)


def until_test(events: Events) -> Events:
    return replace(events, train_end_us=events.validation_end_us)


def untimed_events(split: RandomSplit) -> Events:
    """A random split as events: the parts at the instants 0, 1 and 2."""
    order = np.argsort(split.part, kind="stable")
    return Events(
        user_ids=split.user_ids,
        item_ids=split.item_ids,
        available_at_us=np.full(len(split.item_ids), -1),
        user_index=split.user_index[order],
        item_index=split.item_index[order],
        at_us=split.part[order],
        is_positive=np.ones(len(order), dtype=bool),
        train_end_us=1,
        validation_end_us=2,
    )


def all_queries(events: Events, split: Split) -> Queries:
    """A query for every user and instant with something to find there."""
    options = QueryOptions(max_users=EVERYBODY, max_queries_per_user=EVERYBODY, horizon_days=0.0)
    return build_queries(events, split, options)


def left_to_watch(events: Events) -> Queries | None:
    """All of validation, for a fit that stops where its figure there does, as published fits do.

    None in a refit, to which validation is training.
    """
    if events.train_end_us == events.validation_end_us:
        return None
    return all_queries(events, "validation")


def reading_training_only(queries: Queries) -> Queries:
    """The same queries with a history of training take-ups; whatever was seen stays seen."""
    events = queries.events
    taken = events.training_take_ups()
    return replace(queries, history=before(events, taken, queries.user_index, queries.at_us))


def sources_with_titles(data_dir: Path, events: Events) -> Sources:
    vectors_ID = title_vectors(data_dir, HuggingFaceEncoder())
    return replace(read_sources(data_dir, events), vectors_ID=vectors_ID)


POPULARITY = Recipe(lambda events, _: Popularity(events))
MONTH = Recipe(lambda _, __: Trending(30.0, "trending-30-days"))
YEAR = Recipe(lambda _, __: Trending(365.0, "trending-365-days"))
KNN = Recipe(lambda events, _: ItemKNN(events, num_neighbours=200, shrink=10.0))
LINEAR = Recipe(lambda events, _: EASE(events, regularisation=100.0))
USERS = Recipe(lambda events, sources: UserRidge(events, sources))
ITEMS = Recipe(lambda events, sources: ItemRidge(events, sources))
FRIENDS = Recipe(lambda events, sources: FriendsTaste(events, sources), ("friends_UU",))
TERMS = Recipe(lambda _, sources: TermProfile(sources), ("terms_IG",))
LATEST_TERMS = Recipe(lambda _, sources: TermProfile(sources, decay=0.6), ("terms_IG",))
FACTORS = Recipe(lambda events, sources: ALS(events, sources))
NEXT = Recipe(lambda events, _: Transitions(events))
TEXT = Recipe(lambda events, sources: TextLink(events, sources), ("vectors_ID",))

TOWERS = Recipe(lambda events, sources: TwoTower(events, sources), ("vectors_ID",))
BPR = Recipe(lambda events, _: MatrixFactors(events, watch=left_to_watch(events)))
GRAPH = Recipe(lambda events, sources: LightGraph(events, sources, watch=left_to_watch(events)))

RECBOLE = "RecBole-GNN, results/social/lastfm.md"
PROTOCOLS = {
    "lastfm-recbole": Protocol(
        trial=lastfm_recbole,
        refit=refit_untimed,
        refits=False,
        splits_at_random=True,
        baselines={"item-knn": KNN, "ease": LINEAR, "bpr": BPR, "light-graph": GRAPH},
        channels={
            "user-ridge": USERS,
            "item-ridge": ITEMS,
            "als": FACTORS,
            "friends": FRIENDS,
            "terms": TERMS,
            "popularity": POPULARITY,
        },
        published=(
            Published(name="SEPT", recall=0.2127, ndcg=0.2057, source=RECBOLE),
            Published(name="MHCN", recall=0.2123, ndcg=0.2068, source=RECBOLE),
            Published(name="LightGCN", recall=0.2064, ndcg=0.1972, source=RECBOLE),
            Published(name="BPR", recall=0.1761, ndcg=0.1674, source=RECBOLE),
        ),
    ),
    "beauty-leave-last-out": Protocol(
        trial=leave_last_out,
        refit=refit_timed,
        refits=False,
        splits_at_random=False,
        baselines={"item-knn": KNN},
        channels={
            "transitions": NEXT,
            "text-link": TEXT,
            "two-tower": TOWERS,
            "terms": LATEST_TERMS,
            "popularity": POPULARITY,
        },
        published=(
            Published(name="eSASRec", recall=0.0928, ndcg=0.0523, source="arXiv 2508.06450"),
            Published(
                name="SASRec, sampled softmax",
                recall=0.0921,
                ndcg=0.0531,
                source="arXiv 2508.06450",
            ),
            Published(name="TIGER", recall=0.0648, ndcg=0.0384, source="arXiv 2305.05065"),
        ),
    ),
    "global-time": Protocol(
        trial=global_time,
        refit=refit_timed,
        refits=True,
        splits_at_random=False,
        baselines={
            "popularity": POPULARITY,
            "trending-30-days": MONTH,
            "trending-365-days": YEAR,
            "item-knn": KNN,
            "ease": LINEAR,
        },
        channels={
            "user-ridge": USERS,
            "item-ridge": ITEMS,
            "transitions": NEXT,
            "text-link": TEXT,
            "friends": FRIENDS,
            "terms": LATEST_TERMS,
            "trending-30-days": MONTH,
            "trending-365-days": YEAR,
        },
    ),
}
