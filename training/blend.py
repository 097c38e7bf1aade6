"""Score fusion: the weighted sum of channels' standardised scores, weights learnt on validation.

In: fitted channels and the queries of the validation period, which no channel has seen. Out: a
scorer with one weight a channel. The loss looks only at the head of the list that is to be shown:
over deep lists it would buy order at rank 300 with hits at rank 10.

Shapes: Q queries, C candidates of a query, K channels, B queries of a block, I items.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.optimize
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from scipy.special import logsumexp
from tqdm import tqdm

from training.baselines import Floats, Ints, Scorer, Scores
from training.queries import Queries

Bools = NDArray[np.bool_]
QUERIES_AT_ONCE = 256


@dataclass(frozen=True)
class Head:
    """The first candidates of queries, as the weights of a round have them."""

    features_QCK: Floats
    """Standardised scores by channel."""
    is_found_QC: Bools
    """To be found."""
    is_other_QC: Bools
    """A candidate that is not; neither, where a query has fewer candidates than the head."""


class BlendOptions(BaseModel):
    """How weights are learnt."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    head: int = Field(default=40, ge=2)
    """Candidates of a query that the loss sees: the best under the weights of the round before."""
    rounds: int = Field(default=2, ge=1)
    penalty: float = Field(default=1e-3, ge=0)
    """Of squared weights, beside a loss that is a mean over the items to be found."""
    max_queries: int = Field(default=8_000, gt=0)
    """Validation queries to learn from, drawn at random if there are more."""
    seed: int = 0


class Blend:
    """A linear model over channels. `weights` may be read: they add up to the score."""

    def __init__(self, channels: Sequence[Scorer], weights: Floats, name: str = "fused") -> None:
        if len(weights) != len(channels):
            raise ValueError(f"{len(channels)} channels need as many weights, got {len(weights)}")
        self.name, self.channels, self.weights = name, list(channels), np.asarray(weights)

    def score(self, queries: Queries, rows: Ints) -> Scores:
        total_BI = np.zeros((len(rows), queries.num_items), dtype=np.float32)
        for channel, weight in zip(self.channels, self.weights, strict=True):
            total_BI += np.float32(weight) * feature(channel, queries, rows)
        return total_BI

    def by_channel(self) -> dict[str, float]:
        """What each channel weighs; scores are standardised, so that weights compare."""
        pairs = zip(self.channels, self.weights, strict=True)
        return {channel.name: float(weight) for channel, weight in pairs}


def learn_blend(
    channels: Sequence[Scorer],
    validation: Queries,
    options: BlendOptions | None = None,
    progress: bool = False,
) -> Blend:
    """Weights by softmax loss of each item to be found against the candidates that are not.

    Starts from equal weights. Raises ValueError if no item to be found is among the candidates.
    """
    options = options or BlendOptions()
    rows = np.arange(len(validation))
    if len(rows) > options.max_queries:
        drawn = np.random.default_rng(options.seed).permutation(rows)[: options.max_queries]
        rows = np.sort(drawn)
    blend = Blend(channels, np.full(len(channels), 1.0 / len(channels)))
    for number in range(options.rounds):
        head = candidates(blend, validation, rows, options.head, progress)
        if not head.is_found_QC.any():
            raise ValueError(
                f"none of the items to be found on validation is among the first {options.head} "
                f"of the channels {', '.join(blend.by_channel())} together (round {number + 1})"
            )
        blend = Blend(channels, fit_weights(head, blend.weights, options.penalty))
    return blend


def candidates(
    blend: Blend, queries: Queries, rows: Ints, num: int, progress: bool = False
) -> Head:
    """Each query's best `num` candidates under the blend."""
    parts = []
    blocks = range(0, len(rows), QUERIES_AT_ONCE)
    for start in tqdm(blocks, desc="learn weights", leave=False, disable=not progress):
        some = rows[start : start + QUERIES_AT_ONCE]
        scores_KBI = np.stack([feature(one, queries, some) for one in blend.channels])
        is_candidate_BI = queries.candidates(some)
        total_BI = np.tensordot(blend.weights.astype(np.float32), scores_KBI, axes=1)
        total_BI[~is_candidate_BI] = -np.inf
        best_BC = np.argpartition(-total_BI, min(num, total_BI.shape[1]) - 1, axis=1)[:, :num]
        is_relevant_BI = np.zeros(total_BI.shape, dtype=bool)
        is_relevant_BI[queries.relevant.flat(some)] = True
        features = np.take_along_axis(scores_KBI, best_BC[None], axis=2).transpose(1, 2, 0)
        found = np.take_along_axis(is_relevant_BI & is_candidate_BI, best_BC, axis=1)
        other = np.take_along_axis(~is_relevant_BI & is_candidate_BI, best_BC, axis=1)
        parts.append((features.astype(np.float64), found, other))
    return Head(*(np.concatenate(part) for part in zip(*parts, strict=True)))


def fit_weights(head: Head, start_K: Floats, penalty: float) -> Floats:
    """The weights that minimise the mean softmax loss plus penalty times their squares."""
    useful = head.is_found_QC.any(axis=1) & head.is_other_QC.any(axis=1)
    kept = Head(head.features_QCK[useful], head.is_found_QC[useful], head.is_other_QC[useful])
    fitted = scipy.optimize.minimize(
        loss_and_gradient, start_K, args=(kept, penalty), jac=True, method="L-BFGS-B"
    )
    return np.asarray(fitted.x)


def loss_and_gradient(weights_K: Floats, head: Head, penalty: float) -> tuple[float, Floats]:
    """Mean over items to be found of -log softmax against all other candidates, penalty added."""
    found_QC, num = head.is_found_QC, head.is_found_QC.sum()
    scores_QC = head.features_QCK @ weights_K
    others_QC = np.where(head.is_other_QC, scores_QC, -np.inf)
    others_Q1 = logsumexp(others_QC, axis=1, keepdims=True)
    norm_QC = np.logaddexp(others_Q1, scores_QC)
    loss = (norm_QC - scores_QC)[found_QC].sum() / num
    # A found item pulls itself up by the share of the others, and them down by as much together.
    pull_QC = np.where(found_QC, np.exp(others_Q1 - norm_QC), 0.0)
    slope_QC = np.exp(others_QC - others_Q1) * pull_QC.sum(axis=1, keepdims=True) - pull_QC
    gradient_K = np.einsum("qc,qck->k", slope_QC, head.features_QCK) / num
    square = float(weights_K @ weights_K)
    return float(loss) + penalty * square, gradient_K + 2 * penalty * weights_K


def feature(channel: Scorer, queries: Queries, rows: Ints) -> Scores:
    """A channel's scores [B, I] as weights take them: standardised, or as they are for a channel
    with `has_own_scale`, one that need not score the whole catalogue to be fused."""
    scores_BI = channel.score(queries, rows)
    return scores_BI if getattr(channel, "has_own_scale", False) else standardised(scores_BI)


def standardised(scores_BI: Scores) -> Scores:
    """Each row less its mean, over its spread; a row of equal scores becomes 0."""
    centred_BI = scores_BI - scores_BI.mean(axis=1, keepdims=True)
    spread_B1 = centred_BI.std(axis=1, keepdims=True)
    return np.asarray(centred_BI / np.where(spread_B1 > 0, spread_B1, 1.0), dtype=np.float32)
