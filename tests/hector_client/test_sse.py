"""Frames out of bytes, however they were cut on their way."""

from __future__ import annotations

import pytest

from hector_client._sse import Frame, Parser

STREAM = (
    b": cursor 40\n"
    b': heartbeat {"phase": "model", "seq": 40}\n'
    b'retry: 1500\nid: 41\ndata: {"chunk": "a\xe2\x80\xa8b \xc3\xa9"}\n\n'
    b'id: 42:3\r\ndata: {"chunk": "", "type": "turn_finished", "status": "completed"}\r\n\r\n'
    b"event: done\ndata: [DONE]\n\n"
)
FRAMES = [
    Frame("cursor", "40"),
    Frame("heartbeat", fields={"phase": "model", "seq": 40}),
    Frame("text", "41", {"chunk": "a\u2028b é"}),
    Frame("turn_finished", "42:3", {"chunk": "", "type": "turn_finished", "status": "completed"}),
    Frame("done"),
]


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_frames_do_not_depend_on_how_the_bytes_were_cut(size: int) -> None:
    parser = Parser()

    frames = [frame for place in range(0, len(STREAM), size) for frame in parser.feed(STREAM[place : place + size])]

    assert frames == FRAMES
    assert parser.retry_seconds == 1.5


def test_an_id_without_data_is_a_cursor() -> None:
    assert list(Parser().feed(b"id: 40\n\n")) == [Frame("cursor", "40")]


def test_half_a_frame_at_the_end_is_none() -> None:
    assert list(Parser().feed(b'id: 1\ndata: {"chunk": "a"}\n')) == []


def test_foreign_comments_and_data_that_are_no_object_do_no_harm() -> None:
    assert list(Parser().feed(b": ping\n\ndata: [1]\n\n")) == [Frame("text")]
