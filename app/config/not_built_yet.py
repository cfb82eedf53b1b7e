"""Keys that are known before what they switch on is built: accepted, with one warning at start.

Whoever builds a feature deletes its line here and the words "Not built yet" in its model and page.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pydantic import SecretStr

from app.config.document import Key
from app.config.root import Config
from app.config.section import Section

_OFF: tuple[object, ...] = (None, False, (), {}, SecretStr(""))


@dataclass(frozen=True, slots=True)
class Later:
    """A dotted key, and what happens instead; values in `same` ask for just that."""

    key: str
    instead: str
    same: tuple[object, ...] = _OFF

    @property
    def sentence(self) -> str:
        return f"not built yet; {self.instead}"


NOT_BUILT_YET = (Later("redis.url", "several servers follow each other by their database"),)


def find_unbuilt(said: Mapping[str, object], config: Config) -> Iterator[tuple[Later, list[Key]]]:
    """Each line of the table that somebody asked for, with the keys that do.

    `said` is what file, environment and flags say together: a default asks for nothing.
    """
    for later in NOT_BUILT_YET:
        places = _places(said, tuple(later.key.split(".")), ())
        asked = [key for key in places if _value(config, key) not in later.same]
        if asked:
            yield later, asked


def _places(said: object, pattern: tuple[str, ...], at: Key) -> Iterator[Key]:
    if not pattern:
        if said is not None:
            yield at
        return
    if not isinstance(said, Mapping):
        return
    if pattern[0] in said:
        yield from _places(said[pattern[0]], pattern[1:], (*at, pattern[0]))


def _value(config: Config, key: Key) -> object:
    value: object = config
    for part in key:
        if isinstance(value, Section):
            value = getattr(value, str(part))
        elif isinstance(value, Mapping):
            value = value[part]
    return value
