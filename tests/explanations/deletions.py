"""Deletions: is the source that is said to lead the one whose removal costs most?"""

import statistics
from collections.abc import Sequence

import numpy as np
import torch

from serving.api import Context
from serving.evidence import Fact
from serving.ranker import SlateRanker
from serving.users import User
from serving.voices import Said
from serving.weights import weigh
from tests.explanations.pairs import Pair
from training.attribution import attribute


@torch.no_grad()
def faithfulness(ranker: SlateRanker, pairs: Sequence[Pair]) -> dict[str, float | None]:
    """Deletion and insertion of sources, and deletion of what the user took up, all in the score
    that is served: the model's and the channels'."""
    at_us = ranker.clock.now_us()
    led = shapley = inserted = 0
    beaten: list[float] = []
    for pair in pairs:
        user = ranker.users.read(pair.user_id, Context(), at_us)
        positions = np.array([ranker.snapshot.place(pair.record.item_id)])
        items = ranker.snapshot.tokens(positions, at_us)
        said = ranker.voices.say(user, at_us)
        beside = said.beside(said.terms(positions))
        found = attribute(ranker.bundle.model, user.tokens, items, beside)
        costliest = int(found.removal_BCS[0, 0].argmax())
        led += int(found.leading_sources()[0, 0]) == costliest
        top = int(found.contributions_BCS[0, 0].argmax())
        shapley += top == costliest
        inserted += top == int(np.argmax(alone(ranker, user, said, positions)))
        history = pair.record.of("history")
        if history and len(user.history) > 1:
            score = found.scores_BC[0]
            beaten.append(told_beats(ranker, user, positions, score, history[0]))
    return {
        "deletion_rate": led / len(pairs),
        "deletion_rate_highest_shapley": shapley / len(pairs),
        "insertion_rate_highest_shapley": inserted / len(pairs),
        "history_told_beats_other_history": statistics.mean(beaten) if beaten else None,
        "history_pairs": len(beaten),
    }


def alone(ranker: SlateRanker, user: User, said: Said, positions: np.ndarray) -> list[float]:
    """The item's score with each source and no other."""
    model, at_us = ranker.bundle.model, ranker.clock.now_us()
    items, scores = ranker.snapshot.tokens(positions, at_us), []
    for keep in torch.eye(len(model.sources), dtype=torch.bool):
        heard = ~(said.lives_KS & ~keep).any(1).numpy()
        terms = (said.terms(positions)[:, 0] * heard).sum()
        logit = float(model.score(user.tokens.masked(keep), items.masked(keep)))
        scores.append(said.model_weight * logit + float(terms))
    return scores


def told_beats(
    ranker: SlateRanker, user: User, positions: np.ndarray, score: np.ndarray, told: Fact
) -> float:
    """Share of the user's other take-ups whose hiding lowers the score less than the told one's."""
    every = [
        told.model_copy(update={"id": f"history-{item}", "entity_ids": (item,)})
        for item in dict.fromkeys(user.history)
        if item in ranker.snapshot.position
    ]
    at_us = ranker.clock.now_us()
    weights = weigh(ranker.snapshot, ranker.voices, user, positions, at_us, score, [every])[0]
    own = weights.pop(told.id)
    return statistics.mean(weight < own for weight in weights.values()) if weights else 1.0
