"""Asks the person at the terminal what a turn waits for: approvals, questions of tools, calls of unknown outcome."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.text import Text

from app.cli.prompt import Interrupted, Prompt
from app.observability.neutral import clean, escape, escape_json
from hector_client import Session
from hector_client.errors import ApprovalExpired, Conflict, InvalidRequest

MOST_SHOWN = 2_000
"""Characters of an argument that is to be approved."""
BRIEF = 60
"""Characters of an argument on a line."""
LATER = "It waits. /calls lists what waits; /approve, /refuse, /answer and /resolve answer it."


class NotAnswered(Exception):
    """The text is no answer to the question; the message says why."""


class Decider:
    """One at a time, in the order of the calls."""

    def __init__(self, session: Session, prompt: Prompt, console: Console) -> None:
        self._session = session
        self._prompt = prompt
        self._console = console

    async def settle(self, turn_id: str, call_id: str | None) -> bool:
        """Ask about all that the turn waits for; an event names `call_id`. False: the person leaves it waiting."""
        for act in await open_acts(self._session, turn_id, call_id=call_id):
            try:
                if not await self._ask(act):
                    return False
            except (EOFError, Interrupted):
                return False
            except (ApprovalExpired, Conflict, InvalidRequest) as refusal:  # others may be faster
                self._print(refusal.message, "yellow")
        return True

    async def _ask(self, act: Mapping[str, Any]) -> bool:
        """Ask until there is an answer. False: there is none for now."""
        if act["state"] == "unknown":
            return await self._ask_what_happened(act)
        match act.get("waiting_for"):
            case "approval":
                return await self._ask_for_approval(act)
            case "input":
                return await self._ask_question(act)
        self._print(f"{brief(act)} waits for its result, which comes from elsewhere.", "dim")
        return True

    async def _ask_for_approval(self, act: Mapping[str, Any]) -> bool:
        why, rule = str(act.get("why") or ""), str(act.get("rule") or "")
        line = f" ({rule})" if rule not in why else ""
        whose = f" of {act['agent']}" if act["session_id"] != self._session.session_id else ""
        self._print(f"{act['name']}{whose} needs your approval. {why}{line}", "yellow")
        for line in argument_lines(act["arguments"]):
            self._print("  " + line, "default")
        calls, call_id = self._session.calls, str(act["call_id"])
        while True:
            match (await self._prompt.ask("y yes, n no, e edit, a always in this session, Enter later:")).strip():
                case "y":
                    await calls.approve(call_id)
                case "a":
                    await calls.approve(call_id, remember="session")
                case "n":
                    reason = (await self._prompt.ask("Reason, for the model (may be empty):")).strip()
                    await calls.refuse(call_id, reason=reason or None)
                case "e":
                    await calls.approve(call_id, arguments=await self._edit(act["arguments"]))
                case "":
                    return False
                case _:
                    continue
            return True

    async def _edit(self, arguments: Any) -> dict[str, Any]:
        text = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
        while True:
            text = await self._prompt.ask("Arguments:", escape_json(text))
            try:
                return read_arguments(text)
            except NotAnswered as problem:
                self._print(str(problem), "yellow")

    async def _ask_question(self, act: Mapping[str, Any]) -> bool:
        asked = act.get("asked") or {}
        self._print(str(asked.get("question") or f"{act['name']} asks for an answer."), "yellow")
        for number, choice in enumerate(asked.get("choices") or [], 1):
            self._print(f"  {number}. {choice}", "default")
        if (schema := asked.get("schema")) is not None and not asked.get("choices"):
            self._print("  " + json.dumps(schema, ensure_ascii=False)[:MOST_SHOWN], "dim")
        while True:
            text = (await self._prompt.ask("Answer (Enter: later):")).strip()
            if not text:
                return False
            try:
                await self._session.calls.post_result(str(act["call_id"]), read_answer(asked, text))
            except (NotAnswered, InvalidRequest) as problem:
                self._print(str(problem), "yellow")
                continue
            return True

    async def _ask_what_happened(self, act: Mapping[str, Any]) -> bool:
        self._print(f"Nobody knows whether this call happened: {brief(act)}. Find out, then say so.", "yellow")
        calls, call_id = self._session.calls, str(act["call_id"])
        while True:
            match (await self._prompt.ask("h it happened, f it did not, a run it again, Enter later:")).strip():
                case "h":
                    await calls.resolve(call_id, happened=True)
                case "f":
                    await calls.resolve(call_id, happened=False)
                case "a":
                    await calls.run_again(call_id)
                case "":
                    return False
                case _:
                    continue
            return True

    def _print(self, words: str, style: str) -> None:
        self._console.print(Text(clean(words), style=style))


async def open_acts(
    session: Session, turn_id: str | None = None, *, call_id: str | None = None
) -> list[dict[str, Any]]:
    """What waits for somebody, in one turn or in all; of agents that were called: approvals, and the call `call_id`."""
    calls = session.calls
    found = await calls.list(turn_id=turn_id, state="unknown") + await calls.list(turn_id=turn_id, state="waiting")
    known = {act["call_id"]: act for act in found + await calls.approvals()}
    if call_id is not None and call_id not in known:
        act = await calls.get(call_id)
        known |= {call_id: act} if act["state"] in ("waiting", "unknown") else {}
    return list(known.values())


def brief(act: Mapping[str, Any]) -> str:
    """`write_file("notes", …)` on one line."""
    given = act.get("edited") or act["arguments"]
    values = list(given.values()) if isinstance(given, dict) else [given]
    shown = [json.dumps(value, ensure_ascii=False) for value in values[:4]]
    cut = [text if len(text) <= BRIEF else text[: BRIEF - 1] + "…" for text in shown]
    return escape(f"{act['name']}({', '.join(cut)}{', …' if len(values) > 4 else ''})")


def argument_lines(arguments: Any) -> list[str]:
    """Name and value of each; controls, which may hide or reorder a text, are written out."""
    if not isinstance(arguments, dict):
        arguments = {"arguments": arguments}
    lines = []
    for name, value in arguments.items():
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        rest = f" … {len(text) - MOST_SHOWN} more characters" if len(text) > MOST_SHOWN else ""
        first, *more = (text[:MOST_SHOWN] + rest).split("\n")
        lines += [f"{escape(name)}: {escape(first)}", *["  " + escape(line) for line in more]]
    return lines


def read_arguments(text: str) -> dict[str, Any]:
    """Raises NotAnswered."""
    try:
        found = json.loads(text)
    except ValueError as error:
        raise NotAnswered(f"This is not JSON: {error}.") from None
    if not isinstance(found, dict):
        raise NotAnswered("Arguments are a JSON object: {…}.")
    return found


def read_answer(asked: Mapping[str, Any], text: str) -> Any:
    """What a person means: one of the choices by its number or its words, a text, or JSON for the schema.

    Raises NotAnswered.
    """
    choices = [str(choice) for choice in asked.get("choices") or []]
    if choices:
        if text in choices:
            return text
        if text.isdigit() and 0 < int(text) <= len(choices):
            return choices[int(text) - 1]
        raise NotAnswered(f"Choose one of: {', '.join(choices)}.")
    schema = asked.get("schema")
    if not schema or schema.get("type") == "string":
        return text
    try:
        return json.loads(text)
    except ValueError as error:
        raise NotAnswered(f"The answer has to be JSON that fits the schema: {error}.") from None
