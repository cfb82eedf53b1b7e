"""Label: where a text comes from, and whether it may be seen by others."""

from __future__ import annotations

from typing import Literal

Trust = Literal["owner", "user", "tool", "web"]
"""Who wrote it: who runs the server, the user, a place that the configuration names, anybody."""
Secrecy = Literal["public", "private"]
Reach = Literal["none", "fixed", "open"]
"""How far a tool reads or sends: nowhere, to places that the configuration names, anywhere."""

_UNTRUSTED: dict[Trust, int] = {"owner": 0, "user": 1, "tool": 2, "web": 3}


def least_trusted(first: Trust, *others: Trust) -> Trust:
    """The label of a text that was made of texts with these labels."""
    return max((first, *others), key=_UNTRUSTED.__getitem__)
