"""The examples of the pages do what the pages say: curl lines, configurations, programs, answers, addresses."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
import yaml

from app.config.load import load_config
from tests.docs.pages import PAGES, ROOT, Block, blocks, page_ids
from tests.docs.shell import run, stand_in_for_jq
from tests.fixtures.server import HectorServer

pytestmark = pytest.mark.asyncio(loop_scope="module")

ANSWER = {"text": "Quantum computing uses quantum mechanics.", "delay_ms": 20}
SETTINGS: dict[str, Any] = {
    "server": {"shutdown_grace": "300ms"},
    "llms": {
        "demo": {"type": "scripted", "script": [{"text": "Quantum computing uses quantum mechanics.", "delay_ms": 20}]}
    },
    "agents": {
        "assistant": {
            "name": "My Assistant",
            "llm": "demo",
            "memory": {
                "working": {"strategy": "buffer_window"},
                "longterm": {
                    "storage_scope": "conversational",
                    "auto_recall": False,
                },  # examples do not know each other
            },
        }
    },
    "compat": {"agui": {"enabled": True}, "ai_sdk": {"enabled": True}},
    "document_stores": {"handbook": {"paths": [str(ROOT / "docs")], "patterns": ["documents.md"]}},
}
DEMO = yaml.safe_load((ROOT / "examples" / "demo" / "config.yaml").read_text(encoding="utf-8"))
for section in ("llms", "agents", "tools"):  # what `make demo` serves is asked by the pages, too
    SETTINGS[section] = SETTINGS.get(section, {}) | DEMO[section]
ADDRESS = "localhost:8080"
MARK = "=== example"
CURL = re.compile(r"\bcurl\b")  # not grpcurl
RUN_ELSEWHERE = {f"{name}.md" for name in ("a2a", "auth", "grpc", "python", "tools", "vectorshift", "webhooks")}
"""Pages whose programs have a test of their own: `test_NAME_page.py`."""
PAGES_WITH_CURL = [
    page
    for page in PAGES
    if page.name not in ("a2a.md", "auth.md")
    and any(CURL.search(block.text) for block in blocks(page) if block.language == "bash")
]
EVENT = re.compile(r"^data: (\{.*\})$", re.MULTILINE)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[HectorServer]:
    server = HectorServer(Path(tmp_path_factory.mktemp("docs")), SETTINGS)
    await server.start()
    try:
        yield server
    finally:
        await server.close()


def curl_blocks(page: Path) -> list[tuple[Block, Block | None]]:
    """Each block with curl lines, and the block that shows its answer, if there is one."""
    found = blocks(page)
    pairs = zip(found, [*found[1:], None], strict=True)
    return [
        (block, after if after is not None and shows_answer(after) else None)
        for block, after in pairs
        if block.language == "bash" and CURL.search(block.text)
    ]


def shows_answer(block: Block) -> bool:
    between = block.before.strip()
    return block.language in ("json", "") and (not between or between.endswith(":")) and len(between) < 60


@pytest.mark.parametrize("page", PAGES_WITH_CURL, ids=page_ids)
async def test_the_curl_lines_of_a_page_work_one_after_the_other(
    page: Path, server: HectorServer, tmp_path: Path
) -> None:
    pairs = curl_blocks(page)
    stand_in_for_jq(tmp_path)
    # One shell for the whole page: a variable set in one block is there in the next.
    script = "set -u\n" + "".join([f"{block.text}\necho; echo '{MARK}'\n" for block, _ in pairs])
    code, out, err = await run(["bash", "-c", script.replace(ADDRESS, f"127.0.0.1:{server.port}")], tmp_path)

    assert code == 0, err
    answers = out.split(MARK)
    for (block, shown), answer in zip(pairs, answers, strict=False):
        assert answer.strip(), f"{page.name}:{block.line} answers nothing: {err}"
        if shown is None:
            assert '"error"' not in answer, f"{page.name}:{block.line}: {answer}"
        elif shown.language == "json":
            assert_like(json.loads(answer), json.loads(shown.text), f"{page.name}:{shown.line}")
        else:
            assert_frames(answer, shown.text, f"{page.name}:{shown.line}")


def assert_like(found: Any, shown: Any, place: str) -> None:
    """The same keys with the same kinds of values; `null` is shown for what may be absent."""
    if isinstance(shown, dict):
        if not shown:
            return
        assert isinstance(found, dict), f"{place}: {found}"
        assert set(found) == set(shown), f"{place}: {sorted(set(found) ^ set(shown))}"
        for name, value in shown.items():
            if name != "metadata":
                assert_like(found[name], value, f"{place} {name}")
    elif isinstance(shown, list):
        assert isinstance(found, list), f"{place}: {found}"
        for one, other in zip(found, shown, strict=False):
            assert_like(one, other, f"{place} []")
    elif shown is not None and found is not None:
        kinds = (int, float) if isinstance(shown, (int, float)) and not isinstance(shown, bool) else type(shown)
        assert isinstance(found, kinds), f"{place}: {found!r} is not like {shown!r}"


def assert_frames(found: str, shown: str, place: str) -> None:
    """Each kind of frame that is shown came, with the same fields, and the stream ends as shown."""
    came: dict[str, dict[str, Any]] = {}
    for text in EVENT.findall(found):
        frame = json.loads(text)
        came.setdefault(frame.get("type", "text"), frame)
    texts = EVENT.findall(shown)
    assert texts, f"{place}: no frames"
    for text in texts:
        frame = json.loads(text)
        kind = frame.get("type", "text")
        assert kind in came, f"{place}: no {kind} in {found}"
        assert_like(came[kind], frame, f"{place} {kind}")
    assert found.strip().endswith("data: [DONE]") == shown.strip().endswith("data: [DONE]"), f"{place}: {found}"


YAML = [(page, block) for page in PAGES for block in blocks(page) if block.language == "yaml"]


@pytest.mark.parametrize(("page", "block"), YAML, ids=[f"{page.name}:{block.line}" for page, block in YAML])
async def test_a_configuration_of_a_page_loads(page: Path, block: Block, tmp_path: Path) -> None:
    """A block may stand on those before it on its page; one with models only gets an agent."""
    earlier = [other.text for other in blocks(page) if other.language == "yaml" and other.line <= block.line]
    settings: dict[str, Any] = {}
    for text in earlier:
        settings |= yaml.safe_load(text)
    if "llms" in settings and "agents" not in settings:
        settings["agents"] = {"assistant": {"llm": next(iter(settings["llms"]))}}
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(settings), encoding="utf-8")
    environ = {
        name: f"secret-of-this-page-{name}" for name in re.findall(r"\$\{(\w+)", path.read_text(encoding="utf-8"))
    }

    assert load_config(path, environ=environ).warnings == ()


PYTHON = [
    (page, block)
    for page in PAGES
    for block in blocks(page)
    if block.language == "python" and page.name not in RUN_ELSEWHERE
]


@pytest.mark.parametrize(("page", "block"), PYTHON, ids=[f"{page.name}:{block.line}" for page, block in PYTHON])
async def test_a_program_of_a_page_runs(page: Path, block: Block, server: HectorServer, tmp_path: Path) -> None:
    path = tmp_path / "example.py"
    path.write_text(block.text.replace(ADDRESS, f"127.0.0.1:{server.port}"), encoding="utf-8")
    code, out, err = await run([sys.executable, str(path)], tmp_path)

    assert code == 0, err
    assert "quantum" in out.lower()


async def test_the_api_page_has_every_route_and_no_other(server: HectorServer) -> None:
    page = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    shown = set(re.findall(r"^\| `([A-Z]+) (/[^`?]*)` \|", page, re.MULTILINE))
    async with httpx.AsyncClient(base_url=server.base_url, trust_env=False) as client:
        paths = (await client.get("/openapi.json")).json()["paths"]
    served = {(method.upper(), path) for path, operations in paths.items() for method in operations}

    assert shown == served


async def test_the_api_page_has_every_error(server: HectorServer) -> None:
    page = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    tree = (ROOT / "app" / "domain" / "errors.py").read_text(encoding="utf-8").split('"""')[1]
    reasons = set(re.findall(r"\b[a-z]+(?:_[a-z]+)*\b", " ".join(re.findall(r"[├└]── \w+ +(.*)", tree))))
    shown = set(re.findall(r"`([a-z_]+)`", "\n".join(re.findall(r"^\| \d{3} \|.*$", page, re.MULTILINE))))

    assert reasons - shown == set()


LINKS = [
    (page, link)
    for page in [*PAGES, *sorted((ROOT / "examples").rglob("*.md"))]
    for link in re.findall(r"\]\((?!https?:)([^)]+)\)", page.read_text(encoding="utf-8"))
]


@pytest.mark.parametrize(("page", "link"), LINKS, ids=[f"{page.name}-{link}" for page, link in LINKS])
async def test_a_link_leads_somewhere(page: Path, link: str) -> None:
    name, _, heading = link.partition("#")
    target = page.parent / name if name else page

    assert target.exists(), link
    if heading:
        titles = re.findall(r"^#+ (.*)$", target.read_text(encoding="utf-8"), re.MULTILINE)
        assert heading in [re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in titles]
