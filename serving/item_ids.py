"""Item ids: from an id to its position, without a Python string for each item.

In: the ids of a catalogue as an Arrow column, in the order of their positions. Out: a mapping. It
takes 12 bytes an item beside the column, which a dictionary of a million strings takes ten times.
"""

from collections.abc import Iterator, Mapping
from zlib import crc32

import numpy as np
import pyarrow as pa


class ItemIds(Mapping[str, int]):
    """Position by id: few ids share a bucket, and those are compared."""

    def __init__(self, ids: pa.Array) -> None:
        """Each id once, none null."""
        self.ids = ids.cast(pa.large_string())
        self._mask = (1 << len(ids).bit_length()) - 1
        hashes = np.fromiter(map(crc32, self._bytes().to_pylist()), np.uint32, len(ids))
        buckets = hashes & self._mask
        ends = np.cumsum(np.bincount(buckets, minlength=self._mask + 1))
        # Reading one number of a memoryview costs a third of reading one of an array.
        self._starts = np.append(0, ends).astype(np.int32).data
        self._order = np.argsort(buckets, kind="stable").astype(np.int32).data
        self._column = self._bytes()

    def _bytes(self) -> pa.Array:
        return self.ids.view(pa.large_binary())

    def __getitem__(self, item_id: str) -> int:
        wanted = item_id.encode("utf-8", "surrogatepass")
        bucket = crc32(wanted) & self._mask
        for place in range(self._starts[bucket], self._starts[bucket + 1]):
            position = int(self._order[place])
            if self._column[position].as_py() == wanted:
                return position
        raise KeyError(item_id)

    def __iter__(self) -> Iterator[str]:
        return iter(self.ids.to_pylist())

    def __len__(self) -> int:
        return len(self.ids)
