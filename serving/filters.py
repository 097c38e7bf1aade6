"""Filters: which items may be in the slate at all.

A filter marks items before channels pick their best, so a filtered answer is as long as it can be.
"""

import numpy as np
import numpy.typing as npt

from serving.api import Filters
from serving.snapshot import Snapshot
from serving.users import User

Mask = npt.NDArray[np.bool_]


def allowed_items(snapshot: Snapshot, user: User, filters: Filters, at_us: int) -> Mask:
    """Mask [num_items] of the items that pass every filter of the request."""
    mask = snapshot.available(at_us)
    if filters.allow is not None:
        mask &= snapshot.mask_of(filters.allow)
    if filters.categories is not None:
        mask &= snapshot.in_categories(filters.categories)
    if filters.deny:
        mask &= ~snapshot.mask_of(filters.deny)
    if filters.exclude_seen:
        mask &= ~seen_items(snapshot, user)
    return mask


def seen_items(snapshot: Snapshot, user: User) -> Mask:
    """What the user met up to the end of the data, in the history since, and in this session."""
    mask = snapshot.mask_of(user.history)
    mask[snapshot.seen_by(user.user_id)] = True
    mask |= snapshot.mask_of(user.rejected)
    return mask
