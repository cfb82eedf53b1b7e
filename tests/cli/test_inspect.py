"""hector list, info and check: for people, for pipes, and as JSON."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from tests.cli.command import Hector
from tests.cli.terminal import Terminal
from tests.fixtures.server import HectorServer

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_agents_are_rows_with_tabs_in_a_pipe(hector: Hector) -> None:
    result = await hector("list")

    assert result.out.splitlines()[0] == "echo\techo\techo\tscripted\t"


async def test_agents_are_a_table_on_a_terminal(server: HectorServer, tmp_path: Path) -> None:
    async with Terminal(tmp_path, "list", server=server.base_url) as terminal:
        assert await terminal.ended() == 0
        await terminal.shows("agent     name      llm       model      tools")


async def test_sessions_are_listed_the_latest_active_first(hector: Hector, http: httpx.AsyncClient) -> None:
    for session in ("a", "b", "c"):
        await http.post("/agents/echo/sessions", json={"session_id": session, "title": f"The {session}\nsession"})
    await http.post("/agents/echo/sessions/a/messages", json={"message": "hi"})

    people = await hector("list", "echo", "--limit", "2")
    machines = await hector("list", "echo", "--json")

    assert people.out.splitlines()[0].split("\t") == ["a", "active", "2", "just now", "The a session"]
    assert "more than 2" in people.err
    assert machines.json["sessions"][0]["session_id"] == "a"
    assert machines.json["next_cursor"] is None


async def test_a_session_is_told_about_without_what_is_empty(hector: Hector, http: httpx.AsyncClient) -> None:
    await http.post("/agents/echo/sessions", json={"session_id": "told"})

    people = await hector("info", "echo", "told")
    machines = await hector("info", "echo", "told", "--json")

    assert "session\ttold\n" in people.out
    assert "title" not in people.out
    assert machines.json["session_id"] == "told"


async def test_an_unknown_session_ends_with_4(hector: Hector) -> None:
    result = await hector("info", "echo", "nowhere")

    assert (result.code, result.out) == (4, "")
    assert "nowhere" in result.err


# -- check ------------------------------------------------------------------------------------------


@pytest.fixture
def here(tmp_path: Path) -> Hector:
    return Hector(tmp_path)


async def test_check_says_which_llms_are_configured(here: Hector) -> None:
    (here.folder / "config.yaml").write_text(
        "llms:\n  demo: {type: scripted}\n  gpt: {type: openai, model: gpt-4o}\nagents:\n  assistant: {llm: gpt}\n"
    )

    result = await here("check")

    assert result.code == 0
    assert "llm demo: scripted: configured; not used\n" in result.out
    assert "llm gpt: openai gpt-4o: no key; set llms.gpt.api_key; used by assistant\n" in result.out
    assert result.out.endswith("ok\n")
    assert [found.name for found in here.folder.iterdir()] == ["config.yaml"]


async def test_check_says_how_much_a_model_takes_in_and_who_says_so(here: Hector) -> None:
    (here.folder / "config.yaml").write_text(
        "llms:\n  gpt: {type: openai, model: gpt-4o, api_key: k}\n  own: {type: vllm, model: m, host: 'http://127.0.0.1:9'}\n"
        "  told: {type: vllm, model: m, context_window: 32000}\n"
        "agents:\n  a: {llm: gpt}\n  b: {llm: own}\n  c: {llm: told, memory: {working: {budget: 500}}}\n"
    )

    people, machines = await here("check"), await here("check", "--json")

    lines = people.out.splitlines()
    assert "llm gpt: context: 128,000 tokens, known by its name" in lines
    assert "llm own: context: 8,192 tokens, assumed, because the provider does not say; set context_window" in lines
    assert "agent a: history: 76,800 tokens" in lines
    assert "agent c: history: 500 tokens" in lines
    assert machines.json["llms"][2]["context"] == {"tokens": 32_000, "source": "configured"}


async def test_info_says_what_a_request_holds(hector: Hector) -> None:
    result = await hector("info", "echo")

    assert "memory\tsummary_buffer, 4,915 tokens\n" in result.out
    assert "context\t8,192 tokens, assumed, because the provider does not say; set context_window\n" in result.out


async def test_check_tells_every_problem_with_its_line_and_ends_with_2(here: Hector) -> None:
    (here.folder / "other.yaml").write_text("server:\n  prot: 1\nagents:\n  assistant: {llm: nobody}\n")

    people = await here("check", "--config", "other.yaml")
    machines = await here("check", "--config", "other.yaml", "--json")

    assert people.code == machines.code == 2
    assert people.out.splitlines()[0].startswith("other.yaml:2: server.prot: unknown key; did you mean 'port'?")
    assert machines.json["problems"] == people.out.splitlines()
    assert machines.json["ok"] is False


async def test_check_shows_no_secret(here: Hector) -> None:
    (here.folder / "config.yaml").write_text("auth: {keys: {alice: very-secret}}\n")

    assert "very-secret" not in (await here("check", "--json")).out


async def test_check_without_a_file_tells_what_would_be_served(here: Hector) -> None:
    result = await here("check", "--json")

    assert result.json["config"] is None
    assert [agent["agent"] for agent in result.json["agents"]] == ["assistant"]
