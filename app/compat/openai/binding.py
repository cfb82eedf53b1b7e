"""Chat completions in a session that lasts: what a request repeats of the conversation is compared with the session.

The same conversation and one new message are one turn. A history that was edited, or ends earlier, is a fork.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from app.agents import Agent
from app.compat.openai.chat_chunks import BETWEEN
from app.compat.openai.errors import invalid
from app.conversation.conversation import Sending
from app.domain.message import Message, is_blank
from app.domain.principal import Principal
from app.domain.turn import TurnState
from app.events.log import SessionLog
from app.runtime import Runtime
from app.sessions.draft import Draft, Seed


@dataclass(slots=True)
class Known:
    """What one side said in the session. `seq`: its last number. `is_whole`: it was said to its end."""

    role: str
    text: str
    seq: int
    turn_id: str | None
    is_whole: bool

    def is_said_by(self, seed: Seed) -> bool:
        """A client has of an answer that was stopped what it got, which may be less."""
        text, given = self.text.strip(), seed.content.strip()
        return self.role == seed.role and (text == given or (not self.is_whole and text.startswith(given)))

    @property
    def may_be_missing(self) -> bool:
        """Clients drop answers that failed."""
        return self.role == "assistant" and not self.is_whole


def session_id_of(header: str | None, metadata: dict[str, Any] | None) -> str | None:
    """The session that a request names. Raises InvalidRequest."""
    named = (metadata or {}).get("session_id")
    if named is not None and not isinstance(named, str):
        raise invalid("metadata.session_id", "must be a text")
    if header and named and header != named:
        raise invalid("metadata.session_id", "names another session than the header X-Hector-Session")
    return header or named or None


async def bind(
    runtime: Runtime, principal: Principal, agent: Agent, session_id: str, sending: Sending
) -> tuple[SessionLog, Sending]:
    """The session for a request, and what is sent to it: the named one, which is made if there is none, or a fork.

    A request with nothing but a new message is taken to go on. Raises: what creating and sending raise.
    """
    history, sending = sending.seeds, replace(sending, seeds=())
    session_log, is_new = await runtime.sessions.create(
        principal, agent.name, session_id=session_id, draft=Draft(seeds=history)
    )
    if is_new:
        return session_log, sending
    if sending.key is None:
        runtime.admission.check_accepts(session_log)
    given = _spoken(history)
    if not given:
        return session_log, sending
    known = await _known(runtime, session_log)
    matched, place = _match(known, given)
    rest = known[place:]
    if matched == len(given):
        if all(one.may_be_missing for one in rest):
            return session_log, sending
        if (resume := _running(runtime, session_log, rest, sending)) is not None:
            return session_log, replace(sending, resume=resume)
    upto = known[place - 1].seq if place else 0
    forked = await runtime.copies.branch(principal, session_log, upto=upto, seeds=tuple(given[matched:]))
    return forked, sending


def _spoken(history: Sequence[Seed]) -> list[Seed]:
    """What was said; what the agent says between calls is one answer, as the session has it."""
    found: list[Seed] = []
    for seed in history:
        if seed.role == "tool" or is_blank(seed.content):
            continue
        if found and found[-1].role == seed.role == "assistant":
            found[-1] = replace(found[-1], content=_joined(found[-1].content, seed.content))
        else:
            found.append(replace(seed, tool_calls=()))
    return found


async def _known(runtime: Runtime, session_log: SessionLog) -> list[Known]:
    found: list[Known] = []
    for message in await runtime.copies.read(session_log):
        _add(found, message)
    found = [one for one in found if not (is_blank(one.text) and one.is_whole)]
    if session_log.tape is not None:
        turn_id = session_log.tape.turn_id
        said = session_log.visible_text()
        if found and found[-1].role == "assistant" and found[-1].turn_id == turn_id:
            found[-1].text, found[-1].is_whole = _joined(found[-1].text, said), False
        else:
            found.append(Known("assistant", said, session_log.visible_seq, turn_id, False))
    return found


def _add(found: list[Known], message: Message) -> None:
    if message.status == "replaced":
        return
    last = found[-1] if found else None
    is_same = last is not None and last.role == "assistant" and message.turn_id == last.turn_id
    if last is not None and message.role != "user" and (is_same or message.role == "tool"):
        last.seq = message.seq
        if message.role == "assistant":
            last.text, last.is_whole = _joined(last.text, message.content), message.status == "completed"
    elif message.role != "tool":
        is_whole = message.status == "completed"
        found.append(Known(message.role, message.content, message.seq, message.turn_id, is_whole))


def _joined(*texts: str) -> str:
    return BETWEEN.join([text for text in texts if not is_blank(text)])


def _match(known: Sequence[Known], given: Sequence[Seed]) -> tuple[int, int]:
    """How many of the given messages the session has, in a row from the start, and how many of its own these are."""
    place = 0
    for matched, seed in enumerate(given):
        at = place
        while at < len(known) and known[at].may_be_missing and not known[at].is_said_by(seed):
            at += 1
        if at == len(known) or not known[at].is_said_by(seed):
            return matched, place
        place = at + 1
    return len(given), place


def _running(runtime: Runtime, session_log: SessionLog, rest: Sequence[Known], sending: Sending) -> str | None:
    """A cursor before the running turn, if it answers the same message: a client that was cut asks again."""
    turn = runtime.conversation.open_turn(session_log)
    if turn is None or turn.state is TurnState.QUEUED or turn.text != sending.text:
        return None
    return str(turn.after) if all(one.turn_id == turn.turn_id for one in rest) else None
