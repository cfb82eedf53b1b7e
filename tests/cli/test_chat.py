"""hector chat in a real terminal: typed at, interrupted, cut off from its server, and looked at."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from tests.cli.command import Hector
from tests.cli.conftest import WORDS, messages
from tests.cli.terminal import Terminal
from tests.fixtures.server import HectorServer

pytestmark = pytest.mark.asyncio(loop_scope="session")

CTRL_C, CTRL_D, ALT_ENTER = "\x03", "\x04", "\x1b\r"


@pytest.fixture
def terminal(server: HectorServer, tmp_path: Path) -> Terminal:
    """`hector chat echo`, not started yet."""
    return Terminal(tmp_path, "chat", "echo", server=server.base_url)


def chat(server: HectorServer, folder: Path, agent: str, session: str, **size: int) -> Terminal:
    return Terminal(folder, "chat", agent, "--session", session, server=server.base_url, **size)


async def test_an_answer_is_shown_as_markdown_and_the_way_back_is_told(terminal: Terminal) -> None:
    async with terminal:
        await terminal.say("- **bold** words")
        await terminal.shows("• bold words")
        await terminal.prompt()
        terminal.type(CTRL_D)

        assert await terminal.ended() == 0
        assert "Go on with: hector chat echo --session sess_" in terminal.text.replace("\n", " ")


async def test_several_lines_are_one_message(terminal: Terminal, http: httpx.AsyncClient) -> None:
    async with terminal:
        await terminal.prompt()
        terminal.type("/new lines\r")
        await terminal.shows("it is new")
        await terminal.prompt()
        terminal.type("one\\\rtwo" + ALT_ENTER + "three\r")
        await terminal.shows("one two three")

    assert (await messages(http, "echo", "lines"))[0][0] == "one\ntwo\nthree"


async def test_ctrl_c_stops_the_answer_and_not_the_program(
    server: HectorServer, tmp_path: Path, http: httpx.AsyncClient
) -> None:
    async with chat(server, tmp_path, "hanging", "stop") as terminal:
        await terminal.say("hi")
        await terminal.shows("I am")
        terminal.type(CTRL_C)
        await terminal.shows("stopped")
        assert (await messages(http, "hanging", "stop"))[-1] == ("I am", "cancelled")

        await terminal.prompt()
        terminal.type("half a line" + CTRL_C)
        await terminal.prompt()
        terminal.type(CTRL_C)
        await terminal.shows("Ctrl-C again")
        await terminal.prompt()
        terminal.type(CTRL_C)

        assert await terminal.ended() == 0


async def queue_up(http: httpx.AsyncClient, session: str, *messages: str) -> str:
    """The path of a session in which the first message is answered for ever and the others wait."""
    path = f"/agents/hanging/sessions/{session}"
    await http.post("/agents/hanging/sessions", json={"session_id": session})
    for message in messages:
        await http.post(f"{path}/messages", json={"message": message, "background": True})
    return path


async def test_ctrl_c_after_a_stop_drops_what_waits(
    server: HectorServer, tmp_path: Path, http: httpx.AsyncClient
) -> None:
    path = await queue_up(http, "drop", "one", "two", "three")
    async with chat(server, tmp_path, "hanging", "drop", width=100) as terminal:
        await terminal.shows("I am")
        terminal.type(CTRL_C)
        await terminal.shows("2 messages in this session go on. Ctrl-C drops them.")
        await terminal.prompt()
        terminal.type(CTRL_C)
        await terminal.shows("Stopped all: 2 messages of this session are no longer answered.")

    about = (await http.get(path)).json()
    assert (about["turn"], about["queue"]) == (None, [])


async def test_ctrl_c_takes_back_a_message_that_waits(
    server: HectorServer, tmp_path: Path, http: httpx.AsyncClient
) -> None:
    async with chat(server, tmp_path, "hanging", "back", width=100) as terminal:
        await terminal.shows("it is new")
        await terminal.prompt()
        path = await queue_up(http, "back", "one")
        terminal.type("two\r")
        await terminal.shows("waiting for the answer before")
        terminal.type(CTRL_C)
        await terminal.shows("withdrawn; the message is back in the line")
        await terminal.until(lambda text: text.endswith("Ctrl-C drops them.\n> two"))

    about = (await http.get(path)).json()
    assert (about["turn"]["message"], about["queue"]) == ("one", [])
    await http.post(f"{path}/cancel")


async def test_a_session_is_taken_up_again_by_its_id(server: HectorServer, tmp_path: Path) -> None:
    async with chat(server, tmp_path, "echo", "again") as terminal:
        await terminal.shows("There was no session again; it is new.")
        await terminal.say("remember me")
        await terminal.until(lambda text: text.count("remember me") == 2)
        await terminal.say("/quit")
        assert await terminal.ended() == 0

    async with chat(server, tmp_path, "echo", "again") as terminal:
        await terminal.shows("session again, 2 messages")
        await terminal.until(lambda text: text.count("remember me") == 2)


async def test_an_answer_under_way_is_joined(server: HectorServer, tmp_path: Path, http: httpx.AsyncClient) -> None:
    await http.post("/agents/slow/sessions", json={"session_id": "joined"})
    await http.post("/agents/slow/sessions/joined/messages", json={"message": "go", "background": True})

    async with chat(server, tmp_path, "slow", "joined") as terminal:
        await terminal.shows("w59")
        await terminal.prompt()

        assert terminal.text.count("w10 ") == 1
        assert "> go" in terminal.text


@pytest.mark.parametrize("way", ["asked", "killed"])
async def test_a_restart_in_mid_answer_doubles_nothing(
    server: HectorServer, tmp_path: Path, http: httpx.AsyncClient, way: str
) -> None:
    session = f"restart-{way}"
    async with chat(server, tmp_path, "slow", session, width=40, height=12) as terminal:
        await terminal.say("go")
        await terminal.shows("w20")
        await (server.stop() if way == "asked" else server.kill())
        await terminal.shows("trying again")
        await server.start()
        await terminal.shows("The server was stopped in mid-answer")
        kept, status = (await messages(http, "slow", session))[-1]
        assert status == "interrupted"
        shown = terminal.text.partition("> go\n")[2].partition("The server was")[0].split()
        assert shown == kept.split()

        if way == "asked":
            return
        await terminal.say("once more")
        await terminal.shows("w59")
        await terminal.prompt()
        assert " ".join(terminal.text.partition("> once more\n")[2].removesuffix(">").split()) == WORDS


async def test_a_message_that_nobody_took_comes_back_into_the_line(server: HectorServer, tmp_path: Path) -> None:
    async with chat(server, tmp_path, "echo", "away") as terminal:
        await terminal.shows("it is new")
        await server.kill()
        await terminal.say("keep this")
        await terminal.shows("trying again")
        terminal.type(CTRL_C)
        await terminal.until(lambda text: text.endswith("Not sent; the message is back in the line.\n> keep this"))
        await server.start()
        terminal.type("\r")
        await terminal.until(lambda text: text.endswith("keep this\n\nkeep this\n\n>"))


async def test_sessions_are_listed_chosen_ended_and_erased(terminal: Terminal, http: httpx.AsyncClient) -> None:
    for session in ("first", "second"):
        await http.post("/agents/echo/sessions", json={"session_id": session})
    async with terminal:
        await terminal.say("/sessions")
        await terminal.shows("goes on with one")
        await terminal.say("/sessions first")
        await terminal.shows("session first, 0 messages")
        await terminal.say("/end")
        await terminal.shows("Session first is ended")
        await terminal.say("/sessions second")
        await terminal.shows("session second")
        await terminal.say("/terminate")
        await terminal.shows("yes or no:")
        terminal.type("yes\r")
        await terminal.shows("Session second is erased")

    assert (await http.get("/agents/echo/sessions/first")).json()["status"] == "ended"
    assert (await http.get("/agents/echo/sessions/second")).status_code == 410


async def test_help_names_every_command_and_a_wrong_one_is_told(terminal: Terminal) -> None:
    async with terminal:
        await terminal.say("/help")
        for word in ("/new", "/sessions", "/history", "/end", "/terminate", "/quit", "Alt-Enter", "backslash"):
            await terminal.shows(word)
        await terminal.say("/nonsense")
        await terminal.shows("There is no /nonsense")


async def test_what_is_typed_is_remembered_for_its_owner_only(terminal: Terminal, tmp_path: Path) -> None:
    async with terminal:
        await terminal.say("a secret")
        await terminal.until(lambda text: text.count("a secret") == 2)
        await terminal.say("/quit")
        await terminal.ended()

    history = tmp_path / ".local" / "state" / "hector" / "history"
    assert "+a secret" in history.read_text()
    assert history.stat().st_mode & 0o077 == 0


async def test_in_a_pipe_every_line_is_a_message(hector: Hector) -> None:
    result = await hector("chat", "echo", stdin="one\n//two\n/history 1\n/quit\nthree\n")

    assert (result.code, result.out) == (0, "one\n/two\n/two\n")
    assert "\x1b" not in result.err


async def test_in_a_pipe_a_session_goes_on_without_its_past(hector: Hector) -> None:
    await hector("chat", "echo", "--session", "piped", stdin="one\n")

    assert (await hector("chat", "echo", "--session", "piped", stdin="two\n")).out == "two\n"


async def test_in_a_pipe_a_failed_turn_is_the_exit_code(hector: Hector) -> None:
    result = await hector("chat", "failing", stdin="hi\n")

    assert (result.code, result.out.strip()) == (1, "so far")


async def test_an_ended_session_is_refused_with_its_name(hector: Hector, http: httpx.AsyncClient) -> None:
    await http.post("/agents/echo/sessions", json={"session_id": "over"})
    await http.post("/agents/echo/sessions/over/end")

    result = await hector("chat", "echo", "--session", "over")

    assert result.code == 5
    assert "over is ended" in result.err
