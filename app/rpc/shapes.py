"""What the HTTP API shows as JSON, as messages: one truth for the fields of both."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar, cast

import orjson
from google.protobuf.json_format import MessageToDict, ParseDict
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct

from app.conversation.conversation import Following
from app.domain.act import Act
from app.domain.errors import InvalidRequest
from app.domain.turn import Outcome
from app.doors.schemas.acts import act_json
from app.doors.schemas.messages import answer_json
from app.rpc.generated import hector_pb2 as pb

M = TypeVar("M", bound=Message)

_CALL_JSON = ("arguments", "edited", "asked", "result")


def filled(message: M, shown: Mapping[str, Any]) -> M:
    """The message with the fields that it shares with the JSON object; `null` leaves a field unset."""
    ParseDict(dict(shown), message, ignore_unknown_fields=True)
    return message


def call_message(act: Act) -> pb.Call:
    return shown_call(act_json(act))


def shown_call(shown: dict[str, Any]) -> pb.Call:
    """A call from its JSON object, whose fields of any shape become JSON text."""
    for field in _CALL_JSON:
        if field in shown:
            shown[field] = orjson.dumps(shown[field]).decode()
    return filled(pb.Call(), shown)


def answer_message(following: Following, outcome: Outcome, *, is_json: bool) -> pb.MessageResponse:
    shown: dict[str, Any] = dict(answer_json(following.session_id, outcome, is_json=is_json))
    if "output" in shown:
        shown["output"] = orjson.dumps(shown["output"]).decode()
    return filled(pb.MessageResponse(status="completed"), shown)


def object_of(struct: Struct) -> dict[str, Any]:
    """A Struct as JSON; whole numbers, which it has as floating ones, are whole again."""
    return cast(dict[str, Any], _whole(MessageToDict(struct)))


def json_of(text: str, field: str) -> Any:
    """The value of a field that holds JSON text; `None` where it is empty. Raises InvalidRequest."""
    if not text:
        return None
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise InvalidRequest(f"{field}: is not JSON: {error}", reason="invalid_json") from None


def _whole(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer() and abs(value) <= 2**53:
        return int(value)
    if isinstance(value, list):
        return [_whole(item) for item in value]
    if isinstance(value, dict):
        return {name: _whole(item) for name, item in value.items()}
    return value
