"""What `hector doctor` looks at without a server: configuration, database, clock, disk, limits and models."""

from __future__ import annotations

import asyncio
import os
import resource
import shutil
from collections.abc import Iterable
from pathlib import Path

from app.cli.findings import Finding, fail, ok, skip, warn
from app.cli.inspect import missing_of_llm
from app.config.load import LoadedConfig
from app.config.root import Config
from app.config.server import without_password
from app.config.units import format_size
from app.domain.errors import Unavailable
from app.llm.base import LLMError
from app.llm.build import build_llm
from app.llm.openai_compatible import OpenAICompatible
from app.storage.engine import health

CLOCK_SECONDS = 2.0
"""A clock that differs by more is worth a word: tokens and tickets end by it, leases of several servers do not."""
LEAST_FREE = 1 << 30
"""Free bytes on the disk of a SQLite database, below which there is a warning."""
FULL = 100 << 20
"""Free bytes below which nothing may be written soon."""
FEW_FILES = 4096
"""Open files below which there is a warning: every connection is one."""
SLOW_SECONDS = 0.05
"""A database that takes longer for SELECT 1 is felt in every message, which waits for its commit."""
MODEL_SECONDS = 10.0


def look_at_config(loaded: LoadedConfig) -> list[Finding]:
    place = str(loaded.path) if loaded.path is not None else "no file; what is served is chosen by the environment"
    return [ok("config", place), *[warn("config", sentence) for sentence in loaded.warnings]]


def look_at_database(config: Config) -> list[Finding]:
    url = config.storage.url
    shown = without_password(url)
    try:
        found = health.look(url)
    except Unavailable as error:
        return [fail("database", str(error))]
    if found is None:
        return [ok("database", f"{shown}: not there yet; the first start makes it")]
    if found.revision is None:
        state = ok("database", f"{shown}: empty; the first start fills it")
    elif found.revision != found.newest:
        advice = (
            "hector migrate" if config.storage.migrate == "check" else "the next start migrates it: back it up first"
        )
        state = warn("database", f"{shown}: schema {found.revision}, and this release's is {found.newest}", advice)
    elif found.answer_seconds > SLOW_SECONDS:
        state = warn("database", f"{shown}: needs {found.answer_seconds * 1000:.0f} ms for the shortest query")
    else:
        state = ok("database", f"{shown}: schema {found.revision}, {found.answer_seconds * 1000:.1f} ms a query")
    return [state, _clock_of(found, config), *_connections_of(found, config)]


def _clock_of(found: health.Health, config: Config) -> Finding:
    ahead, unsure = found.ahead_seconds, found.unsure_seconds
    if abs(ahead) <= CLOCK_SECONDS + unsure:
        return ok(
            "clock", f"{abs(ahead):.2f} s from the database's" if config.storage.is_postgres else "not behind the data"
        )
    if not config.storage.is_postgres:
        return warn("clock", f"the newest session is {ahead:.0f} s in the future: the clock was set back")
    way = "behind" if ahead > 0 else "ahead of"
    return warn("clock", f"{abs(ahead):.1f} s {way} the database's", "timedatectl set-ntp true   # on both machines")


def _connections_of(found: health.Health, config: Config) -> Iterable[Finding]:
    if found.free_connections is None:
        return
    needed = (config.storage.pool_size + 4) * config.server.workers  # the writer, the lock, and two of a cluster
    if found.free_connections < needed:
        sentence = f"{found.free_connections} connections are free at PostgreSQL, and a server may open {needed}"
        yield warn("database", sentence, "raise max_connections, or lower storage.pool_size")


def look_at_disk(config: Config) -> list[Finding]:
    if config.storage.is_postgres:
        return [skip("disk", "the data are at PostgreSQL, whose disk is not seen from here")]
    folder = _first_that_exists(config.storage.path.parent)
    if not os.access(folder, os.W_OK):
        return [fail("disk", f"{folder} cannot be written by this user")]
    return [judge_disk(config, shutil.disk_usage(folder).free)]


def judge_disk(config: Config, free: int) -> Finding:
    """`free`: bytes where the SQLite database is."""
    path = config.storage.path
    size = path.stat().st_size if path.exists() else 0
    sentence = f"{format_size(_rounded(free))} free for {path}"
    if free < FULL:
        return fail("disk", sentence, "without room the server refuses messages (503 storage_unavailable)")
    if free < LEAST_FREE:
        return warn("disk", sentence)
    if free < size:
        return warn("disk", f"{sentence}, less than its size: forgetting writes the file anew")
    return ok("disk", sentence)


def look_at_limits() -> list[Finding]:
    """Of this shell: a service has those of its unit."""
    return judge_files(resource.getrlimit(resource.RLIMIT_NOFILE)[1])


def judge_files(hard: int) -> list[Finding]:
    """`hard`: most open files that a process may allow itself, as a server does at its start."""
    if hard == resource.RLIM_INFINITY or hard >= FEW_FILES:
        return [ok("limits", f"{'any number of' if hard == resource.RLIM_INFINITY else hard} open files (hard limit)")]
    return [
        warn(
            "limits",
            f"at most {hard} open files, and every connection is one",
            "LimitNOFILE=65536           # systemd, in [Service]",
            "--ulimit nofile=65536:65536 # docker run",
            "ulimit -Hn 65536            # a shell",
        )
    ]


async def look_at_models(config: Config) -> list[Finding]:
    """Every model that an agent uses, all at once."""
    used = sorted({agent.llm for agent in config.agents.values()})
    return list(await asyncio.gather(*[_look_at_model(name, config) for name in used]))


async def _look_at_model(name: str, config: Config) -> Finding:
    subject, llm = f"model {name}", config.llms[name]
    missing = missing_of_llm(name, config)
    if missing is not None:
        return fail(subject, missing)
    try:
        built = build_llm(name, llm)
    except Unavailable as error:
        return fail(subject, str(error))
    try:
        if not isinstance(built, OpenAICompatible) or llm.type == "local":
            return ok(subject, f"{llm.type}, in this server")
        status, found = await built.ask_models(MODEL_SECONDS)
    except LLMError as error:
        return fail(subject, str(error))
    finally:
        await built.close()
    return _judge(subject, built, status, found)


def _judge(subject: str, llm: OpenAICompatible, status: int, found: object) -> Finding:
    host = llm.settings.base_url
    if status in (401, 403):
        return fail(subject, f"{host} refuses the key ({status}); set {llm.failures.key_name or 'api_key'}")
    if status >= 500 or status == 429:
        return warn(subject, f"{host} answers {status}")
    if status != 200:
        return ok(subject, f"{host} answers; it has no list of models ({status}), so the key was not tried")
    names = _names(found)
    if names and not any(_is_same(name, llm.model) for name in names):
        return warn(subject, f"{host} has no model {llm.model!r} in its list", f"it has: {', '.join(names[:8])}")
    return ok(subject, f"{llm.model} at {host}")


def _names(found: object) -> list[str]:
    entries = found.get("data") if isinstance(found, dict) else found
    named = [entry.get("id") for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []
    return [name for name in named if isinstance(name, str)]


def _is_same(listed: str, model: str) -> bool:
    """Providers list `models/gemini-…` and `llama3.2:latest`."""
    return listed == model or listed.endswith(f"/{model}") or listed.startswith(f"{model}:")


def _first_that_exists(folder: Path) -> Path:
    return next(place for place in (folder, *folder.parents) if place.exists())


def _rounded(size: int) -> int:
    """For people: whole MiB, from ten GiB on whole GiB."""
    unit = 1 << 30 if size >= 10 << 30 else 1 << 20
    return size // unit * unit
