"""The guard: which names and pages are let in, who asks, and what happens to our own faults."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.types import Receive, Scope, Send

from app.auth.authenticate import Authenticator
from app.auth.brake import Brake
from app.domain.errors import Conflict
from app.domain.principal import Principal
from app.routers.guard import Guard
from tests.fixtures.keys import plain_keys


class Inside:
    """The application behind the guard; remembers what it was called with."""

    def __init__(self) -> None:
        self.scope: Scope | None = None
        self.error: Exception | None = None
        self.begins_first = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope = scope
        if self.begins_first:
            await send({"type": "http.response.start", "status": 200, "headers": []})
        if self.error is not None:
            raise self.error
        if not self.begins_first:
            await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"{}"})


class Answer:
    def __init__(self) -> None:
        self.status = 0
        self.headers: dict[bytes, bytes] = {}
        self.body = b""

    async def __call__(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = dict(message["headers"])
        self.body += message.get("body", b"")

    @property
    def reason(self) -> str:
        return str(json.loads(self.body)["error"]["reason"])


async def _nothing() -> Any:
    return {"type": "http.request", "body": b""}


def guard(
    inside: Inside | None = None,
    *,
    keys: dict[str, str] | None = None,
    cors_origins: Sequence[str] = (),
    allowed_hosts: Sequence[str] = ("127.0.0.1",),
    public_url: str | None = None,
) -> Guard:
    return Guard(
        inside or Inside(),
        authenticator=Authenticator(plain_keys(**(keys or {}))),
        cors_origins=cors_origins,
        allowed_hosts=allowed_hosts,
        public_url=public_url,
    )


async def ask(
    guarded: Guard,
    *,
    host: str | None = "localhost:8080",
    origin: str | None = None,
    method: str = "POST",
    path: str = "/agents",
    headers: dict[str, str] | None = None,
    client: tuple[str, int] | None = ("127.0.0.1", 5),
    version: str = "1.0",
    more: Sequence[tuple[bytes, bytes]] = (),
) -> Answer:
    given = {"host": host, "origin": origin, **(headers or {})}
    scope = {
        "type": "http",
        "http_version": version,
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [(name.encode(), value.encode("latin-1")) for name, value in given.items() if value is not None]
        + list(more),
        "client": client,
    }
    answer = Answer()
    await guarded(scope, _nothing, answer)
    return answer


# -- names ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "localhost:8080",
        "LOCALHOST:1",
        "127.0.0.1:8080",
        "192.168.1.7",
        "10.0.0.1:80",
        "[::1]",
        "[::1]:8080",
        "[2001:db8::7]:443",
        "hector.example",
        "hector.example:8443",
        "inside.example",
        None,
    ],
)
async def test_addresses_loopback_and_our_own_names_are_let_in(host: str | None) -> None:
    guarded = guard(allowed_hosts=["inside.example"], public_url="https://hector.example:8443/x")
    assert (await ask(guarded, host=host, path="/agents")).status == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8080",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "",
        ":8080",
        "a b",
        "localhost:8080@evil.example",
        "[::1]evil.example",
        "[::1",
        "localhost:[",
        "[localhost]",
        "localhost:x",
        "localhost:80:80",
        "localhost:123456",
        "localhost/evil.example",
        "localhost#",
        "localhost,evil.example",
        "::1",
        "127.0.0.1\xa0",
    ],
)
async def test_other_names_are_not(host: str) -> None:
    answer = await ask(guard(), host=host, method="GET")
    assert (answer.status, answer.reason) == (421, "forbidden_host")


async def test_a_star_lets_every_name_in_that_is_one() -> None:
    assert (await ask(guard(allowed_hosts=["*"]), host="whatever.example")).status == 200
    assert (await ask(guard(allowed_hosts=["*"]), host="a@b")).status == 421


async def test_nothing_of_a_refused_host_is_kept_and_little_is_repeated() -> None:
    guarded = guard(allowed_hosts=["*"])
    host = "x" * 1_000_000
    tracemalloc.start()
    for number in range(20):
        answer = await ask(guarded, host=f"{number}{host}")
        assert answer.status == 421
        assert len(answer.body) < 500
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < 1_000_000


@pytest.mark.parametrize(("version", "status"), [("1.1", 400), ("1.0", 200)])
async def test_only_an_old_client_may_leave_the_host_out(version: str, status: int) -> None:
    assert (await ask(guard(), host=None, method="GET", version=version)).status == status


@pytest.mark.parametrize("name", ["Host", "Origin", "Authorization", "X-User-Id"])
async def test_what_decides_stands_once(name: str) -> None:
    given = {"Host": "localhost", "Origin": "http://localhost", "Authorization": "Bearer k", "X-User-Id": "ann"}
    twice = [(name.lower().encode(), given[name].encode())]
    answer = await ask(guard(keys={"alice": "k"}), headers={"authorization": "Bearer k"}, more=twice * 2)
    assert (answer.status, answer.reason) == (400, "invalid_header")
    assert name in json.loads(answer.body)["error"]["message"]


# -- pages ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        (None, "localhost:8080"),
        ("http://localhost:8080", "localhost:8080"),
        ("HTTP://LocalHost:8080", "localhost:8080"),
        ("http://127.0.0.1", "127.0.0.1"),
        ("http://127.0.0.1", "127.0.0.1:80"),
        ("https://127.0.0.1", "127.0.0.1:443"),
        ("https://127.0.0.1:443", "127.0.0.1"),
        ("http://[::1]:8080", "[::1]:8080"),
        ("http://[::1]", "[::1]:80"),
        ("https://app.example", "localhost:8080"),
        ("https://hector.example", "127.0.0.1:8080"),
    ],
)
async def test_our_own_pages_and_the_allowed_ones_may_change_things(origin: str | None, host: str) -> None:
    guarded = guard(cors_origins=["https://app.example/"], public_url="https://hector.example/base")
    assert (await ask(guarded, origin=origin, host=host)).status == 200


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("null", "localhost:8080"),
        ("", "localhost:8080"),
        ("https://evil.example", "localhost:8080"),
        ("http://localhost:8081", "localhost:8080"),
        ("http://localhost", "localhost:8080"),
        ("http://127.0.0.1:8080", "localhost:8080"),
        ("http://[::1]:8081", "[::1]:8080"),
        ("http://localhost:8080.evil.example", "localhost:8080"),
        ("http://localhost:8080@evil.example", "localhost:8080"),
        ("ftp://localhost:8080", "localhost:8080"),
        ("file://", "localhost:8080"),
        ("http://app.example", "localhost:8080"),
        ("https://app.example.evil.example", "localhost:8080"),
        ("http://localhost:8080", None),
        ("http://[", "localhost:8080"),
        ("http://[::1", "[::1]"),
        ("localhost:8080", "localhost:8080"),
    ],
)
async def test_other_pages_may_not(origin: str, host: str | None) -> None:
    guarded = guard(cors_origins=["https://app.example"])
    answer = await ask(guarded, origin=origin, host=host)
    assert (answer.status, answer.reason) == (403, "forbidden_origin")
    for method in ("PATCH", "PUT", "DELETE"):
        assert (await ask(guarded, origin=origin, host=host, method=method)).status == 403


async def test_pages_from_elsewhere_may_look() -> None:
    assert (await ask(guard(), origin="https://evil.example", method="GET")).status == 200


async def test_a_star_lets_every_page_in_but_the_nameless() -> None:
    guarded = guard(cors_origins=["*"])
    assert (await ask(guarded, origin="https://any.example")).status == 200
    assert (await ask(guarded, origin="null")).status == 403


@given(st.text(alphabet=st.characters(max_codepoint=255), max_size=30))
async def test_nothing_a_page_may_call_itself_breaks_the_guard(origin: str) -> None:
    assert (await ask(guard(), origin=f"http://{origin}")).status in (200, 403)


@given(st.text(alphabet=st.characters(max_codepoint=255), max_size=30))
async def test_nothing_a_host_may_be_called_breaks_the_guard(host: str) -> None:
    assert (await ask(guard(), host=host, method="GET")).status in (200, 421)


# -- who asks ---------------------------------------------------------------------------------------


async def test_the_caller_and_the_request_are_named() -> None:
    inside = Inside()
    await ask(guard(inside, keys={"alice": "k"}), headers={"authorization": "Bearer k", "x-user-id": "u7"})
    assert inside.scope is not None
    assert inside.scope["principal"] == Principal("alice", "key", "u7")
    assert inside.scope["request_id"].startswith("req_")


@pytest.mark.parametrize("path", ["/agents", "/agents/a/sessions/s", "/no/such/address", "/metricsx", "/healthy"])
async def test_without_a_key_everything_is_refused_before_it_is_looked_for(path: str) -> None:
    inside = Inside()
    answer = await ask(guard(inside, keys={"alice": "k"}), method="GET", path=path)
    assert (answer.status, answer.reason) == (401, "unauthenticated")
    assert inside.scope is None


@pytest.mark.parametrize("path", ["/health", "/ready"])
async def test_signs_of_life_need_no_key(path: str) -> None:
    assert (await ask(guard(keys={"alice": "k"}), method="GET", path=path, client=("192.168.1.7", 5))).status == 200


@pytest.mark.parametrize("path", ["/metrics", "/openapi.json", "/docs", "/docs/docs.js"])
@pytest.mark.parametrize(
    ("client", "status"),
    [(("127.0.0.1", 5), 200), (("::1", 5), 200), (("192.168.1.7", 5), 401), (("somebody", 5), 401), (None, 401)],
)
async def test_figures_and_document_need_no_key_on_this_machine(
    path: str, client: tuple[str, int] | None, status: int
) -> None:
    assert (await ask(guard(keys={"alice": "k"}), method="GET", path=path, client=client)).status == status


@pytest.mark.parametrize("header", ["x-forwarded-for", "forwarded"])
async def test_a_request_through_a_proxy_never_counts_as_of_this_machine(header: str) -> None:
    guarded = guard(keys={"alice": "k"})

    assert (await ask(guarded, method="GET", path="/metrics", headers={header: "127.0.0.1"})).status == 401


async def test_a_user_id_that_is_too_long_is_refused() -> None:
    answer = await ask(guard(), headers={"x-user-id": "u" * 257})
    assert (answer.status, answer.reason) == (422, "invalid_request")


async def test_an_address_that_guesses_keys_has_to_wait() -> None:
    guarded = guard(keys={"alice": "k"})
    guarded._authenticator = Authenticator(plain_keys(alice="k"), Brake(allowed=2, longest_seconds=60))
    guess = {"authorization": "Bearer wrong"}
    statuses = [(await ask(guarded, headers=guess, client=("192.0.2.7", 5))).status for _ in range(4)]
    assert statuses == [401, 401, 401, 429]
    refused = await ask(guarded, headers={"authorization": "Bearer k"}, client=("192.0.2.7", 6))
    assert (refused.status, refused.reason, refused.headers[b"retry-after"]) == (429, "rate_limited", b"1")
    assert (await ask(guarded, headers={"authorization": "Bearer k"}, client=("192.0.2.8", 5))).status == 200
    assert (await ask(guarded, method="GET", path="/health", client=("192.0.2.7", 5))).status == 200


# -- our own faults ---------------------------------------------------------------------------------


async def test_a_refusal_from_inside_becomes_its_response() -> None:
    inside = Inside()
    inside.error = Conflict("Taken.", reason="session_exists")
    assert (await ask(guard(inside))).status == 409


async def test_our_own_fault_shows_no_internals_and_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    inside = Inside()
    inside.error = ZeroDivisionError("secret")
    answer = await ask(guard(inside))
    assert (answer.status, answer.reason) == (500, "internal")
    assert b"secret" not in answer.body
    assert "secret" in caplog.text
    assert answer.headers[b"x-request-id"].decode() in caplog.text


async def test_a_fault_after_the_first_byte_is_left_to_the_server() -> None:
    inside = Inside()
    inside.begins_first = True
    inside.error = ZeroDivisionError("late")
    with pytest.raises(ZeroDivisionError):
        await ask(guard(inside))


async def test_what_is_not_a_request_passes() -> None:
    inside = Inside()
    await guard(inside)({"type": "lifespan"}, _nothing, Answer())
    assert inside.scope == {"type": "lifespan"}
