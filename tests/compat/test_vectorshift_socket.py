"""The VectorShift socket, frame by frame: what its own package never sends, and what it cannot tell apart."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
import pytest_asyncio
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from app.compat.vectorshift import door_routes
from app.config.root import Config
from app.runtime import Runtime
from tests.fixtures.server import HectorServer

LONG = "x" * 150_000
SETTINGS: dict[str, Any] = {
    "auth": {"keys": {"ann": "key-of-ann", "ben": "key-of-ben"}},
    "server": {"shutdown_grace": "300ms"},
    "llms": {
        "demo": {
            "type": "scripted",
            "script": [
                {"when": "go on", "text": "on and ", "hang": True},
                {"when": "think", "text": "Done.", "thinking": "Well. " * 500, "chunk": "char"},
                {"when": "^x", "text": LONG, "chunk": "whole"},
                {"when": "^write", "calls": [{"name": "write_file", "arguments": {"path": "a.txt", "content": "b"}}]},
                {"text": "So be it."},
            ],
        }
    },
    "embedders": {"default": {"type": "none"}},
    "tools": {"write_file": {"allowed_paths": ["./workspace"]}},
    "agents": {
        "assistant": {},
        "careful": {"tools": ["write_file"], "permissions": {"ask": ["write_file"]}},
        "thinker": {"reasoning": {"show_thinking": True}},
        "whole": {"reasoning": {"enable_streaming": False}},
    },
    "compat": {"vectorshift": {"enabled": True, "prefix": "/vs/v1"}},
}
ANN, BEN = {"Authorization": "Bearer key-of-ann"}, {"Authorization": "Bearer key-of-ben"}
MOST = 4 << 20


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[HectorServer]:
    started = HectorServer(tmp_path_factory.mktemp("vectorshift"), SETTINGS)
    await started.start()
    yield started
    await started.close()


class Socket:
    """One socket of a client."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection

    async def send(self, kind: str, **fields: Any) -> None:
        await self._connection.send(json.dumps({"type": kind, **fields}))

    async def send_raw(self, frame: str | bytes) -> None:
        await self._connection.send(frame)

    async def frame(self) -> dict[str, Any]:
        async with asyncio.timeout(10):
            frame = await self._connection.recv()
        assert isinstance(frame, str)
        assert len(frame.encode()) < MOST
        return dict(json.loads(frame))

    async def until(self, *kinds: str, word: str = "") -> dict[str, Any]:
        """The next frame of one of these types, with this participant status."""
        while True:
            frame = await self.frame()
            if frame["type"] in kinds and (not word or frame["message"]["status"] == word):
                return frame

    async def session(self, agent: str = "assistant") -> str:
        """A new one, connected."""
        await self.send("create_session", object_type="agent", object_id=agent)
        session_id = str((await self.until("session_created"))["session_id"])
        await self.connect(session_id)
        return session_id

    async def connect(self, session_id: str) -> dict[str, Any]:
        await self.send("connect_session", session_id=session_id)
        return await self.until("connect_session")

    async def turn(self, session_id: str, text: str) -> list[dict[str, Any]]:
        """Every frame of it."""
        await self.send("post_message", session_id=session_id, content=text)
        frames = [await self.frame()]
        while frames[-1]["type"] != "participant_status" or frames[-1]["message"]["status"] != "Idle":
            frames.append(await self.frame())
        return frames

    async def code(self) -> int | None:
        """What the server closes the socket with."""
        async with asyncio.timeout(10):
            try:
                while True:
                    await self._connection.recv()
            except ConnectionClosed as closed:
                return closed.rcvd.code if closed.rcvd is not None else None


@asynccontextmanager
async def opened(server: HectorServer, headers: dict[str, str] | None = None) -> AsyncIterator[Socket]:
    address = f"{server.base_url.replace('http', 'ws')}/vs/v1/ws/session"
    async with connect(address, additional_headers=headers or ANN, max_size=MOST) as connection:
        yield Socket(connection)


def http(server: HectorServer, headers: dict[str, str] | None = None) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=server.base_url, headers=headers or ANN)


