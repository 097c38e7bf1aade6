"""Details of a slate: what the filters kept out, and why.

The same request is ranked again without filters; what then ranks high and may not be shown is told
with every reason against it.
"""

from collections.abc import Sequence

import numpy as np

from serving.api import FilteredItem, Filters, RecommendRequest, SlateDetails
from serving.candidates import Candidates
from serving.filters import reasons_against
from serving.ranker import Slate, SlateRanker

NUM_LOOKED_AT = 50  # places of the unfiltered slate


def without_filters(request: RecommendRequest) -> RecommendRequest:
    """The same request for the best by score among all items."""
    by_score = {"diversity": None, "max_per_category": None, "explore": None}
    no_filters = {"filters": Filters(exclude_seen=False), "explain": "none", "k": NUM_LOOKED_AT}
    return request.model_copy(update={**by_score, **no_filters})


def details_of(
    ranker: SlateRanker,
    request: RecommendRequest,
    rejected: Sequence[str],
    slate: Slate,
    retrieved: Candidates | None = None,
) -> SlateDetails:
    """What stood against items of the slate that answered the request. `retrieved` are candidates
    without filters, where they were found elsewhere."""
    snapshot = ranker.snapshot
    against = dict(reasons_against(snapshot, slate.user, request.filters, slate.at_us))
    plain = without_filters(request)
    unfiltered = ranker.recommend(plain, rejected, slate.user.rows, retrieved=retrieved)
    filtered = []
    for rank, item in enumerate(unfiltered.items, start=1):
        own = np.array([item.position])
        reasons = [name for name, rule in against.items() if rule.keeps_out(own)[0]]
        if reasons:
            item_id, title = item.evidence.item_id, item.evidence.title
            filtered.append(FilteredItem(item_id=item_id, title=title, rank=rank, reasons=reasons))
    return SlateDetails(
        num_items=len(snapshot),
        num_filtered={n: rule.num_kept_out(len(snapshot)) for n, rule in against.items()},
        filtered=filtered,
    )
