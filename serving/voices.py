"""Voices: what the bundle's channels say to one asker, as parts of the served score.

In: the snapshot, a user as the feature store has them now, an instant. Out: a `Said`: by how much
each channel raises or lowers each item. Channels score one asker by the code that scored the
queries of the evaluation; only the history is put together here, from the bundle's and what came
since.
"""

# Shapes: I items, C candidates, K channels, S sources, T tellings

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from serving.clock import microseconds
from serving.snapshot import Positions, Snapshot
from serving.timing import stage
from serving.users import User
from training.attribution import Beside
from training.events import Events
from training.queries import Queries, Ragged, asking

UNKNOWN = -1  # a user that the bundle lacks


@dataclass(frozen=True)
class Said:
    """What one asker is told: score = model_weight * logit + the sum of terms."""

    names: tuple[str, ...]
    model_weight: float
    terms_KI: npt.NDArray[np.float32]
    lives_KS: torch.Tensor
    """bool: without any one of these sources the channel says nothing."""

    def scores(
        self, logits_C: npt.NDArray[np.float32], positions: Positions
    ) -> npt.NDArray[np.float32]:
        """Served scores [C] of candidates."""
        terms_C = self.terms_KI[:, positions].sum(axis=0)
        return np.asarray(self.model_weight * logits_C + terms_C, dtype=np.float32)

    def without(self, source: int) -> "Said":
        """The same when the source with this number is hidden."""
        return self._silencing(self.lives_KS[:, source])

    def without_only(self, source: int) -> "Said":
        """The same without the channels that live on this source alone."""
        return self._silencing(self.lives_KS[:, source] & (self.lives_KS.sum(1) == 1))

    def _silencing(self, silent_K: torch.Tensor) -> "Said":
        heard_KI = self.terms_KI * ~silent_K[:, None].numpy()
        return Said(self.names, self.model_weight, heard_KI, self.lives_KS)

    def beside(self, positions: Positions) -> Beside:
        """For attribution."""
        terms_KC = torch.from_numpy(self.terms_KI[:, positions].astype(np.float64))
        weight_B = torch.tensor([self.model_weight], dtype=torch.float64)
        return Beside(weight_B, terms_KC.T[None], self.lives_KS[None])


class Voices:
    """The channels of one replica."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot, self._served = snapshot, snapshot.served
        self._as_of_us = microseconds(snapshot.bundle.as_of)
        self.names = tuple(channel.name for channel in self._served.channels)
        none = np.empty(0, np.int64)
        # Channels ask the events how many items there are; what happened they have learnt already.
        self._catalogue = Events(
            user_ids=np.asarray(snapshot.bundle.seen.user_ids, object),
            item_ids=np.asarray(snapshot.item_ids, object),
            available_at_us=snapshot.available_at_us,
            user_index=none,
            item_index=none,
            at_us=none,
            is_positive=np.empty(0, np.bool_),
            train_end_us=self._as_of_us + 1,
            validation_end_us=self._as_of_us + 1,
        )

    @stage("voices")
    def say(self, user: User, at_us: int) -> Said:
        """What the channels say of every item."""
        return self.say_each(user, at_us, [None])[0]

    def say_each(self, user: User, at_us: int, hidden: Sequence[str | None]) -> list[Said]:
        """The same T times, each time with another item hidden from the user's history."""
        queries, rows = self._queries(user, at_us, hidden), np.arange(len(hidden))
        sources, present_1S = self._snapshot.bundle.model.sources, user.tokens.present
        speaks_K = self._served.speaks(sources, present_1S)[0].numpy()
        lives_KS = self._served.lives(sources, present_1S)[0]
        terms_KTI = self._served.terms(queries, rows) * speaks_K[:, None, None]
        weights_T = self._served.weights_of(queries, rows)[:, 0]
        return [
            Said(self.names, float(weights_T[row]), terms_KTI[:, row], lives_KS) for row in rows
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
        snapshot = self._snapshot
        old = snapshot.taken_by(user.user_id)
        known = set(old.tolist())
        fresh = [
            snapshot.position[item]
            for item, at in zip(user.history, user.taken_at_us, strict=True)
            if item in snapshot.position
            and (snapshot.position[item] not in known or (at is not None and at > self._as_of_us))
        ]
        whole: Positions = np.concatenate([old, np.array(fresh[::-1], np.int64)])
        return whole[~snapshot.mask_of(user.rejected)[whole]]
