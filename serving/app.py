"""The Ray Serve application: `serve run serving.app:build bundle=runs/NAME/bundle`.

Two deployments: `Ranker`, the HTTP ingress, does everything up to the slate and its templates in
one process, because each hop costs milliseconds; `Explainer` holds the language model, which scales
apart. The stages are in ranker.py; this file only connects them to HTTP.
"""

import asyncio
import json
import logging
import os
import uuid
from collections.abc import AsyncIterator, Sequence
from typing import Any

import ray
from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from feast import FeatureStore
from pydantic import ValidationError
from ray import serve
from ray.serve import Application, Deployment
from ray.serve.handle import DeploymentHandle

from serving.api import (
    ErrorBody,
    EvidenceBody,
    ExplainRequest,
    ExplainResponse,
    Explanation,
    FeedbackRequest,
    FeedbackResponse,
    Health,
    ItemResponse,
    RecommendedItem,
    RecommendRequest,
    RecommendResponse,
    UserResponse,
)
from serving.batcher import Batcher
from serving.clock import Clock, instant, microseconds
from serving.config import ServingConfig
from serving.errors import FutureEventError, add_error_handlers
from serving.evidence import Evidence
from serving.explainer import ExplanationCache, explain_by_template, stream_by_model
from serving.feedback import Event, FeaturePusher, FeedbackLog, is_positive
from serving.items import describe_item, describe_user
from serving.phrases import Language, Tone
from serving.ranker import Ranked, Slate, SlateRanker
from serving.remote import RemoteWriter
from serving.writer import LanguageModelWriter, Writer
from training.bundle import load_bundle

logger = logging.getLogger("ray.serve")

# Measured: HAProxy and the throughput flags take a no-op from 10.8 to 1.1 ms. They are read where
# Ray starts, so they hold when `serve run` starts Ray itself; a running cluster sets its own.
SERVE_FLAGS = {
    "RAY_SERVE_ENABLE_HA_PROXY": "1",
    "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
    # Ray starts its workers at nice 15; a ranker must not wait for whatever else is running.
    "RAY_worker_niceness": "0",
    # Without it, HAProxy keeps draining for 30 s after the application was asked to stop.
    "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "1",
}
DESCRIPTION = "Ranked items, where each came from, what each source counted, and a checked reason."
FUTURE_TOLERANCE_US = 5_000_000  # clocks of phones and servers differ by seconds

api = FastAPI(title="Potluck", description=DESCRIPTION, responses={"4XX": {"model": ErrorBody}})
add_error_handlers(api)


@serve.deployment(name="Explainer", max_ongoing_requests=16, max_queued_requests=64)
class Explainer:
    """Holds the language model, or the way to one behind a URL."""

    def __init__(self, model: str, url: str | None = None) -> None:
        self._writer: Writer = RemoteWriter(url, model) if url else LanguageModelWriter(model)
        self._batcher = Batcher(ExplanationCache(self._writer).explain)

    async def explain(
        self, records: list[Evidence], language: Language = "en", tone: Tone = "neutral"
    ) -> list[Explanation]:
        return await self._batcher.explain(records, language, tone)

    async def stream(
        self, record: Evidence, language: Language = "en", tone: Tone = "neutral"
    ) -> AsyncIterator[str | Explanation]:
        """The explanation piece by piece, then whole."""
        async with self._batcher.busy:
            pieces = stream_by_model(self._writer, record, language, tone)
            while (piece := await asyncio.to_thread(next, pieces, None)) is not None:
                yield piece


