"""hector doctor: what it says of a proxy that harms streams, and that its lines mend it; and what else it finds."""

from __future__ import annotations

import asyncio
import re
import resource
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import yaml

from app.cli.connection import Target
from app.cli.findings import Finding
from app.cli.machine import judge_disk, judge_files, look_at_database, look_at_models
from app.cli.streams import look_at_streams
from app.config.load import load_config
from app.config.root import Config
from app.storage.engine.database import migrate_database
from tests.cli.command import Hector, Result
from tests.fixtures.harmful_proxy import Harm, HarmfulProxy
from tests.fixtures.nginx import Nginx, free_port
from tests.fixtures.server import HectorServer
from tests.fixtures.upstream import Upstream

pytestmark = pytest.mark.asyncio(loop_scope="module")
KEY = "key-of-alice-00000"
SETTINGS: dict[str, Any] = {
    "server": {"heartbeat": "1s", "shutdown_grace": "300ms"},
    "auth": {"keys": {"alice": KEY}},
    "embedders": {"default": {"type": "none"}},
    "llms": {"demo": {"type": "scripted", "script": ["Noted."]}},
    "agents": {"assistant": {}},
}
HARMS: dict[str, str] = {
    "well": "",
    "buffers": "proxy_ignore_headers X-Accel-Buffering;",
    "cuts": "proxy_read_timeout 500ms;",
    "compresses": "proxy_ignore_headers X-Accel-Buffering; gzip on; gzip_types text/event-stream; gzip_proxied any;",
}
"""What the lines of a location of nginx do to streams."""


def sites(lines: Mapping[str, str], port: int, plain_port: int) -> str:
    """A location for each harm, with `lines` in one inside it, where they count instead of those around them.

    nginx holds no body back that comes in chunks, as Hector's do, unless it compresses it; `plain_port` leads to
    Hector, too, and has no chunks.
    """
    places = ""
    for name, harm in HARMS.items():
        way = f"proxy_pass http://127.0.0.1:{plain_port if name == 'buffers' else port}/; proxy_http_version 1.1;"
        places += f"location /{name} {{ {harm} location /{name}/ {{ {way} {lines.get(name, '')} }} }}\n"
    return f'server {{ listen 127.0.0.1:{{port}}; {places} location /page/ {{ return 200 "Log in"; }} }}'


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[HectorServer]:
    started = HectorServer(Path(tmp_path_factory.mktemp("doctor")), SETTINGS, is_alone=True)
    await started.start()
    yield started
    await started.close()


@asynccontextmanager
async def nginx(folder: Path, server: HectorServer, lines: Mapping[str, str]) -> AsyncIterator[Callable[[str], str]]:
    """Gives the address of each harm, with `lines` against it."""
    folder.mkdir()
    async with (
        HarmfulProxy(server.port, "none") as plain,
        Nginx(folder, sites(lines, server.port, plain.port)) as proxy,
    ):
        yield lambda name: f"{proxy.base_url}/{name}"


async def examine(server: HectorServer, url: str) -> Finding:
    """What is found of the stream through `url`, once the one from the server itself is well."""
    direct, *public = await look_at_streams(Target(config=server.config_file), config_of(server), url)
    assert (direct.subject, direct.verdict) == ("stream", "ok")
    assert {found.subject for found in public} == {"public stream"}
    return public[-1]  # what is said of compression comes last


def config_of(server: HectorServer) -> Config:
    return load_config(server.config_file, environ={}).config


def nginx_lines(advice: Sequence[str]) -> str:
    return " ".join([line.strip() for line in advice if line.endswith(";")])


