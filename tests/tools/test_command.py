"""The tool that runs a program, as a model calls it and an operator sets it."""

from __future__ import annotations

import asyncio
import os
import shlex
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.tools.base import ToolContext, ToolFailed, ToolResult, ToolStopped, ToolUnknown
from app.tools.command import PATH, ExecuteCommand
from app.tools.command_line import check_allowed, find_program, shell_operator, split_command
from app.tools.command_output import LiveOutput, readable


class Terminal:
    """What was shown while a command ran."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.has_shown = asyncio.Event()
        self.context = ToolContext("call_1", "ses_1", "trn_1", "coder", "anonymous", "local", on_progress=self._show)

    def _show(self, text: str, _percent: float | None) -> None:
        self.texts.append(text)
        self.has_shown.set()


async def run(tool: ExecuteCommand, command: str, **arguments: str) -> ToolResult:
    return await tool.run({"command": command, **arguments}, Terminal().context)


async def refusal(tool: ExecuteCommand, command: str, **arguments: str) -> str:
    with pytest.raises(ToolFailed) as failed:
        await run(tool, command, **arguments)
    return str(failed.value)


async def test_output_is_shown_as_the_seed_prints_it(tmp_path: Path) -> None:
    (tmp_path / "hello.py").write_text("print('Hello')")
    terminal = Terminal()

    result = await ExecuteCommand(tmp_path).run({"command": "python hello.py"}, terminal.context)

    assert terminal.texts == ["Output: Hello\n"]
    assert (result.text, result.shown, result.is_error) == ("Output: Hello", "", False)
    assert result.data == {
        "command": "python hello.py",
        "exit_code": 0,
        "output": "Hello\n",
        "output_bytes": 6,
        "ended": None,
    }
    assert result.sandbox in ("bwrap", "landlock", "none")


async def test_output_is_shown_while_the_command_runs(tmp_path: Path) -> None:
    (tmp_path / "wait.py").write_text(
        "import os, time\nprint('first')\nwhile not os.path.exists('go'): time.sleep(0.01)\nprint('second', end='')\n"
    )
    terminal = Terminal()
    call = asyncio.create_task(ExecuteCommand(tmp_path).run({"command": "python wait.py"}, terminal.context))

    await terminal.has_shown.wait()
    assert terminal.texts == ["Output: first\n"]
    assert not call.done()
    (tmp_path / "go").touch()
    await call

    assert "".join(terminal.texts) == "Output: first\nsecond\n"


async def test_a_program_that_fails_is_told_with_its_code_and_its_errors(tmp_path: Path) -> None:
    tool = ExecuteCommand(tmp_path)

    failed = await run(tool, "sh -c 'echo out; echo wrong >&2; exit 3'")
    assert (failed.text, failed.shown, failed.is_error) == ("Output: out\nwrong\nExit code 3.", "Exit code 3.", True)
    assert failed.data["exit_code"] == 3
    silent = await run(tool, "true")
    assert (silent.text, silent.shown) == ("(The command wrote nothing.)", "(The command wrote nothing.)")
    killed = await run(ExecuteCommand(tmp_path, sandbox="none"), "sh -c 'kill -9 $$'")
    assert killed.text == "(The command wrote nothing.)\nThe command was killed by signal 9 (Killed)."


async def test_a_command_gets_nothing_of_the_servers_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")

    result = await run(ExecuteCommand(tmp_path, environment={"CI": "1"}), "env")

    names = {line.partition("=")[0] for line in result.data["output"].splitlines()}
    assert names - {"PWD", "SHLVL", "_"} == {
        *("PATH", "HOME", "USER", "LANG", "TERM", "TMPDIR", "PYTHONUNBUFFERED", "CI"),
    }
    assert f"HOME={os.path.realpath(tmp_path)}\n" in result.data["output"]


async def test_a_command_reads_nothing_from_the_servers_input_and_ends_on_broken_pipes(tmp_path: Path) -> None:
    tool = ExecuteCommand(tmp_path)

    assert (await run(tool, "cat")).data["exit_code"] == 0
    assert (await run(tool, "sh -c 'yes | head -1'")).data == {
        "command": "sh -c 'yes | head -1'",
        "exit_code": 0,
        "output": "y\n",
        "output_bytes": 2,
        "ended": None,
    }


async def test_temporary_files_are_private_and_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))

    result = await run(ExecuteCommand(tmp_path / "workspace"), "python -c 'import tempfile; print(tempfile.mkstemp())'")

    assert result.data["exit_code"] == 0
    assert os.listdir(temporary) == []


async def test_the_working_directory_is_beneath_the_workspace(tmp_path: Path) -> None:
    (tmp_path / "workspace" / "sub").mkdir(parents=True)
    (tmp_path / "workspace" / "link").symlink_to("..")
    tool = ExecuteCommand(tmp_path / "workspace")

    result = await run(tool, "pwd", working_directory="sub")
    assert result.data["output"] == f"{os.path.realpath(tmp_path)}/workspace/sub\n"
    for folder in ("..", "/", "link", "nothing"):
        assert await refusal(tool, "pwd", working_directory=folder)


OPERATORS = ["ls; rm x", "ls&&rm x", "ls || rm", "ls | sh", "ls > x", "cat < x", "echo $(rm x)", "echo `rm x`", "ls &"]


@pytest.mark.parametrize("command", [*OPERATORS, "ls\nrm x", 'echo "$(rm x)"', 'echo "`rm x`"', "(ls)", "ls \\\nx"])
async def test_what_needs_a_shell_is_refused(tmp_path: Path, command: str) -> None:
    (tmp_path / "x").touch()

    told = await refusal(ExecuteCommand(tmp_path), command)

    assert told.startswith("The command was not run: it has ")
    assert "there is no shell" in told
    assert (tmp_path / "x").exists()


@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        ("echo ';' \"|\" '$(x)' \\; a\\&b", ["echo", ";", "|", "$(x)", ";", "a&b"]),
        ("find . -name '*.py' -exec cat {} \\;", ["find", ".", "-name", "*.py", "-exec", "cat", "{}", ";"]),
        ("echo $HOME *.py ~", ["echo", "$HOME", "*.py", "~"]),
        ("  echo  'it is'\"n't\"  \n", ["echo", "it isn't"]),
        ("echo '\n'", ["echo", "\n"]),
    ],
)
def test_what_is_quoted_or_only_looks_so_is_passed_as_it_is(command: str, arguments: list[str]) -> None:
    assert split_command(command) == arguments


@pytest.mark.parametrize("command", ["", "  ", "''", "echo 'open", "echo \0", "x" * 200_000])
def test_what_is_no_command_is_refused(command: str) -> None:
    with pytest.raises(ToolFailed):
        split_command(command)


@given(words=st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])), min_size=1))
def test_any_quoted_words_arrive_as_they_are(words: list[str]) -> None:
    command = shlex.join(words)

    assert shell_operator(command) is None
    if words[0].strip():
        assert split_command(command) == words


RULES = {"allowed": ["git status", "ls", "python"], "denied": ["git push", "rm"]}


@pytest.mark.parametrize("command", ["git status", "git status -s", "ls", "/bin/ls -la", "python x.py"])
def test_allowed_commands_are_beginnings(command: str) -> None:
    check_allowed(split_command(command), **RULES, path=PATH)


@pytest.mark.parametrize(
    "command",
    ["git", "git stash", "git statusx", "lsx", "./ls", "rm x", "git push", "git -C . push -f", "sh -c ls", "LS"],
)
def test_other_commands_are_refused(command: str) -> None:
    with pytest.raises(ToolFailed):
        check_allowed(split_command(command), **RULES, path=PATH)


@pytest.mark.parametrize("command", ["rm x", "/bin/rm x", "git push", "git -C . push", "git --no-pager push -f"])
def test_denied_commands_are_refused_whatever_is_allowed(command: str) -> None:
    with pytest.raises(ToolFailed, match="is denied"):
        check_allowed(split_command(command), allowed=[], denied=RULES["denied"], path=PATH)


async def test_a_refusal_says_which_commands_are_allowed(tmp_path: Path) -> None:
    assert await refusal(ExecuteCommand(tmp_path, allowed_commands=["git status", "ls"]), "git push -f") == (
        "The command was not run: `git push` is not allowed. Allowed are: `git status`, `ls`."
    )


async def test_programs_are_found_by_name_and_never_in_the_workspace(tmp_path: Path) -> None:
    (tmp_path / "ls").write_text("#!/bin/sh\necho mine\n")
    (tmp_path / "ls").chmod(0o755)
    tool = ExecuteCommand(tmp_path)

    assert "mine" not in (await run(tool, "ls")).text
    for path in ("./ls", str(tmp_path / "ls"), "../ls"):
        assert "is a path" in await refusal(tool, path)
    assert await refusal(tool, "no-such-program") == "There is no program `no-such-program` here."
    assert "working_directory" in await refusal(tool, "cd sub")
    assert "`env A=1 …`" in await refusal(tool, "A=1 ls")
    assert (await run(ExecuteCommand(tmp_path, allowed_commands=["./ls"]), "./ls")).text == "Output: mine"


def test_a_program_may_have_another_name(tmp_path: Path) -> None:
    (tmp_path / "python3").write_text("")
    (tmp_path / "python3").chmod(0o755)

    assert find_program("python", allowed=[], path=str(tmp_path), folder="/") == str(tmp_path / "python3")


async def test_a_program_that_cannot_be_started_is_told(tmp_path: Path) -> None:
    (tmp_path / "broken").write_bytes(b"\0not a program")
    (tmp_path / "broken").chmod(0o755)

    tool = ExecuteCommand(tmp_path, allowed_commands=["./broken"], sandbox="none")

    assert await refusal(tool, "./broken") == "The command could not be started: exec format error."


async def test_a_command_without_room_for_its_files_is_not_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "missing"))

    assert await refusal(ExecuteCommand(tmp_path / "workspace"), "touch x") == (
        "The command could not be started: no folder for its temporary files: no such file or directory."
    )
    assert os.listdir(tmp_path / "workspace") == []


async def test_a_shell_can_be_allowed_and_then_has_no_rules(tmp_path: Path) -> None:
    result = await run(ExecuteCommand(tmp_path, shell=True), 'echo "$USER" | tr a-z A-Z; exit 4')

    assert result.text == "Output: AGENT\nExit code 4."
    with pytest.raises(ValueError, match="rules for commands"):
        ExecuteCommand(tmp_path, shell=True, allowed_commands=["ls"])


def test_a_workspace_with_the_servers_own_files_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="use another folder"):
        ExecuteCommand(tmp_path, protected=[tmp_path / "hector.db"])
    with pytest.raises(ValueError, match="use another folder"):
        ExecuteCommand(tmp_path / "workspace", writable=[tmp_path], protected=[tmp_path / "config.yaml"])
    ExecuteCommand(tmp_path / "workspace", protected=[tmp_path / "config.yaml"])


async def test_output_without_end_is_bounded(tmp_path: Path) -> None:
    (tmp_path / "much.py").write_text("for number in range(300_000): print(f'line {number}')")
    terminal = Terminal()
    tool = ExecuteCommand(tmp_path, max_output=4000, max_shown=1000)

    result = await tool.run({"command": "python much.py"}, terminal.context)

    output = result.data["output"]
    assert output.startswith("line 0\n")
    assert output.endswith("line 299999\n")
    assert 4000 < len(output) < 4100
    assert "bytes of output are left out here" in output
    assert result.data["output_bytes"] == sum(len(f"line {number}\n") for number in range(300_000))
    assert len("".join(terminal.texts)) < 1100
    assert terminal.texts[-1].endswith("… (more output is not shown while the command runs)\n")


@pytest.mark.skipif(sys.platform != "linux", reason="limits are of Linux")
async def test_limits_of_a_process_are_kept(tmp_path: Path) -> None:
    tool = ExecuteCommand(tmp_path, max_file_size=1 << 20, max_memory=256 << 20, max_cpu=1)

    assert "(max_file_size)" in (await run(tool, "dd if=/dev/zero of=big bs=64k count=1000")).text
    assert (tmp_path / "big").stat().st_size == 1 << 20
    assert "MemoryError" in (await run(tool, "python -c 'bytearray(1 << 30)'")).text
    assert "(max_cpu)" in (await run(tool, "python -c 'while True: pass'")).text


async def test_a_stopped_call_starts_nothing(tmp_path: Path) -> None:
    terminal = Terminal()
    terminal.context.stop.set()

    with pytest.raises(ToolStopped):
        await ExecuteCommand(tmp_path).run({"command": "touch x"}, terminal.context)

    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("written", "text"),
    [
        (b"\x1b[31mred\x1b[0m \x1b]52;c;c2VjcmV0\x07title\x1b(B", "red title"),
        (b" 10%\r 50%\r100%\nnext\r\n", "100%\nnext\n"),
        (b"\xff\xfeno text\x00\x07", "\ufffd\ufffdno text"),
        (b"\x1b]unfinished", ""),
        (b"a\rb\r", "b"),
    ],
)
def test_output_is_made_readable(written: bytes, text: str) -> None:
    assert readable(written) == text


async def test_a_character_in_two_pieces_is_shown_whole() -> None:
    shown: list[str] = []
    live = LiveOutput(shown.append, max_shown=100)

    for piece in (b"gr\xc3", b"\xbc\xc3\x9f", b"e\n"):
        live.feed(piece)
    live.close()

    assert shown == ["Output: grüße\n"]


async def test_a_keeper_that_is_killed_leaves_the_outcome_unknown(tmp_path: Path) -> None:
    tool = ExecuteCommand(tmp_path, sandbox="none")
    (tmp_path / "kill.py").write_text(f"import os; os.kill(os.getppid(), {signal.SIGKILL:d})")

    with pytest.raises(ToolUnknown):
        await run(tool, "python kill.py")


def test_the_arguments_of_the_tool_are_those_of_the_contract() -> None:
    schema: dict[str, Any] = ExecuteCommand.spec.parameters

    assert (list(schema["properties"]), schema["required"]) == (["command", "working_directory"], ["command"])
