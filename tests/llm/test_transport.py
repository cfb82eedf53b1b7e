"""The HTTP below the openai client, which other users of it (embeddings) share."""

from __future__ import annotations

import gzip
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import openai
import pytest
import pytest_asyncio

from app.config.llm import LLMConfig
from app.domain.errors import Unavailable
from app.llm.build import build_llm
from app.llm.transport import MAX_ERROR_BYTES, AiohttpTransport, LeanClient
from tests.fixtures.upstream import Upstream


@pytest_asyncio.fixture
async def upstream() -> AsyncIterator[Upstream]:
    async with Upstream() as upstream:
        yield upstream


@pytest_asyncio.fixture
async def client() -> AsyncIterator[LeanClient]:
    async with LeanClient(AiohttpTransport(connect_timeout=5, secure=False)) as client:
        yield client


async def test_a_plain_request_is_read_whole(upstream: Upstream, client: LeanClient) -> None:
    upstream.answer(body=b'{"a":1}')
    response = await client.post(upstream.base_url, json={"x": "é"})
    assert response.json() == {"a": 1}
    assert upstream.requests[0].json == {"x": "é"}


async def test_the_typed_calls_of_the_openai_client_work(upstream: Upstream, client: LeanClient) -> None:
    upstream.answer(body=b'{"object":"list","data":[{"object":"embedding","index":0,"embedding":[0.5]}]}')
    sdk = openai.AsyncOpenAI(api_key="k", base_url=upstream.base_url, http_client=client, max_retries=0)
    made = await sdk.embeddings.create(model="m", input="x", encoding_format="float")
    assert made.data[0].embedding == [0.5]


async def test_a_compressed_body_is_opened_once(upstream: Upstream, client: LeanClient) -> None:
    upstream.answer(body=gzip.compress(b"hello"), headers={"Content-Encoding": "gzip"})
    assert (await client.post(upstream.base_url)).text == "hello"


async def test_the_body_of_an_error_is_read_and_bounded(upstream: Upstream, client: LeanClient) -> None:
    upstream.answer(status=500, body=b"x" * (3 * MAX_ERROR_BYTES))
    request = client.build_request("POST", upstream.base_url, content=b"{}")
    response = await client.send(request, stream=True)
    assert response.status_code == 500
    assert len(response.content) == MAX_ERROR_BYTES


async def test_redirects_are_not_followed(upstream: Upstream, client: LeanClient) -> None:
    upstream.answer(status=302, body=b"", headers={"Location": upstream.base_url})
    assert (await client.post(upstream.base_url, content=b"{}")).status_code == 302
    assert len(upstream.requests) == 1


async def test_failures_are_those_of_httpx(client: LeanClient, upstream: Upstream) -> None:
    with pytest.raises(httpx2.ConnectError):
        await client.post("http://127.0.0.1:1/")
    upstream.answer(cut_after=-1)
    with pytest.raises(httpx2.RemoteProtocolError):
        await client.post(upstream.base_url)


async def test_a_unix_socket_serves_as_well(tmp_path: Path) -> None:
    path = str(tmp_path / "s.sock")
    async with Upstream(uds=path) as upstream, LeanClient(AiohttpTransport(uds=path)) as client:
        upstream.answer(body=b"hi")
        assert (await client.post("http://local/v1", content=b"{}")).text == "hi"


async def test_a_proxy_of_the_environment_is_used_but_not_for_its_exceptions(
    upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", upstream.base_url.removesuffix("/v1"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    async with LeanClient(AiohttpTransport(secure=False)) as client:
        upstream.answer(body=b"by proxy")
        assert (await client.post("http://far.invalid/v1", content=b"{}")).text == "by proxy"
        upstream.answer(body=b"direct")
        assert (await client.post(upstream.base_url, content=b"{}")).text == "direct"
    assert upstream.requests[0].headers["host"] == "far.invalid"


@pytest.mark.parametrize(
    ("content", "sentence"), [(None, "which does not exist"), ("no certificate", "cannot be loaded")]
)
def test_certificates_that_are_not_there_are_named(
    content: str | None, sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_text(content)
    monkeypatch.setenv("SSL_CERT_FILE", str(path))

    with pytest.raises(Unavailable, match=f"SSL_CERT_FILE.*{sentence}"):
        AiohttpTransport()


def test_a_model_behind_tls_is_not_built_without_the_certificates_that_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))

    with pytest.raises(Unavailable, match="does not exist"):
        build_llm("a", LLMConfig.model_validate({"type": "openai", "model": "m", "api_key": "k"}))
    build_llm("b", LLMConfig.model_validate({"type": "ollama", "model": "m"}))
