"""What the environment says: `${NAME}` inside values, and `HECTOR_SECTION__KEY` as settings of their own."""

from __future__ import annotations

import re
from collections.abc import Mapping

from app.config.document import Key
from app.config.keys import SchemaKey, dotted, nearest, schema_keys

_PREFIX = "HECTOR_"
_SECTIONS = ("server", "storage", "events", "logging", "cluster", "redis")
_REFERENCE = re.compile(
    r"\$\$\{|\$\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?P<default>:-[^}]*)?\}|(?P<broken>\$\{[^}\n]*\}?)"
)

_BARE = re.compile(r"\$([A-Za-z_][A-Za-z0-9_]*)")
_SECRET = re.compile(r"KEY|SECRET|TOKEN|PASS|PWD|CREDENTIAL|AUTH", re.IGNORECASE)


def fill(text: str, environ: Mapping[str, str]) -> str:
    """`${NAME}` and `${NAME:-default}` (also for an empty NAME) replaced, `$${` becomes `${`.

    What is put in is never looked at again, so a value cannot smuggle in a reference.

    Raises:
        ValueError: NAME is not set, a `${` that is no reference, or `$NAME` as the whole text.
    """
    bare = _BARE.fullmatch(text)
    if bare is not None and (text.isupper() or bare[1] in environ):
        raise ValueError(f"write ${{{bare[1]}}}: a variable's name stands in braces")

    def replace(match: re.Match[str]) -> str:
        name, default = match["name"], match["default"]
        if match["broken"]:
            raise ValueError("'${' begins a reference such as ${NAME} or ${NAME:-default}; write $${ for itself")
        if name is None:
            return "${"
        if default is not None:
            return environ.get(name) or default.removeprefix(":-")
        if name not in environ:
            raise ValueError(f"environment variable {name} is not set; set it or write ${{{name}:-default}}")
        return environ[name]

    return _REFERENCE.sub(replace, text)


def may_be_shown(text: str) -> bool:
    """Whether what the references of a text hold may be quoted: no variable is named like a secret."""
    return not any(_SECRET.search(found["name"] or "") for found in _REFERENCE.finditer(text))


def settings(environ: Mapping[str, str]) -> tuple[dict[Key, tuple[str, str]], list[str]]:
    """Key → (variable, value) of each `HECTOR_SECTION__KEY` that is not empty; what is wrong with others."""
    found: dict[Key, tuple[str, str]] = {}
    problems: list[str] = []
    allowed = {tuple(key.parts): key for key in schema_keys() if key.parts[0] in _SECTIONS}
    for variable in sorted(environ):
        if not variable.startswith(_PREFIX) or "__" not in variable:
            continue
        path = tuple(variable.removeprefix(_PREFIX).lower().split("__"))
        key = allowed.get(path)
        if key is not None and key.is_scalar:
            if environ[variable]:
                found[path] = (variable, environ[variable])
        else:
            problems.append(f"{variable}: {_refusal(path, key, allowed)}")
    return found, problems


def _refusal(path: tuple[str, ...], key: SchemaKey | None, allowed: Mapping[tuple[str, ...], SchemaKey]) -> str:
    if key is not None:
        return f"{dotted(path)} is a list; write it in the file"
    if path[0] not in _SECTIONS:
        return f"the environment sets keys of {', '.join(_SECTIONS)} only"
    names = [known[-1] for known in allowed if known[0] == path[0]]
    return f"unknown key {dotted(path)}; {nearest(path[-1], names)}"
