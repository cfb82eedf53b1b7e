"""Where the lines of a log of its own go: a file, which may be moved away at any time, or standard output."""

from __future__ import annotations

import logging
import sys
from logging.handlers import WatchedFileHandler

STDOUT = "stdout"


def send_lines(log: logging.Logger, place: str | None, form: logging.Formatter) -> None:
    """Send the lines of `log` to a file or to standard output, and nowhere else; `None`: nowhere.

    A file that was moved away or removed (logrotate) is made again by the next line: no signal is needed.

    Raises OSError: the file cannot be written.
    """
    for handler in list(log.handlers):
        log.removeHandler(handler)
        handler.close()
    log.propagate = False
    if place is None:
        return
    added: logging.Handler
    added = logging.StreamHandler(sys.stdout) if place == STDOUT else WatchedFileHandler(place, encoding="utf-8")
    added.setFormatter(form)
    log.addHandler(added)
    log.setLevel(logging.INFO)
