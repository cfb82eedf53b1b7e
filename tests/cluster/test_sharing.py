"""What is shared with other servers, tended: a mirror that came a moment ago is left alone."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

from app.cluster.mirror import Mirror
from app.cluster.sharing import Sharing
from app.cluster.wire import Wire
from app.events.live import LiveSessions
from app.storage.engine.fence import FOREVER


class FakeMirror:
    """Remembers what it was told to do."""

    def __init__(self) -> None:
        self.owner = "b"
        self.is_over = self.is_unused = False
        self.told: list[str] = []

    def look_for_end(self) -> None:
        self.told.append("look for the end")

    def look_again(self, owner: str) -> None:
        self.told.append(f"look at {owner}")


class FakeDatabase:
    """Answers with who owns what; `meanwhile` happens before."""

    def __init__(self, owners: dict[str, str], meanwhile: Callable[[], None]) -> None:
        self._answers: list[Any] = [owners, []]
        self._meanwhile = meanwhile

    async def read(self, query: object) -> Any:
        self._meanwhile()
        return self._answers.pop(0)


async def test_a_mirror_that_is_made_while_the_database_is_asked_is_not_taken_for_one_of_a_session_that_is_gone() -> (
    None
):
    mirrors = {name: FakeMirror() for name in ("moved", "gone", "new")}

    def make_mirror() -> None:
        sharing._mirrors["new"] = cast(Mirror, mirrors["new"])

    database = FakeDatabase({"moved": "c"}, make_mirror)
    live = SimpleNamespace(durable=SimpleNamespace(database=database), peek=lambda session_id: None)
    wire = SimpleNamespace(serve=lambda name, handler: None)
    sharing = Sharing(
        cast(LiveSessions, live),
        cast(Wire, wire),
        roster=cast(Any, None),
        history=cast(Any, None),
        replica_id="a",
        lease=FOREVER,
        lease_seconds=1.0,
        is_alive=lambda replica_id: True,
        takeover=cast(Any, None),
        settle_ending=lambda session_log: None,
        receipt_of=cast(Any, None),
    )
    sharing._mirrors |= {name: cast(Mirror, mirrors[name]) for name in ("moved", "gone")}
    await sharing.tend()
    assert {name: mirror.told for name, mirror in mirrors.items()} == {
        "moved": ["look at c"],
        "gone": ["look for the end"],
        "new": [],
    }
