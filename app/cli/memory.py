"""hector memory: list, search, edit, export and erase what agents remember."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.cli.agents import get_agent
from app.cli.connection import Target, connect
from app.cli.failures import CommandFailed, ExitCode
from app.cli.run import complain, print_json
from app.cli.tables import ago, fit_words, moment, print_pairs, print_rows
from app.observability.neutral import clean
from hector_client import Agent

HEADINGS = ("memory", "kind", "user", "created", "text")
HIT_HEADINGS = ("memory", "fit", "cues", "created", "text")
POLL_SECONDS = 0.3
PATIENCE_POLLS = 100
"""Embedding counts as stalled after this many polls without progress."""
PART_LINES = 10_000
PART_BYTES = 8 << 20
"""Lines of one import, and bytes beside the longest of them: half and a quarter of what a server takes by default."""


@dataclass(frozen=True, slots=True)
class Forget:
    """An erasure request. Fields that are set are combined with AND; at least one must be set."""

    agent: str
    user: str | None
    session: str | None
    memory: str | None
    phrase: str | None

    def words(self) -> str:
        names = {"user": self.user, "session": self.session, "memory": self.memory}
        parts = [f"{name} {value!r}" for name, value in names.items() if value is not None]
        if self.phrase is not None:
            parts.insert(0, f"text that contains {self.phrase!r}")
        return ", of ".join(parts)


@asynccontextmanager
async def _connect(target: Target, agent: str, user: str | None = None, *, looks: bool = False) -> AsyncIterator[Agent]:
    async with connect(target, only_looks=looks, user=user) as client:
        await get_agent(client, agent)
        yield client.agent(agent)


async def list_(
    target: Target, agent: str, user: str | None, *, session: str | None, kind: str | None, limit: int, as_json: bool
) -> ExitCode:
    async with _connect(target, agent, user, looks=True) as agent_handle:
        found, cursor = await agent_handle.memories.list(limit=limit, session=session, kind=kind)
    if as_json:
        print_json({"memories": found, "next_cursor": cursor})
        return ExitCode.OK
    print_rows(HEADINGS, [_row(memory) for memory in found])
    if cursor is not None:
        complain(f"there are more than {limit}; --limit shows them")
    return ExitCode.OK


def _row(memory: dict[str, Any]) -> list[str]:
    kind = memory["kind"] + (", pinned" if memory["pinned"] else "")
    return [memory["memory_id"], kind, memory["user_id"], ago(memory["created_at"]), memory["text"]]


async def search(
    target: Target,
    agent: str,
    query: str,
    user: str | None,
    *,
    session: str | None,
    scope: str | None,
    limit: int,
    as_json: bool,
) -> ExitCode:
    async with _connect(target, agent, user, looks=True) as agent_handle:
        found = await agent_handle.memories.search(query, limit=limit, session=session, scope=scope)
    if as_json:
        print_json(found)
        return ExitCode.OK
    print_rows(HIT_HEADINGS, [_hit_row(hit) for hit in found["hits"]])
    if not found["hits"]:
        complain("nothing was found")
    return ExitCode.OK


def _hit_row(hit: dict[str, Any]) -> list[str]:
    return [hit["memory_id"], fit_words(hit["score"]), ", ".join(hit["cues"]), ago(hit["created_at"]), hit["text"]]


async def show(target: Target, agent: str, memory_id: str, *, as_json: bool) -> ExitCode:
    async with _connect(target, agent, looks=True) as agent_handle:
        _print_memory(await agent_handle.memories.get(memory_id), as_json=as_json)
    return ExitCode.OK


def _print_memory(memory: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(memory)
        return
    pairs = [
        ("memory", memory["memory_id"]),
        ("text", memory["text"]),
        *[(f"version {one['version']}", one["text"]) for one in reversed(memory.get("versions", []))],
        ("kind", memory["kind"] + (", pinned" if memory["pinned"] else "")),
        ("seen by", memory["scope"]),
        ("agent", memory["agent"]),
        ("user", memory["user_id"]),
        ("said by", memory["speaker"]),
        ("session", memory["session_id"] or ""),
        ("turn", memory["turn_id"] or ""),
        ("message", memory["message_id"] or ""),
        ("created", moment(memory["created_at"])),
    ]
    print_pairs(pairs)


async def add(
    target: Target,
    agent: str,
    text: str | None,
    user: str | None,
    *,
    session: str | None,
    scope: str | None,
    pin: bool,
    as_json: bool,
) -> ExitCode:
    said = _text(text)
    async with _connect(target, agent, user) as agent_handle:
        added = await agent_handle.memories.add(said, session=session, scope=scope, pinned=pin)
    _print_memory(added, as_json=as_json)
    return ExitCode.OK


async def edit(target: Target, agent: str, memory_id: str, text: str | None, *, as_json: bool) -> ExitCode:
    said = _text(text)
    async with _connect(target, agent) as agent_handle:
        _print_memory(await agent_handle.memories.change(memory_id, text=said), as_json=as_json)
    return ExitCode.OK


async def pin(target: Target, agent: str, memory_id: str, *, off: bool, as_json: bool) -> ExitCode:
    async with _connect(target, agent) as agent_handle:
        _print_memory(await agent_handle.memories.change(memory_id, pinned=not off), as_json=as_json)
    return ExitCode.OK


async def delete(target: Target, agent: str, memory_id: str, *, as_json: bool) -> ExitCode:
    async with _connect(target, agent) as agent_handle:
        removed = await agent_handle.memories.delete(memory_id)
    if as_json:
        print_json(removed)
    else:
        print(f"{memory_id} is deleted; the message it came from is kept")
    return ExitCode.OK


# -- export and import -------------------------------------------------------------------------------


async def export(target: Target, agent: str, user: str | None, *, session: str | None, output: Path | None) -> ExitCode:
    async with _connect(target, agent, user, looks=True) as agent_handle:
        lines = agent_handle.memories.export(session=session)
        if output is None:
            async for received in lines:
                sys.stdout.buffer.write(received)
            sys.stdout.buffer.flush()
            return ExitCode.OK
        count = 0
        try:
            with output.open("wb") as file:
                async for received in lines:
                    count += received.count(b"\n")
                    file.write(received)
        except OSError as error:
            raise _unusable(output, error) from error
    complain(f"{count} memories are in {output}")
    return ExitCode.OK


async def import_(target: Target, agent: str, source: Path | None, user: str | None, *, as_json: bool) -> ExitCode:
    lines = _read(source)
    found = {"imported": 0, "left_out": 0}
    async with _connect(target, agent, user) as agent_handle:
        for part in _parts(lines):
            counts = await agent_handle.memories.import_lines(part)
            found = {name: count + counts[name] for name, count in found.items()}
    if as_json:
        print_json(found)
    else:
        print(
            f"{found['imported']} imported, {found['left_out']} skipped: already present, or not stored by this agent"
        )
    return ExitCode.OK


def _parts(content: bytes) -> Iterator[bytes]:
    """Imports that a server takes. Empty lines stand for those of earlier parts, so that errors name the right line."""
    lines = content.splitlines()
    start = size = 0
    for number, line in enumerate(lines):
        if number > start and (number - start == PART_LINES or size + len(line) > PART_BYTES):
            yield b"\n" * start + b"\n".join(lines[start:number])
            start, size = number, 0
        size += len(line)
    yield b"\n" * start + b"\n".join(lines[start:])


def _read(source: Path | None) -> bytes:
    if source is None or source == Path("-"):
        return sys.stdin.buffer.read()
    try:
        return source.read_bytes()
    except OSError as error:
        raise _unusable(source, error) from error


def _unusable(path: Path, error: OSError) -> CommandFailed:
    return CommandFailed(f"{path}: {error.strerror or error}", code=ExitCode.USAGE, reason="invalid_request")


async def reindex(target: Target, agent: str, *, again: bool, wait: bool, as_json: bool) -> ExitCode:
    async with _connect(target, agent) as agent_handle:
        found = await agent_handle.memories.embed(again=again)
        patience = PATIENCE_POLLS
        while wait and found["waiting"] and patience:
            await asyncio.sleep(POLL_SECONDS)
            waiting, found = found["waiting"], await agent_handle.memories.embed()
            patience = patience - 1 if found["waiting"] >= waiting else PATIENCE_POLLS
    if as_json:
        print_json(found)
    else:
        print(f"{found['embedded']} of {found['memories']} memories are embedded by {found['model']}")
    if wait and found["waiting"]:
        complain(
            "embedding has stalled; see the server log. Until it continues, new memories are found by keyword only"
        )
        return ExitCode.TURN_FAILED
    return ExitCode.OK


# -- erasure ---------------------------------------------------------------------------------


async def forget(target: Target, request: Forget, *, yes: bool, as_json: bool) -> ExitCode:
    if not request.words():
        raise _usage("Say what to forget: --user, --session, --memory or --phrase.")
    if not yes:
        _ask(request)
    async with _connect(target, request.agent) as agent_handle:
        receipt = await agent_handle.forget(
            user=request.user, session=request.session, memory=request.memory, phrase=request.phrase
        )
    if as_json:
        print_json(receipt)
    else:
        _print_receipt(receipt, request)
    return ExitCode.OK if not receipt["found_afterwards"] and not receipt["problem"] else ExitCode.TURN_FAILED


def _ask(request: Forget) -> None:
    if not sys.stdin.isatty():
        raise _usage("This cannot be undone. Standard input is no terminal, so confirm it with --yes.")
    print(f"Permanently forget {clean(request.words())}? [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise CommandFailed("Nothing was forgotten.", code=ExitCode.INTERRUPTED, reason="cancelled")


def _print_receipt(receipt: dict[str, Any], request: Forget) -> None:
    if receipt["user_known"] is False:
        complain(f"{clean(request.agent)} knows no user {clean(request.user or '')!r}: nothing is stored of this name")
    found = ", ".join([f"{number} {name.replace('_', ' ')}" for name, number in receipt["found"].items() if number])
    removed = [(name.replace("_", " "), str(number)) for name, number in receipt["removed"].items() if number]
    print_pairs(
        [
            ("found", found or "nothing"),
            *(removed or [("removed", "nothing")]),
            ("found afterwards", str(receipt["found_afterwards"])),
        ]
    )
    for name, number in receipt["found_in"].items():
        complain(f"{clean(name)} still contains it, {number} times; delete that file, or create it again")
    if receipt["problem"]:
        complain(f"{receipt['problem']}; the server tries again")


def _usage(sentence: str) -> CommandFailed:
    return CommandFailed(sentence, code=ExitCode.USAGE, reason="invalid_request")


def _text(given: str | None) -> str:
    if given is not None and given != "-":
        return given
    try:
        text = sys.stdin.buffer.read().decode("utf-8-sig").strip()
    except UnicodeDecodeError:
        raise _usage("The text on standard input is not UTF-8.") from None
    if not text:
        raise _usage("There is no text to remember.")
    return text
