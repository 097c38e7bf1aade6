"""Item ids: from an id to its position, without a Python string for each item.

In: the ids of a catalogue as an Arrow column, in the order of their positions. Out: a mapping. It
takes 12 bytes an item beside the column, which a dictionary of a million strings takes ten times.
"""

from collections.abc import Iterator, Mapping
from functools import lru_cache, partial
from zlib import crc32

import numpy as np
import pyarrow as pa

NUM_KEPT = 16_384  # ids found lately, 4 MB: one request asks for the same few dozen several times


class ItemIds(Mapping[str, int]):
    """Position by id: few ids share a bucket, and those are compared."""

    def __init__(self, ids: pa.Array) -> None:
        """Each id once, none null."""
        self.ids = ids.cast(pa.large_string())
        mask = (1 << len(ids).bit_length()) - 1
        hashes = np.fromiter(map(crc32, self._bytes().to_pylist()), np.uint32, len(ids))
        buckets = hashes & mask
        ends = np.cumsum(np.bincount(buckets, minlength=mask + 1))
        # Reading one number of a memoryview costs a third of reading one of an array.
        starts = np.append(0, ends).astype(np.int32).data
        order = np.argsort(buckets, kind="stable").astype(np.int32).data
        self._find = lru_cache(NUM_KEPT)(partial(find, starts, order, self._bytes(), mask))

    def _bytes(self) -> pa.Array:
        return self.ids.view(pa.large_binary())

    def __getitem__(self, item_id: str) -> int:
        return self._find(item_id)

    def __iter__(self) -> Iterator[str]:
        return iter(self.ids.to_pylist())

    def __len__(self) -> int:
        return len(self.ids)


def find(starts: memoryview, order: memoryview, ids: pa.Array, mask: int, item_id: str) -> int:
    """Position of an id among `ids`, which `order` has by bucket; KeyError where it is not there.

    A function of its own, so that what it found lately does not hold the mapping in a circle.
    """
    wanted = item_id.encode("utf-8", "surrogatepass")
    bucket = crc32(wanted) & mask
    for place in range(starts[bucket], starts[bucket + 1]):
        position = int(order[place])
        if ids[position].as_py() == wanted:
            return position
    raise KeyError(item_id)
