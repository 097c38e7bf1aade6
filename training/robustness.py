"""Robustness: what is left of the figure when a share of a source's rows is missing.

In: the names of the sources. Out: masks that hide, of one source, the rows of so many users and
items drawn at random. A row that is missing at one share is missing at every greater one.
"""

# Shapes: U users, I items, S sources

from collections.abc import Sequence

import numpy as np

from training.masks import Bools, Mask

SHARES = (0.25, 0.5, 0.75)  # none and all are among the subsets of the sources


def missing_rows(
    sources: Sequence[str], num_users: int, num_items: int, seed: int
) -> dict[tuple[str, float], Mask]:
    """A mask for each source and share."""
    users_U, items_I = draws(num_users, seed), draws(num_items, seed + 1)
    return {
        (source, share): Mask(
            all_but(place, users_U < share, len(sources)),
            all_but(place, items_I < share, len(sources)),
        )
        for place, source in enumerate(sources)
        for share in SHARES
    }


def draws(num: int, seed: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """A number in [0, 1) for each row, evenly spaced in random order, so that a share is exact."""
    return np.asarray(np.random.default_rng(seed).permutation(num) / max(num, 1))


def all_but(place: int, missing: Bools, num_sources: int) -> Bools:
    """True but where the source at this place is missing."""
    seen = np.ones((len(missing), num_sources), dtype=bool)
    seen[:, place] = ~missing
    return seen
