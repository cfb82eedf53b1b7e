"""History: turns and messages of a session, open or stored."""

from __future__ import annotations

from collections.abc import Collection
from functools import partial

from app.domain.errors import InvalidRequest, turn_not_found
from app.domain.message import Message, is_blank
from app.domain.turn import Outcome, Turn, Usage
from app.events.log import SessionLog
from app.storage import events, messages, turns
from app.turns.ask import Again, Ask
from app.turns.desk import desk_of
from app.turns.open_turn import OpenTurn

STEPS = 500
"""Messages of a turn that is answered again, at most."""


class History:
    """Reads only. All methods raise Unavailable when the database does not answer."""

    def open_turns(self, session_log: SessionLog) -> list[OpenTurn]:
        """The running turn, then the queued ones."""
        desk = desk_of(session_log)
        if desk is None:
            return []
        return [*([desk.open] if desk.open else []), *desk.queue]

    async def find(self, session_log: SessionLog, turn_id: str) -> OpenTurn | Turn:
        """A turn of this session, open or stored. Raises NotFound (`turn_not_found`)."""
        desk = desk_of(session_log)
        if desk is not None and (turn := desk.find(turn_id)) is not None:
            return turn
        read = session_log.database.read
        stored = await read(partial(turns.find, session_id=session_log.session.session_id, turn_id=turn_id))
        if stored is None:
            raise turn_not_found(turn_id)
        if session_log.elsewhere is not None and not stored.state.is_final:
            found: OpenTurn = await session_log.elsewhere.turn(turn_id)
            return found
        return stored

    async def used(self, session_log: SessionLog, turn: OpenTurn | Turn) -> Usage | None:
        """What the turn's calls of the model have used so far, as far as it is stored for a turn of another server."""
        if isinstance(turn, Turn):
            return turn.usage
        if session_log.elsewhere is None:
            return turn.used
        find = partial(turns.find, session_id=session_log.session.session_id, turn_id=turn.turn_id)
        stored = await session_log.database.read(find)
        return stored.usage if stored is not None else None

    async def find_at(self, session_log: SessionLog, seq: int, text: str) -> OpenTurn | Turn | None:
        """The turn with event `seq` in it, or just ended before it, if it answers `text`."""
        for turn in self.open_turns(session_log):
            if turn.after < seq and turn.text == text:
                return turn
        read = session_log.database.read
        return await read(partial(turns.find_at, session_id=session_log.session.session_id, seq=seq, text=text))

    async def outcome_of(self, session_log: SessionLog, turn: Turn) -> Outcome:
        """The stored end of a turn, with its text."""
        read = session_log.database.read
        message = await read(partial(messages.at, session_id=turn.session_id, seq=turn.last_seq or 0))
        return Outcome(
            turn.turn_id,
            turn.state,
            turn.reason,
            message.content if message else "",
            message.message_id if message else None,
            turn.usage,
            turn.timings,
            turn.failure,
            turn.finished_ms,
            turn.finish_reason,
        )

    async def again(self, session_log: SessionLog, message_id: str | None, instructions: str | None) -> Ask:
        """What answers the last user message anew. `message_id` may name that message or its answer.

        Raises:
            InvalidRequest: there is nothing to answer, or it names another message.
        """
        read = session_log.database.read
        as_of = session_log.last_seq
        newest = await read(
            partial(messages.context, session_id=session_log.session.session_id, before=messages.NEWEST, limit=STEPS)
        )
        place = next((place for place in reversed(range(len(newest))) if newest[place].role == "user"), None)
        if place is None:
            raise InvalidRequest("There is no user message to answer; send one.")
        question = newest[place]
        answer = newest[-1] if place < len(newest) - 1 else None
        if is_blank(question.content):  # from an import, or an earlier release
            raise InvalidRequest("The last user message is blank; edit it, or send another one.")
        if message_id is not None and message_id not in (question.message_id, answer.message_id if answer else None):
            raise InvalidRequest("Only the last answer can be regenerated; fork the session at an earlier message.")
        replaced = (answer.seq, answer.message_id) if answer is not None else (None, None)
        again = Again(question.message_id, question.seq, replaced[0], as_of, replaced[1])
        return Ask(question.content, instructions, again, question.trust)

    async def message(self, session_log: SessionLog, message_id: str) -> Message | None:
        read, session_id = session_log.database.read, session_log.session.session_id
        return await read(partial(messages.find, session_id=session_id, message_id=message_id))

    async def said(self, session_log: SessionLog, turn_id: str) -> list[Message]:
        """What the agent said in a turn: a message for each step, oldest first, without those that were replaced."""
        read, session_id = session_log.database.read, session_log.session.session_id
        found = await read(partial(messages.of_turn, session_id=session_id, turn_id=turn_id))
        return [message for message in found if message.role == "assistant" and message.status != "replaced"]

    async def messages(
        self, session_log: SessionLog, *, before: int, limit: int, roles: Collection[str] | None = None
    ) -> list[Message]:
        """A page of stored messages below number `before`, oldest first; of these roles, if some are named."""
        session_id = session_log.session.session_id
        query = partial(messages.page, session_id=session_id, before=before, limit=limit, roles=roles)
        return await session_log.database.read(query)

    async def has_gap(self, session_log: SessionLog, after: int) -> bool:
        """Whether a reader at `after` would have to be told a text as a whole: events gone, or lost in a crash."""
        read = session_log.database.read
        return await read(partial(events.has_gap, session_id=session_log.session.session_id, after=after))
