"""The tool that reads on in a result that was too large to be given whole."""

from __future__ import annotations

from typing import Any

from app.domain.act import ToolClass
from app.tools.base import ToolContext, ToolFailed, ToolResult, ToolSpec, ToolStopped
from app.tools.ports import ReadWhole

MAX_GREP = 1000
"""Characters of what is looked for."""
_AROUND = 1
"""Lines shown before and after one that was found."""


class ReadResult:
    """Reads a kept result in pieces of `max_bytes`. `data`: `{handle, offset, next_offset, total}` (characters)."""

    spec = ToolSpec(
        "read_result",
        "Read on in a result that was too long to be shown whole. Give its handle, and where to begin, or what to look "
        "for.",
        {
            "type": "object",
            "properties": {
                "handle": {"type": "string", "description": "The handle in the shortened result, `res_…`."},
                "offset": {
                    "type": "integer",
                    "minimum": 0,
                    "description": "The first character to read; the result begins with 0.",
                },
                "grep": {
                    "type": "string",
                    "minLength": 1,
                    "maxLength": MAX_GREP,
                    "description": "Show the lines that contain this text, whatever its case, from `offset` on.",
                },
            },
            "required": ["handle"],
            "additionalProperties": False,
        },
        ToolClass.READ,
        reads="fixed",
    )

    def __init__(self, read_whole: ReadWhole, *, max_bytes: int) -> None:
        self._read_whole = read_whole
        self._max_bytes = max_bytes

    async def run(self, arguments: dict[str, Any], context: ToolContext) -> ToolResult:
        if context.is_stopped:
            raise ToolStopped
        handle, offset = arguments["handle"], arguments.get("offset", 0)
        whole = await self._read_whole(context.session_id, handle)
        if whole is None:
            raise ToolFailed(f"This session has no result {handle!r}; handles are in the shortened results.")
        if offset > len(whole):
            raise ToolFailed(f"The result has {len(whole)} characters; there is none with the number {offset}.")
        grep = arguments.get("grep")
        text, end = self._piece(whole, offset) if grep is None else self._lines(whole, offset, grep)
        following = end if end < len(whole) else None
        if following is not None:
            text += f"\n[… of {len(whole)} characters; go on with offset={following} …]"
        data = {"handle": handle, "offset": offset, "next_offset": following, "total": len(whole)}
        return ToolResult(text, data, f"Read {end - offset} of {len(whole)} characters.")

    def _piece(self, whole: str, offset: int) -> tuple[str, int]:
        # Read as bytes, because the limit is in bytes, and cut at the border of a character.
        encoded = whole[offset : offset + self._max_bytes].encode(errors="replace")
        text = encoded[: self._max_bytes].decode(errors="ignore")
        return text, offset + len(text)

    def _lines(self, whole: str, offset: int, grep: str) -> tuple[str, int]:
        """Lines with what is looked for, as far as there is room, and where the next look begins."""
        wanted = grep.casefold()
        lines = whole[offset:].split("\n")
        found: dict[int, str] = {}
        at, room, end = offset, self._max_bytes, len(whole)
        for number, line in enumerate(lines):
            if wanted in line.casefold():
                near = range(max(number - _AROUND, 0), min(number + _AROUND + 1, len(lines)))
                fresh = {one: _shortened(lines[one], wanted) for one in near if one not in found}
                room -= sum(len(text.encode(errors="replace")) + 12 for text in fresh.values())
                if room < 0 and found:
                    end = at
                    break
                found |= fresh
            at += len(line) + 1
        if not found:
            return f"(Nothing from character {offset} on contains {grep!r}.)", len(whole)
        return "\n".join([f"{number + 1}: {text}" for number, text in sorted(found.items())]), end


def _shortened(line: str, wanted: str, most: int = 2000) -> str:
    """The line, or what is around the text that is looked for, if the line is very long."""
    if len(line) <= most:
        return line
    begin = max(line.casefold().find(wanted) - most // 2, 0)
    return f"…{line[begin : begin + most]}…"
