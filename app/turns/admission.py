"""Admission: a message is accepted: its turn begins at once, waits, or is refused.

All decisions about one session are plain code between two awaits on one loop; the database repeats them as
conditions, so that a mistake here is an error and not a double.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from app.agents import Agent
from app.domain.act import Act, ActState
from app.domain.errors import Conflict, QuotaExceeded, Unavailable, session_over
from app.domain.ids import NewId
from app.domain.label import Trust
from app.domain.message import Message, MessageRole, ToolCallRecord
from app.domain.session import SessionStatus
from app.domain.turn import OnBusy, Turn, TurnState
from app.events.change import Change
from app.events.elsewhere import at_owner
from app.events.log import SessionLog
from app.observability import tracing
from app.storage import messages, turns
from app.tools.client_tool import ClientTool, ClientToolDefinition
from app.turns import begin
from app.turns.ask import Again, Ask
from app.turns.desk import Desk, DeskHost, Unclosed, desk_of
from app.turns.going_on import GO_ON, budget_of
from app.turns.keys import Key
from app.turns.open_turn import OpenTurn
from app.turns.runner import Runner


class Admission:
    """Accepts messages for turns, and messages without one."""

    def __init__(
        self,
        runner: Runner,
        host: DeskHost,
        *,
        new_id: NewId,
        clock_ms: Callable[[], int],
        on_busy: OnBusy = "queue",
        max_queue: int = 16,
    ) -> None:
        """`host` acts for the desks that are made here."""
        self._runner = runner
        self._host = host
        self._new_id = new_id
        self._clock_ms = clock_ms
        self._on_busy = on_busy
        self._max_queue = max_queue

    async def start(
        self,
        session_log: SessionLog,
        agent: Agent,
        ask: Ask,
        *,
        background: bool = False,
        on_busy: OnBusy | None = None,
        key: Key | None = None,
        grace_seconds: float | None,
        debug: bool = False,
    ) -> OpenTurn:
        """Accept a user message: when this returns it is stored, and its turn runs or is queued.

        `key` is stored with it; `once` looks it up.

        Raises:
            SessionOver, Conflict (`session_busy`), QuotaExceeded (`queue_full`), Unavailable: nothing was stored.
        """
        if session_log.elsewhere is not None:
            return await self._start_elsewhere(
                session_log,
                agent,
                ask,
                background=background,
                on_busy=on_busy,
                key=key,
                grace_seconds=grace_seconds,
                debug=debug,
            )
        desk = self._desk(session_log, agent)
        turn = self._new_turn(desk, ask, background=background, grace_seconds=grace_seconds, debug=debug)
        return await self._accept(desk, turn, on_busy, key)

    async def _start_elsewhere(
        self,
        session_log: SessionLog,
        agent: Agent,
        ask: Ask,
        *,
        background: bool,
        on_busy: OnBusy | None,
        key: Key | None,
        grace_seconds: float | None,
        debug: bool,
    ) -> OpenTurn:
        """Have the owner of the session accept the message, once, however often it has to be asked."""
        turn_id = await self._accept_at_owner(
            session_log,
            agent,
            self._new_id("turn"),
            text=ask.text,
            instructions=ask.instructions,
            again=ask.again,
            trust=ask.trust,
            response_format=None if ask.response_format is None else ask.response_format.decode(),
            client_tools=tuple([tool.definition for tool in ask.client_tools]),
            background=background,
            on_busy=on_busy,
            key=None if key is None else (key[0], key[1].hex()),
            grace_seconds=grace_seconds,
            debug=debug,
            caller=tracing.caller.get(),
        )
        if session_log.elsewhere is None:  # it became ours meanwhile
            desk = self._desk(session_log, agent)
            found = desk.find(turn_id)
            if found is None:
                raise Unavailable("The turn is over already; look for it.", details={"turn_id": turn_id})
            return found
        turn: OpenTurn = await session_log.elsewhere.turn(turn_id)
        turn.steers = on_busy == "steer" and turn.state is TurnState.QUEUED
        return turn

    @at_owner
    async def _accept_at_owner(
        self,
        session_log: SessionLog,
        agent: Agent,
        turn_id: str,
        *,
        text: str,
        instructions: str | None,
        again: Again | None,
        trust: Trust,
        response_format: str | None,
        client_tools: tuple[ClientToolDefinition, ...],
        background: bool,
        on_busy: OnBusy | None,
        key: tuple[str, str] | None,
        grace_seconds: float | None,
        debug: bool,
        caller: str | None,
    ) -> str:
        """Accept the message as the turn `turn_id`, unless it is there already; returns the turn that answers it."""
        desk = self._desk(session_log, agent)
        find = partial(turns.find, session_id=session_log.session.session_id, turn_id=turn_id)
        if desk.find(turn_id) is not None or await session_log.database.read(find) is not None:
            return turn_id
        wanted = None if response_format is None else response_format.encode()
        ask = Ask(text, instructions, again, trust, wanted, tuple([ClientTool(one) for one in client_tools]))
        its_key = None if key is None else (key[0], bytes.fromhex(key[1]))

        async def begin() -> OpenTurn:
            self.check_accepts(session_log)
            turn = self._new_turn(desk, ask, background=background, grace_seconds=grace_seconds, debug=debug)
            turn.turn_id, turn.caller = turn_id, caller
            return await self._accept(desk, turn, on_busy, its_key)

        if its_key is None:
            return (await begin()).turn_id
        found = await self.once(session_log, agent, its_key, begin)
        return found if isinstance(found, str) else found.turn_id

    async def once(
        self, session_log: SessionLog, agent: Agent, key: Key, start: Callable[[], Awaitable[OpenTurn]]
    ) -> OpenTurn | str:
        """The turn of an idempotency key: begun by `start` the first time, whatever the session's state is; later
        that turn, or its id once it is over.

        Raises:
            Conflict (`idempotency_conflict`), and what `start` raises: nothing was stored.
        """
        desk = self._desk(session_log, agent)
        return await desk.keys.once(session_log, key, start, desk.find)

    async def add(
        self,
        session_log: SessionLog,
        agent: Agent,
        role: MessageRole,
        content: str,
        *,
        tool_calls: tuple[ToolCallRecord, ...] = (),
        tool_call_id: str | None = None,
    ) -> Message:
        """Put a message into the history without a turn. A call and its outcome (`role="tool"`) are added together.

        Raises:
            Conflict (`session_busy`): a turn is open, whose place in the history is not settled.
            SessionOver, Unavailable: nothing was stored.
        """
        message_id = self._new_id("msg")
        if session_log.elsewhere is None:
            return await self._add(session_log, agent, role, content, message_id, tool_calls, tool_call_id)
        return await self._add_at_owner(session_log, agent, role, content, message_id, tool_calls, tool_call_id)

    @at_owner
    async def _add_at_owner(
        self,
        session_log: SessionLog,
        agent: Agent,
        role: MessageRole,
        content: str,
        message_id: str,
        tool_calls: tuple[ToolCallRecord, ...],
        tool_call_id: str | None,
    ) -> Message:
        """Add it unless it is there: an owner that died may have done so."""
        find = partial(messages.find, session_id=session_log.session.session_id, message_id=message_id)
        found = await session_log.database.read(find)
        return found or await self._add(session_log, agent, role, content, message_id, tool_calls, tool_call_id)

    async def _add(
        self,
        session_log: SessionLog,
        agent: Agent,
        role: MessageRole,
        content: str,
        message_id: str,
        tool_calls: tuple[ToolCallRecord, ...],
        tool_call_id: str | None,
    ) -> Message:
        self.check_accepts(session_log)
        desk = self._desk(session_log, agent)
        if session_log.is_busy:
            raise Conflict("A turn is open in this session; wait for its end.", reason="session_busy")
        desk.joining += 1
        desk.settle()
        try:
            async with Change(session_log, requires_active=True) as change:
                message = Message(
                    message_id=message_id,
                    session_id=session_log.session.session_id,
                    turn_id=None,
                    role=role,
                    content=content,
                    status="completed",
                    seq=change.number(),
                    created_ms=self._clock_ms(),
                    tool_calls=tool_calls,
                    tool_call_id=tool_call_id,
                    trust="web" if role == "tool" else "user",  # nobody knows which tool the outcome is of
                )
                messages.add(change.unit, message)
                change.set(active_ms=message.created_ms)
                change.count(messages=1)
            desk.window = desk.is_remembered = None
        finally:
            desk.joining -= 1
            self._runner.next(desk)
        return message

    def resume(self, session_log: SessionLog) -> None:
        """Begin, or go on with, what was adopted in this session."""
        desk = desk_of(session_log)
        if desk is not None:
            self._runner.resume(desk)

    def adopt(self, session_log: SessionLog, agent: Agent, stored: Turn) -> None:
        """Take over a queued turn of the process before; it starts when its place has come."""
        desk = self._desk(session_log, agent)
        ask = Ask(stored.text, stored.instructions, response_format=stored.response_format)
        turn = self._adopted(agent, stored, ask)
        desk.put_last(turn)
        desk.queue.append(turn)
        desk.settle()

    def adopt_open(
        self, session_log: SessionLog, agent: Agent, stored: Turn, acts: Sequence[Act], *, asked: Message
    ) -> OpenTurn:
        """Take over a turn of the process before that waits, or that is to go on; `Runner.go_on` runs it.

        `acts`: all of the turn's; `asked`: the user's message.
        """
        desk = self._desk(session_log, agent)
        again = Again(stored.user_message_id, asked.seq, None, session_log.last_seq)
        ask = Ask(asked.content, stored.instructions, again, asked.trust, stored.response_format)
        turn = self._adopted(agent, stored, ask)
        turn.state = TurnState.WAITING
        turn.started_seq = turn.after + 1
        turn.started_ms = stored.started_ms or stored.created_ms
        turn.started_clock = turn.created_clock
        turn.step = max([act.step for act in acts], default=0)
        turn.calls = sum([act.name != GO_ON for act in acts])
        turn.declined.update([budget_of(act) for act in acts if act.name == GO_ON and act.state is ActState.REFUSED])
        turn.acts = [act for act in acts if not act.is_checkpointed]
        turn.extended.update([budget_of(act) for act in acts if act.name == GO_ON and act.state is ActState.SETTLED])
        turn.used = stored.usage
        turn.is_counted = stored.usage is not None
        turn.waiting_for = stored.waiting_for
        turn.parked_clock = turn.started_clock
        turn.parked.set()
        desk.open = turn
        desk.put_last(turn)
        desk.settle()
        return turn

    def _adopted(self, agent: Agent, stored: Turn, ask: Ask) -> OpenTurn:
        grace = agent.config.streaming.disconnect_grace
        return OpenTurn(
            turn_id=stored.turn_id,
            ask=ask,
            user_message_id=stored.user_message_id,
            message_id=stored.message_id,
            background=stored.background,
            created_ms=stored.created_ms,
            created_clock=time.monotonic() - max(self._clock_ms() - stored.created_ms, 0) / 1000,
            done=asyncio.get_running_loop().create_future(),
            grace_seconds=None if stored.background or grace is None else grace.total_seconds(),
            after=stored.first_seq - 1,
        )

    def leave_unclosed(self, session_log: SessionLog, agent: Agent, turn_id: str) -> None:
        """A turn of the process before is over, and its row could not be told: the next turn closes it."""
        self._desk(session_log, agent).unclosed.append(Unclosed(turn_id))

    def check_accepts(self, session_log: SessionLog) -> None:
        """Raise what a new message would be refused with: the session is over, ending, or the server stops."""
        if session_log.over is not None:
            raise session_over(session_log.over.value, session_log.session.session_id)
        if session_log.session.status is not SessionStatus.ACTIVE:
            raise session_over(session_log.session.status.value, session_log.session.session_id)
        if session_log.session.ending is not None:
            raise session_over(session_log.session.ending.value, session_log.session.session_id)
        if self._runner.is_stopping:
            raise Unavailable("The server is shutting down; try again in a moment.", reason="shutting_down")

    def _new_turn(
        self, desk: Desk, ask: Ask, *, background: bool, grace_seconds: float | None, debug: bool
    ) -> OpenTurn:
        return OpenTurn(
            turn_id=self._new_id("turn"),
            ask=ask,
            user_message_id=ask.again.message_id if ask.again is not None else self._new_id("msg"),
            message_id=self._new_id("msg"),
            background=background,
            created_ms=self._clock_ms(),
            created_clock=time.monotonic(),
            done=asyncio.get_running_loop().create_future(),
            grace_seconds=None if background else grace_seconds,
            wants_debug=debug or desk.agent.config.reasoning.show_debug_info,
            caller=tracing.caller.get(),
        )

    async def _accept(self, desk: Desk, turn: OpenTurn, on_busy: OnBusy | None, key: Key | None) -> OpenTurn:
        """Start, queue or refuse; no await before the decision has taken its place on the desk."""
        self.check_accepts(desk.session_log)
        policy = on_busy or self._on_busy
        if not desk.session_log.is_busy:
            if turn.ask.again is not None and turn.ask.again.as_of != desk.session_log.last_seq:
                raise Conflict("Another message came first; look at the history again.", reason="session_busy")
            await self._start_now(desk, turn, key)
            return turn
        if policy == "reject" or turn.ask.again is not None:
            running = desk.open or (desk.queue[0] if desk.queue else None)
            raise Conflict(
                "A turn is running in this session; wait for it, cancel it, or send on_busy: queue or replace.",
                reason="session_busy",
                details={"turn_id": running.turn_id if running else None},
            )
        if len(desk.queue) + desk.joining >= self._max_queue:
            raise QuotaExceeded(
                f"{self._max_queue} messages are waiting in this session already; try again later.",
                reason="queue_full",
            )
        turn.steers = policy == "steer"
        await self._enqueue(desk, turn, key, in_front=policy == "replace")
        return turn

    async def _start_now(self, desk: Desk, turn: OpenTurn, key: Key | None) -> None:
        desk.begin(turn)
        desk.put_last(turn)
        desk.settle()

        def refused() -> None:
            desk.open = None
            self._runner.next(desk)

        async with Change(desk.session_log, requires_active=True) as change:
            change.on_commit(lambda: self._runner.launch(desk, turn))
            change.on_failure(refused)
            begin.begin_at_once(change, desk, turn, key, now_ms=self._clock_ms())

    async def _enqueue(self, desk: Desk, turn: OpenTurn, key: Key | None, *, in_front: bool) -> None:
        desk.joining += 1
        desk.settle()
        if in_front:
            desk.put_first(turn)
        else:
            desk.put_last(turn)

        def joined() -> None:
            desk.joining -= 1
            desk.queue.insert(0 if in_front else len(desk.queue), turn)
            if in_front and desk.open is not None:
                self._runner.stop(desk, desk.open, TurnState.CANCELLED, "replaced")
            self._runner.next(desk)

        def refused() -> None:
            desk.joining -= 1
            self._runner.next(desk)

        async with Change(desk.session_log, requires_active=True, is_void_when_over=True) as change:
            change.on_commit(joined)
            change.on_failure(refused)
            begin.enqueue(change, desk, turn, key)

    def _desk(self, session_log: SessionLog, agent: Agent) -> Desk:
        desk = desk_of(session_log)
        if desk is None:
            desk = session_log.desk = Desk(session_log, agent, self._host)
        desk.serve(agent)
        return desk
