"""Which revision of the schema a database has, and whether it is this release's.

Needs no alembic, whose import takes 60 ms: a server whose database is up to date, as at nearly every start, has no
use for it.
"""

from __future__ import annotations

import re
from pathlib import Path

from sqlalchemy import Engine, inspect, text

_PACKAGE = Path(__file__).parents[2]
_INSTALLED = _PACKAGE / "_migrations"  # where the wheel puts them (pyproject.toml)
SCRIPTS = _INSTALLED if _INSTALLED.is_dir() else _PACKAGE.parent / "migrations"
_TABLE = "alembic_version"
_REVISION = re.compile(r'^revision = "(\w+)"$', re.MULTILINE)


def find_revision(engine: Engine) -> str | None:
    """The revision that the database says it has; `None` for an empty one."""
    with engine.connect() as connection:
        if not inspect(connection).has_table(_TABLE):
            return None
        found: str | None = connection.execute(text(f"SELECT version_num FROM {_TABLE}")).scalar()
        return found


def newest_revision() -> str:
    """This release's revision: that of the last file, whose names begin with the time at which they were written."""
    newest = max((SCRIPTS / "versions").glob("*.py"), key=lambda path: path.name)
    found = _REVISION.search(newest.read_text(encoding="utf-8"))
    assert found is not None, f"{newest} names no revision"
    return found[1]


def is_current(engine: Engine) -> bool:
    """Whether the schema of the database is this release's."""
    return find_revision(engine) == newest_revision()
