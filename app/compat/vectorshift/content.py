"""What a client posts: texts, text files, and answers to requests for approval."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from app.domain.errors import InvalidRequest

_TEXT_TYPES = frozenset({"application/json", "application/xml", "application/yaml", "application/x-yaml"})
_TEXT_SUFFIXES = ("+json", "+xml", "+yaml")
BETWEEN_PARTS = "\n\n"
MOST_REASON = 2000
"""Characters of what is said beside an approval."""


@dataclass(frozen=True, slots=True)
class ApprovalAnswer:
    """The answer to a request for approval. `fields`: what the person filled in beside it."""

    is_approved: bool
    fields: Mapping[str, object] = field(default_factory=dict)
    reason: str | None = None

    @property
    def result(self) -> object:
        """As the answer to a question: the one field that was filled in, or all of them."""
        return next(iter(self.fields.values())) if len(self.fields) == 1 else dict(self.fields)

    def edit(self, arguments: str) -> tuple[dict[str, object] | None, str | None]:
        """The arguments of a call as it changes them (`None`: it does not), and what else it says.

        A field with the name of an argument takes its place; others are kept as a remark.
        """
        if not self.is_approved or not self.fields:
            return None, self.reason
        try:
            known = orjson.loads(arguments)
        except orjson.JSONDecodeError:
            known = None
        known = known if isinstance(known, dict) else {}
        edits = {name: value for name, value in self.fields.items() if name in known}
        others = [f"{name}: {value}" for name, value in self.fields.items() if name not in known]
        return ({**known, **edits} if edits else None), ", ".join(others)[:MOST_REASON] or None


def text_of(contents: Sequence[object]) -> str:
    """One message made of the parts that a client posted together.

    Raises:
        InvalidRequest: there is none, or one is no text.
    """
    if not contents:
        raise InvalidRequest("messages: there is nothing to send.")
    return BETWEEN_PARTS.join([_part(content) for content in contents])


def approval_answer(content: object) -> ApprovalAnswer | None:
    """The answer that a content is; `None` for other contents.

    Raises:
        InvalidRequest: it answers neither yes nor no.
    """
    if not isinstance(content, dict) or content.get("type_string") != "response_message":
        return None
    value = content.get("value")
    answer = value.get("tool_call_approval") if isinstance(value, dict) else None
    if isinstance(answer, dict) and isinstance(answer.get("confirm"), dict):
        return ApprovalAnswer(True, answer["confirm"])
    if isinstance(answer, dict) and "deny" in answer:
        return ApprovalAnswer(False, reason=str(answer["deny"])[:MOST_REASON])
    raise InvalidRequest("A response_message needs tool_call_approval with confirm or deny.")


def _part(content: object) -> str:
    if isinstance(content, str):
        return content
    if isinstance(content, dict):
        value = content.get("value")
        if content.get("type_string") == "file":
            return _file(value)
        if isinstance(value, str):
            return value
    raise InvalidRequest("content: must be a text, or an object with type_string and value.")


def _file(value: Any) -> str:
    """A text file, with its name above it. Raises InvalidRequest for any other file."""
    if not isinstance(value, dict) or not isinstance(value.get("raw_bytes"), str):
        raise InvalidRequest("A file needs value.raw_bytes, in base64.")
    found = value.get("metadata")
    metadata = found if isinstance(found, dict) else {}
    name, media_type = str(metadata.get("name") or "file")[:200], str(metadata.get("mime_type") or "")
    try:
        raw = base64.b64decode(value["raw_bytes"], validate=True)
    except binascii.Error:
        raise InvalidRequest(f"The file {name!r} is not valid base64.") from None
    if not _may_be_text(media_type):
        raise InvalidRequest(f"The file {name!r} is {media_type}; agents of this server read text files only.")
    try:
        text = raw.decode().replace("\0", "\ufffd")  # Postgres stores no U+0000
        return f"File {name}:\n{text}"
    except UnicodeDecodeError:
        raise InvalidRequest(f"The file {name!r} is no text in UTF-8; agents of this server read text only.") from None


def _may_be_text(media_type: str) -> bool:
    """A file that does not say what it is may be a text."""
    base = media_type.partition(";")[0].strip().lower()
    is_text = base.startswith("text/") or base in _TEXT_TYPES or base.endswith(_TEXT_SUFFIXES)
    return is_text or base in ("", "application/octet-stream")
