"""The Ray Serve application: `serve run serving.app:build bundle=runs/NAME/bundle`.

`Ranker`, the HTTP ingress, does everything up to the slate and its templates in one process: each
hop costs milliseconds. What scales apart has deployments of its own: `Explainer`, with the language
model, and, where the configuration asks for it, `Retriever`. The stages are in ranker.py; this file
only connects them to HTTP. A replica gets the classes without what stands below them in this file:
their methods call only what is imported.
"""

import os
from typing import Any

import ray
from fastapi.responses import StreamingResponse
from feast import FeatureStore
from ray import serve
from ray.serve import Application, Deployment
from ray.serve.handle import DeploymentHandle

from serving.answers import answer, impression, recommended, records
from serving.api import (
    Degradation,
    EvidenceBody,
    Examples,
    ExplainRequest,
    ExplainResponse,
    FeedbackRequest,
    FeedbackResponse,
    Health,
    ItemResponse,
    ItemRowRequest,
    ItemRowResponse,
    RecommendRequest,
    RecommendResponse,
    UserResponse,
)
from serving.batch_answers import BatchRequest, BatchResponse, answer_each
from serving.choosing import filled
from serving.clock import instant
from serving.config import ServingConfig, read_config
from serving.details import details_of, without_filters
from serving.errors import UnavailableError
from serving.event_log import EventLog
from serving.explaining import Explainer
from serving.feature_log import FeatureLog
from serving.gate import fill_gate
from serving.gauges import watch_replica
from serving.health import Pulse, reasons, warm_up
from serving.impressions import ImpressionLog
from serving.intake import Intake
from serving.interface import make_api
from serving.item_intake import ItemIntake
from serving.items import describe_item, describe_user, examples_of
from serving.keys import check_exposure
from serving.live import Live
from serving.logs import REPLICA_LOGS
from serving.observer import start_observing
from serving.proxy import SERVE_FLAGS, STANDING, proxy_flags
from serving.pusher import FeaturePusher
from serving.retrieval import Retrieval, Retriever
from serving.rollout import bundle_folder
from serving.sentences import Sentences
from serving.threads import limit_threads
from serving.timing import request_id
from training.bundle import load_bundle

api = make_api()


