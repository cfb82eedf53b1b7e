"""The sections about the server itself: doors, storage, sessions, events, logging, keys."""

from __future__ import annotations

import ipaddress
import re
import unicodedata
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Literal
from urllib.parse import unquote

from pydantic import Field, SecretStr, field_serializer, field_validator, model_validator

from app.config.section import Section
from app.config.units import Duration, Size, Wait
from app.domain.turn import OnBusy

ScopeWord = Literal["chat", "read", "approve", "memory", "admin"]

_SQLITE = "sqlite:///"
STRONG_KEY = 16
"""Characters of a key below which the operator is warned."""


def without_password(url: str) -> str:
    """The address of a database to be shown: no password before its host or in its query, however it is spelled."""
    place, mark, query = url.partition("?")
    fields = [(field, field.partition("=")[0]) for field in query.split("&")]
    shown = [f"{name}=***" if "password" in unquote(name).lower() else field for field, name in fields]
    return re.sub(r"(?<=://)([^/@?]*?):[^/@?]*@", r"\1:***@", place) + mark + "&".join(shown)


class ServerConfig(Section):
    """Where the server listens and how much it accepts."""

    host: str = Field(default="127.0.0.1", min_length=1)
    """Address to listen on. Anything but loopback needs `auth.keys` or `server.allow_unauthenticated`."""
    port: int = Field(default=8080, ge=0, le=65535)
    """TCP port of HTTP and WebSocket; 0 picks a free one."""
    grpc_port: int | None = Field(default=50051, ge=0, le=65535)
    """TCP port of gRPC; 0 picks a free one, null turns gRPC off. If it is taken, the server goes on without gRPC."""
    grpc_max_calls: int = Field(default=1000, ge=1)
    """Most gRPC calls at once on one connection; a client opens another for more."""
    grpc_idle_timeout: Wait = timedelta(minutes=5)
    """After this without a call a gRPC connection is closed: it takes one of the open files of the process."""
    workers: int = Field(default=1, ge=1, le=64)
    """Processes that share the port and the database, which is PostgreSQL if they are more than one."""
    public_url: str | None = Field(default=None, pattern="^https?://")
    """Address under which clients reach the server; its path may stand before every path. Null: the request's own."""
    cors_origins: tuple[str, ...] = ()
    """Origins whose web pages may call the server, such as `https://app.example`; `*` allows all."""
    allowed_hosts: tuple[str, ...] = ()
    """Names accepted in the Host header besides loopback, the listening address and `public_url`."""
    trusted_proxies: tuple[str, ...] = ("127.0.0.1",)
    """Addresses or networks of proxies whose X-Forwarded-For and X-Forwarded-Proto count; `*` trusts every caller."""
    allow_unauthenticated: bool = False
    """Confirms that a server reachable from other machines may be used without a key."""
    max_body: Size = 1 << 20
    """Largest accepted request body in bytes, inclusive."""
    max_import: Size = 32 << 20
    """Largest accepted body of an import in bytes, inclusive."""
    max_import_items: int = Field(default=20_000, ge=1)
    """Most messages, or memories, of one import; a larger one is sent in parts."""
    max_metadata: Size = 16 << 10
    """Largest metadata of a session, or `response_format` of a message, as JSON in bytes, inclusive."""
    max_message: int = Field(default=200_000, ge=1)
    """Longest accepted message in characters, inclusive; its JSON must also fit `max_body`."""
    max_header: Size = 1 << 16
    """Largest accepted request line with all headers in bytes, inclusive; also trailers, and chunks' sizes in a row."""
    max_headers: int = Field(default=100, ge=10)
    """Most accepted headers of a request, inclusive."""
    max_url: Size = 8 << 10
    """Longest accepted path with its query in bytes, inclusive."""
    max_pipelined: int = Field(default=32, ge=1)
    """Requests that may wait on one connection for the answer before theirs; the connection closes behind them."""
    header_timeout: Wait = timedelta(seconds=20)
    """How long the headers of a request may take, from the connection or their first byte."""
    body_timeout: Wait = timedelta(seconds=20)
    """How long the body of a request may take, beside the time its bytes are allowed by `min_body_rate`."""
    min_body_rate: Size = 1 << 10
    """Bytes of a body that buy another second."""
    max_followed: int = Field(default=32, ge=1)
    """Sessions that one WebSocket may follow at the same time."""
    ping_interval: Wait = timedelta(seconds=20)
    """How often a WebSocket is pinged, so that proxies keep it and a client that is gone is noticed."""
    ping_timeout: Wait = timedelta(seconds=20)
    """How long the pong of a WebSocket may take; one that still has text to read is given longer."""
    heartbeat: Wait = timedelta(seconds=12)
    """After so long without text an event stream sends a comment, so that proxies keep it; from 100ms to 13s."""
    max_lag: Wait = timedelta(milliseconds=200)
    """New turns are answered 503 `overloaded` while whatever is due in the server is later than this."""
    shutdown_grace: Duration = timedelta(seconds=10)
    """How long running turns may go on after the server was asked to stop."""

    @field_validator("heartbeat")
    @classmethod
    def _keeps_the_promise(cls, heartbeat: timedelta) -> timedelta:
        """No stream is silent for longer than 15 s: clients take one that is for dead."""
        if not timedelta(milliseconds=100) <= heartbeat <= timedelta(seconds=13):
            raise ValueError("must be from 100ms to 13s")
        return heartbeat

    @field_validator("trusted_proxies")
    @classmethod
    def _are_addresses(cls, proxies: tuple[str, ...]) -> tuple[str, ...]:
        for proxy in proxies:
            if proxy != "*":
                try:
                    ipaddress.ip_network(proxy, strict=False)
                except ValueError:
                    raise ValueError(f"{proxy!r} is not an IP address, a network such as 10.0.0.0/8, or *") from None
        return proxies

    @property
    def address(self) -> str:
        """Where it listens, as a URL."""
        host = f"[{self.host}]" if ":" in self.host and not self.host.startswith("[") else self.host
        return f"http://{host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can connect."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host.strip("[]")).is_loopback
        except ValueError:
            return False


