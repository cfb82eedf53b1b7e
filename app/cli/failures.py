"""What ends a command early, and the exit code it ends with. The table stands in docs/cli.md.

CommandFailed
├── Refused        the server said no: its status, its reason, its words
└── Unreachable    no server, no answer, or no way to start one
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any


class ExitCode(IntEnum):
    OK = 0
    TURN_FAILED = 1
    USAGE = 2
    UNREACHABLE = 3
    NOT_FOUND = 4
    REFUSED = 5
    INTERRUPTED = 130
    BROKEN_PIPE = 141
    TERMINATED = 143


_BY_STATUS = {
    400: ExitCode.USAGE,
    404: ExitCode.NOT_FOUND,
    405: ExitCode.USAGE,
    413: ExitCode.USAGE,
    422: ExitCode.USAGE,
    500: ExitCode.TURN_FAILED,
    502: ExitCode.UNREACHABLE,
    503: ExitCode.UNREACHABLE,
    504: ExitCode.UNREACHABLE,
}
# A waiting POST tells the end of its turn by a status; the reason says that there was a turn.
_BY_REASON = {
    "llm_error": ExitCode.TURN_FAILED,
    "llm_timeout": ExitCode.TURN_FAILED,
    "turn_cancelled": ExitCode.TURN_FAILED,
    "internal": ExitCode.TURN_FAILED,
}


class CommandFailed(Exception):
    """A sentence for the user, and how the program ends. `body` is the API's error object, for `--json`."""

    def __init__(self, message: str, *, code: ExitCode, reason: str) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.reason = reason
        self.body: dict[str, Any] = {"error": {"reason": reason, "message": message}}


class Unreachable(CommandFailed):
    def __init__(self, message: str) -> None:
        super().__init__(message, code=ExitCode.UNREACHABLE, reason="unreachable")


class Refused(CommandFailed):
    """The server's refusal. A body that is not one of ours (a proxy's page) has the reason `unexpected`."""

    def __init__(self, status: int, body: object) -> None:
        error = body.get("error") if isinstance(body, dict) else None
        if isinstance(error, dict):
            reason, message = str(error.get("reason", "")), str(error.get("message", ""))
        else:
            reason, message = "unexpected", f"The server answered {status}, but not as a Hector server does."
        code = _BY_REASON.get(reason) or _BY_STATUS.get(status, ExitCode.REFUSED)
        super().__init__(message, code=code, reason=reason)
        self.status = status
        if isinstance(error, dict):
            self.body = {"error": error}

    @property
    def may_pass(self) -> bool:
        """Whether the same request may succeed in a moment: a restart, or a proxy without its server."""
        return self.status == 503 or (self.status in (502, 504) and self.reason == "unexpected")
