"""Slate facts: what may be said of each item of a slate to this user, gathered and weighed.

In: a user and the positions of a slate. Out: facts for each item, see serving/evidence.py. Whatever
columns say of items is read for all of them at once.
"""

# Shapes: k slate, N neighbours, I items, E length of a text vector

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from serving.evidence import (
    POPULARITY_STEPS,
    Fact,
    ItemFacts,
    Past,
    gather,
    text_facts,
    weighed,
)
from serving.snapshot import Positions, Snapshot
from serving.timing import stage
from serving.users import User, own_words
from serving.voices import Voices
from serving.weights import sources_of, weigh

Vectors = npt.NDArray[np.float32]

MOST_COMPARED = 20_000  # vectors, which are read in some milliseconds


class SlateFacts:
    """Gathers the facts of one replica's slates."""

    def __init__(self, snapshot: Snapshot, voices: Voices, min_friends: int) -> None:
        self._snapshot, self._voices, self._min_friends = snapshot, voices, min_friends
        self._schema = snapshot.bundle.schema
        self._sources = sources_of(self._schema)
        self._compared = sample(len(snapshot))

    @stage("facts")
    def gather(
        self, user: User, positions: Positions
    ) -> tuple[list[ItemFacts], list[tuple[Fact, ...]]]:
        """Each item [k], and what may be said of it."""
        own, actions, at_us = self._taken(user)
        told = self._snapshot.facts(
            np.append(own, positions), [-1] * len(own) + self._ranks(positions)
        )
        taken, items = told[: len(own)], told[len(own) :]
        asked = frozenset().union(*(item.spelled for item in items))
        past, others = Past(taken, actions, at_us, asked), list(user.others.values())
        return items, [
            gather(
                item,
                past,
                near,
                max([counts.get(item.item_id, 0) for counts in others], default=0),
                sources=self._sources,
                min_friends=self._min_friends,
            )
            for item, near in zip(items, self._near(positions, own, past), strict=True)
        ]

    @stage("weighing")
    def weighed(
        self,
        user: User,
        positions: Positions,
        scores: npt.NDArray[np.float64],
        at_us: int,
        facts: Sequence[tuple[Fact, ...]],
    ) -> list[tuple[Fact, ...]]:
        """The facts, and that of close text, with what the model made of each."""
        text = [text_facts(p, self._sources) for p in self._text_percents(user, positions)]
        facts = [(*own, *more) for own, more in zip(facts, text, strict=True)]
        weights = weigh(self._snapshot, self._voices, user, positions, at_us, scores, facts)
        return [weighed(own, given) for own, given in zip(facts, weights, strict=True)]

    def _taken(self, user: User) -> tuple[Positions, list[str], list[int | None]]:
        """Positions of the user's take-ups that the catalogue has, without any that the user hid
        since; what was done, and when."""
        known, hidden = self._snapshot.position, set(user.rejected)
        kept = [
            (position, action, at)
            for item, action, at in zip(user.history, user.actions, user.taken_at_us, strict=True)
            if (position := known.get(item)) is not None and item not in hidden
        ]
        positions = np.array([position for position, _, _ in kept], np.int64)
        return positions, [action for _, action, _ in kept], [at for _, _, at in kept]

    def _ranks(self, positions: Positions) -> list[int]:
        """Popularity ranks as far as they are told, -1 beyond: most items are not looked up."""
        popularity = self._snapshot.popularity
        first = set(popularity.first(POPULARITY_STEPS[-1]).tolist())
        return [popularity.rank(item) if item in first else -1 for item in positions.tolist()]

    def _near(self, positions: Positions, own: Positions, past: Past) -> list[dict[str, float]]:
        """For each item [k] the take-ups that are among its neighbours, and how similar they are.
        Items that came after the bundle have none."""
        names = {place: item.item_id for place, item in zip(own.tolist(), past.items, strict=True)}
        table, near = self._snapshot.bundle.neighbours, [dict[str, float]() for _ in positions]
        taken, rows = set(names), np.flatnonzero(positions < len(table.ids))
        for row, ids_N in zip(rows.tolist(), table.ids[positions[rows]].tolist(), strict=True):
            for other in taken.intersection(ids_N):
                score = table.scores[positions[row], ids_N.index(other)]
                near[row][names[other]] = float(score)
        return near

    def _text_percents(self, user: User, positions: Positions) -> list[int | None]:
        """Of how many percent of the catalogue the text is further from the user's own words."""
        own, vectors = own_words(user, self._schema), self._snapshot.vectors
        if own is None or vectors is None or vectors.shape[1] != len(own):
            return [None] * len(positions)
        return percents(vectors, self._compared, own, positions)


def sample(num_items: int) -> Positions:
    """Items of a catalogue too large to be compared with whole, ascending."""
    return np.sort(np.random.default_rng(0).permutation(num_items)[:MOST_COMPARED])


def percents(
    vectors_IE: Vectors, compared: Positions, own_E: Vectors, positions: Positions
) -> list[int | None]:
    """For each item [k] of how many percent of the catalogue the vector is further from `own_E`: of
    a larger catalogue by the items compared, which is right to half a percent."""
    if len(vectors_IE) <= MOST_COMPARED:
        closeness = vectors_IE @ own_E
        asked_k = closeness[positions]
    else:
        closeness = vectors_IE.take(compared, axis=0) @ own_E
        asked_k = vectors_IE[positions] @ own_E
    below_k = np.searchsorted(np.sort(closeness), asked_k) / len(closeness)
    # Nothing is closer than all: itself is not further.
    return np.minimum(100 * below_k, 99).astype(int).tolist()  # type: ignore[no-any-return]
