"""Flow: whether a call may send what is private anywhere, after text of strangers was read. Decides; stores nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from app.storage import memories, messages
from app.storage.connection import Connection
from app.storage.engine.database import Database
from app.storage.messages import Labelled
from app.tools.base import ToolSpec
from app.tools.rules import Decision, Verdict

Flow = Literal["off", "ask", "refuse"]

RULE = "security.flow"
MOST_READ = 500
"""Messages of a session that are looked at, the newest. What came before them is not named, and counts nevertheless."""
MOST_NAMED = 3

_VERDICTS: dict[Flow, Verdict] = {"off": "allow", "ask": "ask", "refuse": "deny"}
_UNNAMED = "an earlier message, or a memory, that was made of such text"


@dataclass(frozen=True, slots=True)
class Context:
    """What the model knows, in words for people: `untrusted` what strangers may have written, `private` what is not
    for them."""

    untrusted: tuple[str, ...] = ()
    private: tuple[str, ...] = ()


NOTHING = Context()


def is_watched(flow: Flow, spec: ToolSpec) -> bool:
    """Whether calls of the tool depend on what the model knows."""
    return flow != "off" and spec.sends == "open"


def decide(flow: Flow, spec: ToolSpec, context: Context) -> Decision | None:
    """What becomes of a call of the tool; `None`: there is nothing to say against it."""
    if not is_watched(flow, spec) or not context.untrusted or not context.private:
        return None
    why = (
        f"Strangers may have written {_listed(context.untrusted)}, which the model has read, and "
        f"{_listed(context.private)} could go out through {spec.name}."
    )
    return Decision(_VERDICTS[flow], why, RULE)


async def read_context(database: Database, session_id: str, recalled: Mapping[str, Any] | None) -> Context:
    """The context of a session in which text of strangers is. `recalled`: what its turn recalled, as its record has it.

    Raises:
        Unavailable: the database did not answer.
    """
    ids = [str(one["memory_id"]) for one in (recalled or {}).get("memories", ())]

    def find(connection: Connection) -> tuple[list[Labelled], list[str]]:
        found = messages.labels(connection, session_id, limit=MOST_READ)
        return found, memories.untrusted(connection, ids) if ids else []

    labelled, foreign = await database.read(find)
    return context_of(labelled, recalled=ids, foreign=foreign)


def context_of(labelled: Sequence[Labelled], *, recalled: Sequence[str] = (), foreign: Sequence[str] = ()) -> Context:
    """`labelled`: the messages, the newest first; `recalled`: ids of memories, `foreign` those that strangers wrote."""
    untrusted = [_named(one) for one in labelled if one.trust == "web" and one.role != "assistant"]
    untrusted += [f"the memory {memory_id}" for memory_id in foreign]
    private = ["what the user said"] if any(one.role == "user" and one.secrecy == "private" for one in labelled) else []
    private += ["what was recalled"] if recalled else []
    private += [_named(one) for one in labelled if one.role == "tool" and one.secrecy == "private"]
    if not private and len(labelled) >= MOST_READ:
        private = ["what was said before"]
    return Context(tuple(untrusted) or (_UNNAMED,), tuple(private))


def _named(message: Labelled) -> str:
    if message.role == "tool":
        return f"the result of {message.tool or 'a tool'} ({message.call_id})"
    return f"the task that another agent gave ({message.message_id})"


def _listed(things: Sequence[str]) -> str:
    named = list(things[:MOST_NAMED])
    if len(things) > MOST_NAMED:
        named.append(f"{len(things) - MOST_NAMED} more")
    return named[0] if len(named) == 1 else f"{', '.join(named[:-1])} and {named[-1]}"
