"""Answers: what the ranker found, as the HTTP interface tells it."""

from collections.abc import Sequence

from serving.api import (
    Degradation,
    Explanation,
    RecommendedItem,
    RecommendResponse,
    SlateDetails,
)
from serving.clock import instant
from serving.evidence import Evidence
from serving.impressions import Impression
from serving.ranker import Ranked, Slate
from serving.timing import note


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
        explored=ranked.is_explored,
        propensity=ranked.propensity,
    )


def answer(
    slate: Slate,
    explanations: Sequence[Explanation | None],
    degraded: Sequence[Degradation],
    details: SlateDetails | None = None,
) -> RecommendResponse:
    """A slate with its sentences. `degraded` is what went wrong before and after the ranking."""
    note(version=slate.version, num_items=len(slate.items))
    return RecommendResponse(
        user_id=slate.user.user_id,
        known_user=slate.user.known,
        at=instant(slate.at_us),
        version=slate.version,
        missing_sources=list(slate.user.missing_sources),
        degraded=[*degraded, *slate.degraded],
        relaxed=["max_per_category"] if slate.is_relaxed else [],
        items=[
            recommended(ranked, explanation)
            for ranked, explanation in zip(slate.items, explanations, strict=True)
        ],
        details=details,
    )


def impression(slate: Slate, request_id: str, explore: float) -> Impression | None:
    """What is kept of a slate; nothing where it explored nothing."""
    propensities = [item.propensity for item in slate.items if item.propensity is not None]
    if not propensities:
        return None
    return Impression(
        request_id=request_id,
        version=slate.version,
        user_id=slate.user.user_id,
        at_us=slate.at_us,
        item_ids=[item.evidence.item_id for item in slate.items],
        propensities=propensities,
        explore=explore,
    )
