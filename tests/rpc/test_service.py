"""hector.v1.A2AService over a real socket: sessions, messages, calls that wait, and who may do what."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import grpc
import httpx
import pytest
from google.protobuf.struct_pb2 import Struct

from app.rpc.generated import hector_pb2 as pb
from tests.clients.tools import PROGRAMS
from tests.fixtures.server import HectorServer
from tests.rpc.calls import info_of, read, refusal
from tests.rpc.conftest import ALICE, BOB, WORDS

pytestmark = pytest.mark.asyncio(loop_scope="module")

Code = grpc.StatusCode


async def make(stub: Any, agent: str = "assistant", metadata: Any = ALICE, **fields: Any) -> str:
    made = await stub.CreateSession(pb.CreateSessionRequest(agent=agent, **fields), metadata=metadata)
    return str(made.session_id)


async def test_a_session_lives_through_the_methods_of_the_seed(stub: Any, rest: httpx.AsyncClient) -> None:
    metadata = Struct()
    metadata.update({"n": 5, "half": 0.5, "tags": ["a"]})
    made = await stub.CreateSession(
        pb.CreateSessionRequest(agent="assistant", session_id="talk-1", title="Cities", metadata=metadata),
        metadata=ALICE,
    )
    answer = await stub.SendMessage(
        pb.SendMessageRequest(agent="assistant", session_id="talk-1", message="What is it?"), metadata=ALICE
    )
    found = await stub.GetSession(pb.GetSessionRequest(agent="assistant", session_id="talk-1"), metadata=ALICE)
    listed = await stub.ListSessions(pb.ListSessionsRequest(agent="assistant"), metadata=ALICE)
    over_http = (await rest.get("/agents/assistant/sessions/talk-1")).json()
    receipt = await stub.DeleteSession(pb.DeleteSessionRequest(agent="assistant", session_id="talk-1"), metadata=ALICE)

    assert (made.session_id, made.status, made.title, made.message_count) == ("talk-1", "active", "Cities", 0)
    assert (answer.response, answer.status, answer.session_id) == (WORDS, "completed", "talk-1")
    assert answer.usage.source == "counted"
    assert (found.message_count, found.last_seq) == (2, over_http["last_seq"])
    assert over_http["metadata"] == {"n": 5, "half": 0.5, "tags": ["a"]}
    assert "talk-1" in [session.session_id for session in listed.sessions]
    assert (receipt.status, receipt.last_seq >= found.last_seq) == ("terminated", True)
    assert (await rest.get("/agents/assistant/sessions/talk-1")).status_code == 410


async def test_pages_of_sessions_have_each_once(stub: Any) -> None:
    metadata = (*ALICE, ("x-user-id", "pages"))
    made = [await make(stub, metadata=metadata) for _ in range(5)]

    found: list[str] = []
    cursor = ""
    while True:
        page = await stub.ListSessions(
            pb.ListSessionsRequest(agent="assistant", limit=2, cursor=cursor), metadata=metadata
        )
        found += [session.session_id for session in page.sessions]
        cursor = page.next_cursor
        if not cursor:
            break

    assert found == made[::-1]


async def test_a_message_without_a_session_streams_from_one_of_its_own(stub: Any) -> None:
    call = stub.StreamMessage(pb.SendMessageRequest(agent="assistant", message="What is it?"), metadata=ALICE)
    session_id = dict(await call.initial_metadata())["x-session-id"]
    found = await read(call)

    assert found.text == WORDS
    assert found.types == ["turn_started", "text", "turn_finished"]
    assert found.chunks[0].turn_started.session_id == session_id
    assert [chunk.done for chunk in found.chunks] == [False] * (len(found.chunks) - 1) + [True]
    assert [chunk.seq for chunk in found.chunks] == sorted({chunk.seq for chunk in found.chunks})
    assert found.chunks[-1].turn_finished.status == "completed"
    assert found.code is Code.OK


@pytest.mark.parametrize(
    ("request_", "code", "reason"),
    [
        (pb.SendMessageRequest(agent="nobody", message="hi"), Code.NOT_FOUND, "agent_not_found"),
        (pb.SendMessageRequest(agent="assistant", message=" "), Code.INVALID_ARGUMENT, "invalid_request"),
        (pb.SendMessageRequest(agent="assistant", message="x" * 501), Code.RESOURCE_EXHAUSTED, "too_large"),
        (pb.SendMessageRequest(agent="assistant", message="x", session_id="no"), Code.NOT_FOUND, "session_not_found"),
        (pb.SendMessageRequest(agent="a", message="x", session_id="\0"), Code.INVALID_ARGUMENT, "invalid_request"),
        (
            pb.SendMessageRequest(agent="assistant", message="x", on_busy="r"),
            Code.INVALID_ARGUMENT,
            "invalid_request",
        ),
        (
            pb.SendMessageRequest(agent="assistant", message="x", response_format="{"),
            Code.INVALID_ARGUMENT,
            "invalid_json",
        ),
    ],
)
async def test_refusals_have_the_status_of_the_error_table(
    stub: Any, request_: pb.SendMessageRequest, code: grpc.StatusCode, reason: str
) -> None:
    assert await refusal(stub.SendMessage(request_, metadata=ALICE)) == (code, reason)
    streamed = await read(stub.StreamMessage(request_, metadata=ALICE))
    assert (streamed.chunks, streamed.code, streamed.reason) == ([], code, reason)


@pytest.mark.parametrize("metadata", [(), (("authorization", "Bearer wrong"),), (("authorization", "Basic x"),)])
async def test_without_a_key_nothing_is_told(stub: Any, metadata: Any) -> None:
    for agent in ("assistant", "nobody"):
        request = pb.SendMessageRequest(agent=agent, message="hi")
        assert await refusal(stub.SendMessage(request, metadata=metadata)) == (Code.UNAUTHENTICATED, "unauthenticated")
        assert (await read(stub.StreamMessage(request, metadata=metadata))).code is Code.UNAUTHENTICATED


async def test_somebody_elses_session_is_an_unknown_one_word_for_word(stub: Any) -> None:
    session_id = await make(stub)
    sentences = []
    for name in (session_id, "sess_unknown"):
        request = pb.GetSessionRequest(agent="assistant", session_id=name)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stub.GetSession(request, metadata=BOB)
        assert refused.value.code() is Code.NOT_FOUND
        sentences.append((refused.value.details() or "").replace(name, "…"))
        follow = pb.FollowSessionRequest(agent="assistant", session_id=name)
        assert (await read(stub.FollowSession(follow, metadata=BOB))).code is Code.NOT_FOUND
    assert sentences[0] == sentences[1]


async def test_a_user_of_the_key_is_named_in_metadata_or_request_and_they_agree(stub: Any) -> None:
    session_id = await make(stub, metadata=(*ALICE, ("x-user-id", "ann")))
    by_request = pb.GetSessionRequest(agent="assistant", session_id=session_id, user_id="ann")
    by_bytes = (*ALICE, ("x-user-id-bin", b"ann"))
    plain = pb.GetSessionRequest(agent="assistant", session_id=session_id)

    assert (await stub.GetSession(by_request, metadata=ALICE)).user_id == "ann"
    assert (await stub.GetSession(plain, metadata=by_bytes)).user_id == "ann"
    other = (*ALICE, ("x-user-id", "ben"))
    assert await refusal(stub.GetSession(plain, metadata=other)) == (Code.NOT_FOUND, "session_not_found")
    assert await refusal(stub.GetSession(by_request, metadata=other)) == (Code.INVALID_ARGUMENT, "invalid_request")


async def test_the_same_key_and_message_are_the_same_turn(stub: Any) -> None:
    session_id = await make(stub)
    request = pb.SendMessageRequest(agent="assistant", session_id=session_id, message="hi", idempotency_key="k1")

    first = await stub.SendMessage(request, metadata=ALICE)
    again = await read(stub.StreamMessage(request, metadata=ALICE))
    request.message = "something else"

    assert (again.chunks[-1].turn_finished.turn_id, again.text) == (first.turn_id, WORDS)
    assert await refusal(stub.SendMessage(request, metadata=ALICE)) == (Code.ALREADY_EXISTS, "idempotency_conflict")


async def test_a_failed_turn_ends_with_the_status_of_its_failure(stub: Any) -> None:
    request = pb.SendMessageRequest(agent="failing", message="hi")

    streamed = await read(stub.StreamMessage(request, metadata=ALICE))
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await stub.SendMessage(request, metadata=ALICE)

    assert streamed.types == ["turn_started", "text", "error", "turn_finished"]
    assert streamed.chunks[-2].error.reason == "llm_error"
    assert (streamed.code, streamed.reason) == (Code.UNAVAILABLE, "llm_error")
    assert refused.value.code() is Code.UNAVAILABLE
    details = json.loads(info_of(refused.value).metadata["details"])
    assert (details["partial"], details["turn_id"][:5]) == ("So", "turn_")


async def test_a_call_that_waits_is_approved_from_here_and_its_arguments_arrive_exactly(stub: Any) -> None:
    session_id = await make(stub, agent="reader")
    send = pb.SendMessageRequest(agent="reader", session_id=session_id, message="Read it.")

    waiting = await stub.SendMessage(send, metadata=ALICE)
    follow = stub.FollowSession(
        pb.FollowSessionRequest(agent="reader", session_id=session_id, after=0, until_turn_end=True), metadata=ALICE
    )
    nothing = pb.DecideApprovalRequest(agent="reader", session_id=session_id, call_id=waiting.calls[0].call_id)
    undecided = await refusal(stub.DecideApproval(nothing, metadata=ALICE))
    nothing.approved = True
    decided = await stub.DecideApproval(nothing, metadata=ALICE)
    found = await read(follow)

    assert (waiting.status, waiting.waiting_for) == ("waiting", "approval")
    assert json.loads(waiting.calls[0].arguments)["offset"] == 2**60 + 1
    assert undecided == (Code.INVALID_ARGUMENT, "invalid_request")
    assert decided.call_id == waiting.calls[0].call_id
    assert found.text == "Read."
    asked = next(chunk for chunk in found.chunks if chunk.type == "approval_request")
    assert json.loads(asked.approval_request.arguments)["offset"] == 2**60 + 1
    by_type = {chunk.type: chunk for chunk in found.chunks}
    assert by_type["tool_call"].tool_call.name == "read_file"
    assert by_type["tool_call"].tool_call.tool_class == "read"
    assert by_type["approval_decided"].approval_decided.by == "alice"
    assert by_type["tool_result"].tool_result.call_id == decided.call_id
    assert by_type["waiting"].waiting.waiting_for == "approval"
    assert await refusal(stub.DecideApproval(nothing, metadata=ALICE)) == (Code.ABORTED, "already_decided")


async def test_a_turn_is_cancelled_and_its_stream_says_so(stub: Any) -> None:
    session_id = await make(stub, agent="hanging")
    stream = stub.StreamMessage(
        pb.SendMessageRequest(agent="hanging", session_id=session_id, message="hi"), metadata=ALICE
    )
    await anext(aiter(stream))

    cancel = pb.CancelTurnRequest(agent="hanging", session_id=session_id)
    cancelled = await stub.CancelTurn(cancel, metadata=ALICE)
    again = await stub.CancelTurn(cancel, metadata=ALICE)
    found = await read(stream)

    assert cancelled.turn.status == "cancelled"
    assert not again.HasField("turn")
    assert (found.chunks[-1].turn_finished.status, found.code, found.reason) == (
        "cancelled",
        Code.ABORTED,
        "turn_cancelled",
    )


async def test_grpcurl_works_by_reflection_alone(server: HectorServer) -> None:
    async def grpcurl(*arguments: str, data: object = None) -> tuple[int, str]:
        more = () if data is None else ("-d", json.dumps(data))
        process = await asyncio.create_subprocess_exec(
            f"{PROGRAMS}/grpcurl",
            *("-plaintext", "-H", f"{ALICE[0][0]}: {ALICE[0][1]}", *more, server.grpc_address, *arguments),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        out, _ = await process.communicate()
        return process.returncode or 0, out.decode()

    service, session = "hector.v1.A2AService", {"agent": "assistant", "session_id": "by-grpcurl"}

    assert service in (await grpcurl("list"))[1].split()
    assert "StreamMessage" in (await grpcurl("describe", service))[1]
    assert '"session_id": "by-grpcurl"' in (await grpcurl(f"{service}/CreateSession", data=session))[1]
    assert WORDS in (await grpcurl(f"{service}/SendMessage", data={**session, "message": "hi"}))[1]
    assert '"done": true' in (await grpcurl(f"{service}/StreamMessage", data={**session, "message": "hi"}))[1]
    assert "by-grpcurl" in (await grpcurl(f"{service}/ListSessions", data={"agent": "assistant"}))[1]
    assert '"terminated"' in (await grpcurl(f"{service}/DeleteSession", data=session))[1]
    code, out = await grpcurl(f"{service}/GetSession", data=session)
    assert code != 0
    assert "FailedPrecondition" in out
    assert "session_terminated" in out
    assert '"SERVING"' in (await grpcurl("grpc.health.v1.Health/Check"))[1]
