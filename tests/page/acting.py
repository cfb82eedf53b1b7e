"""A server that says what a test has it say: the page's files, one agent, one session, frames and acts on demand.

It speaks the frames and routes of agents that act over real HTTP, and keeps what it is told, so that a page that is
loaded again finds the same. States that a real server reaches only by crashes and long waits are a call away.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from app.page.routes import routes

JSON = dict[str, Any]
NOW = "2026-01-02T03:04:05.000Z"
LATER = "2099-01-02T03:04:05.000Z"
SESSION = "/agents/coder/sessions/s"


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """The signals of the test process are not the server's."""
        yield


class ActingServer:
    """`requests` has what the page has posted: (path below the session, body)."""

    def __init__(self) -> None:
        self.base_url = ""
        self.requests: list[tuple[str, JSON]] = []
        self.refusals: dict[str, JSON] = {}
        """What a path answers instead, once: `{"status", "reason", "message"}`."""
        self._server: uvicorn.Server | None = None
        self._serving: asyncio.Task[None] | None = None
        self._news = asyncio.Condition()
        self._is_closing = False
        self.restart()

    def restart(self) -> None:
        """Forget what was said."""
        self.events: list[tuple[int, JSON]] = []
        self.messages: list[JSON] = []
        self.acts: dict[str, JSON] = {}
        self.results: dict[str, str] = {}
        self.requests.clear()
        self.refusals.clear()
        self.turn: JSON | None = None
        self._seq = 0
        self._begin = 0
        self._answer = ""
        self._turns = 0

    async def start(self) -> None:
        config = uvicorn.Config(self._app(), port=0, log_level="warning", lifespan="off", timeout_graceful_shutdown=1)
        self._server = _Server(config)
        self._serving = asyncio.create_task(self._server.serve(), name="acting server")
        while not self._server.started:
            await asyncio.sleep(0.01)
        port = self._server.servers[0].sockets[0].getsockname()[1]
        self.base_url = f"http://127.0.0.1:{port}"

    async def close(self) -> None:
        assert self._server is not None
        assert self._serving is not None
        self._is_closing = True
        async with self._news:
            self._news.notify_all()
        self._server.should_exit = True
        await self._serving

    # -- what it says ---------------------------------------------------------------------------

    async def say(self, kind: str | None = None, /, **fields: Any) -> None:
        """A frame to all readers; `None` is text."""
        self._seq += 1
        frame = {"chunk": "", **({} if kind is None else {"type": kind}), **fields}
        self.events.append((self._seq, frame))
        async with self._news:
            self._news.notify_all()

    async def text(self, chunk: str) -> None:
        self._answer += chunk
        await self.say(chunk=chunk)

    async def begin(self, message: str) -> None:
        """A turn of this message."""
        self._turns += 1
        turn_id = f"turn_{self._turns}"
        self._begin = self._seq
        self.turn = {"turn_id": turn_id, "status": "running", "message": message, "created_at": NOW}
        self.turn |= {"user_message_id": f"msg_{self._seq + 1}"}
        self._store("user", message)
        named = {"turn_id": turn_id, "session_id": "s", "message": message, "message_id": f"msg_{self._seq + 1}"}
        await self.say("turn_started", **named)

    async def call(self, call_id: str, name: str, arguments: Any, **nested: Any) -> None:
        """The model asks for a call; its act is stored."""
        tool = {"call_id": call_id, "name": name, "arguments": arguments, "class": "once", "step": 1, **nested}
        if not nested:
            self._end_message([{"id": call_id, "name": name, "arguments": json.dumps(arguments)}])
        known = {"call_id": call_id, "turn_id": self.turn_id, "session_id": "s", "step": 1, "agent": "coder"}
        self.acts[call_id] = known | {"name": name, "class": "once", "arguments": arguments, "state": "started"}
        self.acts[call_id]["changes"] = [{"state": "started", "at": 1000}]
        await self.say("tool_call", turn_id=self.turn_id, tool=tool, chunk=f"\n[Tool: {name}]\n")

    async def progress(self, call_id: str, **fields: Any) -> None:
        await self.say("tool_progress", turn_id=self.turn_id, call_id=call_id, **fields)

    async def settle(self, call_id: str, result: Any, *, status: str = "settled", **fields: Any) -> None:
        act = self.acts[call_id]
        act |= {"state": status, "result": result, "waiting_for": None, "result_id": fields.get("result_id")}
        act["changes"].append({"state": status, "at": 1420})
        self._store("tool", json.dumps(result), tool_call_id=call_id)
        whole = {"preview": result} if "result_id" in fields else {"result": result}
        told = {"turn_id": self.turn_id, "call_id": call_id, "name": act["name"], "status": status, "ms": 420}
        await self.say("tool_result", **told, **whole, **fields)

    async def ask_for_approval(self, call_id: str, **fields: Any) -> None:
        act = self.acts[call_id]
        asked = {"why": "Writes outside the workspace ask.", "rule": "ask: write_file(path=/**)", "expires_at": LATER}
        act |= {"state": "waiting", "waiting_for": "approval", **asked}
        known = {"turn_id": self.turn_id, "call_id": call_id, "name": act["name"], "arguments": act["arguments"]}
        await self.say("approval_request", **known, **asked, **fields)
        await self.wait("approval", call_id, expires_at=LATER)

    async def wait(self, waiting_for: str, call_id: str, **fields: Any) -> None:
        assert self.turn is not None
        self.turn["status"] = "waiting"
        self.acts[call_id] |= {"waiting_for": waiting_for}
        if self.acts[call_id]["state"] != "unknown":
            self.acts[call_id]["state"] = "waiting"
        if "question" in fields:
            self.acts[call_id]["asked"] = fields
        await self.say("waiting", turn_id=self.turn_id, waiting_for=waiting_for, call_id=call_id, **fields)

    async def finish(self, status: str = "completed") -> None:
        self._end_message([], status)
        turn_id, self.turn = self.turn_id, None
        usage = {"prompt_tokens": 1, "completion_tokens": 2}
        ended = {"status": status, "message_id": self.messages[-1]["message_id"], "usage": usage}
        await self.say("turn_finished", turn_id=turn_id, **ended, timings={"total_ms": 900, "first_token_ms": 10})

    @property
    def turn_id(self) -> str:
        assert self.turn is not None
        return str(self.turn["turn_id"])

    def _end_message(self, tool_calls: list[JSON], status: str = "completed") -> None:
        self._store("assistant", self._answer, tool_calls=tool_calls, status=status)
        self._answer = ""

    def _store(self, role: str, content: str, **fields: Any) -> None:
        seq = self._seq + 1
        message = {"message_id": f"msg_{seq}", "turn_id": self.turn_id, "role": role, "content": content, "seq": seq}
        if self.messages and self.messages[-1]["seq"] == seq:
            message |= {"message_id": f"msg_{seq}_{role}", "seq": seq + 0.5}
        self.messages.append(message | {"status": "completed", "created_at": NOW} | fields)

    # -- what it answers ------------------------------------------------------------------------

    def _app(self) -> Starlette:
        def route(method: str, path: str, answer: Any) -> Route:
            return Route(path, answer, methods=[method])

        return Starlette(
            routes=[
                *routes(),
                route("GET", "/agents", self._agents),
                route("GET", "/agents/coder/sessions", self._sessions),
                route("POST", "/agents/coder/sessions", self._session),
                route("GET", SESSION, self._session),
                route("GET", f"{SESSION}/messages", self._history),
                route("GET", f"{SESSION}/messages/stream", self._attach),
                route("GET", f"{SESSION}/turns/{{turn}}", self._a_turn),
                route("GET", f"{SESSION}/calls", self._calls),
                route("GET", f"{SESSION}/calls/{{call}}", self._one_call),
                route("GET", f"{SESSION}/approvals", self._approvals),
                route("GET", f"{SESSION}/results/{{result}}", self._result),
                route("POST", f"{SESSION}/{{rest:path}}", self._post),
            ]
        )

    async def _agents(self, request: Request) -> Response:
        agent = {"agent": "coder", "name": "Coder", "description": "", "llm": {"model": "demo"}}
        return JSONResponse({"agents": [agent | {"disconnect_grace_ms": 30000}]})

    async def _sessions(self, request: Request) -> Response:
        return JSONResponse({"sessions": [self._about()], "next_cursor": None})

    async def _session(self, request: Request) -> Response:
        return JSONResponse(self._about(), 201 if request.method == "POST" else 200)

    def _about(self) -> JSON:
        times = {"created_at": NOW, "active_at": NOW, "expires_at": None}
        known = {"session_id": "s", "agent": "coder", "title": "Demo", "status": "active", "user_id": "anonymous"}
        counts = {"message_count": len(self.messages), "usage": {"prompt_tokens": 1, "completion_tokens": 2}}
        return known | times | counts | {"last_seq": self._seq, "turn": self.turn, "queued": 0, "queue": []}

    async def _history(self, request: Request) -> Response:
        return JSONResponse({"messages": self.messages, "next_before": None})

    async def _attach(self, request: Request) -> Response:
        last = request.headers.get("Last-Event-ID")
        cursor = int(last) if last is not None else self._begin if self.turn is not None else self._seq
        headers = {"Cache-Control": "no-cache"}
        return StreamingResponse(self._stream(cursor), media_type="text/event-stream", headers=headers)

    async def _stream(self, cursor: int) -> AsyncIterator[str]:
        yield f": cursor {cursor}\n\n"
        while not self._is_closing:
            for seq, frame in [event for event in self.events if event[0] > cursor]:
                yield f"id: {seq}\ndata: {json.dumps(frame)}\n\n"
                cursor = seq
            async with self._news:
                await self._news.wait()

    async def _a_turn(self, request: Request) -> Response:
        return JSONResponse({"turn_id": request.path_params["turn"], "status": "completed"})

    async def _calls(self, request: Request) -> Response:
        turn_id = request.query_params.get("turn_id")
        return JSONResponse({"calls": [act for act in self.acts.values() if turn_id in (None, act["turn_id"])]})

    async def _one_call(self, request: Request) -> Response:
        return JSONResponse(self.acts[request.path_params["call"]])

    async def _approvals(self, request: Request) -> Response:
        waiting = [act for act in self.acts.values() if act.get("waiting_for") == "approval"]
        return JSONResponse({"approvals": waiting})

    async def _result(self, request: Request) -> Response:
        whole, query = self.results[request.path_params["result"]], request.query_params
        lines = [line for line in whole.splitlines(keepends=True) if query.get("grep", "") in line]
        found, offset, limit = "".join(lines), int(query["offset"]), int(query["limit"])
        following = offset + limit if offset + limit < len(found) else None
        piece = {"bytes": len(whole), "offset": offset, "text": found[offset : offset + limit]}
        return JSONResponse(piece | {"next_offset": following})

    async def _post(self, request: Request) -> Response:
        path, body = str(request.path_params["rest"]), json.loads(await request.body())
        self.requests.append((path, body))
        if (refusal := self.refusals.pop(path, None)) is not None:
            return JSONResponse({"error": refusal}, refusal["status"])
        first, _, rest = path.partition("/")
        match first:
            case "messages" if body.get("on_busy") == "steer":
                known = {"turn_id": self.turn_id, "message_id": "msg_steered"}
                return JSONResponse(known | {"steer": "accepted"}, 202)
            case "messages":
                await self.begin(body["message"])
                return StreamingResponse(self._stream(self._seq - 1), media_type="text/event-stream")
            case "approvals":
                return JSONResponse(await self._decide(rest, body))
            case "calls":
                call_id, _, what = rest.partition("/")
                return JSONResponse(await (self._outcome if what == "result" else self._resolve)(call_id, body))
        return JSONResponse({})

    async def _decide(self, call_id: str, body: JSON) -> JSON:
        act = self.acts[call_id]
        state = "approved" if body["approved"] else "refused"
        act |= {"state": state, "waiting_for": None, "edited": body.get("arguments")}
        act["changes"].append({"state": state, "at": 1200, "by": "ann"})
        told = {key: body[key] for key in ("reason", "remember") if key in body}
        decided = {"call_id": call_id, "approved": body["approved"], "by": "ann", "edited": "arguments" in body}
        await self.say("approval_decided", turn_id=self.turn_id, **decided, **told)
        await self._resume(call_id)
        return act

    async def _outcome(self, call_id: str, body: JSON) -> JSON:
        await self._resume(call_id)
        await self.settle(call_id, body["result"])
        return self.acts[call_id]

    async def _resolve(self, call_id: str, body: JSON) -> JSON:
        act = self.acts[call_id]
        act |= {"state": "started" if "again" in body else "settled" if body["happened"] else "failed"}
        if "result" in body:
            act["result"] = body["result"]
        return act

    async def _resume(self, call_id: str) -> None:
        assert self.turn is not None
        self.turn["status"] = "running"
        await self.say("resumed", turn_id=self.turn_id, call_id=call_id)
