"""What an agent may do and how much: its `permissions` and `limits`; `approvals` and `security` of all."""

from __future__ import annotations

from datetime import timedelta
from typing import Literal

from pydantic import Field, field_validator

from app.config.section import Section
from app.config.units import Wait


class PermissionsConfig(Section):
    """Rules for an agent's tool calls, each `tool` or `tool(argument=pattern, …)`; `deny` beats `ask` beats `allow`."""

    deny: tuple[str, ...] = ()
    """Calls that are refused."""
    ask: tuple[str, ...] = ()
    """Calls that a person allows first."""
    allow: tuple[str, ...] = ()
    """Calls that run without a question, whatever the tool's `require_approval` says."""
    default: Literal["allow", "ask", "deny"] = "allow"
    """What becomes of a call that no rule is about."""


class Limits(Section):
    """What may be used up, calls of other agents included; null sets no limit."""

    steps: int | None = Field(default=None, ge=1)
    """Calls of a model."""
    calls: int | None = Field(default=None, ge=0)
    """Tool calls."""
    tokens: int | None = Field(default=None, ge=1)
    """Tokens of requests and answers together."""
    seconds: Wait | None = None
    """Time of work, waiting for people aside."""
    cost: float | None = Field(default=None, gt=0)
    """Price of the tokens, by `llms.<name>.price`."""


class LimitsConfig(Limits):
    """What one turn may use up."""

    session: Limits = Field(default_factory=Limits)


class ApprovalsConfig(Section):
    """Calls that wait for a person."""

    timeout: Wait = timedelta(hours=24)
    """How long an approval is waited for; then the call is refused."""


class SecurityConfig(Section):
    """What may follow from what others wrote."""

    flow: Literal["off", "ask", "refuse"] = "off"
    """What becomes of a call that could send private data out on the word of a stranger."""

    @field_validator("flow", mode="before")
    @classmethod
    def _may_be_unquoted(cls, flow: object) -> object:
        return "off" if flow is False else flow  # YAML reads `off` as false
