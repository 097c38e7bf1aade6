"""Optional PCA of text vectors to fewer dimensions, fitted on texts of the training period only."""

# Shapes: N texts, D width of the encoder, K kept dimensions.
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from feature_repo.pipelines.tables import DataError, atomic_path

Floats = NDArray[np.float32]

MAX_FIT_TEXTS = 100_000
"""Texts that the axes are fitted on: at 384 dimensions 150 MB, and more would not move them."""


@dataclass(frozen=True)
class Reducer:
    """`apply` maps vectors [N, D] to [N, K]; the axes are sorted by explained variance."""

    mean_D: Floats
    axes_KD: Floats
    explained: float
    """Share of the fitted texts' variance that is kept."""

    def apply(self, vectors_ND: NDArray[np.floating]) -> NDArray[np.float64]:
        """Centre and project; float64, so that a row does not depend on its neighbours' number."""
        centred_ND = vectors_ND.astype(np.float64) - self.mean_D
        projected_NK: NDArray[np.float64] = centred_ND @ self.axes_KD.T.astype(np.float64)
        return projected_NK

    def write(self, path: Path) -> None:
        """Save as .npz, atomically."""
        with atomic_path(path) as temporary, temporary.open("wb") as file:
            np.savez(file, mean=self.mean_D, axes=self.axes_KD, explained=self.explained)

    @classmethod
    def read(cls, path: Path) -> "Reducer":
        """Load what `write` saved."""
        with np.load(path) as stored:
            return cls(stored["mean"], stored["axes"], float(stored["explained"]))


def fit_reducer(vectors_ND: Floats, text_dims: int) -> Reducer:
    """Fit PCA axes; DataError when the texts are too few or too narrow for `text_dims`."""
    num_texts, width = vectors_ND.shape
    if text_dims > min(num_texts, width):
        raise DataError(
            f"--text-dims {text_dims} is more than {num_texts} distinct texts of the training "
            f"period with {width} dimensions each can fill; lower --text-dims or leave it out"
        )
    from sklearn.decomposition import (
        PCA,
    )  # half a second to import, and most builds have no use for it

    fitted = PCA(text_dims, svd_solver="covariance_eigh").fit(vectors_ND)
    return Reducer(
        mean_D=fitted.mean_.astype(np.float32),
        axes_KD=fitted.components_.astype(np.float32),
        explained=float(fitted.explained_variance_ratio_.sum()),
    )
