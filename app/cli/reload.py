"""hector reload: ask the running servers to read their configuration again, after a look at the file."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Mapping
from pathlib import Path

from app.cli.addresses import UNIX
from app.cli.connection import read_config
from app.cli.failures import CommandFailed, ExitCode, Unreachable
from app.cli.run import complain
from app.domain.errors import Unavailable
from app.storage.engine.file_lock import pid_space
from app.storage.engine.lock import find_holders


def reload(config: Path | None) -> ExitCode:
    """2: the configuration is wrong, nothing was asked; 3: no server on its data can be asked from here."""
    try:
        loaded = read_config(config, tries_tools=True)
        processes = _find_processes(loaded.config.storage.url)
        for process in processes:
            os.kill(process, signal.SIGHUP)
    except CommandFailed as failure:
        complain(failure.message)
        return failure.code
    except OSError as error:
        complain(f"the server cannot be asked: {(error.strerror or 'unknown reason').lower()}")
        return ExitCode.UNREACHABLE
    for process in processes:
        print(f"process {process} reads {loaded.path or 'its configuration'} again; its log says what changed")
    return ExitCode.OK


def _find_processes(url: str) -> list[int]:
    """All that a signal from here reaches. Raises Unreachable: there is none."""
    try:
        holders = find_holders(url)
    except Unavailable as error:
        raise Unreachable(str(error)) from error
    if not holders:
        raise Unreachable("no server runs on the configured data")
    command = next((holder for holder in holders if str(holder.get("url", "")).startswith(UNIX)), None)
    if command is not None:
        raise Unreachable(f"process {command.get('pid')} works on the data, but it is a command and no server")
    processes = [process for holder in holders if isinstance(process := holder.get("pid"), int) and _is_here(holder)]
    if not processes:
        raise Unreachable(
            "the server runs in a container or on a machine of its own: ask there, for example with "
            "`docker compose exec hector hector reload`"
        )
    return processes


def _is_here(holder: Mapping[str, object]) -> bool:
    return holder.get("pids", pid_space()) == pid_space() and holder.get("host", "") in ("", socket.gethostname())
