"""hector call: streams into pipes, prints JSON, and ends with a code that says what happened."""

from __future__ import annotations

import asyncio
import re
import shutil
import signal
from pathlib import Path

import httpx
import pytest

from tests.cli.command import Hector, ended
from tests.cli.conftest import WORDS, messages
from tests.fixtures.server import HectorServer

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def reads(process: asyncio.subprocess.Process, words: str) -> str:
    """Everything up to `words`, which the program has printed while it still runs."""
    assert process.stdout is not None
    found = ""
    async with asyncio.timeout(20):
        while words not in found:
            received = await process.stdout.read(1024)
            assert received, f"it ended after {found!r}"
            found += received.decode()
    return found


async def test_the_answer_arrives_piece_by_piece_in_a_pipe(hector: Hector) -> None:
    process = await hector.start("call", "slow", "go")

    begin = await reads(process, "w3")
    assert "w50" not in begin
    result = await ended(process)

    assert (result.code, begin + result.out) == (0, WORDS + "\n")


async def test_a_pipe_gets_the_text_and_a_line_end_and_nothing_else(hector: Hector) -> None:
    result = await hector("call", "echo", "# Not a *heading*")

    assert (result.code, result.out, result.err) == (0, "# Not a *heading*\n", "")


async def test_the_whole_answer_is_the_same_text(hector: Hector) -> None:
    result = await hector("call", "echo", "one *two*", "--no-stream")

    assert (result.code, result.out) == (0, "one *two*\n")


async def test_without_a_message_standard_input_is_the_message(hector: Hector) -> None:
    first, second = await asyncio.gather(
        hector("call", "echo", stdin="hi\nthere\n"), hector("call", "echo", "-", stdin="hi")
    )

    assert (first.out, second.out) == ("hi\nthere\n", "hi\n")


async def test_json_is_the_answer_of_the_api(hector: Hector) -> None:
    result = await hector("call", "echo", "--json", stdin="hi")

    assert result.code == 0
    assert result.json["response"] == "hi"
    assert set(result.json) == {"response", "session_id", "turn_id", "message_id", "usage", "timings"}
    if shutil.which("jq") is not None:
        jq = await asyncio.create_subprocess_exec("jq", "-r", ".response", stdin=-1, stdout=-1)
        assert (await jq.communicate(result.out.encode()))[0] == b"hi\n"


async def test_an_unknown_session_is_created_and_said_so_once(hector: Hector, http: httpx.AsyncClient) -> None:
    first = await hector("call", "echo", "one", "--session", "mine")
    second = await hector("call", "echo", "two", "--session", "mine", "--json")

    assert first.err == "hector: session mine is new\n"
    assert (second.err, second.json["session_id"]) == ("", "mine")
    assert [content for content, _ in await messages(http, "echo", "mine")] == ["one", "one", "two", "two"]


async def test_times_are_told_on_standard_error(hector: Hector) -> None:
    result = await hector("call", "echo", "hi", "--time")

    assert result.out == "hi\n"
    assert re.fullmatch(r"time: first \d+ ms; total \d+ ms; server: .*; tokens: \d+ \+ 1\n", result.err)


async def test_a_failed_turn_keeps_its_text_and_ends_with_1(hector: Hector) -> None:
    result = await hector("call", "failing", "hi")

    assert (result.code, result.out.strip()) == (1, "so far")
    assert "no credit" in result.err


async def test_a_failed_turn_in_json_is_the_error_of_the_api(hector: Hector) -> None:
    result = await hector("call", "failing", "hi", "--json")

    assert result.code == 1
    assert result.json["error"]["reason"] == "llm_error"
    assert result.json["error"]["details"]["partial"].strip() == "so far"


async def test_the_only_agent_need_not_be_named(tmp_path: Path) -> None:
    server = HectorServer(
        tmp_path,
        {"llms": {"echo": {"type": "scripted"}}, "agents": {"assistant": {}}, "embedders": {"d": {"type": "none"}}},
    )
    await server.start()
    alone = Hector(tmp_path, server.base_url)
    words, stdin, dash, named, misspelt, talk = await asyncio.gather(
        alone("call", "Say hello"),
        alone("call", stdin="from a pipe"),
        alone("call", "-", stdin="from a pipe"),
        alone("call", "assistant", stdin="from a pipe"),
        alone("call", "asistant", stdin="from a pipe"),
        alone("chat", stdin="Hello\n"),
    )
    await server.close()

    assert (words.code, words.out) == (0, "Say hello\n")
    assert [result.out for result in (stdin, dash, named)] == ["from a pipe\n"] * 3
    assert (misspelt.code, misspelt.out) == (4, "")
    assert "this server has: assistant" in misspelt.err
    assert (talk.code, talk.out) == (0, "Hello\n")


