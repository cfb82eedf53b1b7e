"""The tools of the support agent: a shop with two orders, and a book of payments.

Their hints and docstrings are what the model is told. `ctx` is not told: it is what the call knows and can say.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from app.tools.base import ToolContext, ToolFailed

ORDERS = {"A-17": {"item": "a lamp", "paid": 39.0}, "A-18": {"item": "a chair", "paid": 120.0}}
BOOK = Path(__file__).parent / "data" / "payments.jsonl"


def find_order(number: str) -> dict[str, Any]:
    """Look an order up.

    Args:
        number: The order's number, such as A-17.
    """
    if number not in ORDERS:
        raise ToolFailed(f"There is no order {number}. The orders are {', '.join(ORDERS)}.")
    return {"number": number, **ORDERS[number]}


def pay(order: str, amount: float, ctx: ToolContext) -> dict[str, Any]:
    """Pay money back to a customer.

    Args:
        order: The order's number.
        amount: How much, in euros.
    """
    ctx.progress(f"Paying {amount:.2f} for {order}\n")
    payment = {"key": ctx.idempotency_key, "order": order, "amount": amount}
    with BOOK.open("a", encoding="utf-8") as book:
        book.write(json.dumps(payment) + "\n")
    return {"order": order, "paid_back": amount}


def find_payment(key: str) -> dict[str, Any] | None:
    """What came of the call with this key, `None` if nothing was paid. Asked after a crash, instead of a person."""
    payments = [json.loads(line) for line in BOOK.read_text(encoding="utf-8").splitlines()] if BOOK.exists() else []
    found = next((payment for payment in payments if payment["key"] == key), None)
    return {"order": found["order"], "paid_back": found["amount"]} if found else None


pay.probe = find_payment  # type: ignore[attr-defined]
