"""Parts of A2A messages: what a client says becomes text or data for us, what we say becomes parts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import orjson
from a2a.types import Message, Part, Role
from a2a.utils.errors import ContentTypeNotSupportedError, InvalidParamsError
from google.protobuf.json_format import MessageToDict, ParseDict, ParseError
from google.protobuf.struct_pb2 import Struct, Value
from google.protobuf.timestamp_pb2 import Timestamp


def text_of(message: Message) -> str:
    """The text of a message: its parts with a line between; data is written as JSON.

    Raises:
        ContentTypeNotSupportedError: a part is a file.
        InvalidParamsError: there is nothing in it.
    """
    found = []
    for part in message.parts:
        kind = part.WhichOneof("content")
        if kind == "text":
            found.append(part.text)
        elif kind == "data":
            found.append(orjson.dumps(data_of(part)).decode())
        else:
            raise ContentTypeNotSupportedError("This agent takes text and data; send files as text.")
    text = "\n".join(found)
    if not text.strip():
        raise InvalidParamsError("The message has no text in it.")
    return text


def data_of(part: Part) -> Any:
    """The JSON value of a data part; whole numbers are whole again."""
    return _whole(MessageToDict(part.data))


def answers_of(message: Message) -> list[dict[str, Any]]:
    """The objects among the data parts of a message."""
    found = [data_of(part) for part in message.parts if part.WhichOneof("content") == "data"]
    return [one for one in found if isinstance(one, dict)]


def text_part(text: str) -> Part:
    return Part(text=text)


def data_part(value: object) -> Part:
    """A JSON value; one that is nested too deep for protobuf is sent as its text."""
    try:
        return Part(data=ParseDict(_safe(value), Value()))
    except ParseError:
        return Part(text=orjson.dumps(value, default=str).decode())


def agent_message(message_id: str, parts: Iterable[Part], *, task_id: str, context_id: str) -> Message:
    return Message(message_id=message_id, role=Role.ROLE_AGENT, parts=parts, task_id=task_id, context_id=context_id)


def struct(value: Mapping[str, object]) -> Struct:
    return ParseDict(_safe(value), Struct())


def moment(milliseconds: int) -> Timestamp:
    """Milliseconds since the epoch."""
    found = Timestamp()
    found.FromMilliseconds(milliseconds)
    return found


def _safe(value: object) -> Any:
    """Of whole numbers a protobuf value keeps 53 bits; those beyond are sent as text."""
    if isinstance(value, bool) or value is None or isinstance(value, str | float):
        return value
    if isinstance(value, int):
        return value if abs(value) < 2**53 else str(value)
    if isinstance(value, Mapping):
        return {str(name): _safe(one) for name, one in value.items()}
    if isinstance(value, Iterable):
        return [_safe(one) for one in value]
    return str(value)


def _whole(value: Any) -> Any:
    """Numbers of a protobuf value are floats."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    if isinstance(value, dict):
        return {name: _whole(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_whole(one) for one in value]
    return value
