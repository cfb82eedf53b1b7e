"""What `hector doctor` finds: one line for each thing it looked at, and what to do about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from app.observability.neutral import clean


class Verdict(StrEnum):
    OK = "ok"
    WARN = "warn"
    """It works, and will give trouble under load or one day."""
    FAIL = "fail"
    """It does not work."""
    SKIP = "skip"
    """It was not looked at; the sentence says why."""


@dataclass(frozen=True, slots=True)
class Finding:
    """`subject`: what was looked at, such as `database`; `advice`: lines to do, or to copy into a file."""

    verdict: Verdict
    subject: str
    sentence: str
    advice: Sequence[str] = ()

    def to_json(self) -> dict[str, Any]:
        found = {"verdict": self.verdict.value, "subject": self.subject, "sentence": self.sentence}
        return found | {"advice": list(self.advice)}


def ok(subject: str, sentence: str) -> Finding:
    return Finding(Verdict.OK, subject, sentence)


def warn(subject: str, sentence: str, *advice: str) -> Finding:
    return Finding(Verdict.WARN, subject, sentence, advice)


def fail(subject: str, sentence: str, *advice: str) -> Finding:
    return Finding(Verdict.FAIL, subject, sentence, advice)


def skip(subject: str, sentence: str) -> Finding:
    return Finding(Verdict.SKIP, subject, sentence)


def print_finding(finding: Finding) -> None:
    print(f"{finding.verdict.value:<5} {finding.subject}: {clean(finding.sentence)}", flush=True)
    for line in finding.advice:
        print(f"      {clean(line)}")
