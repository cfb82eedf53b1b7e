"""What clients say: chat messages and items of responses become instructions, a history and the new message."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from app.compat.openai.errors import invalid
from app.conversation.conversation import Sending
from app.domain.message import ToolCallRecord, is_blank
from app.sessions.draft import Seed

_SYSTEM = frozenset({"system", "developer"})
_TEXT_PARTS = frozenset({"text", "input_text", "output_text"})


@dataclass(frozen=True, slots=True)
class Said:
    """What a request says. `text`: the user's new message; `history`: what was said before it, oldest first."""

    instructions: str | None
    history: tuple[Seed, ...]
    text: str

    def added_to(self, sending: Sending) -> Sending:
        """What is sent, with this as its message and the history of its session."""
        return replace(sending, text=self.text, instructions=self.instructions, seeds=self.history)


def read_messages(given: Sequence[Any], field: str = "messages") -> Said:
    """The messages of a chat, or items of a response. Raises InvalidRequest, naming the place."""
    said = read_history(given, field)
    if not said.history or said.history[-1].role != "user":
        raise invalid(field, "the last message must be the user's: that is what the agent answers")
    *history, last = said.history
    return Said(said.instructions, tuple(_with_whole_calls(history)), last.content)


def read_history(given: Sequence[Any], field: str) -> Said:
    """Messages or items without a new message: `text` is empty. Raises InvalidRequest, naming the place."""
    instructions: list[str] = []
    seeds: list[Seed] = []
    for place, one in enumerate(given):
        where = f"{field}[{place}]"
        if not isinstance(one, dict):
            raise invalid(where, "must be an object")
        if one.get("role") in _SYSTEM:
            instructions.append(text_of(one.get("content"), where))
        elif (seed := _read(one, where)) is not None:
            seeds.append(seed)
    said = "\n\n".join([text for text in instructions if not is_blank(text)])
    return Said(said or None, tuple(seeds), "")


def text_of(content: Any, where: str) -> str:
    """The text of a message: a string, or parts that are texts. Raises InvalidRequest for anything else."""
    if isinstance(content, str):
        return content
    if content is None:
        return ""
    if not isinstance(content, list):
        raise invalid(f"{where}.content", "must be a text or a list of parts")
    return "".join([_part(part, f"{where}.content[{place}]") for place, part in enumerate(content)])


def _part(part: Any, where: str) -> str:
    if isinstance(part, str):
        return part
    kind = part.get("type") if isinstance(part, dict) else None
    text = part.get("refusal" if kind == "refusal" else "text") if isinstance(part, dict) else None
    if (kind in _TEXT_PARTS or kind == "refusal") and isinstance(text, str):
        return text
    raise invalid(where, f"only parts of text are taken, not {str(kind)[:40]!r}")


def _read(one: Mapping[str, Any], where: str) -> Seed | None:
    match one.get("role"), one.get("type", "message"):
        case "user", _:
            return Seed("user", text_of(one.get("content"), where))
        case "assistant", _:
            return Seed("assistant", text_of(one.get("content"), where), tool_calls=_calls(one, where))
        case "tool", _:
            return Seed("tool", text_of(one.get("content"), where), tool_call_id=str(one.get("tool_call_id", "")))
        case _, "function_call":
            return Seed("assistant", "", tool_calls=(_call(one, one.get("call_id"), where),))
        case _, "function_call_output":
            output = one.get("output")
            text = output if isinstance(output, str) else text_of(output, where)
            return Seed("tool", text, tool_call_id=str(one.get("call_id", "")))
        case None, kind if kind != "message":
            return None  # reasoning and the like, which clients send back as they got it
        case role, _:
            raise invalid(
                f"{where}.role", f"must be system, developer, user, assistant or tool, not {str(role)[:40]!r}"
            )


def _calls(one: Mapping[str, Any], where: str) -> tuple[ToolCallRecord, ...]:
    given = one.get("tool_calls") or []
    if not isinstance(given, list):
        raise invalid(f"{where}.tool_calls", "must be a list")
    return tuple([_call(call.get("function"), call.get("id"), where) for call in given if isinstance(call, dict)])


def _call(function: Any, call_id: Any, where: str) -> ToolCallRecord:
    name = function.get("name") if isinstance(function, dict) else None
    arguments = function.get("arguments", "{}") if isinstance(function, dict) else None
    if not (isinstance(name, str) and isinstance(arguments, str) and isinstance(call_id, str)):
        raise invalid(f"{where}.tool_calls", "a call has an id, and a function with a name and arguments")
    return ToolCallRecord(call_id, name, arguments)


def _with_whole_calls(seeds: Sequence[Seed]) -> list[Seed]:
    """Without calls that have no outcome and outcomes of no call: models refuse such a history."""
    called = {call.call_id for seed in seeds for call in seed.tool_calls}
    answered = {seed.tool_call_id for seed in seeds if seed.role == "tool"}
    found = []
    for seed in seeds:
        if seed.role == "tool" and seed.tool_call_id not in called:
            continue
        calls = tuple([call for call in seed.tool_calls if call.call_id in answered])
        if calls or seed.role == "tool" or not is_blank(seed.content):
            found.append(replace(seed, tool_calls=calls))
    return found
