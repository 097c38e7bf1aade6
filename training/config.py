"""What the model is (ModelConfig) and how one run goes (RunConfig).

Both are frozen and refuse unknown keys; the resolved pair is saved in the bundle and rebuilds the
model. `read_config` reads the pair from YAML and names the key that is wrong.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

FusionName = Literal["concat", "weighted", "gated", "attention", "siamese"]
FUSIONS: tuple[FusionName, ...] = ("concat", "weighted", "gated", "attention", "siamese")
Share = Annotated[float, Field(ge=0.0, lt=1.0)]


class ModelConfig(BaseModel):
    """The architecture; together with the feature schema and the encoder it rebuilds the model."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    fusion: FusionName = "attention"
    """How the tokens of one side become one vector; `siamese` also yields the retrieval index."""
    width: int = Field(default=64, ge=4, le=1024)
    """D: width of a source's token, of embeddings and of the fused vectors."""
    heads: int = Field(default=4, ge=1)
    """Attention heads; must divide `width`. Only `attention` uses them."""
    dropout: Share = 0.3
    """Dropout inside the source tokenizers and on the pair's hidden layer."""
    source_dropout: Share = 0.1
    """Chance that a training example loses one source, on both sides, so that serving may too."""
    id_dropout: Share = 0.3
    """Chance that a training candidate loses its id, so that items never seen in training work."""
    sequence_dropout: Share = 0.5
    """Chance that training does not see an entry of a sequence (a history item, a keyword). Each
    label is then met with another history each time, as in a denoising autoencoder (Liang et al.
    2018, section 2.3); without it the model learns by heart who had which history."""
    history: int = Field(default=50, ge=1, le=1000)
    """Longest part of a sequence that is read (newest first); the rest is ignored."""
    outcomes: tuple[str, ...] = ()
    """What else is predicted of a pair in training: an action's name (will the user rate it?) or
    "ACTION.value" (what rating?). See `run.outcome_weight`."""

    def model_post_init(self, _context: object) -> None:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is not a multiple of heads {self.heads}")


class RunConfig(BaseModel):
    """How one training run goes. None of it is needed to use the trained model."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    epochs: int = Field(default=6, ge=1)
    """Upper bound; early stopping usually ends before."""
    patience: int = Field(default=2, ge=1)
    """Stop after so many epochs without a better validation NDCG; the best epoch is kept."""
    batch_size: int = Field(default=256, ge=1)
    """Positives a step over all workers together, so that N workers take the steps of one."""
    learning_rate: float = Field(default=3e-3, gt=0)
    """Peak; a tenth of the steps leads up to it, a cosine down to a hundredth of it."""
    weight_decay: float = Field(default=0.1, ge=0)
    """AdamW's decoupled decay; biases, norms and scalars are spared."""
    negatives: int = Field(default=12, ge=1)
    """Negatives a positive meets in one step."""
    negative_pool: int = Field(default=4, ge=1)
    """How many times `negatives` are drawn per positive; each step takes a share of its own."""
    uniform_share: float = Field(default=0.25, ge=0, le=1)
    """Share of negatives drawn uniformly over known items; the rest by popularity at the time."""
    outcome_weight: float = Field(default=0.1, ge=0)
    """Weight of the mean loss of `model.outcomes` beside the ranking loss."""
    clip_norm: float = Field(default=5.0, gt=0)
    """Largest norm of the gradient."""
    seed: int = Field(default=0, ge=0)
    workers: int = Field(default=1, ge=0)
    """Ray Train workers; 0 trains in this process, without Ray."""
    cpus_per_worker: int | None = Field(default=None, ge=1)
    """None shares out a lone machine's CPUs among its workers, and takes one each in a cluster."""
    gpu: bool = False
    """One GPU a worker, with bf16 (fp16 where bf16 is missing) autocast."""
    max_failures: int = Field(default=2, ge=0)
    """How often Ray Train restarts lost workers from the last checkpoint."""


class TrainingConfig(BaseModel):
    """The whole of a YAML configuration: sections `model` and `run`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: ModelConfig = ModelConfig()
    run: RunConfig = RunConfig()


def read_config(path: Path) -> TrainingConfig:
    """Read a YAML file with sections `model` and `run`.

    Raises ValueError naming the file and each wrong key.
    """
    if not path.is_file():
        raise ValueError(f"configuration file {path} does not exist; check --config")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        return TrainingConfig.model_validate(content or {})
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is not YAML: {error}") from error
    except ValidationError as error:
        wrong = "; ".join(
            f"{'.'.join(str(part) for part in issue['loc'])}: {issue['msg']}"
            for issue in error.errors()
        )
        raise ValueError(f"{path}: {wrong}") from error
