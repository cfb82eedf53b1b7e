"""Requests of a model: to listed hosts only, never into our own network, never called undone if they may be done."""

from __future__ import annotations

import asyncio
import gzip
import ipaddress
import json
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

import pytest
from aiohttp import web

from app.domain.act import ToolClass
from app.tools.addresses import AllowedHosts, is_public, read_url
from app.tools.arguments import BadArguments, parse
from app.tools.base import ToolContext, ToolFailed, ToolResult, ToolStopped, ToolUnknown
from app.tools.http_message import Request, redirected
from app.tools.http_request import HttpRequest

LOOPBACK = ("127.0.0.0/8",)


class Site:
    """A web site on loopback, known as `api.test` and `other.test` to `resolve`."""

    def __init__(self) -> None:
        self.port = 0
        self.seen: list[web.BaseRequest] = []
        self.bodies: list[bytes] = []
        self.addresses: dict[str, list[str]] = {"api.test": ["127.0.0.1"], "other.test": ["127.0.0.1"]}
        self.answer: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]] = self._hello

    async def _hello(self, request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(text="hello")

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        self.seen.append(request)
        self.bodies.append(await request.read())
        return await self.answer(request)

    async def resolve(self, host: str, port: int) -> Sequence[str]:
        if host not in self.addresses:
            raise OSError("no such host")
        return self.addresses[host]

    def says(self, **response: Any) -> None:
        async def answer(request: web.BaseRequest) -> web.StreamResponse:
            return web.Response(**response)

        self.answer = answer

    def redirects(self, status: int, *locations: str) -> None:
        """Redirect the first requests to the locations, one after the other; then say hello."""
        rest = list(locations)

        async def answer(request: web.BaseRequest) -> web.StreamResponse:
            if rest:
                return web.Response(status=status, headers={"Location": rest.pop(0)})
            return web.Response(text=f"{request.method} {request.path}")

        self.answer = answer

    def tool(self, **more: Any) -> HttpRequest:
        defaults: dict[str, Any] = {"allowed_hosts": ["*:*"], "allow_private": LOOPBACK, "resolve": self.resolve}
        return HttpRequest(**(defaults | more))

    def url(self, path: str = "/", host: str = "api.test") -> str:
        return f"http://{host}:{self.port}{path}"


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    site = Site()
    server = web.Server(site.handle)
    listening = await asyncio.get_running_loop().create_server(server, "127.0.0.1", 0)
    site.port = listening.sockets[0].getsockname()[1]
    yield site
    listening.close()
    await server.shutdown(timeout=1)


class Broken:
    """A server that reads a request, sends these bytes, and then hangs or closes."""

    def __init__(self, sent: bytes, *, hangs: bool) -> None:
        self.sent, self.hangs = sent, hangs
        self.reached = asyncio.Event()
        self.end = asyncio.Event()
        self.port = 0
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Broken:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self.end.set()
        self._server.close()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(self.sent)
        await writer.drain()
        self.reached.set()
        if self.hangs:
            await self.end.wait()
        writer.close()

    def tool(self, **more: Any) -> HttpRequest:
        return HttpRequest(allowed_hosts=["127.0.0.1:*"], allow_private=LOOPBACK, **more)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"


async def send(tool: HttpRequest, method: str, url: str, ctx: ToolContext | None = None, **more: Any) -> ToolResult:
    arguments = parse(json.dumps({"method": method, "url": url} | more), tool.spec.parameters)
    async with asyncio.timeout(20):
        return await tool.run(arguments, ctx or ToolContext("c", "s", "t", "a", "p", "u", idempotency_key="key_1"))


# ---- requests and answers ------------------------------------------------------------------------------------------


async def test_an_answer_is_told_with_its_status_and_type(site: Site) -> None:
    result = await send(site.tool(), "GET", site.url("/a?b=1"))
    assert result.text == "200 OK · text/plain; charset=utf-8 · 5 bytes\n\nhello"
    assert result.shown == "200 OK · text/plain; charset=utf-8 · 5 bytes"
    assert not result.is_error
    assert site.seen[0].path_qs == "/a?b=1"
    assert site.seen[0].host == f"api.test:{site.port}"


async def test_an_answer_of_an_error_is_a_result(site: Site) -> None:
    site.says(status=404, text="no such thing")
    result = await send(site.tool(), "GET", site.url())
    assert result.is_error
    assert result.text.startswith("404 Not Found")
    assert result.text.endswith("no such thing")


async def test_a_request_has_what_the_model_and_the_configuration_want(site: Site) -> None:
    tool = site.tool(allowed_hosts=["api.test:*"], headers={"Authorization": "Bearer secret"})
    await send(tool, "POST", site.url(), headers={"X-Trace": "5"}, body={"a": "ä"})
    headers = site.seen[0].headers
    assert headers["Authorization"] == "Bearer secret"
    assert headers["X-Trace"] == "5"
    assert headers["Content-Type"] == "application/json"
    assert headers["Idempotency-Key"] == "key_1"
    assert headers["User-Agent"] == "hector"
    assert site.bodies == ['{"a": "ä"}'.encode()]


@pytest.mark.parametrize(
    ("body", "media_type"),
    [("plain", "text/plain; charset=utf-8"), ('{"a": 1}', "application/json"), ("[1]", "application/json")],
)
async def test_the_type_of_a_body_is_guessed_unless_it_is_named(site: Site, body: str, media_type: str) -> None:
    await send(site.tool(), "PUT", site.url(), body=body)
    await send(site.tool(), "PUT", site.url(), body=body, headers={"content-type": "text/csv"})
    assert [request.headers["Content-Type"] for request in site.seen] == [media_type, "text/csv"]


async def test_reading_has_no_key_and_no_body(site: Site) -> None:
    await send(site.tool(), "GET", site.url())
    assert "Idempotency-Key" not in site.seen[0].headers
    with pytest.raises(ToolFailed, match="A GET has no body"):
        await send(site.tool(), "GET", site.url(), body="x")


async def test_head_tells_the_headers(site: Site) -> None:
    site.says(headers={"X-Count": "5", "ETag": '"a"'})
    result = await send(site.tool(), "HEAD", site.url())
    assert "x-count: 5\n" in result.text
    assert 'etag: "a"' in result.text


def test_the_class_of_a_call_depends_on_its_method() -> None:
    tool = HttpRequest(allowed_hosts=["a.org"])
    found = {method: tool.class_of({"method": method}) for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")}
    assert [method for method, kind in found.items() if kind is ToolClass.READ] == ["GET", "HEAD"]
    assert found["DELETE"] is tool.spec.tool_class is ToolClass.ONCE
    assert (tool.spec.reads, tool.spec.sends) == ("fixed", "fixed")
    assert HttpRequest(allowed_hosts=["*"]).spec.reads == "open"


async def test_a_page_is_reduced_to_its_text(site: Site) -> None:
    page = "<title>A</title><script>alert('<p>')</script><p>One <a href='/b'>two</a></p>" + "<p>x</p>" * 5_000
    site.says(text=page, content_type="text/html")
    text = (await send(site.tool(), "GET", site.url())).text
    assert "\n\n# A\n\nOne [two](/b)\n\nx\n" in text
    assert "alert" not in text


async def test_what_is_no_text_is_not_shown(site: Site) -> None:
    site.says(body=b"\x89PNG\x00\x1b[2J", content_type="image/png")
    result = await send(site.tool(), "GET", site.url())
    assert result.text == "200 OK · image/png · 9 bytes\n\n(This is no text, so it is not shown.)"


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        ("ä€".encode("cp1252"), "text/plain; charset=windows-1252"),
        ("ä€".encode(), "application/problem+json"),
        (b'<meta charset="windows-1252">' + "ä€".encode("cp1252"), "text/html"),
        ("ä€".encode("utf-16"), "text/plain; charset=UTF-16"),
        ("\ufeffä€".encode(), "text/plain"),
    ],
)
async def test_a_text_is_read_in_its_encoding(site: Site, body: bytes, content_type: str) -> None:
    site.says(body=body, headers={"Content-Type": content_type})
    assert (await send(site.tool(), "GET", site.url())).text.endswith("\n\nä€")


