"""The commands of chat about calls of tools: /calls, /approve, /refuse, /answer, /resolve."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from app.cli.decide import NotAnswered, brief, open_acts, read_answer, read_arguments
from app.cli.tables import print_rows
from hector_client import Session

CALL_HEADINGS = ("call", "state", "waits for", "what")
LISTED = 20
WORDS = ("/calls", "/approve", "/refuse", "/answer", "/resolve")


class ActCommands:
    """`note` prints a line. Each command names a call by its id, by its end, or not at all where one waits only."""

    def __init__(self, session: Session, note: Callable[[str], None]) -> None:
        self._session = session
        self._note = note

    async def run(self, word: str, rest: str) -> bool:
        """Whether something was decided, so that a turn may go on. Raises HectorError."""
        try:
            match word:
                case "/calls":
                    return await self._list()
                case "/approve":
                    return await self._approve(rest)
                case "/refuse":
                    return await self._refuse(rest)
                case "/answer":
                    return await self._answer(rest)
                case _:
                    return await self._resolve(rest)
        except NotAnswered as problem:
            self._note(str(problem))
            return False

    async def _list(self) -> Literal[False]:
        waiting = await open_acts(self._session)
        ids = {act["call_id"] for act in waiting}
        others = [act for act in await self._session.calls.list() if act["call_id"] not in ids]
        found = [*others[-LISTED:], *waiting]
        if found:
            print_rows(CALL_HEADINGS, [call_row(act) for act in found])
        else:
            self._note("There are no calls of tools in this session.")
        return False

    async def _approve(self, rest: str) -> bool:
        words, _, edit = rest.partition("--edit")
        act, _ = await self._choose(words, "approval")
        arguments = read_arguments(edit) if edit.strip() else None
        await self._session.calls.approve(act["call_id"], arguments=arguments)
        self._note(f"approved: {act['name']}")
        return True

    async def _refuse(self, rest: str) -> bool:
        act, reason = await self._choose(rest, "approval")
        await self._session.calls.refuse(act["call_id"], reason=reason or None)
        self._note(f"refused: {act['name']}")
        return True

    async def _answer(self, rest: str) -> bool:
        act, text = await self._choose(rest, "input", "result")
        if not text:
            raise NotAnswered("Write the answer behind the call: /answer CALL text.")
        await self._session.calls.post_result(act["call_id"], read_answer(act.get("asked") or {}, text))
        return True

    async def _resolve(self, rest: str) -> bool:
        act, outcome = await self._choose(rest, "unknown")
        match outcome:
            case "happened":
                await self._session.calls.resolve(act["call_id"], happened=True)
            case "failed":
                await self._session.calls.resolve(act["call_id"], happened=False)
            case "again":
                await self._session.calls.run_again(act["call_id"])
            case _:
                raise NotAnswered("Say what became of it: /resolve CALL happened, failed or again.")
        return True

    async def _choose(self, rest: str, *wanted: str) -> tuple[dict[str, Any], str]:
        """The call that the first word names, or the only one that waits for this; and the rest of the words."""
        waiting = [act for act in await open_acts(self._session) if _waits_for(act) in wanted]
        word, _, after = rest.strip().partition(" ")
        named = [act for act in waiting if word and str(act["call_id"]).endswith(word)]
        if len(named) == 1:
            return named[0], after.strip()
        if len(waiting) == 1 and not named:
            return waiting[0], rest.strip()
        if not waiting:
            raise NotAnswered("There is no such call that waits; /calls lists them.")
        raise NotAnswered(f"Name the call: {', '.join([str(act['call_id']) for act in waiting])}.")


def call_row(act: dict[str, Any]) -> list[str]:
    return [str(act["call_id"]), str(act["state"]), _waits_for(act), brief(act)]


def _waits_for(act: dict[str, Any]) -> str:
    return "unknown" if act["state"] == "unknown" else str(act.get("waiting_for") or "")
