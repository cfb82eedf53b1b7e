"""The client at a real server: what one asks, what one is told, and what survives a connection that breaks."""

from __future__ import annotations

import asyncio

import httpx2
import pytest

from hector_client import Agent, Client, Event, Unreachable
from hector_client.errors import Conflict, InvalidRequest, ModelFailed, NotFound, SessionError
from hector_client.events import Error, Offline, Online, SessionTerminated, Text, TurnFinished, TurnStarted, Waiting
from tests.fixtures.server import HectorServer
from tests.hector_client.conftest import LIMITS, WORDS, BreakingTransport, Breaks

pytestmark = pytest.mark.asyncio(loop_scope="session")


def breaking(server: HectorServer, breaks: Breaks) -> Client:
    return Client(server.base_url, limits=LIMITS, transport=BreakingTransport(breaks))


# -- one answer -------------------------------------------------------------------------------------


async def test_an_answer_is_a_loop_of_events(echo: Agent) -> None:
    session = await echo.create_session()
    answer = session.ask("one two")

    events = [event async for event in answer]

    assert (type(events[0]), type(events[-1])) == (TurnStarted, TurnFinished)
    assert "".join([event.chunk for event in events]) == answer.text == "one two"
    assert answer.is_completed
    assert [event.seq for event in events if isinstance(event, Text)] == [2, 3]


async def test_a_one_shot_is_asked_of_the_agent(echo: Agent) -> None:
    assert await echo.ask("hi").wait() == "hi"


async def test_an_answer_in_json_has_a_value(echo: Agent) -> None:
    schema = {"type": "object", "required": ["city"]}
    wanted = {"type": "json_schema", "json_schema": {"name": "city", "schema": schema}}
    session = await echo.create_session()
    for answer in (
        session.ask('{"city": "Ulm"}', response_format=wanted),
        session.regenerate(response_format={"type": "json_object"}),
    ):
        assert await answer.wait() == '{"city": "Ulm"}'
        assert (await answer.response())["output"] == {"city": "Ulm"}
    with pytest.raises(ModelFailed, match="it is no JSON"):
        await echo.ask("Ulm", response_format=wanted).wait()
    async with session:
        turn_id = await session.send("Ulm", response_format=wanted)
        with pytest.raises(ModelFailed):
            await session.join(turn_id).wait()


async def test_a_failed_answer_raises_what_failed_with_the_text_so_far(client: Client) -> None:
    answer = client.agent("failing").ask("hi")

    with pytest.raises(ModelFailed, match="no credit") as failure:
        await answer.wait()

    assert failure.value.details["partial"] == answer.text
    assert answer.text.strip() == "so far"


async def test_an_answer_is_cancelled_and_keeps_its_text(client: Client) -> None:
    session = await client.agent("hanging").create_session()
    answer = session.ask("hi")

    async for event in answer:
        if event.chunk == " am":
            await answer.cancel()

    with pytest.raises(Conflict, match="stopped") as failure:
        answer.raise_for_end()
    assert (failure.value.reason, answer.text) == ("turn_cancelled", "I am")


async def test_a_message_that_waits_is_withdrawn_by_its_turn_and_all_by_one_word(client: Client) -> None:
    session = await client.agent("hanging").create_session()
    async with session:
        turns = [await session.send(message) for message in ("one", "two", "three")]
        withdrawn = await session.cancel(turns[1])
        waiting = [turn["turn_id"] for turn in (await session.info())["queue"]]
        stopped = await session.cancel(everything=True)
        left = await session.info()

    assert withdrawn is not None
    assert (withdrawn["turn_id"], withdrawn["status"], waiting) == (turns[1], "cancelled", [turns[2]])
    assert stopped is not None
    assert (stopped["turn_id"], left["turn"], left["queue"]) == (turns[0], None, [])


async def test_a_loop_over_an_answer_that_was_left_is_entered_again(client: Client) -> None:
    session = await client.agent("slow").create_session()
    answer = session.ask("go")
    async for event in answer:
        if event.chunk == " w3":
            break

    rest = [event.chunk async for event in answer]

    assert answer.text == WORDS
    assert "".join(rest) == WORDS.partition(" w3")[2]


async def test_an_open_answer_is_joined(client: Client) -> None:
    session = await client.agent("slow").create_session()
    async with session:
        turn_id = await session.send("go")

        assert await session.join(turn_id).wait() == WORDS


