"""What keeps a model from being reached, in words."""

from __future__ import annotations

import socket
import ssl

import httpx2
import pytest

from app.config.llm import LLMConfig
from app.llm.build import build_llm
from app.llm.failures import Failures
from app.llm.openai_compatible import OpenAICompatible


def certificate_error() -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_message = "Hostname mismatch"
    return error


@pytest.mark.parametrize(
    ("cause", "words"),
    [
        (socket.gaierror(-2, "Name or service not known"), ": there is no host of that name"),
        (certificate_error(), ": its certificate is not accepted (hostname mismatch)"),
        (ssl.SSLError(1, "wrong version number"), ": it does not speak TLS as we do; is its address one of http:?"),
        (ConnectionRefusedError(111, "x"), ": nobody listens there"),
        (OSError(5, "x"), ""),
    ],
)
def test_what_kept_a_connection_from_being_made_is_told(cause: OSError, words: str) -> None:
    outer = httpx2.ConnectError("Cannot connect")
    outer.__cause__ = cause

    error = Failures("m", "https://api.example/v1").unreachable(outer)

    assert str(error) == f"The model 'm' at https://api.example/v1 cannot be reached{words}"


def test_an_ollama_that_does_not_run_is_asked_after() -> None:
    error = Failures("m", "http://localhost:11434/v1").unreachable(httpx2.ConnectError("x"))

    assert str(error).endswith("cannot be reached; is `ollama serve` running?")


@pytest.mark.parametrize(
    ("environ", "entry", "named"),
    [
        ({"OPENAI_API_KEY": "k"}, {"api_key": "k"}, "OPENAI_API_KEY"),
        ({"OPENAI_API_KEY": "k"}, {"api_key": "other"}, "llms.main.api_key"),
        ({}, {"api_key": "k"}, "llms.main.api_key"),
        ({}, {}, "OPENAI_API_KEY"),
    ],
)
def test_the_advice_about_a_key_names_where_it_came_from(
    environ: dict[str, str], entry: dict[str, str], named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)

    made = build_llm("main", LLMConfig.model_validate({"type": "openai", "model": "m", **entry}))

    assert isinstance(made, OpenAICompatible)
    assert made.settings.key_name == named
