"""The HTTP interface as types: what may be asked, and what is answered.

Every request is checked here, at the door; the stages behind it trust these types.
"""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, JsonValue

from serving.clock import EPOCH
from serving.counterfactuals import Counterfactual
from serving.evidence import Fact
from serving.phrases import Language, Tone
from serving.statements import Statement

MAX_DIVERSITY = 0.95  # at 1 scores would count for nothing
MAX_EXPLORE = 0.5

Identifier = Annotated[str, Field(min_length=1, max_length=256)]
Identifiers = Annotated[list[Identifier], Field(max_length=10_000)]
ExplainMode = Literal["none", "template", "llm", "stream"]
Stage = Literal["user", "retrieval", "channel", "explanation"]
FilterReason = Literal["not_yet_available", "not_allowed", "category", "denied", "rejected", "seen"]


class Request(BaseModel):
    """A misspelt field is an error, not a silently ignored wish."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Context(Request):
    """What is known at this moment and not yet in the feature store."""

    session_items: Annotated[list[Identifier], Field(max_length=50)] = []
    """Items taken up in this session, newest first; enough for a first answer to a new user."""
    categories: Annotated[list[Identifier], Field(max_length=50)] = []
    """Categories somebody said that they like; items from them are added to the candidates."""


class Filters(Request):
    exclude_seen: bool = True
    """Leave out what the user already took up or rejected."""
    allow: Identifiers | None = None
    """Only these items; null for all."""
    deny: Identifiers = []
    """Never these items."""
    categories: Identifiers | None = None
    """Only items of at least one of these categories; null for all."""


class RecommendRequest(Request):
    user_id: Identifier
    k: Annotated[int, Field(ge=1, le=100)] = 10
    """Length of the slate."""
    context: Context = Context()
    filters: Filters = Filters()
    explain: ExplainMode = "template"
    """`template` costs microseconds; `llm` waits for the language model (seconds without a GPU);
    `stream` answers with server-sent events: `slate` at once, with templates, an `explanation` each
    time that the model has written some, then `end`."""
    language: Language = "en"
    tone: Tone = "neutral"
    details: bool = False
    """Also say what the filters kept out, and why; costs a second ranking."""
    diversity: Annotated[float, Field(ge=0, le=MAX_DIVERSITY)] | None = None
    """How much items are to differ; 0 ranks by score alone. Null, here and below, for what the
    configuration says."""
    max_per_category: Annotated[int, Field(ge=1, le=100)] | None = None
    """Items of one category in the slate; an item counts in each of its categories."""
    explore: Annotated[float, Field(ge=0, le=MAX_EXPLORE)] | None = None
    """Probability that a place shows a candidate from beyond the slate. What is drawn follows from
    the header X-Request-Id and the user."""


class Explanation(BaseModel):
    text: str
    writer: Literal["model", "template"]
    """Who wrote the text. `template` also where the model's text did not pass the checker."""
    statements: tuple[Statement, ...] = ()
    """The text in parts, each with its verdict and the ids of the facts that support it."""
    rejected: tuple[str, ...] = ()
    """What the model wrote that was turned down or cut, and why."""


class RecommendedItem(BaseModel):
    item_id: str
    title: str
    score: float
    """The ranking score; only its order within one answer has a meaning."""
    probability: float
    """Calibrated chance of a take-up against a sampled other item."""
    channel: str
    """Which channel brought the item up with the highest rank."""
    contributions: dict[str, float]
    """Shapley value of each source; they add up to the score less that of a slate of no sources."""
    explanation: Explanation | None = None
    explored: bool = False
    """True where the item was drawn from beyond the slate to learn of it; its channel and its
    reasons are its own."""
    propensity: float | None = None
    """Probability that the item was shown; null where nothing was to be explored."""


class FilteredItem(BaseModel):
    item_id: str
    title: str
    rank: int
    """Where it would stand in a slate without filters, 1 for the first."""
    reasons: list[FilterReason]


class SlateDetails(BaseModel):
    num_items: int
    """In the catalogue."""
    num_filtered: dict[FilterReason, int]
    """Items that each reason speaks against; an item may have several."""
    filtered: list[FilteredItem]
    """Those that would rank high, in that order."""


class Degradation(BaseModel):
    """What an answer had to do without."""

    stage: Stage
    """`user`: what is stored of the user; this session's items still count. `retrieval`: all
    channels but what is trending."""
    source: str | None = None
    """Which channel, where the stage has several."""
    why: str


