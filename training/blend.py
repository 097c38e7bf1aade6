"""Score fusion: the weighted sum of channels' standardised scores, weights learnt on validation.

In: fitted channels and the queries of the validation period, which no channel has seen. Out: a
scorer with weights for each channel by how much is known of the user: what is popular serves a
newcomer, closed forms serve whoever has a history. The loss looks only at the head of the list that
is to be shown: over deep lists it would buy order at rank 300 with hits at rank 10.

Shapes: Q queries, C candidates of a query, K channels, N bands of history lengths, B queries of a
block, I items.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields

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
    band_Q: Ints
    """Of the user's history length."""

    def take(self, rows: Bools) -> "Head":
        """A part of the queries."""
        return Head(*(getattr(self, one.name)[rows] for one in fields(self)))


class BlendOptions(BaseModel):
    """How weights are learnt."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    head: int = Field(default=40, ge=2)
    """Candidates of a query that the loss sees: the best under the weights of the round before."""
    rounds: int = Field(default=2, ge=1)
    penalty: float = Field(default=1e-3, ge=0)
    """Of squared weights that all bands share, beside a loss that is a mean over the items to be
    found."""
    steps: tuple[int, ...] = (1, 5, 20)
    """History lengths, ascending, from which weights of their own begin; none for the same weights
    for everybody. These and the penalty were chosen on the validation periods of Last.fm and
    MovieLens, by cross-validation over users; optima are flat."""
    band_penalty: float = Field(default=1e-2, ge=0)
    """Of squared deviations from the shared weights, so that a band without queries shares."""
    query_power: float = Field(default=0.5, ge=0, le=1)
    """An item to be found counts (their number in its query)^-power: 0 counts items alike, so that
    whoever takes up much decides, 1 queries alike, which is noisier."""
    at_least_zero: bool = False
    """No weight below 0: a channel then raises what it proposes or counts for nothing, and need not
    be served. Not with `steps`."""
    max_queries: int = Field(default=8_000, gt=0)
    """Validation queries to learn from, drawn at random if there are more."""
    seed: int = 0

    def model_post_init(self, _context: object) -> None:
        if self.at_least_zero and self.steps:
            raise ValueError("weights that are at least 0 are the same in all bands; give no steps")


class Blend:
    """A linear model over channels, with weights that may differ by length of history."""

    def __init__(
        self,
        channels: Sequence[Scorer],
        weights: Floats,
        name: str = "fused",
        steps: Sequence[int] = (),
    ) -> None:
        """Weights are [K], or [N, K]: a row for each band that `steps` begins and one before."""
        self.weights_NK = np.atleast_2d(weights)
        if self.weights_NK.shape != (len(steps) + 1, len(channels)):
            raise ValueError(
                f"{len(channels)} channels need as many weights in each of {len(steps) + 1} rows, "
                f"got shape {self.weights_NK.shape}"
            )
        self.name, self.channels, self.steps = name, list(channels), tuple(steps)

    def score(self, queries: Queries, rows: Ints) -> Scores:
        weights_BK = self.weights_of(queries.history.lengths[rows]).astype(np.float32)
        total_BI = np.zeros((len(rows), queries.num_items), dtype=np.float32)
        for place, channel in enumerate(self.channels):
            total_BI += weights_BK[:, place, None] * feature(channel, queries, rows)
        return total_BI

    def over(self, channels: Sequence[Scorer]) -> "Blend":
        """The same weights over the same channels, fitted on something else."""
        return Blend(channels, self.weights_NK, self.name, self.steps)

    def weights_of(self, history_lengths_B: Ints) -> Floats:
        """What each channel weighs, [B, K], for users with so many take-ups before the instant."""
        return np.asarray(self.weights_NK[self.bands(history_lengths_B)])

    def bands(self, history_lengths_B: Ints) -> Ints:
        """The row of `weights_NK` for each history length."""
        return np.searchsorted(self.steps, history_lengths_B, side="right")

    @property
    def weights(self) -> Floats:
        """[K], the mean over bands."""
        return np.asarray(self.weights_NK.mean(axis=0))

    def by_channel(self) -> dict[str, float]:
        """`weights` by name; scores are standardised, so that weights compare."""
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
    num_bands = len(options.steps) + 1
    equal_NK = np.full((num_bands, len(channels)), 1.0 / len(channels))
    blend = Blend(channels, equal_NK, steps=options.steps)
    for number in range(options.rounds):
        head = candidates(blend, validation, rows, options.head, progress)
        if not head.is_found_QC.any():
            raise ValueError(
                f"none of the items to be found on validation is among the first {options.head} "
                f"of the channels {', '.join(blend.by_channel())} together (round {number + 1})"
            )
        blend = Blend(channels, fit_weights(head, blend.weights_NK, options), steps=options.steps)
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
        band_B = blend.bands(queries.history.lengths[some])
        weights_BK = blend.weights_NK[band_B].astype(np.float32)
        total_BI = np.einsum("bk,kbi->bi", weights_BK, scores_KBI)
        total_BI[~is_candidate_BI] = -np.inf
        best_BC = np.argpartition(-total_BI, min(num, total_BI.shape[1]) - 1, axis=1)[:, :num]
        is_relevant_BI = np.zeros(total_BI.shape, dtype=bool)
        is_relevant_BI[queries.relevant.flat(some)] = True
        features = np.take_along_axis(scores_KBI, best_BC[None], axis=2).transpose(1, 2, 0)
        found = np.take_along_axis(is_relevant_BI & is_candidate_BI, best_BC, axis=1)
        other = np.take_along_axis(~is_relevant_BI & is_candidate_BI, best_BC, axis=1)
        parts.append((features.astype(np.float64), found, other, band_B))
    return Head(*(np.concatenate(part) for part in zip(*parts, strict=True)))


def fit_weights(head: Head, start_NK: Floats, options: BlendOptions) -> Floats:
    """Weights [N, K] that minimise the mean softmax loss plus the penalties."""
    useful_Q = head.is_found_QC.any(axis=1) & head.is_other_QC.any(axis=1)
    kept = head.take(np.asarray(useful_Q))
    shared_1K = start_NK.mean(axis=0, keepdims=True)
    start = np.concatenate([shared_1K, start_NK - shared_1K])
    num = start.shape[1]
    bounds = [(0.0, None)] * num + [(0.0, 0.0)] * num if options.at_least_zero else None
    fitted = scipy.optimize.minimize(
        loss_and_gradient,
        start.ravel(),
        args=(kept, options),
        jac=True,
        bounds=bounds,
        method="L-BFGS-B",
    )
    return weights_by_band(fitted.x, start.shape)


def weights_by_band(parameters: Floats, shape: tuple[int, ...]) -> Floats:
    """Weights [N, K] from what is learnt, [1 + N, K]: the shared ones and each band's deviation."""
    learnt = parameters.reshape(shape)
    return np.asarray(learnt[:1] + learnt[1:])


