"""What a client's frames say. Unknown fields are ignored, as in the bodies of requests."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt, StrictStr

from app.doors.schemas.acts import Decide
from app.doors.schemas.messages import SendMessage
from app.doors.schemas.sessions import CancelTurn

_NAMED = Field(default=None, min_length=1, max_length=200)


class Message(SendMessage):
    """Starts a turn. Without `session_id`: in the session of the socket."""

    model_config = ConfigDict(extra="ignore")

    session_id: StrictStr | None = _NAMED
    key: StrictStr | None = None
    ephemeral: StrictBool = False


class Attach(BaseModel):
    """Follow a session from a cursor: a number, or a text such as `41:12`."""

    model_config = ConfigDict(extra="ignore")

    session_id: StrictStr | None = _NAMED
    after: StrictInt | Annotated[StrictStr, Field(max_length=40)] | None = None


class Cancel(CancelTurn):
    """Cancel the running turn, the named one, or all."""

    session_id: StrictStr | None = _NAMED


class Approve(Decide):
    """Approve or refuse a call."""

    session_id: StrictStr | None = _NAMED
    call_id: StrictStr = Field(min_length=1, max_length=200)
