"""The sections of a v1 file about the server and its models: `global`, `llms`, `embedders`, and those that are gone."""

from __future__ import annotations

from collections.abc import Mapping

from app.config.document import Document
from app.config.v1.agents import rewrite_agents
from app.config.v1.rewrite import Rewrite
from app.config.v1.stores import rewrite_stores
from app.config.v1.tools import rewrite_tools

_STORAGE = "ignored; sessions and vectors live in the database of `storage`"
_TOKENS = ("jwks_url", "issuer", "audience")
_TRACES = "ignored; figures are at /metrics, traces go where OTEL_EXPORTER_OTLP_ENDPOINT says"
_LOG = "ignored; the log goes to standard error"
_PORTS = "ignored; HTTP is served at server.port, gRPC at server.grpc_port"
_LIMITS = (
    "ignored; calls of a model are limited by llms.<name>.max_concurrency, waiting by its first_token_timeout "
    "and idle_timeout"
)
_PATIENCE = ("first_token_timeout", "idle_timeout")


def rewrite(document: Document, environ: Mapping[str, str]) -> Rewrite:
    """Change the document itself into one of ours; what is ours already stays as it is."""
    file = Rewrite(document, environ)
    for name in file.names():
        if name in ("version", "name", "description", "metadata") or name.startswith("x-"):
            file.drop(name)
    file.ignore((), ("databases", "session_stores"), _STORAGE)
    file.ignore((), ("plugins",), "ignored; there are no plugins: models are under llms, tools under tools")
    file.ignore((), ("observability",), _TRACES)
    _rewrite_global(file)
    _rewrite_logging(file)
    for name in _TOKENS:
        file.move(("auth", name), ("auth", "jwt", name), f"is read as auth.jwt.{name}")
    for name in file.names("llms"):
        _rewrite_llm(file, name)
    for name in file.names("embedders"):
        file.ignore(("embedders", name), ("timeout", "max_retries"), "ignored; an embedder has its own patience")
    rewrite_agents(file)
    rewrite_tools(file)
    rewrite_stores(file)
    return file


def _rewrite_global(file: Rewrite) -> None:
    if not file.has("global"):
        return
    server = ("global", "a2a_server")
    for old, new in (("host", "host"), ("port", "port"), ("base_url", "public_url")):
        file.move((*server, old), ("server", new), f"is read as server.{new}")
    file.drop(*server, "enabled")
    file.ignore(server, ("rest_gateway_port", "jsonrpc_port", "grpc_port"), _PORTS)
    file.ignore(server, ("tls",), "ignored; TLS is for a proxy in front of the server (docs/docker.md)")
    for name in file.names(*server):
        file.refuse((*server, name), "unknown key; known here: base_url, host, port")
    file.drop(*server)
    if file.text("global", "auth", "jwks_url") and not file.is_off("global", "auth", "enabled"):
        for name in _TOKENS:
            file.move(("global", "auth", name), ("auth", "jwt", name), f"is read as auth.jwt.{name}")
    file.drop("global", "auth")
    file.ignore(("global", "logging"), ("output", "file"), _LOG)
    for name in ("level", "format"):
        file.move(("global", "logging", name), ("logging", name), f"is read as logging.{name}")
    file.drop("global", "logging")
    file.ignore(("global",), ("performance",), _LIMITS)
    file.ignore(("global",), ("observability",), _TRACES)
    for name in file.names("global"):
        file.refuse(("global", name), "unknown key; what `global` held is under server, auth and logging")
    file.drop("global")


def _rewrite_logging(file: Rewrite) -> None:
    file.ignore(("logging",), ("output", "file"), _LOG)
    if file.text("logging", "format").lower() in ("simple", "verbose", "console"):
        file.put(("logging", "format"), "text", of=("logging", "format"))


def _rewrite_llm(file: Rewrite, name: str) -> None:
    at = ("llms", name)
    if file.has(*at, "timeout"):
        value = file.drop(*at, "timeout")
        missing = [patience for patience in _PATIENCE if not file.has(*at, patience)]
        for patience in missing:
            file.put((*at, patience), value, of=(*at, "timeout"))
        told = " and ".join(missing)
        file.note(f"is read as {told}" if told else "ignored; first_token_timeout is there too", (*at, "timeout"))
    file.ignore(at, ("retry_delay",), "ignored; the pause grows by itself, or is the one that the provider asks for")
