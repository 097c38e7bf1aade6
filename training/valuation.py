"""From ranked lists to figures: what each source is worth, to whom, and how it stands up to gaps.

In: lists of a model under every subset of its sources, and lists of other scorers. Out: a `Worth`.
The worth of a source is its Shapley value in the game whose value is NDCG@10 over the test queries
(Shapley 1953): the mean, over all orders in which sources could be revealed, of what revealing it
adds. All 2^S subsets are measured, so the values are exact and add up to the model's figure less
that of no source. Ranks nothing itself.

Shapes: N = 2^S subsets, S sources, Q queries, K places of a list, P items to be found.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from training.attribution import subsets
from training.bootstrap import Interval, intervals
from training.evaluate import REFERENCE
from training.metrics import ndcg
from training.queries import Queries
from training.ranking import hits
from training.slices import Slices

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

K = 10
FUSED, NOTHING, EVERYBODY = "fused", "no source", "everybody"
RETRAINED = ", retrained"
VERDICTS = {True: "  ahead", False: "  behind", None: ""}


class Part(BaseModel):
    """The figures on all test queries, or on a slice of them; NDCG@10, means over users."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    queries: int
    users: int
    relevant: int
    figures: dict[str, Interval]
    """By scorer: the whole model, `without X` and `only X` (masked, or retrained), baselines."""
    ahead: dict[str, Interval]
    """By scorer: how far the whole model is ahead of it, paired by user."""
    shapley: dict[str, Interval]
    """By source; with the figure of no source they add up to the whole model's."""


class Gap(BaseModel):
    """A share of one source's rows missing."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    missing: float
    figure: Interval
    lost: Interval
    """The whole model's figure less this one, paired by user."""


class Worth(BaseModel):
    """What worth.json holds."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    dataset: str
    bundle: str
    """When the bundle was made: figures belong to one model."""
    metric: str = f"NDCG@{K}"
    sources: tuple[str, ...]
    parts: dict[str, Part]
    """By slice, that of everybody first; a slice without a query has no figures."""
    score_shares: dict[str, float]
    """By source: its share of the mean absolute Shapley values of scores of items to be found."""
    robustness: dict[str, list[Gap]]
    """By source, from nothing missing to all."""

    @property
    def ways(self) -> tuple[str, ...]:
        """How sources were taken away: hidden, and where that was done by training again."""
        again = any(name.endswith(RETRAINED) for name in self.parts[EVERYBODY].figures)
        return ("", RETRAINED) if again else ("",)


@dataclass(frozen=True)
class Lists:
    """The first K items of each query."""

    sources: tuple[str, ...]
    subsets_NQK: Ints
    """Under every subset of the sources, numbered by bits as in `training.attribution.subsets`."""
    others: Mapping[str, Ints]
    """Of other scorers, [Q, K] each."""
    gaps: Mapping[tuple[str, float], Ints]
    """With a share of a source's rows missing, [Q, K] each."""


def sign(difference: Interval) -> bool | None:
    """True for an interval above zero, False for one below, None for one that holds zero."""
    if difference.low is not None and difference.low > 0:
        return True
    return False if difference.high is not None and difference.high < 0 else None


def value_parts(
    lists: Lists, queries: Queries, slices: Slices, resamples: int = 1000, seed: int = 0
) -> dict[str, Part]:
    """The figures for everybody and for every slice."""
    everybody = np.ones(len(queries), dtype=bool)
    parts = {EVERYBODY: (everybody, queries), **slices.parts(queries)}
    return {
        name: value_part(lists, mask_Q, part, resamples, seed)
        for name, (mask_Q, part) in parts.items()
    }


def value_part(
    lists: Lists, mask_Q: NDArray[np.bool_], part: Queries, resamples: int, seed: int
) -> Part:
    """The figures of the queries in the mask; `part` says what they look for."""
    values_NQ = np.stack([gains(top_QK[mask_Q], part) for top_QK in lists.subsets_NQK])
    figures = named_subsets(values_NQ, lists.sources)
    figures |= {name: gains(top_QK[mask_Q], part) for name, top_QK in lists.others.items()}
    whole_Q = figures[FUSED]
    ahead = {name: whole_Q - own_Q for name, own_Q in figures.items() if name != FUSED}
    shapley = dict(zip(lists.sources, shapley_values(values_NQ), strict=True))
    columns = {
        (kind, name): own_Q
        for kind, group in (("figures", figures), ("ahead", ahead), ("shapley", shapley))
        for name, own_Q in group.items()
    }
    numbered = {str(number): own_Q for number, own_Q in enumerate(columns.values())}
    found = intervals(numbered, part.user_index, resamples, seed)
    by_kind: dict[str, dict[str, Interval]] = {"figures": {}, "ahead": {}, "shapley": {}}
    for (kind, name), interval in zip(columns, found.values(), strict=False):
        by_kind[kind][name] = interval
    return Part(
        queries=len(part),
        users=len(np.unique(part.user_index)),
        relevant=int(part.relevant.lengths.sum()),
        **by_kind,
    )


