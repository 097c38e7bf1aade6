"""Propagation of vectors over who took up what, and over friendships (LightGCN, He et al. 2020).

In: the take-ups of the training period and, if wanted, links between users. Out: scores of all
items, the inner product of vectors that are means over the layers. A user is worked out from what
they took up until the query's instant and from their friends, so that somebody new has a vector.

Shapes: U users, I items, A = U + I nodes, D width, B pairs of a step or queries of a block.
"""

import warnings
from typing import Any, ClassVar

import numpy as np
import scipy.sparse as sp
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn import functional

from training.baselines import Floats, Ints, Scores, history_matrix, training_matrix
from training.channel_state import Kinds
from training.descent import DescentOptions, descend, device, mean_ndcg, seeded, shuffled
from training.events import Events
from training.matrix_factors import TakenPairs, array, pairwise_loss
from training.queries import Queries
from training.sources import Sources


class LightGraphOptions(BaseModel):
    """Width and layers are those of RecBole-GNN's results for Last.fm; the rest was chosen on
    validation, for large steps: a step propagates over the whole graph, however few its pairs."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    width: int = Field(default=64, gt=0)
    layers: int = Field(default=3, gt=0)
    friend_weight: float = Field(default=0.0, ge=0)
    """Of a link between users, beside 1 for a take-up; 0 leaves links out."""
    penalty: float = Field(default=1e-4, ge=0)
    """Of the squared vectors before propagation that a step touches."""
    descent: DescentOptions = DescentOptions(
        epochs=400,
        batch_size=16_384,
        learning_rate=2e-2,
        last_share=0.02,
        look_every=20,
        patience=3,
    )


class Propagate(torch.autograd.Function):
    """A symmetric sparse matrix times a dense one; its own transpose takes the gradient back."""

    @staticmethod
    def forward(ctx: Any, edges_AA: Tensor, nodes_AD: Tensor) -> Tensor:
        ctx.edges_AA = edges_AA
        return edges_AA @ nodes_AD

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, Tensor]:
        return None, ctx.edges_AA @ gradients[0]


class GraphModel(nn.Module):
    """A vector a node, users first, and the edges they spread along."""

    edges_AA: Tensor

    def __init__(
        self, taken_UI: sp.csr_matrix, links_UU: sp.csr_matrix, options: LightGraphOptions
    ) -> None:
        super().__init__()
        self.pairs, self.options = TakenPairs(taken_UI), options
        edges_AA, self.scale_A = normalised_edges(taken_UI, links_UU)
        self.register_buffer("edges_AA", torch_sparse(edges_AA), persistent=False)
        users, items = self.pairs.num_users, self.pairs.num_items
        tables = [nn.init.xavier_uniform_(torch.empty(n, options.width)) for n in (users, items)]
        self.nodes_AD = nn.Parameter(torch.cat(tables))

    def layers(self) -> list[Tensor]:
        """The vectors before propagation and after each layer."""
        found: list[Tensor] = [self.nodes_AD]
        for _ in range(self.options.layers):
            found.append(Propagate.apply(self.edges_AA, found[-1]))  # type: ignore[no-untyped-call]
        return found

    def loss(self, examples_B: Tensor) -> Tensor:
        user_B = self.pairs.user_N[examples_B]
        node_3B = torch.stack(
            [
                user_B,
                self.pairs.num_users + self.pairs.item_N[examples_B],
                self.pairs.num_users + self.pairs.draw_others(user_B),
            ]
        )
        mean_AD = torch.stack(self.layers()).mean(dim=0)
        ranked = pairwise_loss(*functional.embedding(node_3B, mean_AD).unbind())
        squares = functional.embedding(node_3B, self.nodes_AD).square().sum() / len(examples_B)
        return ranked + self.options.penalty * squares


class LightGraph:
    """Scores by propagated vectors. With `watch`, fitting ends by its NDCG@10."""

    kept: ClassVar[Kinds] = {
        "name": str,
        "items_ID": np.ndarray,
        "own_UD": np.ndarray,
        "given_AD": np.ndarray,
        "links_UU": sp.csr_matrix,
    }
    sources = ("behaviour",)

    def __init__(
        self,
        events: Events,
        sources: Sources,
        options: LightGraphOptions | None = None,
        watch: Queries | None = None,
        name: str = "light-graph",
    ) -> None:
        self.name, self.options = name, options or LightGraphOptions()
        taken_UI, descent = training_matrix(events), self.options.descent
        links_UU = sp.csr_matrix((taken_UI.shape[0], taken_UI.shape[0]))
        if self.options.friend_weight and sources.friends_UU is not None:
            links_UU = sp.csr_matrix(self.options.friend_weight * sources.friends_UU)
        self.links_UU = with_empty_row(links_UU)
        with seeded(descent.seed):
            self.model = GraphModel(taken_UI, links_UU, self.options).to(device())
            self.epochs = descend(
                self.model,
                lambda: shuffled(len(self.model.pairs), descent.batch_size),
                self.model.loss,
                descent,
                None if watch is None else lambda: self._look(watch),
                name,
            )
        self._keep_vectors()

    def score(self, queries: Queries, rows: Ints) -> Scores:
        user_B = queries.user_index[rows]
        history_BI = history_matrix(queries, rows, None)
        edges_BA = sp.hstack([self.links_UU[user_B], history_BI]).tocsr()
        degree_B1 = np.asarray(edges_BA.sum(axis=1))
        spread_BD = (edges_BA @ self.given_AD) / np.sqrt(np.maximum(degree_B1, 1e-9))
        user_BD = self.own_UD[user_B] + spread_BD
        return np.asarray(user_BD @ self.items_ID.T, dtype=np.float32)

    def _look(self, watch: Queries) -> float:
        self._keep_vectors()
        return mean_ndcg(self, watch)

    @torch.no_grad()
    def _keep_vectors(self) -> None:
        """What scoring needs of the layers, so that it need not propagate.

        A user's vector is a mean of their own and, a layer each, of what their neighbours give.
        """
        layers, users = self.model.layers(), self.model.pairs.num_users
        is_known_U1 = self.model.scale_A[:users, None] > 0
        own_UD = is_known_U1 * array(layers[0][:users]) / len(layers)
        # The last row is that of the user number -1, whom training does not know.
        self.own_UD = np.vstack([own_UD, np.zeros_like(own_UD[:1])])
        self.items_ID = array(torch.stack(layers).mean(dim=0)[users:])
        given_AD = array(torch.stack(layers[:-1]).sum(dim=0)) / len(layers)
        self.given_AD = self.model.scale_A[:, None] * given_AD


def with_empty_row(matrix: sp.csr_matrix) -> sp.csr_matrix:
    """The matrix with a row of zeros after it, which the row number -1 finds."""
    return sp.csr_matrix(sp.vstack([matrix, sp.csr_matrix((1, matrix.shape[1]))]))


def normalised_edges(
    taken_UI: sp.csr_matrix, links_UU: sp.csr_matrix
) -> tuple[sp.csr_matrix, Floats]:
    """Edges [A, A] over the roots of both ends' degrees, and the inverse roots of degrees [A]."""
    to_users, to_items = sp.hstack([links_UU, taken_UI]), sp.csr_matrix(taken_UI.T)
    nothing_II = sp.csr_matrix((taken_UI.shape[1], taken_UI.shape[1]))
    edges_AA = sp.csr_matrix(sp.vstack([to_users, sp.hstack([to_items, nothing_II])]))
    degree_A = np.asarray(edges_AA.sum(axis=1)).ravel()
    scale_A = np.divide(1.0, np.sqrt(degree_A), out=np.zeros(len(degree_A)), where=degree_A > 0)
    scaling = sp.diags_array(scale_A)
    return sp.csr_matrix(scaling @ edges_AA @ scaling), scale_A


def torch_sparse(matrix: sp.csr_matrix) -> Tensor:
    """The matrix for torch, in float32 with 32-bit indices: half the time of a product."""
    with warnings.catch_warnings():
        # Torch calls its compressed layout a beta; a product of two matrices is all we ask of it.
        warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta", UserWarning)
        return torch.sparse_csr_tensor(
            torch.from_numpy(matrix.indptr.astype(np.int32)),
            torch.from_numpy(matrix.indices.astype(np.int32)),
            torch.from_numpy(matrix.data.astype(np.float32)),
            matrix.shape,
            check_invariants=True,
        )
