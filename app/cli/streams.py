"""What `hector doctor` looks at with a server: a stream from it, and one through the address that clients use."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote

from app.cli.addresses import UNIX, normal_url
from app.cli.connection import Target, reach
from app.cli.failures import Unreachable
from app.cli.findings import Finding, fail, ok, skip, warn
from app.cli.remedies import Harm, remedy
from app.cli.stream_watch import COMPRESSED, FIRST_SECONDS, Watched, watch
from app.config.root import Config
from hector_client import Client, HectorError

_DIRECT, _PUBLIC = "stream", "public stream"


async def look_at_streams(target: Target, config: Config, url: str | None) -> list[Finding]:
    """`url`: in place of `server.public_url`."""
    try:
        async with reach(target, needs_server=True) as found:
            if found.url.startswith(UNIX):
                return [skip(_DIRECT, "a command works on the data, and no server")]
            async with Client(normal_url(found.url), token=found.token or "") as client:
                agents = await client.agents()
                if not agents:
                    return [skip(_DIRECT, "the server has no agents for this key")]
                probe = _Probe(client, str(agents[0]["agent"]), found.token, config.server.heartbeat.total_seconds())
                return await _look(probe, normal_url(found.url), url or config.server.public_url)
    except Unreachable as error:
        return [skip(_DIRECT, str(error))]
    except HectorError as error:
        return [fail(_DIRECT, error.message)]


async def _look(probe: _Probe, direct: str, public: str | None) -> list[Finding]:
    if public is None:
        advice = "set server.public_url, or name an address with --url"
        return [_of_server(await probe.plain(direct)), skip(_PUBLIC, f"no address that clients use is known: {advice}")]
    public = normal_url(public)
    here, there, squeezed = await asyncio.gather(probe.plain(direct), probe.plain(public), probe.compressed(public))
    return [_of_server(here), *_of_proxy(public, there, squeezed)]


@dataclass(frozen=True, slots=True)
class _Probe:
    """Makes a session for each stream, which it ends: ephemeral ones, of which nothing stays."""

    client: Client
    agent: str
    token: str | None
    heartbeat_seconds: float

    async def plain(self, base_url: str) -> Watched:
        session = await self.client.agent(self.agent).create_session(ephemeral=True)
        url = self._url(base_url, session.session_id)
        return await watch(url, token=self.token, heartbeat_seconds=self.heartbeat_seconds, end=session.end)

    async def compressed(self, base_url: str) -> Watched:
        session = await self.client.agent(self.agent).create_session(ephemeral=True)
        url = self._url(base_url, session.session_id)
        return await watch(url, token=self.token, accept_encoding=COMPRESSED, end=session.end)

    def _url(self, base_url: str, session_id: str | None) -> str:
        return f"{base_url}/agents/{quote(self.agent, safe='')}/sessions/{session_id}/messages/stream"


def _of_server(seen: Watched) -> Finding:
    if seen.problem is not None or not seen.is_stream:
        return fail(_DIRECT, f"the server does not stream: {_answer(seen)}")
    if seen.cut_seconds is not None:
        return fail(_DIRECT, f"the server ended it after {seen.cut_seconds:.1f} s of silence; its log may say why")
    if seen.is_late:
        return fail(_DIRECT, "the server sent too little, too late; is it overloaded?")
    return ok(_DIRECT, _well(seen))


def _of_proxy(url: str, seen: Watched, squeezed: Watched) -> list[Finding]:
    refused = _refusal(url, seen)
    if refused is not None:
        return [refused]
    server = seen.headers.get("server", "")
    found = [_of_bytes(url, seen, server)]
    encoding = squeezed.headers.get("content-encoding", "identity")
    if squeezed.is_stream and encoding != "identity":
        held = " and holds it back" if squeezed.is_late else ""
        judge = fail if squeezed.is_late else warn
        sentence = f"{url} compresses it ({encoding}){held}: text comes in lumps"
        found.append(judge(_PUBLIC, sentence, *remedy(Harm.COMPRESSES, server)))
    return found


def _of_bytes(url: str, seen: Watched, server: str) -> Finding:
    if seen.cut_seconds is not None:
        sentence = f"{url} cuts it after {seen.cut_seconds:.1f} s of silence"
        return fail(_PUBLIC, sentence, *remedy(Harm.CUTS, server, silence_seconds=seen.cut_seconds))
    if seen.is_late:
        when = f"within {FIRST_SECONDS:g} s" if seen.first_seconds is None else "after the first piece"
        sentence = f"{url} buffers it: nothing came {when}, while the server had sent it"
        return fail(_PUBLIC, sentence, *remedy(Harm.BUFFERS, server))
    return ok(_PUBLIC, f"{url}: {_well(seen)}")


def _refusal(url: str, seen: Watched) -> Finding | None:
    """What is wrong where there is no stream at all."""
    if seen.problem is not None:
        return fail(_PUBLIC, f"{url} cannot be reached: {seen.problem}")
    if seen.is_stream or seen.status == 0:  # 0: headers are held back, too
        return None
    reason = _reason(seen)
    advice: Sequence[str] = ()
    if reason == "forbidden_host":
        advice = ("let the proxy pass the Host on, or add the name to server.allowed_hosts",)
    elif reason == "session_not_found":
        advice = ("the address leads to a server with other data",)
    elif seen.status in (401, 403):
        advice = ("let the proxy pass Authorization on; the same key is good without the proxy",)
    return fail(_PUBLIC, f"{url} does not stream: {_answer(seen)}", *advice)


def _answer(seen: Watched) -> str:
    if seen.problem is not None:
        return seen.problem
    kind = seen.headers.get("content-type", "no content type")
    return f"{seen.status} {_reason(seen) or kind}"


def _reason(seen: Watched) -> str | None:
    """Ours, if it is an error of ours."""
    try:
        found = json.loads(seen.body)["error"]["reason"]
    except (ValueError, KeyError, TypeError):
        return None
    return str(found)


def _well(seen: Watched) -> str:
    first, beat = seen.first_seconds or 0.0, seen.beat_seconds or 0.0
    return f"first bytes after {first * 1000:.0f} ms, a heartbeat after {beat:.1f} s"
