"""Which proxy leads where, and what is said when it does not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import httpx2
import pytest
import pytest_asyncio

from app.config.address import key_header
from app.llm.base import LLMError, LLMRequest
from app.llm.openai_compatible import OpenAICompatible, OpenAISettings
from app.llm.proxies import Proxies, place_of
from tests.fixtures.upstream import Upstream

HELLO = LLMRequest([b'{"role":"user","content":"hello"}'])


@pytest_asyncio.fixture
async def upstream() -> AsyncIterator[Upstream]:
    async with Upstream() as upstream:
        yield upstream


@pytest.fixture(autouse=True)
def no_proxy_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


async def ask(base_url: str) -> None:
    llm = OpenAICompatible("main", OpenAISettings(model="m", base_url=base_url, api_key="sk-secret-key", max_retries=0))
    try:
        stream = llm.stream(HELLO)
        while await stream.read():
            pass
    finally:
        await llm.close()


@pytest.mark.parametrize(
    ("entry", "url"),
    [
        ("*", "http://anything.example/"),
        ("example.com", "http://example.com/"),
        ("example.com", "http://api.example.com/"),
        (".example.com", "http://api.example.com/"),
        ("*.example.com", "http://api.example.com/"),
        ("EXAMPLE.com.", "http://Example.COM/"),
        ("example.com:8443", "https://example.com:8443/"),
        ("example.com:443", "https://example.com/"),
        ("10.0.0.0/8", "http://10.1.2.3:11434/"),
        ("192.168.1.7", "http://192.168.1.7/"),
        ("192.168.1.7:8000", "http://192.168.1.7:8000/"),
        ("::1", "http://[::1]:8000/"),
        ("[::1]", "http://[::1]:8000/"),
        ("[::1]:8000", "http://[::1]:8000/"),
        ("fd00::/8", "http://[fd12::1]/"),
        ("10.0.0.0/8", "http://[::ffff:10.0.0.1]/"),
        ("localhost", "http://localhost:11434/"),
        ("other.example, example.com", "http://example.com/"),
        ("other.example example.com", "http://example.com/"),
    ],
)
def test_an_exception_is_a_name_an_address_or_a_network_perhaps_with_a_port(entry: str, url: str) -> None:
    proxies = Proxies({"http": "http://proxy:3128", "https": "http://proxy:3128", "no": entry})
    assert proxies.proxy_for(httpx2.URL(url)) is None


@pytest.mark.parametrize(
    ("entry", "url"),
    [
        ("example.com", "http://notexample.com/"),
        ("example.com", "http://example.com.evil.test/"),
        ("example.com:8443", "https://example.com/"),
        ("10.0.0.0/8", "http://11.0.0.1/"),
        ("10.0.0.0/8", "http://ten.example/"),
        ("[::1]:8000", "http://[::1]:8001/"),
        ("10.0.0.0/99", "http://10.0.0.1/"),
        ("", "http://example.com/"),
        (",,", "http://example.com/"),
    ],
)
def test_other_hosts_are_no_exceptions(entry: str, url: str) -> None:
    proxies = Proxies({"all": "http://proxy:3128", "no": entry})
    assert proxies.proxy_for(httpx2.URL(url)) == "http://proxy:3128"


def test_a_proxy_without_a_scheme_is_an_http_proxy() -> None:
    assert Proxies({"https": "proxy:3128"}).proxy_for(httpx2.URL("https://a.test/")) == "http://proxy:3128"
    assert not Proxies({"no": "a.test"}).are_set


def test_the_place_of_a_proxy_has_no_password() -> None:
    assert place_of("http://user:p%40ss@proxy:3128/") == "http://proxy:3128"
    assert place_of("proxy:3128") == "proxy:3128"


@pytest.mark.parametrize("proxy", ["socks5://u:secret@127.0.0.1:1080", "socks5h://127.0.0.1:1080"])
async def test_socks_is_named_as_unsupported(monkeypatch: pytest.MonkeyPatch, proxy: str) -> None:
    monkeypatch.setenv("all_proxy", proxy)
    with pytest.raises(LLMError, match=r"SOCKS proxies are not supported \(socks5h?://127\.0\.0\.1:1080\)") as caught:
        await ask("http://far.invalid/v1")
    assert not caught.value.retryable
    assert "secret" not in f"{caught.value} {caught.value.detail}"


async def test_errors_name_the_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://user:secret@127.0.0.1:1")
    monkeypatch.setenv("https_proxy", "http://user:secret@127.0.0.1:1")
    for scheme in ("http", "https"):
        with pytest.raises(LLMError, match=r"through the proxy http://127\.0\.0\.1:1: nobody listens there$") as caught:
            await ask(f"{scheme}://far.invalid/v1")
        assert "secret" not in f"{caught.value} {caught.value.detail}"


async def test_a_proxy_that_wants_a_password_is_named(upstream: Upstream, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", upstream.base_url.removesuffix("/v1"))
    upstream.answer(status=407, body=b"who are you")
    with pytest.raises(LLMError, match=r"the proxy http://127\.0\.0\.1:\d+ refused us, status 407: who are you"):
        await ask("http://far.invalid/v1")


async def test_a_proxy_that_refuses_a_tunnel_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(refuse, "127.0.0.1", 0)
    place = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    monkeypatch.setenv("https_proxy", place)
    with pytest.raises(LLMError, match=f"through the proxy {place}") as caught:
        await ask("https://far.invalid/v1")
    assert "407" in (caught.value.detail or "")
    server.close()
    await server.wait_closed()


async def test_a_password_of_the_proxy_is_sent(upstream: Upstream, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", upstream.base_url.removesuffix("/v1").replace("//", "//user:pass@"))
    await ask("http://far.invalid/v1")
    assert upstream.requests[0].headers["proxy-authorization"] == "Basic dXNlcjpwYXNz"


async def test_a_key_for_azure_travels_in_its_own_header_and_the_version_behind_the_path(
    upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", upstream.base_url.removesuffix("/v1"))  # so that the name leads to us
    await ask("http://mine.openai.azure.com/openai/deployments/gpt?api-version=2024-10-21")

    [request] = upstream.requests
    assert request.target.endswith("/openai/deployments/gpt/chat/completions?api-version=2024-10-21")
    assert request.headers["api-key"] == "sk-secret-key"
    assert "authorization" not in request.headers


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("https://mine.openai.azure.com/openai/v1", "api-key"),
        ("https://mine.services.ai.azure.com/models", "api-key"),
        ("https://openai.azure.com.evil.example/v1", "Authorization"),
        ("https://api.openai.com/v1", "Authorization"),
    ],
)
def test_only_azure_gets_the_key_in_its_own_header(address: str, name: str) -> None:
    assert list(key_header("k", address)) == [name]
