"""Modules of the page on their own, in the browser they are for."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.async_api import expect

from tests.page.browsing import Devices

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="package")]

STREAM = (
    ": cursor 7\n: heartbeat {}\nretry: 1500\nid: 8\r\n"
    'data: {"chunk": "é🙂"}\r\n\r\nevent: done\ndata: a\ndata: b\n\ndata: cut'
)
EVENTS = [
    {"comment": "cursor 7"},
    {"comment": "heartbeat {}"},
    {"retry": 1500, "id": "8", "data": '{"chunk": "é🙂"}'},
    {"name": "done", "data": "a\nb"},
]


@pytest.mark.parametrize("size", [1, 2, 3, 1000])
async def test_events_are_the_same_however_the_network_cuts_them(size: int, devices: Devices) -> None:
    tab = await devices.open()
    found = await tab.page.evaluate(
        """async ([text, size]) => {
            const { events } = await import("/page/sse.js");
            const bytes = new TextEncoder().encode(text);
            const body = new ReadableStream({
                start(stream) {
                    for (let at = 0; at < bytes.length; at += size) stream.enqueue(bytes.slice(at, at + size));
                    stream.close();
                },
            });
            const found = [];
            for await (const event of events(body)) found.push(event);
            return found;
        }""",
        [STREAM, size],
    )

    assert found == EVENTS


async def conversation(
    devices: Devices, messages: list[dict[str, Any]], upto: int, frames: list[dict[str, Any]]
) -> Any:
    """[[question, answer, status], …] after a history up to a number and the frames behind it."""
    tab = await devices.open()
    return await tab.page.evaluate(
        """async ([messages, upto, frames]) => {
            const { Conversation } = await import("/page/conversation.js");
            const talk = new Conversation("assistant", "s");
            talk.reset({ messages, next_before: null }, upto);
            for (const frame of frames) talk.apply(frame);
            return [...talk.turns.values()].map((turn) => [turn.user?.text ?? null, turn.text, turn.status]);
        }""",
        [messages, upto, frames],
    )


def said(seq: int, turn: str | None, role: str, content: str) -> dict[str, Any]:
    return {
        "seq": seq,
        "turn_id": turn,
        "message_id": f"msg_{seq}",
        "role": role,
        "content": content,
        "status": "completed",
    }


def fact(kind: str, turn: str | None, **fields: Any) -> dict[str, Any]:
    return {"chunk": "", "type": kind, "turn_id": turn, **fields}


async def test_what_the_history_has_is_not_told_again_by_the_stream(devices: Devices) -> None:
    # The stream begins where the second message was queued: in the middle of the first answer, which is over by now.
    shown = await conversation(
        devices,
        [said(1, "turn_a", "user", "A?"), said(9, "turn_a", "assistant", "one two"), said(10, "turn_b", "user", "B?")],
        4,
        [
            fact("turn_queued", "turn_b", message="B?", message_id="msg_10"),
            {"chunk": " two"},
            fact("turn_finished", "turn_a", status="completed", message_id="msg_9"),
            fact("turn_started", "turn_b", message="B?", message_id="msg_10"),
            {"chunk": "three"},
        ],
    )

    assert shown == [["A?", "one two", "completed"], ["B?", "three", "running"]]


async def test_a_snapshot_stands_for_all_that_was_shown_of_its_answer(devices: Devices) -> None:
    shown = await conversation(
        devices,
        [],
        0,
        [
            fact("turn_started", "turn_a", message="A?", message_id="msg_1"),
            {"chunk": "one two thr"},
            fact("snapshot", "turn_a", text="one two"),
            fact("turn_finished", "turn_a", status="interrupted", reason="crash"),
        ],
    )

    assert shown == [["A?", "one two", "interrupted"]]


def tool(kind: str, **fields: Any) -> dict[str, Any]:
    return fact(kind, "turn_a", **fields)


async def test_a_snapshot_replaces_its_message_and_none_before_a_tool(devices: Devices) -> None:
    called = tool("tool_call", tool={"call_id": "c", "name": "search", "arguments": {}})
    shown = await conversation(
        devices,
        [],
        0,
        [
            fact("turn_started", "turn_a", message="A?", message_id="msg_1"),
            {"chunk": "Let me look."},
            called,
            tool("tool_result", call_id="c", name="search", status="settled", result="x"),
            {"chunk": "It is thr"},
            fact("snapshot", "turn_a", text="It is", message_id="msg_3"),
            {"chunk": " four."},
            tool("message_steered", message="Sure?", message_id="msg_4", step=3),
            {"chunk": "Yes."},
            fact("snapshot", "turn_a", text="Yes!", message_id="msg_5"),
            fact("snapshot", "turn_a", text="It is five.", message_id="msg_3"),
        ],
    )

    assert shown == [["A?", "Let me look.\n\nIt is five.\n\nYes!", "running"]]


async def test_a_turn_of_several_messages_is_put_together_from_pages_of_the_history(devices: Devices) -> None:
    called = [{"id": "c", "function": {"name": "search", "arguments": '{"query": "a"}'}}]
    history = [
        said(1, "turn_a", "user", "A?"),
        said(2, "turn_a", "assistant", "Let me look.") | {"tool_calls": called},
        said(3, "turn_a", "tool", "found") | {"tool_call_id": "c"},
        said(4, "turn_a", "user", "Sure?"),
        said(5, "turn_a", "assistant", "Yes."),
    ]
    tab = await devices.open()
    shown = await tab.page.evaluate(
        """async (history) => {
            const { Conversation } = await import("/page/conversation.js");
            const talk = new Conversation("assistant", "s");
            talk.reset({ messages: history.slice(2), next_before: 3 });
            talk.addOlder({ messages: history.slice(0, 2), next_before: null });
            const [turn] = talk.turns.values();
            const [call] = turn.calls;
            return [
                turn.user.text,
                turn.parts.map((part) => part.text ?? part.call.name),
                [call.arguments, call.result, call.state],
            ];
        }""",
        history,
    )

    assert shown == ["A?", ["Let me look.", "search", "Sure?", "Yes."], [{"query": "a"}, "found", "settled"]]


async def test_the_clock_of_a_turn_counts_from_its_start_and_not_from_its_place_in_the_queue(devices: Devices) -> None:
    tab = await devices.open()
    begins = await tab.page.evaluate(
        """async () => {
            const { Conversation } = await import("/page/conversation.js");
            const talk = new Conversation("assistant", "s");
            const turn = { turn_id: "turn_b", message: "B?", message_id: "msg_2" };
            talk.apply({ type: "turn_queued", ...turn });
            const queued = talk.turns.get("turn_b").startedAt;
            talk.apply({ type: "turn_started", ...turn });
            return [queued, talk.turns.get("turn_b").startedAt > 0];
        }"""
    )

    assert begins == [0, True]


async def test_a_poll_tells_the_queue_and_what_was_withdrawn_from_it(devices: Devices) -> None:
    tab = await devices.open()
    shown = await tab.page.evaluate(
        """async () => {
            const { Conversation } = await import("/page/conversation.js");
            const talk = new Conversation("assistant", "s");
            const known = { user_message_id: "msg", status: "queued", created_at: "" };
            const waits = (id) => ({ ...known, turn_id: id, message: id });
            const page = { messages: [], next_before: null };
            talk.replace({ queue: [waits("b"), waits("c")], turn: null }, page);
            const before = talk.queued.map((turn) => turn.user.text);
            talk.replace({ queue: [waits("c")], turn: null }, page);
            return [before, talk.queued.map((turn) => turn.user.text), talk.turns.get("b").status];
        }"""
    )

    assert shown == [["b", "c"], ["c"], "withdrawn"]


async def test_a_message_put_first_is_shown_where_it_runs(devices: Devices) -> None:
    shown = await conversation(
        devices,
        [],
        0,
        [
            fact("turn_started", "turn_a", message="A?", message_id="msg_1"),
            fact("turn_queued", "turn_b", message="B?", message_id="msg_2"),
            fact("turn_queued", "turn_c", message="C?", message_id="msg_3"),
            fact("turn_finished", "turn_a", status="cancelled", reason="replaced"),
            fact("turn_started", "turn_c", message="C?", message_id="msg_3"),
        ],
    )

    assert [turn[0] for turn in shown] == ["A?", "C?", "B?"]


async def test_messages_that_no_turn_made_are_all_shown(devices: Devices) -> None:
    history = [
        said(1, None, "user", "A?"),
        said(2, None, "assistant", "one"),
        said(3, None, "user", "B?"),
        said(9, None, "assistant", "two"),  # added while the page loads: no frame tells of it
    ]
    shown = await conversation(devices, history, 4, [fact("snapshot", None, message_id="msg_2", text="one!")])

    assert [turn[:2] for turn in shown] == [["A?", ""], [None, "one!"], ["B?", ""], [None, "two"]]


@pytest.mark.parametrize(
    ("turn", "words"),
    [
        ({"status": "completed", "finishReason": "stop", "text": "Hi"}, ""),
        ({"status": "completed", "finishReason": None, "text": ""}, ""),
        ({"status": "completed", "finishReason": "length", "text": "Hi"}, "limit of tokens"),
        ({"status": "completed", "finishReason": "content_filter", "text": ""}, "filter"),
        ({"status": "completed", "finishReason": "refusal", "text": "No"}, "refused"),
        ({"status": "completed", "finishReason": "stop", "text": ""}, "without a word"),
        ({"status": "failed", "reason": "llm_error", "finishReason": "length", "text": ""}, "The model failed"),
    ],
)
async def test_an_answer_that_is_not_whole_says_why(devices: Devices, turn: dict[str, Any], words: str) -> None:
    tab = await devices.open()
    shown = await tab.page.evaluate("async (turn) => (await import('/page/format.js')).ending(turn)", turn)

    assert words in shown
    assert bool(words) == bool(shown)


async def test_texts_are_cut_between_characters(devices: Devices) -> None:
    tab = await devices.open()
    shown = await tab.page.evaluate(
        """async () => {
            const { cut, shorten } = await import("/page/format.js");
            const { textParts } = await import("/page/markdown.js");
            const faces = "🙂".repeat(40);
            const parts = textParts(`a${"🙂".repeat(30_000)}`).map((part) => part.textContent);
            const areWhole = parts.every((part) => part.isWellFormed());
            return [cut(faces, 3), cut(faces, 4), shorten(faces, 5), cut("🙂", 2), areWhole, parts.length];
        }"""
    )

    assert shown == ["🙂", "🙂🙂", "🙂🙂…", "🙂", True, 4]


async def test_a_first_message_becomes_a_title_wherever_it_is_cut(devices: Devices) -> None:
    tab = await devices.open()
    await tab.send(f"{'a' * 58}🙂 and so on")
    await tab.wait_for_status("completed")

    await expect(tab.page.locator("h1")).to_have_text(f"{'a' * 58}…")
