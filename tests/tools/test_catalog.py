"""The catalog: which tools an agent has, what its model is told of them, and what its rules say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pytest

from app.config.agent import AgentConfig
from app.config.load import load_config
from app.config.root import Config
from app.config.tool_types import BUILT_IN
from app.domain.act import ToolClass
from app.tools.agent_tools import AgentTools
from app.tools.base import Classifying, ToolContext, ToolFailed, ToolOutcome, ToolResult
from app.tools.catalog import Catalog, build_catalog
from app.tools.checks import find_problems
from app.tools.ports import AgentCall, Ports
from app.tools.search import Hit

WHOLE = "\n".join([f"line {number}" for number in range(2000)])


@dataclass(frozen=True)
class Asking:
    name: str
    config: AgentConfig


async def read_whole(session: str, handle: str) -> str | None:
    return WHOLE if (session, handle) == ("s", "res_1") else None


async def call_agent(call: AgentCall, _context: ToolContext) -> ToolOutcome:
    return ToolResult(f"{call.agent} heard {call.message} at {call.max_depth}")


async def find(query: str, stores: Sequence[str], limit: int, _context: ToolContext) -> Sequence[Hit]:
    return [Hit(f"{query} in {', '.join(stores) or 'memories'}", f"{limit} at most")]


PORTS = Ports(find=find, read_whole=read_whole, call_agent=call_agent)


def configured(folder: Path, text: str) -> Config:
    path = folder / "config.yaml"
    path.write_text(text, encoding="utf-8")
    return load_config(path, environ={}).config


def tools_of(catalog: Catalog, config: Config, agent: str = "a", *, called_by: tuple[str, ...] = ()) -> AgentTools:
    found = catalog.for_agent(Asking(agent, config.agents[agent]), called_by=called_by)
    assert found is not None
    return found


def names(folder: Path, text: str, agent: str = "a") -> list[str]:
    config = configured(folder, text)
    found = build_catalog(config, PORTS).for_agent(Asking(agent, config.agents[agent]))
    return [] if found is None else list(found.tools)


def context(**said: Any) -> ToolContext:
    return ToolContext("call", "s", "t", "a", "p", "u", **said)


# -- which tools ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("agents: {a: {}}", []),
        ("agents: {a: {tools: [write_file]}}", ["write_file", "read_result"]),
        ("agents: {a: {tools: [read_file, list_files, read_file]}}", ["read_file", "list_files", "read_result"]),
        ("agents: {a: {tools: ['*_file', read_file]}}", ["write_file", "read_file", "read_result"]),
        ("agents: {a: {tools: [write_file]}}\ntools: {write_file: {enabled: false}}", []),
        ("agents: {a: {tools: [notes]}}\ntools: {notes: {type: read_file}}", ["notes", "read_result"]),
        ("agents: {a: {tools: [read_file]}}\ntools: {read_result: {enabled: false}}", ["read_file"]),
        ("agents: {a: {sub_agents: [b]}, b: {}}", ["agent_call", "read_result"]),
        ("agents: {a: {tools: [agent_call]}, b: {}}", ["agent_call", "read_result"]),
        ("agents: {a: {tools: [agent_call]}}", []),
        ("agents: {a: {reasoning: {engine: supervisor}}, b: {}}", ["agent_call", "read_result"]),
    ],
)
def test_an_agent_has_what_it_lists_in_its_order(tmp_path: Path, text: str, expected: list[str]) -> None:
    assert [name for name in names(tmp_path, text) if name in expected] == expected
    assert bool(expected) == bool(names(tmp_path, text))


def test_without_the_server_tools_that_need_it_are_not_there(tmp_path: Path) -> None:
    config = configured(tmp_path, "agents: {a: {tools: [read_file, agent_call]}, b: {}}")

    assert list(tools_of(build_catalog(config), config).tools) == ["read_file"]


def test_a_model_is_told_of_tools_in_json_made_once(tmp_path: Path) -> None:
    config = configured(tmp_path, "agents: {a: {tools: [read_file]}}\ntools: {read_file: {description: Reads.}}")
    catalog = build_catalog(config)

    [schema] = tools_of(catalog, config).schemas

    told = orjson.loads(schema)
    assert (told["type"], told["function"]["name"], told["function"]["description"]) == (
        "function",
        "read_file",
        "Reads.",
    )
    assert told["function"]["parameters"]["required"] == ["path"]
    assert tools_of(catalog, config).schemas[0] is schema


def test_a_tool_has_the_name_class_and_time_of_its_section(tmp_path: Path) -> None:
    config = configured(
        tmp_path, "agents: {a: {tools: [notes]}}\ntools: {notes: {type: write_file, class: once, timeout: 2s}}"
    )

    spec = tools_of(build_catalog(config), config).tools["notes"].spec

    assert (spec.name, spec.tool_class, spec.timeout_seconds) == ("notes", ToolClass.ONCE, 2.0)


def test_a_reloaded_agent_has_other_tools(tmp_path: Path) -> None:
    before = configured(tmp_path, "agents: {a: {tools: [read_file]}}")
    catalog = build_catalog(before, PORTS)
    after = configured(tmp_path, "agents: {a: {tools: [agent_call]}, b: {description: Other.}}")

    assert "read_file" in tools_of(catalog, before).tools
    catalog.use_agents(after.agents)
    assert list(tools_of(catalog, after).tools) == ["agent_call", "read_result"]


def test_a_configuration_that_was_not_read_from_a_file_works_in_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = Config.model_validate({"agents": {"a": {"tools": ["write_file"]}}})

    assert list(tools_of(build_catalog(config), config).tools) == ["write_file"]


# -- what they do ---------------------------------------------------------------------------------------------------


async def test_files_are_written_where_the_section_says(tmp_path: Path) -> None:
    config = configured(
        tmp_path, "agents: {a: {tools: [notes]}}\ntools: {notes: {type: write_file, allowed_paths: [n]}}"
    )
    tool = tools_of(build_catalog(config), config).tools["notes"]

    await tool.run({"path": "x.txt", "content": "hi"}, context())

    assert (tmp_path / "n" / "x.txt").read_text() == "hi"


@pytest.mark.parametrize("name", ["config.yaml", ".env", "data/hector.db", "data/hector.db-wal"])
async def test_no_file_tool_touches_what_is_the_servers(tmp_path: Path, name: str) -> None:
    config = configured(tmp_path, "agents: {a: {tools: [write_file]}}\ntools: {write_file: {allowed_paths: [.]}}")
    tool = tools_of(build_catalog(config), config).tools["write_file"]

    with pytest.raises(ToolFailed):
        await tool.run({"path": name, "content": "gone"}, context())


async def test_a_caller_reaches_its_sub_agents_only(tmp_path: Path) -> None:
    config = configured(tmp_path, "agents: {a: {sub_agents: [b]}, b: {description: Adds.}, c: {}}")
    tool = tools_of(build_catalog(config, PORTS), config).tools["agent_call"]

    assert "- b: Adds." in tool.spec.description
    assert tool.spec.parameters["properties"]["agent"]["enum"] == ["b"]
    assert await tool.run({"agent": "b", "message": "hi"}, context()) == ToolResult("b heard hi at 3")
    with pytest.raises(ToolFailed, match="no agent 'c' that you may call: b"):
        await tool.run({"agent": "c", "message": "hi"}, context())


STORES = "document_stores: {one: {paths: [.]}, two: {paths: [.]}, three: {paths: [.]}}\n"


@pytest.mark.parametrize(
    ("said", "named", "searched"),
    [
        ("", [], "one, two, three"),
        ("", ["two"], "two"),
        ("document_stores: [one, two], ", [], "one, two"),
        ("document_stores: [one, two], ", ["three"], "memories"),
        ("document_stores: [], ", [], "memories"),
        ("document_stores: [three, two], ", [], "two"),
    ],
)
async def test_a_search_sees_the_stores_of_its_agent_that_are_also_its_own(
    tmp_path: Path, said: str, named: list[str], searched: str
) -> None:
    limit = "tools: {search: {document_stores: [one, two], max_limit: 3}}\n" if "three," in said else ""
    config = configured(tmp_path, f"{STORES}{limit}agents: {{a: {{{said}tools: [search]}}}}")

    found = (
        await tools_of(build_catalog(config, PORTS), config)
        .tools["search"]
        .run({"query": "x", **({"stores": named} if named else {})}, context())
    )

    assert isinstance(found, ToolResult)
    assert f"x in {searched}\n" in found.text


async def test_commands_run_in_their_folder_with_their_variables_and_limits(tmp_path: Path) -> None:
    config = configured(
        tmp_path,
        "agents: {a: {tools: [terminal]}}\n"
        "tools: {terminal: {type: command, allowed_commands: [pwd, env], env: {SHIP: argo}, working_directory: yard}}",
    )
    tool = tools_of(build_catalog(config), config).tools["terminal"]

    there = await tool.run({"command": "pwd"}, context())
    variables = await tool.run({"command": "env"}, context())

    assert isinstance(there, ToolResult)
    assert isinstance(variables, ToolResult)
    assert there.data["output"].strip() == str(tmp_path / "yard")
    assert "SHIP=argo" in variables.text
    with pytest.raises(ToolFailed, match="not allowed"):
        await tool.run({"command": "ls"}, context())


async def test_any_command_is_allowed_by_a_star(tmp_path: Path) -> None:
    config = configured(
        tmp_path,
        "agents: {a: {tools: [execute_command]}}\n"
        "tools: {execute_command: {allowed_commands: ['*'], denied_commands: [ls]}}",
    )
    tool = tools_of(build_catalog(config), config).tools["execute_command"]

    found = await tool.run({"command": "echo hi"}, context())

    assert isinstance(found, ToolResult)
    assert found.data["output"] == "hi\n"
    with pytest.raises(ToolFailed, match="denied"):
        await tool.run({"command": "ls"}, context())


def test_commands_that_could_change_the_configuration_are_refused_with_the_folder(tmp_path: Path) -> None:
    config = configured(
        tmp_path,
        "agents: {a: {tools: [execute_command]}}\n"
        "tools: {execute_command: {allowed_commands: [ls], working_directory: .}}",
    )

    [(key, sentence)] = find_problems(config)

    assert key == ("tools", "execute_command")
    assert "config.yaml is in it: use another folder" in sentence


async def test_requests_go_to_listed_hosts_only(tmp_path: Path) -> None:
    config = configured(
        tmp_path, "agents: {a: {tools: [ask]}}\ntools: {ask: {type: http_request, allowed_hosts: [a.example]}}"
    )
    tool = tools_of(build_catalog(config), config).tools["ask"]

    with pytest.raises(ToolFailed, match=r"b\.example"):
        await tool.run({"method": "GET", "url": "http://b.example/"}, context())


def test_what_a_request_is_depends_on_its_method_unless_the_section_says(tmp_path: Path) -> None:
    config = configured(
        tmp_path,
        "agents: {a: {tools: [ask, tell]}}\n"
        "tools:\n"
        "  ask: {type: http_request, allowed_hosts: [a.example]}\n"
        "  tell: {type: http_request, allowed_hosts: [a.example], class: idempotent}\n",
    )
    tools = tools_of(build_catalog(config), config).tools

    ask = tools["ask"]
    assert isinstance(ask, Classifying)
    assert [ask.class_of({"method": method}) for method in ("GET", "POST")] == [ToolClass.READ, ToolClass.ONCE]
    assert not isinstance(tools["tell"], Classifying)
    assert tools["tell"].spec.tool_class is ToolClass.IDEMPOTENT


def test_every_built_in_tool_can_be_had(tmp_path: Path) -> None:
    config = configured(
        tmp_path,
        f"agents: {{a: {{tools: {list(BUILT_IN)}}}, b: {{}}}}\n"
        "tools: {execute_command: {allowed_commands: [ls]}, http_request: {allowed_hosts: [a.example]}}",
    )
    catalog = build_catalog(config, PORTS)

    assert list(tools_of(catalog, config).tools) == list(BUILT_IN)
    assert catalog.broken == {}


async def test_a_start_says_what_commands_run_in(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = configured(tmp_path, "tools: {execute_command: {allowed_commands: [ls], sandbox: none}}")
    catalog = build_catalog(config)

    with caplog.at_level("INFO"):
        await catalog.open()
    await catalog.close()

    assert "tool execute_command: Commands run without a sandbox" in caplog.text
    assert "without a sandbox" in catalog.unconfined["execute_command"]


# -- read_result ----------------------------------------------------------------------------------------------------


async def read(tmp_path: Path, **arguments: Any) -> ToolResult:
    config = configured(tmp_path, "agents: {a: {tools: [read_file]}}\ntools: {result_inline: 4KiB}")
    found = await tools_of(build_catalog(config, PORTS), config).tools["read_result"].run(arguments, context())
    assert isinstance(found, ToolResult)
    return found


async def test_a_result_is_read_on_until_its_end(tmp_path: Path) -> None:
    text, offset = "", 0
    while True:
        piece = await read(tmp_path, handle="res_1", offset=offset)
        assert len(piece.text.encode()) <= 4096
        text += piece.text.rpartition("\n[… of ")[0] if piece.data["next_offset"] else piece.text
        if piece.data["next_offset"] is None:
            break
        offset = piece.data["next_offset"]

    assert text == WHOLE


async def test_lines_of_a_result_are_found(tmp_path: Path) -> None:
    found = await read(tmp_path, handle="res_1", grep="LINE 1234")

    assert found.text == "1234: line 1233\n1235: line 1234\n1236: line 1235"
    assert found.data["next_offset"] is None


async def test_many_lines_are_found_in_pieces(tmp_path: Path) -> None:
    first = await read(tmp_path, handle="res_1", grep="line")
    second = await read(tmp_path, handle="res_1", grep="line", offset=first.data["next_offset"])

    assert first.text.startswith("1: line 0\n2: line 1\n")
    assert len(first.text.encode()) <= 4096
    assert second.data["next_offset"] > first.data["next_offset"]


async def test_a_text_that_is_not_in_a_result_is_not_found(tmp_path: Path) -> None:
    assert (
        await read(tmp_path, handle="res_1", grep="nothing")
    ).text == "(Nothing from character 0 on contains 'nothing'.)"


@pytest.mark.parametrize("arguments", [{"handle": "res_2"}, {"handle": "res_1", "offset": 10**6}])
async def test_a_handle_or_place_that_is_not_there_is_told(tmp_path: Path, arguments: dict[str, Any]) -> None:
    with pytest.raises(ToolFailed, match=r"no result 'res_2'|there is none with the number"):
        await read(tmp_path, **arguments)


# -- rules ----------------------------------------------------------------------------------------------------------

RULES = """
tools: {write_file: {require_approval: ['path=*.py']}, read_file: {require_approval: true}}
agents:
  a:
    tools: [write_file, read_file, list_files]
    permissions: {deny: ['write_file(path=*.env)'], allow: [list_files]}
  boss:
    tools: [agent_call]
    permissions: {ask: ['write_file(path=b*)'], default: allow}
