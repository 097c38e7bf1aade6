"""Configuration of the serving application; `serve run` takes every field as key=value."""

import os
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from serving.api import MAX_DIVERSITY, MAX_EXPLORE
from serving.clock import ClockName
from serving.evidence import MIN_FRIENDS
from serving.models import EMBEDDED_MODEL
from serving.quotas import read_quotas

KEYS_VARIABLE = "POTLUCK_API_KEYS"
UserIds = Literal["hash", "clear", "none"]


class ServingConfig(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    bundle: Path
    """Folder that `python -m training.train` wrote, or one that points to such a folder: `python -m
    serving.rollout` switches it, and the servers follow."""
    repo: Path = Path("feature_repo")
    """Folder with the feature_store.yaml of the online store."""
    clock: ClockName = "wall"
    """`data` goes on from the end of the bundle's data: for archived data sets."""
    candidates_per_channel: int = Field(default=100, ge=1, le=10_000)
    """Each channel's share of the ranker's work; cost grows with the sum over channels."""
    quotas: dict[str, int] = {}
    """Other shares, as `trending:200,friends:0`; 0 leaves a channel out (serving/quotas.py)."""
    max_candidates: int | None = Field(default=None, ge=1)
    """At most so many are ranked, those that a channel put highest; none for all proposed."""
    retrieval: Literal["process", "handle"] = "process"
    """Where candidates are found: in each ranker's process, or behind a `handle`, in a deployment
    of its own: for indexes too large for every ranker to hold. That adds a hop to each answer
    (docs/adr/0019-retrieval-behind-a-handle.md)."""
    retriever_replicas: int = Field(default=1, ge=1)
    """Of the deployment behind the handle; each holds the snapshot and all indexes."""
    retrieval_deadline_ms: float = Field(default=500.0, gt=0)
    """Where the handle takes longer, what is trending is ranked, which the ranker finds itself.
    More than `channel_deadline_ms`, or one late channel would cost them all."""
    diversity: float = Field(default=0.0, ge=0, le=MAX_DIVERSITY)
    """How much the items of a slate are to differ, where a request does not say. Up to 0.5 no loss
    of accuracy was measured; 0.9 costs a fifth (docs/adr/0017-choosing-the-slate.md)."""
    max_per_category: int | None = Field(default=None, ge=1, le=100)
    """Items of one category in a slate, where a request does not say; none for no limit."""
    explore: float = Field(default=0.0, ge=0, le=MAX_EXPLORE)
    """Probability that a place shows a candidate from beyond the slate, where a request does not
    say. Such slates are written to `impression_log`."""
    impression_log: Path | None = None
    """Where slates that explore are kept, one JSON object a line; default `impressions.jsonl`
    beside the bundle."""
    min_friends: int = Field(default=MIN_FRIENDS, ge=1)
    """Privacy floor: how many friends must have taken an item up before they are counted aloud."""
    positive_from: float = 3.5
    """A rating fed back counts as a take-up from this value on."""
    feedback_log: Path | None = None
    """Where accepted feedback is kept, one JSON object a line; default `feedback.jsonl` beside the
    bundle."""
    refresh_every_s: float = Field(default=1.0, gt=0)
    """How often each replica looks whether a new snapshot, or a new bundle, was pointed to."""
    explainer_model: str = EMBEDDED_MODEL
    """Hugging Face id or folder of a causal language model."""
    explainer_url: str | None = None
    """An OpenAI-compatible server that has the model (vLLM, Ray Serve's LLM deployment), up to and
    with its /v1; none runs the model in this application."""
    explain_timeout_s: float = Field(default=60.0, gt=0)
    """The template answers when the language model takes longer."""
    user_deadline_ms: float = Field(default=250.0, gt=0)
    """The answer is for an unknown user when the online store takes longer; this session's items
    still count."""
    channel_deadline_ms: float = Field(default=250.0, gt=0)
    """A channel that takes longer proposes nothing."""
    breaker_failures: int = Field(default=5, ge=1)
    """What failed or was late so often in a row is left alone for `breaker_open_s`, then tried with
    one request."""
    breaker_open_s: float = Field(default=5.0, gt=0)
    api_keys: Path | None = Field(
        default_factory=lambda: os.environ.get(KEYS_VARIABLE), validate_default=True
    )
    """YAML file of hashed keys (`python -m serving.keys`); the environment's POTLUCK_API_KEYS names
    one too. Without it no key is asked for, and the server must listen on the loopback."""
    max_request_bytes: int = Field(default=4_000_000, ge=1_000)
    """A larger request is refused with 413. Ten thousand of the longest identifiers fit."""
    max_requests_per_s: float | None = Field(default=None, gt=0)
    """Of one key, or of one address where no keys are asked for, in each replica; beyond it 429."""
    log_user_ids: UserIds = "hash"
    """How logs name users: `hash` (keyed by the environment's POTLUCK_LOG_KEY, else for one process
    at a time), `clear`, `none`."""
    feature_logging_share: float = Field(default=0.0, ge=0, le=1)
    """Share of slates whose feature values are logged through Feast, for monitoring and training;
    the feature service says where to (feature_repo/services.py). They are personal data."""
    ranker_replicas: int = Field(default=1, ge=1)
    threads: int | None = Field(default=None, ge=1)
    """Cores that a ranker replica computes on; none for the CPUs that Ray gave it, which is one.
    Further replicas make better use of further cores (docs/adr/0018-batching-and-threads.md)."""
    compiled: Path | None = None
    """Folder that `python -m serving.compile` wrote: the model's steps as native code, in a third
    of the time. A bundle that it does not fit is served without, which the log says."""
    explainer_replicas: int = Field(default=1, ge=0)
    """0 starts no language model; `explain: llm` is then answered by templates."""

    @property
    def event_log(self) -> Path:
        """Where accepted feedback is kept."""
        return self.feedback_log or self.bundle.parent / "feedback.jsonl"

    @property
    def shown_log(self) -> Path:
        """Where slates that explore are kept."""
        return self.impression_log or self.bundle.parent / "impressions.jsonl"

    @field_validator("quotas", mode="before")
    @classmethod
    def _reads_quotas(cls, given: object) -> object:
        return read_quotas(given) if isinstance(given, str) else given

    @field_validator("explainer_url")
    @classmethod
    def _has_no_secret(cls, url: str | None) -> str | None:
        """Arguments are shown in logs and on Ray's dashboard."""
        if url is not None and "@" in urlsplit(url).netloc:
            raise ValueError("no password belongs here; a key goes into EXPLAINER_API_KEY")
        return url

    @field_validator("api_keys")
    @classmethod
    def _is_a_file(cls, path: Path | None) -> Path | None:
        if path is not None and not path.expanduser().is_file():
            raise ValueError(f"file {path} does not exist")
        return path and path.expanduser().resolve()

    @field_validator("bundle", "repo", "compiled")
    @classmethod
    def _is_a_folder(cls, path: Path | None) -> Path | None:
        if path is not None and not path.expanduser().is_dir():
            raise ValueError(f"folder {path} does not exist")
        return path and path.expanduser().resolve()  # replicas run in other working directories


def read_config(args: dict[str, Any]) -> ServingConfig:
    """Check the arguments of `serve run`; ValueError names each that is wrong."""
    try:
        return ServingConfig.model_validate(args)
    except ValidationError as error:
        wrong = "; ".join(
            f"{'.'.join(str(part) for part in issue['loc'])}: {issue['msg']}"
            for issue in error.errors()
        )
        raise ValueError(f"serve run serving.app:build {wrong}") from error