async def test_each_harm_of_nginx_is_named_and_the_lines_mend_it(server: HectorServer, tmp_path: Path) -> None:
    names = [*HARMS, "page"]
    async with nginx(tmp_path / "harmful", server, {}) as address:
        examined = await asyncio.gather(*[examine(server, address(name)) for name in names])
    seen = dict(zip(names, examined, strict=True))

    assert seen["well"].verdict == "ok"
    assert re.search(r"first bytes after \d+ ms, a heartbeat after \d\.\d s$", seen["well"].sentence)
    for name, words, lines in (
        ("buffers", "buffers it", "proxy_buffering off; proxy_cache off;"),
        ("cuts", "cuts it after ", "proxy_read_timeout 2m; proxy_send_timeout 2m;"),
        ("compresses", "compresses it (gzip) and holds it back", "gzip off;"),
    ):
        found = seen[name]
        assert found.verdict == "fail"
        assert words in found.sentence
        assert nginx_lines(found.advice) == lines
        assert "Caddy" not in str(found.advice)  # the proxy says that it is nginx
    assert seen["cuts"].advice[-1].strip() == "server: {heartbeat: 1s}"
    assert "does not stream: 200 text/plain" in seen["page"].sentence

    mending = {name: nginx_lines(seen[name].advice) for name in HARMS}
    async with nginx(tmp_path / "mended", server, mending) as address:
        examined = await asyncio.gather(*[examine(server, address(name)) for name in HARMS])
    assert [found.verdict for found in examined] == ["ok"] * len(HARMS)


async def test_lines_for_both_proxies_are_shown_for_one_that_does_not_say_what_it_is(server: HectorServer) -> None:
    await asyncio.gather(
        told_of(server, "buffers", "buffers it: nothing came within 3 s", "proxy_buffering off;", "flush_interval -1"),
        told_of(server, "cuts", "cuts it after ", "proxy_read_timeout 2m;", "    read_timeout 2m"),
        told_of(server, "compresses", "compresses it (gzip) and holds it back", "gzip off;", "encode {"),
    )


async def told_of(server: HectorServer, harm: Harm, words: str, *lines: str) -> None:
    async with HarmfulProxy(server.port, harm) as proxy:
        done = await Hector(server.folder)("doctor", "--url", proxy.base_url)
    assert done.code == 1
    [line] = [line for line in done.out.splitlines() if line.startswith("fail")]
    assert line.startswith(f"fail  public stream: {proxy.base_url} {words}")
    for advice in lines:
        assert f"          {advice}" in done.out
    assert KEY not in done.out + done.err


async def test_a_proxy_that_does_no_harm_is_well_and_nothing_stays(server: HectorServer) -> None:
    async with HarmfulProxy(server.port, "none") as proxy:
        assert (await examine(server, proxy.base_url)).verdict == "ok"
    sessions = await Hector(server.folder)("list", "assistant", "--json")
    assert sessions.json["sessions"] == []


async def test_an_address_that_nobody_answers_at_and_one_of_another_server_are_told(
    server: HectorServer, tmp_path: Path
) -> None:
    other = HectorServer(tmp_path, SETTINGS, is_alone=True)
    await other.start()
    there, nowhere = await asyncio.gather(
        examine(server, other.base_url), examine(server, f"http://127.0.0.1:{free_port()}")
    )
    await other.close()
    assert "404 session_not_found" in there.sentence
    assert there.advice == ("the address leads to a server with other data",)
    assert "cannot be reached" in nowhere.sentence


# -- without a server -------------------------------------------------------------------------------------------


def verdicts(done: Result) -> dict[str, tuple[str, str]]:
    return {found["subject"]: (found["verdict"], found["sentence"]) for found in done.json["findings"]}


async def test_without_a_server_the_rest_is_looked_at(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({"llms": SETTINGS["llms"]}))
    done = await Hector(tmp_path)("doctor", "--json")
    found = verdicts(done)
    assert done.code == 0
    assert {subject: verdict for subject, (verdict, _) in found.items()} == {
        "config": "ok",
        "database": "ok",
        "disk": "ok",
        "limits": found["limits"][0],  # the machine's
        "model demo": "ok",
        "stream": "skip",
    }
    assert "not there yet" in found["database"][1]
    assert not (tmp_path / "data").exists()


