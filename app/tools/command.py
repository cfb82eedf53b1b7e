"""The tool that runs a program: without a shell, in a folder and a sandbox, within limits, with nothing left behind."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from app.domain.act import ToolClass
from app.tools.base import ToolContext, ToolResult, ToolSpec, ToolStopped
from app.tools.command_line import check_allowed, find_program, split_command
from app.tools.command_output import LiveOutput, readable
from app.tools.keeper import Report, run_kept
from app.tools.outside import check_arguments
from app.tools.sandbox import Level, Sandbox, Wanted, is_beneath
from app.tools.workspace import Workspace

PATH = "/usr/local/bin:/usr/bin:/bin"
"""Where programs are found. Never a folder that a command could write."""

_SHELL = "/bin/sh"
_MAX_OPEN_FILES = 1024


class ExecuteCommand:
    """Runs one program. `data`: `{command, exit_code, output, output_bytes, ended}`; `ended` is `None`, or why the
    server ended it: `timeout`, `processes`, `memory`.

    Args:
        workspace_dir: the folder commands run in, and that they may write; created when it is first used.
        allowed_commands: beginnings of the commands that may be run, word by word (`git status`); empty: all.
        denied_commands: beginnings of those that may not; they beat `allowed_commands`.
        max_execution_time: seconds until a command is ended, with everything it started.
        max_output: bytes of output that are kept for the result: the beginning and the end; the rest is counted.
        max_shown: characters of output that are shown while it runs.
        shell: run commands by `/bin/sh`, with pipes, variables and all. Rules for commands cannot be kept then, so
            `allowed_commands` and `denied_commands` have to be empty.
        sandbox: see `Sandbox`.
        network: whether commands may use the network.
        environment: variables that commands get besides PATH, HOME (the workspace), USER, LANG, TERM and TMPDIR.
            Nothing of the server's own environment is passed on unless it is listed here.
        path: folders in which programs are found, separated by colons.
        readable, writable: further files and folders that commands may read, or write, in the sandbox.
        protected: the server's own files (its configuration, its database).
        max_memory: bytes that one command may use, with everything it started.
        max_processes: processes that one command may have at a time; with more, all are killed.
        max_file_size: bytes of the largest file that a command may write.
        max_cpu: seconds of processor time of each process; `None`: only `max_execution_time` counts.
        grace_seconds: how long processes may take to end when they are asked to, before they are killed.

    Raises:
        ValueError: rules are given for a shell; or a protected file is in a folder that commands may write.
    """

    spec = ToolSpec(
        "execute_command",
        "Run a program in the workspace and return its output. There is no shell: no pipes, redirections, variables "
        "or wildcards. What it starts is ended when it ends; nothing runs on in the background.",
        {
            "type": "object",
            "properties": {
                "command": {"type": "string", "description": "A program and its arguments, such as `python hello.py`."},
                "working_directory": {"type": "string", "description": "Folder of the workspace to run it in."},
            },
            "required": ["command"],
            "additionalProperties": False,
        },
        ToolClass.ONCE,
    )

    def __init__(
        self,
        workspace_dir: Path,
        *,
        allowed_commands: Sequence[str] = (),
        denied_commands: Sequence[str] = (),
        max_execution_time: float = 30.0,
        max_output: int = 1 << 20,
        max_shown: int = 64 << 10,
        shell: bool = False,
        sandbox: Wanted = "auto",
        network: bool = False,
        environment: Mapping[str, str] | None = None,
        path: str = PATH,
        readable: Iterable[Path] = (),
        writable: Iterable[Path] = (),
        protected: Iterable[Path] = (),
        max_memory: int = 2 << 30,
        max_processes: int = 64,
        max_file_size: int = 100 << 20,
        max_cpu: float | None = None,
        grace_seconds: float = 1.0,
    ) -> None:
        if shell and (allowed_commands or denied_commands):
            raise ValueError(
                "a shell runs whatever a command makes of it: allow no shell, or give no rules for commands"
            )
        self._workspace = Workspace(workspace_dir)
        self._root = os.path.realpath(workspace_dir)
        protected = [Path(os.path.realpath(one)) for one in protected]
        for folder in (self._root, *map(os.path.realpath, writable)):
            if found := next((one for one in protected if is_beneath(str(one), folder)), None):
                raise ValueError(
                    f"commands may write {folder}, and the server's own {found} is in it: use another folder"
                )
        self.sandbox = Sandbox(sandbox, network=network, readable=readable, writable=writable, protected=protected)
        if self.sandbox.is_cut_off:
            self.spec = replace(self.spec, reads="fixed")
        else:
            self.spec = replace(self.spec, reads="open", sends="open")
        self._allowed = tuple(allowed_commands)
        self._denied = tuple(denied_commands)
        self._shell = shell
        self._path = path
        self._environment = dict(environment or {})
        self._max_shown = max_shown
        self._max_execution_time = max_execution_time
        self._max_file_size = max_file_size
        limits = {"RLIMIT_FSIZE": max_file_size, "RLIMIT_DATA": max_memory, "RLIMIT_CORE": 0}
        limits |= {"RLIMIT_NOFILE": _MAX_OPEN_FILES} | (
            {} if max_cpu is None else {"RLIMIT_CPU": max(1, round(max_cpu))}
        )
        self._order = {
            "limits": limits,
            "head": max_output - max_output // 4,
            "tail": max_output // 4,
            "seconds": max_execution_time,
            "grace_seconds": grace_seconds,
            "max_processes": max_processes,
            "max_memory": max_memory,
        }

    async def run(self, arguments: dict[str, Any], context: ToolContext) -> ToolResult:
        if context.is_stopped:
            raise ToolStopped
        command: str = arguments["command"]
        level, order = await asyncio.to_thread(self._prepared, command, arguments.get("working_directory") or ".")
        live = LiveOutput(context.progress, max_shown=self._max_shown)
        head = bytearray()

        def take(output: bytes) -> None:
            head.extend(output)
            live.feed(output)

        try:
            report = await run_kept(order, stop=context.stop, on_output=take)
        finally:
            live.close()
        if report.reason == "stopped":
            raise ToolStopped
        return self._result(command, level, report, bytes(head), is_shown=live.is_shown)

    def _prepared(self, command: str, working_directory: str) -> tuple[Level, dict[str, Any]]:
        """What the keeper is told to do. Blocks. Raises ToolFailed."""
        level = self.sandbox.level()
        arguments = [_SHELL, "-c", command] if self._shell else split_command(command)
        with self._workspace.folder(working_directory) as (_, real):
            folder = "/" + "/".join(real)
        if not self._shell:
            check_allowed(arguments, allowed=self._allowed, denied=self._denied, path=self._path)
        program = find_program(arguments[0], allowed=(*self._allowed, _SHELL), path=self._path, folder=folder)
        if level is Level.NONE:
            check_arguments(arguments[1:], folder=folder, root=self._root)
        temporary = os.path.join(os.path.realpath(tempfile.gettempdir()), f"hector-{secrets.token_hex(8)}")
        confined = self.sandbox.confined(level, program, arguments, root=self._root, folder=folder, temporary=temporary)
        return level, self._order | {
            "program": confined.program,
            "argv": confined.arguments,
            "confine": confined.confine,
            "wrappers": confined.wrappers,
            "folder": folder,
            "temporary": temporary,
            "environment": self._environment_with(temporary),
        }

    def _environment_with(self, temporary: str) -> dict[str, str]:
        ours = {
            "PATH": self._path,
            "HOME": self._root,
            "USER": "agent",
            "LANG": "C.UTF-8",
            "TERM": "dumb",
            "TMPDIR": temporary,
            "PYTHONUNBUFFERED": "1",  # what a script prints is shown as it prints it
        }
        return ours | self._environment

    def _result(self, command: str, level: Level, report: Report, head: bytes, *, is_shown: bool) -> ToolResult:
        left_out = report.size - len(head) - len(report.tail)
        gap = f"\n… ({left_out} bytes of output are left out here)\n" if left_out else ""
        output = readable(head) + gap + readable(report.tail)
        ended = self._how_it_ended(report)
        told = f"Output: {output}" if output else "(The command wrote nothing.)"
        data = {
            "command": command,
            "exit_code": report.code if report.reason is None else None,
            "output": output,
            "output_bytes": report.size,
            "ended": report.reason,
        }
        text = "\n".join(filter(None, (told.rstrip("\n"), ended)))
        shown = ended if is_shown or ended else told
        return ToolResult(text, data, shown, is_error=bool(ended), sandbox=level.value)

    def _how_it_ended(self, report: Report) -> str:
        """A sentence, unless it ended well."""
        match report.reason:
            case "timeout":
                return (
                    f"The command was ended after {self._max_execution_time:g} s (max_execution_time). "
                    "Run something that ends sooner, or less of it."
                )
            case "processes":
                return f"The command was killed: more than {self._order['max_processes']} processes (max_processes)."
            case "memory":
                return f"The command was killed: more than {self._order['max_memory']} bytes of memory (max_memory)."
        if not report.code:
            return "" if report.code == 0 else "The command ended, and nobody knows how."
        number = -report.code if report.code < 0 else report.code - 128
        if number == signal.SIGXFSZ:
            return f"The command was killed: a file grew over {self._max_file_size} bytes (max_file_size)."
        if number == signal.SIGXCPU:
            return "The command was killed: it used too much processor time (max_cpu)."
        if report.code < 0:
            return f"The command was killed by signal {number} ({signal.strsignal(number) or 'unknown'})."
        return f"Exit code {report.code}."
