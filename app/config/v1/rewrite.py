"""Rewrite: a document whose keys are moved, dropped or refused, and that keeps the line of each of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from app.config.document import Document, Key
from app.config.variables import fill

_NO = ("false", "no", "off", "0")


class Rewrite:
    """`notes` are sentences to show once, each with the keys it is about; `problems` refuse the file."""

    def __init__(self, document: Document, environ: Mapping[str, str]) -> None:
        self.document = document
        self.notes: dict[str, list[Key]] = {}
        self.problems: list[tuple[Key, str]] = []
        self._environ = environ

    # -- looking --------------------------------------------------------------------------------------------------

    def get(self, *key: str | int) -> Any:
        """The value, or None where there is none."""
        place = self._holder(key)
        if isinstance(place, list):
            return place[int(key[-1])]
        return place.get(str(key[-1])) if place is not None else None

    def has(self, *key: str | int) -> bool:
        place = self._holder(key)
        return isinstance(place, list) or (place is not None and str(key[-1]) in place)

    def names(self, *key: str | int) -> list[str]:
        """The keys below a key, as they are now; none if its value has no keys."""
        value = self.get(*key) if key else self.document.values
        return [str(name) for name in value] if isinstance(value, dict) else []

    def text(self, *key: str | int) -> str:
        """The value as text with its references filled in, for a decision; `""` where there is none."""
        value = self.get(*key)
        if value is None or isinstance(value, dict | list):
            return ""
        try:
            return fill(str(value), self._environ).strip()
        except ValueError:
            return str(value)

    def is_off(self, *key: str | int) -> bool:
        """Whether the key is there and says no."""
        return self.text(*key).lower() in _NO

    # -- changing -------------------------------------------------------------------------------------------------

    def drop(self, *key: str | int) -> Any:
        """Remove a key without a word; its value."""
        place = self._holder(key)
        return place.pop(str(key[-1]), None) if isinstance(place, dict) else None

    def put(self, key: Key, value: Any, *, of: Key) -> None:
        """Write a value as if it had stood at `key`; problems with it name the line of `of`."""
        place = self.document.values
        for end, part in enumerate(key[:-1], 1):
            inner = place.get(str(part))
            if not isinstance(inner, dict):
                inner = place[str(part)] = {}
            self.document.lines.setdefault(key[:end], self._line(of))
            place = inner
        place[str(key[-1])] = value
        moved = {(*key, *at[len(of) :]): line for at, line in self.document.lines.items() if at[: len(of)] == of}
        self.document.lines.update(moved)
        self.document.lines.setdefault(key, self._line(of))

    def move(self, old: Key, new: Key, sentence: str | None) -> None:
        """Write what stands at `old` to `new`, if there is anything and nothing stands there yet."""
        if not self.has(*old):
            return
        value = self.drop(*old)
        if self.has(*new):
            self.note(f"ignored, because {'.'.join(map(str, new))} is there too", old)
            return
        if sentence is not None:
            self.note(sentence, old)
        self.put(new, value, of=old)

    def ignore(self, at: Key, names: Iterable[str], sentence: str) -> None:
        """Remove the keys of these names below `at`, and say once why they do nothing."""
        for name in names:
            if self.has(*at, name):
                self.drop(*at, name)
                self.note(sentence, (*at, name))

    def unlist(self, name: str, key: str, sentence: str) -> None:
        """Take a name out of the lists of all agents at `key`, and say why it does nothing."""
        for agent in self.names("agents"):
            listed = self.get("agents", agent, key)
            if isinstance(listed, list) and name in listed:
                listed.remove(name)
                self.note(sentence, ("agents", agent, key))

    def note(self, sentence: str, key: Key) -> None:
        self.notes.setdefault(sentence, []).append(key)

    def refuse(self, key: Key, sentence: str) -> None:
        self.drop(*key)
        self.problems.append((key, sentence))

    # -- inside ---------------------------------------------------------------------------------------------------

    def _holder(self, key: Key) -> Any:
        """The dictionary or list in which the last part of a key stands or would stand, else None."""
        place: Any = self.document.values
        for part in key[:-1]:
            if isinstance(place, list) and isinstance(part, int) and part < len(place):
                place = place[part]
            elif isinstance(place, dict):
                place = place.get(str(part))
            else:
                return None
        if isinstance(place, list):
            return place if isinstance(key[-1], int) and key[-1] < len(place) else None
        return place if isinstance(place, dict) else None

    def _line(self, key: Key) -> int:
        lines = self.document.lines
        return next((lines[key[:end]] for end in range(len(key), 0, -1) if key[:end] in lines), 1)