async def test_the_answer_as_the_api_gives_it_is_that_of_the_same_turn(echo: Agent) -> None:
    session = await echo.create_session()
    answer = session.ask("hi")
    await answer.wait()

    response = await answer.response()

    assert (response["response"], response["turn_id"]) == ("hi", answer.turn_id)
    assert len(await session.get_messages()) == 2


# -- a session --------------------------------------------------------------------------------------


async def test_a_session_is_connected_sent_to_listened_to_and_terminated(client: Client) -> None:
    session = client.agent("slow").session()
    assert not session.is_connected
    await session.connect()
    await session.send("go")

    async for event in session.listen():
        if event.chunk:
            receipt = await session.terminate()
            break

    assert (event.chunk, receipt["status"], session.is_connected) == ("w0", "terminated", False)
    with pytest.raises(SessionError, match=session.session_id):
        await client.agent("slow").session(session.session_id).connect()
    with pytest.raises(RuntimeError, match="not connected"):
        await session.send("Are you still there?")


async def test_a_listener_hears_every_turn_and_the_end_of_the_session(echo: Agent) -> None:
    heard: list[Event] = []
    async with echo.session() as session:
        await session.send("one")
        await session.send("two")
        async for event in session.listen():
            heard.append(event)
            if len([event for event in heard if isinstance(event, TurnFinished)]) == 2:
                assert session.text == "two"
                await session.terminate()
                break

        with pytest.raises(RuntimeError, match="not connected"):
            await anext(session.listen())
    assert [event.chunk for event in heard if event.chunk] == ["one", "two"]


async def test_a_session_that_another_client_terminates_ends_the_listening(client: Client) -> None:
    agent = client.agent("slow")
    heard: list[Event] = []
    async with agent.session() as session:
        await session.send("go")
        async for event in session.listen():
            if not heard:
                await agent.session(session.session_id).terminate()
            heard.append(event)

        assert type(heard[-1]) is SessionTerminated
        assert not session.is_connected


async def test_what_was_sent_before_the_listening_is_not_missed_and_the_past_is_not_told(echo: Agent) -> None:
    before = await echo.create_session()
    await before.ask("long ago").wait()
    async with echo.session(before.session_id) as session:
        await session.send("now")
        async for event in session.listen():
            if isinstance(event, TurnFinished):
                break

    assert session.text == "now"


async def test_a_cursor_takes_the_listening_to_another_process(echo: Agent) -> None:
    first = await echo.create_session()
    await first.ask("one two three").wait()
    second = echo.session(first.session_id)

    await second.connect(after=2)
    chunks = []
    async for event in second.listen():
        chunks.append(event.chunk)
        if isinstance(event, TurnFinished):
            break

    assert ("".join(chunks), second.cursor) == (" two three", "5")


async def test_disconnect_ends_a_listening_that_waits(client: Client) -> None:
    session = client.agent("hanging").session()
    await session.connect()
    await session.send("hi")
    said = asyncio.Event()

    async def listen() -> None:
        async for event in session.listen():
            if event.chunk == " am":
                said.set()

    listening = asyncio.create_task(listen())
    await said.wait()
    await session.disconnect()
    await asyncio.wait_for(listening, 5)

    assert not session.is_connected
    assert (await session.info())["turn"]["status"] == "running"
    await session.terminate()


async def test_an_unknown_session_is_not_made_by_connecting(echo: Agent) -> None:
    with pytest.raises(NotFound, match="nowhere"):
        await echo.session("nowhere").connect()


async def test_an_id_of_ones_own_is_the_same_session_again(echo: Agent) -> None:
    first = await echo.create_session("mine", title="Mine")
    second = await echo.create_session("mine")

    assert (first.is_new, second.is_new) == (True, False)
    assert second.about["title"] == "Mine"


async def test_an_ended_session_is_readable_and_takes_no_message(echo: Agent) -> None:
    session = await echo.create_session(messages=[{"role": "user", "content": "before"}])
    await session.change(title="Over")
    ended = await session.end()

    assert (ended["status"], ended["title"]) == ("ended", "Over")
    assert [message["content"] for message in await session.get_messages()] == ["before"]
    with pytest.raises(SessionError) as failure:
        await session.ask("hi").wait()
    assert failure.value.reason == "session_ended"


