"""hector reload: ask the running server to read its configuration again, after a look at the file."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path

from app.cli.addresses import UNIX
from app.cli.connection import read_config
from app.cli.failures import CommandFailed, ExitCode, Unreachable
from app.cli.run import complain
from app.domain.errors import Unavailable
from app.storage.engine.file_lock import pid_space
from app.storage.engine.lock import find_holder


def reload(config: Path | None) -> ExitCode:
    """2: the configuration is wrong, nothing was asked; 3: no server on its data can be asked from here."""
    try:
        loaded = read_config(config, tries_tools=True)
        process = _find_process(loaded.config.storage.url)
        os.kill(process, signal.SIGHUP)
    except CommandFailed as failure:
        complain(failure.message)
        return failure.code
    except OSError as error:
        complain(f"the server cannot be asked: {(error.strerror or 'unknown reason').lower()}")
        return ExitCode.UNREACHABLE
    print(f"process {process} reads {loaded.path or 'its configuration'} again; its log says what changed")
    return ExitCode.OK


def _find_process(url: str) -> int:
    """Raises Unreachable: there is none that a signal from here would reach."""
    try:
        holder = find_holder(url)
    except Unavailable as error:
        raise Unreachable(str(error)) from error
    if holder is None:
        raise Unreachable("no server runs on the configured data")
    if str(holder.get("url", "")).startswith(UNIX):
        raise Unreachable(f"process {holder.get('pid')} works on the data, but it is a command and no server")
    here = holder.get("pids", pid_space()) == pid_space() and holder.get("host", "") in ("", socket.gethostname())
    process = holder.get("pid")
    if not here or not isinstance(process, int):
        raise Unreachable(
            "the server runs in a container or on a machine of its own: ask there, for example with "
            "`docker compose exec hector hector reload`"
        )
    return process
