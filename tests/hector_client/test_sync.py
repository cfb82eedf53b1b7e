"""The synchronous client: the same as the asynchronous one, over a transport of its own."""

from __future__ import annotations

import re
import threading

import pytest

import make_sync
from hector_client import sync
from hector_client.errors import NotFound, SessionError
from hector_client.events import Event, Heartbeat, Offline, Online, Text, TurnFinished, TurnStarted, Waiting
from hector_client.sync import default
from tests.fixtures.server import HectorServer
from tests.hector_client.conftest import LIMITS, WORDS, Breaks, SyncBreakingTransport

PACKAGE = make_sync.PACKAGE


def test_it_is_what_the_asynchronous_client_is_without_await() -> None:
    stale = {path.name for path, text in make_sync.translations().items() if path.read_text(encoding="utf-8") != text}

    assert stale == set(), "run python clients/python/make_sync.py"


def test_it_has_the_same_modules_and_no_word_of_asyncio() -> None:
    texts = {path.name: path.read_text(encoding="utf-8") for path in (PACKAGE / "sync").glob("*.py")}
    code = re.sub(r'""".*?"""', "", "".join(texts.values()), flags=re.DOTALL)

    assert set(texts) == {path.name for path in (PACKAGE / "_async").glob("*.py")}
    assert re.findall(r"\b(?:async|await|asyncio|Async\w+)\b", code) == []


def test_an_answer_is_a_loop_of_events(sync_client: sync.Client) -> None:
    session = sync_client.agent("echo").create_session()
    answer = session.ask("one two")

    events = list(answer)

    assert (type(events[0]), type(events[-1])) == (TurnStarted, TurnFinished)
    assert "".join([event.chunk for event in events]) == answer.text == "one two"
    assert [message["content"] for message in session.get_messages()] == ["one two", "one two"]


def test_a_session_is_connected_sent_to_listened_to_and_terminated(sync_client: sync.Client) -> None:
    agent = sync_client.agent("slow")
    with agent.session() as session:
        session.send("go")
        for event in session.listen():
            if isinstance(event, Text):
                session.terminate()
                break

        assert (event.chunk, session.is_connected) == ("w0", False)
    with pytest.raises(SessionError, match=session.session_id):
        agent.session(session.session_id).connect()


def test_an_answer_survives_two_cuts_without_gap_or_repeat(server: HectorServer) -> None:
    breaks = Breaks(streams=2)
    with sync.Client(server.base_url, limits=LIMITS, transport=SyncBreakingTransport(breaks)) as client:
        answer = client.agent("slow").create_session().ask("go")
        events = list(answer)

    kinds = [type(event) for event in events]
    assert answer.text == "".join([event.chunk for event in events]) == WORDS
    assert (kinds.count(Offline), kinds.count(Online)) == (2, 2)


def test_a_message_whose_answer_was_lost_is_there_once(server: HectorServer) -> None:
    breaks = Breaks()
    with sync.Client(server.base_url, limits=LIMITS, transport=SyncBreakingTransport(breaks)) as client:
        with client.agent("echo").session() as session:
            breaks.whole = 2
            turn_id = session.send("only once")
            assert session.join(turn_id).wait() == "only once"
            assert len(session.get_messages()) == 2
        assert breaks.requests.count("POST messages") == 3


def test_disconnect_in_another_thread_ends_a_listening(sync_client: sync.Client) -> None:
    with sync_client.agent("slow").session() as session:
        session.send("go")
        for event in session.listen():
            if event.chunk == " w3":
                thread = threading.Thread(target=session.disconnect)
                thread.start()
                thread.join()

    assert (event.chunk, type(event) in (Text, Heartbeat)) == (" w3", True)


def test_a_call_is_refused_and_the_answer_goes_on(sync_client: sync.Client) -> None:
    session = sync_client.agent("careful").create_session()
    answer = session.ask("Write")
    for event in answer:
        if isinstance(event, Waiting):
            refused = session.calls.refuse(str(event.call_id), reason="Not there")

    assert (refused["state"], answer.messages) == ("refused", ["First the file.", "Well."])
    assert session.calls.approvals() == []


def test_memories_and_errors_are_the_same_as_well(server: HectorServer) -> None:
    with sync.Client(server.base_url, user="eve") as client:
        memories = client.agent("storing").memories
        note = memories.add("Eve lives in Oslo")
        assert b"".join(memories.export()).count(b"\n") == 1
        memories.delete(note["memory_id"])

        with pytest.raises(NotFound, match=note["memory_id"]):
            memories.get(note["memory_id"])


def test_a_synchronous_session_is_found_by_its_id_alone(server: HectorServer) -> None:
    with sync.Client(server.base_url) as client:
        agent = sync.Agent.fetch("echo", client=client)
        made = agent.create_session()
        with sync.Session(session_id=made.session_id, client=client) as session:
            session.send_many(["one", "two"])
            said = [event.delta for event in session.listen(event_types=[Text, TurnFinished]) if _leave(session, event)]

    assert "".join(said) == "one\n\ntwo"


def _leave(session: sync.Session, event: Event) -> bool:
    """Ends the loop over it with the turn."""
    if event.is_complete:
        session.disconnect()
    return True


def test_threads_share_the_client_of_the_environment(server: HectorServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HECTOR_SERVER", server.base_url)
    found: list[sync.Client] = []
    thread = threading.Thread(target=lambda: found.append(sync.Agent.fetch("echo").client))
    thread.start()
    thread.join()

    [one] = found
    assert sync.Agent.list()[0].client is one
    default._clients.clear()
    one.close()
