"""The `tools` section of a v1 file: any name, and a `type` that says what the tool is."""

from __future__ import annotations

from app.config.document import Key
from app.config.keys import nearest
from app.config.v1.rewrite import Rewrite

_COMMAND = ("allowed_commands", "working_directory", "max_execution_time", "require_approval")
_TYPES = ("write_file", "read_file", "search_replace", "search", "todo", "todo_write", "agent_call", "http_request")
_UNBUILT = "not built yet; the agent answers without tools"


def rewrite_tools(file: Rewrite) -> None:
    if isinstance(file.get("tools", "tools"), dict):
        for name in file.names("tools", "tools"):
            file.move(("tools", "tools", name), ("tools", name), "is read as tools.<name>")
        file.drop("tools", "tools")
    for name in file.names("tools"):
        at = ("tools", name)
        kind = file.text(*at, "type") or name
        if not isinstance(file.get(*at), dict):
            continue
        if file.is_off(*at, "enabled"):
            file.drop(*at)
        elif kind in ("command", "execute_command"):
            _rewrite_command(file, at)
        elif kind == "mcp" and _is_server(file, at):
            _rewrite_server(file, at)
        elif kind in _TYPES:
            file.ignore(("tools",), (name,), _UNBUILT)
        elif kind != "mcp":
            known = ", ".join(("command", "mcp", *_TYPES))
            file.refuse(at, f"is no tool that is known: give it a `type` ({known})")


def _rewrite_command(file: Rewrite, at: Key) -> None:
    for name in ("type", "enabled", "description"):
        file.drop(*at, name)
    file.ignore(at, ("denied_commands",), "ignored; only the programs of allowed_commands may be started")
    file.ignore(at, ("enable_sandboxing",), _UNBUILT)
    if at[-1] == "execute_command":
        return
    ours = ("tools", "execute_command")
    for name in _COMMAND:
        file.move((*at, name), (*ours, name), "is read as a part of tools.execute_command")
    for name in file.names(*at):
        file.refuse((*at, name), f"unknown key; {nearest(name, _COMMAND)}")
    if not file.has(*ours):
        file.put(ours, {}, of=at)
    file.drop(*at)


def _is_server(file: Rewrite, at: Key) -> bool:
    """Whether the entry is one server of MCP, not our map of several."""
    return file.has(*at, "type") or not all(isinstance(file.get(*at, name), dict) for name in file.names(*at))


def _rewrite_server(file: Rewrite, at: Key) -> None:
    """An entry of type mcp becomes one of tools.mcp."""
    for name in ("type", "enabled", "description"):
        file.drop(*at, name)
    entry = file.drop(*at)
    if "server_url" in entry:
        entry["url"] = entry.pop("server_url")
    name = "server" if at[-1] == "mcp" else str(at[-1])
    file.put(("tools", "mcp", name), entry, of=at)
    file.note("is read as tools.mcp.<name>", at)
