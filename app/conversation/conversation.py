"""Conversation: what every door calls. Accept a message and follow its turn, attach to a session, wait for an outcome.

Doors translate: they parse what a client sent, call this, and print what comes back. No framework is known here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, Self

from app.agents import Agent, Roster
from app.conversation.cursor import Cursor, parse_cursor
from app.conversation.phase import phase_of
from app.conversation.readers import Readers
from app.conversation.view import View, view_of
from app.domain.errors import CursorExpired, InvalidRequest, SessionOver, TooLarge, Unavailable
from app.domain.principal import Principal
from app.domain.turn import OnBusy, Outcome, Turn, TurnState
from app.events.follow import Reading
from app.events.log import SessionLog
from app.house import House
from app.limits.limits import Limits
from app.sessions.draft import Seed
from app.tools.client_tool import ClientTool
from app.turns import structured
from app.turns.ask import Ask
from app.turns.keys import Key, make_key
from app.turns.open_turn import OpenTurn

MAX_KEY = 200
"""Characters of an idempotency key."""


@dataclass(frozen=True, slots=True)
class Sending:
    """What a client sends: a message, or with `text=None` a request for another answer to `message_id` or the last."""

    text: str | None
    instructions: str | None = None
    message_id: str | None = None
    background: bool = False
    on_busy: OnBusy | None = None
    key: str | None = None
    resume: str | None = None
    """A cursor: a client that repeats its request after a cut goes on from there, if the turn is the same."""
    debug: bool = False
    text_only: bool = False
    top_only: bool = False
    """Without what agents do that the session's agent calls."""
    response_format: bytes | None = None
    """See `Ask`."""
    seeds: tuple[Seed, ...] = ()
    """The messages that the session of a one-shot begins with."""
    client_tools: tuple[ClientTool, ...] = ()
    """See `Ask`."""

    def make_key(self) -> Key | None:
        """The idempotency key with the body as it was given."""
        if self.key is None:
            return None
        return make_key(
            self.key,
            self.text,
            instructions=self.instructions,
            message_id=self.message_id,
            background=self.background,
            on_busy=self.on_busy,
            response_format=self.response_format,
            seeds=self.seeds,
        )


