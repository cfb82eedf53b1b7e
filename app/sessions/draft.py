"""Draft: the title, metadata and messages that a new session begins with."""

from __future__ import annotations

from dataclasses import dataclass

from app.domain.ids import NewId
from app.domain.label import Trust
from app.domain.message import Message, MessageRole, ToolCallRecord
from app.domain.webhook import Webhook
from app.memory.scope import session_audience
from app.storage import memory_transfer, messages, summaries
from app.storage.engine.unit_of_work import UnitOfWork


@dataclass(frozen=True, slots=True)
class Seed:
    """A message that the client gives to a new session. `created_ms`: `None` for the current time."""

    role: MessageRole
    content: str
    status: str = "completed"
    created_ms: int | None = None
    tool_calls: tuple[ToolCallRecord, ...] = ()
    tool_call_id: str | None = None
    trust: Trust = "user"
    """What the client says of it; results of tools, and answers after them, are trusted no more than anybody's text."""


@dataclass(frozen=True, slots=True)
class Copy:
    """The messages of session `source` up to number `upto`; `count` of them. `remembered_seq` is the source's."""

    source: str
    upto: int
    count: int
    remembered_seq: int = 0


@dataclass(frozen=True, slots=True)
class Draft:
    """Copied messages come first, seeds after them."""

    title: str | None = None
    metadata: dict[str, object] | None = None
    ephemeral: bool = False
    forked_from: str | None = None
    copy: Copy | None = None
    seeds: tuple[Seed, ...] = ()
    parent_call: str | None = None
    """The call of another session that begins this one."""
    webhooks: tuple[Webhook, ...] = ()

    @property
    def last_seq(self) -> int:
        """The number of the last message."""
        return (self.copy.upto if self.copy is not None else 0) + len(self.seeds)

    @property
    def message_count(self) -> int:
        return (self.copy.count if self.copy is not None else 0) + len(self.seeds)

    @property
    def remembered_seq(self) -> int:
        """The `remembered_seq` of the new session: memories of the source are copied, other messages have none yet."""
        return min(self.copy.remembered_seq, self.copy.upto) if self.copy is not None else 0

    def add_messages(self, unit: UnitOfWork, *, new_id: NewId, now_ms: int) -> None:
        first = self.last_seq - len(self.seeds) + 1
        if self.copy is not None:
            messages.copy(unit, source=self.copy.source, upto=self.copy.upto)
            summaries.copy(unit, source=self.copy.source, upto=self.copy.upto)
            audiences = (session_audience(self.copy.source), session_audience(unit.session_id))
            if self.copy.remembered_seq:
                memory_transfer.copy(
                    unit, source=self.copy.source, upto=self.copy.upto, audiences=audiences, new_id=new_id
                )
        messages.add_all(
            unit,
            [
                Message(
                    new_id("msg"),
                    unit.session_id,
                    None,
                    seed.role,
                    seed.content,
                    seed.status,
                    seq,
                    now_ms if seed.created_ms is None else seed.created_ms,
                    seed.tool_calls,
                    seed.tool_call_id,
                    trust=trust,
                )
                for seq, (seed, trust) in enumerate(zip(self.seeds, self._trusts(), strict=True), first)
            ],
        )

    def _trusts(self) -> list[Trust]:
        """Nobody knows which tools the results are from."""
        first = next((place for place, seed in enumerate(self.seeds) if seed.role == "tool"), len(self.seeds))
        return ["web" if place >= first and one.role != "user" else one.trust for place, one in enumerate(self.seeds)]


PLAIN = Draft()
EPHEMERAL = Draft(ephemeral=True)
