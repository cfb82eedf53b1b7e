"""Types of fields that several wire objects share, each with an example for the OpenAPI document."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal

from pydantic import AfterValidator, AwareDatetime, Field, StrictStr
from pydantic_core import PydanticCustomError

from app.auth.users import MAX_USER_ID, normalize
from app.domain.errors import InvalidRequest
from app.domain.message import is_blank


def _normalize(name: str) -> str:
    try:
        return normalize(name)
    except InvalidRequest as error:
        raise PydanticCustomError("user_id", "{problem}", {"problem": error.message}) from None


def _refuse_blank(text: str) -> str:
    if is_blank(text):
        raise PydanticCustomError("blank", "The text is blank: white space and invisible characters only; send words.")
    return text


Time = Annotated[str, Field(json_schema_extra={"format": "date-time"}, examples=["2026-11-22T00:27:49.628Z"])]
"""UTC in ISO 8601, with milliseconds."""


def _is_past(moment: datetime) -> datetime:
    if not 0 <= milliseconds(moment) <= (time.time() + _FAST_CLOCK.total_seconds()) * 1000:
        raise PydanticCustomError("time_range", "must be a time between 1970 and now")
    return moment


def milliseconds(moment: datetime) -> int:
    """Milliseconds since the epoch."""
    return (moment - _EPOCH) // timedelta(milliseconds=1)


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FAST_CLOCK = timedelta(days=1)
"""How far the clock of the machine that a time comes from may be ahead of ours."""
BroughtTime = Annotated[AwareDatetime, AfterValidator(_is_past)]
"""A time that a client says: when something that it imports was said."""
Day = Annotated[str, Field(json_schema_extra={"format": "date"}, examples=["2026-11-22"])]
Milliseconds = Annotated[float, Field(examples=[4.4])]
EventNumber = Annotated[int, Field(description="Number of an event in its session.", examples=[10])]

AgentName = Annotated[str, Field(description="Key of the agent in the configuration.", examples=["assistant"])]
AgentVersion = Annotated[
    str,
    Field(
        description="Changes with what the agent's behaviour depends on: prompt, models, tools, rules.",
        examples=["3f0c9a1be27d5846"],
    ),
]
UserId = Annotated[str, Field(description="The person on whose behalf requests are made.", examples=["ann"])]
NamedUser = Annotated[
    StrictStr,
    AfterValidator(_normalize),
    Field(json_schema_extra={"minLength": 1, "maxLength": MAX_USER_ID}, examples=["ann"]),
]
"""In a request: the person on whose behalf it is made, in Unicode normal form C."""
SessionId = Annotated[str, Field(examples=["talk-1"])]
TurnId = Annotated[str, Field(examples=["turn_1k80adrgdt8an1k54cc83t"])]
MessageId = Annotated[str, Field(examples=["msg_1k80adrgdf40738uj3fmae"])]
MemoryId = Annotated[str, Field(examples=["memory_1k8bpq5r5bgabb20ut1s49"])]
StoreName = Annotated[str, Field(description="Key of the document store in the configuration.", examples=["handbook"])]
ModelName = Annotated[str, Field(examples=["all-MiniLM-L6-v2"])]

SaidText = Annotated[StrictStr, Field(min_length=1), AfterValidator(_refuse_blank)]
"""The text of a message that a client gives: not blank, for many models refuse a history with a blank message."""
Speaker = Annotated[
    str, Field(strict=True, min_length=1, max_length=256), AfterValidator(lambda name: " ".join(name.split()) or "-")
]
"""A name on one line."""
Role = Literal["user", "assistant"]
Score = Annotated[float, Field(description="0 to 1.", examples=[0.93])]
Cues = Annotated[dict[str, float], Field(description="The parts that the score is made of.", examples=[{"words": 0.8}])]
FinishReason = Annotated[
    str,
    Field(
        description="Why the model ended its answer, in its own word: `stop`, `content_filter`, `length` (it reached "
        "its limit of tokens), …",
        examples=["stop"],
    ),
]
Tokens = Annotated[int, Field(examples=[17])]
Count = Annotated[int, Field(examples=[2])]
