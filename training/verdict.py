"""Whether a model is promoted: a plain statement from an evaluation's intervals.

In: an evaluation's result and the model's name. Out: promoted or not, and why, in words.
"""

from pydantic import BaseModel, ConfigDict

from training.bootstrap import Interval
from training.evaluate import REFERENCE, EvaluationResult


class Verdict(BaseModel):
    """The decision and its reasons, one sentence a baseline."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    promoted: bool
    text: str
    reasons: list[str]


def judge(result: EvaluationResult, fused: str, metric: str = "ndcg@10") -> Verdict:
    """Promoted if the model's interval lies above that of the popular lately, and none beats it.

    With every other baseline the paired difference decides: it must not lie below zero. Raises
    ValueError if the evaluation lacks the model or the differences from it.
    """
    if fused not in result.models or fused not in result.differences:
        raise ValueError(
            f"no differences from {fused!r} in this evaluation (models: "
            f"{', '.join(result.models)}); call evaluate(..., fused={fused!r})"
        )
    own = result.models[fused][metric]
    others = [name for name in result.models if name != fused]
    behind = {name: result.differences[fused][name][metric] for name in others}
    disjoint = {name: own.above(result.models[name][metric]) for name in others}
    beaten_by = [name for name in others if (behind[name].low or 0.0) > 0]
    promoted = disjoint.get(REFERENCE, bool(others)) and not beaten_by
    reasons = [reason(fused, name, metric, behind[name], disjoint[name]) for name in others]
    return Verdict(
        promoted=promoted,
        text=f"{'Promoted' if promoted else 'Not promoted'}: "
        + headline(fused, disjoint, beaten_by, metric),
        reasons=reasons,
    )


def headline(fused: str, disjoint: dict[str, bool], beaten_by: list[str], metric: str) -> str:
    if REFERENCE in disjoint and not disjoint[REFERENCE]:
        return f"{fused} does not beat {REFERENCE} on {metric} with disjoint intervals."
    if beaten_by:
        return f"{' and '.join(beaten_by)} beat {fused} on {metric}."
    names = [name for name, apart in disjoint.items() if apart]
    return f"{fused} beats {', '.join(names) or 'nothing'} on {metric} with disjoint intervals."


def reason(fused: str, name: str, metric: str, behind: Interval, disjoint: bool) -> str:
    """How the model stands to one other; `behind` is the other's figure less the model's."""
    ahead = f"{-behind.mean:+.4f}"
    if behind.low is None or behind.high is None:
        return f"{fused} against {name}: {ahead} {metric}, too few users for an interval."
    ahead += f" [{-behind.high:+.4f}, {-behind.low:+.4f}]"
    if disjoint:
        return f"{fused} beats {name}, intervals disjoint: {ahead} {metric}, paired."
    if behind.high < 0:
        return (
            f"{fused} beats {name} in the paired difference, intervals overlap: {ahead} {metric}."
        )
    if behind.low > 0:
        return f"{name} beats {fused}: {ahead} {metric}, paired."
    return f"{fused} and {name} cannot be told apart: {ahead} {metric}, paired."