@dataclass(slots=True)
class Following:
    """A reader of one turn. Enter it first (its count keeps the turn's grace from running), then `start`.

    For a background message it must not be entered.
    """

    conversation: Conversation
    session_log: SessionLog
    agent: Agent
    sending: Sending
    ask: Ask | None
    """`None`: made when the turn begins, for a key may know the turn already."""
    reading: Reading
    is_one_shot: bool
    attached: OpenTurn | Turn | None
    """The turn, if it was there before."""
    cursor: Cursor | None
    is_entered: bool = False

    def __enter__(self) -> Self:
        self.reading.__enter__()
        self.is_entered = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.reading.__exit__(kind, error, trace)

    @property
    def session_id(self) -> str:
        return self.session_log.session.session_id

    @property
    def cursor_after(self) -> int:
        return self.cursor.after if self.cursor is not None else 0

    async def start(self) -> OpenTurn | Turn:
        """The turn of this message: begun, queued, or found by its key or cursor. Sets the reading's cursor.

        Raises: what `Admission.start` raises, QuotaExceeded; nothing was stored.
        """
        if self.is_entered and self.conversation.limits is not None:
            await self.conversation.count(self.reading)
        turn = self.attached or await self._begin()
        first = turn.after if isinstance(turn, OpenTurn) else turn.first_seq - 1
        is_within = isinstance(turn, OpenTurn) or turn.last_seq is None or self.cursor_after <= turn.last_seq
        self.reading.cursor = max(first, self.cursor_after) if self.attached and is_within else first
        return turn

    async def _begin(self) -> OpenTurn | Turn:
        house, key = self.conversation.house, self.sending.make_key()
        begun: OpenTurn | None = None

        async def begin() -> OpenTurn:
            nonlocal begun
            begun = await self._admit(key)
            return begun

        try:
            if key is None:
                return await self._admit(None)
            turn = await house.admission.once(self.session_log, self.agent, key, begin)
        except SessionOver as error:
            raise (await self._refusal() if error.reason == "session_terminated" else error) from None
        found = await house.history.find(self.session_log, turn) if isinstance(turn, str) else turn
        if found is not begun:
            self.attached = found
        return found

    async def _admit(self, key: Key | None) -> OpenTurn:
        limits = self.conversation.limits
        if limits is None:
            return await self._start(key)
        place = await limits.turn(_owner_of(self.session_log))
        try:
            turn = await self._start(key)
        except BaseException:
            place.free()
            raise
        if turn.steers:  # its message enters a turn that counts already
            place.free()
        else:
            turn.done.add_done_callback(lambda _: place.free())
        return turn

    async def _start(self, key: Key | None) -> OpenTurn:
        sending, grace = self.sending, self.agent.config.streaming.disconnect_grace
        return await self.conversation.house.admission.start(
            self.session_log,
            self.agent,
            self.ask or await self.conversation.ask(self.session_log, sending),
            background=sending.background,
            on_busy=sending.on_busy,
            key=key,
            grace_seconds=0.0 if self.is_one_shot else None if grace is None else grace.total_seconds(),
            debug=sending.debug,
        )

    async def _refusal(self) -> SessionOver:
        """The session was terminated. Raises Unavailable: that is not stored yet, so nothing is promised."""
        return await self.conversation.house.tombstones.refusal(self.session_id)

    def view(self, turn: OpenTurn | Turn) -> View:
        """What a stream of this turn shows."""
        return view_of(
            self.agent.config,
            debug=self.sending.debug,
            text_only=self.sending.text_only,
            top_only=self.sending.top_only,
            turn_id=turn.turn_id,
            until_caught_up=isinstance(turn, Turn),
            skip=self.cursor.skip if self.attached and self.cursor else None,
        )

    def running(self, turn: OpenTurn | Turn) -> OpenTurn | Turn:
        """The turn to follow: for a message that steers, the one that it is to enter."""
        if not isinstance(turn, OpenTurn) or not turn.steers:
            return turn
        return self.conversation.open_turn(self.session_log) or turn

    def is_json(self, turn: OpenTurn | Turn) -> bool:
        """Whether the answer of the turn is to be JSON, as its agent is now."""
        asked = turn.ask.response_format if isinstance(turn, OpenTurn) else turn.response_format
        return structured.wanted(self.agent, asked) is not None

    async def outcome(
        self, turn: OpenTurn | Turn, leaving: Callable[[], Awaitable[object]], *, through_waits: bool = False
    ) -> Outcome | None:
        """Wait for the end of the turn; `leaving()` is done when the client has left.

        `None`: the turn waits for somebody; with `through_waits` that is waited for, too.

        Raises:
            Unavailable: the server stops first (`shutting_down`, with the partial text), the client left, or the
                session was terminated and that is not stored yet.
        """
        if isinstance(turn, Turn):
            return await self.conversation.house.history.outcome_of(self.session_log, turn)
        stopping, left = self.conversation.stop_signal, asyncio.ensure_future(leaving())
        parked = asyncio.ensure_future(turn.parked.wait())
        try:
            waited: list[asyncio.Future[Any]] = [turn.done, left, stopping, *([] if through_waits else [parked])]
            await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
        finally:
            left.cancel()
            parked.cancel()
        if turn.done.done():
            outcome = turn.done.result()
            if outcome.reason == "session_terminated":
                await self._refusal()
            return outcome
        if turn.parked.is_set() and not through_waits:
            return None
        if stopping.done():
            tape = self.session_log.tape
            raise Unavailable(
                "The server is shutting down; the turn may still end, look for it later.",
                reason="shutting_down",
                details={"turn_id": turn.turn_id, "partial": tape.text() if tape is not None else ""},
            )
        raise Unavailable("The client has left.", reason="client_left")  # nobody reads this


