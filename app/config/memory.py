"""The `memory` section of an agent: what of a conversation the model sees, what outlives it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from app.config.section import Section
from app.config.units import Wait


class WorkingMemoryConfig(Section):
    """Which messages go into the next request."""

    strategy: Literal["summary_buffer", "buffer_window"] = "summary_buffer"
    """`buffer_window`: the newest messages; `summary_buffer`: older ones summarised (not built yet)."""
    budget: int = Field(default=2000, ge=1)
    """Tokens of history in a request, beside the system prompt."""
    threshold: float = Field(default=0.8, gt=0, le=1)
    """Part of the budget at which older messages are summarised. Not built yet."""
    target: float = Field(default=0.6, gt=0, le=1)
    """Part of the budget that is left after summarising. Not built yet."""
    window_size: int = Field(default=20, ge=1)
    """Messages that `buffer_window` keeps."""


class LongTermConfig(Section):
    """What is remembered between requests. Off unless the section stands in the file."""

    storage_scope: Literal["session", "conversational", "all", "summaries_only"] = "session"
    """Who shares a memory: a session, a user's sessions, all users; or summaries only. Not built yet."""
    batch_size: int = Field(default=1, ge=1)
    """Turns that are remembered together. Not built yet."""
    auto_recall: bool = True
    """Whether fitting memories are put before each message. Not built yet."""
    recall_limit: int = Field(default=5, ge=1)
    """Most memories recalled for one message. Not built yet."""
    similarity_threshold: float = Field(default=0.0, ge=0, le=1)
    """Least similarity of a recalled memory. Not built yet."""
    max_items: int | None = Field(default=None, ge=1)
    """Most memories kept in a scope; null sets no limit. Not built yet."""
    retention: Wait | None = None
    """How long a memory is kept; null forever. Not built yet."""


class MemoryConfig(Section):
    """Both kinds of memory."""

    working: WorkingMemoryConfig = Field(default_factory=WorkingMemoryConfig)
    longterm: LongTermConfig | None = None
