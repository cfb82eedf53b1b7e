"""The tools for files: write, read, list, search and replace. What may be opened is decided by the workspace."""

from __future__ import annotations

import asyncio
from io import StringIO
from typing import Any

from app.domain.act import ToolClass
from app.observability.neutral import escape
from app.tools.base import ToolContext, ToolFailed, ToolResult, ToolSpec, ToolStopped
from app.tools.diffs import diff
from app.tools.listing import list_folder
from app.tools.workspace import Change, Workspace

_PATH = {"type": "string", "description": "Path relative to the workspace, such as `src/main.py`."}
_MAX_LINES_NAMED = 10


def _schema(required: list[str], **properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


class WriteFile:
    """Writes whole files into a workspace. `data`: `{path, created, bytes, diff, diff_is_cut, added, removed}`."""

    spec = ToolSpec(
        "write_file",
        "Create a file in the workspace, or replace its whole content. Folders are created as needed.",
        _schema(["path", "content"], path=_PATH, content={"type": "string", "description": "The whole content."}),
        ToolClass.IDEMPOTENT,
    )

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace

    async def run(self, arguments: dict[str, Any], context: ToolContext) -> ToolResult:
        _stop_if_asked(context)
        content = _encoded(arguments["content"], "content")
        change = await asyncio.to_thread(self._workspace.write, arguments["path"], content)
        verb = "created" if change.before is None else "updated"
        return ToolResult(f"File {verb} successfully.", _change_data(change), f"File {verb} successfully.")


class ReadFile:
    """Reads text files of a workspace, whole or by lines. `data`: `{path, offset, lines, total_lines}`."""

    spec = ToolSpec(
        "read_file",
        "Read a text file of the workspace. Long files are returned in parts: go on with `offset`.",
        _schema(
            ["path"],
            path=_PATH,
            offset={"type": "integer", "minimum": 1, "description": "The first line to read; the file begins with 1."},
            limit={"type": "integer", "minimum": 1, "description": "The most lines to read."},
        ),
        ToolClass.READ,
        reads="fixed",
    )

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace

    async def run(self, arguments: dict[str, Any], context: ToolContext) -> ToolResult:
        _stop_if_asked(context)
        return await asyncio.to_thread(self._read, arguments["path"], arguments.get("offset"), arguments.get("limit"))

    def _read(self, path: str, offset: int | None, limit: int | None) -> ToolResult:
        file = self._workspace.read(path)
        lines = StringIO(_text(file.content, file.path)).readlines()  # a form feed ends no line
        first = (offset or 1) - 1
        if first >= len(lines) > 0 or (first > 0 and not lines):
            raise ToolFailed(f"`{file.path}` has {len(lines)} lines; there is no line {first + 1}.")
        piece, count = _piece(lines[first : None if limit is None else first + limit], self._workspace.max_read)
        data = {"path": file.path, "offset": first + 1, "lines": count, "total_lines": len(lines)}
        shown = f"Read {_counted(count, 'line')} of {escape(file.path)}."
        if not lines:
            return ToolResult("(The file is empty.)", data, shown)
        return ToolResult(piece + _rest(first, count, len(lines)), data, shown)


class ListFiles:
    """Lists folders of a workspace. `data`: `{path, paths, is_cut}`."""

    spec = ToolSpec(
        "list_files",
        "List a folder of the workspace, or find files in and beneath it by a pattern. Folders end in `/`.",
        _schema(
            [],
            path={"type": "string", "description": "The folder; the workspace itself if left out."},
            pattern={
                "type": "string",
                "description": "Such as `*.py` (anywhere beneath), `src/*.py` or `src/**/test_*.py`.",
            },
        ),
        ToolClass.READ,
        reads="fixed",
    )

    def __init__(self, workspace: Workspace, *, max_entries: int = 1000) -> None:
        """`max_entries`: the most paths that one call returns."""
        self._workspace = workspace
        self._max_entries = max_entries

    async def run(self, arguments: dict[str, Any], context: ToolContext) -> ToolResult:
        _stop_if_asked(context)
        return await asyncio.to_thread(self._list, arguments.get("path") or ".", arguments.get("pattern"))

    def _list(self, path: str, pattern: str | None) -> ToolResult:
        found = list_folder(self._workspace, path, pattern, max_entries=self._max_entries)
        lines = [escape(one) for one in found.paths]
        if not lines:
            lines = [f"(Nothing is as `{pattern}`.)" if pattern else "(The folder is empty.)"]
        if found.is_cut:
            lines.append("(There are more: name a folder or a narrower pattern.)")
        data = {"path": path, "paths": [escape(one) for one in found.paths], "is_cut": found.is_cut}
        return ToolResult("\n".join(lines), data, f"Found {_counted(len(found.paths), 'path')}.")


class SearchReplace:
    """Replaces a text in a file of a workspace. `data`: as of `WriteFile`, and `replaced`."""

    spec = ToolSpec(
        "search_replace",
        "Replace a text in a file of the workspace. The text must occur exactly once, unless `all` is true.",
        _schema(
            ["path", "search", "replace"],
            path=_PATH,
            search={"type": "string", "description": "The text to replace, exactly as it is in the file."},
            replace={"type": "string", "description": "What to put in its place."},
            all={"type": "boolean", "description": "Replace every occurrence."},
        ),
        ToolClass.ONCE,
        reads="fixed",
    )

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace

    async def run(self, arguments: dict[str, Any], context: ToolContext) -> ToolResult:
        _stop_if_asked(context)
        return await asyncio.to_thread(self._replace, **arguments)

    def _replace(self, path: str, search: str, replace: str, all: bool = False) -> ToolResult:
        _encoded(replace, "replace")
        if not search or search == replace:
            raise ToolFailed("Nothing would change: `search` is empty, or the same as `replace`.")
        replaced = 0

        def edit(before: bytes) -> bytes:
            nonlocal replaced
            text = _text(before, path)
            old, new = (search, replace) if search in text else (_as_in(text, search), _as_in(text, replace))
            replaced = text.count(old)
            _check_count(path, text, old, replaced, is_any=all)
            self._check_size(len(text) + replaced * (len(new) - len(old)))
            return text.replace(old, new).encode()

        change = self._workspace.edit(path, edit)
        text = f"Replaced {_counted(replaced, 'occurrence')} in {escape(change.path)}."
        return ToolResult(text, _change_data(change) | {"replaced": replaced}, text)

    def _check_size(self, characters: int) -> None:
        """Before the text is made: many short texts replaced by a long one may need all memory."""
        if characters > (limit := self._workspace.max_file_size):
            raise ToolFailed(f"The file would have more than {limit} bytes (max_file_size); nothing was changed.")


def _check_count(path: str, text: str, search: str, count: int, *, is_any: bool) -> None:
    if count == 0:
        raise ToolFailed(
            f"The text does not occur in `{path}`. White space has to match exactly, too: read the file again."
        )
    if count == 1 or is_any:
        return
    lines: list[str] = []
    at = text.find(search)
    while at >= 0 and len(lines) < _MAX_LINES_NAMED:
        lines.append(str(text.count("\n", 0, at) + 1))
        at = text.find(search, at + len(search))
    more = ", …" if count > len(lines) else ""
    raise ToolFailed(
        f"The text occurs {count} times in `{path}` (lines {', '.join(lines)}{more}); nothing was changed. "
        "Add lines around it until it is unique, or set `all` to true."
    )


def _as_in(text: str, part: str) -> str:
    """`part` with the line breaks of the text, for a model writes `\\n` whatever it has read."""
    return part.replace("\r\n", "\n").replace("\n", "\r\n") if "\r\n" in text else part


def _change_data(change: Change) -> dict[str, Any]:
    before = _decoded(change.before or b"")
    after = _decoded(change.after)
    data = {"path": change.path, "created": change.before is None, "bytes": len(change.after)}
    if before is None or after is None:
        return data | {"diff": None, "diff_is_cut": True, "added": None, "removed": None}
    found = diff(before, after)
    return data | {"diff": found.text, "diff_is_cut": found.is_cut, "added": found.added, "removed": found.removed}


def _piece(lines: list[str], max_bytes: int) -> tuple[str, int]:
    """As many lines as fit, at least one (cut, where it alone is too long), and how many these are."""
    size = 0
    for count, line in enumerate(lines):
        size += len(line.encode())
        if size > max_bytes:
            if count:
                return "".join(lines[:count]), count
            return line.encode()[:max_bytes].decode(errors="ignore") + "… (the line is longer)\n", 1
    return "".join(lines), len(lines)


def _rest(first: int, count: int, total: int) -> str:
    if first == 0 and count == total:
        return ""
    more = f"; go on with offset {first + count + 1}" if first + count < total else ""
    return f"\n(Lines {first + 1} to {first + count} of {total}{more}.)"


def _text(content: bytes, path: str) -> str:
    text = _decoded(content)
    if text is None:
        raise ToolFailed(f"`{path}` is not text in UTF-8: it is binary, or in another encoding.")
    return text


def _decoded(content: bytes) -> str | None:
    if b"\0" in content:
        return None
    try:
        return content.decode()
    except UnicodeDecodeError:
        return None


def _encoded(text: str, name: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise ToolFailed(f"`{name}` has half a surrogate pair, which is no text. Write the whole character.") from None


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _stop_if_asked(context: ToolContext) -> None:
    if context.is_stopped:
        raise ToolStopped
