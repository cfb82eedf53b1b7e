"""The sections about webhooks: who is told of which events, and how what is told is delivered."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr

from app.config.section import Section
from app.config.tool_types import Network
from app.config.units import Duration, EntryName, Wait
from app.domain.webhook import USUAL_EVENTS, Webhook, WebhookEvent, key_of

MAX_URL = 2_048


def _as_list(said: object) -> object:
    return [said] if isinstance(said, str) else said


def _is_a_secret(secret: SecretStr) -> SecretStr:
    key_of(secret.get_secret_value())
    return secret


Secrets = Annotated[
    tuple[Annotated[SecretStr, AfterValidator(_is_a_secret)], ...],
    BeforeValidator(_as_list),
    Field(min_length=1, max_length=4),
]


class WebhookConfig(Section):
    """An address that is told of events of all sessions, or of those of some agents."""

    url: str = Field(pattern=r"^https?://[^\s/@?#]+([/?#]\S*)?$", max_length=MAX_URL)
    """Where events are sent by POST."""
    secret: Secrets
    """What signs them: `whsec_` and the base64 of 24 to 64 bytes; several while a new one, the first, replaces one."""
    events: tuple[WebhookEvent, ...] = Field(default=USUAL_EVENTS, min_length=1)
    """Which events it is told of."""
    agents: tuple[EntryName, ...] | None = None
    """The agents whose events it is told of; null: all."""
    include: Literal["text"] | None = None
    """`text` sends also what was said: answers, messages, arguments, questions. Null sends ids, words and numbers."""

    @property
    def webhook(self) -> Webhook:
        secrets = tuple([secret.get_secret_value() for secret in self.secret])
        return Webhook(self.url, secrets, self.events, self.agents, self.include == "text")


class WebhookDeliveryConfig(Section):
    """How webhooks are told of events, those of the configuration and those of sessions."""

    private: tuple[Network, ...] = ()
    """Private networks and addresses that events may be sent to, such as `10.1.0.0/16` or `127.0.0.1`."""
    per_session: bool = False
    """Whether clients may name webhooks of a session when they create it."""
    max_per_session: int = Field(default=4, ge=1)
    """Most webhooks of one session."""
    timeout: Wait = Field(default=timedelta(seconds=10), le=timedelta(minutes=1))
    """How long one attempt may take, at most 1m."""
    first_pause: Wait = timedelta(seconds=5)
    """How long after the first failed attempt the next one is made; each later pause is twice as long."""
    max_pause: Wait = timedelta(minutes=15)
    """The longest pause between two attempts."""
    give_up: Duration = timedelta(hours=24)
    """How long after an event it is still tried; then it counts as failed, and later ones of the session go on."""
    keep_failed: Duration = timedelta(days=7)
    """How long a failed event is kept, to be sent again with `hector webhooks --redeliver`."""
    concurrency: int = Field(default=8, ge=1, le=256)
    """Most requests at a time to one address."""
