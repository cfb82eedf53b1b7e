# Written by make_sync.py: change _async/client.py instead.
"""A server, as a client sees it."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Self

import httpx2

from hector_client import _operations as operations
from hector_client._following import Patience
from hector_client._http import TimeLimits, settings
from hector_client._operations import JSON, Page
from hector_client.errors import HectorError
from hector_client.sync.agent import Agent
from hector_client.sync.driver import Driver


class Client:
    """A server. Without `base_url` and `token`: HECTOR_SERVER (http://localhost:8080) and HECTOR_TOKEN.

    `user` is the end user on whose behalf everything is asked; `transport` is httpx2's, for servers that are reached
    in another way. Every method raises HectorError: `Refused` for what the server refuses, `Unreachable` when it does
    not answer.
    """

    def __init__(
        self,
        base_url: str | None = None,
        *,
        token: str | None = None,
        user: str | None = None,
        limits: TimeLimits | None = None,
        transport: httpx2.BaseTransport | None = None,
    ) -> None:
        self.limits = limits or TimeLimits()
        url, options = settings(base_url, token=token, user=user, limits=self.limits)
        self.driver = Driver(httpx2.Client(transport=transport, **options), url, self.limits)
        """Carries out the requests."""

    @property
    def place(self) -> str:
        """Where the answers come from, as errors and programs name it to people."""
        return self.driver.place

    @place.setter
    def place(self, place: str) -> None:
        self.driver.place = place

    @property
    def patience(self) -> Patience:
        return Patience(self.limits.patience, self.place)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self.driver.close()

    def agent(self, name: str) -> Agent:
        """A handle on an agent; makes no request."""
        return Agent(self, name)

    def agents(self) -> list[JSON]:
        return self.driver.call(operations.agents())

    def ping(self) -> None:
        """Raises Unreachable if no HTTP response arrives; any status counts as alive."""
        self.driver.call(operations.ping())

    def is_ready(self) -> bool:
        try:
            return self.driver.call(operations.is_ready())
        except HectorError:
            return False

    def document_stores(self) -> list[JSON]:
        return self.driver.call(operations.document_stores())

    def documents(self, store: str, *, limit: int = 50) -> Page:
        return self.driver.call(operations.documents(store, limit=limit))

    def search_documents(self, query: str, *, store: str | None = None, limit: int = 10) -> JSON:
        return self.driver.call(operations.search_documents(query, store=store, limit=limit))

    def reindex_documents(self, store: str, *, again: bool = False) -> JSON:
        return self.driver.call(operations.reindex_documents(store, again=again))

    def create_key(
        self,
        name: str,
        *,
        scopes: Sequence[str] | None = None,
        agents: Sequence[str] | None = None,
        expires: float | str | None = None,
        rotate: bool | None = None,
    ) -> JSON:
        """Make a key; needs the scope `admin`. `key` in the answer is its secret, which is shown this once.

        `expires`: seconds, or such as `90d`. `rotate`: a further key of a name that has one.

        Raises: Conflict (`key_exists`), Forbidden (`missing_scope`).
        """
        body = {"name": name, "scopes": scopes, "agents": agents, "expires": expires, "rotate": rotate}
        return self.driver.call(operations.create_key(body))

    def keys(self) -> list[JSON]:
        """The keys that were made at run time, oldest first; needs the scope `admin`."""
        return self.driver.call(operations.keys())

    def revoke_key(self, key_id: str) -> JSON:
        """Refuse the key from now on; needs the scope `admin`. Raises NotFound (`key_not_found`)."""
        return self.driver.call(operations.revoke_key(key_id))

    def replicas(self) -> list[JSON]:
        """The servers of the service; needs the scope `admin`."""
        return self.driver.call(operations.replicas())

    def reload_changes(self) -> JSON:
        """What the server would change if it read its configuration again now; needs the scope `admin`."""
        return self.driver.call(operations.reload_changes())