@pytest.mark.parametrize("charset", ["punycode", "zip", "rot13", "unicode_escape", "no-such", "idna", "\x00"])
async def test_an_encoding_that_is_none_of_texts_is_not_used(site: Site, charset: str) -> None:
    site.says(body=b"a\\u0041", headers={"Content-Type": f"text/plain; charset={charset.strip(chr(0))}"})
    assert (await send(site.tool(), "GET", site.url())).text.endswith("a\\u0041")


async def test_controls_in_an_answer_are_removed(site: Site) -> None:
    site.says(text="a\x1b[2Jb\u202ec")
    assert (await send(site.tool(), "GET", site.url())).text.endswith("\n\na[2Jbc")


# ---- limits --------------------------------------------------------------------------------------------------------


async def test_a_large_answer_is_cut(site: Site) -> None:
    site.says(body=b"x" * 100_000, content_type="text/plain")
    result = await send(site.tool(max_bytes=1_000), "GET", site.url())
    assert result.text.startswith("200 OK · text/plain · 1,000 bytes\n\nxxx")
    assert result.text.endswith("x\n\n(It is larger; the rest is left out.)")


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "raw deflate"])
async def test_compression_that_was_not_wanted_is_undone_within_the_limit(site: Site, encoding: str) -> None:
    text = b"y" * 50_000_000
    raw = zlib.compressobj(wbits=-15)
    body = {"gzip": gzip.compress, "deflate": zlib.compress, "raw deflate": lambda t: raw.compress(t) + raw.flush()}[
        encoding
    ](text)
    site.says(body=body, headers={"Content-Type": "text/plain", "Content-Encoding": encoding.split()[-1]})
    result = await send(site.tool(), "GET", site.url())
    assert site.seen[0].headers["Accept-Encoding"] == "identity"
    assert "1,048,576 bytes" in result.text
    assert result.text.endswith("yy\n\n(It is larger; the rest is left out.)")


