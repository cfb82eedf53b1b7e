"""Bodies that front ends post, what comes back, and what a page makes of it."""

from __future__ import annotations

from typing import Any

import httpx

from tests.fixtures.sse import DONE, open_stream

JSON = dict[str, Any]


def run_input(text: str, *, thread: str, run: str = "r1", **more: Any) -> JSON:
    said = [{"id": "m1", "role": "user", "content": text}]
    return {"threadId": thread, "runId": run, "messages": said, "tools": [], "context": [], "state": {}} | more


def chat(text: str, *, session: str, message: str = "m1", **more: Any) -> JSON:
    said = [{"id": message, "role": "user", "parts": [{"type": "text", "text": text}]}]
    return {"id": session, "messages": said, "trigger": "submit-message"} | more


async def stream_all(client: httpx.AsyncClient, path: str, body: JSON | None = None) -> list[JSON]:
    """Every event of a stream, without its end mark; by GET if there is no body."""
    async with open_stream(client, "GET" if body is None else "POST", path, json=body) as stream:
        frames = await stream.rest()
    return [frame.json for frame in frames if frame.data != DONE]


def types_of(events: list[JSON]) -> list[str]:
    """The types, each once where several follow each other."""
    types = [event["type"] for event in events]
    return [kind for place, kind in enumerate(types) if place == 0 or types[place - 1] != kind]


def assembled(chunks: list[JSON]) -> list[str]:
    """The texts of a UI message, one for each text part, as `processUIMessageStream` of the AI SDK builds them."""
    parts: list[tuple[str, list[str]]] = []
    for chunk in chunks:
        match chunk["type"]:
            case "start-step":
                parts.append(("step", []))
            case "text-start":
                parts.append((chunk["id"], []))
            case "text-delta":
                next(texts for name, texts in reversed(parts) if name == chunk["id"]).append(chunk["delta"])
            case "reset-step":
                while parts and parts[-1][0] != "step":
                    parts.pop()
    return ["".join(texts) for name, texts in parts if name != "step"]
