"""The model card: what a bundle's model is, what it was trained on, how good it is, its limits.

In: a run's facts. Out: Markdown for people who meet the bundle without the run.
"""

from __future__ import annotations

from collections.abc import Mapping

from feature_repo.pipelines.tables import DatasetInfo
from training.config import TrainingConfig
from training.encode import Encoder
from training.evaluate import EvaluationResult
from training.verdict import judge
from training.workers import Fitted

MINUTE = "%Y-%m-%d %H:%M"


def model_card(
    info: DatasetInfo,
    config: TrainingConfig,
    encoder: Encoder,
    fitted: Fitted,
    result: EvaluationResult,
    name: str,
    weights: Mapping[str, float],
    learnt_from: str,
) -> str:
    """Markdown; `name` is the fused score's name in the evaluation, `learnt_from` the periods that
    the model and the channels in this bundle have learnt from, in words."""
    schema = encoder.feature_schema
    num_weights = sum(parameter.numel() for parameter in fitted.model.parameters())
    verdict = judge(result, name)
    views = [f"| {v.name} | {v.source} | {v.entity} | {len(v.inputs)} |" for v in schema.views]
    metrics = [
        f"| {model} | {own['ndcg@10']} | {own['recall@10']} |"
        for model, own in {**result.models, **result.ablations}.items()
    ]
    return "\n".join(
        [
            f"# Recommendation model for {info.name}",
            "",
            f"Ranks items for users by fusing {len(schema.sources)} sources "
            f"({', '.join(schema.sources)}) with `{config.model.fusion}` fusion; "
            f"{num_weights:,} weights, best of {len(fitted.reports)} epochs: {fitted.best_epoch}.",
            "",
            "## Trained on",
            "",
            f"{info.source}. Times are known to: {info.time_resolution}. Training ends "
            f"{info.train_end_at:{MINUTE}} UTC, validation {info.validation_end_at:{MINUTE}} UTC; "
            f"snapshots are as of {info.last_event_at:{MINUTE}} UTC. Seed {config.run.seed}.",
            *(f"- {note}" for note in info.notes),
            "",
            "## The score",
            "",
            "The model's logit and what each channel says of an item, standardised over the "
            "catalogue, added up by weights that were learnt on the validation period. "
            f"What is in this bundle has learnt from {learnt_from}.",
            "",
            "| part | weight |",
            "|---|---|",
            *(f"| {part} | {weight:.3f} |" for part, weight in weights.items()),
            "",
            f"## Inputs (feature service `{schema.service}`, fingerprint {schema.fingerprint()})",
            "",
            "| view | source | entity | fields |",
            "|---|---|---|---|",
            *views,
            "",
            "## Figures on the test period (full ranking; 95 % intervals over users)",
            "",
            "| model | NDCG@10 | Recall@10 |",
            "|---|---|---|",
            *metrics,
            "",
            verdict.text,
            "",
            "## Limits",
            "",
            "- Ranks by what people like these took up; it knows nothing of quality or harm.",
            "- Items and words unknown in training are scored from their other features alone.",
            "- Probabilities are those of a take-up among as many take-ups as random negatives; "
            "they are not click rates.",
            "- Contributions of sources say what the model used, not what causes a choice.",
            "",
        ]
    )
