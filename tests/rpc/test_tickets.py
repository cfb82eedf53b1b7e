"""A program with a ticket and no key: it has the streams of one session, and nothing else."""

from __future__ import annotations

from typing import Any

import grpc
import httpx
import pytest

from app.rpc.generated import hector_pb2 as pb
from tests.fixtures.server import HectorServer
from tests.fixtures.talk import Talk, good
from tests.rpc.calls import read, refusal
from tests.rpc.conftest import ALICE, WORDS

pytestmark = pytest.mark.asyncio(loop_scope="module")

MAY_CHAT = ["read", "chat"]


async def made(rest: httpx.AsyncClient, can: list[str], *, agent: str = "assistant") -> tuple[str, Any]:
    """A new session, and the metadata with a ticket for it."""
    talk = await Talk.begin(rest, agent=agent)
    ticket = good(await rest.post(f"{talk.path}/tickets", json={"can": can}))["ticket"]
    return talk.session_id, (("ticket", ticket),)


def message(session_id: str, *, agent: str = "assistant") -> pb.SendMessageRequest:
    return pb.SendMessageRequest(agent=agent, session_id=session_id, message="Where?")


def follow(session_id: str, *, agent: str = "assistant") -> pb.FollowSessionRequest:
    return pb.FollowSessionRequest(agent=agent, session_id=session_id, after=0, until_turn_end=True)


async def end(stream: Any) -> tuple[grpc.StatusCode, str]:
    found = await read(stream)
    return found.code, found.reason


async def test_a_ticket_sends_and_follows(stub: Any, rest: httpx.AsyncClient, server: HectorServer) -> None:
    session_id, ticket = await made(rest, MAY_CHAT)
    assert (await read(stub.StreamMessage(message(session_id), metadata=ticket))).text == WORDS
    assert (await read(stub.FollowSession(follow(session_id), metadata=ticket))).text == WORDS
    assert ticket[0][1] not in server.log_text


async def test_a_ticket_to_chat_cancels(stub: Any, rest: httpx.AsyncClient) -> None:
    session_id, ticket = await made(rest, MAY_CHAT, agent="hanging")
    stream = stub.StreamMessage(message(session_id, agent="hanging"), metadata=ticket)
    while (await anext(aiter(stream))).type != "text":
        pass
    cancelled = await stub.CancelTurn(pb.CancelTurnRequest(agent="hanging", session_id=session_id), metadata=ticket)
    assert cancelled.turn.turn_id
    assert await end(stream) == (grpc.StatusCode.ABORTED, "turn_cancelled")


async def test_a_ticket_to_read_does_not_send(stub: Any, rest: httpx.AsyncClient) -> None:
    session_id, ticket = await made(rest, ["read"])
    refused = await end(stub.StreamMessage(message(session_id), metadata=ticket))
    assert refused == (grpc.StatusCode.PERMISSION_DENIED, "forbidden_ticket")


async def test_a_ticket_opens_no_other_session_and_nothing_but_streams(stub: Any, rest: httpx.AsyncClient) -> None:
    other, _ = await made(rest, ["read"])
    session_id, ticket = await made(rest, MAY_CHAT)
    nobody = (grpc.StatusCode.UNAUTHENTICATED, "unauthenticated")
    assert await end(stub.FollowSession(follow(other), metadata=ticket)) == nobody
    assert await end(stub.StreamMessage(message(""), metadata=ticket)) == nobody
    listed = stub.ListSessions(pb.ListSessionsRequest(agent="assistant"), metadata=ticket)
    assert await refusal(listed) == nobody
    deleted = stub.DeleteSession(
        pb.DeleteSessionRequest(agent="assistant", session_id=session_id), metadata=(*ticket, *ALICE)
    )
    assert await refusal(deleted) == nobody, "a ticket is not less than the key beside it"
    wrong = (("ticket", ticket[0][1][:-2] + "xx"),)
    assert await end(stub.FollowSession(follow(session_id), metadata=wrong)) == nobody
    twice = await end(stub.FollowSession(follow(session_id), metadata=(*ticket, *ticket)))
    assert twice == (grpc.StatusCode.INVALID_ARGUMENT, "invalid_header")


async def test_a_ticket_is_void_after_terminate(stub: Any, rest: httpx.AsyncClient) -> None:
    session_id, ticket = await made(rest, MAY_CHAT)
    await Talk(rest, session_id).terminate()
    refused = await end(stub.FollowSession(follow(session_id), metadata=ticket))
    assert refused == (grpc.StatusCode.FAILED_PRECONDITION, "session_terminated")