class StorageConfig(Section):
    """The database."""

    url: str = Field(default="sqlite:///data/hector.db", repr=False)
    """SQLite file or PostgreSQL database; a relative path starts at the folder of the configuration file."""
    pool_size: int = Field(default=5, ge=1)
    """Connections kept for reading."""
    migrate: Literal["auto", "check"] = "auto"
    """`auto` brings the database up to date at start; `check` refuses to start on an old one."""

    @field_validator("url")
    @classmethod
    def _names_a_database(cls, url: str) -> str:
        scheme, _, rest = url.partition("://")
        if scheme.partition("+")[0] in ("postgres", "postgresql"):
            return _checked_postgres(scheme, rest)
        if not url.startswith(_SQLITE):
            raise ValueError("must begin with sqlite:/// or postgresql://, as in sqlite:///data/hector.db")
        if url.removeprefix(_SQLITE) in ("", ":memory:") or "?" in url:
            raise ValueError("must name a file and nothing else, as in sqlite:///data/hector.db")
        return url

    @field_serializer("url")
    def _without_password(self, url: str) -> str:
        return without_password(url)

    @property
    def is_postgres(self) -> bool:
        return self.url.startswith("postgresql://")

    @property
    def path(self) -> Path:
        """The SQLite file. On Postgres there is none: ask `is_postgres` first."""
        assert not self.is_postgres, "a Postgres database has no path"
        return Path(self.url.removeprefix(_SQLITE))

    def at(self, folder: Path) -> StorageConfig:
        """The same database, its relative path taken from `folder` (absolute)."""
        if self.is_postgres:
            return self
        return self.model_copy(update={"url": f"{_SQLITE}{folder / self.path}"})


def _checked_postgres(scheme: str, rest: str) -> str:
    """The sentences never repeat what was written: there is a password in it."""
    if "+" in scheme:
        raise ValueError("must begin with postgresql://; the driver is not for you to choose")
    place, _, query = rest.partition("?")
    authority, _, database = place.partition("/")
    if authority.count("@") > 1 or "@" in database or "#" in place:
        raise ValueError(
            "has a character in its user or password that must be escaped: write @ as %40, / as %2F, # as %23"
        )
    port = authority.rpartition("@")[2].rpartition("]")[2].partition(":")[2]
    if not database or "/" in database or (port and not port.isdigit()):
        raise ValueError(
            "must look like postgresql://user:password@host:5432/database, or postgresql:///database?host=/dir"
        )
    return f"postgresql://{place}" + (f"?{query}" if query else "")