async def test_an_unknown_compression_is_told(site: Site) -> None:
    site.says(body=b"\x1b", headers={"Content-Type": "text/plain", "Content-Encoding": "br"})
    assert "compressed as 'br'" in (await send(site.tool(), "GET", site.url())).text


async def test_a_large_body_is_not_sent(site: Site) -> None:
    with pytest.raises(ToolFailed, match="larger than 1,000 bytes"):
        await send(site.tool(max_bytes=1_000), "POST", site.url(), body="x" * 1_001)
    assert site.seen == []


# ---- hosts ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("entries", "url", "expected"),
    [
        (["a.org"], "https://a.org/", True),
        (["a.org"], "http://A.ORG./", True),
        (["a.org"], "https://a.org:443/", True),
        (["a.org"], "https://a.org:8443/", False),
        (["a.org"], "http://a.org:22/", False),
        (["a.org:8443"], "https://a.org:8443/", True),
        (["a.org:8443"], "https://a.org/", False),
        (["a.org:*"], "https://a.org:5/", True),
        (["a.org"], "https://x.a.org/", False),
        (["*.a.org"], "https://x.a.org/", True),
        (["*.a.org"], "https://x.y.a.org/", True),
        (["*.a.org"], "https://a.org/", False),
        (["*.a.org"], "https://evila.org/", False),
        (["*.a.org"], "https://a.org.evil.com/", False),
        (["*"], "https://whatever.com/", True),
        (["*"], "https://whatever.com:8443/", False),
        ([], "https://a.org/", False),
        (["[::1]:80", "1.2.3.4"], "http://[::1]/", True),
        (["1.2.3.4"], "http://1.2.3.4/", True),
    ],
)
def test_hosts_are_allowed_by_their_entries(entries: list[str], url: str, expected: bool) -> None:
    assert AllowedHosts(entries).has(read_url(url)) is expected


@pytest.mark.parametrize("entry", ["", "https://a.org", "a.org/x", "a*.org", "*a.org", "a.org:port", "user@a.org"])
def test_an_entry_that_is_no_host_is_refused(entry: str) -> None:
    with pytest.raises(ValueError, match="is no host"):
        HttpRequest(allowed_hosts=[entry])


def test_headers_are_not_configured_for_any_host() -> None:
    with pytest.raises(ValueError, match="list the hosts"):
        HttpRequest(allowed_hosts=["*"], headers={"Authorization": "x"})


async def test_a_host_that_is_not_listed_is_told_with_those_that_are(site: Site) -> None:
    with pytest.raises(ToolFailed, match=rf"other.test:{site.port} is not allowed. Allowed are: api.test:\*"):
        await send(site.tool(allowed_hosts=["api.test:*"]), "GET", site.url(host="other.test"))
    assert site.seen == []


