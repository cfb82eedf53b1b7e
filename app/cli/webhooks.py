"""hector webhooks: what webhooks are not told of yet; and have what was given up tried again."""

from __future__ import annotations

import time
from pathlib import Path

from app.cli.connection import read_config
from app.cli.failures import CommandFailed, ExitCode
from app.cli.run import complain, print_json
from app.cli.tables import moment, print_rows
from app.domain.clock import iso
from app.domain.errors import Unavailable
from app.storage.outbox import Delivery
from app.storage.undelivered import list_undelivered, redeliver

HEADINGS = ("id", "event", "session", "since", "attempts", "state", "address", "problem")


def webhooks(config: Path | None, *, failed: bool, again: bool, limit: int, as_json: bool) -> ExitCode:
    """2: the configuration is wrong; 3: the database does not answer."""
    try:
        url = read_config(config).config.storage.url
        if again:
            number = redeliver(url, now_ms=time.time_ns() // 1_000_000)
            if as_json:
                print_json({"redelivered": number})
            else:
                print(f"{number} event{'' if number == 1 else 's'} will be sent again")
            return ExitCode.OK
        found = list_undelivered(url, failed_only=failed, limit=limit)
    except CommandFailed as failure:
        complain(failure.message)
        return failure.code
    except Unavailable as error:
        complain(str(error))
        return ExitCode.UNREACHABLE
    if as_json:
        print_json({"deliveries": [_json(delivery) for delivery in found]})
    else:
        print_rows(HEADINGS, [_row(delivery) for delivery in found])
    return ExitCode.OK


def _state(delivery: Delivery) -> str:
    return "pending" if delivery.failed_ms is None else "failed"


def _row(delivery: Delivery) -> list[str]:
    return [
        delivery.delivery_id,
        delivery.kind,
        delivery.session_id,
        moment(iso(delivery.created_ms)),
        str(delivery.attempts),
        _state(delivery),
        delivery.url,
        delivery.problem or "",
    ]


def _json(delivery: Delivery) -> dict[str, object]:
    return {
        "id": delivery.delivery_id,
        "type": delivery.kind,
        "agent": delivery.agent,
        "session_id": delivery.session_id,
        "created_at": iso(delivery.created_ms),
        "attempts": delivery.attempts,
        "state": _state(delivery),
        "url": delivery.url,
        "problem": delivery.problem,
    }
