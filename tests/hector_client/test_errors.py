"""Errors: one class for each reason of the server, with all that it says."""

from __future__ import annotations

import re
import socket
import ssl
from pathlib import Path

import httpx2
import pytest

from app.domain import errors as server
from hector_client import errors
from hector_client._http import problem_of
from hector_client.errors import REASONS, HectorError, Refused, Unexpected, refusal


def drawn(path: str | None, *, cut: str = "") -> dict[str, set[str]]:
    """The reasons under each class of the tree on top of a module."""
    assert path is not None
    tree = Path(path).read_text(encoding="utf-8").split('"""')[1].replace(",\n" + cut, ", ")
    return {
        name: set(re.findall(r"\b[a-z]+(?:_[a-z]+)*\b", words))
        for name, words in re.findall(r"[├└]── (\w+) +(.*)", tree)
        if not re.search(r"[:;]", words)
    }


OTHER_NAMES = {"SessionOver": "SessionError"}
"""What programs of other session clients catch and print."""


def test_the_tree_is_that_of_the_server() -> None:
    ours = {kind.__name__: {reason for reason, one in REASONS.items() if one is kind} for kind in REASONS.values()}

    for name, reasons in drawn(server.__file__).items():
        assert reasons - ours[OTHER_NAMES.get(name, name)] == set(), name


def test_the_tree_on_top_of_the_module_is_true() -> None:
    indent = "    │                       "
    shown = {name: reasons for name, reasons in drawn(errors.__file__, cut=indent).items() if name != "Unexpected"}

    assert {reason: name for name, reasons in shown.items() for reason in reasons} == {
        reason: kind.__name__ for reason, kind in REASONS.items() if kind is not Unexpected
    }


def test_an_error_has_all_that_the_server_says() -> None:
    said = {"reason": "queue_full", "message": "Wait.", "details": {"queued": 16}, "request_id": "req_1"}

    error = refusal(429, {"error": said}, retry_after="2")

    assert (type(error), str(error), error.reason) == (errors.QuotaExceeded, "Wait.", "queue_full")
    assert (error.status, error.details, error.request_id, error.retry_after) == (429, {"queued": 16}, "req_1", 2.0)
    assert error.body == {"error": said}


def test_a_reason_of_a_later_version_is_a_refusal() -> None:
    assert type(refusal(409, {"error": {"reason": "too_cold"}})) is Refused


@pytest.mark.parametrize("body", [None, [], {"detail": "Not Found"}, {"error": "no"}])
def test_an_answer_of_another_server_is_unexpected(body: object) -> None:
    error = refusal(404, body)

    assert (type(error), error.reason, error.details, error.request_id) == (Unexpected, "unexpected", {}, None)


@pytest.mark.parametrize(
    ("status", "reason", "is_transient"),
    [(503, "shutting_down", True), (502, "llm_error", False), (502, None, True), (410, "session_terminated", False)],
)
def test_only_what_may_pass_is_tried_again(status: int, reason: str | None, is_transient: bool) -> None:
    error: HectorError = refusal(status, {"error": {"reason": reason}} if reason else None)

    assert error.is_transient is is_transient


def test_what_kept_a_connection_from_being_made_is_told_in_words() -> None:
    mismatch = ssl.SSLCertVerificationError(1, "certificate verify failed")
    mismatch.verify_message = "Hostname mismatch"
    causes = {
        socket.gaierror(-2, "Name or service not known"): "there is no host of that name",
        mismatch: "its certificate is not accepted (hostname mismatch)",
        ssl.SSLError(1, "wrong version number"): "it does not speak TLS; is its address one of http:?",
        ConnectionRefusedError(111, "x"): "connection refused",
    }

    for cause, words in causes.items():
        error = httpx2.ConnectError("x")
        error.__cause__ = cause
        assert problem_of(error) == words