@serve.deployment(name="Ranker", max_ongoing_requests=32, max_queued_requests=256)
@serve.ingress(api)
class Ranker:
    """The HTTP ingress."""

    def __init__(self, config: ServingConfig, explainer: DeploymentHandle | None = None) -> None:
        self._config = config
        self._explainer = explainer
        bundle = load_bundle(config.bundle)
        store = FeatureStore(repo_path=str(config.repo))
        bundle.check(store)
        self._clock = Clock(config.clock, bundle.as_of)
        self._ranker = SlateRanker(
            bundle,
            store,
            self._clock,
            candidates_per_channel=config.candidates_per_channel,
            min_friends=config.min_friends,
        )
        log = config.feedback_log or config.bundle.parent / "feedback.jsonl"
        self._feedback = FeedbackLog(log)
        self._pusher = FeaturePusher(store)
        self._unpushed: set[str] = set()

    @api.post("/v1/recommend")
    async def recommend(self, request: RecommendRequest) -> RecommendResponse:
        """Ranked items for a user, also for one that nobody has seen."""
        rejected = self._feedback.rejected_by(request.user_id)
        slate = self._ranker.recommend(request, rejected)
        explanations = await self._explanations(slate, request)
        return RecommendResponse(
            user_id=request.user_id,
            known_user=slate.user.known,
            at=instant(slate.at_us),
            missing_sources=list(slate.user.missing_sources),
            items=[
                self._item(ranked, explanation)
                for ranked, explanation in zip(slate.items, explanations, strict=True)
            ],
        )

    @api.post("/v1/explain")
    async def explain(self, request: ExplainRequest) -> ExplainResponse:
        """Why this item would be in this user's slate, and the evidence behind the sentence."""
        rejected = self._feedback.rejected_by(request.user_id)
        slate = self._ranker.explain(request.user_id, request.item_id, request.context, rejected)
        explanations = await self._explanations(slate, request)
        evidence = slate.items[0].evidence
        counterfactuals = []
        if request.counterfactuals:
            counterfactuals = self._ranker.counterfactuals(
                slate.user, request.item_id, request.context, request.language
            )
        return ExplainResponse(
            user_id=request.user_id,
            item=self._item(slate.items[0], explanations[0]),
            evidence=EvidenceBody(facts=evidence.facts, leading_source=evidence.leading_source),
            counterfactuals=counterfactuals,
        )

    @api.post("/v1/explain/stream")
    async def explain_stream(self, request: ExplainRequest) -> StreamingResponse:
        """The explanation as server-sent events: `piece`s, each checked before it is sent, then
        one `explanation` with the whole."""
        rejected = self._feedback.rejected_by(request.user_id)
        slate = self._ranker.explain(request.user_id, request.item_id, request.context, rejected)
        pieces = self._pieces(slate.items[0].evidence, request)
        return StreamingResponse(server_sent_events(pieces), media_type="text/event-stream")

    @api.post("/v1/feedback")
    async def feedback(self, request: FeedbackRequest) -> FeedbackResponse:
        """Take in one event: durable first, then pushed to Feast; the next answer knows it."""
        event = self._event(request)
        if event.event_id not in self._feedback:
            self._feedback.append(event)
            self._unpushed.add(event.event_id)
        elif event.event_id not in self._unpushed:
            return FeedbackResponse(event_id=event.event_id, accepted=False, updated_views=[])
        updated = self._pusher.push(event)  # if Feast fails here, sending the event again retries
        self._unpushed.discard(event.event_id)
        position = self._ranker.snapshot.position[event.item_id]
        self._ranker.snapshot.popularity.add(position, event.at_us)
        return FeedbackResponse(event_id=event.event_id, accepted=True, updated_views=updated)

    @api.get("/v1/items/{item_id}")
    async def item(self, item_id: str) -> ItemResponse:
        """What the catalogue and the feature snapshot say of an item."""
        return describe_item(self._ranker.snapshot, item_id, self._clock.now_us())

    @api.get("/v1/users/{user_id}")
    async def user(self, user_id: str) -> UserResponse:
        """What the feature store knows of a user now."""
        return describe_user(self._ranker, user_id)

    @api.get("/healthz")
    async def healthz(self) -> Health:
        """Answers when the bundle is loaded and the snapshot stands."""
        bundle = self._ranker.bundle
        return Health(
            status="ok",
            service=bundle.schema.service,
            bundle_created_at=str(bundle.manifest.created_at),
            clock=self._clock.name,
            at=instant(self._clock.now_us()),
            num_items=len(self._ranker.snapshot),
        )

    async def _explanations(
        self, slate: Slate, request: RecommendRequest | ExplainRequest
    ) -> Sequence[Explanation | None]:
        records = [ranked.evidence for ranked in slate.items]
        manner = (request.language, request.tone)
        if request.explain == "none":
            return [None] * len(records)
        if request.explain == "llm" and records and self._explainer is not None:
            try:
                answer: list[Explanation] = await asyncio.wait_for(
                    self._explainer.explain.remote(records, *manner),
                    self._config.explain_timeout_s,
                )
                return answer
            except Exception as error:  # noqa: BLE001  an explainer that fails must not cost the slate
                problem = self._failed(error)
                return [explain_by_template(record, *manner, [problem]) for record in records]
        return [explain_by_template(record, *manner) for record in records]

    async def _pieces(
        self, record: Evidence, request: ExplainRequest
    ) -> AsyncIterator[str | Explanation]:
        """Checked pieces, then the whole; the template's where no model is to write or it fails."""
        manner = (request.language, request.tone)
        problems, sent = [], False
        if request.explain == "llm" and self._explainer is not None:
            try:
                async for piece in self._explainer.stream.options(stream=True).remote(
                    record, *manner
                ):
                    sent = True
                    yield piece
                if sent:
                    return
            except Exception as error:  # noqa: BLE001  as above
                problems = [self._failed(error)]
        explanation = explain_by_template(record, *manner, problems)
        yield explanation.text
        yield explanation

    @staticmethod
    def _failed(error: Exception) -> str:
        logger.warning("the explainer failed, templates answer: %r", error)
        return f"the language model did not answer: {type(error).__name__}"

    def _item(self, ranked: Ranked, explanation: Explanation | None) -> RecommendedItem:
        return RecommendedItem(
            item_id=ranked.evidence.item_id,
            title=ranked.evidence.title,
            score=ranked.score,
            probability=ranked.probability,
            channel=ranked.channel,
            contributions=ranked.evidence.contributions,
            explanation=explanation,
        )

    def _event(self, request: FeedbackRequest) -> Event:
        self._ranker.snapshot.place(request.item_id)  # an unknown item is refused here
        now_us = self._clock.now_us()
        at_us = microseconds(request.at) if request.at else now_us
        if at_us > now_us + FUTURE_TOLERANCE_US:
            raise FutureEventError(
                f"at: {request.at} lies after the server's now, {instant(now_us)}"
            )
        return Event(
            event_id=request.event_id or uuid.uuid4().hex,
            user_id=request.user_id,
            item_id=request.item_id,
            action=request.action,
            value=request.value,
            at_us=at_us,
            is_positive=is_positive(request.action, request.value, self._config.positive_from),
        )


async def server_sent_events(pieces: AsyncIterator[str | Explanation]) -> AsyncIterator[str]:
    """Pieces of text and explanations as events of HTML's event stream."""
    async for piece in pieces:
        if isinstance(piece, str):
            yield f"event: piece\ndata: {json.dumps(piece)}\n\n"
        else:
            yield f"event: explanation\ndata: {piece.model_dump_json()}\n\n"


def build(args: dict[str, Any]) -> Application:
    """The application from `key=value` arguments (serving/config.py lists them).

    Raises ValueError naming each wrong argument.
    """
    config = read_config(args)
    load_bundle(config.bundle)  # a broken bundle fails here, with its message, not in a replica
    if not ray.is_initialized():
        for name, value in SERVE_FLAGS.items():
            os.environ.setdefault(name, value)
    explainer = None
    if config.explainer_replicas:
        replicas = config.explainer_replicas
        explainer = _deployment(Explainer, replicas).bind(
            config.explainer_model, config.explainer_url
        )
    return _deployment(Ranker, config.ranker_replicas).bind(config, explainer)


def _deployment(deployment: object, num_replicas: int) -> Deployment:
    assert isinstance(deployment, Deployment)  # the decorator made one of the class
    return deployment.options(num_replicas=num_replicas)


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
