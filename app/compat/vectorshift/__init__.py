"""The VectorShift door: what programs written with the `vectorshift` package speak, on our agents and sessions."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.routing import BaseRoute

    from app.runtime import Runtime


def door_routes(runtime: Runtime) -> list[BaseRoute]:
    """Under `compat.vectorshift.prefix`; none where the door is closed, and nothing of it is loaded."""
    if not runtime.config.compat.vectorshift.enabled:
        return []
    from app.compat.vectorshift.routes import routes

    return routes(runtime)