def gains(top_QK: Ints, queries: Queries) -> Floats:
    """NDCG@10 of each query."""
    hits_QK = hits(top_QK, queries.relevant, queries.num_items)
    return ndcg(hits_QK, queries.relevant.lengths, K)


def named_subsets(values_NQ: Floats, sources: Sequence[str]) -> dict[str, Floats]:
    """The subsets that have a name: all, none, all but one, one alone."""
    whole = len(values_NQ) - 1
    return {
        FUSED: values_NQ[whole],
        NOTHING: values_NQ[0],
        **{f"without {name}": values_NQ[whole - 2**s] for s, name in enumerate(sources)},
        **{f"only {name}": values_NQ[2**s] for s, name in enumerate(sources)},
    }


def shapley_values(values: NDArray[np.floating]) -> Floats:
    """Shapley values [S, ...] of a game given by its value under every subset, [2^S, ...].

    >>> shapley_values(np.array([0.0, 1.0, 2.0, 9.0])).tolist()  # together 6 more than apart
    [4.0, 5.0]
    """
    num_sources = len(values).bit_length() - 1
    weights_SN = subsets(num_sources)[1].numpy()
    return np.tensordot(weights_SN, np.asarray(values, np.float64), axes=1)


def score_shares(found_NP: NDArray[np.floating], sources: Sequence[str]) -> dict[str, float]:
    """From the scores of the items to be found under every subset: each source's share."""
    sizes_S = np.abs(shapley_values(found_NP)).mean(axis=1)
    shares_S = sizes_S / (sizes_S.sum() or 1.0)
    return {name: float(share) for name, share in zip(sources, shares_S, strict=True)}


def robustness(
    lists: Lists, queries: Queries, resamples: int = 1000, seed: int = 0
) -> dict[str, list[Gap]]:
    """For each source the figure by the share of its rows that is missing."""
    whole = len(lists.subsets_NQK) - 1
    tops = dict(lists.gaps)
    for place, source in enumerate(lists.sources):
        tops |= {
            (source, 0.0): lists.subsets_NQK[whole],
            (source, 1.0): lists.subsets_NQK[whole - 2**place],
        }
    whole_Q = gains(lists.subsets_NQK[whole], queries)
    curves: dict[str, list[Gap]] = {source: [] for source in lists.sources}
    for source, share in sorted(tops):
        figure_Q = gains(tops[source, share], queries)
        both = {"figure": figure_Q, "lost": whole_Q - figure_Q}
        found = intervals(both, queries.user_index, resamples, seed)
        curves[source].append(Gap(missing=share, **found))
    return curves


def table(worth: Worth) -> str:
    """The figures as aligned text for the terminal."""
    everybody = worth.parts[EVERYBODY]
    lines = [f"{worth.metric}, {everybody.queries} queries of {everybody.users} users"]
    lines += [f"  {name:<32}{figure}" for name, figure in everybody.figures.items()]
    lines += ["", "what each source adds (Shapley), and its share of what moves scores"]
    for source, adds in everybody.shapley.items():
        lines.append(f"  {source:<32}{adds}  {worth.score_shares[source]:.0%}")
    lines += [
        "",
        f"how far the whole model is ahead of {REFERENCE}, and of itself without a source",
    ]
    for name, part in worth.parts.items():
        lines.append(f"  {name}: {part.users} users, {part.queries} queries")
        for other, ahead in part.ahead.items():
            if other == REFERENCE or other.startswith("without "):
                lines.append(f"    {other:<30}{ahead}{VERDICTS[sign(ahead)]}")
    lines += ["", "with a share of a source's rows missing"]
    for source, gaps in worth.robustness.items():
        shares = "  ".join(f"{gap.missing:.0%} {gap.figure.mean:.4f}" for gap in gaps)
        lines.append(f"  {source:<32}{shares}")
    return "\n".join(lines)
