"""What a feature build may be told: the text model, the grid, the seed, the memory it may take."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class FeatureOptions(BaseModel):
    """Options of one feature build; the same options on the same tables give the same files."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    encoder: str = "minilm"
    """Text encoder: `minilm` for the embedded one, else a folder or a Hugging Face id."""

    text_adapter: Path | None = None
    """Folder of a LoRA adapter for the encoder, from `python -m training.text_tuning`."""

    text_dims: int | None = Field(default=None, ge=2)
    """Dimensions that PCA leaves of a text embedding; None keeps the encoder's own."""

    grid_days: int = Field(default=1, ge=1, le=366)
    """Days between refreshes of the social and text views. A friend's click touches every
    follower once a step, so rows and time of `user_social` grow with events times followers; 7 cuts
    them several times."""

    seed: int = Field(default=0, ge=0)
    """Seed of everything drawn: the graph embedding's vectors, PCA."""

    memory_limit_gb: float = Field(default=2.0, gt=0.1)
    """Memory that DuckDB may hold; beyond it, sorts and joins spill to a folder beside them."""

    threads: int | None = Field(default=None, ge=1)
    """Threads of DuckDB; None means all cores."""

    batch_size: int | None = Field(default=None, ge=1)
    """Texts that the encoder reads at once; None: as many as suit the device."""

    text_engine: Literal["local", "ray"] = "local"
    """Where texts are embedded: in this process, or by Ray Data actors, on GPUs if any."""
