"""The synchronous client: the same as the asynchronous one, over a transport of its own."""

from __future__ import annotations

import ast
import threading
from pathlib import Path
from typing import Any

import pytest

import hector_client
from hector_client import sync
from hector_client.errors import NotFound, SessionOver
from hector_client.events import Heartbeat, Offline, Online, Text, TurnFinished, TurnStarted, Waiting
from tests.fixtures.server import HectorServer
from tests.hector_client.conftest import LIMITS, WORDS, Breaks, SyncBreakingTransport

FOLDER = Path(hector_client.__file__).parent


class _WithoutAwait(ast.NodeTransformer):
    """Turns the asynchronous client into what the synchronous one has to be."""

    WORDS = (("AsyncGenerator", "Generator"), ("Async", ""), ("aclosing", "closing"), ("__a", "__"))

    def visit_Await(self, node: ast.Await) -> Any:
        return self.visit(node.value)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> Any:
        return self.visit(ast.FunctionDef(**dict(ast.iter_fields(node)), lineno=0))

    def visit_AsyncWith(self, node: ast.AsyncWith) -> Any:
        return self.visit(ast.With(**dict(ast.iter_fields(node)), lineno=0))

    def visit_AsyncFor(self, node: ast.AsyncFor) -> Any:
        node = self.generic_visit(node)
        match node.body:
            case [ast.Expr(ast.Yield(ast.Name(name)))] if ast.unparse(node.target) == name:
                return ast.Expr(ast.YieldFrom(node.iter))
        return ast.For(**dict(ast.iter_fields(node)), lineno=0)

    def generic_visit(self, node: ast.AST) -> Any:
        for name, value in ast.iter_fields(node):
            if isinstance(value, str):
                for word, other in self.WORDS:
                    value = value.replace(word, other)
                setattr(node, name, value.replace("`async for", "`for"))
        return super().generic_visit(node)


def classes(file: str) -> dict[str, ast.ClassDef]:
    body = ast.parse((FOLDER / file).read_text(encoding="utf-8")).body
    return {node.name: node for node in body if isinstance(node, ast.ClassDef)}


@pytest.mark.parametrize("name", classes("_client.py"))
def test_the_twins_differ_in_nothing_but_await(name: str) -> None:
    asynchronous = _WithoutAwait().visit(classes("_client.py")[name])

    assert ast.unparse(asynchronous) == ast.unparse(classes("sync.py")[name])


def test_the_twins_have_the_same_classes() -> None:
    assert list(classes("_client.py")) == list(classes("sync.py"))


def test_an_answer_is_a_loop_of_events(sync_client: sync.Client) -> None:
    session = sync_client.agent("echo").create_session()
    answer = session.ask("one two")

    events = list(answer)

    assert (type(events[0]), type(events[-1])) == (TurnStarted, TurnFinished)
    assert "".join([event.chunk for event in events]) == answer.text == "one two"
    assert [message["content"] for message in session.history()] == ["one two", "one two"]


def test_a_session_is_connected_sent_to_listened_to_and_terminated(sync_client: sync.Client) -> None:
    agent = sync_client.agent("slow")
    with agent.session() as session:
        session.send("go")
        for event in session.listen():
            if isinstance(event, Text):
                session.terminate()
                break

        assert (event.chunk, session.is_connected) == ("w0", False)
    with pytest.raises(SessionOver, match=session.session_id):
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
            assert len(session.history()) == 2
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
