"""Keys on the wire: what one is made of, and what is shown of it. A secret is shown once, when its key is made."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StrictBool, StrictStr
from pydantic_core import PydanticCustomError
from typing_extensions import TypedDict

from app.config.server import ScopeWord
from app.config.units import parse_duration
from app.domain.clock import iso
from app.domain.made_key import MadeKey
from app.domain.principal import USUAL_SCOPES
from app.doors.schemas.fields import Time

LONGEST_NAME = 128
MOST_AGENTS = 1000
_NAME = r"^[A-Za-z0-9][A-Za-z0-9._@:+-]*$"


def _read_duration(given: Any) -> timedelta:
    try:
        found = parse_duration(given)
    except ValueError as error:
        raise PydanticCustomError("duration", "{problem}", {"problem": str(error)}) from None
    if not timedelta() < found <= timedelta(days=36500):
        raise PydanticCustomError("duration", "must be more than 0 and at most 36500d")
    return found


class CreateKey(BaseModel):
    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"name": "shop", "scopes": ["chat", "read"], "expires": "90d"}]}
    )

    name: StrictStr = Field(
        min_length=1,
        max_length=LONGEST_NAME,
        pattern=_NAME,
        description="The principal, which owns what the key makes: letters, digits and `._@:+-`.",
    )
    scopes: list[ScopeWord] = Field(
        default=sorted(USUAL_SCOPES),  # type: ignore[arg-type]
        min_length=1,
        max_length=5,
        description="What it may do; `admin` also makes and revokes keys.",
    )
    agents: list[StrictStr] | None = Field(
        default=None, min_length=1, max_length=MOST_AGENTS, description="The agents it may use; left out: all."
    )
    expires: Annotated[timedelta, BeforeValidator(_read_duration)] | None = Field(
        default=None,
        description="After how long it is refused: seconds, or such as `90d`; left out: never.",
        json_schema_extra={"anyOf": [{"type": "string"}, {"type": "number"}, {"type": "null"}]},
    )
    rotate: StrictBool = Field(
        default=False, description="Make a further key of a name that has one; the old one works until it is revoked."
    )


Status = Literal["active", "expired", "revoked"]


class Key(TypedDict):
    key_id: Annotated[str, Field(examples=["key_01jdb2q6m8r4t0v2x4z6b8"])]
    name: str
    scopes: list[str]
    agents: list[str] | None
    status: Status
    created_at: Time
    created_by: Annotated[str, Field(description="The principal that made it.")]
    expires_at: Time | None
    last_used_at: Annotated[Time | None, Field(description="To the hour.")]
    revoked_at: Time | None


class NewKey(Key):
    key: Annotated[str, Field(description="The secret, which is shown this once.", examples=["hk_3mZ…"])]


class KeyList(TypedDict):
    keys: list[Key]


def key_json(key: MadeKey, *, now_ms: int) -> Key:
    status: Status = "revoked" if key.revoked_ms is not None else "active" if key.is_good(now_ms) else "expired"
    return {
        "key_id": key.key_id,
        "name": key.name,
        "scopes": list(key.scopes),
        "agents": None if key.agents is None else list(key.agents),
        "status": status,
        "created_at": iso(key.created_ms),
        "created_by": key.created_by,
        "expires_at": iso(key.expires_ms),
        "last_used_at": iso(key.used_ms),
        "revoked_at": iso(key.revoked_ms),
    }
