"""The guard before all routes: request id, Host and Origin, credentials, and the answer to faults of our own.

A browser sends requests on behalf of every page that it shows. A foreign page is kept out by its Origin (of
requests that change something) and by the Host it had to use (a name that was rebound to this address).
"""

from __future__ import annotations

import ipaddress
import logging
import re
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from urllib.parse import urlsplit

from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.auth.authenticate import Authenticator
from app.auth.errors import SignerUnknown
from app.auth.users import with_named_user
from app.config.compat import CompatConfig
from app.domain.errors import Allowance, Forbidden, HectorError, Internal, InvalidRequest, QuotaExceeded
from app.domain.principal import PLAIN_SCOPES, Principal
from app.doors.errors import allowance_headers, refusal
from app.doors.scopes import RouteScopes
from app.limits.limits import Limits
from app.routers.origins import LOCAL, RefusedOrigins
from app.routers.revocable import is_stream, until_revoked
from app.routers.tickets import admit, take_ticket
from app.routers.websocket.refusal import socket_refusal
from app.sessions.tickets import Tickets

log = logging.getLogger(__name__)

_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_ALWAYS_OPEN = frozenset({"/", "/health", "/ready"})
# The card of an agent, by which A2A clients find out how to authenticate.
_CARD = re.compile(r"(?:/agents/[^/]+)?/\.well-known/agent-card\.json")
_USER_HEADERS = frozenset({b"x-user-id", b"x-user-id*"})
_PAGE_FILES = "/page/"
_DOCS_FILES = "/docs/"
# A name or an address, and perhaps a port: nothing that another reader of it could take for a different host.
_HOST = re.compile(r"(?:\[[0-9a-f:.]+(?:%[0-9a-z._-]+)?\]|[0-9a-z_][0-9a-z_.-]*)(?::[0-9]{1,5})?")
_LONGEST_HOST = 262
"""A name of 255 characters, a colon, five digits, and one to spare."""
_OPEN_FOR_LOOPBACK = frozenset({"/metrics", "/openapi.json", "/docs"})


