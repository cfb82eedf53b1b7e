"""hector tools and hector rules test: what agents can do, what would become of a call, and which line says so."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.command import Hector

pytestmark = pytest.mark.asyncio(loop_scope="session")

CONFIG = """
llms: {demo: {type: scripted}}
agents:
  clerk:
    tools: [write_file, read_file, pay]
    permissions:
      deny:
        - write_file(path=*.env)
      ask: [read_file]
  boss: {sub_agents: [clerk], permissions: {default: deny}}
  idle: {}
tools:
  pay: {python: "till:pay", class: idempotent, require_approval: ["amount=*"]}
"""

TILL = '''
def pay(amount: int, to: str = "shop") -> str:
    """Pay an amount."""
    raise AssertionError("not to be called")
'''


@pytest.fixture
def here(tmp_path: Path) -> Hector:
    (tmp_path / "config.yaml").write_text(CONFIG, encoding="utf-8")
    (tmp_path / "till.py").write_text(TILL, encoding="utf-8")
    return Hector(tmp_path)


async def test_tools_are_rows_with_source_class_and_rule(here: Hector) -> None:
    result = await here("tools")

    place = f"{here.folder}/config.yaml"
    assert (result.code, result.err) == (0, "")
    assert result.out.splitlines() == [
        "clerk\twrite_file\tbuilt-in\tidempotent\tallow; deny: write_file(path=*.env)",
        f"clerk\tread_file\tbuilt-in\tread\task ({place}:9: agents.clerk.permissions.ask[0])",
        "clerk\tpay\tpython\tidempotent\tallow; ask: amount=*",
        "clerk\tread_result\tbuilt-in\tread\tallow",
        f"boss\tagent_call\tagent\tonce\tdeny ({place}:10: agents.boss.permissions.default)",
        f"boss\tread_result\tbuilt-in\tread\tdeny ({place}:10: agents.boss.permissions.default)",
    ]


async def test_tools_of_one_agent_in_json(here: Hector) -> None:
    found = (await here("tools", "clerk", "--json")).json

    [agent] = found["agents"]
    assert [tool["tool"] for tool in agent["tools"]] == ["write_file", "read_file", "pay", "read_result"]
    assert agent["tools"][2]["description"] == "Pay an amount."
    assert (found["servers"], found["broken"]) == ([], [])


async def test_an_agent_that_is_not_there_ends_with_4(here: Hector) -> None:
    result = await here("tools", "clrk")

    assert (result.code, result.out) == (4, "")
    assert "There is no agent 'clrk'; did you mean 'clerk'? (agents: clerk, boss, idle)" in result.err


async def test_a_server_that_does_not_start_is_told(here: Hector) -> None:
    (here.folder / "config.yaml").write_text(
        "tools: {mcp: {time: {command: no-such-clock}}}\nagents: {a: {tools: [time]}}"
    )

    result = await here("tools")

    assert (result.code, result.out) == (0, "")
    assert "MCP server 'time' cannot be started" in result.err


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (
            ("clerk", "write_file", '{"path": "a.env", "content": ""}'),
            "deny: The rule `write_file(path=*.env)` forbids it.",
        ),
        (("clerk", "write_file", '{"path": "a.md", "content": ""}'), "allow: No rule forbids it."),
        (("clerk", "read_file", '{"path": "a"}'), "ask: The rule `read_file` asks for a yes."),
        (("clerk", "pay", '{"amount": 3}'), "ask: Calls of `pay` like `amount=*` need a yes."),
        (("clerk", "pay", '{"amount": "3"}'), "ask: Calls of `pay` like `amount=*` need a yes."),
        (
            ("boss", "agent_call", '{"agent": "clerk", "message": "x"}'),
            "deny: No rule allows it, and the default is to",
        ),
    ],
)
async def test_a_call_is_judged_without_being_made(here: Hector, call: tuple[str, ...], told: str) -> None:
    result = await here("rules", "test", *call)

    assert result.code == 0
    assert result.out.startswith(told)


async def test_the_line_that_decides_is_named(here: Hector) -> None:
    result = await here("rules", "test", "clerk", "write_file", '{"path": "x/.env", "content": ""}', "--json")

    assert result.json["line"] == f"{here.folder}/config.yaml:8: agents.clerk.permissions.deny[0]"
    assert (await here("rules", "test", "clerk", "pay", '{"amount": 1}', "--json")).json["line"] == (
        f"{here.folder}/config.yaml:13: tools.pay.require_approval"
    )


async def test_arguments_that_do_not_fit_are_told_as_the_model_is(here: Hector) -> None:
    result = await here("rules", "test", "clerk", "pay", '{"amount": "much"}')

    assert result.out.startswith("refused: ")
    assert "amount" in result.out


async def test_a_tool_that_the_agent_has_not_ends_with_4(here: Hector) -> None:
    result = await here("rules", "test", "clerk", "pya", "{}")

    assert result.code == 4
    assert "There is no tool 'pya'; did you mean 'pay'? (tools: write_file, read_file, pay, read_result)" in result.err


async def test_check_tells_broken_tools_and_rules_with_their_lines(here: Hector) -> None:
    broken = CONFIG.replace("till:pay", "till:pya").replace("ask: [read_file]", "ask: ['read_file(', 'wirte_file']")
    (here.folder / "config.yaml").write_text(broken, encoding="utf-8")

    result = await here("check")

    place = f"{here.folder}/config.yaml"
    assert result.code == 2
    first, second, third = result.out.splitlines()
    assert first.startswith(f"{place}:9: agents.clerk.permissions.ask[0]: The rule `read_file(` cannot be read: ")
    assert second.startswith(f"{place}:9: agents.clerk.permissions.ask[1]: there is no tool 'wirte_file'")
    assert third.startswith(f"{place}:13: tools.pay: The tool 'pay' cannot be loaded: ")


async def test_every_problem_of_the_file_is_told_beside_those_of_its_tools(here: Hector) -> None:
    broken = CONFIG.replace("till:pay", "no_till:pay").replace("idle: {}", "idle: {llm: dmo}")
    (here.folder / "config.yaml").write_text(broken, encoding="utf-8")

    lines = (await here("check")).out.splitlines()

    assert [line.rpartition("config.yaml:")[2].partition(": ")[2].partition(":")[0] for line in lines] == [
        "agents.idle.llm",
        "tools.pay",
    ]
