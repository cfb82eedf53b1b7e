"""JSON schemas that strangers wrote, ready for use. How values are checked with them is told in `validation`."""

from __future__ import annotations

import functools
import logging
from types import ModuleType
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from jsonschema.exceptions import ValidationError

log = logging.getLogger(__name__)


def load_validation() -> ModuleType:
    """Imported with the first schema: jsonschema takes 25 ms, and a server without tools may never use it."""
    from app.tools import validation

    return validation


class Schema:
    """One schema, ready for use. What it cannot check is accepted; `problem` says why it once could not."""

    def __init__(self, schema: dict[str, Any]) -> None:
        self.problem: str | None = None
        self._validator: Any = None
        try:
            self._validator = load_validation().validator_of(schema)
        except Exception as exc:  # whatever a stranger's schema provokes in the library
            self._tell(exc)

    def find_errors(self, value: object, *, cost: int = 0) -> list[ValidationError]:
        """What is wrong with a value, at most 50. `cost`: steps that one error counts, for large values."""
        if self._validator is None:
            return []
        try:
            found: list[ValidationError] = load_validation().find_errors(self._validator, value, cost=cost)
            return found
        except Exception as exc:
            self._tell(exc)
            return []

    def _tell(self, exc: Exception) -> None:
        if self.problem is None:
            self.problem = load_validation().in_words(exc)
            log.warning("a JSON schema cannot be used, what a model writes is passed on unchecked: %s", self.problem)


def find_problem(schema: dict[str, Any]) -> str | None:
    """Why this is no schema that values can be checked with; `None` if it is one."""
    try:
        load_validation().validator_of(schema)
    except Exception as exc:  # whatever a stranger's schema provokes in the library
        return str(load_validation().in_words(exc))
    return None


def compiled(schema: dict[str, Any]) -> Schema:
    """The schema, ready for use; kept for the next time."""
    try:
        return _compiled(orjson.dumps(schema))
    except TypeError:  # nested deeper than a document can be, or no JSON
        return _compiled(b'{"type": "the schema is no JSON"}')


@functools.lru_cache(maxsize=512)
def _compiled(document: bytes) -> Schema:
    return Schema(orjson.loads(document))