def loss_and_gradient(
    parameters: Floats, head: Head, options: BlendOptions
) -> tuple[float, Floats]:
    """Weighted mean over items to be found of -log softmax against all other candidates, penalties
    added."""
    shape = (len(options.steps) + 2, head.features_QCK.shape[2])
    weights_QK = weights_by_band(parameters, shape)[head.band_Q]
    counts_Q1 = np.maximum(head.is_found_QC.sum(axis=1, keepdims=True), 1.0)
    share_QC = head.is_found_QC * counts_Q1**-options.query_power
    share_QC /= share_QC.sum()
    scores_QC = np.matmul(head.features_QCK, weights_QK[:, :, None])[:, :, 0]
    others_QC = np.where(head.is_other_QC, scores_QC, -np.inf)
    others_Q1 = logsumexp(others_QC, axis=1, keepdims=True)
    norm_QC = np.logaddexp(others_Q1, scores_QC)
    loss = float((share_QC * np.where(head.is_found_QC, norm_QC - scores_QC, 0.0)).sum())
    # A found item pulls itself up by the share of the others, and them down by as much together.
    pull_QC = share_QC * np.exp(others_Q1 - norm_QC)
    slope_QC = np.exp(others_QC - others_Q1) * pull_QC.sum(axis=1, keepdims=True) - pull_QC
    gradient_QK = np.matmul(slope_QC[:, None, :], head.features_QCK)[:, 0]
    gradient = np.zeros(shape)
    np.add.at(gradient, head.band_Q + 1, gradient_QK)
    gradient[0] = gradient_QK.sum(axis=0)
    penalties = np.full(shape, options.band_penalty)
    penalties[0] = options.penalty
    flat = penalties.ravel() * parameters
    return loss + float(flat @ parameters), gradient.ravel() + 2 * flat


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
