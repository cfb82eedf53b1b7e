"""hector chat with an agent that acts: what waits is asked for, answered, left, and taken up by commands."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.cli.command import Hector, ended
from tests.cli.terminal import Terminal
from tests.fixtures.acting import ActingServer
from tests.fixtures.eventually import eventually

pytestmark = pytest.mark.asyncio(loop_scope="session")

WRITE = {"path": "hello.py", "content": "print('Hello')\nprint('World')"}
Y = "y yes, n no, e edit, a always in this session, Enter later:"


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def acting_server() -> AsyncIterator[ActingServer]:
    server = ActingServer()
    await server.start()
    try:
        yield server
    finally:
        await server.close()


@pytest.fixture
def acting(acting_server: ActingServer) -> ActingServer:
    acting_server.restart()
    return acting_server


@pytest.fixture
def terminal(acting: ActingServer, tmp_path: Path) -> Terminal:
    return Terminal(tmp_path, "chat", "coder", server=acting.base_url, width=100, height=40)


async def begin(terminal: Terminal, acting: ActingServer) -> None:
    """Send a message; returns when its turn runs."""

    async def runs() -> bool:
        return acting.turn is not None

    await terminal.say("Go")
    await eventually(runs)


async def ask_to_write(terminal: Terminal, acting: ActingServer, **arguments: Any) -> None:
    await begin(terminal, acting)
    await acting.call("call_1", "write_file", arguments or WRITE)
    await acting.ask_for_approval("call_1")
    await terminal.shows(Y)


async def posted(acting: ActingServer, count: int = 2) -> list[tuple[str, dict[str, Any]]]:
    """What was posted after the message itself, once it is `count` requests in all."""

    async def are_there() -> bool:
        return len(acting.requests) >= count

    await eventually(are_there)
    return acting.requests[1:]


async def finish(terminal: Terminal, acting: ActingServer) -> None:
    await acting.text("All done.")
    await acting.finish()
    await terminal.shows("All done.")
    await terminal.prompt()


async def test_a_call_is_approved_where_it_is_asked_for(terminal: Terminal, acting: ActingServer) -> None:
    async with terminal:
        await ask_to_write(terminal, acting)
        text = terminal.text
        terminal.type("y\r")
        assert await posted(acting) == [("approvals/call_1", {"approved": True})]
        await acting.progress("call_1", chunk="File created successfully.\n")
        await acting.settle("call_1", {"path": "hello.py"})
        await finish(terminal, acting)

        assert "[Tool: write_file]" in text
        assert "write_file needs your approval. Writes outside the workspace ask." in text
        assert "path: hello.py" in text
        assert "print('World')" in text
        assert "approved by ann" in terminal.text
        assert "File created successfully." in terminal.text


async def prompts(terminal: Terminal, question: str) -> None:
    """Until the last lines are that question."""
    await terminal.until(lambda text: question in "\n".join(text.splitlines()[-2:]))


@pytest.mark.parametrize(
    ("keys", "decision"),
    [
        (("n\r", "Not there\r"), {"approved": False, "reason": "Not there"}),
        (("n\r", "\r"), {"approved": False}),
        (("a\r",), {"approved": True, "remember": "session"}),
        (("e\r", "\x15[1]\r", '\x15{"path": "b"}\r'), {"approved": True, "arguments": {"path": "b"}}),
    ],
)
async def test_every_other_decision(
    keys: tuple[str, ...], decision: dict[str, Any], terminal: Terminal, acting: ActingServer
) -> None:
    ends = {"n\r": "Reason", "e\r": "Arguments:", "\x15[1]\r": "JSON object: {…}.\nArguments: [1]"}
    async with terminal:
        await ask_to_write(terminal, acting, path="a")
        for key in keys:
            terminal.type(key)
            if key in ends:  # the prompt that the next keys are for
                await prompts(terminal, ends[key])

        assert await posted(acting) == [("approvals/call_1", decision)]


async def test_what_is_not_answered_now_is_answered_by_a_command(terminal: Terminal, acting: ActingServer) -> None:
    async with terminal:
        await ask_to_write(terminal, acting)
        terminal.type("\r")
        await terminal.shows("It waits. /calls lists what waits")
        await terminal.say("/calls")
        await terminal.shows('write_file("hello.py"')
        await terminal.say("/approve nonsense --edit {}")
        await terminal.shows("approved: write_file")
        await acting.settle("call_1", {"path": "hello.py"})
        await finish(terminal, acting)

    assert acting.requests[1:] == [("approvals/call_1", {"approved": True, "arguments": {}})]


async def test_a_refusal_by_command_has_a_reason(terminal: Terminal, acting: ActingServer) -> None:
    async with terminal:
        await ask_to_write(terminal, acting)
        terminal.type("\r")
        await terminal.say("/refuse 1 Not now")
        await terminal.shows("refused: write_file")

    assert acting.requests[1:] == [("approvals/call_1", {"approved": False, "reason": "Not now"})]


async def test_somebody_else_was_faster(terminal: Terminal, acting: ActingServer) -> None:
    async with terminal:
        await ask_to_write(terminal, acting)
        refusal = {"status": 409, "reason": "already_decided", "message": "Bob has decided this."}
        acting.refusals["approvals/call_1"] = refusal
        terminal.type("y\r")
        await terminal.shows("Bob has decided this.")
        await finish(terminal, acting)


async def test_a_question_is_answered_by_the_number_of_a_choice(terminal: Terminal, acting: ActingServer) -> None:
    async with terminal:
        await begin(terminal, acting)
        await acting.call("call_1", "ask_user", {})
        await acting.wait("input", "call_1", question="Which colour?", choices=["red", "green"])
        await terminal.shows("2. green")
        terminal.type("3\r")
        await terminal.shows("Choose one of: red, green.")
        terminal.type("2\r")
        assert await posted(acting) == [("calls/call_1/result", {"result": "green"})]
        await finish(terminal, acting)


async def test_a_question_with_a_schema_takes_json_by_command(terminal: Terminal, acting: ActingServer) -> None:
    async with terminal:
        await begin(terminal, acting)
        await acting.call("call_1", "ask_user", {})
        await acting.wait("input", "call_1", question="How many?", schema={"type": "integer"})
        await terminal.shows("Answer (Enter: later):")
        terminal.type("\r")
        await terminal.say("/answer many")
        await terminal.shows("The answer has to be JSON that fits the schema")
        await terminal.say("/answer 1 3")

        assert await posted(acting) == [("calls/call_1/result", {"result": 3})]


async def test_what_became_of_an_unknown_call_is_asked(terminal: Terminal, acting: ActingServer) -> None:
    async with terminal:
        await begin(terminal, acting)
        await acting.call("call_1", "pay", {"to": "ann"})
        await acting.settle("call_1", "interrupted", status="unknown")
        await acting.wait("input", "call_1")
        await terminal.shows("h it happened, f it did not, a run it again, Enter later:")
        assert 'Nobody knows whether this call happened: pay("ann")' in terminal.text
        terminal.type("f\r")

        assert await posted(acting) == [("calls/call_1/resolve", {"happened": False})]


async def test_what_hides_or_reorders_arguments_is_written_out(terminal: Terminal, acting: ActingServer) -> None:
    async with terminal:
        await ask_to_write(terminal, acting, command="rm a\u202egpj.exe\x1b[2J")

        assert "command: rm a\\u202egpj.exe\\x1b[2J" in terminal.text


async def test_a_line_typed_while_it_is_written_steers_the_answer(terminal: Terminal, acting: ActingServer) -> None:
    async with terminal:
        await begin(terminal, acting)
        await acting.text("Bonjour.\n\n")
        await terminal.shows("Bonjour.")
        terminal.type("/steer In English\r")
        assert await posted(acting) == [("messages", {"message": "In English", "on_busy": "steer"})]
        terminal.type("What else?\r")
        await acting.steer("In English")
        await terminal.shows("steered: In English")
        await finish_with_more(terminal, acting)


async def finish_with_more(terminal: Terminal, acting: ActingServer) -> None:
    """The line that was typed and did not steer is the next message."""
    await acting.text("Hello.")
    await acting.finish()
    await terminal.shows("> What else?")
    await posted(acting, 3)
    assert acting.requests[-1] == ("messages/stream", {"message": "What else?"})


# -- without a terminal -----------------------------------------------------------------------------


@pytest.fixture
def hector(acting: ActingServer, tmp_path: Path) -> Hector:
    return Hector(tmp_path, acting.base_url)


async def test_approvals_are_listed_and_decided_by_commands(hector: Hector, acting: ActingServer) -> None:
    assert (await hector("approvals")).out == "nothing waits for an approval\n"
    await acting.begin("Go")
    await acting.call("call_1", "write_file", {"path": "a"})
    await acting.ask_for_approval("call_1")

    listed = await hector("approvals", "coder")
    wrong = await hector("approve", "coder", "s", "call_1", "--edit", "[]")
    approved = await hector("approve", "coder", "s", "call_1", "--edit", '{"path": "b"}', "--remember", "agent")
    refused = await hector("refuse", "coder", "s", "call_1", "--reason", "No", "--json")

    assert listed.out.split("\t")[:3] == ["call_1", "coder", "s"]
    assert 'write_file("a")' in listed.out
    assert (wrong.code, approved.out) == (2, "approved call_1\n")
    assert refused.json["state"] == "refused"
    assert acting.requests == [
        ("approvals/call_1", {"approved": True, "arguments": {"path": "b"}, "remember": "agent"}),
        ("approvals/call_1", {"approved": False, "reason": "No"}),
    ]


async def test_a_call_in_a_pipe_says_what_it_waits_for_and_waits(hector: Hector, acting: ActingServer) -> None:
    async def runs() -> bool:
        return acting.turn is not None

    process = await hector.start("call", "coder", "Go", "--session", "s")
    await eventually(runs)
    await acting.text("One moment. ")
    await acting.call("call_1", "write_file", {"path": "a"})
    await acting.ask_for_approval("call_1")
    assert process.stderr is not None
    line = (await process.stderr.readline()).decode()
    await hector("approve", "coder", "s", "call_1")
    await acting.settle("call_1", {})
    await acting.text("Done.")
    await acting.finish()
    result = await ended(process)

    assert line == 'hector: write_file("a") waits (approval): hector chat coder --session s\n'
    assert (result.code, result.out) == (0, "One moment. \n[Tool: write_file]\nDone.\n")