async def test_a_ticket_opens_the_stream_of_a_session(echo: Agent, server: HectorServer) -> None:
    session = await echo.create_session()
    made = await session.ticket(ttl="2m", can=["read", "chat"])
    async with httpx2.AsyncClient(base_url=server.base_url, trust_env=False) as browser:
        path = f"/agents/echo/sessions/{session.session_id}/messages/stream?ticket={made['ticket']}"
        answer = await browser.post(path, json={"message": "Hello"})
    assert '"chunk": "Hello"' in answer.text


async def test_a_conversation_is_forked_edited_and_answered_again(echo: Agent) -> None:
    session = await echo.create_session()
    await session.ask("first").wait()
    question, answer = await session.get_messages()

    fork = await session.fork(title="Another way")
    edited = await session.edit_message(question["message_id"], "better")
    assert await session.regenerate().wait() == "first"

    assert len(await fork.get_messages()) == 2
    assert [message["content"] for message in await edited.get_messages()] == ["better"]
    statuses = {message["message_id"]: message["status"] for message in await session.get_messages()}
    assert statuses[answer["message_id"]] == "replaced"
    assert (await session.turn(answer["turn_id"]))["status"] == "completed"


async def test_history_and_lists_come_in_as_many_pages_as_it_takes(client: Client) -> None:
    agent = client.agent("echo")
    seeds = [{"role": "user", "content": f"m{number}"} for number in range(250)]
    session = await agent.create_session(messages=seeds)

    assert [message["content"] for message in await session.get_messages(limit=230)] == [
        f"m{n}" for n in range(20, 250)
    ]
    await agent.create_session()
    page = await agent.sessions(limit=1, order="activity")
    assert (len(page.items), page.next_cursor is not None) == (1, True)


# -- connections that break -------------------------------------------------------------------------


async def test_an_answer_survives_two_cuts_without_gap_or_repeat(server: HectorServer) -> None:
    breaks = Breaks(streams=2)
    async with breaking(server, breaks) as client:
        session = await client.agent("slow").create_session()
        answer = session.ask("go")
        events = [event async for event in answer]

    kinds = [type(event) for event in events]
    assert answer.text == "".join([event.chunk for event in events]) == WORDS
    assert (kinds.count(Offline), kinds.count(Online)) == (2, 2)
    assert breaks.requests == ["POST sessions", "POST stream", "GET stream", "GET stream"]


async def test_a_message_whose_answer_was_lost_is_there_once(server: HectorServer) -> None:
    breaks = Breaks()
    async with breaking(server, breaks) as client:
        session = await client.agent("echo").create_session()
        await session.connect()
        breaks.whole = 2
        await session.send("only once")
        async for event in session.listen():
            if isinstance(event, TurnFinished):
                break

        assert [message["content"] for message in await session.get_messages()] == ["only once", "only once"]
        assert breaks.requests.count("POST messages") == 3


async def test_a_stream_that_was_lost_as_a_whole_is_one_message(server: HectorServer) -> None:
    breaks = Breaks()
    async with breaking(server, breaks) as client:
        session = await client.agent("echo").create_session()
        breaks.whole = 1
        assert await session.ask("only once").wait() == "only once"

        assert len(await session.get_messages()) == 2


async def test_a_restart_of_the_server_is_survived(server: HectorServer) -> None:
    async with Client(server.base_url, limits=LIMITS) as client:
        heard: list[Event] = []
        async with client.agent("hanging").session() as session:
            await session.send("go")
            async for event in session.listen():
                heard.append(event)
                if event.chunk == " am":
                    server.ask_to_stop()
                if isinstance(event, Offline):
                    await server.be_there()
                if isinstance(event, TurnFinished):
                    assert (event.status, event.reason) == ("interrupted", "shutdown")
                    break

            [_, kept] = await session.get_messages()
            assert session.text == "".join([event.chunk for event in heard]) == kept["content"]


async def test_nobody_at_the_address_is_unreachable() -> None:
    async with Client("http://127.0.0.1:1") as client:
        assert not await client.is_ready()
        with pytest.raises(Unreachable, match="connection refused") as failure:
            await client.ping()

    assert (failure.value.problem, failure.value.is_transient) == ("connection refused", True)


async def test_any_status_is_a_sign_of_life() -> None:
    async with Client("http://127.0.0.1:1", transport=httpx2.MockTransport(lambda _: httpx2.Response(502))) as client:
        await client.ping()
        assert not await client.is_ready()