@dataclass(frozen=True, slots=True)
class Attached:
    """A reader of a session. Enter `reading`, then stream it."""

    reading: Reading
    view: View


class Conversation:
    """One for the process. `stop_signal` is done when the shutdown begins."""

    def __init__(
        self,
        house: House,
        roster: Roster,
        *,
        max_message: int,
        heartbeat_seconds: float,
        stop_signal: asyncio.Future[None],
        limits: Limits | None = None,
    ) -> None:
        """`max_message`: characters of one message (server.max_message). `heartbeat_seconds`: see `Readers`.
        `limits`: `None`: nothing is limited."""
        self.house = house
        self.readers = Readers(heartbeat_seconds)
        self.stop_signal = stop_signal
        self.limits = limits
        self._roster = roster
        self._max_message = max_message

    async def session(self, principal: Principal, agent: str, session_id: str, *, has_key: bool) -> SessionLog:
        """A session that takes messages; with an idempotency key one that took them once.

        Raises: agent or session not found, terminated; without a key also over or ending, or the server stops.
        """
        session_log = await self.house.sessions.get(principal, self._roster.get(agent, principal).name, session_id)
        if not has_key:  # with one, its turn answers, whatever became of the session since
            self.house.admission.check_accepts(session_log)
        return session_log

    async def send(
        self, principal: Principal, agent_name: str, session_log: SessionLog | None, sending: Sending
    ) -> Following:
        """Prepare a message to a session, or with `None` to a new one in memory (a one-shot). Starts nothing.

        Raises:
            InvalidRequest, TooLarge, NotFound, SessionOver, Unavailable: nothing was stored.
        """
        agent = self._roster.get(agent_name, principal)
        if sending.text is not None:
            self.check_length(sending.text)
        if sending.key is not None and not 0 < len(sending.key) <= MAX_KEY:
            raise InvalidRequest(f"Idempotency-Key must have 1 to {MAX_KEY} characters.")
        is_one_shot = session_log is None
        if session_log is None:
            session_log = await self.house.sessions.one_shot(principal, agent.name, sending.key, sending.seeds)
        cursor = parse_cursor(sending.resume, session_log)
        ask = attached = None
        if sending.text is not None or sending.key is None:
            ask = await self.ask(session_log, sending)
        if cursor is not None and ask is not None:
            attached = await self.house.history.find_at(session_log, cursor.after + 1, ask.text)
        reading = self.read(session_log, agent, after=session_log.last_seq)
        return Following(self, session_log, agent, sending, ask, reading, is_one_shot, attached, cursor)

    async def ask(self, session_log: SessionLog, sending: Sending) -> Ask:
        """What the turn of a message is asked to do. Raises InvalidRequest: there is nothing to answer again."""
        if sending.text is not None:
            return Ask(
                sending.text,
                sending.instructions,
                response_format=sending.response_format,
                client_tools=sending.client_tools,
            )
        again = await self.house.history.again(session_log, sending.message_id, sending.instructions)
        return replace(again, response_format=sending.response_format)

    async def attach(
        self,
        principal: Principal,
        agent_name: str,
        session_id: str,
        *,
        resume: str | None = None,
        after: str | None = None,
        until_turn_end: bool = False,
        debug: bool = False,
        text_only: bool = False,
        top_only: bool = False,
    ) -> Attached | None:
        """Follow a session from a cursor; `None` when there is nothing to read and nothing to come.

        `resume` is what the reader had when it was cut, and beats `after`; `0` and `-1` there mean all that is kept.
        Without a cursor: from the start of the running or queued turn, else from now.

        Raises:
            CursorExpired: text alone cannot tell what comes after the cursor.
        """
        agent = self._roster.get(agent_name, principal)
        session_log = await self.house.sessions.get(principal, agent.name, session_id)
        cursor = parse_cursor(resume, session_log)
        from_start = cursor is None and after in ("0", "-1")
        if cursor is None:
            cursor = Cursor(0) if from_start else parse_cursor(after, session_log)
        running = self.open_turn(session_log)
        can_wait = not session_log.is_over and not (until_turn_end and running is None)
        if cursor is None:
            if not can_wait:
                return None
            cursor = Cursor(self.joining_cursor(session_log))
        elif cursor.after >= session_log.visible_seq and not can_wait:
            return None
        if text_only and not from_start and await self.house.history.has_gap(session_log, cursor.after):
            raise CursorExpired("The text after this cursor is no longer kept word for word; use frames=all.")
        view = view_of(
            agent.config,
            debug=debug,
            text_only=text_only,
            top_only=top_only,
            until_turn=running.turn_id if until_turn_end and running is not None else None,
            until_caught_up=until_turn_end and running is None,
            skip=cursor.skip,
        )
        reading = self.read(session_log, agent, after=cursor.after, from_start=from_start)
        # An empty answer would leave the reader where it is: it would come back for it again and again.
        if not can_wait and not await _has_frames(
            self.read(session_log, agent, after=cursor.after, from_start=from_start), view
        ):
            return None
        return Attached(await self.count(reading), view)

    async def count(self, reading: Reading) -> Reading:
        """Let it be one of the streams of its session's owner until it is left. Raises QuotaExceeded."""
        if self.limits is not None:
            reading.place = await self.limits.stream(_owner_of(reading.log))
        return reading

    def open_turn(self, session_log: SessionLog) -> OpenTurn | None:
        """The first turn whose end readers have not been told; one that was told may still have to be stored."""
        turns = self.house.history.open_turns(session_log)
        return next((turn for turn in turns if not turn.state.is_final), None)

    def joining_cursor(self, session_log: SessionLog) -> int:
        """The cursor of a reader that has none: before the running or queued turn, else here."""
        running = self.open_turn(session_log)
        return _start_of(running) if running is not None else session_log.visible_seq

    def read(
        self,
        session_log: SessionLog,
        agent: Agent | None,
        *,
        after: int,
        from_start: bool = False,
        merge: bool | None = None,
    ) -> Reading:
        """A reading of a session; enter it to count as a reader. `merge`: by default unless the agent is paced."""
        streaming = agent.config.streaming if agent is not None else None
        is_paced = streaming is not None and bool(streaming.chunk_size or streaming.delay_ms)
        return Reading(
            session_log,
            self.house.live.store_of(session_log).journal,
            after=after,
            lag_bytes=streaming.buffer_size if streaming is not None else 65536,
            from_start=from_start,
            merge=not is_paced if merge is None else merge,
        )

    def phase(self, session_log: SessionLog) -> dict[str, object]:
        """What the session is busy with, for heartbeats."""
        return phase_of(session_log, next(iter(self.house.history.open_turns(session_log)), None))

    def check_length(self, text: str) -> None:
        if len(text) > self._max_message:
            raise TooLarge(f"The message is longer than {self._max_message} characters (server.max_message).")


def _owner_of(session_log: SessionLog) -> tuple[str, str]:
    session = session_log.session
    return session.principal, session.user_id


async def _has_frames(reading: Reading, view: View) -> bool:
    """Whether a reader that does not wait is shown anything. Reads only as far as it must."""
    while reading.has_news:
        runs = reading.take()
        if runs is None:
            runs = await reading.replay()
        if any(view.shows(run) for run in runs):
            return True
    return False


def _start_of(turn: OpenTurn) -> int:
    """The number before a running turn's `turn_started` (a queued one's `turn_queued`).

    Not the one before its `turn_queued` if it runs: the end of the answer before it would be replayed, headless.
    """
    return turn.after if turn.state is TurnState.QUEUED else turn.started_seq - 1
