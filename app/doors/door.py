"""Door: what one door adds to the application. `create_app` has the list of all."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from starlette.routing import BaseRoute

from app.doors.errors import ErrorShape


@dataclass(frozen=True, slots=True)
class Door:
    """`routes`: none if the door is closed. They are tried in the order of the doors."""

    routes: Sequence[BaseRoute]
    headers: Sequence[str] = ()
    """Request headers of its own that pages of other origins may send."""
    shown: Sequence[str] = ()
    """Response headers of its own that these may read."""
    errors: tuple[re.Pattern[str], ErrorShape] | None = None
    """The paths whose errors have a shape of their own, matched from their start, and that shape."""
    start: Callable[[], None] | None = None
    """Called when the server begins to serve."""
    close: Callable[[], Awaitable[None]] | None = None
    """Awaited when it has stopped."""
