"""A warm session's log: numbers taken at once, shown when they are committed, never shown when they are not."""

from __future__ import annotations

from app.domain.event import EventKind
from app.domain.session import SessionStatus
from app.events.log import SESSION_BYTES, SessionLog, StopOrder
from app.events.run import Run
from app.events.tape import Tape
from app.storage.engine.database import Database
from tests.fixtures.clock import Clock
from tests.fixtures.events import an_event
from tests.fixtures.rows import a_session

FACT = EventKind.TURN_QUEUED


class Bell:
    """A reader that only counts how often it was told."""

    def __init__(self) -> None:
        self.rung = 0

    def notify(self) -> None:
        self.rung += 1

    def cut(self) -> None: ...


def a_log(*, ring_bytes: int = 10_000, last_seq: int = 0) -> SessionLog:
    log = SessionLog(a_session(last_seq=last_seq), Database(None), ring_bytes=ring_bytes, clock_ms=Clock())
    log.tape = Tape("t1")
    return log


def numbers(runs: list[Run] | None) -> list[int] | None:
    return None if runs is None else [number for run in runs for number, _ in run.frames()]


def test_text_is_numbered_shown_and_told_once_a_read() -> None:
    log, bell = a_log(last_seq=40), Bell()
    log.enter(bell)
    log.append_text(EventKind.TEXT, [b"a", b"b", b"c"])
    assert (log.last_seq, log.visible_seq, bell.rung) == (43, 43, 1)
    assert numbers(log.tail_from(40)) == [41, 42, 43]


def test_a_fact_takes_its_number_at_once_and_hides_what_follows_until_it_is_committed() -> None:
    log, bell = a_log(), Bell()
    log.enter(bell)
    log.append_text(EventKind.TEXT, [b"a"])
    fact = log.take_fact(an_event(FACT))
    log.append_text(EventKind.TEXT, [b"b"])
    assert (log.last_seq, log.visible_seq, bell.rung) == (3, 1, 1)
    assert numbers(log.tail_from(0)) == [1]
    log.publish(fact)
    assert (log.visible_seq, bell.rung) == (3, 2)
    assert numbers(log.tail_from(1)) == [2, 3]


def test_facts_are_shown_in_the_order_of_their_numbers_whatever_is_committed_first() -> None:
    log = a_log()
    first, second, third = [log.take_fact(an_event(FACT)) for _ in range(3)]
    log.publish(third)
    log.publish(second)
    assert log.visible_seq == 0
    log.publish(first)
    assert log.visible_seq == 3


def test_a_fact_that_was_given_up_is_never_shown_and_hides_nothing() -> None:
    log = a_log()
    log.append_text(EventKind.TEXT, [b"a"])
    lost, kept = log.take_fact(an_event(FACT)), log.take_fact(an_event(FACT))
    log.append_text(EventKind.TEXT, [b"b"])
    log.void(lost)
    assert (log.visible_seq, numbers(log.tail_from(0))) == (2, [1]), "the number is used up"
    log.publish(kept)
    runs = log.tail_from(0)
    assert [run.first for run in runs or []] == [1, 3, 4]
    assert log.tape is not None
    assert [run.first for run in log.tape.read(0, 1000, merge=False)] == [1, 3, 4]


def test_a_fact_given_up_at_the_end_leaves_nothing_to_be_read() -> None:
    log = a_log()
    log.append_text(EventKind.TEXT, [b"a"])
    given_up = log.take_fact(an_event(EventKind.TURN_FINISHED))
    log.take_silent()
    log.void(given_up)
    assert (log.visible_seq, log.last_seq) == (3, 3)
    assert log.tail_from(1) == []
    assert numbers(log.tail_from(0)) == [1]


def test_the_last_number_is_taken_back_with_its_fact() -> None:
    """No reader may have it as a cursor: after a crash another event would have it."""
    log = a_log()
    log.append_text(EventKind.TEXT, [b"a"])
    for _ in range(3):
        log.void(log.take_fact(an_event(EventKind.ERROR)), log.take_fact(an_event(EventKind.TURN_FINISHED)))
    assert (log.visible_seq, log.last_seq) == (1, 1)


