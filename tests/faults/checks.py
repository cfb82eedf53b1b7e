"""What must be true of every session when it is quiet again, whatever happened before."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

from tests.faults.clients import Clients, reason_of
from tests.faults.talks import Reader, Talked

QUIET_SECONDS = 60.0


async def check(clients: Clients, talk: Talked) -> list[str]:
    """What is wrong with the session."""
    if talk.is_dead or talk.is_doubtful:
        return await _check_dead(clients, talk)
    try:
        await _wait_until_quiet(clients, talk)
    except TimeoutError:
        return [f"{talk.session_id}: a turn does not end"]
    messages = await _pages(clients, f"{talk.path}/messages", "messages", "before", "next_before")
    events = await _pages(clients, f"{talk.path}/events", "events", "after", "next_after")
    found = [f"{talk.session_id}: {problem}" for reader in talk.readers for problem in reader.problems]
    found += _check_messages(talk, messages)
    found += _check_ends(talk, events)
    for message, turn_id in talk.accepted.items():
        found += await _check_turn(clients, talk, message, turn_id, messages)
    answers = {one["turn_id"]: one["content"] for one in messages if one["role"] == "assistant"}
    for reader in talk.readers:
        found += _check_text(talk, reader, answers)
        found += await _check_second_end(clients, talk, reader)
    for turn_id, text in talk.answers.items():
        if answers.get(turn_id, "") != text:
            found.append(
                f"{talk.session_id}: the answer to {turn_id} is stored as {answers.get(turn_id)!r}, not {text!r}"
            )
    return found


async def _check_dead(clients: Clients, talk: Talked) -> list[str]:
    """A session that a client was told is gone is gone; one in doubt is terminated again until that is known."""
    if not talk.is_dead:
        response = await clients.insist("DELETE", talk.path)
        if response.status_code not in (200, 410):
            return [f"{talk.session_id}: DELETE answers {response.status_code} {response.text[:200]}"]
        talk.is_dead = True
    found = []
    for path in ("", "/messages"):
        response = await clients.insist("GET", talk.path + path)
        if reason_of(response) != "session_terminated":
            found.append(f"{talk.session_id} is alive again: {response.status_code} {response.text[:200]}")
    return found


async def _wait_until_quiet(clients: Clients, talk: Talked) -> None:
    async with asyncio.timeout(QUIET_SECONDS):
        while True:
            said = (await clients.insist("GET", talk.path)).json()
            if said.get("turn") is None and not said.get("queued"):
                return
            await asyncio.sleep(0.05)


async def _pages(clients: Clients, path: str, name: str, parameter: str, following: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    cursor: int | None = None
    while True:
        query = "?limit=200" + (f"&{parameter}={cursor}" if cursor is not None else "")
        page = (await clients.insist("GET", path + query)).json()
        found += page[name]
        if page.get(following) is None or not page[name] or page[following] == cursor:
            return found
        cursor = page[following]


def _check_messages(talk: Talked, messages: list[dict[str, Any]]) -> list[str]:
    said = Counter(one["content"] for one in messages if one["role"] == "user")
    found = [f"{talk.session_id}: {text!r} is there {count} times" for text, count in said.items() if count > 1]
    ids = [one["message_id"] for one in messages]
    return found + [f"{talk.session_id}: two messages have one id"] * (len(ids) != len(set(ids)))


def _check_ends(talk: Talked, events: list[dict[str, Any]]) -> list[str]:
    numbers = [event["seq"] for event in events]
    found = [f"{talk.session_id}: events are not in order"] * (numbers != sorted(set(numbers)))
    ends = Counter(event["turn_id"] for event in events if event["type"] == "turn_finished")
    begun = {event["turn_id"] for event in events if event["type"] in ("turn_started", "turn_queued")}
    found += [f"{talk.session_id}: {turn_id} has {ends[turn_id]} ends" for turn_id in begun if ends[turn_id] != 1]
    return found


async def _check_turn(
    clients: Clients, talk: Talked, message: str, turn_id: str, messages: list[dict[str, Any]]
) -> list[str]:
    response = await clients.insist("GET", f"{talk.path}/turns/{turn_id}")
    if response.status_code != 200:
        return [f"{talk.session_id}: {message!r} is lost: its turn answers {response.status_code}"]
    turn = response.json()
    found = []
    if turn["status"] not in ("completed", "failed", "cancelled", "interrupted"):
        found.append(f"{talk.session_id}: {turn_id} is {turn['status']}")
    asked = [one["content"] for one in messages if one["message_id"] == turn["user_message_id"]]
    if turn["started_at"] is not None and asked != [message]:
        found.append(f"{talk.session_id}: {message!r} is lost: the history has {asked}")
    return found


def _check_text(talk: Talked, reader: Reader, answers: dict[str, str]) -> list[str]:
    if reader.turn_id is None or reader.is_refused:
        return []
    stored = answers.get(reader.turn_id, "")
    was_told = any(end.get("reason") in ("storage_unavailable", "internal") for end in reader.ends)
    is_beginning = stored.startswith(reader.text) if reader.has_left else stored == reader.text
    # Text of the last moment before a crash is taken back: by a snapshot for those who come back, else unseen. So is
    # text of an answer that, as the reader was told, could not be stored.
    is_longer = (reader.has_left or was_told) and reader.text.startswith(stored)
    if is_beginning or is_longer:
        return []
    seen = " | ".join(reader.seen)
    return [f"{talk.session_id}: {reader.turn_id} was read as {reader.text!r} and is stored as {stored!r}: {seen}"]


async def _check_second_end(clients: Clients, talk: Talked, reader: Reader) -> list[str]:
    """A reader that comes back after the end is not told another one."""
    if not reader.ends or reader.is_refused:
        return []
    query = f"?after={reader.cursor}&limit=200"
    later = (await clients.insist("GET", f"{talk.path}/events{query}")).json()["events"]
    seconds = [one for one in later if one["type"] == "turn_finished" and one["turn_id"] == reader.turn_id]
    if len(reader.ends) + len(seconds) > 1:
        return [f"{talk.session_id}: a reader is told {len(reader.ends) + len(seconds)} ends of {reader.turn_id}"]
    return []
