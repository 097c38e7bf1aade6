"""Filters: which items may be in the slate at all.

A filter marks items before channels pick their best, so a filtered answer is as long as it can be.
"""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from serving.api import FilterReason, Filters
from serving.snapshot import Snapshot
from serving.timing import stage
from serving.users import User

Mask = npt.NDArray[np.bool_]


@stage("filters")
def allowed_items(snapshot: Snapshot, user: User, filters: Filters, at_us: int) -> Mask:
    """Mask [num_items] of the items that nothing speaks against."""
    mask = np.ones(len(snapshot), dtype=bool)
    for _, kept_out in reasons_against(snapshot, user, filters, at_us):
        mask &= ~kept_out
    return mask


def reasons_against(
    snapshot: Snapshot, user: User, filters: Filters, at_us: int
) -> Iterator[tuple[FilterReason, Mask]]:
    """Each reason of the request, and the mask [num_items] of the items that it keeps out."""
    yield "not_yet_available", ~snapshot.available(at_us)
    if filters.allow is not None:
        yield "not_allowed", ~snapshot.mask_of(filters.allow)
    if filters.categories is not None:
        yield "category", ~snapshot.in_categories(filters.categories)
    if filters.deny:
        yield "denied", snapshot.mask_of(filters.deny)
    if filters.exclude_seen:
        yield "rejected", snapshot.mask_of(user.rejected)
        yield "seen", seen_items(snapshot, user)


def seen_items(snapshot: Snapshot, user: User) -> Mask:
    """What the user met up to the end of the data, in the history since, and in this session."""
    mask = snapshot.mask_of(user.history)
    mask[snapshot.seen_by(user.user_id)] = True
    return mask
