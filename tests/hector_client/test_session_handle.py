"""The handle on a session: made from an id alone, listened to in part, answered, and never without an event."""

from __future__ import annotations

import asyncio
import tracemalloc
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from hector_client import Agent, Client, Session
from hector_client._async.default import _clients
from hector_client.errors import Conflict, NotFound, SessionError
from hector_client.events import (
    ApprovalRequest,
    Error,
    Event,
    Offline,
    Snapshot,
    Text,
    ToolCall,
    TurnFinished,
    Waiting,
)
from tests.fixtures.server import HectorServer
from tests.hector_client.conftest import LIMITS, WORDS

pytestmark = pytest.mark.asyncio(loop_scope="session")

LETTERS = 20_000
"""Characters that `burst` says at once, one in a delta: other clients kept 1,025 of 5,000."""


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def talkative(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[HectorServer]:
    """Says much, or is killed while it speaks."""
    scripts = {
        "burst": {"text": "y" * LETTERS, "chunk": "char"},
        "slow": {"text": WORDS, "delay_ms": 20},
    }
    server = HectorServer(
        Path(tmp_path_factory.mktemp("talkative")),
        {
            "server": {"port": 0, "shutdown_grace": "200ms"},
            "llms": {name: {"type": "scripted", "script": [script]} for name, script in scripts.items()},
            "agents": {name: {"llm": name} for name in scripts},
            "embedders": {"default": {"type": "none"}},
        },
    )
    await server.start()
    try:
        yield server
    finally:
        await server.close()


# -- without a client ------------------------------------------------------------------------------


async def test_an_agent_is_fetched_and_listed_at_the_server_of_the_environment(
    server: HectorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HECTOR_SERVER", server.base_url)

    agent = await Agent.fetch("echo")
    names = [one.name for one in await Agent.list()]

    assert (agent.display_name, agent.about["agent"]) == ("echo", "echo")
    assert "slow" in names
    with pytest.raises(NotFound, match="nobody"):
        await Agent.fetch("nobody")


async def test_the_client_of_the_environment_is_closed_with_its_loop(
    server: HectorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HECTOR_SERVER", server.base_url)

    async def main() -> Client:
        return (await Agent.fetch("echo")).client

    before = len(_clients)
    client = await asyncio.to_thread(asyncio.run, main())

    assert client.driver._http.is_closed
    assert len(_clients) == before


async def test_a_session_is_found_by_its_id_alone(client: Client) -> None:
    made = await client.agent("slow").create_session()
    session = Session(session_id=made.session_id, client=client)
    with pytest.raises(RuntimeError, match="not connected"):
        print(session.agent_name)

    await session.connect()
    assert (session.agent_name, session.is_connected) == ("slow", True)

    await made.terminate()
    with pytest.raises(SessionError, match="terminated"):
        await Session(session_id=made.session_id, client=client).connect()
    with pytest.raises(NotFound, match="sess_of_nobody"):
        await Session(session_id="sess_of_nobody", client=client).connect()


async def test_a_session_without_id_needs_an_agent() -> None:
    with pytest.raises(ValueError, match="agent"):
        Session()


# -- sending and listening -------------------------------------------------------------------------


async def test_several_messages_are_answered_by_one_turn(echo: Agent) -> None:
    session = echo.session()
    await session.connect()

    turn_id = await session.send_many(["Here is a poem.", "Is it good?"])

    assert await session.join(turn_id).wait() == "Here is a poem.\n\nIs it good?"
    assert [message["role"] for message in await session.get_messages()] == ["user", "assistant"]
    wrong: list[str] | str
    for wrong in ([], "one text"):
        with pytest.raises(ValueError, match="list"):
            await session.send_many(wrong)


@pytest.mark.parametrize("types", [[Text, TurnFinished], ["text", "turn_finished"]], ids=["classes", "words"])
async def test_only_the_types_that_are_wanted_are_heard(echo: Agent, types: list[type[Event] | str]) -> None:
    async with echo.session() as session:
        await session.send("one two")
        heard = []
        async for event in session.listen(event_types=types):
            heard.append(event)
            if event.is_complete:
                break

    assert [event.type for event in heard] == ["text", "text", "turn_finished"]
    assert "".join([event.delta for event in heard]) == session.text == "one two"


async def test_a_type_that_does_not_exist_is_refused(echo: Agent) -> None:
    async with echo.session() as session:
        with pytest.raises(ValueError, match=r"'turn_finish'.*'turn_finished'"):
            await anext(session.listen(event_types=["turn_finish"]))


async def test_a_listening_that_hears_nothing_it_wants_ends_with_the_session(echo: Agent) -> None:
    async with echo.session() as session:
        await session.send("one")
        await session.end()

        assert [event async for event in session.listen(event_types=[Error])] == []
        assert not session.is_connected


# -- answering -------------------------------------------------------------------------------------


async def test_an_approval_is_given_with_other_arguments_to_the_event_that_asked(client: Client) -> None:
    async with client.agent("careful").session() as session:
        await session.send("Write")
        calls = []
        async for event in session.listen():
            if isinstance(event, ToolCall):
                calls.append(event.tool["name"])
            if isinstance(event, ApprovalRequest):
                act = await session.respond(event, approved=True, arguments={"path": "c", "content": "z"})
                with pytest.raises(Conflict, match="already"):
                    await session.respond(event.call_id, approved=False)
            if event.is_complete:
                break

    assert (calls, act["edited"], session.text) == (
        ["write_file"],
        {"path": "c", "content": "z"},
        "First the file.Well.",
    )


async def test_a_call_is_refused_and_a_question_answered(client: Client) -> None:
    async with client.agent("careful").session() as session:
        for message, given in (("Write", {"approved": False, "reason": "Not now"}), ("Ask", {"answer": "Because."})):
            await session.send(message)
            async for event in session.listen(event_types=[Waiting, TurnFinished]):
                if isinstance(event, Waiting):
                    await session.respond(event, **given)
                if event.is_complete:
                    break
        refused, answered = await session.calls.list()

    assert (refused["state"], answered["state"]) == ("refused", "settled")


async def test_an_answer_is_a_decision_or_a_value(client: Client) -> None:
    session = client.agent("careful").session("no-request-is-made")

    for given in ({}, {"approved": True, "answer": "both"}):
        with pytest.raises(ValueError, match="either"):
            await session.respond("call_1", **given)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="waits for nothing"):
        await session.respond(Waiting(waiting_for="connect"), answer="yes")


# -- nothing is lost -------------------------------------------------------------------------------


async def test_a_slow_loop_over_a_burst_misses_nothing(talkative: HectorServer) -> None:
    async with Client(talkative.base_url) as client, client.agent("burst").session() as session:
        turn_id = await session.send("go")
        received, events = 0, 0
        async for event in session.listen(event_types=[Text, TurnFinished]):
            received, events = received + len(event.delta), events + 1
            if events == 1:  # all of it is said while the loop is busy
                while (await session.turn(turn_id))["status"] != "completed":
                    await asyncio.sleep(0.01)
            if event.is_complete:
                break

    assert received == len(session.text) == LETTERS


async def test_what_the_loop_has_not_taken_waits_at_the_server(talkative: HectorServer) -> None:
    async with Client(talkative.base_url) as client, client.agent("burst").session() as session:
        turn_ids = [await session.send("go") for _ in range(5)]
        events = session.listen()
        await anext(events)
        tracemalloc.start()
        try:
            while (await session.turn(turn_ids[-1]))["status"] != "completed":
                await asyncio.sleep(0.01)
            held, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        rest = 0
        async for event in events:
            rest += len(event.delta)
            if event.is_complete and event.fields["turn_id"] == turn_ids[-1]:
                break
        await events.aclose()

    assert rest == 5 * LETTERS
    assert held < 500_000  # bytes; 100,000 pieces of text are waiting


async def test_a_server_that_is_killed_in_mid_answer_loses_and_repeats_nothing(talkative: HectorServer) -> None:
    async with Client(talkative.base_url, limits=LIMITS) as client, client.agent("slow").session() as session:
        await session.send("go")
        seqs: list[int] = []
        kinds = []
        async for event in session.listen():
            kinds.append(type(event))
            if event.seq is not None:
                seqs.append(event.seq)
            if event.delta == " w9":
                await talkative.kill()
                restart = asyncio.create_task(talkative.start())
            if event.is_complete:
                break
        await restart
        assert (event.fields["status"], kinds.count(Offline) > 0) == ("interrupted", True)
        assert seqs == sorted(set(seqs))
        [_, kept] = await session.get_messages()
        assert session.text == kept["content"] == WORDS[: len(session.text)]

        # The same handle, the same listening: the next turn is heard from its start.
        await session.send("again")
        said = []
        async for event in session.listen(event_types=[Text, Snapshot, TurnFinished]):
            said.append(event.delta)
            if event.is_complete:
                break
        assert "".join(said) == session.text == WORDS
