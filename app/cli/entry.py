"""The first lines of the program: signals and arguments, before the commands are loaded, which takes a second.

As process 1 of a container a program gets no signal that it has no handler for: without one here, a stop in the first
seconds would wait for its time limit and kill.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
from types import FrameType

_TERMINATED, _USAGE = 143, 2


def main() -> None:
    signal.signal(signal.SIGTERM, _leave)
    # Loading makes some hundred thousand objects, which all stay: looking for garbage among them takes a sixth of it.
    gc.set_threshold(50_000, 20, 100)
    if sys.argv[1:2] == ["serve"]:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # nothing to reload yet
    for number, argument in enumerate(sys.argv[1:], 1):
        if not argument.isascii() and not _is_text(argument):
            print(f"hector: argument {number} is not UTF-8 text", file=sys.stderr)
            sys.exit(_USAGE)
    sys.argv[1:] = [_FLAGS.get(argument, argument) for argument in sys.argv[1:]]
    from app.cli.main import main as run

    run()


_FLAGS = {"--stream=false": "--no-stream", "--stream=true": "--stream"}
"""How flags are switched elsewhere."""


def _leave(_signal: int, _frame: FrameType | None) -> None:
    """At once: what has begun so far can be cut as by a kill."""
    os._exit(_TERMINATED)


def _is_text(argument: str) -> bool:
    """Python keeps bytes that are no UTF-8 as lone surrogates, which nothing can print or send."""
    try:
        argument.encode()
    except UnicodeEncodeError:
        return False
    return True
