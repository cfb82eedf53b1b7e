"""The stores of a server: kept up to date beside its other work."""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from app.config.documents import DocumentStoreConfig
from app.documents import watch
from app.documents.stores import DocumentStores
from app.domain.errors import NotFound
from app.observability.metrics import Metrics
from app.search.hash_embedder import HashEmbedder
from app.storage import documents
from app.storage.engine.database import Database
from tests.documents.conftest import ReadingHere
from tests.fixtures.clock import Clock, Ids
from tests.fixtures.house import until

Open = Callable[..., DocumentStores]


@pytest.fixture
async def open_stores(sqlite: Database) -> AsyncIterator[Open]:
    tasks = []

    def make(stores: dict[str, Any], **options: Any) -> DocumentStores:
        usual: dict[str, Any] = {"new_id": Ids(), "clock_ms": Clock(), "reading": ReadingHere(), "least_seconds": 0}
        made = DocumentStores(
            sqlite,
            {name: DocumentStoreConfig.model_validate(store) for name, store in stores.items()},
            **(usual | options),
        )
        tasks.append(asyncio.create_task(made.run()))
        return made

    yield make
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


async def found(stores: DocumentStores, question: str) -> list[str]:
    return [Path(hit.path).name for hit in (await stores.search(question)).hits]


async def test_a_change_is_noticed_at_once(open_stores: Open, folder: Path) -> None:
    """A new file, a new folder, an editor's rename, a removal; the file that is named on its own, too."""
    single = folder.parent / "single.txt"
    single.write_text("owl")
    stores = open_stores({"a": {"paths": [folder, single]}})
    await until(stores.is_complete)
    await until(lambda: stores._watch._places is not None)

    (folder / "sub").mkdir()
    (folder / "sub" / "a.md").write_text("parrot")
    (folder / "new").write_text("eagle")
    (folder / "new").rename(folder / "b.md")
    (folder.parent / "other").write_text("raven")
    (folder.parent / "other").rename(single)

    async def all_there() -> bool:
        return [await found(stores, word) for word in ("parrot", "eagle", "raven", "owl")] == [
            ["a.md"],
            ["b.md"],
            ["single.txt"],
            [],
        ]

    await until(all_there, seconds=15)
    (folder / "sub" / "a.md").unlink()

    async def gone() -> bool:
        return await found(stores, "parrot") == []

    await until(gone, seconds=15)


async def test_a_folder_that_comes_later_is_watched_from_the_next_look_on(open_stores: Open, folder: Path) -> None:
    late = folder / "late"
    stores = open_stores({"a": {"paths": [late]}})
    await until(stores.is_complete)
    assert (await stores.state("a")).problems == ("late: no such file or directory",)  # its place is not for users
    late.mkdir()
    stores.schedule("a")
    await until(lambda: stores._watch._places is not None and len(stores._watch._places) == 1)

    (late / "a.md").write_text("parrot")

    async def there() -> bool:
        return await found(stores, "parrot") == ["a.md"]

    await until(there, seconds=15)
    assert (await stores.state("a")).problems == ()


