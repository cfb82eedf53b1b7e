"""The addresses of the API, each as a Call: which request it is, and what of the answer the caller gets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import quote

from hector_client._steps import Call, Emit, Open, Read, Reply, Request, Stream
from hector_client.errors import NotFound, Refused

JSON = dict[str, Any]
Acts = list[JSON]
"""Calls of tools, each as `GET …/calls/{call_id}` has it."""
PAGE = 200
"""Items the API gives at most at once."""


class Page(NamedTuple):
    """At most as many items as were asked for, and the cursor of the next one, if there is one."""

    items: list[JSON]
    next_cursor: str | None


class Created(NamedTuple):
    """`is_new` is false when a session of that id existed."""

    session: JSON
    is_new: bool


def path(*parts: str) -> str:
    return "".join([f"/{quote(part, safe='')}" for part in parts])


def session_path(agent: str, session_id: str, *parts: str) -> str:
    return path("agents", agent, "sessions", session_id, *parts)


def messages_path(agent: str, session_id: str | None) -> str:
    """Without a session: of a one-shot."""
    return path("agents", agent, "messages") if session_id is None else session_path(agent, session_id, "messages")


def given(values: Mapping[str, Any]) -> JSON:
    """Without what is `None`: the API has its own defaults."""
    return {name: value for name, value in values.items() if value is not None}


def ask(request: Request) -> Call[JSON]:
    """The object that the server answers with."""
    reply: Reply = yield request
    return dict(reply.json)


def ask_list(request: Request, name: str) -> Call[list[JSON]]:
    reply: Reply = yield request
    return list(reply.json[name])


def ask_pages(where: str, name: str, query: Mapping[str, Any], limit: int) -> Call[Page]:
    found: list[JSON] = []
    cursor: str | None = None
    while len(found) < limit:
        wanted = given({**query, "limit": str(min(limit - len(found), PAGE)), "cursor": cursor})
        reply: Reply = yield Request("GET", where, query=wanted)
        found += reply.json[name]
        cursor = reply.json["next_cursor"]
        if cursor is None:
            break
    return Page(found, cursor)


# -- agents and sessions -----------------------------------------------------------------------


def is_ready() -> Call[bool]:
    yield Request("GET", "/ready")
    return True


def ping() -> Call[None]:
    try:
        yield Request("GET", "/health")
    except Refused:
        return


def agents() -> Call[list[JSON]]:
    return ask_list(Request("GET", "/agents"), "agents")


def agent(name: str, *, ask_provider: bool = False) -> Call[JSON]:
    return ask(Request("GET", path("agents", name), query={"ask": "true"} if ask_provider else {}))


def sessions(agent: str, *, limit: int, status: str | None, order: str) -> Call[Page]:
    return ask_pages(path("agents", agent, "sessions"), "sessions", {"order": order, "status": status}, limit)


def create_session(agent: str, body: Mapping[str, Any]) -> Call[Created]:
    reply: Reply = yield Request("POST", path("agents", agent, "sessions"), body=given(body))
    return Created(dict(reply.json), reply.status == 201)


def session(agent: str, session_id: str) -> Call[JSON]:
    return ask(Request("GET", session_path(agent, session_id)))


def find_session(session_id: str) -> Call[tuple[str, JSON]]:
    """The agent and the session of an id that is known without its agent: asks for it at one agent after the other.

    Raises:
        NotFound: no agent has it.
        SessionError: it was terminated.
    """
    for about in (yield from agents()):
        name = str(about["agent"])
        try:
            found = yield from session(name, session_id)
        except NotFound:
            continue
        return name, found
    raise NotFound(f"There is no session {session_id!r}.", reason="session_not_found", status=404)


def change_session(agent: str, session_id: str, change: Mapping[str, Any]) -> Call[JSON]:
    return ask(Request("PATCH", session_path(agent, session_id), body=change))


def messages(agent: str, session_id: str, *, limit: int, roles: str | None = None) -> Call[list[JSON]]:
    """The newest messages, oldest first. An answer that is being written is one more. `roles`: with commas."""
    found: list[JSON] = []
    wanted, before = limit, None
    while wanted > 0:
        query = given({"limit": str(min(wanted, PAGE)), "before": before, "roles": roles})
        reply: Reply = yield Request("GET", messages_path(agent, session_id), query=query)
        page, before = list(reply.json["messages"]), reply.json["next_before"]
        found = page + found
        wanted -= min(wanted, PAGE)
        if before is None:
            break
    return found


def turn(agent: str, session_id: str, turn_id: str) -> Call[JSON]:
    return ask(Request("GET", session_path(agent, session_id, "turns", turn_id)))


def cancel(agent: str, session_id: str, turn_id: str | None, *, everything: bool = False) -> Call[JSON | None]:
    """The turn that was stopped; `None` when none was open."""
    body = given({"turn_id": turn_id, "all": everything or None})
    reply: Reply = yield Request("POST", session_path(agent, session_id, "cancel"), body=body)
    return dict(reply.json) if isinstance(reply.json, dict) else None


def end(agent: str, session_id: str) -> Call[JSON]:
    return ask(Request("POST", session_path(agent, session_id, "end"), body={}))


def terminate(agent: str, session_id: str, *, forget: bool = False) -> Call[JSON]:
    """The stop receipt."""
    query = {"forget": "all"} if forget else {}
    return ask(Request("DELETE", session_path(agent, session_id), query=query))


def ticket(agent: str, session_id: str, body: Mapping[str, Any]) -> Call[JSON]:
    return ask(Request("POST", session_path(agent, session_id, "tickets"), body=given(body)))


def fork(agent: str, session_id: str, body: Mapping[str, Any]) -> Call[JSON]:
    return ask(Request("POST", session_path(agent, session_id, "fork"), body=given(body)))


def edit_message(agent: str, session_id: str, message_id: str, content: str) -> Call[JSON]:
    """Returns the fork, which has the new text."""
    where = session_path(agent, session_id, "messages", message_id)
    return ask(Request("PUT", where, body={"content": content}))


# -- acts: calls of tools ---------------------------------------------------------------------


def calls(agent: str, session_id: str, *, turn_id: str | None, state: str | None, limit: int) -> Call[Acts]:
    """Oldest first; the server gives 200 at most."""
    query = given({"turn_id": turn_id, "state": state, "limit": str(limit)})
    return ask_list(Request("GET", session_path(agent, session_id, "calls"), query=query), "calls")


def call(agent: str, session_id: str, call_id: str) -> Call[JSON]:
    return ask(Request("GET", session_path(agent, session_id, "calls", call_id)))


def approvals(agent: str, session_id: str | None, *, limit: int) -> Call[Acts]:
    """Without a session: of all sessions of the agent that the caller may see. The server gives 200 at most."""
    where = path("agents", agent, "approvals") if session_id is None else session_path(agent, session_id, "approvals")
    return ask_list(Request("GET", where, query={"limit": str(limit)}), "approvals")


def decide(agent: str, session_id: str, call_id: str, decision: Mapping[str, Any]) -> Call[JSON]:
    """Returns the act."""
    return ask(Request("POST", session_path(agent, session_id, "approvals", call_id), body=given(decision)))


def post_result(agent: str, session_id: str, call_id: str, outcome: Mapping[str, Any]) -> Call[JSON]:
    """`outcome`: `result` or `error`. Returns the act."""
    return ask(Request("POST", session_path(agent, session_id, "calls", call_id, "result"), body=outcome))


def resolve(agent: str, session_id: str, call_id: str, resolution: Mapping[str, Any]) -> Call[JSON]:
    """Returns the act."""
    return ask(Request("POST", session_path(agent, session_id, "calls", call_id, "resolve"), body=resolution))


def stored_result(
    agent: str, session_id: str, result_id: str, *, offset: int | None, limit: int | None, grep: str | None
) -> Call[JSON]:
    query = {name: str(value) for name, value in given({"offset": offset, "limit": limit, "grep": grep}).items()}
    return ask(Request("GET", session_path(agent, session_id, "results", result_id), query=query))


# -- memories ----------------------------------------------------------------------------------


def memories(agent: str, *, limit: int, session: str | None, kind: str | None) -> Call[Page]:
    """Newest first."""
    return ask_pages(path("agents", agent, "memories"), "memories", {"session_id": session, "kind": kind}, limit)


def search_memories(agent: str, query: str, *, limit: int, session: str | None, scope: str | None) -> Call[JSON]:
    body = given({"query": query, "limit": limit, "session_id": session, "scope": scope})
    return ask(Request("POST", path("agents", agent, "memories", "search"), body=body))


def memory(agent: str, memory_id: str) -> Call[JSON]:
    return ask(Request("GET", path("agents", agent, "memories", memory_id)))


def add_memory(agent: str, body: Mapping[str, Any]) -> Call[JSON]:
    return ask(Request("POST", path("agents", agent, "memories"), body=given(body)))


def change_memory(agent: str, memory_id: str, change: Mapping[str, Any]) -> Call[JSON]:
    return ask(Request("PATCH", path("agents", agent, "memories", memory_id), body=given(change)))


def delete_memory(agent: str, memory_id: str) -> Call[JSON]:
    return ask(Request("DELETE", path("agents", agent, "memories", memory_id)))


def export_memories(agent: str, *, session: str | None) -> Stream[bytes]:
    """JSON Lines, in pieces of any size."""
    query = given({"session_id": session})
    yield Open(Request("GET", path("agents", agent, "memories", "export"), query=query))
    received: bytes | None
    while (received := (yield Read())) is not None:
        yield Emit(received)


def import_memories(agent: str, lines: bytes) -> Call[JSON]:
    return ask(Request("POST", path("agents", agent, "memories", "import"), content=lines, is_patient=True))


def embed_memories(agent: str, *, again: bool) -> Call[JSON]:
    return ask(Request("POST", path("agents", agent, "memories", "reindex"), body={"again": again}))


def forget(agent: str, body: Mapping[str, Any]) -> Call[JSON]:
    """Returns the receipt. May take long."""
    return ask(Request("POST", path("agents", agent, "forget"), body=given(body), is_patient=True))


# -- documents ---------------------------------------------------------------------------------


def create_key(body: Mapping[str, Any]) -> Call[JSON]:
    return ask(Request("POST", "/admin/keys", body=given(body)))


def keys() -> Call[list[JSON]]:
    return ask_list(Request("GET", "/admin/keys"), "keys")


def revoke_key(key_id: str) -> Call[JSON]:
    return ask(Request("DELETE", path("admin", "keys", key_id)))


def replicas() -> Call[list[JSON]]:
    return ask_list(Request("GET", "/admin/replicas"), "replicas")


def reload_changes() -> Call[JSON]:
    return ask(Request("GET", "/admin/reload"))


def document_stores() -> Call[list[JSON]]:
    return ask_list(Request("GET", "/document_stores"), "document_stores")


def documents(store: str, *, limit: int) -> Call[Page]:
    return ask_pages(path("document_stores", store, "documents"), "documents", {}, limit)


def search_documents(query: str, *, store: str | None, limit: int) -> Call[JSON]:
    """Searches all stores if none is named."""
    where = path("document_stores", *([] if store is None else [store]), "search")
    return ask(Request("POST", where, body={"query": query, "limit": limit}))


def reindex_documents(store: str, *, again: bool) -> Call[JSON]:
    return ask(Request("POST", path("document_stores", store, "reindex"), body={"again": again}))
