"""Voices: what the bundle's channels say to one asker, as parts of the served score.

In: the snapshot, a user as the feature store has them now, an instant. Out: a `Said`, which tells
by how much each channel raises or lowers the items that it is asked about. Channels score one asker
by the state that scored the queries of the evaluation; only the history is put together here, from
the bundle's and what came since.
"""

# Shapes: I items, C candidates, K channels, S sources, T tellings

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from serving.clock import microseconds
from serving.filters import are_among, places_of
from serving.snapshot import Positions, Snapshot
from serving.timing import stage
from serving.users import User
from training.attribution import Beside
from training.events import Events
from training.queries import Queries, Ragged, asking
from training.served import Needs, Voice

UNKNOWN = -1  # a user that the bundle lacks, an item that the catalogue lacks
NUM_WARM = 20  # items of the history that the first question is asked with


@dataclass(frozen=True)
class Said:
    """What one asker is told: score = model_weight * logit + the sum of terms."""

    names: tuple[str, ...]
    model_weight: float
    voices: tuple[Voice | None, ...]
    """[K]; None for a channel that says nothing."""
    lives_KS: torch.Tensor
    """bool: without any one of these sources the channel says nothing."""

    def terms(self, positions: Positions) -> npt.NDArray[np.float32]:
        """What each channel adds to the scores of candidates, [K, C]."""
        terms_KC = np.zeros((len(self.voices), len(positions)), np.float32)
        order_C = np.argsort(positions)  # what is asked for in order is found in half the time
        ascending_C = positions[order_C]
        for place, voice in enumerate(self.voices):
            if voice is not None:
                terms_KC[place, order_C] = voice.at(ascending_C)
        return terms_KC

    def scores(
        self, logits_C: npt.NDArray[np.float32], positions: Positions
    ) -> npt.NDArray[np.float32]:
        """Served scores [C] of candidates."""
        return self.summed(logits_C, self.terms(positions))

    def summed(
        self, logits_C: npt.NDArray[np.float32], terms_KC: npt.NDArray[np.float32]
    ) -> npt.NDArray[np.float32]:
        """The same where the terms are known."""
        return np.asarray(self.model_weight * logits_C + terms_KC.sum(axis=0), dtype=np.float32)

    def without(self, source: int) -> "Said":
        """The same when the source with this number is hidden."""
        return self._silencing(self.lives_KS[:, source])

    def without_only(self, source: int) -> "Said":
        """The same without the channels that live on this source alone."""
        return self._silencing(self.lives_KS[:, source] & (self.lives_KS.sum(1) == 1))

    def _silencing(self, silent_K: torch.Tensor) -> "Said":
        pairs = zip(self.voices, silent_K.tolist(), strict=True)
        heard = tuple(None if silent else voice for voice, silent in pairs)
        return dataclasses.replace(self, voices=heard)

    def beside(self, terms_KC: npt.NDArray[np.float32]) -> Beside:
        """For attribution, given the terms of its candidates."""
        return Beside(np.array([self.model_weight]), terms_KC.T[None], self.lives_KS.numpy()[None])


class Voices:
    """The channels of one replica."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot, self._served = snapshot, snapshot.served
        self._as_of_us = microseconds(snapshot.bundle.as_of)
        self._num_items = len(snapshot)
        self._needs = Needs.of(self._served.channels, snapshot.bundle.model.sources)
        self.names = tuple(channel.name for channel in self._served.channels)
        none = np.empty(0, np.int64)
        # Channels ask the events how many items there are; what happened they have learnt already.
        self._catalogue = Events(
            user_ids=np.asarray(snapshot.bundle.seen.user_ids, object),
            item_ids=np.empty(self._num_items, object),
            available_at_us=snapshot.available_at_us,
            user_index=none,
            item_index=none,
            at_us=none,
            is_positive=np.empty(0, np.bool_),
            train_end_us=self._as_of_us + 1,
            validation_end_us=self._as_of_us + 1,
        )
        # What channels work out once is worked out before anybody waits for it.
        items = np.arange(min(NUM_WARM, self._num_items))
        some = Ragged(items, np.array([0]), np.array([len(items)]))
        self._served.voices(
            asking(self._catalogue, np.array([UNKNOWN]), np.array([self._as_of_us]), some),
            np.array([0]),
        )

    @stage("voices")
    def say(self, user: User, at_us: int) -> Said:
        """What the channels say of items."""
        return self.say_each(user, at_us, [None])[0]

    def say_each(self, user: User, at_us: int, hidden: Sequence[str | None]) -> list[Said]:
        """The same T times, each time with another item hidden from the user's history."""
        queries, rows = self._queries(user, at_us, hidden), np.arange(len(hidden))
        present_1S = user.tokens.present
        speaks_K = self._needs.speaks(present_1S)[0].tolist()
        lives_KS = self._needs.lives(present_1S)[0]
        weights_T = self._served.weights_of(queries, rows)[:, 0]
        told_TK = [
            tuple(voice if speaks else None for voice, speaks in zip(own, speaks_K, strict=True))
            for own in self._served.voices(queries, rows)
        ]
        return [
            Said(self.names, float(weight), told, lives_KS)
            for weight, told in zip(weights_T, told_TK, strict=True)
        ]

    def _queries(self, user: User, at_us: int, hidden: Sequence[str | None]) -> Queries:
        whole, place = self.history(user), self._snapshot.position
        kept = [whole if item is None else whole[whole != place[item]] for item in hidden]
        ends = np.cumsum([len(own) for own in kept])
        history = Ragged(np.concatenate(kept), np.append(0, ends[:-1]), ends)
        number = self._snapshot.number_of(user.user_id)
        return asking(
            self._catalogue, np.full(len(hidden), number), np.full(len(hidden), at_us), history
        )

    def history(self, user: User) -> Positions:
        """Positions of all that the user took up, oldest first, without what they hid since.

        The store holds the end of a history, the bundle all that came before the data's end. What
        the store has and the bundle lacks is newer: it came by feedback or in this session. Where
        the store has nothing, nothing is known.
        """
        if not user.history:
            return np.empty(0, np.int64)
        old = self._snapshot.taken_by(user.user_id)
        known, position = set(old.tolist()), self._snapshot.position
        places = [position.get(item, UNKNOWN) for item in user.history]
        fresh = [
            place
            for place, at in zip(places, user.taken_at_us, strict=True)
            if place != UNKNOWN and (place not in known or (at is not None and at > self._as_of_us))
        ]
        whole: Positions = np.concatenate([old, np.array(fresh[::-1], np.int64)])
        if not user.rejected:
            return whole
        return whole[~are_among(whole, places_of(self._snapshot, user.rejected))]