class RecommendResponse(BaseModel):
    user_id: str
    known_user: bool
    """False when the feature store knows nothing of the user."""
    at: datetime
    """The instant the answer was made for (see `clock` in the configuration)."""
    version: str
    """Short id of the bundle and of the snapshot that the answer was made from."""
    missing_sources: list[str]
    """Sources that said nothing about this user and were masked."""
    degraded: list[Degradation] = []
    """What was late or down and is missing here; empty where all is well."""
    relaxed: list[Literal["max_per_category"]] = []
    """What could not be kept, as there was nothing else left to fill the slate with."""
    items: list[RecommendedItem]
    details: SlateDetails | None = None


class ExplainRequest(Request):
    user_id: Identifier
    item_id: Identifier
    context: Context = Context()
    explain: Literal["template", "llm"] = "llm"
    language: Language = "en"
    tone: Tone = "neutral"
    counterfactuals: bool = False
    """Also say where the item would rank without each source."""


class EvidenceBody(BaseModel):
    """What the explanation was written from."""

    facts: tuple[Fact, ...]
    leading_source: str | None
    """The source that counted most for the item."""


class ExplainResponse(BaseModel):
    user_id: str
    version: str
    """As in `RecommendResponse`."""
    degraded: list[Degradation] = []
    """As in `RecommendResponse`."""
    item: RecommendedItem
    evidence: EvidenceBody
    counterfactuals: list[Counterfactual] = []
    """The greatest change of rank first; only on request."""


class FeedbackRequest(Request):
    user_id: Identifier
    item_id: Identifier
    action: Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[a-z][a-z_]*$")]
    value: Annotated[float, Field(ge=-1e9, le=1e9)] | None = None
    """A rating for action `rate`."""
    event_id: Identifier | None = None
    """Sent again with the same id, an event counts once."""
    at: Annotated[AwareDatetime, Field(ge=EPOCH)] | None = None
    """When it happened; now when missing. Not in the future."""


class FeedbackResponse(BaseModel):
    event_id: str
    accepted: bool
    """False for an event id that was taken in before."""
    updated_views: list[str]
    """Feature views that the event was pushed to."""


class ItemResponse(BaseModel):
    item_id: str
    title: str
    category: str | None
    categories: list[str]
    keywords: list[str]
    popularity_rank: int | None
    """0 for the most popular lately; null when nobody has taken it up."""
    features: dict[str, dict[str, object]]


class ItemRowRequest(Request):
    item_id: Identifier
    view: Identifier
    """An item view of the bundle's feature service."""
    features: Annotated[dict[str, JsonValue], Field(min_length=1, max_length=100)]
    """By name; instants as microseconds since 1970. What is not named keeps its value."""
    at: Annotated[AwareDatetime, Field(ge=EPOCH)] | None = None
    """Since when this holds; now when missing. Of two rows the later one counts."""


class ItemRowResponse(BaseModel):
    item_id: str
    view: str
    shown: bool
    """Whether the next answer has it. An item that is new to the servers comes with the next
    snapshot: `python -m serving.snapshot`."""


class TakeUp(BaseModel):
    item_id: str
    title: str
    action: str
    """Empty where the feature store does not keep it."""
    at: datetime | None


class UserResponse(BaseModel):
    user_id: str
    known_user: bool
    missing_sources: list[str]
    history: list[str]
    """Titles, newest first."""
    taken: list[TakeUp]
    """The same with what the user did, and when."""
    features: dict[str, dict[str, object]]


class ExampleUser(BaseModel):
    user_id: str
    num_items: int
    """Different items that the user met up to the end of the data."""


class Examples(BaseModel):
    """What there is to try: the console offers it."""

    users: list[ExampleUser]
    """From the one who met most items to one who met few."""
    categories: list[str]
    """Of the catalogue, the most common first."""


class Health(BaseModel):
    status: Literal["ready", "degraded"]
    degraded: list[str]
    """Why it is not ready: what answers have to do without now."""
    service: str
    """Feature service of the bundle."""
    bundle_created_at: str
    version: str
    """Of the answers that this replica gives now."""
    refresh_error: str | None
    """Why a newer bundle or snapshot is not in use yet; null when nothing newer waits."""
    clock: str
    at: datetime
    num_items: int


class ErrorBody(BaseModel):
    error: str
    detail: str
