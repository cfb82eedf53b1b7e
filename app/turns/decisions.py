"""Decisions: what is answered to acts that wait: approvals, answers, results that come later, unknown outcomes."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial

import orjson

from app.domain.act import Act, ActState
from app.domain.errors import ApprovalExpired, Conflict, HectorError, InvalidRequest, NotFound
from app.domain.event import ApprovalDecided
from app.domain.principal import Principal
from app.domain.session import Session
from app.events.change import Change
from app.events.elsewhere import at_owner
from app.events.live import LiveSessions
from app.events.log import SessionLog
from app.observability import audit
from app.storage import acts as rows
from app.storage import messages
from app.storage.connection import Connection
from app.tools.arguments import BadArguments, parse
from app.tools.base import ToolResult
from app.tools.client_tool import ClientTool, ClientToolDefinition
from app.turns import outcomes
from app.turns.acting import Acting
from app.turns.closing import ended
from app.turns.desk import Desk, desk_of
from app.turns.open_turn import OpenTurn
from app.turns.outcomes import Outcome
from app.turns.releasing import released, rule_for
from app.turns.runner import Runner
from app.turns.step import ensure_room
from app.turns.waiting import can_go_on

log = logging.getLogger(__name__)

EXPIRED_AT_ONCE = 100
MOST_RELEASED = 100
NOBODY = "Nobody answered in time."


class _Checkpointed(Exception):
    """The act was read before its outcome became part of the history."""


class Decisions:
    """Changes acts from outside their turn, and lets the turn go on. Every method names who decides as `by`."""

    def __init__(self, acting: Acting, runner: Runner, live: LiveSessions, *, clock_ms: Callable[[], int]) -> None:
        self._acting = acting
        self._runner = runner
        self._live = live
        self._clock_ms = clock_ms

    # -- reading --------------------------------------------------------------------------------

    async def page(
        self,
        session_log: SessionLog,
        *,
        turn_id: str | None = None,
        states: Sequence[ActState] = (),
        waiting_for: str | None = None,
        with_children: bool = False,
        limit: int,
    ) -> list[Act]:
        """Acts of a session, oldest first; with those of the sessions that its calls began."""
        session_id = session_log.session.session_id

        def find(connection: Connection) -> list[Act]:
            ids = [session_id, *(rows.children(connection, session_id) if with_children else [])]
            return rows.page(connection, ids, turn_id=turn_id, states=states, waiting_for=waiting_for, limit=limit)

        return await session_log.database.read(find)

    async def waiting(self, caller: Principal, agent: str, *, limit: int) -> list[Act]:
        """Open approvals in all sessions that the caller may see."""
        query = partial(
            rows.waiting,
            principal=caller.id,
            agent=agent,
            user_id=caller.user_id,
            waiting_for="approval",
            limit=limit,
        )
        stores = (self._live.durable, self._live.ephemeral)
        found = [act for store in stores for act in await store.database.read(query)]
        return found[:limit]

    async def stored_result(self, session_log: SessionLog, result_id: str) -> str | None:
        """A whole result."""
        query = partial(rows.find_result, session_id=session_log.session.session_id, result_id=result_id)
        return await session_log.database.read(query)

    async def locate(self, session_log: SessionLog, call_id: str) -> tuple[SessionLog, Act]:
        """A call of the session, or of a session that one of its calls began. Raises NotFound (`call_not_found`)."""
        session_id = session_log.session.session_id

        def find(connection: Connection) -> Act | None:
            ids = [session_id, *rows.children(connection, session_id)]
            return next((act for one in ids if (act := rows.find(connection, one, call_id))), None)

        act = await session_log.database.read(find)
        owner = session_log
        if act is not None and act.session_id != session_id:
            opened = await self._live.open(act.session_id)
            act, owner = (None, session_log) if opened is None else (act, opened)
        if act is None:
            raise _call_not_found(call_id)
        return owner, act

    async def find(self, session_log: SessionLog, call_id: str) -> Act:
        """Raises NotFound (`call_not_found`)."""
        query = partial(rows.find, session_id=session_log.session.session_id, call_id=call_id)
        act = await session_log.database.read(query)
        if act is None:
            raise _call_not_found(call_id)
        return act

    # -- approvals ------------------------------------------------------------------------------

    @at_owner
    async def decide(
        self,
        session_log: SessionLog,
        call_id: str,
        *,
        approved: bool,
        by: str,
        arguments: dict[str, object] | None = None,
        reason: str | None = None,
        remember: str | None = None,
    ) -> Act:
        """Approve or refuse. `arguments` take the place of the model's; `remember`: `session` or `agent`.

        Raises:
            NotFound, Conflict (`already_decided`), ApprovalExpired, Unavailable.
        """
        act = await self._waiting(session_log, call_id, "approval")
        now = self._clock_ms()
        rule = rule_for(act) if approved and remember else None
        edited = orjson.dumps(arguments).decode() if arguments is not None else None
        if approved and edited is not None:
            self._check_edited(session_log, replace(act, edited=edited))
        if not approved:
            sentence = f"A person refused this call{f': {reason}' if reason else '.'}"
            after = act.to(ActState.REFUSED, now, by=by, outcome=sentence, result={"error": sentence})
        else:
            after = act.to(ActState.APPROVED, now, by=by, edited=edited, remembers=rule)
        freed = await self._released(session_log, rule, by=by, but=call_id) if rule is not None else []
        decided = ApprovalDecided(act.turn_id, call_id, approved, by, edited is not None, reason, remember)
        await ensure_room(session_log, 2 + 2 * len(freed))
        async with self._change(session_log, act) as change:
            self._add(change, act, after)
            change.fact(decided)
            if after.state is ActState.REFUSED:
                change.fact(ended(after, outcomes.refused(after.outcome or "")))
            self._add_released(change, freed, by=by, remember=remember or "")
            if remember == "agent" and rule is not None:
                self._add_rule(change, session_log.session, rule, now)
            change.set(active_ms=now)
            changed = [after, *[one for _, one in freed]]
            change.on_commit(lambda: self._go_on(session_log, changed))
        if remember == "agent" and rule is not None:
            await self._release_elsewhere(session_log, rule, by=by)
        return after

    def _check_edited(self, session_log: SessionLog, act: Act) -> None:
        """Raises InvalidRequest: the tool does not take the arguments, or the rules forbid them."""
        desk = desk_of(session_log)
        tools = self._acting.toolbox.for_agent(desk.agent) if desk is not None else None
        tool = tools.find(act.name) if tools is not None else None
        if tools is None or tool is None:
            return
        try:
            arguments = parse(act.effective, tool.spec.parameters)
        except BadArguments as error:
            raise InvalidRequest(f"The tool {act.name!r} does not take these arguments: {error}") from None
        decision = tools.decide(act.name, arguments, ())
        if decision.verdict == "deny":
            raise InvalidRequest(f"This is not allowed: {decision.why}")

    async def _released(self, session_log: SessionLog, rule: str, *, by: str, but: str = "") -> list[tuple[Act, Act]]:
        """What waits in the session, except the call `but`, and may run by `rule`."""
        desk = desk_of(session_log)
        tools = self._acting.toolbox.for_agent(desk.agent) if desk is not None else None
        if tools is None:
            return []
        query = partial(
            rows.page,
            session_ids=[session_log.session.session_id],
            states=[ActState.WAITING],
            waiting_for="approval",
            limit=MOST_RELEASED,
        )
        waiting = [act for act in await session_log.database.read(query) if act.call_id != but]
        return released(tools, waiting, rule, by=by, now_ms=self._clock_ms())

    async def _release_elsewhere(self, session_log: SessionLog, rule: str, *, by: str) -> None:
        """A yes for the agent holds in all sessions of its user: let go what waits there for the same thing."""
        session = session_log.session
        query = partial(
            rows.waiting,
            principal=session.principal,
            agent=session.agent,
            user_id=session.user_id,
            waiting_for="approval",
            limit=MOST_RELEASED,
        )
        waiting = await session_log.database.read(query)
        for session_id in dict.fromkeys([act.session_id for act in waiting if act.session_id != session.session_id]):
            try:
                other = await self._live.open(session_id)
                if other is not None:
                    await self._release(other, rule, by=by)
            except HectorError as error:  # it waits on, and can be answered by itself
                log.warning("what waits in session %s is not released: %s", session_id, error)

    @at_owner
    async def _release(self, session_log: SessionLog, rule: str, *, by: str) -> None:
        freed = await self._released(session_log, rule, by=by)
        if not freed:
            return
        await ensure_room(session_log, 2 * len(freed))
        async with self._change(session_log, freed[0][0]) as change:
            self._add_released(change, freed, by=by, remember="agent")
            change.set(active_ms=self._clock_ms())
            change.on_commit(lambda: self._go_on(session_log, [after for _, after in freed]))

    def _add_released(self, change: Change, freed: list[tuple[Act, Act]], *, by: str, remember: str) -> None:
        for before, after in freed:
            self._add(change, before, after)
            change.fact(ApprovalDecided(after.turn_id, after.call_id, True, by, False, None, remember))

    def _add_rule(self, change: Change, session: Session, rule: str, now: int) -> None:
        rows.add_rule(
            change.unit,
            rule_id=self._acting.new_id("rule"),
            principal=session.principal,
            user_id=session.user_id,
            agent=session.agent,
            rule=rule,
            created_ms=now,
        )

    # -- results and answers --------------------------------------------------------------------

    @at_owner
    async def give_result(
        self,
        session_log: SessionLog,
        call_id: str,
        *,
        by: str,
        result: object = None,
        error: str | None = None,
        client_tools: tuple[ClientToolDefinition, ...] | None = None,
    ) -> Act:
        """The outcome of a deferred call, or the answer to a question. The same once more changes nothing.

        `client_tools`: those that the caller runs from now on, in place of the ones that the turn knows of.

        Raises:
            NotFound, Conflict (`already_decided`), ApprovalExpired, Unavailable.
        """
        act = await self.find(session_log, call_id)
        if client_tools is not None:
            _lend(session_log, act.turn_id, client_tools)
        made = self._made(result, error)
        if act.state.is_over and act.result == made.result and act.changes[-1].by is not None:
            return act
        if act.state is ActState.APPROVED and act.kept is not None and act.kept.get("answer") == result:
            return act
        act = await self._waiting(session_log, call_id, "result", "input")
        if act.waiting_for == "input" and error is None:
            return await self._answer(session_log, act, result, by)
        return await self._settle(session_log, act, made, by)

    async def _answer(self, session_log: SessionLog, act: Act, answer: object, by: str) -> Act:
        """The tool goes on with the answer."""
        now = self._clock_ms()
        kept = {**(act.kept or {}), "answer": answer}
        after = act.to(ActState.APPROVED, now, by=by, kept=kept)
        async with self._change(session_log, act) as change:
            self._add(change, act, after)
            change.set(active_ms=now)
            change.on_commit(lambda: self._go_on(session_log, [after]))
        return after

    def _made(self, result: object, error: str | None) -> Outcome:
        if error is not None:
            return outcomes.failed(error)
        text = result if isinstance(result, str) else orjson.dumps(result).decode()
        return self._acting.outcome_of(ToolResult(text, result))

    async def _settle(self, session_log: SessionLog, act: Act, made: Outcome, by: str) -> Act:
        now = self._clock_ms()
        result_id = made.result_id if made.whole is not None else None
        after = act.to(made.state, now, by=by, outcome=made.text, result=made.result, result_id=result_id)
        await ensure_room(session_log, 1)
        async with self._change(session_log, act) as change:
            self._add(change, act, after)
            if made.whole is not None and result_id is not None:
                size = len(made.whole.encode())
                rows.add_result(
                    change.unit,
                    result_id=result_id,
                    call_id=act.call_id,
                    content=made.whole,
                    size=size,
                    created_ms=now,
                )
            change.fact(ended(after, made))
            if act.is_checkpointed:  # its turn is over: the history is put right
                messages.add_outcome(change.unit, act.call_id, made.text)
            change.set(active_ms=now)
            change.on_commit(lambda: self._go_on(session_log, [after]))
        return after

    # -- unknown outcomes -----------------------------------------------------------------------

    @at_owner
    async def resolve(
        self,
        session_log: SessionLog,
        call_id: str,
        *,
        by: str,
        happened: bool,
        again: bool = False,
        result: object = None,
    ) -> Act:
        """Say what became of an act nobody knew of; with `again` it runs once more.

        Raises:
            NotFound, Conflict (`already_decided`), InvalidRequest: `again`, and its turn is over.
        """
        while True:
            act = await self.find(session_log, call_id)
            if act.state is not ActState.UNKNOWN:
                raise _decided_already(act)
            try:
                return await self._resolve(session_log, act, by=by, happened=happened, again=again, result=result)
            except _Checkpointed:
                continue  # the turn that told its model so has gone on meanwhile

    async def _resolve(
        self, session_log: SessionLog, act: Act, *, by: str, happened: bool, again: bool, result: object
    ) -> Act:
        if not again:
            sentence = "This call did not happen." if not happened else None
            text = "This call happened." if result is None else result
            return await self._settle(session_log, act, self._made(text, sentence), by)
        if act.is_checkpointed:
            raise InvalidRequest("The turn has gone on without this call; send a message that asks for it again.")
        after = act.to(ActState.APPROVED, self._clock_ms(), by=by)
        async with self._change(session_log, act) as change:
            self._add(change, act, after)
            change.on_commit(lambda: self._go_on(session_log, [after]))
        return after

    # -- time -----------------------------------------------------------------------------------

    async def expire(self) -> None:
        """Refuse what has waited too long."""
        for store in (self._live.durable, self._live.ephemeral):
            query = partial(rows.expired, now_ms=self._clock_ms(), limit=EXPIRED_AT_ONCE)
            for act in await store.database.read(query):
                await self._expire(act)

    async def _expire(self, act: Act) -> None:
        session_log = await self._live.open(act.session_id)
        if session_log is not None:
            await self._expire_in(session_log, act.call_id)

    @at_owner
    async def _expire_in(self, session_log: SessionLog, call_id: str) -> None:
        act = await self.find(session_log, call_id)
        if act.state is not ActState.WAITING:
            return
        made = outcomes.refused(NOBODY) if act.waiting_for == "approval" else outcomes.failed(NOBODY)
        try:
            await self._settle(session_log, replace(act, expires_ms=None), made, "timeout")
        except HectorError as error:
            log.warning("call %s cannot expire: %s", act.call_id, error)

    # -- small things ---------------------------------------------------------------------------

    async def _waiting(self, session_log: SessionLog, call_id: str, *what: str) -> Act:
        act = await self.find(session_log, call_id)
        if act.state is not ActState.WAITING or act.waiting_for not in what:
            if act.state in (ActState.REFUSED, ActState.FAILED) and act.changes[-1].by == "timeout":
                raise ApprovalExpired("Nobody answered in time; the call was refused.")
            raise _decided_already(act)
        if act.expires_ms is not None and act.expires_ms <= self._clock_ms():
            await self._expire(act)
            raise ApprovalExpired("Nobody answered in time; the call was refused.")
        return act

    @asynccontextmanager
    async def _change(self, session_log: SessionLog, act: Act) -> AsyncIterator[Change]:
        """A change of `act` as it was read.

        Raises:
            Conflict: `already_decided`, somebody else was faster.
            _Checkpointed: the history has its outcome since.
        """
        try:
            async with Change(session_log) as change:
                yield change
        except NotFound:
            found = await self.find(session_log, act.call_id)
            if found.state is act.state and found.is_checkpointed and not act.is_checkpointed:
                raise _Checkpointed from None
            if found.state is act.state:
                raise
            raise _decided_already(found) from None

    def _add(self, change: Change, before: Act, after: Act) -> None:
        rows.add_change(change.unit, before, after)
        by = after.changes[-1].by
        if by is not None:
            change.on_commit(partial(_note, change.session, after, by))

    def _go_on(self, session_log: SessionLog, changed: list[Act]) -> None:
        """The warm copy of the turn has the acts as they are now; it goes on if it can."""
        desk = desk_of(session_log)
        if desk is None:
            return
        turn = desk.open
        acts = {act.call_id: act for act in changed}
        if turn is None or not any(act.call_id in acts for act in turn.acts):
            desk.read_again()  # it may have been put right
            return
        turn.acts = [acts.get(act.call_id, act) for act in turn.acts]
        self._wake(desk, turn, changed[0].call_id)

    def _wake(self, desk: Desk, turn: OpenTurn, call_id: str) -> None:
        if turn.acts_changed is not None:
            turn.acts_changed()
        elif can_go_on(turn):
            self._runner.go_on(desk, turn, call_id)


def _lend(session_log: SessionLog, turn_id: str, client_tools: tuple[ClientToolDefinition, ...]) -> None:
    desk = desk_of(session_log)
    turn = desk.find(turn_id) if desk is not None else None
    if turn is not None:
        turn.ask = replace(turn.ask, client_tools=tuple([ClientTool(one) for one in client_tools]))


def _note(session: Session, act: Act, by: str) -> None:
    """What is told of a decision to those who look into it later: no arguments, no reason, no result."""
    audit.note(
        "call_decided",
        principal=session.principal,
        user=by,
        agent=session.agent,
        session_id=session.session_id,
        call_id=act.call_id,
        tool=act.name,
        decision=act.state.value,
        is_edited=True if act.edited is not None else None,
    )


def _call_not_found(call_id: str) -> NotFound:
    return NotFound(f"There is no call {call_id!r} in this session.", reason="call_not_found")


def _decided_already(act: Act) -> Conflict:
    return Conflict(
        f"This call is {act.state.value} already.",
        reason="already_decided",
        details={"state": act.state.value, "by": next((one.by for one in reversed(act.changes) if one.by), None)},
    )
