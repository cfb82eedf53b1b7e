"""Section: what every part of the configuration has in common."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

from pydantic import BaseModel, ConfigDict, model_validator
from pydantic.fields import FieldInfo


class Section(BaseModel):
    """Frozen, refuses unknown keys, keeps what was typed out of its errors.

    What stands below a field is its meaning, for readers and for the page (tests/test_docs.py); pydantic is not asked
    to take it in, for which it parses the source of each section at every start (35 ms).

    A key without a value (`agents:` above lines that are commented out) is as if absent, unless
    its field may be null.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        hide_input_in_errors=True,
        allow_inf_nan=False,
    )

    @model_validator(mode="before")
    @classmethod
    def _drop_empty(cls, value: object) -> object:
        if value is None:
            return {}
        if not isinstance(value, Mapping):
            return value
        return {key: item for key, item in value.items() if item is not None or cls._keeps_null(key)}

    @classmethod
    def _keeps_null(cls, key: Any) -> bool:
        field = cls.known_keys().get(key)
        return field is None or type(None) in get_args(field.annotation)

    @classmethod
    def known_keys(cls) -> Mapping[str, FieldInfo]:
        """Its fields as the file calls them."""
        return {field.alias or name: field for name, field in cls.model_fields.items()}


class Problems(ValueError):
    """What several keys together got wrong, raised by a cross-check: one sentence for each key."""

    def __init__(self, found: Mapping[tuple[str | int, ...], str]) -> None:
        super().__init__("; ".join(found.values()))
        self.found = dict(found)
