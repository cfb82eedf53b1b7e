"""The synchronous client: the asynchronous one, method for method, without `await`.

One thing differs: a `Session.disconnect` in another thread ends a `listen` with its next event or heartbeat.
"""

from hector_client.sync.agent import Agent
from hector_client.sync.answer import Answer
from hector_client.sync.calls import Calls
from hector_client.sync.client import Client
from hector_client.sync.memories import Memories
from hector_client.sync.session import Session

__all__ = ["Agent", "Answer", "Calls", "Client", "Memories", "Session"]