async def test_a_name_that_is_not_utf8_does_not_end_the_watch(
    open_stores: Open, folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(watch, "FIRST_PAUSE_SECONDS", 0.01)
    stores = open_stores({"a": {"paths": [folder]}})
    await until(stores.is_complete)
    await until(lambda: stores._watch._places is not None)

    for number in range(3):
        (Path(os.fsdecode(os.path.join(os.fsencode(folder), b"\xff%d.md" % number)))).write_text("odd")
        await until(lambda: "watching documents was interrupted" in caplog.text, seconds=15)
        (folder / f"{number}.md").write_text(f"parrot{number}")

        async def there(number: int = number) -> bool:
            return await found(stores, f"parrot{number}") == [f"{number}.md"]

        await until(there, seconds=15)

    assert "papers/\\xff0.md: its name is not UTF-8" in (await stores.state("a")).problems
    assert str(folder) not in str((await stores.state("a")).problems)


async def test_without_a_watch_the_next_rescan_notices(open_stores: Open, folder: Path) -> None:
    stores = open_stores({"a": {"paths": [folder], "watch": False, "rescan": "50ms"}})
    await until(stores.is_complete)
    (folder / "a.md").write_text("parrot")

    async def there() -> bool:
        return await found(stores, "parrot") == ["a.md"]

    await until(there)


def test_what_may_concern_a_store(folder: Path) -> None:
    store = DocumentStoreConfig.model_validate({"paths": [folder], "patterns": ["**/*.md"]})
    (folder / "log.txt").touch()

    def may_concern(name: str) -> bool:
        return watch._may_concern(os.path.join(folder, name), store)

    assert [may_concern(name) for name in ("a.md", "x/b.md", "gone", ".")] == [True, True, True, False]
    assert [may_concern(name) for name in ("log.txt", ".git/x", "x/.a.md", "../b.md")] == [False] * 4


async def test_stores_are_listed_and_looked_up(open_stores: Open, folder: Path) -> None:
    (folder / "a.md").write_text("# A\nparrot\n# B\nfalcon")
    (folder / "b.pdf").write_text("no pdf")
    stores = open_stores({"a": {"paths": [folder]}, "b": {"paths": [folder / "a.md"]}}, embedder=HashEmbedder())
    await until(stores.is_complete)

    async def embedded() -> bool:
        return [state.counts.embedded for state in await stores.states()] == [2, 2]

    await until(embedded)
    first, second = await stores.states()
    assert (first.name, first.status, first.left) == ("a", "ready", 0)
    assert (first.counts.files, first.counts.problems, first.counts.chunks) == (2, 1, 2)
    assert (second.counts.files, second.counts.chunks, second.counts.embedded) == (1, 2, 2)
    assert [stores.shown("a", file.path) for file in await stores.files("a")] == ["papers/a.md", "papers/b.pdf"]
    assert [file.path for file in await stores.files("a", after="papers/a.md")] == [str(folder / "b.pdf")]
    assert [file.path for file in await stores.files("a", only_problems=True)] == [str(folder / "b.pdf")]
    assert len((await stores.search("parrot", ["a", "b"])).hits) == 4  # by meaning everything is near something
    for act in (stores.state("c"), stores.files("c"), stores.search("x", ["a", "c"])):
        with pytest.raises(NotFound, match="no document store 'c'"):
            await act


async def test_what_is_no_longer_configured_is_removed(open_stores: Open, folder: Path, sqlite: Database) -> None:
    (folder / "a.md").write_text("parrot")
    first = open_stores({"a": {"paths": [folder]}, "b": {"paths": [folder]}})
    await until(first.is_complete)

    second = open_stores({"b": {"paths": [folder]}})
    await until(second.is_complete)

    assert await sqlite.read(documents.stores) == ["b"]
    assert await found(second, "parrot") == ["a.md"]


async def test_a_look_that_fails_is_tried_again_and_stops_no_other_store(
    open_stores: Open, folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("app.documents.stores.RETRY_SECONDS", 0.3)
    reading, failures = ReadingHere(), 0

    def fail(order: dict[str, Any]) -> None:
        nonlocal failures
        if order["do"] == "scan" and order["roots"] == [str(folder / "a")] and failures < 2:
            failures += 1
            raise RuntimeError("a bug")

    reading.before_each = fail
    for name in ("a", "b"):
        (folder / name).mkdir()
        (folder / name / f"{name}.md").write_text("parrot")
    caplog.set_level(logging.CRITICAL)

    stores = open_stores({name: {"paths": [folder / name], "watch": False} for name in ("a", "b")}, reading=reading)

    await until(lambda: stores.is_complete(["b"]))
    assert (await stores.state("a")).problems == ("could not be updated; see the server log",)
    await until(stores.is_complete)
    assert failures == 2
    assert sorted(await found(stores, "parrot")) == ["a.md", "b.md"]


async def test_figures_are_told(open_stores: Open, folder: Path) -> None:
    (folder / "a.md").write_text("parrot")
    (folder / "b.pdf").write_text("no pdf")
    stores = open_stores({"a": {"paths": [folder], "watch": False}})
    await until(stores.is_complete)
    metrics = Metrics()
    stores.add_gauges(metrics)
    lines = {"hector_documents 2.0", "hector_document_chunks 1.0", "hector_documents_unread 1.0"}

    await until(lambda: lines <= set(metrics.text().decode().splitlines()))
    assert "hector_documents_left 0.0" in metrics.text().decode()


async def test_without_watchfiles_it_says_so_and_rescans(
    open_stores: Open, folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(watch, "find_spec", lambda name: None)
    (folder / "a.md").write_text("parrot")

    stores = open_stores({"a": {"paths": [folder]}})

    await until(stores.is_complete)
    assert await found(stores, "parrot") == ["a.md"]
    assert "pip install 'hector[documents]'" in caplog.text


def test_a_server_without_stores_loads_nothing_of_them(tmp_path: Path) -> None:
    script = (
        "import asyncio, sys\n"
        "from app.config.root import Config\n"
        "from app.main import create_app\n"
        "from app.runtime import Runtime\n"
        "async def main():\n"
        f"    storage = {{'url': 'sqlite:///{tmp_path}/h.db'}}\n"
        "    runtime = Runtime(Config.model_validate({'storage': storage, 'llms': {'d': {'type': 'scripted'}}}))\n"
        "    await runtime.open()\n"
        "    create_app(runtime)\n"
        "    await asyncio.wait([task for task in runtime._tasks if task.get_name() == 'documents of before'])\n"
        "    await runtime.close()\n"
        "asyncio.run(main())\n"
        # Not watchfiles: uvicorn loads it by itself where it is installed.
        "print([name for name in sys.modules if name.split('.')[0] in ('pypdf', 'docx', 'lxml')\n"
        "       or name.startswith('app.documents')])\n"
    )

    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert result.stdout == "[]\n"
