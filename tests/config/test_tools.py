"""Tools, permissions and limits: what a file may say of them, and what is refused with which words."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.config.keys import schema_keys
from app.config.load import ConfigError, LoadedConfig, load_config
from app.config.root import Config
from app.config.tool_types import BUILT_IN, CommandConfig, FileConfig, FolderConfig, HttpConfig, PythonConfig
from app.domain.act import ToolClass
from app.tools.checks import find_problems

Read = Callable[[str], LoadedConfig]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    def read(text: str) -> LoadedConfig:
        path = tmp_path / "config.yaml"
        path.write_text(text, encoding="utf-8")
        return load_config(path, environ={})

    return read


def refused(read: Read, text: str) -> list[str]:
    """What is wrong, without the path of the file."""
    with pytest.raises(ConfigError) as caught:
        read(text)
    return [problem.partition("config.yaml:")[2] for problem in caught.value.problems]


# -- what a tool is -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_built_in_tool_needs_no_entry(name: str) -> None:
    tool = Config().tools.named[name]

    assert (tool.enabled, getattr(tool, "type")) == (True, name)  # noqa: B009 - each section has a type of its own


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("tools: {terminal: {type: command, allowed_commands: [ls]}}", "execute_command"),
        ("tools: {terminal: {type: execute_command}}", "execute_command"),
        ("tools: {execute_command: {allowed_commands: [ls]}}", "execute_command"),
        ("tools: {plan: {type: todo}}", "todo_write"),
        ("tools: {todo: {enabled: true}}", "todo_write"),
        ("tools: {todo: }", "todo_write"),
        ("tools: {pay: {python: 'shop.till:pay'}}", "python"),
        ("tools: {search: {python: 'shop:find'}}", "python"),
        ("tools: {pay: {type: python, python: 'shop:pay'}}", "python"),
        ("tools: {notes: {type: write_file, allowed_paths: [n]}}", "write_file"),
        ("tools: {a: {type: read_file}}", "read_file"),
        ("tools: {a: {type: list_files}}", "list_files"),
        ("tools: {a: {type: search_replace}}", "search_replace"),
        ("tools: {a: {type: ask_user}}", "ask_user"),
        ("tools: {a: {type: agent_call, max_depth: 2}}", "agent_call"),
        ("tools: {a: {type: http_request, allowed_hosts: [x]}}", "http_request"),
        ("tools: {tools: {a: {type: search}}}", "search"),
    ],
)
def test_a_tool_has_any_name_and_its_type_says_what_it_is(read: Read, text: str, kind: str) -> None:
    tools = read(text).config.tools.named
    [entry] = [tool for name, tool in tools.items() if name not in BUILT_IN] or [
        tool for name, tool in tools.items() if name in text
    ]

    assert getattr(entry, "type") == kind  # noqa: B009


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("tools: {pay: {}}", "1: tools.pay: is no tool that is known; say with `type` what it is (write_file, "),
        ("tools: {wirte_file: {}}", "1: tools.wirte_file: is no tool that is known; did you mean 'write_file'? "),
        ("tools:\n  pay:\n    type: pythn", "3: tools.pay.type: there is no type 'pythn'; did you mean 'python'? "),
        ("tools: {paralel: 4}", "1: tools.paralel: must be a mapping (key: value), as the settings of a tool; did you"),
        ("tools: {write_file: yes}", "1: tools.write_file: must be a mapping (key: value)"),
        ("tools: {write_file: [a]}", "1: tools.write_file: must be a mapping (key: value)"),
        ("tools: {'my tool': {type: search}}", "1: tools.my tool: a tool's name is made of letters"),
        ("tools: {parallel: 0}", "1: tools.parallel: must be greater than or equal to 1 (got 0)"),
        ("tools: {result_inline: much}", "1: tools.result_inline: is not a size"),
        ("tools: {pay: {python: pay}}", "1: tools.pay.python: must look like module:function (got 'pay')"),
        ("tools: {pay: {python: 'a:b; c'}}", "1: tools.pay.python: must look like module:function"),
        ("tools: {pay: {type: python}}", "1: tools.pay.python: is needed"),
        ("tools: {pay: {python: 'a:b', class: twice}}", "1: tools.pay.class: must be 'read', 'idempotent' or 'once'"),
        ("tools: {pay: {python: 'a:b', clas: once}}", "1: tools.pay.clas: unknown key; did you mean 'class'?"),
        (
            "tools:\n  sh:\n    type: command\n    allowed_comands: [a]",
            "4: tools.sh.allowed_comands: unknown key; did you",
        ),
        (
            "tools: {write_file: {denied_path: [a]}}",
            "1: tools.write_file.denied_path: unknown key; did you mean 'denied_p",
        ),
        ("tools: {write_file: {sandbox: none}}", "1: tools.write_file.sandbox: unknown key; known here: "),
        ("tools: {write_file: {parallel: 1}}", "1: tools.write_file.parallel: unknown key; known here: "),
        ("tools: {write_file: {max_file_size: -1}}", "1: tools.write_file.max_file_size: is not a size"),
        (
            "tools: {write_file: {allowed_extensions: ['*.md']}}",
            "1: tools.write_file.allowed_extensions[0]: must be an ext",
        ),
        ("tools: {execute_command: {sandbox: chroot}}", "1: tools.execute_command.sandbox: must be 'auto', 'bwrap'"),
        (
            "tools: {execute_command: {shell: true, allowed_commands: [ls]}}",
            "1: tools.execute_command: with `shell` any",
        ),
        (
            "tools: {execute_command: {allowed_commands: ['']}}",
            "1: tools.execute_command.allowed_commands[0]: must name",
        ),
        ("tools: {execute_command: {timeout: 3}}", "1: tools.execute_command.timeout: unknown key; "),
        (
            "tools: {http_request: {allow_private: [localhost]}}",
            "1: tools.http_request.allow_private[0]: must be an IP",
        ),
        ("tools: {http_request: {deferred: true}}", "1: tools.http_request.deferred: unknown key; "),
        ("tools: {search: {default_limit: 0}}", "1: tools.search.default_limit: must be greater than"),
        (
            "tools: {search: {document_stores: [nope]}}",
            "1: tools.search.document_stores[0]: there is no document store",
        ),
        ("tools: {mcp: {a: {}}}", "1: tools.mcp.a: needs either `command` or `url`"),
        ("tools: {mcp: {a: {command: x, url: 'http://x'}}}", "1: tools.mcp.a: needs either `command` or `url`"),
        ("tools: {mcp: {a: {url: x}}}", "1: tools.mcp.a.url: must match pattern"),
        (
            "tools: {mcp: {a: {url: 'http://x', args: [b]}}}",
            "1: tools.mcp.a: `args` and `env` belong to a server with a `co",
        ),
        (
            "tools: {mcp: {a: {command: x, headers: {a: b}}}}",
            "1: tools.mcp.a: `headers` belong to a server with a `url`",
        ),
        ("tools: {mcp: {a__b: {command: x}}}", "1: tools.mcp.a__b: a server's name is made of"),
        ("tools: {mcp: {a: {command: x, classes: {b: never}}}}", "1: tools.mcp.a.classes.b: must be 'read'"),
        ("tools: {mcp: {s: {command: x, type: stdio}}}", "1: tools.mcp.s.type: unknown key; known here: args, "),
        (
            "tools: {mcp: {s: {command: x, document_stores: []}}}",
            "1: tools.mcp.s.document_stores: unknown key; known h",
        ),
        ("tools: {mcp: {s: x}}", "1: tools.mcp.s: must be a mapping"),
        ("tools: {mcp: [a]}", "1: tools.mcp: must be a mapping"),
        (
            "tools: {pay: {python: 'a:b', require_approval: 3}}",
            "1: tools.pay.require_approval: must be true, false or a",
        ),
        (
            "tools: {pay: {python: 'a:b', require_approval: [1]}}",
            "1: tools.pay.require_approval: must be true, false or",
        ),
        ("tools: {mcp: {search: {command: x}}}", "1: tools.mcp.search: a tool is called so, too"),
        ("agents: {a: {permissions: {denied: [x]}}}", "1: agents.a.permissions.denied: unknown key; "),
        ("agents: {a: {permissions: {default: maybe}}}", "1: agents.a.permissions.default: must be 'allow', 'ask'"),
        ("agents: {a: {limits: {step: 3}}}", "1: agents.a.limits.step: unknown key; did you mean 'steps'?"),
        ("agents: {a: {limits: {seconds: 0}}}", "1: agents.a.limits.seconds: must be greater than"),
        (
            "agents: {a: {reasoning: {on_limit: end}}}",
            "1: agents.a.reasoning.on_limit: must be 'land', 'ask' or 'stop'",
        ),
        ("approvals: {timeout: never}", "1: approvals.timeout: is not a duration"),
        (
            "llms: {a: {type: scripted, structured_output: {format: xml}}}",
            "1: llms.a.structured_output: only format: json",
        ),
        (
            "llms: {a: {type: scripted, structured_output: {answer: text}}}",
            "1: llms.a.structured_output: must be a JSON sch",
        ),
        (
            "llms: {a: {type: scripted, structured_output: {type: objekt}}}",
            "1: llms.a.structured_output: must be a JSON schema: $.type 'objekt'",
        ),
        (
            "llms: {a: {type: scripted, structured_output: {type: integer, maximum: 99999999999999999999}}}",
            "1: llms.a.structured_output: must be JSON",
        ),
    ],
)
def test_a_slip_is_refused_with_its_line_and_what_to_write(read: Read, text: str, problem: str) -> None:
    [found] = refused(read, text)

    assert found.startswith(problem)


def test_all_slips_are_told_at_once(read: Read) -> None:
    found = refused(
        read, "tools:\n  paralel: 1\n  a: {type: nope}\n  read_file: {max_size: 1}\nagents: {a: {llm: x}}\n"
    )

    assert [problem.partition(":")[0] for problem in found] == ["2", "3", "4", "5"]


# -- values ---------------------------------------------------------------------------------------------------------


def test_keys_of_tools_are_read(read: Read, tmp_path: Path) -> None:
    tools = read(
        "tools:\n"
        "  parallel: 3\n"
        "  result_inline: 4KiB\n"
        "  execute_command: {allowed_commands: [ls], working_directory: yard, max_execution_time: 5s, network: true}\n"
        "  write_file: {allowed_extensions: [md, .PY], denied_paths: [yard/.git], require_approval: ['path=*.py']}\n"
        "  http_request: {allowed_hosts: [a.example], allow_private: [127.0.0.0/8], timeout: 3}\n"
        "  pay: {python: 'till:pay', class: idempotent, deferred: true, timeout: 1m, require_approval: true}\n"
    ).config.tools

    command, write, http, pay = (tools.named[name] for name in ("execute_command", "write_file", "http_request", "pay"))
    assert (tools.parallel, tools.result_inline, tools.result_max) == (3, 4096, 8 << 20)
    assert isinstance(command, CommandConfig)
    assert (command.working_directory, command.network) == (tmp_path / "yard", True)
    assert command.max_execution_time == timedelta(seconds=5)
    assert isinstance(write, FileConfig)
    assert (write.allowed_extensions, write.require_approval) == ((".md", ".py"), ("path=*.py",))
    assert write.denied_paths == (tmp_path / "yard" / ".git",)
    assert isinstance(http, HttpConfig)
    assert (http.allowed_hosts, http.timeout) == (("a.example",), timedelta(seconds=3))
    assert isinstance(pay, PythonConfig)
    assert (pay.tool_class, pay.deferred, pay.require_approval) == (ToolClass.IDEMPOTENT, True, True)


@pytest.mark.parametrize(
    ("text", "workspace"),
    [
        ("", "workspace"),
        ("tools: {execute_command: {allowed_commands: [ls], working_directory: yard}}", "yard"),
        ("tools: {shell: {type: command, allowed_commands: [ls], working_directory: yard}}", "yard"),
        ("tools: {read_file: {allowed_paths: [books]}}", "books"),
    ],
)
def test_files_are_read_where_commands_run(read: Read, tmp_path: Path, text: str, workspace: str) -> None:
    tool = read(text).config.tools.named["read_file"]

    assert isinstance(tool, FolderConfig)
    assert tool.allowed_paths == (tmp_path / workspace,)


def test_a_server_of_v1_becomes_one_of_ours(read: Read) -> None:
    loaded = read(
        "tools:\n  rain: {type: mcp, server_url: 'http://x/mcp', enabled: false}\nagents: {a: {tools: [rain]}}\n"
    )

    assert (loaded.config.tools.mcp["rain"].url, loaded.config.tools.servers) == ("http://x/mcp", {})


def test_an_address_in_the_words_of_v1_is_taken_below_mcp(read: Read) -> None:
    assert read("tools: {mcp: {rain: {server_url: 'http://x/mcp'}}}").config.tools.mcp["rain"].url == "http://x/mcp"


def test_secrets_of_servers_stay_out_of_repr_dump_and_errors(read: Read) -> None:
    text = "tools: {mcp: {a: {command: x, env: {K: hidden-1}}, b: {url: 'http://x', headers: {A: hidden-2}}}}"
    config = read(text).config
    [error] = refused(read, text.replace("hidden-1", "[hidden-3]"))

    assert "hidden" not in f"{config!r} {config.model_dump_json()} {config.model_dump()} {error}"


def test_limits_are_of_a_turn_and_of_a_session(read: Read) -> None:
    agent = read("agents: {a: {limits: {steps: 3, seconds: 2m, session: {cost: 1.5, calls: 0}}}}").config.agents["a"]

    assert (agent.limits.steps, agent.limits.seconds, agent.limits.tokens) == (3, timedelta(minutes=2), None)
    assert (agent.limits.session.cost, agent.limits.session.calls, agent.limits.session.steps) == (1.5, 0, None)


@pytest.mark.parametrize(
    "said",
    [
        "{type: object, properties: {a: {type: string}}}",
        "{format: json, schema: {type: object, properties: {a: {type: string}}}}",
        "{schema: {type: object, properties: {a: {type: string}}}}",
    ],
)
def test_the_schema_of_answers_may_be_written_as_in_v1(read: Read, said: str) -> None:
    config = read(f"llms: {{a: {{type: scripted, structured_output: {said}}}}}").config

    assert config.llms["a"].structured_output == {"type": "object", "properties": {"a": {"type": "string"}}}


# -- what agents list -----------------------------------------------------------------------------------------------

SHOP = """
tools:
  pay: {python: "till:pay"}
  off: {type: search, enabled: false}
  terminal: {type: command, allowed_commands: [ls]}
  mcp: {time: {command: clock}, docs: {url: "http://x/mcp"}}
