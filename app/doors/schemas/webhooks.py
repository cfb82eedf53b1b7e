"""Webhooks of a session on the wire."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictStr
from pydantic_core import PydanticCustomError
from typing_extensions import TypedDict

from app.domain.webhook import USUAL_EVENTS, Webhook, WebhookEvent, key_of, secret_of


def _is_a_secret(secret: str) -> str:
    try:
        key_of(secret)
    except ValueError as error:
        raise PydanticCustomError("webhook_secret", "{problem}", {"problem": str(error)}) from None
    return secret


class SessionWebhook(BaseModel):
    """Where a program is told of events of the session."""

    model_config = ConfigDict(extra="ignore", json_schema_extra={"examples": [{"url": "https://example.org/hook"}]})

    url: StrictStr = Field(max_length=2_048, pattern=r"^https?://[^\s/@?#]+([/?#]\S*)?$")
    events: list[WebhookEvent] = Field(default=list(USUAL_EVENTS), min_length=1)
    secret: Annotated[StrictStr, AfterValidator(_is_a_secret)] | None = Field(
        default=None, description="What signs the events: `whsec_` and base64. Left out, the server makes one."
    )
    include: Literal["text"] | None = Field(default=None, description="`text`: tell also what was said.")

    def read(self) -> Webhook:
        secret = self.secret or secret_of(secrets.token_bytes(32))
        return Webhook(self.url, (secret,), tuple(self.events), None, self.include == "text")


class ShownWebhook(TypedDict):
    url: str
    events: list[str]
    secret: Annotated[str, Field(description="Shown this once.")]


def webhooks_json(webhooks: Sequence[Webhook]) -> list[ShownWebhook]:
    return [{"url": one.url, "events": list(one.events), "secret": one.secrets[0]} for one in webhooks]
