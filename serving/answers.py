"""Answers: what the ranker found, as the HTTP interface tells it."""

from serving.api import Explanation, RecommendedItem
from serving.evidence import Evidence
from serving.ranker import Ranked, Slate


def records(slate: Slate) -> list[Evidence]:
    """What sentences are written from."""
    return [ranked.evidence for ranked in slate.items]


def recommended(ranked: Ranked, explanation: Explanation | None) -> RecommendedItem:
    """One item of an answer."""
    return RecommendedItem(
        item_id=ranked.evidence.item_id,
        title=ranked.evidence.title,
        score=ranked.score,
        probability=ranked.probability,
        channel=ranked.channel,
        contributions=ranked.evidence.contributions,
        explanation=explanation,
    )
