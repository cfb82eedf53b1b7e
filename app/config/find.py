"""Where the configuration file is. Imports nothing heavy, because it is asked before the rest is loaded."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

FILES = ("config.yaml", "hector.yaml", "hector.yml", "config.yml")


def find_config(environ: Mapping[str, str], cwd: Path) -> Path | None:
    """The file that HECTOR_CONFIG names (it need not exist), else the first of `FILES` in `cwd`, else None."""
    named = environ.get("HECTOR_CONFIG")
    if named:
        return cwd / named
    # What is there and cannot be read is an error, not a reason to serve something else.
    return next((cwd / name for name in FILES if os.path.lexists(cwd / name)), None)
