"""Where a client goes, and what goes with every request."""

from __future__ import annotations

import httpx2
import pytest

from hector_client import Client, sync
from hector_client._http import is_local


class Notes(httpx2.MockTransport):
    """Answers everything and keeps the last request."""

    def __init__(self) -> None:
        super().__init__(self._note)

    def _note(self, request: httpx2.Request) -> httpx2.Response:
        self.request = request
        return httpx2.Response(200, json={"agents": []})


async def asked(base_url: str | None = None, token: str | None = None, user: str | None = None) -> httpx2.Request:
    notes = Notes()
    async with Client(base_url, token=token, user=user, transport=notes) as client:
        await client.agents()
    return notes.request


async def test_without_arguments_it_is_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HECTOR_SERVER", "example.org:9000/hector/")
    monkeypatch.setenv("HECTOR_TOKEN", "a-key")

    request = await asked()

    assert str(request.url) == "http://example.org:9000/hector/agents"
    assert request.headers["Authorization"] == "Bearer a-key"
    assert "X-User-Id" not in request.headers


async def test_without_an_environment_it_is_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HECTOR_SERVER", raising=False)
    monkeypatch.delenv("HECTOR_TOKEN", raising=False)

    request = await asked()

    assert str(request.url) == "http://localhost:8080/agents"
    assert "Authorization" not in request.headers


async def test_arguments_win(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HECTOR_SERVER", "http://example.org")
    monkeypatch.setenv("HECTOR_TOKEN", "a-key")

    request = await asked(base_url="https://other.example", token="", user="ann")

    assert str(request.url) == "https://other.example/agents"
    assert "Authorization" not in request.headers
    assert request.headers["X-User-Id"] == "ann"


def test_the_twin_reads_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HECTOR_SERVER", "http://example.org")
    notes = Notes()
    with sync.Client(transport=notes, user="ann") as client:
        client.agents()

    assert (notes.request.url.host, notes.request.headers["X-User-Id"]) == ("example.org", "ann")


@pytest.mark.parametrize("wrong", ["ftp://x", "http://", "http://x:nine", "http://x:0"])
def test_an_address_that_is_none_is_refused(wrong: str) -> None:
    with pytest.raises(ValueError, match="no address"):
        Client(wrong)


def test_proxies_of_the_environment_are_not_for_this_machine() -> None:
    assert is_local("http://127.0.0.1:1")
    assert is_local("http://localhost:1")
    assert not is_local("http://example.org")


@pytest.mark.parametrize(
    ("user", "sent"),
    [
        ("ann", "ann"),
        ("O'Brien 50%", "O'Brien 50%"),
        ("Jürgen", "UTF-8''J%C3%BCrgen"),
        ("Ju\u0308rgen", "UTF-8''J%C3%BCrgen"),
        ("李", "UTF-8''%E6%9D%8E"),
        (" ann", "UTF-8''%20ann"),
        ("a\nb", "UTF-8''a%0Ab"),
        ("utf-8''x", "UTF-8''utf-8%27%27x"),
    ],
)
async def test_a_user_of_any_name_arrives(user: str, sent: str) -> None:
    assert (await asked(user=user)).headers["X-User-Id"] == sent
