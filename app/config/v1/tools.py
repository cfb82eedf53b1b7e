"""The `tools` section of a v1 file: what of it is elsewhere here, or does nothing."""

from __future__ import annotations

from app.config.document import Key
from app.config.v1.rewrite import Rewrite

_OF_A_SERVER = ("type", "server_url", "url", "command")
_SHOWN = ("show_diff", "create_backup", "backup_on_overwrite", "max_replacements", "enabled_search_types")


def rewrite_tools(file: Rewrite) -> None:
    if isinstance(file.get("tools", "tools"), dict):
        for name in file.names("tools", "tools"):
            file.move(("tools", "tools", name), ("tools", name), "is read as tools.<name>")
        file.drop("tools", "tools")
    for name in file.names("tools"):
        at = ("tools", name)
        if not isinstance(file.get(*at), dict):
            continue
        if (file.text(*at, "type") or name) == "mcp":
            if _is_server(file, at):
                _rewrite_server(file, at)
            continue
        file.ignore(at, ("enable_sandboxing",), "ignored; commands are always fenced in: `sandbox` says by what")
        file.ignore(at, _SHOWN, "ignored; results show what was changed")
        file.move((*at, "max_results"), (*at, "max_limit"), "is read as max_limit")


def _is_server(file: Rewrite, at: Key) -> bool:
    """Whether the entry is one server of MCP, not our map of several."""
    return any(file.has(*at, name) and not isinstance(file.get(*at, name), dict) for name in _OF_A_SERVER)


def _rewrite_server(file: Rewrite, at: Key) -> None:
    """An entry of type mcp becomes one of tools.mcp."""
    for name in ("type", "description"):
        file.drop(*at, name)
    entry = file.drop(*at)
    name = "server" if at[-1] == "mcp" else str(at[-1])
    file.put(("tools", "mcp", name), entry, of=at)
    file.note("is read as tools.mcp.<name>", at)