class SessionsConfig(Section):
    """How long sessions live and what a second message does."""

    timeout: Wait | None = None
    """A session idle for longer expires; null never."""
    max_duration: Wait | None = None
    """A session older than this expires; null never."""
    on_busy: OnBusy = "queue"
    """A message while a turn runs: waits its turn, is answered 409, cancels the running turn, or enters it."""
    max_queue: int = Field(default=16, ge=1)
    """Messages that may wait in one session; the next one is answered 429."""
    max_per_user: int | None = Field(default=None, ge=1)
    """Active sessions one user may have; null sets no limit."""
    warm_memory: Size = 128 << 20
    """Bytes of memory for the histories of sessions at rest; above it the least recently used ones are read again."""
    max_stored: Size = 1 << 30
    """Text of all sessions of one user in bytes; a fork, edit or import that would exceed it is answered 429."""
    retention: Wait | None = None
    """Sessions that ended or expired longer ago are deleted with all that is theirs; null keeps them."""


class EventsConfig(Section):
    """The log that streams are read from."""

    retention: Duration = timedelta(hours=24)
    """How long after its end a turn can be replayed word for word; later, readers get its whole text."""
    confirm: Literal["tail", "none"] = "tail"
    """With `redis.url`: readers see text once Redis has it, so that a crash takes nothing back; `none`: at once."""


class LoggingConfig(Section):
    """What the server says about itself, on standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """Least important level that is written."""
    format: Literal["text", "json"] = "text"
    """Lines for people or for machines."""
    audit: str | None = Field(default=None, min_length=1)
    """Where it is written who made and revoked keys, decided calls, and had something forgotten: a file or `stdout`."""

    access: str | None = Field(default=None, min_length=1)
    """Where each request is written, without query and body: a file or `stdout`; null: nowhere."""

    def at(self, folder: Path) -> LoggingConfig:
        """The same, with relative paths taken from `folder`."""
        named = {"audit": self.audit, "access": self.access}
        placed = {key: str(folder / place) for key, place in named.items() if place not in (None, "stdout")}
        return self.model_copy(update=placed) if placed else self

    @field_validator("access", mode="before")
    @classmethod
    def _read_switch(cls, place: object) -> object:
        """YAML reads `on` and `off` as true and false."""
        return ("stdout" if place else None) if isinstance(place, bool) else place

    @field_validator("level", mode="before")
    @classmethod
    def _has_one_spelling(cls, level: object) -> object:
        if not isinstance(level, str):
            return level
        return {"warn": "warning"}.get(level.lower(), level.lower())


class KeyConfig(Section):
    """A key of the configuration: its secret, or its secret with what it may do."""

    key: SecretStr
    """The Bearer secret. `alice: secret` says the same as `alice: {key: secret}`."""
    scopes: tuple[ScopeWord, ...] | None = None
    """What it may do, of `chat`, `read`, `approve`, `memory` and `admin`; null: everything but make other keys."""
    agents: tuple[str, ...] | None = None
    """The agents it may use, by name; others are unknown to it. Null: all."""

    @model_validator(mode="before")
    @classmethod
    def _read_secret(cls, value: object) -> object:
        return value if isinstance(value, Mapping | KeyConfig) else {"key": value}

    @property
    def secret(self) -> str:
        return self.key.get_secret_value()


class JwtConfig(Section):
    """Tokens of the company's own login, signed by its issuer with RS, ES or EdDSA."""

    jwks_url: str | None = Field(default=None, pattern=r"^https://|^http://(localhost|127\.0\.0\.1|\[::1\])[:/]")
    """Where the issuer publishes its public keys (`jwks_uri`): https, or http on this machine."""
    jwks_file: Path | None = None
    """The same in a file, which is read in place of the address."""
    issuer: str = Field(min_length=1, max_length=512)
    """What `iss` of every token has to be; it is the principal that owns what tokens make."""
    audience: str = Field(min_length=1)
    """What `aud` of every token has to be, or have among others."""
    user_claim: str = Field(default="sub", min_length=1)
    """The claim that names the user. A token speaks for no other."""
    scopes_claim: str | None = None
    """The claim with the scopes, as a list or in one text; null: every token has chat, read, approve and memory."""

    @model_validator(mode="after")
    def _has_a_place(self) -> JwtConfig:
        if self.jwks_url is None and self.jwks_file is None:
            raise ValueError("jwks_url or jwks_file has to say where the keys of the issuer are")
        return self

    def at(self, folder: Path) -> JwtConfig:
        """The same, with a relative path taken from `folder`."""
        if self.jwks_file is None:
            return self
        return self.model_copy(update={"jwks_file": folder / self.jwks_file})


