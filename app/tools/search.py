"""`search`: documents and memories by words and meaning. What finds them is handed in; here a model is told."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from app.domain.act import ToolClass
from app.domain.label import Trust, least_trusted
from app.observability import neutral
from app.tools.base import ToolContext, ToolFailed, ToolResult, ToolSpec
from app.tools.mistakes import cut
from app.tools.stopping import unless_stopped

log = logging.getLogger(__name__)

MAX_QUERY = 4_000


@dataclass(frozen=True, slots=True)
class Hit:
    """Something found. `source` says where, in a form that a person finds it by: `handbook/returns.pdf, line 12`."""

    source: str
    text: str
    score: float | None = None
    trust: Trust = "tool"


Find = Callable[[str, Sequence[str], int, ToolContext], Awaitable[Sequence[Hit]]]
"""Find the best `limit` hits for a query in some stores (none named: in all), as far as the context's user may."""


class Search:
    """`stores`: the names that a model may search in; without any it cannot choose."""

    def __init__(
        self,
        find: Find,
        *,
        stores: Sequence[str] = (),
        default_limit: int = 5,
        max_limit: int = 20,
        max_excerpt: int = 1_500,
        max_characters: int = 12_000,
    ) -> None:
        self._find = find
        self._default_limit = min(default_limit, max_limit)
        self._max_limit = max_limit
        self._max_excerpt = max_excerpt
        self._max_characters = max_characters
        self.spec = ToolSpec(
            "search",
            "Search the documents and memories of this agent, by words and by meaning.",
            _parameters(stores, self._default_limit, max_limit),
            ToolClass.READ,
            reads="fixed",
        )

    async def run(self, arguments: dict[str, Any], context: ToolContext) -> ToolResult:
        query: str = arguments["query"]
        limit = min(arguments.get("limit", self._default_limit), self._max_limit)
        hits = list(await unless_stopped(self._hits(query, arguments.get("stores", ()), limit, context), context.stop))
        if not hits:
            nothing = f"Nothing was found for {cut(query, 100)!r}. Try other words."
            return ToolResult(nothing, [])
        text, told = self._text(hits[:limit])
        trust = least_trusted("tool", *[hit.trust for hit in hits[:limit]])
        return ToolResult(text, told, shown=f"{len(told)} found", trust=trust)

    async def _hits(self, query: str, stores: Sequence[str], limit: int, context: ToolContext) -> Sequence[Hit]:
        try:
            return await self._find(query, stores, limit, context)
        except ToolFailed:
            raise
        except Exception as exc:
            log.warning("a search failed", exc_info=exc)
            raise ToolFailed("The search does not work at the moment.") from exc

    def _text(self, hits: Sequence[Hit]) -> tuple[str, list[dict[str, Any]]]:
        """The hits as a text within the limit, and as JSON."""
        told: list[dict[str, Any]] = []
        parts: list[str] = []
        room = self._max_characters
        for number, hit in enumerate(hits, 1):
            source = cut(hit.source, 200)
            excerpt = _excerpt(hit.text, self._max_excerpt)
            part = f"{number}. {source}\n{excerpt}"
            room -= len(part) + 2
            if room < 0 and told:
                parts.append(f"({len(hits) - number + 1} more are left out: ask for fewer, or more precisely.)")
                break
            parts.append(part)
            score = {} if hit.score is None else {"score": round(hit.score, 3)}
            told.append({"source": source, "text": excerpt, **score})
        return "\n\n".join(parts), told


def _excerpt(text: str, length: int) -> str:
    clean = neutral.clean(text[: length + 1]).strip()
    return clean if len(text) <= length else clean[: length - 1].rstrip() + "…"


def _parameters(stores: Sequence[str], default_limit: int, max_limit: int) -> dict[str, Any]:
    properties: dict[str, Any] = {
        "query": {"type": "string", "minLength": 1, "maxLength": MAX_QUERY, "description": "What to look for."},
    }
    if stores:
        names = {"type": "string", "enum": list(stores)}
        properties["stores"] = {"type": "array", "items": names, "description": "Where to look; everywhere if absent."}
    properties["limit"] = {"type": "integer", "minimum": 1, "maximum": max_limit, "default": default_limit}
    return {"type": "object", "properties": properties, "required": ["query"], "additionalProperties": False}
