"""Tool calls: what a step of the model asks for is stored, decided, carried out and told, a row before it is a deed."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Sequence
from dataclasses import replace

from app.domain.act import Act, ActState, ToolClass
from app.domain.errors import Unavailable
from app.domain.event import TurnWaiting
from app.domain.label import least_trusted
from app.events.change import Change
from app.llm.base import LLMStopped, ToolCall
from app.storage import acts as rows
from app.storage import turns
from app.storage.engine.unit_of_work import Unwritable
from app.tools.base import Later, Probing, Question, Tool, ToolUnknown
from app.turns import checkpoint, outcomes, proposals
from app.turns.acting import Acting, AgentTools
from app.turns.carrying import Carried, Carrying
from app.turns.closing import ended
from app.turns.desk import Desk
from app.turns.going_on import GO_ON, GoOn, budget_of
from app.turns.open_turn import OpenTurn
from app.turns.outcomes import Outcome
from app.turns.proposals import Proposals
from app.turns.step import ensure_room

log = logging.getLogger(__name__)

FACTS_PER_CALL = 4
TOLD_AFTER, ENDED_AFTER = 3, 5
"""So often may a call have the same outcome before the model is told, and before the turn ends."""
RETRY_SECONDS = (0.05, 0.2, 0.8, 2.0)


class TurnWaits(Exception):
    """Nothing more can be done before somebody answers; the turn's row says so already."""


class LoopDetected(Exception):
    """The model makes the same call again and again."""


