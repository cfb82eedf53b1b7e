"""Outcomes: what the model is told of a call, what readers are told, and what is kept as a whole."""

from __future__ import annotations

from dataclasses import dataclass

import orjson

from app.domain.act import Act, ActState
from app.domain.label import Trust
from app.tools.base import ToolResult

SHOWN_CHARACTERS = 2000
"""Of a result in a frame's `chunk`."""
UNKNOWN = "It is not known whether this call happened: it was cut off before its answer came. Do not assume either."
CANCELLED = "[This call was cancelled before it had an outcome.]"
STOPPED = "[This call was stopped while it ran.]"


@dataclass(frozen=True, slots=True)
class Outcome:
    """`text` is for the model, `result` (a JSON value) and `shown` (as in a terminal) for readers.

    `whole`: what is stored under `result_id`, where `text` is only a part of it.
    """

    state: ActState
    text: str
    result: object
    shown: str
    whole: str | None = None
    result_id: str | None = None
    sandbox: str | None = None
    trust: Trust | None = None
    """Where it may be trusted less than other results of the tool."""


def of_result(result: ToolResult, *, result_id: str, inline: int, most: int) -> Outcome:
    """The outcome of a call that came back. `inline`: bytes that the model is given; `most`: bytes that are kept."""
    state = ActState.FAILED if result.is_error else ActState.SETTLED
    shown = _cut(result.text, SHOWN_CHARACTERS) if result.shown is None else result.shown
    data = result.text if result.data is None else result.data
    text = result.text.replace("\0", "\ufffd")
    size = len(text.encode(errors="replace"))
    is_large_data = not isinstance(data, str) and len(orjson.dumps(data, default=str)) > inline
    if size <= inline:
        kept = None if is_large_data else data
        said = text if kept is None else kept
        return Outcome(state, text, said, shown, sandbox=result.sandbox, trust=result.trust)
    whole = text if size <= most else text.encode(errors="replace")[:most].decode(errors="ignore")
    part = _head_and_tail(text, size, inline, result_id, is_whole=whole is text)
    return Outcome(state, part, _cut(text, SHOWN_CHARACTERS), shown, whole, result_id, result.sandbox, result.trust)


def failed(sentence: str) -> Outcome:
    """The call did not work, or was refused by its tool."""
    return Outcome(ActState.FAILED, sentence, {"error": sentence}, f"Error: {_cut(sentence, SHOWN_CHARACTERS)}")


def refused(sentence: str) -> Outcome:
    """The call was not carried out."""
    return Outcome(ActState.REFUSED, sentence, {"error": sentence}, f"Refused: {_cut(sentence, SHOWN_CHARACTERS)}")


def cancelled(sentence: str = STOPPED) -> Outcome:
    return Outcome(ActState.CANCELLED, sentence, {"error": sentence}, "Stopped.")


def unknown() -> Outcome:
    return Outcome(ActState.UNKNOWN, UNKNOWN, {"error": UNKNOWN}, "It is not known whether this happened.")


def told(act: Act) -> str:
    """What the history says of an act, whatever became of it."""
    if act.outcome is not None:
        return act.outcome
    if act.state in (ActState.STARTED, ActState.UNKNOWN):
        return UNKNOWN
    return CANCELLED


def _head_and_tail(text: str, size: int, inline: int, result_id: str, *, is_whole: bool) -> str:
    room = max(inline - 300, 200)
    # Characters of up to four bytes: the parts are cut by bytes, at the border of a character.
    encoded = text.encode(errors="replace")
    head = encoded[: room * 2 // 3].decode(errors="ignore")
    tail = encoded[-(room // 3) :].decode(errors="ignore")
    kept = "" if is_whole else ", cut at its limit"
    note = f'[… {size} bytes in all{kept}; read_result("{result_id}", offset=…) or grep=… reads the rest …]'
    return f"{head}\n{note}\n{tail}"


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[:most]}… ({len(text)} characters)"
