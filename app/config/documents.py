"""The `document_stores` section: folders whose files can be searched."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from pydantic import Field

from app.config.section import Section
from app.config.units import Size, Wait


class DocumentStoreConfig(Section):
    """Documents that are searched together."""

    paths: tuple[Path, ...] = Field(min_length=1)
    """Files and folders; relative ones start at the configuration file."""
    patterns: tuple[str, ...] = Field(default=("**/*.md", "**/*.txt", "**/*.pdf", "**/*.docx"), min_length=1)
    """Which files of a folder belong to the store; a file that `paths` names always does."""
    exclude: tuple[str, ...] = ()
    """Files and folders of a folder that do not belong to it; one without a slash is left out at any depth."""
    chunk_size: int = Field(default=1000, ge=100, le=10_000)
    """Characters of one searchable piece, at most."""
    watch: bool = True
    """Whether changes are noticed at once; otherwise at the next `rescan`."""
    rescan: Wait | None = timedelta(minutes=10)
    """How often the folders are looked through, also for what went unnoticed; null: at start only."""
    max_file_size: Size = 20 << 20
    """Largest file that is read; larger ones are reported."""
    max_files: int = Field(default=10_000, ge=1)
    """Most files of the store; what is beyond is left out and reported."""

    def at(self, folder: Path) -> DocumentStoreConfig:
        """The same documents, relative paths taken from `folder` (absolute)."""
        return self.model_copy(update={"paths": tuple(folder / path.expanduser() for path in self.paths)})
