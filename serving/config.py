"""Configuration of the serving application; `serve run` takes every field as key=value."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, field_validator

from serving.clock import ClockName
from serving.evidence import MIN_FRIENDS
from serving.models import EMBEDDED_MODEL


class ServingConfig(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    bundle: Path
    """Folder that `python -m training.train` wrote."""
    repo: Path = Path("feature_repo")
    """Folder with the feature_store.yaml of the online store."""
    clock: ClockName = "wall"
    """`data` goes on from the end of the bundle's data: for archived data sets."""
    candidates_per_channel: int = Field(default=100, ge=1, le=10_000)
    """Each channel's share of the ranker's work; cost grows with the sum over channels."""
    min_friends: int = Field(default=MIN_FRIENDS, ge=1)
    """Privacy floor: how many friends must have taken an item up before they are counted aloud."""
    positive_from: float = 3.5
    """A rating fed back counts as a take-up from this value on."""
    feedback_log: Path | None = None
    """Where accepted feedback is kept, one JSON object a line; default `feedback.jsonl` beside the
    bundle."""
    explainer_model: str = EMBEDDED_MODEL
    """Hugging Face id or folder of a causal language model."""
    explainer_url: str | None = None
    """An OpenAI-compatible server that has the model (vLLM, Ray Serve's LLM deployment), up to and
    with its /v1; none runs the model in this application."""
    explain_timeout_s: float = Field(default=60.0, gt=0)
    """The template answers when the language model takes longer."""
    ranker_replicas: int = Field(default=1, ge=1)
    explainer_replicas: int = Field(default=1, ge=0)
    """0 starts no language model; `explain: llm` is then answered by templates."""

    @field_validator("bundle", "repo")
    @classmethod
    def _is_a_folder(cls, path: Path) -> Path:
        if not path.expanduser().is_dir():
            raise ValueError(f"folder {path} does not exist")
        return path.expanduser().resolve()  # replicas run in other working directories