class AuthConfig(Section):
    """Who may use the server."""

    keys: dict[str, KeyConfig] = Field(default_factory=dict)
    """Each caller by name, which owns its sessions; a caller sees its own only. Empty: no authentication."""
    jwt: JwtConfig | None = None
    """Tokens beside keys, or instead of them."""
    max_keys: int = Field(default=10_000, ge=1)
    """Usable keys that may be made at run time; they are kept in memory."""
    max_ticket_ttl: Duration = Field(default=timedelta(hours=1), ge=timedelta(minutes=1))
    """Longest time that a ticket for a browser may be good for; at least 1m."""

    max_wrong_keys: int | None = Field(default=20, ge=1)
    """Wrong keys an address may send before it has to wait, a second at first, then longer; null: any number."""
    max_wrong_key_wait: Wait = timedelta(minutes=1)
    """Longest time that an address has to wait after a wrong key."""

    @property
    def asks(self) -> bool:
        """Whether callers need a key or a token."""
        return bool(self.keys) or self.jwt is not None

    def at(self, folder: Path) -> AuthConfig:
        """The same, every relative path taken from `folder`."""
        return self if self.jwt is None else self.model_copy(update={"jwt": self.jwt.at(folder)})

    @model_validator(mode="after")
    def _have_different_names(self) -> AuthConfig:
        if self.jwt is not None and self.jwt.issuer in self.keys:
            raise ValueError(f"the issuer {self.jwt.issuer!r} is also the name of a key")
        return self

    @field_validator("keys")
    @classmethod
    def _are_usable_and_different(cls, keys: dict[str, KeyConfig]) -> dict[str, KeyConfig]:
        keys = {unicodedata.normalize("NFC", name): key for name, key in keys.items()}
        owners: dict[str, str] = {}
        for name, key in keys.items():
            secret = key.secret
            if not name.strip():
                raise ValueError("a key needs a name")
            if not secret:
                raise ValueError(f"the secret of {name!r} is empty; set it or remove the line")
            if not all("!" <= character <= "~" for character in secret):
                raise ValueError(f"the secret of {name!r} must be ASCII without spaces, for it travels in a header")
            if secret in owners:
                raise ValueError(f"{owners[secret]!r} and {name!r} have the same secret")
            owners[secret] = name
        return keys


def weak_keys(auth: AuthConfig) -> list[str]:
    """Names of keys that are so short that they can be guessed."""
    return [name for name, key in auth.keys.items() if len(key.secret) < STRONG_KEY]


class ClusterConfig(Section):
    """Several servers on one PostgreSQL database that are one service."""

    enabled: bool = False
    """Whether this server shares its database with others; all of them must say so."""
    name: str | None = Field(default=None, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,31}$")
    """What this server is called in logs, metrics and lists; null: its host and port."""
    address: str | None = Field(default=None, pattern=r"^https?://[^\s/]+$")
    """Where the other servers reach it, such as `http://10.0.0.5:8080`; null: `http://` with its host and port."""
    lease: Duration = Field(default=timedelta(seconds=10), ge=timedelta(seconds=2), le=timedelta(minutes=5))
    """A server that has not been heard of for so long has died, and the others take over its sessions."""


class RedisConfig(Section):
    """The tail of several servers on one database: what models say is in Redis before it is in the database."""

    url: SecretStr | None = None
    """Address, such as `redis://localhost:6379`; it implies `cluster.enabled`. Null: servers follow the database."""

    @field_validator("url")
    @classmethod
    def _is_an_address(cls, url: SecretStr | None) -> SecretStr | None:
        said = url.get_secret_value().strip() if url is not None else ""
        if not said:
            return None
        if not said.startswith(("redis://", "rediss://", "unix://")):
            raise ValueError("begins with redis://, rediss:// (TLS) or unix:// (a socket)")
        return SecretStr(said)
