"""Commands between replicas: carried out once, in order, by their target; the sender learns what became of them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from app.cluster.wire import KEEP_MS, ReplicaGone
from app.domain.errors import Internal, NotFound, Unavailable
from tests.cluster.replicas import OpenReplica, Replica, now_ms, start_child
from tests.fixtures.eventually import eventually
from tests.fixtures.postgres import run


def rows(url: str) -> list[Any]:
    return run(url, "SELECT target, session_id, body, taken_ms IS NOT NULL FROM commands ORDER BY place")


async def until_taken(replica: Replica, *said: str) -> None:
    async def has() -> bool:
        return replica.carried_out == list(said)

    await eventually(has)


async def test_a_command_is_carried_out_by_its_target_and_leaves_no_row(
    a: Replica, b: Replica, postgres_url: str
) -> None:
    assert await a.wire.call("b", "echo", "s1", b"hello\x00\xff", seconds=10) == b"s1: hello\x00\xff"
    assert await b.wire.call("a", "echo", "s1", b"", seconds=10) == b"s1: "

    async def is_empty() -> bool:
        return rows(postgres_url) == []

    await eventually(is_empty)


async def test_what_a_handler_raises_is_raised_at_the_caller(a: Replica, b: Replica) -> None:
    with pytest.raises(NotFound) as refused:
        await a.wire.call("b", "refuse", "s1", b"this", seconds=10)
    error = refused.value
    assert (error.reason, error.details) == ("session_not_found", {"said": "this"})
    assert error.message == "There is no session 's1' here."


async def test_what_is_the_fault_of_the_target_shows_no_internals(
    a: Replica, b: Replica, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(Internal) as failed:
        await a.wire.call("b", "break", "s1", b"", seconds=10)
    assert "our fault" not in failed.value.message
    assert "this is our fault" in caplog.text


async def test_an_operation_that_the_target_does_not_know_is_refused(a: Replica, b: Replica) -> None:
    with pytest.raises(Unavailable, match="another release"):
        await a.wire.call("b", "unheard_of", "s1", b"", seconds=10)


async def test_commands_of_one_session_are_carried_out_in_the_order_in_which_they_were_sent(
    a: Replica, b: Replica
) -> None:
    sent = [(f"s{number % 7}", number) for number in range(200)]
    answers = await asyncio.gather(
        *[a.wire.call("b", "note", session, b"%d" % number, seconds=30) for session, number in sent]
    )
    assert answers == [b"%d" % number for _, number in sent]
    for session in {session for session, _ in sent}:
        carried_out = [said for said in b.carried_out if said.startswith(f"{session} ")]
        assert carried_out == [f"{name} {number}" for name, number in sent if name == session]
    assert len(b.carried_out) == len(sent)


async def test_a_slow_command_holds_up_its_session_and_no_other(a: Replica, b: Replica) -> None:
    slow = asyncio.ensure_future(a.wire.call("b", "wait", "s1", b"slow", seconds=30))
    await until_taken(b, "s1 slow")
    behind = asyncio.ensure_future(a.wire.call("b", "note", "s1", b"next", seconds=30))
    assert await a.wire.call("b", "echo", "s2", b"x", seconds=10) == b"s2: x"
    assert b.carried_out == ["s1 slow"]
    b.may_go_on.set()
    assert [await slow, await behind] == [b"slow", b"next"]


async def test_a_slow_target_that_is_told_again_carries_a_command_out_once(
    a: Replica, b: Replica, postgres_url: str
) -> None:
    slow = asyncio.ensure_future(a.wire.call("b", "wait", "s1", b"slow", seconds=30))
    await until_taken(b, "s1 slow")
    (channel,) = run(
        postgres_url,
        "SELECT 'hector_' || to_hex(hashtext(current_schema())) || '_' || to_hex(hashtextextended('b', 0))",
    )[0]
    for _ in range(5):
        run(postgres_url, f"NOTIFY \"{channel}\", 'c'")
        await a.wire.call("b", "echo", "s2", b"x", seconds=10)
    # A crash of Postgres may undo that the command was taken: the target still knows.
    run(postgres_url, "UPDATE commands SET taken_ms = NULL", f"NOTIFY \"{channel}\", 'c'")
    await a.wire.call("b", "echo", "s2", b"x", seconds=10)
    b.may_go_on.set()
    assert await slow == b"slow"
    assert b.carried_out == ["s1 slow"]


async def test_the_row_of_a_command_keeps_no_text_once_it_is_taken(a: Replica, b: Replica, postgres_url: str) -> None:
    slow = asyncio.ensure_future(a.wire.call("b", "wait", "s1", b"a secret", seconds=30))
    await until_taken(b, "s1 a secret")
    assert rows(postgres_url) == [("b", "", b"", True)]
    b.may_go_on.set()
    await slow


async def test_a_target_that_nobody_knows_is_gone_and_was_not_asked(a: Replica, postgres_url: str) -> None:
    with pytest.raises(ReplicaGone) as gone:
        await a.wire.call("nobody", "echo", "s1", b"", seconds=30)
    assert (gone.value.replica_id, gone.value.was_taken) == ("nobody", False)
    assert rows(postgres_url) == []


async def test_a_target_whose_lease_ran_out_is_gone(a: Replica, b: Replica, postgres_url: str) -> None:
    b.renew(-1)
    with pytest.raises(ReplicaGone):
        await a.wire.call("b", "echo", "s1", b"", seconds=30)
    assert rows(postgres_url) == []


async def test_a_target_that_is_buried_while_we_wait_is_gone(a: Replica, b: Replica, postgres_url: str) -> None:
    slow = asyncio.ensure_future(a.wire.call("b", "wait", "s1", b"slow", seconds=30))
    await until_taken(b, "s1 slow")
    run(postgres_url, "DELETE FROM replicas WHERE id = 'b'")
    with pytest.raises(ReplicaGone) as gone:
        await slow
    assert gone.value.was_taken


async def test_a_killed_target_is_noticed_with_the_end_of_its_lease(a: Replica, postgres_url: str) -> None:
    child = start_child("child", postgres_url, lease_seconds=1.5)
    try:
        assert await a.wire.call("child", "echo", "s1", b"x", seconds=10) == b"s1: x"
        waiting = asyncio.ensure_future(a.wire.call("child", "wait", "s1", b"", seconds=50))
        await until_row_is_taken(postgres_url)
        child.kill()
        with pytest.raises(ReplicaGone) as gone:
            await waiting
        assert gone.value.was_taken
        overdue = run(
            postgres_url, "SELECT extract(epoch FROM clock_timestamp() - lease_until) FROM replicas WHERE id = 'child'"
        )
        assert 0 <= overdue[0][0] < 5
    finally:
        child.kill()
        child.wait()
        assert child.stdout is not None
        child.stdout.close()


async def until_row_is_taken(url: str) -> None:
    async def is_taken() -> bool:
        return [row[3] for row in rows(url)] == [True]

    await eventually(is_taken)


async def test_a_command_that_is_not_taken_in_time_is_taken_back(a: Replica, postgres_url: str) -> None:
    deaf = Replica("deaf", postgres_url)
    deaf.renew(3600)
    with pytest.raises(Unavailable, match="was not asked"):
        await a.wire.call("deaf", "note", "s1", b"late", seconds=0.2)
    assert rows(postgres_url) == []
    await deaf.wire.open()
    assert await a.wire.call("deaf", "note", "s1", b"in time", seconds=10) == b"in time"
    assert deaf.carried_out == ["s1 in time"]
    await deaf.close()


async def test_a_command_that_is_not_answered_in_time_may_still_be_carried_out(
    a: Replica, b: Replica, postgres_url: str
) -> None:
    with pytest.raises(Unavailable, match="may still do"):
        await a.wire.call("b", "wait", "s1", b"", seconds=0.3)
    assert rows(postgres_url) == []
    b.may_go_on.set()


async def test_commands_that_were_there_before_the_target_listened_are_found(a: Replica, postgres_url: str) -> None:
    late = Replica("late", postgres_url)
    late.renew(3600)
    call = asyncio.ensure_future(a.wire.call("late", "note", "s1", b"x", seconds=30))

    async def is_there() -> bool:
        return len(rows(postgres_url)) == 1

    await eventually(is_there)
    await late.wire.open()
    assert await call == b"x"
    await late.close()


async def test_a_command_that_is_erased_with_its_session_before_it_is_taken_is_sent_again(
    a: Replica, postgres_url: str
) -> None:
    late = Replica("late", postgres_url)
    late.renew(3600)
    call = asyncio.ensure_future(a.wire.call("late", "refuse", "s1", b"x", seconds=50))

    async def is_erased() -> bool:
        return bool(run(postgres_url, "DELETE FROM commands WHERE session_id = 's1' RETURNING id"))

    await eventually(is_erased)
    await late.wire.open()
    with pytest.raises(NotFound):
        await call
    await late.close()


async def test_a_command_whose_row_is_lost_while_it_is_carried_out_is_carried_out_once(
    a: Replica, b: Replica, postgres_url: str
) -> None:
    """As a crash of the database may do."""
    slow = asyncio.ensure_future(a.wire.call("b", "wait", "s1", b"slow", seconds=50))
    await until_taken(b, "s1 slow")
    assert len(run(postgres_url, "DELETE FROM commands RETURNING id")) == 1

    async def is_there_again() -> bool:
        return len(rows(postgres_url)) == 1

    await eventually(is_there_again)
    b.may_go_on.set()
    assert await slow == b"slow"
    assert b.carried_out == ["s1 slow"]


async def test_an_answer_whose_row_is_lost_is_given_again(a: Replica, b: Replica, postgres_url: str) -> None:
    async def answer(session_id: str, body: bytes) -> bytes:
        run(postgres_url, "DELETE FROM commands")
        return b.name.encode()

    b.wire.serve("lose", answer)
    assert await a.wire.call("b", "lose", "s1", b"", seconds=50) == b"b"


async def test_a_command_that_erases_its_session_is_answered(a: Replica, b: Replica, postgres_url: str) -> None:
    async def terminate(session_id: str, body: bytes) -> bytes:
        run(postgres_url, f"DELETE FROM commands WHERE session_id = '{session_id}'")
        return b"the receipt"

    b.wire.serve("terminate", terminate)
    assert await a.wire.call("b", "terminate", "s1", b"", seconds=10) == b"the receipt"


async def test_what_nobody_waits_for_any_more_is_swept(
    a: Replica, b: Replica, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    columns = "(id, target, sender, operation, session_id, body, created_ms, taken_ms)"
    old, new = now_ms() - KEEP_MS - 5_000, now_ms()
    run(
        postgres_url,
        f"INSERT INTO commands {columns} VALUES ('old', 'b', 'a', 'echo', '', '', {old}, 1),"
        f" ('orphaned', 'b', 'gone', 'echo', '', '', {new}, 1), ('new', 'b', 'a', 'echo', '', '', {new}, 1)",
    )
    a.wire._exchange.sweep(before_ms=now_ms() - KEEP_MS)

    async def is_swept() -> bool:
        return run(postgres_url, "SELECT id FROM commands") == [("new",)]

    await eventually(is_swept)


async def test_more_commands_than_a_replica_carries_out_at_a_time_wait_their_turn(a: Replica, b: Replica) -> None:
    many = [asyncio.ensure_future(a.wire.call("b", "wait", f"s{n}", b"", seconds=40)) for n in range(600)]

    async def is_full() -> bool:
        return len(b.carried_out) == 512

    await eventually(is_full)
    await asyncio.sleep(0.1)
    assert len(b.carried_out) == 512
    b.may_go_on.set()
    await asyncio.gather(*many)
    assert len(b.carried_out) == 600


# -- everybody ---------------------------------------------------------------------------------------------------


async def test_all_others_are_told_before_tell_all_returns(a: Replica, b: Replica, open_replica: OpenReplica) -> None:
    c = await open_replica("c")
    await a.wire.tell_all("note", b"x", seconds=10)
    assert (a.carried_out, b.carried_out, c.carried_out) == ([], [" x"], [" x"])


async def test_one_that_is_alone_has_nobody_to_tell(a: Replica) -> None:
    await a.wire.tell_all("note", b"x", seconds=0)


async def test_a_replica_that_dies_while_it_is_told_counts_as_told(
    a: Replica, b: Replica, open_replica: OpenReplica
) -> None:
    dying = await open_replica("dying")
    telling = asyncio.ensure_future(a.wire.tell_all("wait", b"x", seconds=50))
    await until_taken(dying, " x")
    await until_taken(b, " x")
    b.may_go_on.set()
    await asyncio.sleep(0.1)
    assert not telling.done()
    dying.renew(-1)
    await telling
    assert not await a.knows("dying")  # nor may it wake up, untold


async def test_tell_all_says_when_one_failed_or_does_not_answer(
    a: Replica, b: Replica, open_replica: OpenReplica
) -> None:
    await open_replica("c")
    with pytest.raises(Unavailable, match="Not all servers"):
        await a.wire.tell_all("break", b"", seconds=10)
    with pytest.raises(Unavailable, match="Not all servers"):
        await a.wire.tell_all("wait", b"", seconds=0.2)
    b.may_go_on.set()


# -- closing -----------------------------------------------------------------------------------------------------


async def test_at_a_close_what_is_carried_out_is_answered(
    a: Replica, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.cluster.service.CLOSE_SECONDS", 0.1)
    closing = Replica("closing", postgres_url)
    await closing.open()
    slow = asyncio.ensure_future(a.wire.call("closing", "wait", "s1", b"", seconds=30))
    await until_taken(closing, "s1 ")
    await closing.close()
    with pytest.raises(Unavailable) as refused:
        await slow
    assert refused.value.reason == "shutting_down"


async def test_a_wire_that_is_closed_lets_nobody_wait(a: Replica, b: Replica) -> None:
    slow = asyncio.ensure_future(a.wire.call("b", "wait", "s1", b"", seconds=30))
    await until_taken(b, "s1 ")
    await a.wire.close()
    for call in (slow, a.wire.call("b", "echo", "s1", b"", seconds=30)):
        with pytest.raises(Unavailable) as refused:
            await call
        assert refused.value.reason == "shutting_down"
