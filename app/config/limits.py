"""The section `limits`: how much a principal, and each of its users, may do. Nothing is limited unless it says so."""

from __future__ import annotations

from pydantic import Field

from app.config.section import Section


class OwnerLimits(Section):
    """Null sets no limit."""

    requests_per_second: float | None = Field(default=None, gt=0, le=1_000_000)
    """Requests in the long run, WebSocket frames and gRPC calls among them; more are answered 429."""
    burst: int | None = Field(default=None, ge=1, le=1_000_000)
    """Requests that may come at once; null: what two seconds bring."""
    turns: int | None = Field(default=None, ge=1)
    """Turns that are open at once: running, queued, or waiting for somebody."""
    streams: int | None = Field(default=None, ge=1)
    """Streams that are read at once, through any door; a POST that waits for its answer is one."""
    tokens_per_day: int | None = Field(default=None, ge=1)
    """Tokens of models on one day (UTC), in and out; turns that have begun end."""

    @property
    def is_on(self) -> bool:
        return any(getattr(self, name) is not None for name in type(self).model_fields if name != "burst")


class PrincipalLimits(OwnerLimits):
    sessions: int | None = Field(default=None, ge=1)
    """Active sessions of all users together; for one user there is `sessions.max_per_user`."""


class LimitsConfig(Section):
    """Per principal, which is a key or the issuer of tokens, and per user below it."""

    principal: PrincipalLimits = Field(default_factory=PrincipalLimits)
    user: OwnerLimits = Field(default_factory=OwnerLimits)

    @property
    def is_on(self) -> bool:
        return self.principal.is_on or self.user.is_on