@pytest.mark.parametrize(
    "url",
    [
        "ftp://api.test/",
        "file:///etc/passwd",
        "api.test/x",
        "//api.test/",
        "http://user:password@api.test/",
        "http://user@api.test/",
        "http://api.test\\@evil.com/",
        "http://api.test /",
        "http://api.test/\r\nX: y",
        "http://api.test/a b",
        "http://api.test:99999/",
        "http://api.test:x/",
        "http://[::1/",
        "http://[fe80::1%25eth0]/",
        "http:///x",
        "http://äpi.test/",
        "http://api%2etest/",
        "javascript:alert(1)",
    ],
)
async def test_what_programs_may_read_differently_is_no_url(site: Site, url: str) -> None:
    with pytest.raises(ToolFailed):
        await send(site.tool(), "GET", url)
    assert site.seen == []


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "127.8.8.8",
        "0.0.0.0",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "100.100.100.200",
        "168.63.129.16",
        "192.0.0.192",
        "198.18.0.1",
        "224.0.0.1",
        "239.1.1.1",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::7f00:1",
        "fe80::1",
        "fc00::1",
        "fd00:ec2::254",
        "fec0::1",
        "ff02::1",
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
        "64:ff9b::7f00:1",
        "64:ff9b:1::1",
        "2002:7f00:1::",
        "2002:a9fe:a9fe::1",
        "2001:0:4136:e378:8000:63bf:80ff:fffe",
        "2001:db8::1",
    ],
)
def test_addresses_that_are_not_of_the_internet(address: str) -> None:
    assert not is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize(
    "address", ["1.1.1.1", "93.184.216.34", "2606:4700::1111", "::ffff:1.1.1.1", "64:ff9b::101:101"]
)
def test_addresses_of_the_internet(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "2130706433", "0x7f.1", "127.1", "localhost", "[::1]", "[::ffff:127.0.0.1]"]
)
async def test_our_own_machine_is_refused_in_every_spelling(site: Site, host: str) -> None:
    tool = HttpRequest(allowed_hosts=["*:*"])
    with pytest.raises(ToolFailed, match=r"private network|not known"):
        await send(tool, "GET", f"http://{host}:{site.port}/")
    assert site.seen == []


async def test_a_name_of_a_private_address_is_refused_unless_its_network_is_listed(site: Site) -> None:
    with pytest.raises(ToolFailed, match=r"api.test is in a private network \(127.0.0.1\): refused"):
        await send(site.tool(allow_private=()), "GET", site.url())
    with pytest.raises(ToolFailed, match="private network"):
        await send(site.tool(allow_private=["10.0.0.0/8"]), "GET", site.url())
    with pytest.raises(ToolFailed, match="private network"):
        await send(site.tool(allow_private=["other.test", "api.test:80"]), "GET", site.url())
    assert site.seen == []
    for listed in ("127.0.0.1/32", "127.0.0.1", "api.test", "*.test", f"api.test:{site.port}"):
        assert await send(site.tool(allow_private=[listed]), "GET", site.url())


def test_what_is_no_private_network_and_no_host_is_refused() -> None:
    for entry in ("10.0.0.0/99", "http://localhost", "a b"):
        with pytest.raises(ValueError, match="is no host"):
            HttpRequest(allowed_hosts=["a.org"], allow_private=[entry])


async def test_of_several_addresses_only_those_that_may_be_are_used(site: Site) -> None:
    site.addresses["api.test"] = ["169.254.169.254", "10.0.0.1", "127.0.0.1"]
    assert "hello" in (await send(site.tool(), "GET", site.url())).text


async def test_a_name_is_looked_up_once_and_not_again_for_the_connection(site: Site) -> None:
    asked: list[str] = []

    async def rebinding(host: str, port: int) -> Sequence[str]:
        asked.append(host)
        return ["127.0.0.1"] if len(asked) == 1 else ["169.254.169.254"]

    assert "hello" in (await send(site.tool(resolve=rebinding), "GET", site.url())).text
    assert asked == ["api.test"]
    with pytest.raises(ToolFailed, match="private network"):
        await send(site.tool(resolve=rebinding), "GET", site.url())


async def test_a_host_that_nobody_knows_is_told(site: Site) -> None:
    with pytest.raises(ToolFailed, match=r"nowhere.test is not known"):
        await send(site.tool(), "GET", "http://nowhere.test/")


