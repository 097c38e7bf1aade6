"""Matrix factorisation by pairwise ranking (BPR, Rendle et al. 2009).

In: the take-ups of the training period. Out: scores of all items, the inner product of a user's
and an item's vector. A user whom training does not know is placed by what they took up.

Shapes: U users, I items, N take-ups, D width of a vector, B pairs of a step or queries of a block.
"""

from typing import ClassVar

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn import functional

from training.baselines import Floats, Ints, Scores, history_matrix, training_matrix
from training.channel_state import Kinds
from training.descent import DescentOptions, descend, device, mean_ndcg, seeded, shuffled
from training.events import Events
from training.queries import Queries
from training.text_link import mean_rows

PLACING_RIDGE = 1e-3  # keeps least squares solvable where there are fewer users than directions


class MatrixFactorsOptions(BaseModel):
    """The width is that of RecBole-GNN's results for Last.fm; the rest was chosen on validation.

    There: steps of 4,096 pairs at a rate of 5e-4 for up to 5,000 epochs. Larger steps at a higher
    rate get as far in a tenth of the time, but not at any rate: 4e-3 ends at an NDCG@10 of .1505
    after 180 epochs, 2e-3 at .1580 after 420, 1e-3 with half the batch at .1595 after 475.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    width: int = Field(default=64, gt=0)
    descent: DescentOptions = DescentOptions(
        epochs=600, batch_size=16_384, learning_rate=2e-3, look_every=20, patience=5
    )


class TakenPairs(nn.Module):
    """Who took up what in training, and draws of what a user did not take up."""

    user_N: Tensor
    item_N: Tensor
    keys_N: Tensor

    def __init__(self, taken_UI: sp.csr_matrix) -> None:
        super().__init__()
        pairs = taken_UI.tocoo()
        self.num_users, self.num_items = pairs.shape
        user, item = (torch.from_numpy(part.astype(np.int64)) for part in (pairs.row, pairs.col))
        self.register_buffer("user_N", user, persistent=False)
        self.register_buffer("item_N", item, persistent=False)
        keys = (user * self.num_items + item).sort().values
        self.register_buffer("keys_N", keys, persistent=False)

    def __len__(self) -> int:
        return len(self.user_N)

    def draw_others(self, user_B: Tensor) -> Tensor:
        """For each user an item, drawn evenly; one that was taken up is drawn again once."""
        item_B, again_B = torch.randint(
            self.num_items, (2, len(user_B)), device=user_B.device
        ).unbind()
        key_B = user_B * self.num_items + item_B
        place_B = torch.searchsorted(self.keys_N, key_B).clamp(max=len(self) - 1)
        return torch.where(self.keys_N[place_B] == key_B, again_B, item_B)


class FactorModel(nn.Module):
    """A vector a user and a vector an item."""

    def __init__(self, taken_UI: sp.csr_matrix, width: int) -> None:
        super().__init__()
        self.pairs = TakenPairs(taken_UI)
        self.users_UD = nn.Parameter(torch.empty(self.pairs.num_users, width))
        self.items_ID = nn.Parameter(torch.empty(self.pairs.num_items, width))
        nn.init.xavier_normal_(self.users_UD)
        nn.init.xavier_normal_(self.items_ID)

    def loss(self, examples_B: Tensor) -> Tensor:
        user_B = self.pairs.user_N[examples_B]
        return pairwise_loss(
            functional.embedding(user_B, self.users_UD),
            functional.embedding(self.pairs.item_N[examples_B], self.items_ID),
            functional.embedding(self.pairs.draw_others(user_B), self.items_ID),
        )


class MatrixFactors:
    """Scores by user and item vectors. With `watch`, fitting ends by its NDCG@10."""

    kept: ClassVar[Kinds] = {
        "name": str,
        "users_UD": np.ndarray,
        "items_ID": np.ndarray,
        "is_known_U": np.ndarray,
        "placing_DD": np.ndarray,
    }
    sources = ("behaviour",)

    def __init__(
        self,
        events: Events,
        options: MatrixFactorsOptions | None = None,
        watch: Queries | None = None,
        name: str = "bpr",
    ) -> None:
        self.name, self.options = name, options or MatrixFactorsOptions()
        taken_UI, descent = training_matrix(events), self.options.descent
        # The last entry is that of the user number -1, whom training does not know.
        self.is_known_U = np.append(taken_UI.getnnz(axis=1) > 0, False)
        with seeded(descent.seed):
            self.model = FactorModel(taken_UI, self.options.width).to(device())
            self.epochs = descend(
                self.model,
                lambda: shuffled(len(self.model.pairs), descent.batch_size),
                self.model.loss,
                descent,
                None if watch is None else lambda: self._look(watch),
                name,
            )
        self._keep_vectors()
        self.placing_DD = self._placing(taken_UI)

    def score(self, queries: Queries, rows: Ints) -> Scores:
        user_B = queries.user_index[rows]
        placed_BD = self._means(history_matrix(queries, rows, None)) @ self.placing_DD
        user_BD = np.where(self.is_known_U[user_B][:, None], self.users_UD[user_B], placed_BD)
        return np.asarray(user_BD @ self.items_ID.T, dtype=np.float32)

    def _look(self, watch: Queries) -> float:
        self._keep_vectors()
        self.placing_DD = np.zeros((self.options.width, self.options.width))
        return mean_ndcg(self, watch)

    def _keep_vectors(self) -> None:
        users_UD = array(self.model.users_UD)
        self.users_UD = np.vstack([users_UD, np.zeros_like(users_UD[:1])])
        self.items_ID = array(self.model.items_ID)

    def _placing(self, taken_UI: sp.csr_matrix) -> Floats:
        """From the mean vector of a history to the user's vector, by least squares."""
        known = np.flatnonzero(self.is_known_U)
        means_KD, users_KD = self._means(taken_UI[known]), self.users_UD[known]
        moments_DD = means_KD.T @ means_KD + PLACING_RIDGE * np.eye(means_KD.shape[1])
        return np.asarray(np.linalg.solve(moments_DD, means_KD.T @ users_KD))

    def _means(self, history_BI: sp.csr_matrix) -> Floats:
        """Mean vector of the items of each history; 0 for an empty one."""
        return np.asarray(mean_rows(history_BI) @ self.items_ID)


def pairwise_loss(user_BD: Tensor, taken_BD: Tensor, other_BD: Tensor) -> Tensor:
    """Mean of -log sigmoid(score of what was taken up - score of what was not)."""
    return -functional.logsigmoid((user_BD * (taken_BD - other_BD)).sum(dim=1)).mean()


def array(values: Tensor) -> NDArray[np.float32]:
    """A parameter as numpy, without a copy where it lies in this machine's memory."""
    return np.asarray(values.detach().cpu())
