"""What the logic asks of a transport. The logic is written once, as generators that yield these steps and are sent the
answers; the drivers of `_async` and `sync` carry them out, one with `await` and one without. A failure is thrown into
the generator.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Request:
    """Send it; the answer is a Reply, a refusal is thrown. `is_patient`: the answer may take as long as it likes."""

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Mapping[str, Any] | None = None
    content: bytes | None = None
    is_patient: bool = False


@dataclass(frozen=True, slots=True)
class Reply:
    status: int
    json: Any


@dataclass(frozen=True, slots=True)
class Open:
    """Open a stream, instead of the one before; the answer is whether there is one (`False` for 204)."""

    request: Request


@dataclass(frozen=True, slots=True)
class Read:
    """The next bytes of the open stream, or `None` at its end."""


@dataclass(frozen=True, slots=True)
class Pause:
    seconds: float


@dataclass(frozen=True, slots=True)
class Emit(Generic[T]):
    """Hand this to the loop that iterates over the stream."""

    value: T


Call = Generator[Request | Pause, Any, T]
"""Ends with what the caller gets."""
Stream = Generator[Request | Pause | Open | Read | Emit[T], Any, None]
"""Emits what the caller iterates over."""
