"""Tickets on the wire: what one is asked for, and what is answered."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError
from typing_extensions import TypedDict

from app.config.units import parse_duration
from app.doors.schemas.fields import Time

SHORTEST = timedelta(minutes=1)
USUAL = timedelta(minutes=10)


def _read_duration(given: Any) -> timedelta:
    try:
        return parse_duration(given)
    except ValueError as error:
        raise PydanticCustomError("duration", "{problem}", {"problem": str(error)}) from None


class AskForTicket(BaseModel):
    """Nothing is required."""

    model_config = ConfigDict(extra="ignore", json_schema_extra={"examples": [{"ttl": "15m", "can": ["read"]}]})

    ttl: Annotated[timedelta, BeforeValidator(_read_duration)] | None = Field(
        default=None,
        description="How long it is good: seconds, or such as `15m`; from 1m to `auth.max_ticket_ttl`. Default: 10m.",
        json_schema_extra={"anyOf": [{"type": "string"}, {"type": "number"}, {"type": "null"}]},
    )
    can: list[Literal["read", "chat"]] = Field(
        default=["read"], min_length=1, description="What it is good for; `chat` is sending messages, and reading."
    )


class Ticket(TypedDict):
    ticket: Annotated[
        str, Field(description="Goes into `?ticket=` of the session's stream.", examples=["ticket_AQAAAZq…"])
    ]
    expires_at: Time
