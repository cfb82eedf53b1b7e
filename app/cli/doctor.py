"""hector doctor: looks at everything that a server depends on, and says what to do about what is wrong."""

from __future__ import annotations

from collections.abc import AsyncIterator

from app.cli.connection import Target, read_config
from app.cli.failures import CommandFailed, ExitCode
from app.cli.findings import Finding, Verdict, fail, print_finding
from app.cli.machine import look_at_config, look_at_database, look_at_disk, look_at_limits, look_at_models
from app.cli.run import complain, print_json
from app.cli.streams import look_at_streams


async def doctor(target: Target, *, url: str | None, as_json: bool) -> ExitCode:
    """1: something does not work; 2: the configuration is wrong, and nothing else was looked at."""
    findings = []
    async for finding in _examine(target, url, quietly=as_json):
        findings.append(finding)
        if not as_json:
            print_finding(finding)
    if as_json:
        print_json({"ok": not _failed(findings), "findings": [finding.to_json() for finding in findings]})
    if not _failed(findings):
        return ExitCode.OK
    return ExitCode.USAGE if findings[0].verdict is Verdict.FAIL else ExitCode.TURN_FAILED


async def _examine(target: Target, url: str | None, *, quietly: bool) -> AsyncIterator[Finding]:
    try:
        loaded = read_config(target.config, tries_tools=True)
    except CommandFailed as failure:
        for problem in failure.message.splitlines():
            yield fail("config", problem)
        return
    config = loaded.config
    local = [*look_at_config(loaded), *look_at_database(config), *look_at_disk(config), *look_at_limits()]
    for finding in [*local, *await look_at_models(config)]:
        yield finding
    if not quietly:
        complain(f"watching streams, for {config.server.heartbeat.total_seconds() + 2:.0f} s …")
    for finding in await look_at_streams(target, config, url):
        yield finding


def _failed(findings: list[Finding]) -> bool:
    return any(finding.verdict is Verdict.FAIL for finding in findings)