async def test_silence_has_a_limit() -> None:
    def be_silent(request: httpx2.Request) -> httpx2.Response:
        raise httpx2.ReadTimeout("", request=request)

    async with Client("http://127.0.0.1:1", transport=httpx2.MockTransport(be_silent)) as client:
        with pytest.raises(Unreachable, match="timed out"):
            await client.agents()


# -- the rest of the API ----------------------------------------------------------------------------


async def test_agents_tell_about_themselves(client: Client) -> None:
    names = [agent["agent"] for agent in await client.agents()]

    assert "echo" in names
    assert (await client.agent("echo").info())["llm"]["model"] == "scripted"
    assert await client.is_ready()
    with pytest.raises(NotFound) as failure:
        await client.agent("nobody").info()
    assert (failure.value.reason, failure.value.status) == ("agent_not_found", 404)
    assert failure.value.request_id is not None


async def test_memories_are_kept_found_changed_carried_and_forgotten(server: HectorServer) -> None:
    async with Client(server.base_url, user="ann") as client:
        agent = client.agent("storing")
        memories = agent.memories
        note = await memories.add("Ann drinks jasmine tea", pinned=True)
        await memories.change(note["memory_id"], text="Ann drinks green tea")
        found = await memories.search("What tea does Ann drink?", limit=1)
        lines = b"".join([piece async for piece in memories.export()])
        shown = await memories.get(note["memory_id"])
        await memories.delete(note["memory_id"])
        assert (await memories.list()).items == []
        taken = await memories.import_lines(lines)
        receipt = await agent.forget(user="ann")

    assert (note["user_id"], note["pinned"]) == ("ann", True)
    assert found["hits"][0]["text"] == shown["text"] == "Ann drinks green tea"
    assert (taken["imported"], receipt["found_afterwards"]) == (1, 0)


async def test_an_export_that_is_refused_says_why(client: Client) -> None:
    with pytest.raises(Conflict) as failure:
        await anext(client.agent("echo").memories.export())

    assert failure.value.reason == "memory_off"


async def test_documents_are_listed_and_searched(client: Client) -> None:
    while (await client.document_stores())[0]["status"] != "ready":
        await asyncio.sleep(0.02)

    await client.reindex_documents("papers")
    [document] = (await client.documents("papers")).items
    found = await client.search_documents("Where does the parrot sleep?", store="papers")

    assert document["path"].endswith("birds.md")
    assert "parrot" in found["hits"][0]["excerpt"]


async def test_a_wrong_field_is_named(echo: Agent) -> None:
    with pytest.raises(InvalidRequest) as failure:
        await echo.ask("").wait()

    assert "message" in str(failure.value.details["problems"])


async def test_an_error_event_comes_before_the_end_of_a_failed_turn(client: Client) -> None:
    events = [event async for event in client.agent("failing").ask("hi")]

    assert isinstance(events[-2], Error)
    assert events[-2].reason == "llm_error"


# -- calls of tools ---------------------------------------------------------------------------------


async def test_a_call_is_approved_with_other_arguments_while_its_answer_is_followed(client: Client) -> None:
    agent = client.agent("careful")
    session = await agent.create_session()
    answer = session.ask("Write")
    async for event in answer:
        if isinstance(event, Waiting):
            [act] = await session.calls.approvals()
            assert act["call_id"] in [one["call_id"] for one in await agent.approvals()]
            await session.calls.approve(act["call_id"], arguments={"path": "b", "content": "y"})
            with pytest.raises(Conflict, match="already"):
                await session.calls.refuse(act["call_id"])

    act = await session.calls.get(act["call_id"])
    assert (act["state"], act["edited"]) == ("settled", {"path": "b", "content": "y"})
    assert answer.messages == ["First the file.", "Well."]
    assert (answer.is_completed, answer.text) == (True, "First the file.Well.")
    assert await session.calls.list(state="settled") == [act]
    assert [message["role"] for message in await session.get_messages(roles="user,assistant")].count("tool") == 0


async def test_a_turn_that_was_left_waiting_is_answered_and_joined(client: Client) -> None:
    session = await client.agent("careful").create_session()
    answer = session.ask("Ask")
    async for event in answer:
        if isinstance(event, Waiting):
            assert event.question == "Why?"
            await session.calls.post_result(str(event.call_id), "Because.")
            break

    assert await answer.wait() == "Well."
    with pytest.raises(NotFound):
        await session.calls.resolve("call_of_nobody", happened=True)
