"""Weights: how much each fact behind an item moved its score, by hiding it from the model.

In: a user, items and the facts about each. Out: for each item, by fact, by how much the score falls
when the model does not see what the fact tells of. All items and facts are one forward pass.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from serving.evidence import Fact, Sources
from serving.item_columns import embeddings
from serving.names import spelling
from serving.snapshot import Positions, Snapshot
from serving.users import HISTORY_SOURCE, User, history_field, item_sequences
from serving.voices import Said, Voices
from training.attribution import Hidden, Trial, trial_scores
from training.schema import FeatureSchema, ViewSpec


def sources_of(schema: FeatureSchema) -> Sources:
    """Which source of this bundle each kind of fact belongs to, as its views' tags say."""

    def first(views: Sequence[ViewSpec], kind: str, vocabulary: str | None, other: str) -> str:
        found = (
            view.source
            for view in views
            for field in view.fields
            if field.kind == kind and vocabulary in (None, field.vocabulary)
        )
        return next(found, other)

    known, items = Sources(), schema.item_views
    others = [view.source for view, _ in item_sequences(schema) if view.source != HISTORY_SOURCE]
    return Sources(
        history=HISTORY_SOURCE,
        keyword=first(items, "sequence", "keyword", known.keyword),
        category=first(items, "sequence", "category", known.category),
        text=next((view.source for view, _ in embeddings(schema)), known.text),
        friends=next(iter(others), known.friends),
        popularity=first(items, "counter", None, known.popularity),
    )


def weigh(
    snapshot: Snapshot,
    voices: Voices,
    user: User,
    positions: Positions,
    at_us: int,
    scores: npt.NDArray[np.floating],
    facts: Sequence[Sequence[Fact]],
) -> list[dict[str, float]]:
    """For each item the weight of each of its facts, by the fact's id, in units of the score."""
    asked = [(item, fact) for item, own in enumerate(facts) for fact in own]
    weights: list[dict[str, float]] = [{} for _ in facts]
    if not asked:
        return weights
    trials = [_trial(snapshot, user, item, int(positions[item]), fact) for item, fact in asked]
    logits = trial_scores(
        snapshot.bundle.model,
        user.batches,
        snapshot.batches(positions, at_us),
        snapshot.numbers[torch.from_numpy(positions)],
        trials,
    ).numpy()
    told = _told(snapshot, voices, user, at_us, [fact for _, fact in asked])
    for number, (item, fact) in enumerate(asked):
        without = told[number].scores(logits[[number]], positions[[item]])
        weights[item][fact.id] = float(scores[item]) - float(without[0])
    return weights


def _told(
    snapshot: Snapshot, voices: Voices, user: User, at_us: int, facts: Sequence[Fact]
) -> list[Said]:
    """For each fact what the channels say when it is hidden from them.

    Without an item of the history they are asked again. Those that live on friends or on popularity
    alone fall silent without such a fact. Single terms and the user's own words are hidden from the
    model only: what a channel makes of them stays.
    """
    items = sorted({fact.entity_ids[0] for fact in facts if fact.kind == "history"})
    whole, *shorter = voices.say_each(user, at_us, [None, *items])
    by_item = dict(zip(items, shorter, strict=True))
    sources = snapshot.bundle.model.sources
    return [
        by_item[fact.entity_ids[0]]
        if fact.kind == "history"
        else whole.without_only(sources.index(fact.source))
        if fact.kind in ("friends", "popularity") and fact.source in sources
        else whole
        for fact in facts
    ]


def _trial(snapshot: Snapshot, user: User, item: int, position: int, fact: Fact) -> Trial:
    """What to hide, so that the model does not see what the fact tells of."""
    schema = snapshot.bundle.schema
    if fact.kind == "term":
        return Trial(item, of_item=_places_of_term(snapshot, position, spelling(fact.name)))
    if fact.kind == "popularity":
        views = [view for view in schema.item_views if view.of_kind("counter")]
        return Trial(item, of_item=tuple(Hidden(view.name) for view in views))
    if fact.kind == "text":
        views = [view for view in schema.user_views if view.source == fact.source]
        fields = [(view, field) for view in views for field in view.of_kind("embedding")]
        return Trial(item, of_user=tuple(Hidden(view.name, field.name) for view, field in fields))
    if fact.kind == "friends":
        return Trial(item, of_user=_places_among_others(schema, user, snapshot.item_ids[position]))
    own = history_field(schema)
    assert own is not None, "there is a history fact, so there is a history"
    place = user.history.index(fact.entity_ids[0])
    return Trial(item, of_user=(Hidden(own[0].name, own[1].name, place),))


def _places_of_term(snapshot: Snapshot, position: int, term: str) -> tuple[Hidden, ...]:
    """Entries of the item's own lists that are the term, in whatever spelling."""
    return tuple(
        Hidden(view.name, field.name, place)
        for view in snapshot.bundle.schema.item_views
        for field in view.of_kind("sequence")
        for place, name in enumerate(snapshot.entries(view.name, field.name, position))
        if spelling(name) == term
    )


def _places_among_others(schema: FeatureSchema, user: User, item_id: str) -> tuple[Hidden, ...]:
    """Entries of other people's lists that are the item."""
    found = []
    for view, field in item_sequences(schema):
        items = user.rows.get(view.name, {}).get(field.name)
        if view.source != HISTORY_SOURCE and isinstance(items, list | tuple) and item_id in items:
            found.append(Hidden(view.name, field.name, items.index(item_id)))
    return tuple(found)
