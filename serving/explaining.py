"""The deployment that writes sentences: apart from the ranker, because a language model scales
apart. Who asks gets its explanations checked (explainer.py); equal evidence is written once.
"""

import asyncio
from collections.abc import AsyncIterator

from ray import serve

from serving.api import Explanation
from serving.batcher import Batcher
from serving.evidence import Evidence
from serving.explainer import ExplanationCache, stream_by_model
from serving.phrases import Language, Tone
from serving.proxy import STANDING
from serving.remote import RemoteWriter
from serving.tracing import span_under, start_tracing
from serving.writer import LanguageModelWriter, Writer


@serve.deployment(name="Explainer", max_ongoing_requests=16, max_queued_requests=64, **STANDING)
class Explainer:
    """Holds the language model, or the way to one behind a URL. `traceparent` is the asking
    request's."""

    def __init__(self, model: str, url: str | None = None) -> None:
        start_tracing()
        self._writer: Writer = RemoteWriter(url, model) if url else LanguageModelWriter(model)
        self._batcher = Batcher(ExplanationCache(self._writer).explain)

    async def explain(
        self, records: list[Evidence], language: Language, tone: Tone, traceparent: str = ""
    ) -> list[Explanation]:
        """One explanation a record."""
        with span_under(traceparent, "explain", records=len(records)):
            return await self._batcher.explain(records, language, tone)

    async def check_health(self) -> None:
        """Ray Serve replaces a replica whose model hangs."""
        self._batcher.check_progress()

    async def stream(
        self, record: Evidence, language: Language, tone: Tone, traceparent: str = ""
    ) -> AsyncIterator[str | Explanation]:
        """The explanation piece by piece, then whole."""
        with span_under(traceparent, "explain", records=1):
            async with self._batcher.busy:
                pieces = stream_by_model(self._writer, record, language, tone)
                while (piece := await asyncio.to_thread(next, pieces, None)) is not None:
                    yield piece
