"""hector keys create, list and revoke: keys of a running server."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from app.cli.connection import Target, connect
from app.cli.failures import CommandFailed, ExitCode
from app.cli.run import complain, print_json
from app.cli.tables import ago, print_rows

HEADINGS = ("key", "name", "scopes", "agents", "status", "made", "expires", "last used")


async def create(
    target: Target,
    name: str,
    *,
    scopes: str | None,
    agents: str | None,
    expires: str | None,
    rotate: bool,
    as_json: bool,
) -> ExitCode:
    """Print the secret alone on standard output, so that it can go into a variable or a file."""
    async with connect(target, needs_server=True) as client:
        key = await client.create_key(
            name, scopes=_words(scopes), agents=_words(agents), expires=expires, rotate=rotate or None
        )
    if as_json:
        print_json(key)
        return ExitCode.OK
    until = f", until {key['expires_at']}" if key["expires_at"] else ""
    complain(f"{key['key_id']} for {key['name']} ({', '.join(key['scopes'])}{until}); its secret is shown this once:")
    print(key["key"])
    return ExitCode.OK


async def list_(target: Target, *, everything: bool, as_json: bool) -> ExitCode:
    """Those that are good; `everything`: also revoked and expired ones."""
    async with connect(target, needs_server=True) as client:
        keys = [key for key in await client.keys() if everything or key["status"] == "active"]
    if as_json:
        print_json({"keys": keys})
    elif keys:
        print_rows(HEADINGS, [_row(key) for key in keys])
    else:
        print("no keys were made")
    return ExitCode.OK


async def revoke(target: Target, key: str, *, as_json: bool) -> ExitCode:
    """`key`: an id, or a name that has one key."""
    async with connect(target, needs_server=True) as client:
        key_id = key if key.startswith("key_") else _only(key, await client.keys())
        revoked = await client.revoke_key(key_id)
    print_json(revoked) if as_json else print(f"revoked {revoked['key_id']} of {revoked['name']}")
    return ExitCode.OK


def _only(name: str, keys: Sequence[dict[str, Any]]) -> str:
    found = [str(key["key_id"]) for key in keys if key["name"] == name and key["status"] == "active"]
    if len(found) == 1:
        return found[0]
    sentence = f"The name {name!r} has {len(found)} keys; say which: {', '.join(found)}"
    if not found:
        sentence = f"There is no key {name!r} that could be revoked; `hector keys list` shows those that were made"
    raise CommandFailed(sentence, code=ExitCode.NOT_FOUND if not found else ExitCode.USAGE, reason="key_not_found")


def _words(given: str | None) -> list[str] | None:
    return None if given is None else [word.strip() for word in given.split(",") if word.strip()]


def _row(key: dict[str, Any]) -> list[str]:
    return [
        key["key_id"],
        key["name"],
        " ".join(key["scopes"]),
        "all" if key["agents"] is None else " ".join(key["agents"]),
        key["status"],
        ago(key["created_at"]),
        key["expires_at"] or "never",
        ago(key["last_used_at"]) if key["last_used_at"] else "never",
    ]