@serve.deployment(name="Ranker", max_ongoing_requests=32, max_queued_requests=256, **STANDING)
@serve.ingress(api)
class Ranker:
    """The HTTP ingress."""

    def __init__(
        self,
        config: ServingConfig,
        explainer: DeploymentHandle | None = None,
        retriever: DeploymentHandle | None = None,
    ) -> None:
        fill_gate(config)
        limit_threads(config.threads)
        start_observing(config)
        store = FeatureStore(repo_path=str(config.repo))
        self._live = Live(config, store)
        self._pulse = Pulse()
        self._log = EventLog(config.event_log)
        # A connection of its own: it writes in another thread than requests read in.
        pusher = FeaturePusher(FeatureStore(repo_path=str(config.repo)))
        self._intake = Intake(self._log, pusher, self._live, config.positive_from)
        self._retrieval = Retrieval(retriever, self._live.guards.retrieval)
        self._live.prepare += [self._retrieval.wait_for, lambda new: new.fill_tokens()]
        self._item_intake = ItemIntake(self._live, FeatureStore(repo_path=str(config.repo)))
        self._sentences = Sentences(explainer, self._live.guards.explanations)
        service = self._live.state.ranker.bundle.schema.service
        self._feature_log = FeatureLog(config.repo, service, config.feature_logging_share)
        watch_replica(self._live, self._log.path)
        self._config = config
        self._impressions = ImpressionLog(config.shown_log)
        warm_up(self._live.state.ranker, self._live.guards)

    @api.post("/v1/recommend", response_model=RecommendResponse)
    async def recommend(self, request: RecommendRequest) -> RecommendResponse | StreamingResponse:
        """Ranked items for a user, also for one that nobody has seen."""
        request, own_id = filled(request, self._config), request_id()
        ranker = self._intake.state().ranker
        rejected = self._intake.rejected_by(request.user_id)
        rows, unread = await self._live.guards.read(ranker.users, request.user_id)
        found, unfound = await self._retrieval.candidates(ranker, request, rejected, rows)
        slate = ranker.recommend(request, rejected, rows, own_id, found)
        self._impressions.append(impression(slate, own_id, request.explore or 0.0))
        explanations, unwritten = await self._sentences.write(records(slate), request)
        self._feature_log.offer(slate, ranker.snapshot)
        details = None
        if request.details:
            plain = without_filters(request)
            others, unfound_too = await self._retrieval.candidates(ranker, plain, rejected, rows)
            details = details_of(ranker, request, rejected, slate, others)
            unfound = unfound or unfound_too
        whole = answer(slate, explanations, [*unread, *unfound, *unwritten], details)
        if request.explain != "stream":
            return whole
        events = self._sentences.stream_slate(whole, records(slate), request)
        return StreamingResponse(events, media_type="text/event-stream")

    @api.post("/v1/recommend/batch")
    async def recommend_batch(self, request: BatchRequest) -> BatchResponse:
        """Several users at once; each request has its own answer or its own error."""
        return await answer_each(request.requests, self.recommend)

    @api.post("/v1/explain")
    async def explain(self, request: ExplainRequest) -> ExplainResponse:
        """Why this item would be in this user's slate, and the evidence behind the sentence."""
        ranker = self._intake.state().ranker
        rejected = self._intake.rejected_by(request.user_id)
        rows, unread = await self._live.guards.read(ranker.users, request.user_id)
        slate = ranker.explain(request.user_id, request.item_id, request.context, rejected, rows)
        explanations, unwritten = await self._sentences.write(records(slate), request)
        evidence = slate.items[0].evidence
        counterfactuals, unfound = [], list[Degradation]()
        if request.counterfactuals:
            asked = RecommendRequest(user_id=request.user_id, context=request.context)
            found, unfound = await self._retrieval.candidates(ranker, asked, rejected, rows)
            counterfactuals = ranker.counterfactuals(
                slate.user, request.item_id, request.context, request.language, found
            )
        return ExplainResponse(
            user_id=request.user_id,
            version=slate.version,
            degraded=[*unread, *unfound, *slate.degraded, *unwritten],
            item=recommended(slate.items[0], explanations[0]),
            evidence=EvidenceBody(facts=evidence.facts, leading_source=evidence.leading_source),
            counterfactuals=counterfactuals,
        )

    @api.post("/v1/explain/stream")
    async def explain_stream(self, request: ExplainRequest) -> StreamingResponse:
        """The explanation as server-sent events: `piece`s, each checked before it is sent, then
        one `explanation` with the whole."""
        rejected = self._intake.rejected_by(request.user_id)
        ranker = self._intake.state().ranker
        rows, _ = await self._live.guards.read(ranker.users, request.user_id)
        slate = ranker.explain(request.user_id, request.item_id, request.context, rejected, rows)
        events = self._sentences.stream(slate.items[0].evidence, request)
        return StreamingResponse(events, media_type="text/event-stream")

    @api.post("/v1/feedback")
    async def feedback(self, request: FeedbackRequest) -> FeedbackResponse:
        """Take in one event: durable first, then pushed to Feast; the next answer knows it."""
        try:
            return await self._intake.take(request)
        except OSError as error:
            raise UnavailableError(f"the event is not kept: {error.strerror}") from error

    @api.post("/v1/items")
    async def item_row(self, request: ItemRowRequest) -> ItemRowResponse:
        """Take in features of one item: pushed to Feast, and in the next answer."""
        return await self._item_intake.take(request)

    @api.get("/v1/items/{item_id:path}")
    async def item(self, item_id: str) -> ItemResponse:
        """What the catalogue and the feature snapshot say of an item."""
        state = self._intake.state()
        return describe_item(state.snapshot, item_id, state.clock.now_us())

    @api.get("/v1/users/{user_id:path}")
    async def user(self, user_id: str) -> UserResponse:
        """What the feature store knows of a user now."""
        ranker = self._intake.state().ranker
        rows = await self._live.guards.read_or_raise(ranker.users, user_id)
        return describe_user(ranker, user_id, rows)

    @api.get("/v1/examples")
    async def examples(self) -> Examples:
        """Users and categories to try."""
        return examples_of(self._intake.state().snapshot)

    async def check_health(self) -> None:
        """Ray Serve replaces a replica of which this fails three times in a row."""
        self._pulse.feel(self._live.state.ranker)

    @api.get("/healthz")
    async def healthz(self) -> Health:
        """503 where the ranker does not answer; `degraded` where answers lack something."""
        state = self._intake.state()
        bundle = state.ranker.bundle
        self._pulse.feel(state.ranker)
        degraded = reasons(self._live.guards, self._log.path)
        return Health(
            status="degraded" if degraded else "ready",
            degraded=degraded,
            service=bundle.schema.service,
            bundle_created_at=str(bundle.manifest.created_at),
            version=state.version,
            refresh_error=self._live.refresh_error,
            clock=state.clock.name,
            at=instant(state.clock.now_us()),
            num_items=len(state.snapshot),
        )


def build(args: dict[str, Any]) -> Application:
    """The application from `key=value` arguments (serving/config.py lists them).

    Raises ValueError naming each wrong argument.
    """
    config = read_config(args)
    # A replica knows the address for certain; where it comes from here, the message is seen here.
    host = os.environ.get("RAY_SERVE_DEFAULT_HTTP_HOST", "127.0.0.1")
    check_exposure(host, asks_for_keys=config.api_keys is not None)
    # A broken bundle fails here, with its message, not in a replica.
    load_bundle(bundle_folder(config.bundle))
    if not ray.is_initialized():
        for name, value in {**SERVE_FLAGS, **proxy_flags()}.items():
            os.environ.setdefault(name, value)
    explainer = None
    if config.explainer_replicas:
        replicas = config.explainer_replicas
        explainer = _deployment(Explainer, replicas).bind(
            config.explainer_model, config.explainer_url
        )
    retriever = None
    if config.retrieval == "handle":
        retriever = _deployment(Retriever, config.retriever_replicas).bind(config)
    return _deployment(Ranker, config.ranker_replicas).bind(config, explainer, retriever)


def _deployment(deployment: object, num_replicas: int) -> Deployment:
    assert isinstance(deployment, Deployment)  # the decorator made one of the class
    return deployment.options(num_replicas=num_replicas, logging_config=REPLICA_LOGS)
