"""Find the file, fill in the environment, lay flags over it, validate; or say all that is wrong.

Flags beat `HECTOR_SECTION__KEY`, which beats the file, which beats the models' defaults.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from app.config.address import ollama_address, without_password
from app.config.document import Document, DocumentError, Key, read_document
from app.config.dotenv import read_dotenv
from app.config.explain import explain
from app.config.keys import dotted
from app.config.llm import HOST_VARIABLES, KEY_VARIABLES, EmbedderConfig, LLMConfig
from app.config.prune import lacks_a_section, prune
from app.config.root import Config
from app.config.server import STRONG_KEY, weak_keys
from app.config.v1.sections import rewrite
from app.config.variables import fill, settings

_FLAGS = "command line"

Check = Callable[[Config], Iterable[tuple[Key, str]]]
"""A further look at a configuration with absolute paths: key and sentence of each problem."""


class ConfigError(Exception):
    """The configuration cannot be used. One line a problem: file, line, dotted key, what to do."""

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


@dataclass(frozen=True, slots=True)
class LoadedConfig:
    """`path` is None when no file was read. `warnings` are sentences to show once, at start; `lines` has the line of
    each key of the file."""

    config: Config
    path: Path | None
    warnings: tuple[str, ...] = ()
    lines: Mapping[Key, int] = field(default_factory=dict)

    def where(self, key: Key) -> str:
        """File, line and dotted key of what stands there."""
        line = self.lines.get(key)
        place = "" if self.path is None else f"{self.path}:{line}: " if line else f"{self.path}: "
        return place + dotted(key)


def load_config(
    path: Path | None,
    *,
    environ: Mapping[str, str],
    overrides: Mapping[str, object] | None = None,
    cwd: Path | None = None,
    instead: Mapping[str, Any] | None = None,
    checks: Iterable[Check] = (),
) -> LoadedConfig:
    """The configuration of `path`; without a file `instead`, else the one agent `assistant` on the embedded model.

    `overrides` are flags: dotted keys, None meaning that the flag was not given.
    Relative paths start at the file's folder, without a file at `cwd` (default: the working directory).
    `checks` are rooms that know more of the configuration than its models do.

    Raises:
        ConfigError: with every problem that could be found.
    """
    flags = {key: value for key, value in (overrides or {}).items() if value is not None}
    folder = path.absolute().parent if path is not None else (cwd or Path.cwd()).absolute()
    environ = {**read_dotenv(folder), **environ}
    document = _read(path) if path is not None else Document(_copy(instead or {}))
    draft = _Draft(document, str(path) if path is not None else "defaults")
    draft.read_other_dialect(environ)
    draft.lay_environment(environ)
    draft.lay_flags(flags)
    draft.fill(environ)
    config = draft.validate(lambda config: config.at(folder, path), checks)
    return LoadedConfig(config, path, draft.warnings(config), document.lines)


def _read(path: Path) -> Document:
    try:
        return read_document(path.read_bytes().decode("utf-8-sig"))
    except OSError as error:
        if path.is_symlink() and not path.exists():
            raise ConfigError(f"{path}: is a link to a file that does not exist") from None
        raise ConfigError(f"{path}: {(error.strerror or 'cannot be read').lower()}") from None
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{path}:{line}: not UTF-8 text") from None
    except DocumentError as error:
        raise ConfigError(*(f"{path}:{line}: {sentence}" for line, sentence in error.found)) from None


@dataclass(slots=True)
class _Draft:
    """The configuration while it is put together. `origins` tells who said a key, if not the file."""

    document: Document
    source: str
    values: dict[str, Any] = field(init=False)
    origins: dict[Key, str] = field(default_factory=dict)
    problems: list[tuple[int, str]] = field(default_factory=list)
    unfilled: set[Key] = field(default_factory=set)
    notes: Mapping[str, list[Key]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.values = _copy(self.document.values)

    def read_other_dialect(self, environ: Mapping[str, str]) -> None:
        """Move what files of v1 call otherwise to where it belongs."""
        found = rewrite(self.document, environ)
        self.values, self.notes = _copy(self.document.values), found.notes
        for key, sentence in found.problems:
            self._add(key, sentence)

    def lay_environment(self, environ: Mapping[str, str]) -> None:
        found, problems = settings(environ)
        self.problems += [(0, problem) for problem in problems]
        for key, (variable, value) in found.items():
            self._lay(key, value, variable)

    def lay_flags(self, flags: Mapping[str, object]) -> None:
        for name, value in flags.items():
            self._lay(tuple(name.split(".")), value, _FLAGS)

    def fill(self, environ: Mapping[str, str]) -> None:
        """References in what the file says; keys and hosts of providers that the file leaves to the environment."""
        self.values = self._fill(self.values, (), environ)
        for section in ("llms", "embedders"):
            entries = self.values.get(section)
            for name, entry in entries.items() if isinstance(entries, dict) else ():
                if isinstance(entry, dict):
                    self._fill_provider((section, name), entry, environ)

    def _fill_provider(self, at: Key, entry: dict[str, Any], environ: Mapping[str, str]) -> None:
        kind = str(entry.get("type"))
        variable = KEY_VARIABLES.get(kind)
        if variable is not None and variable in environ and entry.get("api_key") is None:
            entry["api_key"] = environ[variable]
        # A key in the environment is for the host in the environment: it must not go to the provider's own.
        variable = HOST_VARIABLES.get(kind)
        if variable is not None and environ.get(variable, "").strip() and entry.get("host") is None:
            entry["host"] = ollama_address(environ[variable]) if kind == "ollama" else environ[variable].strip()
            self.origins[(*at, "host")] = variable

    def validate(self, place: Callable[[Config], Config], checks: Iterable[Check]) -> Config:
        """What the values mean, its paths made absolute by `place`. Raises ConfigError."""
        config, values = None, self.values
        told = set(self.unfilled)
        pruned: set[Key] = set()
        while True:
            try:
                config = place(Config.model_validate(values))
                break
            except ValidationError as error:
                found = list(explain(error, self.document.values, self.values))
            if any(key[0] in ("server", "auth") for key in told):
                told.add(("server", "host"))  # whether it is safe cannot be said without what was broken
            for key, sentence in found:
                if key not in told:
                    self._add(key, sentence)
            # Sections are compared with each other only when each is right by itself: look at what is left.
            broken = {key for key, _ in found}
            told |= broken
            if broken <= pruned or lacks_a_section(broken):
                break
            pruned |= broken
            values = prune(values, broken)
        found = [] if config is None else [problem for check in checks for problem in check(config)]
        for key, sentence in found:
            if key not in told:
                self._add(key, sentence)
        if config is None or self.problems:
            raise ConfigError(*(problem for _, problem in sorted(set(self.problems))))
        return config

    def warnings(self, config: Config) -> tuple[str, ...]:
        moved = (
            f"{self._where(keys[0])}: {', '.join(map(dotted, keys))}: {sentence}"
            for sentence, keys in sorted(self.notes.items(), key=lambda note: self._line(note[1][0]))
        )
        return (*moved, *self._read_addresses(config), *self._weak_keys(config))

    def _weak_keys(self, config: Config) -> Iterator[str]:
        for name in weak_keys(config.auth):
            key = ("auth", "keys", name)
            yield (
                f"{self._where(key)}: {dotted(key)}: has fewer than {STRONG_KEY} characters and can be guessed;"
                " make one with: openssl rand -hex 24"
            )

    def _read_addresses(self, config: Config) -> Iterator[str]:
        """Says which `host` was taken for another address than the one written."""
        sections: tuple[tuple[str, Mapping[str, LLMConfig | EmbedderConfig]], ...] = (
            ("llms", config.llms),
            ("embedders", config.embedders),
        )
        for section, entries in sections:
            for name, entry in entries.items():
                written = (self.values.get(section) or {}).get(name)
                host = written.get("host") if isinstance(written, dict) else None
                if (section, name, "host") in self.origins:
                    continue
                if isinstance(host, str) and entry.host is not None and host.rstrip("/") != entry.host:
                    key = (section, name, "host")
                    was, now = without_password(host), without_password(entry.host)
                    yield f"{self._where(key)}: {dotted(key)}: {was!r} is read as {now!r}"

    def _lay(self, key: Key, value: object, origin: str) -> None:
        place = self.values
        for part in key[:-1]:
            if place.get(str(part)) is None:
                place[str(part)] = {}
            place = place[str(part)]
            if not isinstance(place, dict):
                return  # the file has a value where keys belong; validation tells where
        place[str(key[-1])] = value
        self.origins[key] = origin

    def _fill(self, value: Any, at: Key, environ: Mapping[str, str]) -> Any:
        if isinstance(value, dict):
            return {name: self._fill(item, (*at, name), environ) for name, item in value.items()}
        if isinstance(value, list):
            return [self._fill(item, (*at, number), environ) for number, item in enumerate(value)]
        if not isinstance(value, str) or at in self.origins:
            return value
        try:
            return fill(value, environ)
        except ValueError as error:
            self.unfilled.add(at)
            self._add(at, str(error))
            return value

    def _add(self, key: Key, sentence: str) -> None:
        line = 0 if key in self.origins else self._line(key)
        self.problems.append((line, f"{self._where(key)}: {dotted(key)}: {sentence}"))

    def _where(self, key: Key) -> str:
        if key in self.origins:
            return self.origins[key]
        line = self._line(key)
        return f"{self.source}:{line}" if line else self.source

    def _line(self, key: Key) -> int:
        """Of the key itself, or of the nearest thing around it that stands in the file; else 0."""
        lines = self.document.lines
        return next((lines[key[:end]] for end in range(len(key), 0, -1) if key[:end] in lines), 0)


def _copy(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _copy(item) for name, item in value.items()}
    return [_copy(item) for item in value] if isinstance(value, list) else value
