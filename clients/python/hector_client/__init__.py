"""The Python client of Hector, an agent server.

    async with Client("http://localhost:8080") as client:
        async for event in client.agent("assistant").ask("Explain quantum computing"):
            print(event.chunk, end="", flush=True)

`hector_client.sync` has the same without `await`; `events` and `errors` have what is received and raised.
"""

from hector_client import errors, events, sync
from hector_client._async.agent import Agent
from hector_client._async.answer import Answer
from hector_client._async.calls import Calls
from hector_client._async.client import Client
from hector_client._async.memories import Memories
from hector_client._async.session import Session
from hector_client._http import TimeLimits, normalize_url
from hector_client._operations import Page
from hector_client.errors import HectorError, Refused, Unreachable
from hector_client.events import Event

__version__ = "0.1.0"
__all__ = [
    "Agent",
    "Answer",
    "Calls",
    "Client",
    "Event",
    "HectorError",
    "Memories",
    "Page",
    "Refused",
    "Session",
    "TimeLimits",
    "Unreachable",
    "errors",
    "events",
    "normalize_url",
    "sync",
]
