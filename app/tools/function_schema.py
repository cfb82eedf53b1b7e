"""A Python function as a tool sees it: the JSON schema of its arguments, and how a call passes them."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NotRequired

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError, to_jsonable_python
from typing_extensions import TypedDict

from app.tools import docstrings
from app.tools.base import ToolContext
from app.tools.mistakes import cut

_Kind = inspect._ParameterKind


class HintError(ValueError):
    """The function cannot be called by a model; the message says which parameter is in the way."""


@dataclass(frozen=True, slots=True)
class FunctionSchema:
    """`parameters`: the JSON schema, an object. `context`: the parameter that gets the context."""

    parameters: dict[str, Any]
    context: str | None
    names: tuple[str, ...]
    by_position: frozenset[str]
    adapter: TypeAdapter[dict[str, Any]]

    def bind(self, arguments: Mapping[str, Any], context: ToolContext) -> tuple[list[Any], dict[str, Any]]:
        """The arguments as the hints want them, by position and by name.

        Raises:
            ValueError: they do not fit; the message is for the model.
        """
        try:
            values: dict[str, Any] = dict(self.adapter.validate_python(dict(arguments)))
        except ValidationError as exc:
            raise ValueError(_mistakes(exc)) from exc
        if self.context is not None:
            values[self.context] = context
        positional = [values.pop(name) for name in self.names if name in self.by_position and name in values]
        return positional, values


def schema_of(function: Callable[..., Any]) -> FunctionSchema:
    """Read a function's hints and docstring. A parameter `ctx`, or one hinted as ToolContext, is no argument.

    Raises:
        HintError: a hint cannot be resolved or has no JSON schema, or the function takes arguments without names.
    """
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError) as exc:
        raise HintError("its parameters cannot be read") from exc
    hints, context = _hints(function, signature)
    adapter = _adapter(function, signature, hints)
    by_position = {p.name for p in signature.parameters.values() if p.kind is _Kind.POSITIONAL_ONLY}
    schema = _json_schema(adapter, signature, docstrings.parameters(inspect.getdoc(function)))
    return FunctionSchema(schema, context, tuple(signature.parameters), frozenset(by_position), adapter)


def _hints(function: Callable[..., Any], signature: inspect.Signature) -> tuple[dict[str, Any], str | None]:
    """The hint of each argument, and the parameter that gets the context."""
    hints: dict[str, Any] = {}
    context: str | None = None
    for parameter in signature.parameters.values():
        if parameter.kind in (_Kind.VAR_POSITIONAL, _Kind.VAR_KEYWORD):
            raise HintError(f"`{parameter}` has no names that a model could be told; list the parameters")
        hint = ToolContext if parameter.name == "ctx" else _resolved(function, parameter)
        if hint is ToolContext or ToolContext in typing.get_args(hint):
            context = parameter.name
        else:
            hints[parameter.name] = hint
    return hints, context


def _resolved(function: Callable[..., Any], parameter: inspect.Parameter) -> Any:
    if parameter.annotation is parameter.empty:
        return Any
    names = getattr(inspect.unwrap(function), "__globals__", {})
    try:
        holder = type("Holder", (), {"__annotations__": {"hint": parameter.annotation}})
        return typing.get_type_hints(holder, globalns=names, include_extras=True)["hint"]
    except Exception as exc:  # a hint in quotes is any expression
        raise HintError(f"the hint of `{parameter.name}` cannot be resolved ({type(exc).__name__}: {exc})") from exc


def _adapter(
    function: Callable[..., Any], signature: inspect.Signature, hints: dict[str, Any]
) -> TypeAdapter[dict[str, Any]]:
    for name, hint in hints.items():
        try:
            TypeAdapter(hint).json_schema()
        except Exception as exc:  # pydantic's errors, and those of types that bring their own schema
            lines = cut(str(exc).partition("\n")[0], 200)
            raise HintError(f"the hint of `{name}` cannot be described to a model ({lines})") from exc
    fields = {
        name: hint if signature.parameters[name].default is inspect.Parameter.empty else NotRequired[hint]
        for name, hint in hints.items()
    }
    arguments = TypedDict(getattr(function, "__name__", "Arguments"), fields)  # type: ignore[misc]
    arguments.__pydantic_config__ = ConfigDict(extra="forbid")  # type: ignore[attr-defined]
    return TypeAdapter(arguments)  # type: ignore[arg-type]


def _json_schema(
    adapter: TypeAdapter[dict[str, Any]], signature: inspect.Signature, described: dict[str, str]
) -> dict[str, Any]:
    schema: dict[str, Any] = _untitled(adapter.json_schema())
    schema.setdefault("properties", {})
    for name, part in schema["properties"].items():
        if name in described and "description" not in part:
            part["description"] = described[name]
        default = signature.parameters[name].default
        if default is not inspect.Parameter.empty and "default" not in part:
            try:
                part["default"] = to_jsonable_python(default)
            except PydanticSerializationError:
                pass  # the function knows it
    return schema


def _untitled(schema: Any) -> Any:
    """The schema without the titles that pydantic makes of names: they cost tokens and say nothing."""
    if isinstance(schema, list):
        return [_untitled(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: part if key in ("default", "const", "enum", "examples") else _untitled(part)
        for key, part in schema.items()
        if not (key == "title" and isinstance(part, str))
    }


def _mistakes(error: ValidationError) -> str:
    found = error.errors(include_url=False, include_context=False, include_input=False)
    lines = [f"{'.'.join(map(str, each['loc'])) or 'the call'}: {each['msg']}" for each in found[:8]]
    return "The arguments do not fit: " + "; ".join(cut(line, 300) for line in lines)
