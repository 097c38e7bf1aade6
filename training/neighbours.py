"""Neighbours: for each item the items that the same users took up, by cosine.

In: (user, item) pairs. Out: the nearest items and their similarity, best first. Worked out in
blocks of items, so memory grows with the block and not with the square of the catalogue.
"""

# Shapes: I items, U users, N neighbours kept, b items of a block

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from training.events import Ints

BLOCK = 2_048
NO_ITEM = -1
SHRINK = 10.0  # raises the divisor, so that pairs seen together by few users count less


@dataclasses.dataclass(frozen=True)
class Neighbours:
    """The nearest items of each item, best first."""

    ids: Ints
    """[I, N] places of items, -1 where there are no more."""
    scores: npt.NDArray[np.float32]
    """[I, N] similarities in (0, 1], 0 where there are no more."""


def item_neighbours(
    user_index: Ints, item_index: Ints, num_users: int, num_items: int, num_neighbours: int = 50
) -> Neighbours:
    """Cosine of the sets of users, its divisor raised by SHRINK (Bell and Koren 2007, section 3).

    Pairs may repeat; each counts once. Equal similarities are ordered by the item's place.
    """
    taken_UI = sp.csr_array(
        (np.ones(len(user_index), np.float32), (user_index, item_index)),
        shape=(num_users, num_items),
    )
    taken_UI.data[:] = 1.0  # repeated pairs were added up
    size_I = np.bincount(taken_UI.indices, minlength=num_items).astype(np.float32)
    taken_IU = taken_UI.T.tocsr()
    ids = np.full((num_items, num_neighbours), NO_ITEM, np.int64)
    scores = np.zeros((num_items, num_neighbours), np.float32)
    for start in range(0, num_items, BLOCK):
        together_bI = (taken_IU[start : start + BLOCK] @ taken_UI).tocsr()
        for row in range(together_bI.shape[0]):
            item = start + row
            span = slice(together_bI.indptr[row], together_bI.indptr[row + 1])
            others, both = together_bI.indices[span], together_bI.data[span]
            others, both = others[others != item], both[others != item]
            cosine = both / (np.sqrt(size_I[item] * size_I[others]) + SHRINK)
            best = np.lexsort((others, -cosine))[:num_neighbours]
            ids[item, : len(best)], scores[item, : len(best)] = others[best], cosine[best]
    return Neighbours(ids, scores)
