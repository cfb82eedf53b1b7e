"""Streams over gRPC: who reads what, what a reader's leaving means, and how a stream ends when something else ends."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import httpx
import pytest

from app.rpc.generated import hector_pb2 as pb
from tests.fixtures.eventually import eventually
from tests.rpc.calls import read, refusal
from tests.rpc.conftest import ALICE, WORDS

pytestmark = pytest.mark.asyncio(loop_scope="module")

Code = grpc.StatusCode


async def make(stub: Any, agent: str) -> str:
    made = await stub.CreateSession(pb.CreateSessionRequest(agent=agent), metadata=ALICE)
    return str(made.session_id)


def begin(stub: Any, agent: str, session_id: str, **call: Any) -> Any:
    request = pb.SendMessageRequest(agent=agent, session_id=session_id, message="Go on.")
    return stub.StreamMessage(request, metadata=ALICE, **call)


def follow(stub: Any, agent: str, session_id: str, **fields: Any) -> Any:
    return stub.FollowSession(pb.FollowSessionRequest(agent=agent, session_id=session_id, **fields), metadata=ALICE)


async def first_text(call: Any) -> pb.MessageChunk:
    async for chunk in call:
        if chunk.type == "text":
            return chunk  # type: ignore[no-any-return]
    raise AssertionError("the stream ended without a text")


async def test_two_readers_and_the_waiting_sender_have_the_same_text(stub: Any) -> None:
    session_id = await make(stub, "slow")
    watching = asyncio.ensure_future(read(follow(stub, "slow", session_id, after=0)))
    sent = asyncio.ensure_future(read(begin(stub, "slow", session_id)))
    second = await read(begin(stub, "slow", session_id))  # queued behind the first

    await stub.DeleteSession(pb.DeleteSessionRequest(agent="slow", session_id=session_id), metadata=ALICE)
    first, watched = await sent, await watching

    assert first.text == second.text == ("word " * 60)
    assert watched.text == first.text + second.text
    assert second.types[0] == "turn_queued"
    assert [chunk.seq for chunk in watched.chunks] == sorted({chunk.seq for chunk in watched.chunks})
    assert (watched.chunks[-1].type, watched.chunks[-1].done) == ("session_terminated", True)
    assert (watched.code, watched.reason) == (Code.FAILED_PRECONDITION, "session_terminated")


async def test_a_stream_that_http_terminates_ends_with_the_status_of_it(stub: Any, rest: httpx.AsyncClient) -> None:
    session_id = await make(stub, "hanging")
    stream = begin(stub, "hanging", session_id)
    await first_text(stream)

    await rest.delete(f"/agents/hanging/sessions/{session_id}")
    found = await read(stream)

    ends = [(chunk.type, chunk.done) for chunk in found.chunks if chunk.type != "text"]
    assert ends == [("turn_finished", True), ("session_terminated", True)]
    assert (found.code, found.reason) == (Code.FAILED_PRECONDITION, "session_terminated")
    waiting = pb.SendMessageRequest(agent="hanging", session_id=session_id, message="Are you there?")
    assert await refusal(stub.SendMessage(waiting, metadata=ALICE)) == (found.code, found.reason)
    assert (await read(follow(stub, "hanging", session_id))).code is Code.FAILED_PRECONDITION


async def test_a_waiting_caller_is_told_of_the_termination(stub: Any, rest: httpx.AsyncClient) -> None:
    session_id = await make(stub, "hanging")
    request = pb.SendMessageRequest(agent="hanging", session_id=session_id, message="Go on.")
    waiting = asyncio.ensure_future(refusal(stub.SendMessage(request, metadata=ALICE)))
    await first_text(follow(stub, "hanging", session_id, after=0))

    await rest.delete(f"/agents/hanging/sessions/{session_id}")

    assert await waiting == (Code.FAILED_PRECONDITION, "session_terminated")


@pytest.mark.parametrize("by", ["cancel", "deadline", "leaving of a waiting caller"])
async def test_a_reader_that_leaves_is_no_cancel_but_begins_the_grace(
    stub: Any, rest: httpx.AsyncClient, by: str
) -> None:
    """`hanging` has 30 s of grace, `hasty` none."""

    async def leave(agent: str) -> str:
        session_id = await make(stub, agent)
        if by == "leaving of a waiting caller":
            request = pb.SendMessageRequest(agent=agent, session_id=session_id, message="Go on.")
            call = stub.SendMessage(request, metadata=ALICE)
            waiting = asyncio.ensure_future(call.code())
            await eventually(lambda: has_turn(agent, session_id))
            call.cancel()
            assert await waiting is Code.CANCELLED
        else:
            call = begin(stub, agent, session_id, timeout=0.5 if by == "deadline" else None)
            await first_text(call)
            if by == "cancel":
                call.cancel()
            assert await call.code() is (Code.CANCELLED if by == "cancel" else Code.DEADLINE_EXCEEDED)
        return session_id

    async def has_turn(agent: str, session_id: str) -> bool:
        return (await rest.get(f"/agents/{agent}/sessions/{session_id}")).json()["turn"] is not None

    patient, hasty = await leave("hanging"), await leave("hasty")

    async def is_over() -> bool:
        return not await has_turn("hasty", hasty)

    await eventually(is_over)
    assert await has_turn("hanging", patient)
    await stub.CancelTurn(pb.CancelTurnRequest(agent="hanging", session_id=patient), metadata=ALICE)


async def test_following_begins_where_the_reader_says(stub: Any) -> None:
    session_id = await make(stub, "assistant")
    sent = await read(begin(stub, "assistant", session_id))
    last = sent.chunks[-1].seq

    whole = await read(follow(stub, "assistant", session_id, after=0, until_turn_end=True))
    rest = await read(follow(stub, "assistant", session_id, after=sent.chunks[2].seq, until_turn_end=True))
    nothing = await read(follow(stub, "assistant", session_id, after=last, until_turn_end=True))

    assert (whole.text, whole.chunks[-1].seq, whole.code) == (WORDS, last, Code.OK)
    assert rest.text == WORDS[len("".join(chunk.content for chunk in sent.chunks[:3])) :]
    assert (nothing.chunks, nothing.code) == ([], Code.OK)


async def test_following_a_session_ends_with_it(stub: Any, rest: httpx.AsyncClient) -> None:
    session_id = await make(stub, "assistant")
    watching = asyncio.ensure_future(read(follow(stub, "assistant", session_id, after=0)))
    await read(begin(stub, "assistant", session_id))

    await rest.post(f"/agents/assistant/sessions/{session_id}/end")
    found = await watching

    assert (found.text, found.chunks[-1].type, found.code) == (WORDS, "session_ended", Code.OK)
    assert (await read(follow(stub, "assistant", session_id))).chunks == []


async def test_an_agent_that_does_not_stream_answers_in_one_chunk(stub: Any) -> None:
    found = await read(begin(stub, "whole", await make(stub, "whole")))

    assert [chunk.content for chunk in found.chunks if chunk.type == "text"] == [WORDS]


async def test_pieces_of_an_events_text_are_resumed_inside_the_event(stub: Any) -> None:
    session_id = await make(stub, "pieces")
    found = await read(begin(stub, "pieces", session_id))
    texts = [chunk for chunk in found.chunks if chunk.type == "text"]

    assert [chunk.content for chunk in texts] == [WORDS[at : at + 4] for at in range(0, len(WORDS), 4)]
    inside = next(chunk for chunk in texts[2:] if chunk.cursor)
    rest = await read(follow(stub, "pieces", session_id, cursor=inside.cursor, until_turn_end=True))
    assert rest.text == WORDS[4 * (texts.index(inside) + 1) :]