async def test_a_wrong_configuration_is_all_that_is_told(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("agents: {a: {llm: none}}\n")
    done = await Hector(tmp_path)("doctor", "--json")
    assert done.code == 2
    [(verdict, sentence)] = verdicts(done).values()
    assert verdict == "fail"
    assert "agents.a.llm" in sentence


async def test_few_open_files_are_a_warning() -> None:
    assert [found.verdict for found in judge_files(1024)] == ["warn"]
    assert [found.verdict for found in judge_files(65536)] == ["ok"]
    assert [found.verdict for found in judge_files(resource.RLIM_INFINITY)] == ["ok"]


@pytest.mark.parametrize(
    ("answer", "verdict", "words"),
    [
        ({"body": b'{"data": [{"id": "models/test-model"}]}'}, "ok", "test-model at http"),
        ({"body": b'{"data": [{"id": "another"}]}'}, "warn", "has no model 'test-model' in its list"),
        ({"body": b"not JSON"}, "ok", "test-model at http"),
        ({"status": 401}, "fail", "refuses the key (401); set llms.one.api_key"),
        ({"status": 404}, "ok", "so the key was not tried"),
        ({"status": 503}, "warn", "answers 503"),
    ],
)
async def test_what_a_provider_answers_is_told(answer: dict[str, Any], verdict: str, words: str) -> None:
    async with Upstream() as upstream:
        upstream.answer(**answer)
        [found] = await look_at_models(using(host=upstream.base_url, api_key="a-key"))
        assert [request.target.rpartition("/")[2] for request in upstream.requests] == ["models"]
    assert found.verdict == verdict
    assert words in found.sentence


async def test_a_provider_that_is_not_there_and_a_key_that_is_missing_are_told() -> None:
    nowhere = f"http://127.0.0.1:{free_port()}/v1"
    [dead] = await look_at_models(using(host=nowhere, api_key="a-key"))
    [keyless] = await look_at_models(using(host=nowhere))
    assert (dead.verdict, keyless.verdict) == ("fail", "fail")
    assert "cannot be reached" in dead.sentence
    assert keyless.sentence == "no key; set llms.one.api_key"


def using(**entry: str) -> Config:
    model = {"type": "openai", "model": "test-model", **entry}
    return Config.model_validate({"llms": {"one": model}, "agents": {"assistant": {"llm": "one"}}})


# -- the database -----------------------------------------------------------------------------------------------


async def test_the_database_is_looked_at_beside_its_server(server: HectorServer) -> None:
    state, clock, *_ = look_at_database(config_of(server))
    assert (state.verdict, clock.verdict) == ("ok", "ok")
    assert "schema " in state.sentence


async def test_a_clock_that_was_set_back_and_an_old_schema_are_told(tmp_path: Path) -> None:
    config = Config().at(tmp_path)
    migrate_database(config.storage.url)
    with sqlite3.connect(config.storage.path) as database:
        add_session(database, active_ms=int((time.time() + 3600) * 1000))
        database.execute("UPDATE alembic_version SET version_num = 'of_before'")
    database.close()
    state, clock = look_at_database(config)
    assert (state.verdict, clock.verdict) == ("warn", "warn")
    assert "schema of_before, and this release's is" in state.sentence
    assert re.fullmatch(r"the newest session is 3\d\d\d s in the future: the clock was set back", clock.sentence)


def add_session(database: sqlite3.Connection, *, active_ms: int) -> None:
    """A row with whatever else such a row needs."""
    columns = database.execute("SELECT name, type FROM pragma_table_info('sessions') WHERE \"notnull\"").fetchall()
    values = {name: 0 if kind in ("BIGINT", "INTEGER", "BOOLEAN") else "{}" for name, kind in columns}
    values["active_ms"] = active_ms
    marks = ", ".join("?" * len(values))
    database.execute(f"INSERT INTO sessions ({', '.join(values)}) VALUES ({marks})", list(values.values()))


async def test_postgres_tells_its_clock_and_its_room(postgres_url: str) -> None:
    await asyncio.to_thread(migrate_database, postgres_url)
    state, clock, *rest = look_at_database(Config.model_validate({"storage": {"url": postgres_url}}))
    assert (state.verdict, clock.verdict) == ("ok", "ok")
    assert clock.sentence.endswith("s from the database's")
    assert rest == []
    many = {"url": postgres_url, "pool_size": 10_000}
    *_, room = look_at_database(Config.model_validate({"storage": many}))
    assert room.verdict == "warn"
    assert "connections are free at PostgreSQL" in room.sentence


async def test_a_database_that_is_out_of_reach_is_told_without_its_password() -> None:
    url = f"postgresql://hector:secret-word@127.0.0.1:{free_port()}/hector"
    [found] = look_at_database(Config.model_validate({"storage": {"url": url}}))
    assert found.verdict == "fail"
    assert "secret-word" not in found.sentence


async def test_a_disk_that_is_nearly_full_is_told(tmp_path: Path) -> None:
    config = Config().at(tmp_path)
    assert [judge_disk(config, free).verdict for free in (1 << 40, 500 << 20, 1 << 20)] == ["ok", "warn", "fail"]
