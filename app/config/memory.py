"""The `memory` section of an agent: what of a conversation the model sees, what outlives it."""

from __future__ import annotations

from datetime import timedelta
from typing import Literal

from pydantic import Field, model_validator

from app.config.section import Section
from app.config.units import EntryName, Wait


class WorkingMemoryConfig(Section):
    """Which messages go into the next request."""

    strategy: Literal["summary_buffer", "buffer_window"] = "summary_buffer"
    """`buffer_window`: the newest messages; `summary_buffer`: the newest, and a summary of those before them."""
    budget: int | None = Field(default=None, ge=1)
    """Tokens of history and summary in a request; null: 60 % of what the model takes in, 2000 for the embedded one."""
    threshold: float = Field(default=0.8, gt=0, le=1)
    """Part of the budget above which the oldest messages are summarised, after the turn."""
    target: float = Field(default=0.6, gt=0, le=1)
    """Part of the budget that is left after summarising."""
    llm: EntryName = ""
    """Name of the entry of `llms` that writes the summaries; left out: the agent's own."""
    window_size: int = Field(default=20, ge=1)
    """Messages that `buffer_window` keeps."""


class LongTermConfig(Section):
    """What is remembered between requests. Off unless the section stands in the file."""

    enabled: bool = True
    """Whether anything is remembered; false is the same as no section."""
    storage_scope: Literal["session", "conversational", "all", "summaries_only"] = "session"
    """Who shares a memory: a session, a user's sessions, all users; or summaries only."""
    batch_size: int = Field(default=1, ge=0)
    """Turns that are remembered together; 0 remembers a session when it ends."""
    auto_recall: bool = True
    """Whether fitting memories are put before each message."""
    recall_limit: int = Field(default=5, ge=1, le=50)
    """Most memories recalled for one message."""
    recall_timeout: Wait = timedelta(milliseconds=300)
    """How long a turn waits for its memories; it goes on without those that are late."""
    similarity_threshold: float = Field(default=0.01, ge=0, le=1)
    """Least score of a recalled memory, 0 to 1."""
    max_items: int | None = Field(default=None, ge=1)
    """Most memories kept for one audience, pinned ones aside; null sets no limit."""
    retention: Wait | None = None
    """How long a memory is kept, pinned ones aside; null forever."""


class MemoryConfig(Section):
    """Both kinds of memory."""

    working: WorkingMemoryConfig = Field(default_factory=WorkingMemoryConfig)
    longterm: LongTermConfig | None = None

    @model_validator(mode="after")
    def _has_no_section_that_is_off(self) -> MemoryConfig:
        if self.longterm is None or self.longterm.enabled:
            return self
        return self.model_copy(update={"longterm": None})
