"""Deletions: is the source that is said to lead the one whose removal costs most?"""

import statistics
from collections.abc import Sequence

import numpy as np
import torch

from serving.api import RecommendRequest
from serving.ranker import SlateRanker
from serving.users import history_field
from tests.explanations.pairs import Pair
from training.attribution import Hidden, Trial, attribute, trial_scores


@torch.no_grad()
def faithfulness(ranker: SlateRanker, pairs: Sequence[Pair]) -> dict[str, float | None]:
    """Deletion and insertion of sources, and deletion of what the user took up."""
    model, at_us = ranker.bundle.model, ranker.clock.now_us()
    led = shapley = inserted = 0
    beaten: list[float] = []
    for pair in pairs:
        user = ranker.users.read(pair.user_id, RecommendRequest(user_id="u").context, at_us)
        position = ranker.snapshot.place(pair.record.item_id)
        items = ranker.snapshot.tokens(np.array([position]), at_us)
        found = attribute(model, user.tokens, items)
        removal = found.removal_BCS[0, 0]
        costliest = int(removal.argmax())
        led += int(found.leading_sources()[0, 0]) == costliest
        top = int(found.contributions_BCS[0, 0].argmax())
        shapley += top == costliest
        only = [
            float(model.score(user.tokens.masked(keep), items.masked(keep)))
            for keep in torch.eye(len(model.sources), dtype=torch.bool)
        ]
        inserted += top == int(np.argmax(only))
        history = pair.record.of("history")
        own = history_field(ranker.bundle.schema)
        if history and own is not None and len(user.history) > 1:
            trials = [
                Trial(0, (Hidden(own[0].name, own[1].name, place),))
                for place in range(len(user.history))
            ]
            scores = trial_scores(
                model,
                user.batches,
                ranker.snapshot.batches(np.array([position]), at_us),
                ranker.snapshot.numbers[[position]],
                trials,
            ).numpy()
            told = scores[user.history.index(history[0].entity_ids[0])]
            beaten.append(float((scores > told).sum() / (len(scores) - 1)))
    return {
        "deletion_rate": led / len(pairs),
        "deletion_rate_highest_shapley": shapley / len(pairs),
        "insertion_rate_highest_shapley": inserted / len(pairs),
        "history_told_beats_other_history": statistics.mean(beaten) if beaten else None,
        "history_pairs": len(beaten),
    }
