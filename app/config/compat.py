"""The `compat` section: doors that speak other products' dialects."""

from __future__ import annotations

from pydantic import Field

from app.config.section import Section
from app.config.units import EntryName


class VectorShiftConfig(Section):
    """The door for programs written with the vectorshift package."""

    enabled: bool = False
    """Whether the door is open. Not built yet."""
    prefix: str = Field(default="/v1", pattern="^/")
    """Path under which it answers. Not built yet."""
    default_llm: EntryName | None = None
    """Entry of `llms` for models it does not know; null refuses them. Not built yet."""


class CompatConfig(Section):
    """Other products' dialects."""

    vectorshift: VectorShiftConfig = Field(default_factory=VectorShiftConfig)
