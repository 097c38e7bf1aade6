"""Vectors that were paid for once: content hash -> embedding, on disk.

Only new or changed text is embedded again. Lies in `cache/embeddings/<encoder fingerprint>/` of a
data set as a growing set of small files, each written whole or not at all, so a build that is
stopped keeps what it had. Vectors are read through a memory map: memory holds only their hashes.
"""

# Shapes: N texts asked for, D width of the vectors.
import uuid
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from feature_repo.pipelines.tables import atomic_path

Hashes = NDArray[np.uint64]
"""64 bits of each text's MD5 (`md5_number_lower` of DuckDB, see corpus.py). Among ten million texts
the chance that any two share a hash is 3 in a million."""
Floats = NDArray[np.float32]


class EmbeddingCache:
    """All vectors of one encoder under `folder`; `add` appends, nothing is ever changed."""

    def __init__(self, folder: Path, dims: int) -> None:
        self.folder = folder
        self.dims = dims
        self._record = np.dtype([("hash", "<u8"), ("vector", "<f4", (dims,))])
        self._parts: list[NDArray[np.void]] = []
        self._sorted = True
        self._hashes: Hashes = np.empty(0, np.uint64)  # sorted once they are asked for
        self._places: NDArray[np.int64] = np.empty(0, np.int64)  # part << 32 | row in the part
        folder.mkdir(parents=True, exist_ok=True)
        for path in sorted(folder.glob("*.npy")):
            self._open(path)

    def __len__(self) -> int:
        self._sort()
        return len(self._hashes)

    def missing(self, hashes: Hashes) -> NDArray[np.bool_]:
        """Which of these texts have no vector yet, [N]."""
        return ~self._find(hashes)[1]

    def add(self, hashes: Hashes, vectors_ND: Floats) -> None:
        """Keep new vectors. ValueError for a wrong width or a value that is not finite."""
        if vectors_ND.shape != (len(hashes), self.dims):
            raise ValueError(
                f"expected vectors of shape {(len(hashes), self.dims)}, got {vectors_ND.shape}; "
                f"delete {self.folder} if the encoder was changed by hand"
            )
        if not np.isfinite(vectors_ND).all():
            raise ValueError("the text encoder gave a vector that is not finite; check its weights")
        if not len(hashes):
            return
        part = np.empty(len(hashes), self._record)
        part["hash"], part["vector"] = hashes, vectors_ND
        # A name of its own for each part: two builds may fill one cache at the same time.
        path = self.folder / f"{uuid.uuid4().hex}.npy"
        with atomic_path(path) as temporary, temporary.open("wb") as file:
            np.save(file, part)
        self._open(path)

    def gather(self, hashes: Hashes) -> Floats:
        """Vectors [N, D] of texts that are all in the cache; KeyError otherwise."""
        places, found = self._find(hashes)
        if not found.all():
            raise KeyError(f"{int((~found).sum())} of {len(hashes)} texts were never embedded")
        vectors_ND = np.empty((len(hashes), self.dims), np.float32)
        part_N, row_N = places >> 32, places & 0xFFFFFFFF
        for part in np.unique(part_N):
            chosen = np.flatnonzero(part_N == part)
            vectors_ND[chosen] = self._parts[part]["vector"][row_N[chosen]]
        return vectors_ND

    def _find(self, hashes: Hashes) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        self._sort()
        if not len(self._hashes):
            return np.zeros(len(hashes), np.int64), np.zeros(len(hashes), np.bool_)
        at = np.minimum(np.searchsorted(self._hashes, hashes), len(self._hashes) - 1)
        return self._places[at], self._hashes[at] == hashes

    def _open(self, path: Path) -> None:
        part = np.load(path, mmap_mode="r")
        if part.dtype != self._record:
            raise ValueError(
                f"{path} does not hold vectors of width {self.dims}; "
                f"delete {self.folder}, it is only a cache"
            )
        number = len(self._parts)
        self._sorted = False
        self._parts.append(part)
        self._hashes = np.concatenate([self._hashes, part["hash"]])
        self._places = np.concatenate(
            [self._places, np.arange(len(part), dtype=np.int64) | (number << 32)]
        )

    def _sort(self) -> None:
        if self._sorted:
            return
        # Two builds at once may both have embedded a text: any of the equal vectors will do, so the
        # first is kept.
        self._hashes, first = np.unique(self._hashes, return_index=True)
        self._places = self._places[first]
        self._sorted = True