"""


@pytest.mark.parametrize(
    ("tool", "arguments", "verdict", "rule"),
    [
        ("write_file", {"path": "a.env"}, "deny", "write_file(path=*.env)"),
        ("write_file", {"path": "a.py"}, "ask", "path=*.py"),
        ("write_file", {"path": "a.md"}, "allow", None),
        ("read_file", {"path": "a.md"}, "ask", "require_approval"),
        ("list_files", {}, "allow", "list_files"),
        ("write_file", None, "ask", None),
    ],
)
def test_rules_of_the_agent_and_of_the_tool_decide(
    tmp_path: Path, tool: str, arguments: dict[str, Any] | None, verdict: str, rule: str | None
) -> None:
    config = configured(tmp_path, RULES)

    decision = tools_of(build_catalog(config), config).decide(tool, arguments)

    assert (decision.verdict, decision.rule) == (verdict, rule or decision.rule)


def test_what_people_answered_before_counts(tmp_path: Path) -> None:
    config = configured(tmp_path, RULES)
    tools = tools_of(build_catalog(config), config)

    assert tools.decide("read_file", {"path": "a"}, ["read_file(path=a)"]).verdict == "allow"
    assert tools.decide("read_file", {"path": "a"}).verdict == "ask"


def test_an_agent_may_do_nothing_that_its_caller_may_not(tmp_path: Path) -> None:
    config = configured(tmp_path, RULES)
    catalog = build_catalog(config, PORTS)

    alone = tools_of(catalog, config).decide("write_file", {"path": "b.md"})
    called = tools_of(catalog, config, called_by=("boss",)).decide("write_file", {"path": "b.md"})

    assert (alone.verdict, called.verdict) == ("allow", "ask")
