"""Tracing: a span for each request, its stages and the explainer's work, for OpenTelemetry.

Off, and free, unless the standard variables name a receiver: OTEL_EXPORTER_OTLP_ENDPOINT (or
OTEL_EXPORTER_OTLP_TRACES_ENDPOINT). OTEL_TRACES_SAMPLER, OTEL_SERVICE_NAME,
OTEL_RESOURCE_ATTRIBUTES and OTEL_SDK_DISABLED hold too. Spans go on from a caller's `traceparent`,
and the explainer's go on from the request's.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from serving.timing import Passage

ENDPOINT_VARIABLES = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
W3C = TraceContextTextMapPropagator()


@dataclass
class Tracing:
    """Of this process; filled when its replica starts."""

    tracer: Tracer | None = None
    """None records nothing."""


TRACING = Tracing()


def start_tracing(processor: SpanProcessor | None = None) -> None:
    """Spans go to the processor, by default to where the environment says, if it does.

    Raises ValueError where it does and the exporter is not installed.
    """
    processor = processor or _by_environment()
    if processor is None:
        TRACING.tracer = None
        return
    # A name given by OTEL_SERVICE_NAME comes before this one.
    name = os.environ.get("OTEL_SERVICE_NAME", "potluck")
    provider = TracerProvider(resource=Resource.create({"service.name": name}))
    provider.add_span_processor(processor)
    TRACING.tracer = provider.get_tracer("serving")


def _by_environment() -> SpanProcessor | None:
    named = any(os.environ.get(name) for name in ENDPOINT_VARIABLES)
    if not named or os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return None
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # type: ignore[import-not-found]  # not one of our dependencies
            OTLPSpanExporter,
        )
    except ImportError as error:
        raise ValueError(
            f"{' or '.join(ENDPOINT_VARIABLES)} asks for spans, but their exporter is not "
            "installed; run `pip install opentelemetry-exporter-otlp-proto-http`"
        ) from error
    return BatchSpanProcessor(OTLPSpanExporter())


def begin_span(passage: Passage, traceparent: str | None) -> Span | None:
    """The request's span, under the caller's; None where nothing is traced."""
    if TRACING.tracer is None:
        return None
    return TRACING.tracer.start_span(
        "request",
        context=W3C.extract({"traceparent": traceparent} if traceparent else {}),
        kind=SpanKind.SERVER,
        start_time=passage.began_at_ns,
    )


def end_span(span: Span, passage: Passage, route: str, method: str, status: int) -> None:
    """The request's span with its stages below it. No span has anything that a user wrote."""
    assert TRACING.tracer is not None
    span.update_name(f"{method} {route}")
    span.set_attributes(
        {
            "http.request.method": method,
            "http.route": route,
            "http.response.status_code": status,
            "potluck.request_id": passage.request_id,
            "potluck.version": passage.version or "",
            "potluck.degraded": passage.degraded,
        }
    )
    if status >= 500:
        span.set_status(Status(StatusCode.ERROR))
    if span.is_recording():
        parent, to_wall_ns = set_span_in_context(span), passage.began_at_ns - passage.began_ns
        for took in passage.stages:
            child = TRACING.tracer.start_span(
                took.stage, context=parent, start_time=took.began_ns + to_wall_ns
            )
            child.end(took.ended_ns + to_wall_ns)
    span.end()


def trace_id_of(span: Span | None) -> str | None:
    return f"{span.get_span_context().trace_id:032x}" if span is not None else None


def traceparent_of(span: Span | None) -> str | None:
    """What another process's spans go under; None where nothing is traced."""
    if span is None:
        return None
    carrier: dict[str, str] = {}
    W3C.inject(carrier, set_span_in_context(span))
    return carrier.get("traceparent")


@contextmanager
def span_under(traceparent: str | None, name: str, **attributes: str | int) -> Iterator[None]:
    """A block's span, under that of another process."""
    if TRACING.tracer is None or not traceparent:
        yield
        return
    parent = W3C.extract({"traceparent": traceparent})
    span = TRACING.tracer.start_span(name, parent, SpanKind.SERVER, attributes)
    try:
        yield
    finally:
        span.end()