document_stores: {books: {paths: [.]}}
agents:
  clerk: {visibility: private}
"""


@pytest.mark.parametrize(
    "tools",
    [
        ["write_file", "read_file", "search", "ask_user", "todo_write", "agent_call", "read_result", "list_files"],
        ["pay", "off", "terminal"],
        ["time", "docs"],
        ["mcp__time__now", "mcp__docs__*", "mcp__*", "*_file", "*"],
    ],
)
def test_an_agent_lists_tools_patterns_and_servers(read: Read, tools: list[str]) -> None:
    assert read(f"{SHOP}  a: {{tools: {tools}}}\n").config.agents["a"].tools == tuple(tools)


@pytest.mark.parametrize(
    ("agent", "problem"),
    [
        (
            "tools: [pay, wite_file]",
            "agents.a.tools[1]: there is no tool 'wite_file'; did you mean 'write_file'? (tools: ",
        ),
        ("tools: [tme]", "agents.a.tools[0]: there is no tool 'tme'; did you mean 'time'? "),
        ("tools: [mcp__tme__now]", "agents.a.tools[0]: there is no tool 'mcp__tme__now'"),
        ("tools: [mcp__time]", "agents.a.tools[0]: there is no tool 'mcp__time'"),
        ("tools: ['zz*']", "agents.a.tools[0]: there is no tool 'zz*'"),
        ("tools: pay", "agents.a.tools: has to be a list (got 'pay')"),
        (
            "tools: [execute_command]",
            "agents.a.tools[0]: execute_command runs no command until the file says which may be run",
        ),
        (
            "tools: [http_request]",
            "agents.a.tools[0]: http_request asks no host until the file says which may be asked",
        ),
        ("sub_agents: [clrk]", "agents.a.sub_agents[0]: there is no agent 'clrk'; did you mean 'clerk'? (agents: "),
        ("sub_agents: [a]", "agents.a.sub_agents[0]: agents may not call one another in a circle: a calls a"),
        (
            "document_stores: [bokks]",
            "agents.a.document_stores[0]: there is no document store 'bokks'; did you mean 'boo",
        ),
        (
            "reasoning: {engine: supervisor}, sub_agents: []",
            "agents.a.reasoning.engine: a supervisor needs other agents",
        ),
    ],
)
def test_an_agent_that_lists_what_is_not_there_is_told_so(read: Read, agent: str, problem: str) -> None:
    [found] = refused(read, f"{SHOP}  a: {{{agent}}}\n")

    assert found.partition(": ")[2].startswith(problem)


def test_each_agent_of_a_circle_is_told_the_way(read: Read) -> None:
    text = "agents:\n  a: {sub_agents: [b]}\n  b: {sub_agents: [c]}\n  c: {sub_agents: [b]}\n"

    assert [problem.partition("circle: ")[2] for problem in refused(read, text)] == [
        "b calls c calls b",
        "c calls b calls c",
    ]


def test_agents_may_share_one_that_they_call(read: Read) -> None:
    text = "agents:\n  a: {sub_agents: [b, c]}\n  b: {sub_agents: [c]}\n  c: {}\n"

    assert read(text).config.agents["a"].sub_agents == ("b", "c")


# -- files of its own -----------------------------------------------------------------------------------------------


def test_a_configuration_names_the_files_that_tools_must_not_touch(read: Read, tmp_path: Path) -> None:
    config = read("storage: {url: 'sqlite:///base.db'}").config

    assert config.folder == tmp_path
    assert {path.name for path in config.own_files} == {
        *("config.yaml", ".env", ".env.local"),
        *("base.db", "base.db-wal", "base.db-shm", "base.db-journal", "base.db.lock"),
    }
    assert {path.parent for path in config.own_files} == {tmp_path}


# -- whatever a file says -------------------------------------------------------------------------------------------

SAID: list[object] = [
    None,
    True,
    -1,
    "x",
    "",
    "*",
    "30s",
    "os.path:join",
    [],
    ["a"],
    [1],
    {},
    {"a": "b"},
    "\x00",
    ["f(x=*"],
]
WORDS = sorted({key.parts[-1] for key in schema_keys() if key.parts[0] == "tools"} | {"server_url", "max_results"})
PLACES = [*BUILT_IN, "mcp", "parallel", "tools", "a", "two words", "command"]
VALUES = st.sampled_from(SAID)
ENTRIES = st.dictionaries(st.sampled_from(WORDS), VALUES, max_size=4) | VALUES
SECTIONS = st.dictionaries(st.sampled_from(PLACES), ENTRIES | st.dictionaries(st.just("s"), ENTRIES), max_size=3)
AGENTS = st.dictionaries(st.sampled_from(["tools", "sub_agents", "permissions", "limits"]), ENTRIES, max_size=3)


@given(section=SECTIONS, agent=AGENTS)
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_a_file_says_of_tools_it_loads_or_is_told_what_is_wrong(
    tmp_path: Path, section: dict[str, object], agent: dict[str, object]
) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump({"tools": section, "agents": {"a": agent}}), encoding="utf-8")

    problems: tuple[str, ...] = ()
    try:
        load_config(path, environ={}, checks=[find_problems])
    except ConfigError as error:
        problems = error.problems
    assert [one for one in problems if not re.match(rf"{re.escape(str(path))}:\d+: [a-z]", one)] == []
