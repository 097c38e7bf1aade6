"""Index: the items whose vectors have the greatest product with one that is asked about.

In: vectors of items. Out: ever longer heads of the order, for filters to choose from. Below a size
all products are worked out; above it faiss looks into the lists whose centres are nearest, and
exact products choose among what it finds (docs/adr/0012-nearest-items.md has the figures).
"""

# Shapes: I items, D width of a vector, N items of an index

from collections.abc import Callable
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt

from serving.snapshot import Positions

Vectors = npt.NDArray[np.float32]
Scores = npt.NDArray[np.floating]
Ordered = Callable[[int], Positions]
"""Gives the first so many positions of an order, fewer where it ends."""

EXACT_BELOW = 20_000  # items: 384 wide a product with all of them takes about 3 ms
PROBES = 32  # lists looked into for the first HEAD items: see the record of the decision
HEAD = 200
AMONG = 3  # times as many as are wanted: codes of half a byte rank items only nearly right
MOST = 20_000  # items asked of the index; whoever needs more has filtered nearly everything out
SAMPLE = 100_000  # vectors that the centres are learnt from
BLOCK = 50_000


def by_score(positions: Positions, scores: Scores, above: float = 0.0) -> Ordered:
    """Those with a score above, highest first, ties by position."""
    there = np.flatnonzero(scores > above)

    def first(num: int) -> Positions:
        chosen = there
        if len(there) > num:
            above_mark = scores[there]
            cut = np.partition(above_mark, len(there) - num)[len(there) - num]
            chosen = there[above_mark >= cut]
        order = np.lexsort((positions[chosen], -scores[chosen]))[:num]
        return np.asarray(positions[chosen[order]], np.int64)

    return first


class NearestItems:
    """Some items of a catalogue, or all."""

    def __init__(
        self,
        vectors_ID: Vectors,
        positions: Positions | None = None,
        exact_below: int = EXACT_BELOW,
    ) -> None:
        """`positions` [N] are ascending; None for all items."""
        self._vectors_ID = vectors_ID
        self._positions = np.arange(len(vectors_ID)) if positions is None else positions
        self._index = None if len(self) < exact_below else self._build()
        # In one piece: to pick rows together for each question takes longer than the products.
        is_few = positions is not None and self._index is None
        self._few_ND = vectors_ID[self._positions] if is_few else None

    def __len__(self) -> int:
        return len(self._positions)

    def ordered(self, asked_D: Vectors, above: float = -np.inf) -> Ordered:
        """The items by their product with the vector, without those whose product is not above."""

        def first(num: int) -> Positions:
            found = self._positions
            if self._index is not None and num <= MOST:
                found = self._looked_up(asked_D, num)
            return by_score(found, self._vectors_of(found) @ asked_D, above)(num)

        return first

    def _vectors_of(self, found: Positions) -> Vectors:
        """Not copied where all are asked for."""
        if found is not self._positions:
            return self._vectors_ID.take(found, axis=0)  # in less time than by brackets
        if self._few_ND is not None:
            return self._few_ND
        return self._vectors_ID if len(found) == len(self._vectors_ID) else self._vectors_ID[found]

    def _looked_up(self, asked_D: Vectors, num: int) -> Positions:
        """Items that about the `num` nearest are among, in no order; all where lists hold fewer."""
        assert self._index is not None
        probes = min(PROBES * -(-num // HEAD), self._index.nlist)
        look = faiss.SearchParametersIVF(nprobe=probes)  # type: ignore[call-arg]
        found = self._index.search(asked_D[None], AMONG * num, params=look)[1][0]
        found = found[found >= 0]
        return found if len(found) >= num else self._positions

    def _build(self) -> Any:
        """Lists around learnt centres; what a vector differs by from its centre in half a byte a
        direction, of which a processor adds up 32 items at once."""
        width, lists = self._vectors_ID.shape[1], 2 ** int(np.log2(4 * len(self) ** 0.5))
        index = faiss.index_factory(width, f"IVF{lists},PQ{width}x4fsr", faiss.METRIC_INNER_PRODUCT)
        drawn = np.random.default_rng(0).permutation(self._positions)[:SAMPLE]
        index.train(self._vectors_ID[np.sort(drawn)])
        for start in range(0, len(self), BLOCK):
            block = self._positions[start : start + BLOCK]
            index.add_with_ids(self._vectors_ID[block], block)
        return index
