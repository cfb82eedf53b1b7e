"""Finding a function by its name in the configuration: `module:function`, beside the file or on PYTHONPATH."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from app.tools.mistakes import cut

_REFERENCE = re.compile(r"(?P<module>[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*):(?P<function>[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)")


class ToolLoadError(Exception):
    """A tool of the configuration cannot be made; the message is one sentence with the tool and what is wrong."""


def import_function(reference: str, folder: Path) -> Callable[..., Any]:
    """The function that `module:function` names. `folder` is put at the end of the import path, for good.

    Raises:
        ToolLoadError: it is not there, its module fails, or the module's name belongs to another one.
    """
    match = _REFERENCE.fullmatch(reference)
    if match is None:
        raise ToolLoadError(f"{reference!r} does not name a function; write `module:function`.")
    module = _import(match["module"], folder.resolve())
    found: Any = module
    for name in match["function"].split("."):
        try:
            found = getattr(found, name)
        except AttributeError:
            raise ToolLoadError(f"{_place(module)} has no {match['function']!r}.") from None
    if not callable(found):
        raise ToolLoadError(f"{match['function']!r} in {_place(module)} is no function, but {_kind(found)}.")
    function: Callable[..., Any] = found
    return function


def _import(name: str, folder: Path) -> Any:
    beside = _file_beside(name, folder)
    if str(folder) not in sys.path:
        sys.path.append(str(folder))  # last: a file beside the configuration hides no library
    importlib.invalidate_caches()
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as exc:
        if exc.name is not None and (name == exc.name or name.startswith(f"{exc.name}.")):
            raise ToolLoadError(f"There is no module {name!r} in {folder} or on PYTHONPATH.") from exc
        raise ToolLoadError(f"{name!r} needs the module {exc.name!r}, which is not installed.") from exc
    except (Exception, SystemExit) as exc:  # whatever the module does when it is imported
        where = beside or name
        raise ToolLoadError(f"{where} cannot be imported ({type(exc).__name__}: {cut(str(exc), 300)}).") from exc
    if beside is not None and not _is_from(module, beside):
        raise ToolLoadError(f"{beside} cannot be imported, because {_place(module)} has the same name: rename it.")
    return module


def _file_beside(name: str, folder: Path) -> Path | None:
    path = folder.joinpath(*name.split("."))
    return next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()), None)


def _is_from(module: Any, file: Path) -> bool:
    found = getattr(module, "__file__", None)
    return found is not None and Path(found).resolve() == file.resolve()


def _place(module: Any) -> str:
    return getattr(module, "__file__", None) or f"the module {module.__name__!r}"


def _kind(value: object) -> str:
    return f"a value of type {type(value).__name__!r}"