async def test_proxies_of_the_environment_are_not_used(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1/")
    assert "hello" in (await send(site.tool(), "GET", site.url())).text


# ---- headers -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "Host",
        "content-length",
        "Transfer-Encoding",
        "Connection",
        "Cookie",
        "Idempotency-Key",
        "Proxy-Authorization",
        "X-Forwarded-For",
        "Metadata-Flavor",
        "X-aws-ec2-metadata-token",
        "Accept-Encoding",
        "X-Api-Key",
    ],
)
async def test_headers_that_are_not_a_models_are_refused(site: Site, name: str) -> None:
    tool = site.tool(allowed_hosts=["api.test:*"], headers={"x-api-key": "ours"})
    with pytest.raises(ToolFailed, match="is set by the server"):
        await send(tool, "GET", site.url(), headers={name: "x"})
    assert site.seen == []


@pytest.mark.parametrize(
    ("name", "value"), [("X\r\nHost", "a"), ("X", "a\r\nHost: b"), ("X", "a\0"), ("", "a"), ("X Y", "a"), ("X", "ä")]
)
async def test_headers_cannot_smuggle(site: Site, name: str, value: str) -> None:
    with pytest.raises(ToolFailed, match="no header may have"):
        await send(site.tool(), "GET", site.url(), headers={name: value})
    assert site.seen == []


async def test_an_unknown_method_is_no_argument(site: Site) -> None:
    for method in ("CONNECT", "TRACE", "GET / HTTP/1.1\r\nX:"):
        with pytest.raises(BadArguments):
            await send(site.tool(), method, site.url())


# ---- redirects -----------------------------------------------------------------------------------------------------


async def test_a_redirect_is_followed_and_told(site: Site) -> None:
    site.redirects(302, "/b", f"http://other.test:{site.port}/c")
    result = await send(site.tool(), "GET", site.url("/a"))
    assert result.text.endswith(f"\nfrom http://other.test:{site.port}/c\n\nGET /c")
    assert [request.path for request in site.seen] == ["/a", "/b", "/c"]


@pytest.mark.parametrize(
    ("status", "method", "then"),
    [
        (301, "POST", "GET"),
        (302, "POST", "GET"),
        (303, "POST", "GET"),
        (303, "DELETE", "GET"),
        (303, "HEAD", "HEAD"),
        (307, "POST", "POST"),
        (308, "PATCH", "PATCH"),
        (302, "DELETE", "DELETE"),
    ],
)
async def test_a_redirect_changes_the_method_as_browsers_do(site: Site, status: int, method: str, then: str) -> None:
    site.redirects(status, "/b")
    body: dict[str, Any] = {} if method == "HEAD" else {"body": "x"}
    await send(site.tool(), method, site.url("/a"), **body)
    assert [request.method for request in site.seen] == [method, then]
    assert (site.bodies[1], "Content-Type" in site.seen[1].headers) == (
        (b"", False) if then in ("GET", "HEAD") else (b"x", True)
    )


async def test_credentials_do_not_go_along_to_another_host(site: Site) -> None:
    tool = site.tool(allowed_hosts=["api.test:*", "other.test:*"], headers={"X-Api-Key": "ours"})
    site.redirects(307, "/b", site.url("/c", host="other.test"))
    await send(
        tool, "POST", site.url("/a"), headers={"Authorization": "a", "X-Trace": "b", "Accept": "text/csv"}, body="x"
    )
    same, other = site.seen[1].headers, site.seen[2].headers
    assert (same["X-Api-Key"], same["Authorization"], same["X-Trace"]) == ("ours", "a", "b")
    assert not {"X-Api-Key", "Authorization", "X-Trace"} & set(other)
    assert (other["Accept"], other["Idempotency-Key"]) == ("text/csv", "key_1")


@pytest.mark.parametrize(
    "location",
    [
        "http://secret.test/",
        "http://169.254.169.254/latest/meta-data",
        "http://[::1]/",
        "file:///etc/passwd",
        "http://u:p@api.test/",
        "//evil.com/x",
    ],
)
async def test_each_hop_is_checked(site: Site, location: str) -> None:
    site.addresses["secret.test"] = ["10.0.0.1"]
    site.redirects(302, location)
    with pytest.raises(ToolFailed):
        await send(site.tool(), "GET", site.url())
    assert len(site.seen) == 1


async def test_a_redirect_out_of_the_list_is_refused(site: Site) -> None:
    site.redirects(302, site.url(host="other.test"))
    with pytest.raises(ToolFailed, match=r"other.test.* is not allowed"):
        await send(site.tool(allowed_hosts=["api.test:*"]), "GET", site.url())
    assert len(site.seen) == 1


