"""Traces: a turn is two spans in the words of the conventions for generative AI, with the times of what happened."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from app.domain.turn import Usage
from app.llm.base import LLMError
from app.observability import tracing
from app.observability.metrics import Metrics
from app.observability.tracing import Tracing
from tests.fixtures.house import House

MS = 1_000_000


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
async def house(exporter: InMemorySpanExporter) -> AsyncIterator[House]:
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    opened = House(metrics=Metrics(), tracing=Tracing(provider))
    await opened.open()
    yield opened
    await opened.close()


def spans_of(exporter: InMemorySpanExporter) -> tuple[ReadableSpan, ReadableSpan]:
    """(the turn, the model call)."""
    call, turn = exporter.get_finished_spans()  # the inner one ends first
    return turn, call


async def test_a_turn_is_an_agent_span_with_a_chat_span_below_it(house: House, exporter: InMemorySpanExporter) -> None:
    log = await house.session()
    turn = await house.start(log)
    stream = await house.llm.answering()
    stream.say("Hi")
    stream.finish(Usage(3, 2, "provider"))
    await turn.done
    agent, chat = spans_of(exporter)

    assert (agent.name, chat.name) == ("invoke_agent assistant", f"chat {house.llm.model}")
    assert dict(agent.attributes or {}) == {
        "gen_ai.operation.name": "invoke_agent",
        "gen_ai.agent.name": "assistant",
        "gen_ai.conversation.id": log.session.session_id,
        "hector.turn.id": turn.turn_id,
        "hector.turn.status": "completed",
    }
    assert dict(chat.attributes or {}) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": house.llm.model,
        "gen_ai.usage.input_tokens": 3,
        "gen_ai.usage.output_tokens": 2,
    }
    assert chat.parent is not None
    assert chat.parent.span_id == agent.context.span_id
    assert chat.kind is SpanKind.CLIENT


async def test_the_spans_have_the_times_of_the_turn(house: House, exporter: InMemorySpanExporter) -> None:
    turn = await house.start(await house.session())
    stream = await house.llm.answering()
    stream.say("Hi")
    stream.finish()
    timings = (await turn.done).timings
    assert timings is not None
    agent, chat = spans_of(exporter)
    start = turn.created_ms * MS

    assert agent.start_time == start
    assert agent.end_time == chat.end_time == start + int((timings.total_ms or 0) * MS)
    assert chat.start_time == start + int((timings.queued_ms or 0) * MS)
    [first] = chat.events
    assert first.name == "gen_ai.first_token"
    assert first.timestamp == start + int((timings.first_token_ms or 0) * MS)


async def test_a_failed_turn_is_an_error_with_its_reason(house: House, exporter: InMemorySpanExporter) -> None:
    turn = await house.start(await house.session())
    stream = await house.llm.answering()
    stream.fail(LLMError("It is ill"))
    await turn.done
    agent, _ = spans_of(exporter)

    assert agent.status.status_code is StatusCode.ERROR
    assert (agent.attributes or {})["error.type"] == "llm_error"


async def test_a_turn_that_never_began_called_no_model(house: House, exporter: InMemorySpanExporter) -> None:
    log = await house.session()
    first = await house.start(log)
    second = await house.start(log)
    await house.stopping.cancel(log, turn_id=second.turn_id)
    [span] = exporter.get_finished_spans()
    (await house.llm.answering()).finish()
    await first.done

    assert (span.attributes or {})["hector.turn.status"] == "cancelled"


async def test_a_turn_whose_session_was_terminated_is_told_too(house: House, exporter: InMemorySpanExporter) -> None:
    log = await house.session()
    turn = await house.start(log)
    (await house.llm.answering()).say("Hi")
    await house.terminations.terminate(log)
    assert turn.task is not None
    await turn.task
    agent, _ = spans_of(exporter)

    assert (agent.attributes or {})["hector.turn.status"] == "cancelled"


async def test_a_turn_goes_below_the_span_of_the_request_that_began_it(
    house: House, exporter: InMemorySpanExporter
) -> None:
    tracing.caller.set(f"00-{'a1' * 16}-{'b2' * 8}-01")
    log = await house.session()
    await house.say(log, "Hello", "Hi")
    turn, call = spans_of(exporter)
    assert turn.parent is not None
    assert turn.parent.span_id == int("b2" * 8, 16)
    assert turn.context.trace_id == call.context.trace_id == int("a1" * 16, 16)


@pytest.mark.parametrize("said", ["", "00-0-0-01", "nonsense", "00-" + "a1" * 16])
async def test_what_is_no_span_is_no_parent(said: str, house: House, exporter: InMemorySpanExporter) -> None:
    tracing.caller.set(said)
    log = await house.session()
    await house.say(log, "Hello", "Hi")
    turn, _ = spans_of(exporter)
    assert turn.parent is None


def test_without_an_endpoint_nothing_is_sent() -> None:
    assert not tracing.set_up(None, version="1")
    assert not tracing.set_up("", version="1")
    assert not tracing.is_on()