class Guard:
    """ASGI in front of the application. Puts `request_id` and `principal` into the scope."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        authenticator: Authenticator,
        cors_origins: Sequence[str],
        allowed_hosts: Sequence[str],
        public_url: str | None,
        tickets: Tickets | None = None,
        routes: RouteScopes | None = None,
        limits: Limits | None = None,
        refused: RefusedOrigins | None = None,
        accepts_local_pages: bool = False,
        is_elsewhere: Callable[[Scope], bool] | None = None,
    ) -> None:
        """`refused` is told the pages that are kept out; `accepts_local_pages` lets in those of this machine.

        `is_elsewhere`: whether a request is passed on to another server, which looks at its ticket and counts it.
        """
        self._app = app
        self._limits = limits
        self._routes = routes or RouteScopes(CompatConfig())
        self._refused = refused or RefusedOrigins(cors_origins)
        self._accepts_local_pages = accepts_local_pages
        self._tickets = tickets
        self._is_elsewhere = is_elsewhere or _is_here
        self._authenticator = authenticator
        self._origins = {origin.rstrip("/").lower() for origin in cors_origins}
        self._hosts = {host.lower() for host in allowed_hosts} | {"localhost"}
        self._public_origin: str | None = None
        self._prefix = ""
        if public_url is not None:
            parts = urlsplit(public_url)
            self._public_origin = f"{parts.scheme}://{parts.netloc}".lower()
            self._prefix = parts.path.rstrip("/")
            if parts.hostname:
                self._hosts.add(parts.hostname)
        self._known_hosts: set[str] = set()
        """Hosts that were accepted, to save looking again."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        if self._prefix and self._strip_prefix(scope):
            await RedirectResponse(f"{self._prefix}/")(scope, receive, send)
            return
        request_id = scope["request_id"] = f"req_{secrets.token_hex(8)}"
        has_begun = False
        allowance: Allowance | None = None

        async def watched(message: Message) -> None:
            nonlocal has_begun
            has_begun = True
            if allowance is not None and message["type"] == "http.response.start":
                message = with_headers(message, allowance_headers(allowance))
            await send(message)

        try:
            try:
                more = self._admit(scope)
            except SignerUnknown:
                await self._authenticator.learn()
                more = self._admit(scope)
            if more is not None:
                receive = await self._go_on(more, scope, receive)
            if self._limits is not None and "principal" in scope and not self._is_elsewhere(scope):
                allowance = await self._limits.request(scope["principal"])
        except HectorError as error:
            client = scope.get("client") or ("an unknown address",)
            level = (
                logging.DEBUG if isinstance(error, QuotaExceeded) else logging.INFO
            )  # a flood is told once, by the brake
            log.log(level, "refused a request from %s: %s", client[0], error.reason, extra={"request_id": request_id})
            shown = socket_refusal if scope["type"] == "websocket" else refusal
            await shown(error, scope)(scope, receive, send)
            return
        try:
            await self._app(scope, receive, watched)
        except HectorError as error:
            if has_begun:
                raise
            await refusal(error, scope)(scope, receive, send)
        except Exception:
            log.exception("request %s failed by our fault", request_id, extra={"request_id": request_id})
            if has_begun:
                raise
            fault = Internal("Something went wrong on our side; the log has the details.")
            await refusal(fault, scope)(scope, receive, send)

    def _strip_prefix(self, scope: Scope) -> bool:
        """Strip the path of `public_url`; true if the request is for the prefix alone and must be redirected.

        Relative links of a page do not work there. A proxy may have stripped the prefix already: a path without it
        is left as it is.
        """
        path: str = scope["path"]
        if path == self._prefix:
            return scope["type"] == "http" and scope["method"] in ("GET", "HEAD")
        if path.startswith(self._prefix + "/"):
            scope["path"] = path[len(self._prefix) :]
            scope["raw_path"] = scope["path"].encode()
        return False

    async def _go_on(self, more: str | Principal, scope: Scope, receive: Receive) -> Receive:
        """Look up the owner of a ticket, and end a stream with its key."""
        if isinstance(more, str) and self._is_elsewhere(scope):
            scope["ticket_elsewhere"] = more
            return receive
        if isinstance(more, str):
            assert self._tickets is not None
            more = scope["principal"] = with_named_user(await admit(self._tickets, more, scope), *_naming(scope))
        revocation = self._authenticator.revocation(more) if is_stream(scope) else None
        return receive if revocation is None else until_revoked(receive, revocation)

    def _admit(self, scope: Scope) -> str | Principal | None:
        """Put the principal into the scope; or return a ticket, whose owner is not looked up yet.

        Returns the principal if its key may be revoked while the request is open.
        """
        if "\0" in scope["path"] or b"%00" in scope.get("query_string", b""):
            raise InvalidRequest("An address cannot contain the character U+0000.")
        if len(scope["path"]) > 1 and scope["path"].endswith("/"):
            scope["path"] = scope["path"].rstrip("/")  # the same address: a redirect would lose curl's body
        ticket = take_ticket(scope) if self._tickets is not None else None
        host = origin = authorization = None
        users: list[bytes] = []
        named_by: set[bytes] = set()
        for name, value in scope["headers"]:
            if name == b"host":
                _refuse_second(host, "Host")
                host = value.decode("latin-1").lower()
            elif name == b"origin":
                _refuse_second(origin, "Origin")
                origin = value.decode("latin-1").lower()
            elif name == b"authorization":
                _refuse_second(authorization, "Authorization")
                authorization = value.decode("latin-1")
            elif name in _USER_HEADERS:
                _refuse_second(name.decode() if name in named_by else None, "X-User-Id")
                named_by.add(name)
                users.append(value)
        if host is None:
            if scope.get("http_version") in ("1.1", "2"):
                raise InvalidRequest("A request in HTTP/1.1 names its Host.", reason="invalid_header")
        elif host not in self._known_hosts and not self._accepts_host(host):
            raise Forbidden(
                f"This server does not answer to the name {host[:64]!r}; add it to server.allowed_hosts.",
                reason="forbidden_host",
            )
        is_change = scope["type"] == "websocket" or scope["method"] not in _SAFE_METHODS
        if origin is not None and not self._accepts_origin(origin, host):
            self._refused.note(origin)  # also of a GET: the browser keeps the answer from the page
            if is_change:
                raise Forbidden(
                    f"Pages from {origin[:200]!r} may not change anything here; add it to server.cors_origins.",
                    reason="forbidden_origin",
                )
        if scope["type"] == "http" and scope["method"] == "OPTIONS":
            return None  # a preflight carries no credentials
        if ticket is not None:
            return ticket
        if not self._is_open(scope):
            client = scope.get("client")
            principal = self._authenticator.authenticate(authorization, client[0] if client else "")
            if principal.scopes is not PLAIN_SCOPES:  # those are enough for all but /admin, which looks itself
                self._routes.check(principal, scope.get("method", "WEBSOCKET"), scope["path"])
            query = scope.get("query_string", b"")
            scope["principal"] = with_named_user(principal, users, query) if users or query else principal
            if principal.key_id is not None:
                return principal
        return None

    def _accepts_host(self, host: str) -> bool:
        if len(host) > _LONGEST_HOST or _HOST.fullmatch(host) is None:
            return False
        name = _hostname(host)
        known = "*" in self._hosts or name in self._hosts or _is_address(name)
        if known and len(self._known_hosts) < 1000:
            self._known_hosts.add(host)
        return known

    def _accepts_origin(self, origin: str, host: str | None) -> bool:
        if origin in self._origins or ("*" in self._origins and origin != "null"):
            return True
        if origin == self._public_origin or (self._accepts_local_pages and LOCAL.fullmatch(origin) is not None):
            return True
        try:
            parts = urlsplit(origin)
        except ValueError:  # such as http://[
            return False
        return (
            parts.scheme in ("http", "https")
            and host is not None
            and _with_port(parts.netloc, parts.scheme)
            in (
                _with_port(host, "http"),
                _with_port(host, "https"),
            )
        )

    def _is_open(self, scope: Scope) -> bool:
        path = scope["path"]
        if path in _ALWAYS_OPEN or path.startswith(_PAGE_FILES) or _CARD.fullmatch(path) is not None:
            return True
        if path in _OPEN_FOR_LOOPBACK or path.startswith(_DOCS_FILES):
            # Forwarded addresses are what somebody wrote: a request through a proxy never counts as of this machine.
            client = scope.get("client")
            return client is not None and _is_loopback(client[0]) and not _is_forwarded(scope["headers"])
        return False


