"""The `document_stores` section of a v1 file: a list or a map, with other words for what belongs to a store."""

from __future__ import annotations

from typing import Any

from app.config.document import Key
from app.config.v1.rewrite import Rewrite

_WITHOUT_EFFECT = (
    *("incremental_indexing", "chunk_overlap", "chunk_strategy", "extract_metadata", "metadata_languages"),
    *("max_concurrent_files", "show_progress", "verbose_progress", "enable_checkpoints", "quiet_mode"),
    *("collection", "embedder", "database"),
)


def rewrite_stores(file: Rewrite) -> None:
    if isinstance(file.get("document_stores"), list):
        _name_the_items(file)
    for agent in file.names("agents"):
        _lift_stores(file, ("agents", agent, "document_stores"))
    for name in file.names("document_stores"):
        at = ("document_stores", name)
        if not isinstance(file.get(*at), dict):
            continue
        if file.text(*at, "source") not in ("", "directory"):
            file.ignore(("document_stores",), (name,), "stores are folders of files; this one is left out")
            file.unlist(name, "document_stores", "names a store that is left out")
            continue
        if file.is_off(*at, "enabled"):
            file.drop(*at)
            file.unlist(name, "document_stores", "names a store that is switched off")
            continue
        for word in ("source", "name", "description", "enabled"):
            file.drop(*at, word)
        _rewrite_store(file, at)


def _name_the_items(file: Rewrite) -> None:
    """A list of stores with a `name` each becomes a map."""
    items = file.drop("document_stores")
    file.document.values["document_stores"] = {}
    for number, item in enumerate(items):
        at = ("document_stores", number)
        name = item.get("name") if isinstance(item, dict) else None
        if not name:
            file.problems.append((at, "needs a `name`; or write document_stores as names with their keys below"))
            continue
        if file.has("document_stores", str(name)):
            file.problems.append((at, f"{str(name)!r} stands twice"))
            continue
        file.put(("document_stores", str(name)), item, of=at)


def _lift_stores(file: Rewrite, at: Key) -> None:
    """A store described within an agent becomes one of all, which the agent names."""
    items = file.get(*at)
    for number, item in enumerate(items if isinstance(items, list) else ()):
        if isinstance(item, dict) and isinstance(item.get("name"), str):
            name = items[number] = item["name"]
            if not file.has("document_stores", name):
                file.put(("document_stores", name), item, of=(*at, number))
                file.note("is read as document_stores.<name>", (*at, number))


def _rewrite_store(file: Rewrite, at: Key) -> None:
    if isinstance(file.get(*at, "paths"), str):
        file.put((*at, "paths"), [file.get(*at, "paths")], of=(*at, "paths"))
    if file.has(*at, "path"):
        path = file.drop(*at, "path")
        file.put((*at, "paths"), path if isinstance(path, list) else [path], of=(*at, "path"))
    for word in ("include_patterns", "file_patterns"):
        if file.has(*at, word):
            patterns = [_anywhere(pattern) for pattern in _listed(file.drop(*at, word))]
            if patterns:
                file.put((*at, "patterns"), patterns, of=(*at, word))
                file.note("is read as document_stores.<name>.patterns", (*at, word))
    for word in ("exclude_patterns", "additional_exclude_patterns"):
        if file.has(*at, word):
            patterns = [*_listed(file.get(*at, "exclude")), *_listed(file.drop(*at, word))]
            file.put((*at, "exclude"), patterns, of=(*at, word))
            file.note("is read as document_stores.<name>.exclude", (*at, word))
    file.move((*at, "watch_changes"), (*at, "watch"), "is read as document_stores.<name>.watch")
    file.ignore(at, _WITHOUT_EFFECT, "ignored; files are read piece by piece, and again only when they change")


def _listed(value: Any) -> list[Any]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def _anywhere(pattern: Any) -> Any:
    """v1 compared a pattern without a folder with the name of a file, wherever it lay."""
    return f"**/{pattern}" if isinstance(pattern, str) and "/" not in pattern else pattern
