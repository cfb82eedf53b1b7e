"""The table of scopes: what a caller needs for each route and operation, of every door.

The guards of HTTP, WebSocket and gRPC ask it before a request reaches its door. Doors whose requests say in their
bodies what they want ask it once they have read them (`check_operation`). `tests/doors/test_scopes.py` compares the
table with every route and operation there is.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any

from app.config.compat import CompatConfig
from app.domain.errors import Forbidden, NotFound
from app.domain.principal import Principal, Scope


class Need(Enum):
    """What is needed where no scope is."""

    NOTHING = "nothing"
    """Any caller that is let in."""
    OPERATION = "operation"
    """What the operation in the request needs."""


Needed = Scope | Need
CHAT, READ, APPROVE, MEMORY = Scope.CHAT, Scope.READ, Scope.APPROVE, Scope.MEMORY
ADMIN, SERVER = Scope.ADMIN, Scope.SERVER
NOTHING, OPERATION = Need.NOTHING, Need.OPERATION

_S = "/agents/{agent}/sessions/{session_id}"
_M = "/agents/{agent}/memories"
_ROUTES: tuple[tuple[str, str, Needed], ...] = (
    ("POST", "/agents/{agent}/sessions", CHAT),
    ("GET", "/agents/{agent}/sessions", READ),
    ("POST", "/agents/{agent}/sessions/import", CHAT),
    ("GET", _S, READ),
    ("PATCH", _S, CHAT),
    ("DELETE", _S, CHAT),
    ("POST", f"{_S}/end", CHAT),
    ("POST", f"{_S}/cancel", CHAT),
    ("POST", f"{_S}/fork", CHAT),
    ("GET", f"{_S}/export", READ),
    ("POST", f"{_S}/tickets", READ),
    ("POST", f"{_S}/messages", CHAT),
    ("GET", f"{_S}/messages", READ),
    ("PUT", f"{_S}/messages/{{message_id}}", CHAT),
    ("POST", f"{_S}/messages/stream", CHAT),
    ("GET", f"{_S}/messages/stream", READ),
    ("POST", f"{_S}/regenerate", CHAT),
    ("POST", f"{_S}/regenerate/stream", CHAT),
    ("GET", f"{_S}/events", READ),
    ("GET", f"{_S}/turns/{{turn_id}}", READ),
    ("GET", f"{_S}/calls", READ),
    ("GET", f"{_S}/calls/{{call_id}}", READ),
    ("POST", f"{_S}/calls/{{call_id}}/result", APPROVE),
    ("POST", f"{_S}/calls/{{call_id}}/resolve", APPROVE),
    ("GET", f"{_S}/approvals", READ),
    ("POST", f"{_S}/approvals/{{call_id}}", APPROVE),
    ("GET", f"{_S}/results/{{result_id}}", READ),
    ("GET", "/agents/{agent}/approvals", READ),
    ("POST", "/agents/{agent}/messages", CHAT),
    ("POST", "/agents/{agent}/messages/stream", CHAT),
    ("GET", _M, MEMORY),
    ("POST", _M, MEMORY),
    ("POST", f"{_M}/search", MEMORY),
    ("POST", f"{_M}/reindex", MEMORY),
    ("GET", f"{_M}/export", MEMORY),
    ("POST", f"{_M}/import", MEMORY),
    ("GET", f"{_M}/{{memory_id}}", MEMORY),
    ("PATCH", f"{_M}/{{memory_id}}", MEMORY),
    ("DELETE", f"{_M}/{{memory_id}}", MEMORY),
    ("POST", "/agents/{agent}/forget", ADMIN),
    ("GET", "/agents", READ),
    ("GET", "/agents/{agent}", READ),
    ("GET", "/document_stores", READ),
    ("GET", "/document_stores/{store}", READ),
    ("GET", "/document_stores/{store}/documents", READ),
    ("POST", "/document_stores/search", READ),
    ("POST", "/document_stores/{store}/search", READ),
    ("POST", "/document_stores/{store}/reindex", ADMIN),
    ("GET", "/usage", ADMIN),
    ("POST", "/admin/keys", SERVER),
    ("GET", "/admin/keys", SERVER),
    ("DELETE", "/admin/keys/{key_id}", SERVER),
    ("GET", "/admin/reload", ADMIN),
    ("GET", "/admin/replicas", ADMIN),
    ("GET", "/metrics", ADMIN),
    ("GET", "/health", NOTHING),
    ("GET", "/ready", NOTHING),
    ("GET", "/openapi.json", NOTHING),
    ("GET", "/docs", NOTHING),
    ("GET", "/docs/{path:path}", NOTHING),
    ("GET", "/page/{path:path}", NOTHING),
    ("GET", "/", NOTHING),
    # doors of others
    ("WEBSOCKET", "/agents/{agent}/stream", OPERATION),
    ("POST", "/agents/{agent}/agui", CHAT),
    ("POST", "/agents/{agent}/ui", CHAT),
    ("GET", "/agents/{agent}/ui/{session_id}/stream", READ),
    ("GET", "/.well-known/agent-card.json", NOTHING),
    ("GET", "/agents/{agent}/.well-known/agent-card.json", NOTHING),
    ("POST", "/agents/{agent}/a2a", OPERATION),
    *((method, "/agents/{agent}/a2a/rest/{path:path}", OPERATION) for method in ("GET", "POST", "DELETE")),
    *((method, "/mcp", OPERATION) for method in ("GET", "POST", "DELETE")),
)
_OPENAI: tuple[tuple[str, str, Needed], ...] = (
    ("GET", "/models", READ),
    ("GET", "/models/{model:path}", READ),
    ("POST", "/chat/completions", CHAT),
    ("POST", "/responses", CHAT),
    ("GET", "/responses/{response}", READ),
    ("DELETE", "/responses/{response}", CHAT),
    ("POST", "/responses/{response}/cancel", CHAT),
    ("GET", "/responses/{response}/input_items", READ),
    ("POST", "/conversations", CHAT),
    ("GET", "/conversations/{conversation}", READ),
    ("POST", "/conversations/{conversation}", CHAT),
    ("DELETE", "/conversations/{conversation}", CHAT),
    ("POST", "/conversations/{conversation}/items", CHAT),
    ("GET", "/conversations/{conversation}/items", READ),
    ("GET", "/conversations/{conversation}/items/{item}", READ),
    ("POST", "/embeddings", CHAT),
)
_VECTORSHIFT: tuple[tuple[str, str, Needed], ...] = (
    ("POST", "/agent", ADMIN),
    ("GET", "/agent", READ),
    ("GET", "/agents", READ),
    ("DELETE", "/agent/{agent}", ADMIN),
    ("POST", "/update/agent/{agent}", ADMIN),
    ("POST", "/agent/{agent}/run", CHAT),
    ("WEBSOCKET", "/ws/session", OPERATION),
)
_HECTOR_V1 = "/hector.v1.A2AService/"
_RPC: Mapping[str, Needed] = {
    f"{_HECTOR_V1}CreateSession": CHAT,
    f"{_HECTOR_V1}GetSession": READ,
    f"{_HECTOR_V1}ListSessions": READ,
    f"{_HECTOR_V1}DeleteSession": CHAT,
    f"{_HECTOR_V1}SendMessage": CHAT,
    f"{_HECTOR_V1}StreamMessage": CHAT,
    f"{_HECTOR_V1}FollowSession": READ,
    f"{_HECTOR_V1}CancelTurn": CHAT,
    f"{_HECTOR_V1}DecideApproval": APPROVE,
}
_A2A_RPC, _REFLECTION = "/lf.a2a.v1.A2AService/", "/grpc.reflection."
OPERATIONS: Mapping[tuple[str, str], Needed] = {
    ("session", "forget_all"): MEMORY,
    ("session", "answer_call"): APPROVE,
    ("session", "ticket to chat"): CHAT,
    ("websocket", "message"): CHAT,
    ("websocket", "attach"): READ,
    ("websocket", "detach"): NOTHING,
    ("websocket", "cancel"): CHAT,
    ("websocket", "approve"): APPROVE,
    ("websocket", "ping"): NOTHING,
    ("vectorshift", "create_session"): CHAT,
    ("vectorshift", "connect_session"): READ,
    ("vectorshift", "post_message"): CHAT,
    ("vectorshift", "post_messages"): CHAT,
    ("vectorshift", "get_messages"): READ,
    ("vectorshift", "ping_session"): NOTHING,
    ("vectorshift", "disconnect_session"): NOTHING,
    ("vectorshift", "terminate_session"): CHAT,
    ("mcp", "tools/list"): READ,
    ("mcp", "tools/call"): CHAT,
    ("mcp", "tasks/get"): READ,
    ("mcp", "tasks/update"): CHAT,
    ("mcp", "tasks/cancel"): CHAT,
    ("a2a", "send"): CHAT,
    ("a2a", "subscribe"): READ,
    ("a2a", "get"): READ,
    ("a2a", "list"): READ,
    ("a2a", "cancel"): CHAT,
    ("a2a", "add push"): CHAT,
    ("a2a", "get push"): READ,
    ("a2a", "list push"): READ,
    ("a2a", "delete push"): CHAT,
}
"""(door, operation) → what it needs, for what the body of a request says."""


class RouteScopes:
    """What the routes of HTTP and WebSocket need, found by method and path in time that does not grow with them."""

    def __init__(self, compat: CompatConfig) -> None:
        """`compat` says where the doors with a prefix are."""
        self._root: dict[str | None, Any] = {}
        for method, path, needed in _ROUTES:
            self._add(method, path, needed)
        for prefix, routes in ((compat.openai.prefix, _OPENAI), (compat.vectorshift.prefix, _VECTORSHIFT)):
            for method, path, needed in routes:
                self._add(method, prefix + path, needed)

    def find(self, method: str, path: str) -> Needed | None:
        """`None`: no route is there, or none of this method. `WEBSOCKET` is a method here."""
        found = self._find(method, path)
        return None if found is None else found[0]

    def template(self, method: str, path: str) -> str | None:
        """The route of a request, such as `/agents/{agent}`; `None` as for `find`."""
        found = self._find(method, path)
        return None if found is None else found[1]

    def check(self, principal: Principal, method: str, path: str) -> None:
        """Raises Forbidden (`missing_scope`), NotFound: what is not in the table is not there."""
        needed = self.find(method, path)
        if needed is None:
            if any(self.find(other, path) is not None for other in ("GET", "POST", "PUT", "PATCH", "DELETE")):
                return  # the router says which methods there are
            raise NotFound(f"There is nothing at {path}; see /openapi.json.")
        require(principal, needed)

    def _find(self, method: str, path: str) -> tuple[Needed, str] | None:
        return _find(self._root, path.strip("/").split("/"), 0, "GET" if method == "HEAD" else method)

    def _add(self, method: str, path: str, needed: Needed) -> None:
        node = self._root
        for part in path.strip("/").split("/"):
            step = "**" if part.endswith(":path}") else "*" if part.startswith("{") else part
            node = node.setdefault(step, {})
        node.setdefault(None, {})[method] = needed, path


def check_rpc(principal: Principal, method: str) -> None:
    """Raises Forbidden (`missing_scope`): the caller may not call this method of gRPC."""
    needed = find_rpc(method)
    if needed is not None:  # else the server has no such method
        require(principal, needed)


def find_rpc(method: str) -> Needed | None:
    """What a method of gRPC needs, by its full name; `None`: there is none."""
    if method.startswith(_A2A_RPC):
        return OPERATION
    return NOTHING if method.startswith(_REFLECTION) else _RPC.get(method)


def check_operation(principal: Principal, door: str, operation: str) -> None:
    """Raises Forbidden (`missing_scope`). Operations that the table does not have are the door's to refuse."""
    needed = OPERATIONS.get((door, operation))
    if needed is not None:
        require(principal, needed)


def require(principal: Principal, needed: Needed) -> None:
    """Raises Forbidden (`missing_scope`)."""
    if isinstance(needed, Scope) and needed not in principal.scopes:
        raise missing_scope(needed)


def missing_scope(scope: Scope) -> Forbidden:
    word = "admin" if scope is Scope.SERVER else scope.value
    return Forbidden(
        f"This needs the scope {word}, which your key or token does not have.",
        reason="missing_scope",
        details={"scope": word},
    )


def _find(node: Mapping[Any, Any], parts: list[str], place: int, method: str) -> tuple[Needed, str] | None:
    """What a route needs, and its template. Depth first, words before parameters: as the router takes them."""
    if place == len(parts):
        found: tuple[Needed, str] | None = node.get(None, {}).get(method)
        return found
    for step, size in ((parts[place], 1), ("*", 1), ("**", len(parts) - place)):
        inner = node.get(step)
        if inner is not None and (step != "*" or parts[place]):
            found = _find(inner, parts, place + size, method)
            if found is not None:
                return found
    return None
