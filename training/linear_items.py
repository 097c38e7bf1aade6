"""Item-to-item weights with a zero diagonal in closed form, worked out on the smaller side.

In: a matrix of who took up what, in any weights. Out: scores of histories. The [I, I] weights are
never formed when there are fewer users than items.

Shapes: U users, I items, B histories of a block.
"""

from collections.abc import Iterable
from typing import ClassVar

import numpy as np
import scipy.linalg
import scipy.sparse as sp
from numpy.typing import NDArray

Floats = NDArray[np.float64]

LARGEST_SIDE = 20_000  # a dense square of this side takes 3.2 GB in float64


class LinearItems:
    """The weights that predict each item of a row from the row's others (Steck 2019, equation 8).

    B = I - P / diag(P) with P = (X'X + regularisation)^-1; the inverse on one side follows from
    that on the other (Woodbury). Raises ValueError if both sides are above 20,000.
    """

    kept: ClassVar[dict[str, type]] = {
        "regularisation": float,
        "by_users": bool,
        "inverse": np.ndarray,
        "diagonal_I": np.ndarray,
        "taken_UI": sp.csr_matrix,
        "taken_IU": sp.csr_matrix,
    }

    def __init__(self, taken_UI: sp.csr_matrix, regularisation: float) -> None:
        self.regularisation = regularisation
        check_side(min(taken_UI.shape), "the smaller of users and items")
        self.by_users = taken_UI.shape[0] < taken_UI.shape[1]
        inverse, self.diagonal_I = self._invert(taken_UI.astype(np.float64))
        # Half the memory, and half the time of a single history, which reads all of it once.
        self.inverse = inverse.astype(np.float32)
        self.taken_UI: sp.csr_matrix | None = None
        self.taken_IU: sp.csr_matrix | None = None
        if self.by_users:  # else the inverse alone scores
            self.taken_UI = sp.csr_matrix(taken_UI, dtype=np.float32)
            self.taken_IU = sp.csr_matrix(self.taken_UI.T)

    def scores(self, history_BI: sp.csr_matrix) -> Floats:
        """The histories times the weights, [B, I]."""
        # The identity in B takes an item's own weight out of its score.
        history_BI = sp.csr_matrix(history_BI, dtype=np.float32)
        return np.asarray(history_BI.toarray() - self._project(history_BI) / self.diagonal_I)

    def _invert(self, taken_UI: sp.csr_matrix) -> tuple[Floats, Floats]:
        """The inverse on the smaller side, and the diagonal of P."""
        if not self.by_users:
            inverse_II = positive_inverse((taken_UI.T @ taken_UI).toarray(), self.regularisation)
            return inverse_II, np.diag(inverse_II).copy()
        inverse_UU = positive_inverse((taken_UI @ taken_UI.T).toarray(), self.regularisation)
        leverage_I = np.concatenate(
            [
                np.einsum("ui,ui->i", part.toarray(), inverse_UU @ part.toarray())
                for part in column_blocks(taken_UI.tocsc())
            ]
        )
        return inverse_UU, (1.0 - leverage_I) / self.regularisation

    def _project(self, history_BI: sp.csr_matrix) -> Floats:
        """History times P."""
        if self.taken_UI is None or self.taken_IU is None:
            return np.asarray(history_BI @ self.inverse)
        weights_BU = (history_BI @ self.taken_IU).toarray() @ self.inverse
        return np.asarray((history_BI.toarray() - weights_BU @ self.taken_UI) / self.regularisation)


def check_side(side: int, what: str) -> None:
    """Raise ValueError for a square that would not fit."""
    if side > LARGEST_SIDE:
        raise ValueError(
            f"a closed form inverts a square of {what}, here {side} "
            f"(at most {LARGEST_SIDE}); leave it out (EASE: `--without ease`)"
        )


def positive_inverse(gram: Floats, regularisation: float) -> Floats:
    """Inverse of a positive definite matrix plus a multiple of the identity, by Cholesky."""
    gram[np.diag_indices_from(gram)] += regularisation
    factor = scipy.linalg.cho_factor(gram, overwrite_a=True, check_finite=False)
    return np.asarray(scipy.linalg.cho_solve(factor, np.eye(len(gram)), check_finite=False))


def column_blocks(matrix: sp.csc_matrix, width: int = 1024) -> Iterable[sp.csc_matrix]:
    return (matrix[:, start : start + width] for start in range(0, matrix.shape[1], width))