def test_the_ring_forgets_the_oldest_and_says_so() -> None:
    log = a_log(ring_bytes=300)
    for _ in range(50):
        log.append_text(EventKind.TEXT, [b"0123456789"])
    assert log.tail_from(0) is None
    assert numbers(log.tail_from(49)) == [50]
    assert log.tape is not None
    assert log.tape.text() == "0123456789" * 50


def test_the_ring_keeps_what_is_not_committed_yet() -> None:
    log = a_log(ring_bytes=100)
    fact = log.take_fact(an_event(FACT))
    for _ in range(50):
        log.append_text(EventKind.TEXT, [b"0123456789"])
    assert numbers(log.tail_from(0)) == []
    log.publish(fact)
    assert numbers(log.tail_from(0)) == list(range(1, 52))


def test_what_is_larger_than_the_ring_is_kept_alone() -> None:
    log = a_log(ring_bytes=100)
    log.append_text(EventKind.TEXT, [b"a"])
    log.append_text(EventKind.TEXT, [b"x" * 500])
    assert log.tail_from(0) is None
    assert numbers(log.tail_from(1)) == [2]


def test_the_tail_can_be_forgotten_but_not_what_waits_for_its_commit() -> None:
    log = a_log()
    log.append_text(EventKind.TEXT, [b"a"])
    fact = log.take_fact(an_event(FACT))
    log.drop_tail()
    assert log.tail_from(0) is None
    log.publish(fact)
    assert numbers(log.tail_from(1)) == [2]


def test_readers_are_counted_and_their_number_is_told() -> None:
    log, told = a_log(), []

    class Desk:
        weight = 0

        def readers_changed(self) -> None:
            told.append(log.readers)

        def order_stop(self) -> StopOrder:
            raise AssertionError("nobody terminates")

    log.desk = Desk()
    one, other = Bell(), Bell()
    log.enter(one)
    log.enter(other)
    log.leave(one)
    log.leave(other)
    assert told == [1, 2, 1, 0]
    log.wake()
    assert one.rung == 0


def test_it_is_idle_when_nobody_reads_nothing_runs_and_nothing_is_being_committed() -> None:
    log, bell = a_log(), Bell()

    def is_idle() -> bool:
        return log.is_idle

    assert not is_idle()
    log.tape = None
    assert is_idle()
    log.enter(bell)
    assert not is_idle()
    log.leave(bell)
    fact = log.take_fact(an_event(FACT))
    assert not is_idle()
    log.void(fact)
    assert is_idle()


def test_it_is_over_only_when_its_last_event_is_visible() -> None:
    log = a_log()
    fact = log.take_fact(an_event(EventKind.SESSION_TERMINATED))
    log.over = SessionStatus.TERMINATED
    assert not log.is_over
    log.publish(fact)
    assert log.is_over


def test_the_visible_text_ends_where_a_fact_waits_for_its_commit() -> None:
    log = a_log()
    log.reserved_seq = 100
    log.tape = Tape("turn_a")
    log.append_text(EventKind.TEXT, [b"one", b" two"])
    log.take_fact(an_event(EventKind.TURN_QUEUED))
    log.append_text(EventKind.TEXT, [b" three"])
    assert log.visible_text() == "one two"


def test_it_rests_with_the_last_reader_or_turn_and_keeps_no_events_then() -> None:
    log, one, other = a_log(), Bell(), Bell()
    rested: list[int] = []
    log.on_rest = lambda resting: rested.append(resting.weight)
    log.enter(one)
    log.enter(other)
    log.append_text(EventKind.TEXT, [b"a"] * 100)
    log.tape = None
    log.leave(one)
    assert numbers(log.tail_from(0)) == list(range(1, 101)), "a reader is left"
    log.is_busy = True
    log.leave(other)
    assert not rested
    log.is_busy = False
    log.rest()
    assert rested == [SESSION_BYTES]
    assert log.tail_from(0) is None


def test_the_ring_counts_the_objects_and_not_only_what_is_sent() -> None:
    log = a_log(ring_bytes=100_000)
    for _ in range(10_000):
        log.append_text(EventKind.TEXT, [b"a"])
    kept = log.tail_from(log.last_seq - 1)
    assert kept is not None
    assert log.tail_from(log.last_seq - 300) is None
    assert numbers(log.tail_from(log.last_seq - 100)) == list(range(log.last_seq - 99, log.last_seq + 1))