REFUSALS = {
    ("call", "echo", "  "): (2, "no message"),
    ("call", "echo", "hi", "--colour"): (2, "No such option"),
    ("call", "echo", "hi", "--session", "not/possible"): (2, "session_id"),
    ("call", "echo", "hi", "--server", "ftp://somewhere"): (2, "no address"),
    ("call", "echo", "hi", "--server", "127.0.0.1:1"): (3, "connection refused"),
    ("call", "nobody", "hi"): (4, "echo, failing, hanging, slow"),
    ("call", "hi"): (4, "echo, failing, hanging, slow"),
    ("call",): (2, "echo, failing, hanging, slow"),
    ("chat",): (2, "echo, failing, hanging, slow"),
}


async def test_every_refusal_has_its_exit_code_and_its_words(hector: Hector) -> None:
    results = await asyncio.gather(*[hector(*arguments, stdin="hi") for arguments in REFUSALS])

    for result, (code, words) in zip(results, REFUSALS.values(), strict=True):
        assert (result.code, result.out) == (code, "")
        assert words in result.err


async def test_a_refusal_in_json_is_one_object_as_well(hector: Hector) -> None:
    result = await hector("call", "echo", "hi", "--json", "--server", "127.0.0.1:1")

    assert (result.code, result.json["error"]["reason"]) == (3, "unreachable")


@pytest.mark.parametrize(("method", "path"), [("DELETE", ""), ("POST", "/end")], ids=["terminated", "ended"])
async def test_a_session_that_is_over_is_refused_with_5(
    hector: Hector, http: httpx.AsyncClient, method: str, path: str
) -> None:
    session = (await http.post("/agents/echo/sessions")).json()["session_id"]
    await http.request(method, f"/agents/echo/sessions/{session}{path}")

    result = await hector("call", "echo", "hi", "--session", session)

    assert (result.code, result.out) == (5, "")
    assert session in result.err


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["interrupt", "terminate"]
)
async def test_a_signal_stops_the_turn_at_the_server(
    hector: Hector, http: httpx.AsyncClient, number: signal.Signals, code: int
) -> None:
    session = f"signal-{code}"
    process = await hector.start("call", "hanging", "hi", "--session", session)
    await reads(process, "am")

    process.send_signal(number)

    assert (await ended(process)).code == code
    assert ("I am", "cancelled") in await messages(http, "hanging", session)


async def test_a_closed_pipe_stops_the_turn_and_complains_about_nothing(
    hector: Hector, http: httpx.AsyncClient
) -> None:
    process = await hector.start("call", "slow", "go", "--session", "pipe")
    await reads(process, "w3")
    process._transport.get_pipe_transport(1).close()  # type: ignore[attr-defined]
    assert process.stderr is not None

    said = (await process.stderr.read()).decode()

    assert (await process.wait(), said) == (141, "hector: session pipe is new\n")
    assert (await messages(http, "slow", "pipe"))[-1][1] == "cancelled"


async def test_a_killed_server_in_mid_answer_is_waited_for_and_told(
    hector: Hector, http: httpx.AsyncClient, server: HectorServer
) -> None:
    process = await hector.start("call", "slow", "go", "--session", "killed")
    begin = await reads(process, "w20")
    await server.kill()
    await server.start()

    result = await ended(process)

    kept, status = (await messages(http, "slow", "killed"))[-1]
    assert (result.code, status) == (1, "interrupted")
    assert "stopped in mid-answer" in result.err
    shown = (begin + result.out).rstrip("\n")
    assert WORDS.startswith(shown)
    if len(shown) > len(kept):  # what was sent in the last moment before a kill is lost, and that is said
        assert f"the last {len(shown) - len(kept)} characters were lost" in result.err
    else:
        assert shown == kept.rstrip()


async def test_continue_means_the_session_that_was_active_last(hector: Hector) -> None:
    for session in ("continued-1", "continued-2"):
        assert (await hector("call", "echo", "first", "--session", session)).code == 0
    assert (await hector("call", "echo", "again", "--session", "continued-1")).code == 0

    continued = await hector("call", "echo", "and on", "-c", "--json")

    assert continued.json["session_id"] == "continued-1"


async def test_continue_needs_a_session_and_no_name_of_one(hector: Hector, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("llms: {demo: {type: scripted}}\n")
    none, both = await asyncio.gather(
        Hector(tmp_path)("call", "assistant", "hi", "--continue"), hector("call", "echo", "hi", "-c", "--session", "x")
    )

    assert (none.code, both.code) == (4, 2)
    assert "no active session with assistant" in none.err
    assert "not both" in both.err
