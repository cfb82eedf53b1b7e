"""Traces of turns by OpenTelemetry, in the words of its conventions for generative AI.

Spans are written when a turn is over, with the times it noted on its way: nothing of this is on the
hot path, and without the `otel` extra or an endpoint it is nothing at all.
"""

from __future__ import annotations

import logging
from contextvars import ContextVar
from typing import Any

from opentelemetry import trace
from opentelemetry.context import Context

from app.domain.turn import Usage

log = logging.getLogger(__name__)

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
HEADER = "traceparent"

_is_on = False
caller: ContextVar[str | None] = ContextVar("caller", default=None)
"""The span of the request that is being answered, as the caller said it (`traceparent`); set where spans are sent."""


def set_up(endpoint: str | None, *, version: str, server: str | None = None) -> bool:
    """Send spans to `endpoint`, if there is one and the SDK is installed; whether spans are sent.

    `server`: what this server is called, where there are several.
    """
    if not endpoint:
        return False
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        log.warning("%s is set, but traces need: pip install 'hector[otel]'", ENDPOINT)
        return False
    about = {"service.name": "hector", "service.version": version}
    if server is not None:
        about["service.instance.id"] = server
    provider = TracerProvider(resource=Resource.create(about))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    global _is_on
    _is_on = True
    return True


def is_on() -> bool:
    """Whether spans are sent."""
    return _is_on


class Tracing:
    """Writes the spans of turns. `provider` is the global one unless another is handed in."""

    def __init__(self, provider: trace.TracerProvider | None = None) -> None:
        self._tracer = trace.get_tracer("hector", tracer_provider=provider)

    def turn_ended(
        self,
        *,
        agent: str,
        model: str,
        session_id: str,
        turn_id: str,
        status: str,
        error: str | None,
        created_ms: int,
        queued_ms: float | None,
        first_token_ms: float | None,
        total_ms: float,
        usage: Usage | None,
        caller: str | None = None,
    ) -> None:
        """One span for the turn (`invoke_agent`), one below it for the model call (`chat`).

        `caller`: the span it goes below, as `traceparent` says it.
        """
        above = None if caller is None else _span_of(caller)
        start = created_ms * 1_000_000
        attributes: dict[str, Any] = {
            "gen_ai.operation.name": "invoke_agent",
            "gen_ai.agent.name": agent,
            "gen_ai.conversation.id": session_id,
            "hector.turn.id": turn_id,
            "hector.turn.status": status,
        }
        span = self._tracer.start_span(f"invoke_agent {agent}", above, start_time=start, attributes=attributes)
        if not span.is_recording():
            return
        end = start + int(total_ms * 1_000_000)
        if queued_ms is not None:
            call_attributes: dict[str, Any] = {
                "gen_ai.operation.name": "chat",
                "gen_ai.request.model": model,
                "gen_ai.usage.input_tokens": usage.prompt_tokens if usage is not None else 0,
                "gen_ai.usage.output_tokens": usage.completion_tokens if usage is not None else 0,
            }
            call = self._tracer.start_span(
                f"chat {model}",
                context=trace.set_span_in_context(span),
                kind=trace.SpanKind.CLIENT,
                start_time=start + int(queued_ms * 1_000_000),
                attributes=call_attributes,
            )
            if first_token_ms is not None:
                call.add_event("gen_ai.first_token", timestamp=start + int(first_token_ms * 1_000_000))
            call.end(end)
        if error is not None:
            span.set_attribute("error.type", error)
            span.set_status(trace.StatusCode.ERROR, error)
        span.end(end)


def _span_of(caller: str) -> Context:
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator  # for who traces

    return TraceContextTextMapPropagator().extract({HEADER: caller})
