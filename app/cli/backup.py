"""hector backup, hector restore: the SQLite database as one file."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from app.config.find import find_config
from app.config.load import ConfigError, load_config
from app.domain.errors import Unavailable
from app.storage.engine import backup
from app.storage.engine.private_files import keep_new_files_private

OK, CONFIG_ERROR, FAILED = 0, 2, 3
POSTGRES = "On Postgres use its own tools: pg_dump and pg_restore (docs/operation.md)."


def back_up(target: Path, config: Path | None) -> int:
    """The exit code: 2 the configuration is wrong, 3 it could not be done."""
    database = _database(config)
    if isinstance(database, int):
        return database
    try:
        size = backup.back_up(database, target)
    except Unavailable as error:
        return _failed(str(error))
    print(f"{target}: {size} bytes")
    return OK


def restore(source: Path, config: Path | None) -> int:
    database = _database(config)
    if isinstance(database, int):
        return database
    try:
        backup.restore(source, database)
    except Unavailable as error:
        return _failed(str(error))
    print(f"{database} restored from {source}")
    return OK


def _database(config: Path | None) -> Path | int:
    """The SQLite file of the configuration, or an exit code when there is none."""
    keep_new_files_private()
    try:
        loaded = load_config(config or find_config(os.environ, Path.cwd()), environ=os.environ)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return CONFIG_ERROR
    storage = loaded.config.storage
    if not storage.url.startswith("sqlite"):
        return _failed(POSTGRES)
    return storage.path


def _failed(sentence: str) -> int:
    print(sentence, file=sys.stderr)
    return FAILED