@pytest.mark.asyncio(loop_scope="module")
class TestSocket:
    async def test_a_terminate_overtakes_what_was_asked_before_it(self, server: HectorServer) -> None:
        async with opened(server) as other:
            for _ in range(10):
                async with opened(server) as one:
                    session_id = await one.session()
                    await one.send("post_message", session_id=session_id, content="go on")
                    await one.send("terminate_session", session_id=session_id)
                    answer = await other.connect(session_id)
                assert not answer["success"]
                assert "was terminated" in answer["error"]

    async def test_terminating_what_is_idle_gone_or_unknown_is_harmless(self, server: HectorServer) -> None:
        async with opened(server) as socket:
            session_id = await socket.session()
            await socket.send("terminate_session", session_id=session_id)
            assert await socket.code() == 4410
        async with opened(server) as socket:
            for name in (session_id, session_id, "sess_unknown", "", "no/id"):
                await socket.send("terminate_session", session_id=name)
                await socket.until("terminate_session")

    async def test_a_dropped_socket_ends_a_reading_and_no_turn(self, server: HectorServer) -> None:
        async with opened(server) as socket:
            session_id = await socket.session()
            await socket.send("post_message", session_id=session_id, content="go on")
            await socket.until("message_delta")
        async with opened(server) as again:
            await again.send("connect_session", session_id=session_id)
            assert (await again.until("participant_status"))["message"]["status"] == "Processing"
            assert (await again.until("message_delta"))["value"] == "on and "
            await again.send("terminate_session", session_id=session_id)

    async def test_a_message_that_was_sent_before_the_client_left_counts(self, server: HectorServer) -> None:
        async with opened(server) as socket:
            session_id = await socket.session()
            await socket.send("post_message", session_id=session_id, content="hello")
        async with http(server) as client, opened(server) as again:
            await again.connect(session_id)
            path = f"/agents/assistant/sessions/{session_id}/messages"
            assert [one["content"] for one in (await client.get(path)).json()["messages"]][:1] == ["hello"]

    async def test_readers_of_a_session_that_another_door_terminates_are_told_and_closed(
        self, server: HectorServer
    ) -> None:
        async with opened(server) as one, opened(server) as other, http(server) as client:
            session_id = await one.session()
            await other.connect(session_id)
            await one.send("post_message", session_id=session_id, content="go on")
            await other.until("message_delta")
            await client.delete(f"/agents/assistant/sessions/{session_id}")
            for socket in (one, other):
                assert "was terminated" in (await socket.until("error"))["error"]
                assert (await socket.until("participant_status"))["message"]["status"] == "Offline"
                assert await socket.code() == 4410

    async def test_an_ended_session_can_be_read_and_takes_no_message(self, server: HectorServer) -> None:
        async with opened(server) as socket, http(server) as client:
            session_id = await socket.session()
            await socket.turn(session_id, "hello")
            await client.post(f"/agents/assistant/sessions/{session_id}/end")
            assert await socket.code() == 1000
        async with opened(server) as socket:
            assert (await socket.connect(session_id))["success"]
            await socket.send("get_messages", session_id=session_id)
            assert len((await socket.until("get_messages"))["messages"]) == 2
            await socket.send("post_message", session_id=session_id, content="more")
            answer = await socket.until("post_message")
            assert (answer["success"], "has ended" in answer["error"]) == (False, True)

    async def test_a_long_history_is_cut_to_what_the_client_accepts(self, server: HectorServer) -> None:
        async with opened(server) as socket:
            session_id = await socket.session()
            for number in range(18):
                frames = await socket.turn(session_id, f"x {number}" + LONG)
                assert "".join([one["value"] for one in frames if one["type"] == "message_delta"]) == LONG
            await socket.send("get_messages", session_id=session_id)
            messages = (await socket.until("get_messages"))["messages"]
        values = [message["content"]["value"] for message in messages]
        assert values[-1] == LONG
        assert values[-2].startswith("x 17")
        assert 20 < len(values) < 36

    async def test_thinking_is_merged_like_text(self, server: HectorServer) -> None:
        async with opened(server) as socket:
            frames = await socket.turn(await socket.session("thinker"), "think")
        contents = [one["message"]["content"] for one in frames if one["type"] == "message_notification"]
        thoughts = [content["content"] for content in contents if content["type"] == "thinking"]
        assert "".join(thoughts) == "Well. " * 500
        assert len(thoughts) < 100
        assert contents[-1] == {"type": "data_type_message", "value": "Done.", "status": "Complete"}

    async def test_an_agent_that_does_not_stream_says_all_at_once(self, server: HectorServer) -> None:
        async with opened(server) as socket:
            frames = await socket.turn(await socket.session("whole"), "hello")
        assert [one["value"] for one in frames if one["type"] == "message_delta"] == ["So be it."]

    async def test_bad_frames_are_told_and_the_socket_lives(self, server: HectorServer) -> None:
        async with opened(server) as socket:
            for raw in ("{", "[]", '{"type": 7}', b"\xff", "{}"):
                await socket.send_raw(raw)
                assert (await socket.until("error"))["error"].startswith("A frame must be")
            session_id = await socket.session()
            for kind, fields, sentence in (
                ("fly", {}, "type: 'fly' is not known."),
                ("create_session", {"object_id": 7}, "object_id: the id of an agent is needed."),
                ("connect_session", {"session_id": 7}, "There is no session '' here."),
                ("post_message", {"content": " "}, "content: the text is blank; send words."),
                ("post_message", {"content": 7}, "content: must be a text, or an object with type_string and value."),
                ("post_messages", {"messages": []}, "messages: there is nothing to send."),
                ("post_messages", {"messages": "all"}, "messages: must be a list."),
                ("post_message", {"content": {"type_string": "response_message"}}, "A response_message needs"),
            ):
                await socket.send(kind, **{"session_id": session_id, **fields})
                answer = await socket.until("error", kind)
                assert answer["error"].startswith(sentence), answer
            await socket.send("ping_session", session_id=session_id)
            assert (await socket.until("pong"))["session_id"] == session_id

    async def test_a_foreign_session_is_an_unknown_one_word_for_word(self, server: HectorServer) -> None:
        async with opened(server) as ann, opened(server, BEN) as ben:
            session_id = await ann.session()
            for kind in ("connect_session", "post_message", "get_messages", "terminate_session"):
                answers = []
                for name in (session_id, "sess_unknown"):
                    await ben.send(kind, session_id=name, content="hello")
                    answers.append(json.dumps(await ben.frame()).replace(name, "..."))
                assert answers[0] == answers[1]
            assert (await ann.turn(session_id, "hello"))[-1]["message"]["status"] == "Idle"

    async def test_strangers_and_foreign_pages_get_no_socket(self, server: HectorServer) -> None:
        for headers, status in (
            ({"Authorization": "Bearer wrong"}, 401),
            (ANN | {"Origin": "https://elsewhere.example"}, 403),
        ):
            with pytest.raises(InvalidStatus) as refused:
                async with opened(server, headers):
                    pass
            assert refused.value.response.status_code == status

    async def test_what_http_refuses_is_a_sentence(self, server: HectorServer) -> None:
        good = {"name": "A", "llm_client_key": {"provider": "openai", "model_id": "demo"}}
        async with http(server) as client:
            for body, status, sentence in (
                ("{", 400, "The body is not JSON"),
                ("{}", 422, "name: must be a text"),
                (json.dumps(good | {"tools": {"t": {}}}), 422, "tools: agents that are made here have none"),
                (json.dumps(good | {"inputs": []}), 422, "inputs: must be an object."),
                (json.dumps(good | {"llm_client_key": {}}), 422, "llm_client_key: provider and model_id are needed."),
            ):
                refused = await client.post("/vs/v1/agent", content=body)
                assert (refused.status_code, refused.json()["error"][: len(sentence)]) == (status, sentence)
            assert (await client.get("/vs/v1/agent")).status_code == 422
            assert (await client.get("/vs/v1/agents?limit=x")).status_code == 422
            run = await client.post("/vs/v1/agent/assistant/run", json={"inputs": {"a": "hello", "b": 2}})
            assert run.json()["outputs"] == {"output": "So be it."}
            assert (await client.post("/vs/v1/agent/assistant/run", json={"inputs": {}})).status_code == 422
            assert (await client.get("/v1/agents")).status_code == 404

    async def test_a_restart_closes_every_socket_and_open_approvals_are_asked_again(
        self, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        server = HectorServer(tmp_path_factory.mktemp("restarted"), SETTINGS)
        await server.start()
        async with opened(server) as idle, opened(server) as busy:
            session_id = await busy.session("careful")
            await busy.send("post_message", session_id=session_id, content="write it")
            await busy.until("participant_status", word="AwaitingApproval")
            asked = await busy.until("message_notification")
            server.ask_to_stop()
            assert "connect again" in (await busy.until("error"))["error"]
            assert [await busy.code(), await idle.code()] == [1012, 1012]
        assert await server.ended() == 0
        await server.start()
        async with opened(server) as again:
            await again.connect(session_id)
            await again.until("participant_status", word="AwaitingApproval")
            assert await again.until("message_notification") == asked
            answer = {"type_string": "response_message", "value": {"tool_call_approval": {"confirm": {}}}}
            call_id = asked["message"]["id"]
            await again.send("post_message", session_id=session_id, content=answer, parent_message_id=call_id)
            await again.until("participant_status", word="Idle")
            await again.send("post_message", session_id=session_id, content=answer, parent_message_id=call_id)
            assert not (await again.until("post_message"))["success"]
        assert (server.folder / "workspace" / "a.txt").read_text() == "b"
        await server.close()


async def test_the_door_is_closed_unless_the_configuration_opens_it() -> None:
    opened_door = Config.model_validate({"compat": {"vectorshift": {"enabled": True}}})

    assert door_routes(Runtime(Config())) == []
    assert len(door_routes(Runtime(opened_door))) == 7
