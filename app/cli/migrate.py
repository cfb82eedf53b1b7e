"""hector migrate: bring the database up to date, without serving."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from app.config.find import find_config
from app.config.load import ConfigError, load_config
from app.domain.errors import Unavailable
from app.storage.engine.database import migrate_database
from app.storage.engine.private_files import keep_new_files_private

CONFIG_ERROR, FAILED = 2, 3


def migrate(config: Path | None) -> int:
    """The exit code: 2 the configuration is wrong, 3 it could not be done."""
    try:
        loaded = load_config(config or find_config(os.environ, Path.cwd()), environ=os.environ)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return CONFIG_ERROR
    keep_new_files_private()
    try:
        before, now = migrate_database(loaded.config.storage.url)
    except Unavailable as error:
        print(error, file=sys.stderr)
        return FAILED
    print(f"schema {now}" + ("" if before == now else f", from {before or 'nothing'}"))
    return 0
