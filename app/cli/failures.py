"""What ends a command early, and the exit code it ends with. The table is in docs/cli.md.

A command ends early with a HectorError of the client, or with a CommandFailed for what the command finds out by itself:

CommandFailed
└── Unreachable    no server on the configured data answers, and none can be started here
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # `hector --help` does not load the client
    from hector_client import HectorError


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
# A waiting POST reports the end of its turn by a status, too; these reasons say that a turn had begun.
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


def exit_code(failure: CommandFailed | HectorError) -> ExitCode:
    if isinstance(failure, CommandFailed):
        return failure.code
    from hector_client import Refused

    if not isinstance(failure, Refused):
        return ExitCode.UNREACHABLE
    return _BY_REASON.get(failure.reason) or _BY_STATUS.get(failure.status or 0, ExitCode.REFUSED)


def advised(failure: CommandFailed | HectorError) -> str:
    """The sentence, with the way of a command to mend it."""
    if getattr(failure, "reason", "") != "unauthenticated":
        return failure.message
    return f"{failure.message.partition(': Authorization')[0].rstrip('.')}: by --token, or by HECTOR_TOKEN."
