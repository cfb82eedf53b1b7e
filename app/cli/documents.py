"""hector search, hector documents: search the document stores, list and update them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.text import Text

from app.cli.agents import get_agent
from app.cli.connection import THIS_PROCESS, Target, connect
from app.cli.failures import ExitCode
from app.cli.run import complain, print_json
from app.cli.tables import ago, fit_words, moment, print_rows
from app.observability.neutral import clean
from hector_client import Client
from hector_client.errors import Conflict

POLL_SECONDS = 0.2
PATIENCE_POLLS = 10
"""After this many polls the command says what it is waiting for."""
MOST_MEMORIES = 50
"""The largest `limit` of a memory search in the API."""
STORE_HEADINGS = ("store", "status", "documents", "unread", "pieces", "embedded", "compared")
DOCUMENT_HEADINGS = ("document", "pieces", "modified", "problem")


@dataclass(frozen=True, slots=True)
class Search:
    """A search: the query, and where to look."""

    query: str
    store: str | None
    agent: str | None
    limit: int
    as_json: bool


async def search(target: Target, wanted: Search) -> ExitCode:
    async with connect(target) as client:
        if client.place == THIS_PROCESS:
            await _settled(client, wanted.store)  # no server has read the files before
        found = await client.search_documents(wanted.query, store=wanted.store, limit=wanted.limit)
        memories = await _memories(client, wanted) if wanted.agent is not None else None
        if wanted.as_json:
            print_json(found if memories is None else found | {"memories": memories})
            return ExitCode.OK
        for hit in found["hits"]:
            _print_hit(hit, wanted.store)
        for memory in memories or []:
            _print_memory(memory)
        if not found["complete"]:
            complain("not all documents have been read yet; `hector documents list` shows the progress")
        if not found["hits"] and not memories:
            complain("nothing was found" if memories is not None or await client.document_stores() else NO_STORES)
        return ExitCode.OK


NO_STORES = "there is no document store; the configuration names them under document_stores"


async def list_(target: Target, store: str | None, *, limit: int, as_json: bool) -> ExitCode:
    async with connect(target, only_looks=True) as client:
        if store is None:
            stores = await client.document_stores()
            if as_json:
                print_json({"document_stores": stores})
            else:
                _print_stores(stores)
            return ExitCode.OK
        documents, cursor = await client.documents(store, limit=limit)
        if as_json:
            print_json({"documents": documents, "next_cursor": cursor})
        else:
            print_rows(DOCUMENT_HEADINGS, [_document_row(document) for document in documents])
            if cursor is not None:
                complain(f"there are more than {limit}; --limit shows them")
        return ExitCode.OK


async def reindex(target: Target, store: str | None, *, again: bool, wait: bool, as_json: bool) -> ExitCode:
    async with connect(target) as client:
        names = [store] if store is not None else [found["store"] for found in await client.document_stores()]
        states = [await client.reindex_documents(name, again=again) for name in names]
        if wait:
            states = [state for state in await _settled(client, store) if state["store"] in names]
        if as_json:
            print_json({"document_stores": states})
        else:
            _print_stores(states)
        return ExitCode.OK


async def _settled(client: Client, store: str | None) -> list[dict[str, Any]]:
    """Poll until this store, or each store, is up to date with its files or has failed; all stores."""
    patience = PATIENCE_POLLS
    while True:
        stores = await client.document_stores()
        patience -= 1
        if patience == 0:
            complain(f"{sum(found['left'] for found in stores)} documents are not read yet; Ctrl-C stops waiting")
        if all(found["status"] != "reading" for found in stores if store in (None, found["store"])):
            return stores
        await asyncio.sleep(POLL_SECONDS)


async def _memories(client: Client, wanted: Search) -> list[dict[str, Any]]:
    """The memories that match. If the agent has no long-term memory, complain and return none."""
    assert wanted.agent is not None
    await get_agent(client, wanted.agent)
    try:
        found = await client.agent(wanted.agent).memories.search(wanted.query, limit=min(wanted.limit, MOST_MEMORIES))
    except Conflict as refusal:
        if refusal.reason != "memory_off":
            raise
        complain(refusal.message)
        return []
    return list(found["hits"])


# -- for people --------------------------------------------------------------------------------


def _print_hit(hit: dict[str, Any], store: str | None) -> None:
    place = hit["path"] if store is not None else f"{hit['store']}: {hit['path']}"
    [(unit, number)] = hit["position"].items()
    place += f":{number}" if unit == "line" else f", {unit} {number}"
    _print(place, hit["heading"], hit["score"], hit["excerpt"])


def _print_memory(memory: dict[str, Any]) -> None:
    fit = fit_words(memory["score"])
    _print(f"memory {memory['memory_id']}", moment(memory["created_at"]), memory["score"], memory["text"], fit=fit)


def _print(place: str, heading: str, score: float, text: str, *, fit: str | None = None) -> None:
    """On a terminal two lines and a gap; in a pipe one line with tabs between. `fit`: the score in a word."""
    console = Console(highlight=False)
    flat: Callable[[str], str] = lambda given: clean(" ".join(given.split()))  # noqa: E731
    if not console.is_terminal:
        print("\t".join([flat(place), f"{score:.2f}", flat(heading), flat(text)]))
        return
    console.print(
        Text(flat(place), style="bold").append(f"  {flat(heading)}  {fit or f'{score:.2f}'}", style="not bold dim")
    )
    console.print(Text(flat(text)), "")


def _print_stores(stores: list[dict[str, Any]]) -> None:
    if not stores:
        complain(NO_STORES)
        return
    print_rows(STORE_HEADINGS, [_store_row(store) for store in stores])
    for store in stores:
        for problem in store["problems"]:
            complain(clean(f"{store['store']}: {problem}"))


def _store_row(store: dict[str, Any]) -> list[str]:
    status = f"reading, {store['left']} left" if store["status"] == "reading" and store["left"] else store["status"]
    embedded = "-" if store["embedded"] is None else str(store["embedded"])
    numbers = [str(store[name]) for name in ("documents", "unread", "chunks")]
    return [store["store"], status, *numbers, embedded, ago(store["checked_at"])]


def _document_row(document: dict[str, Any]) -> list[str]:
    return [document["path"], str(document["chunks"]), ago(document["modified_at"]), document["problem"] or ""]
