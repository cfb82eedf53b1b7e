"""The client of handles that were given none: one for the process, closed at its end. Written by hand."""

from __future__ import annotations

import atexit
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hector_client.sync.client import Client

_making = threading.Lock()
_clients: list[Client] = []


def default_client() -> Client:
    """Made from HECTOR_SERVER and HECTOR_TOKEN at the first call; threads share it."""
    from hector_client.sync.client import Client

    with _making:
        if not _clients:
            _clients.append(Client())
            atexit.register(_clients[0].close)
        return _clients[0]
