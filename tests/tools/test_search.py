"""Search as a tool: what is asked, what a model is told."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import pytest

from app.tools.arguments import BadArguments, parse
from app.tools.base import ToolContext, ToolFailed, ToolResult, ToolStopped
from app.tools.search import Hit, Search


class Library:
    """Finds what it was given, and remembers what it was asked."""

    def __init__(self, *hits: Hit) -> None:
        self.hits = hits
        self.asked: list[tuple[str, list[str], int, str]] = []

    async def find(self, query: str, stores: Sequence[str], limit: int, context: ToolContext) -> Sequence[Hit]:
        self.asked.append((query, list(stores), limit, context.user_id))
        return self.hits[:limit]


async def search(tool: Search, context: ToolContext | None = None, **arguments: Any) -> ToolResult:
    context = context or ToolContext("c", "s", "t", "a", "p", "ann")
    return await tool.run(parse(json.dumps(arguments), tool.spec.parameters), context)


async def test_hits_are_told_with_their_sources() -> None:
    library = Library(
        Hit("handbook/returns.md, line 12", "Thirty days.", 0.8129), Hit("a note of 3 May", "Ann is vegan.")
    )
    result = await search(
        Search(library.find, stores=["handbook", "law"]), query="returns", stores=["handbook"], limit=2
    )

    assert library.asked == [("returns", ["handbook"], 2, "ann")]
    assert result.text == "1. handbook/returns.md, line 12\nThirty days.\n\n2. a note of 3 May\nAnn is vegan."
    assert result.data == [
        {"source": "handbook/returns.md, line 12", "text": "Thirty days.", "score": 0.813},
        {"source": "a note of 3 May", "text": "Ann is vegan."},
    ]
    assert result.shown == "2 found"


async def test_nothing_found_says_so() -> None:
    result = await search(Search(Library().find), query="unicorns")
    assert (result.text, result.data) == ("Nothing was found for 'unicorns'. Try other words.", [])


async def test_the_limit_is_bounded_and_has_a_default() -> None:
    library = Library(*[Hit(str(n), "x") for n in range(100)])
    tool = Search(library.find, default_limit=3, max_limit=10)
    assert len((await search(tool, query="x")).data) == 3
    assert len((await search(tool, query="x", limit="10")).data) == 10
    for limit in (0, 11, "all"):
        with pytest.raises(BadArguments):
            await search(tool, query="x", limit=limit)


async def test_a_store_that_is_not_there_cannot_be_asked() -> None:
    with pytest.raises(BadArguments, match='must be one of "a"'):
        await search(Search(Library().find, stores=["a"]), query="x", stores=["b"])
    with pytest.raises(BadArguments, match="cannot have `stores`"):
        await search(Search(Library().find), query="x", stores=["b"])


async def test_what_is_told_is_bounded() -> None:
    library = Library(*[Hit(f"{n}" * 300, f"{n} " * 10_000) for n in range(10)])
    result = await search(Search(library.find, max_excerpt=500, max_characters=2_000), query="x", limit=10)
    assert len(result.text) < 2_200
    assert result.text.endswith("(8 more are left out: ask for fewer, or more precisely.)")
    assert len(result.data) == 2
    assert all(len(hit["text"]) <= 500 and hit["text"].endswith("…") for hit in result.data)


async def test_one_hit_is_told_whatever_the_limit() -> None:
    result = await search(Search(Library(Hit("a", "text"), Hit("b", "text")).find, max_characters=1), query="x")
    assert result.data == [{"source": "a", "text": "text"}]


async def test_controls_in_documents_are_removed() -> None:
    result = await search(Search(Library(Hit("a\nb\x1b", "x\x1b[2J\ny\u202e")).find), query="x")
    assert result.text == "1. a\\nb\\x1b\nx[2J\ny"


async def test_a_search_that_fails_is_told_without_its_reason(caplog: pytest.LogCaptureFixture) -> None:
    async def find(*_: object) -> Sequence[Hit]:
        raise OSError("secret/path")

    with pytest.raises(ToolFailed) as caught:
        await search(Search(find), query="x")
    assert str(caught.value) == "The search does not work at the moment."
    assert "secret/path" in caplog.text


async def test_a_search_ends_when_the_call_is_stopped() -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    async def find(*_: object) -> Sequence[Hit]:
        begun.set()
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()
        return ()

    context = ToolContext("c", "s", "t", "a", "p", "u")
    call = asyncio.ensure_future(search(Search(find), context, query="x"))
    await begun.wait()
    context.stop.set()
    with pytest.raises(ToolStopped):
        await call
    assert ended.is_set()
    with pytest.raises(ToolStopped):
        await search(Search(find), context, query="x")