class ToolCalls:
    """The acts of one running turn. One object a run; the acts of the present step are `turn.acts`."""

    def __init__(
        self, acting: Acting, desk: Desk, turn: OpenTurn, tools: AgentTools, remembered: Sequence[str]
    ) -> None:
        self._acting = acting
        self._desk = desk
        self._turn = turn
        self._tools = tools
        self._proposals = Proposals(acting, desk, turn, tools, self._find, remembered)
        self._shows = desk.agent.config.reasoning.show_tool_execution
        self._tells_unknown = desk.agent.config.reasoning.on_unknown == "tell_model"
        self._go_on = GoOn()
        self._asks_to_go_on = desk.agent.config.reasoning.on_limit == "ask"
        self._running: dict[str, Carrying] = {}
        self._changed = asyncio.Event()

    # -- proposing ------------------------------------------------------------------------------

    async def propose(self, calls: Sequence[ToolCall]) -> None:
        """Store what the model asks for, with its message and what may begin at once. Raises HectorError."""
        desk, turn, acting = self._desk, self._turn, self._acting
        await ensure_room(desk.session_log, FACTS_PER_CALL * len(calls))
        now = acting.clock_ms()
        proposed = await self._proposals.make(calls, now)
        acts = self._started_first([act for act, _ in proposed], now)
        async with Change(desk.session_log) as change:
            entry = checkpoint.add_calls(change, desk, turn, acts, acting.new_id("msg"), now)
            for act, (_, arguments) in zip(acts, proposed, strict=True):
                rows.add(change.unit, act, created_ms=now)
                change.fact(self._proposals.told(act, arguments))
                if act.state is ActState.WAITING:
                    change.fact(proposals.request(act, arguments))
                elif act.state is ActState.REFUSED:
                    change.fact(ended(act, outcomes.refused(act.outcome or ""), is_shown=self._shows))
            change.set(active_ms=now)
            if turn.used is not None:
                turns.add_used(change.unit, turn.turn_id, turn.used)

            def stored() -> None:
                turn.acts = acts
                turn.calls += sum([act.name != GO_ON for act in acts])
                turn.entries.append(entry)
                if desk.window is not None:
                    desk.window.append(entry)

            change.on_commit(stored)

    def _started(self, act: Act, now: int) -> Act:
        """The act as its tool begins: whatever comes of it has the tool's labels."""
        tool = self._find(act.name)
        if tool is None:
            return act.to(ActState.STARTED, now)
        trust, secrecy = tool.spec.labels
        return act.to(ActState.STARTED, now, trust=trust, secrecy=secrecy)

    def _started_first(self, acts: list[Act], now: int) -> list[Act]:
        """Those that begin at once are stored as started: nothing of them has happened before that is committed."""
        room = self._acting.limits.parallel
        started: list[Act] = []
        for act in acts:
            if act.state is ActState.APPROVED and room > 0:
                act, room = self._started(act, now), room - 1
            started.append(act)
        return started

    # -- carrying out ---------------------------------------------------------------------------

    async def carry_out(self) -> None:
        """Carry out the acts of the step until each is over and the history has their outcomes.

        Raises:
            TurnWaits: others have to answer first.
            LLMStopped: the turn was stopped; nothing of it runs any more.
            LoopDetected, HectorError.
        """
        turn = self._turn
        turn.stoppers.append(self._stop)
        turn.acts_changed = self._changed.set
        try:
            while turn.acts:
                if turn.stop is not None:
                    raise LLMStopped
                await self._start_approved()
                for act in [act for act in turn.acts if act.state is ActState.STARTED]:
                    self._carry(act)
                if not self._running:
                    await self._conclude()
                    continue
                await self._changed.wait()
                self._changed.clear()  # before: a call that ends while another is settled would be missed
                await self._settle_carried()
        finally:
            turn.stoppers.remove(self._stop)
            turn.acts_changed = None
            await self._abandon()
            turn.phase = None

    async def _start_approved(self) -> None:
        """What was approved, as far as there is room."""
        turn = self._turn
        at_work = sum([act.state is ActState.STARTED for act in turn.acts])
        room = self._acting.limits.parallel - at_work
        waiting = [act for act in turn.acts if act.state is ActState.APPROVED][: max(room, 0)]
        if not waiting:
            return
        now = self._acting.clock_ms()
        async with Change(self._desk.session_log) as change:
            started = [self._started(act, now) for act in waiting]
            for before, after in zip(waiting, started, strict=True):
                rows.add_change(change.unit, before, after)
            change.on_commit(lambda: self._replace(*started))

    def _carry(self, act: Act) -> None:
        if act.call_id in self._running:
            return
        tool = self._find(act.name)
        self._turn.phase = f"tool {act.name}"
        self._running[act.call_id] = Carrying(self._acting, self._desk, self._turn, act, tool, self._changed.set)

    async def _settle_carried(self) -> None:
        if self._turn.stop is not None:  # the end of the turn stores what came of them
            return
        for call_id, carrying in list(self._running.items()):
            if carrying.is_done:
                await self._settle(self._current(call_id), carrying.result())
                del self._running[call_id]

    async def _settle(self, act: Act, carried: Carried) -> None:
        """Store what came of an act; with the last one of a step goes the checkpoint."""
        if carried.waits is not None:
            await self._wait(act, carried.waits)
            return
        outcome = self._noted(act, carried.outcome)
        for pause in (*RETRY_SECONDS, None):
            try:
                await self._store(act, outcome, carried.ms)
            except Unavailable as error:
                if pause is None or isinstance(error.__cause__, Unwritable):
                    raise
                await asyncio.sleep(pause)
            else:
                return

    async def _store(self, act: Act, outcome: Outcome, ms: int | None) -> None:
        desk, turn, now = self._desk, self._turn, self._acting.clock_ms()
        is_asked = outcome.state is ActState.UNKNOWN and not self._tells_unknown
        after = act.to(
            outcome.state,
            now,
            waiting_for="input" if is_asked else None,
            asked=_whether_it_happened(act) if is_asked else None,
            outcome=outcome.text,
            result=outcome.result,
            result_id=outcome.result_id if outcome.whole is not None else None,
            trust=least_trusted(act.trust, outcome.trust or act.trust),
        )
        await ensure_room(desk.session_log, FACTS_PER_CALL + len(turn.acts))
        async with Change(desk.session_log) as change:
            if outcome.whole is not None and outcome.result_id is not None:
                size = len(outcome.whole.encode())
                rows.add_result(
                    change.unit,
                    result_id=outcome.result_id,
                    call_id=act.call_id,
                    content=outcome.whole,
                    size=size,
                    created_ms=now,
                )
            acts = [after if one.call_id == after.call_id else one for one in turn.acts]
            is_last = all(map(self._is_over, acts))
            rows.add_change(change.unit, act, after)
            change.fact(ended(after, outcome, ms=ms, is_shown=self._shows))
            checkpoint.add_shown(change, turn)
            change.on_commit(lambda: self._replace(after))
            if act.name == GO_ON and after.state is ActState.SETTLED:
                turn.extended[budget_of(act)] += 1
            if is_last:
                self._add_checkpoint(change, acts, now)

    def _add_checkpoint(self, change: Change, acts: Sequence[Act], now: int) -> None:
        desk, turn = self._desk, self._turn
        ids = [self._acting.new_id("msg") for _ in acts]
        entries = checkpoint.add_outcomes(change, desk, turn, acts, ids, now)

        def stored() -> None:
            turn.acts = []
            turn.entries += entries
            if desk.window is not None:
                desk.window += entries

        change.on_commit(stored)

    async def _conclude(self) -> None:
        """Nothing runs: the step is over, or waits for somebody."""
        turn = self._turn
        turn.declined.update(
            [budget_of(act) for act in turn.acts if act.name == GO_ON and act.state is ActState.REFUSED]
        )
        waiting = [act for act in turn.acts if not self._is_over(act)]
        if waiting:
            await self._park(waiting)
            raise TurnWaits
        await ensure_room(self._desk.session_log, len(turn.acts))
        async with Change(self._desk.session_log) as change:
            self._add_checkpoint(change, turn.acts, self._acting.clock_ms())

    async def _park(self, waiting: Sequence[Act]) -> None:
        """The turn waits: from here on it is a row, and its events."""
        desk, turn = self._desk, self._turn
        first = waiting[0]
        what = first.waiting_for or "input"
        await ensure_room(desk.session_log, 1)
        async with Change(desk.session_log) as change:
            turns.add_wait(change.unit, turn.turn_id, waiting_for=what)
            checkpoint.add_shown(change, turn)
            change.fact(TurnWaiting(turn.turn_id, what, first.call_id, first.expires_ms, first.asked))
            change.set(active_ms=self._acting.clock_ms())
        turn.waiting_for = what

    async def _wait(self, act: Act, waits: Later | Question) -> None:
        """A tool needs an answer, or has its outcome later."""
        now = self._acting.clock_ms()
        seconds = self._acting.limits.approval_seconds
        asked: dict[str, object] | None = None
        what = "result"
        if isinstance(waits, Question):
            what, asked = "input", _asked(waits)
        elif waits.expires_seconds is not None:
            seconds = waits.expires_seconds
        after = act.to(
            ActState.WAITING,
            now,
            waiting_for=what,
            asked=asked,
            expires_ms=now + int(seconds * 1000),
            kept=self._running[act.call_id].context.kept,
        )
        async with Change(self._desk.session_log) as change:
            rows.add_change(change.unit, act, after)
            checkpoint.add_shown(change, self._turn)
            change.on_commit(lambda: self._replace(after))

    # -- after a restart ------------------------------------------------------------------------

    async def resolve_doubtful(self, doubtful: Sequence[Act]) -> None:
        """Acts that were started when the process died: those that must not run twice are looked up, or are unknown."""
        for act in doubtful:
            if act.tool_class is not ToolClass.ONCE or act.kept is not None:
                continue  # they run again, with the same key
            tool = self._find(act.name)
            carried = await self._probed(act, tool)
            if carried is not None:
                await self._settle(act, carried)

    async def _probed(self, act: Act, tool: object) -> Carried | None:
        """What the tool knows of the act; `None`: it has not happened."""
        if not isinstance(tool, Probing):
            return Carried(outcomes.unknown())
        acting = self._acting
        key = acting.key(act.session_id, act.turn_id, act.step, act.place)
        try:
            found = await tool.probe(key)
        except ToolUnknown:
            return Carried(outcomes.unknown())
        except Exception:
            log.exception("the probe of tool %s failed", act.name)
            return Carried(outcomes.unknown())
        if found is None:
            return None
        return Carried(acting.outcome_of(found))

    # -- stopping -------------------------------------------------------------------------------

    def _stop(self) -> None:
        for carrying in self._running.values():
            carrying.stop()
        self._changed.set()

    async def _abandon(self) -> None:
        """Whatever ended this run: nothing of it goes on."""
        if not self._running:
            return
        for carrying in self._running.values():
            carrying.stop()
        await asyncio.wait(
            [carrying.task for carrying in self._running.values()], timeout=self._acting.limits.stop_seconds
        )
        now = self._acting.clock_ms()
        for call_id, carrying in self._running.items():
            act = self._current(call_id)
            if act.state is not ActState.STARTED:
                continue
            if not carrying.is_done:
                log.warning("call %s of tool %s does not end; it is left to itself", call_id, act.name)
                continue  # it may still happen: the turn's end closes it as such
            carried = carrying.result()
            made = carried.outcome if carried.waits is None else outcomes.cancelled()
            asks = "input" if made.state is ActState.UNKNOWN else None
            result_id = made.result_id if made.whole is not None else None
            after = act.to(
                made.state, now, waiting_for=asks, outcome=made.text, result=made.result, result_id=result_id
            )
            self._turn.closed[call_id] = after
            if made.whole is not None:
                self._turn.closed_results[call_id] = made.whole
        self._running.clear()

    # -- small things ---------------------------------------------------------------------------

    def _find(self, name: str) -> Tool | None:
        return self._go_on if name == GO_ON and self._asks_to_go_on else self._tools.find(name)

    def _is_over(self, act: Act) -> bool:
        return act.state.is_over or (act.state is ActState.UNKNOWN and self._tells_unknown)

    def _current(self, call_id: str) -> Act:
        return next(act for act in self._turn.acts if act.call_id == call_id)

    def _replace(self, *acts: Act) -> None:
        changed = {act.call_id: act for act in acts}
        self._turn.acts = [changed.get(act.call_id, act) for act in self._turn.acts]

    def _noted(self, act: Act, outcome: Outcome) -> Outcome:
        """The outcome, with a word for the model where it repeats itself."""
        said = f"{act.name}\n{act.effective}\n{outcome.state}\n{outcome.text}".encode(errors="replace")
        digest = hashlib.blake2b(said, digest_size=16).digest()
        self._turn.repeated[digest] += 1
        times = self._turn.repeated[digest]
        if times < TOLD_AFTER:
            return outcome
        note = f"[This same call has had this same outcome {times} times. Do something else, or conclude.]"
        return replace(outcome, text=f"{outcome.text}\n{note}")

    @property
    def is_looping(self) -> bool:
        return any(times >= ENDED_AFTER for times in self._turn.repeated.values())


def _whether_it_happened(act: Act) -> dict[str, object]:
    return {
        "question": f"Did this call of {act.name} happen? Its answer was lost.",
        "choices": ["happened", "did not happen", "again"],
    }


def _asked(question: Question) -> dict[str, object]:
    asked: dict[str, object] = {"question": question.question}
    if question.choices:
        asked["choices"] = list(question.choices)
    if question.schema is not None:
        asked["schema"] = question.schema
    return asked
