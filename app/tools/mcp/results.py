"""The result of a call as text for a model and as data for programs, both of bounded size."""

from __future__ import annotations

import json

from mcp import types
from pydantic import ValidationError

from app.tools.base import ToolResult
from app.tools.mcp.faults import AnswerLost


def read_result(found: object, *, max_chars: int) -> ToolResult:
    """The result of a call as it came. Raises AnswerLost: it is none."""
    try:
        return result_of(types.CallToolResult.model_validate(found, by_name=False), max_chars=max_chars)
    except ValidationError as error:
        raise AnswerLost("answered with what is no result of a tool") from error


def result_of(result: types.CallToolResult, *, max_chars: int) -> ToolResult:
    """Text as it is, other content by its kind and size. Structured content is `data`; without other content, text too.

    What exceeds `max_chars` is cut, and says so. Data that do not fit are left out: half of a JSON value is none.
    """
    data = result.structured_content
    encoded = None if data is None else json.dumps(data, ensure_ascii=False, default=str)
    if encoded is not None and len(encoded) > max_chars:
        data = None
    text = "\n".join(part for part in map(_text_of, result.content) if part)
    if not text:
        text = encoded if encoded is not None else ("failed, without a word" if result.is_error else "done")
    return ToolResult(text=bounded(text, max_chars), data=data, is_error=bool(result.is_error))


def bounded(text: str, max_chars: int) -> str:
    clean = text if text.isascii() else text.encode("utf-8", "replace").decode()
    clean = clean.replace("\0", "\ufffd")
    if len(clean) <= max_chars:
        return clean
    return f"{clean[:max_chars]}\n[cut: {max_chars} of {len(clean)} characters]"


def _text_of(content: types.ContentBlock) -> str:
    match content:
        case types.TextContent():
            return content.text
        case types.ImageContent():
            return f"[image, {content.mime_type}, {_bytes_of(content.data)} bytes]"
        case types.AudioContent():
            return f"[audio, {content.mime_type}, {_bytes_of(content.data)} bytes]"
        case types.ResourceLink():
            described = f": {content.description}" if content.description else ""
            return f"[resource {content.uri}, {content.title or content.name}{described}]"
        case types.EmbeddedResource():
            return _embedded(content.resource)


def _embedded(resource: types.TextResourceContents | types.BlobResourceContents) -> str:
    kind = f", {resource.mime_type}" if resource.mime_type else ""
    if isinstance(resource, types.TextResourceContents):
        return f"[resource {resource.uri}{kind}]\n{resource.text}"
    return f"[resource {resource.uri}{kind}, {_bytes_of(resource.blob)} bytes]"


def _bytes_of(base64: str) -> int:
    return len(base64) * 3 // 4 - base64[-2:].count("=")