async def test_redirects_have_a_limit(site: Site) -> None:
    site.redirects(302, *["/x"] * 10)
    with pytest.raises(ToolFailed, match="more than 3 redirects"):
        await send(site.tool(max_redirects=3), "GET", site.url())
    assert len(site.seen) == 4


async def test_what_happened_before_a_redirect_failed_is_not_called_a_failure(site: Site) -> None:
    site.redirects(303, "http://nowhere.test/receipt")
    result = await send(site.tool(), "POST", site.url("/pay"), body="x")
    assert result.is_error
    assert result.text == (
        f"POST http://api.test:{site.port}/pay was answered: 303 See Other."
        " Following it failed: The host nowhere.test is not known (no such host)."
    )


def test_a_redirect_to_an_unencrypted_address_is_refused() -> None:
    with pytest.raises(ToolFailed, match="not encrypted"):
        redirected(Request("GET", read_url("https://a.org/"), {}), 302, "http://a.org/")


# ---- answers that are lost -----------------------------------------------------------------------------------------

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 100\r\n\r\n"


@pytest.mark.parametrize("sent", [b"", b"HTTP/1.1 2", b"\x00\x01garbage\r\n\r\n"])
async def test_a_lost_answer_leaves_in_doubt_what_changes_something(sent: bytes) -> None:
    async with Broken(sent, hangs=False) as server:
        with pytest.raises(ToolUnknown, match=r"POST http://127.0.0.1:\d+/ was sent, but .*it may have had its effect"):
            await send(server.tool(), "POST", server.url, body="x")
        with pytest.raises(ToolFailed, match="The request failed"):
            await send(server.tool(), "GET", server.url)


async def test_an_answer_that_does_not_come_in_time(site: Site) -> None:
    async with Broken(b"", hangs=True) as server:
        with pytest.raises(ToolUnknown, match=r"no answer came within 0.1 s"):
            await send(server.tool(timeout_seconds=0.1), "DELETE", server.url)
        with pytest.raises(ToolFailed, match=r"no answer came within 0.1 s"):
            await send(server.tool(timeout_seconds=0.1), "GET", server.url)


@pytest.mark.parametrize(
    ("hangs", "note"),
    [(False, "The connection broke off; the rest is missing."), (True, "The rest did not come in time.")],
)
async def test_what_came_of_a_body_that_broke_off_is_told(hangs: bool, note: str) -> None:
    async with Broken(HEAD + b"begin", hangs=hangs) as server:
        result = await send(server.tool(timeout_seconds=0.5), "POST", server.url, body="x")
    assert result.text == f"200 OK · text/plain · 5 bytes\n\nbegin\n\n({note})"


async def test_a_server_that_is_not_there_was_not_reached(site: Site) -> None:
    async with Broken(b"", hangs=False) as server:
        url, tool = server.url, server.tool()
    with pytest.raises(ToolFailed, match="The request failed: Cannot connect"):
        await send(tool, "POST", url, body="x")


@pytest.mark.parametrize(
    ("method", "sent", "error"),
    [("GET", b"", ToolStopped), ("POST", b"", ToolUnknown), ("GET", HEAD, ToolStopped), ("POST", HEAD, None)],
)
async def test_a_stop_ends_the_request_and_says_what_is_known(
    method: str, sent: bytes, error: type[Exception] | None
) -> None:
    async with Broken(sent, hangs=True) as server:
        ctx = ToolContext("c", "s", "t", "a", "p", "u")
        call = asyncio.ensure_future(send(server.tool(), method, server.url, ctx))
        await server.reached.wait()
        if sent:
            await asyncio.sleep(0.1)  # nothing tells when the head has been read
        ctx.stop.set()
        if error is None:
            assert (await call).text.startswith("200 OK")
        else:
            with pytest.raises(error):
                await call


async def test_a_handshake_that_does_not_end_is_no_doubt() -> None:
    async with Broken(b"", hangs=True) as server:
        with pytest.raises(ToolFailed, match="no answer came"):
            await send(server.tool(timeout_seconds=0.2), "POST", server.url.replace("http:", "https:"), body="x")


async def test_an_answer_that_is_no_redirect_is_the_last(site: Site) -> None:
    site.says(status=304, headers={"Location": "/x"})
    assert (await send(site.tool(), "GET", site.url())).text.startswith("304")
    site.says(status=302)
    assert (await send(site.tool(), "GET", site.url())).text.startswith("302")