def with_headers(message: Message, headers: Mapping[str, str]) -> Message:
    """The start of a response, with headers that it does not have already."""
    known = {name for name, _ in message["headers"]}
    added = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    return {**message, "headers": [*message["headers"], *[one for one in added if one[0] not in known]]}


def _is_here(scope: Scope) -> bool:
    return False


def _naming(scope: Scope) -> tuple[list[bytes], bytes]:
    """Where a request may name a user: the values of the headers, and the query."""
    return [value for name, value in scope["headers"] if name in _USER_HEADERS], scope.get("query_string", b"")


def _refuse_second(value: str | None, name: str) -> None:
    """Of two headers that decide something, another reader of the request may take the other one."""
    if value is not None:
        raise InvalidRequest(f"The header {name} stands twice in the request.", reason="invalid_header")


def _hostname(host: str) -> str:
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.rpartition(":")[0] if host.count(":") == 1 else host


def _with_port(netloc: str, scheme: str) -> str:
    has_port = netloc.rpartition("]")[2].count(":") == 1
    return netloc if has_port else f"{netloc}:{443 if scheme == 'https' else 80}"


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _is_forwarded(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    return any(name in (b"x-forwarded-for", b"forwarded") for name, _ in headers)


def _is_loopback(host: str) -> bool:
    return _is_address(host) and ipaddress.ip_address(host).is_loopback
