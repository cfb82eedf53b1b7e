"""Requests that always fit: what gives way, in which order, and that it is never the goal."""

from __future__ import annotations

from collections.abc import Sequence

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.llm import tokens
from app.memory.clearing import LEAST_BYTES
from app.memory.working import Entry, calls_entry, entry, tool_entry
from app.turns.fitting import LEAST_GOAL, LEAST_STEP, Fitted, fit
from app.turns.template import in_template
from tests.turns.test_template import refuse_with_tools

WORDS = "The quick brown fox jumps over the lazy dog, and writes 12 lines of `code = [1, 2]` about it. "
GOAL = "Find out why the build is red and mend it."


class Story:
    """Makes messages with ids of their own."""

    def __init__(self) -> None:
        self._number = 0

    def _id(self) -> str:
        self._number += 1
        return f"msg_{self._number}"

    def say(self, role: str, text: str) -> Entry:
        return entry(role, text, self._id(), self._number)

    def step(self, *results: str, name: str = "look", arguments: str = "{}", is_kept: bool = False) -> list[Entry]:
        calls = [(f"call_{self._number}_{place}", name, arguments) for place in range(len(results))]
        made = [calls_entry("", calls, self._id(), self._number)]
        for (call_id, *_), text in zip(calls, results, strict=True):
            handle = f"res_{call_id}"
            made.append(tool_entry(call_id, name, text, self._id(), self._number, handle=handle, is_kept=is_kept))
        return made


def total(fitted: Fitted) -> int:
    return sum([message.count(tokens.count) for message in fitted.entries])


def texts(fitted: Fitted, role: str) -> list[str]:
    return [message.text() for message in fitted.entries if message.role == role]


def refuse(fitted: Fitted) -> str | None:
    return refuse_with_tools([orjson.loads(message.encoded) for message in fitted.entries])


# -- whatever it is ---------------------------------------------------------------------------------------------------

PARTS = st.lists(
    st.tuples(
        st.sampled_from(["user", "assistant", "step", "step", "step", "todo", "orphan"]),
        st.integers(1, 1500),
        st.integers(1, 3),
    ),
    max_size=12,
)


def made(story: Story, parts: Sequence[tuple[str, int, int]]) -> list[Entry]:
    messages: list[Entry] = []
    for kind, size, calls in parts:
        text = (WORDS * (size // len(WORDS) + 1))[:size]
        if kind == "step":
            arguments = orjson.dumps({"text": text[:: 2 * calls]}).decode()
            messages += story.step(*[text[place:] or "x" for place in range(calls)], arguments=arguments)
        elif kind == "todo":
            messages += story.step(text[:80], name="todo_write")
        elif kind == "orphan":
            messages += story.step(text)[1:]
        else:
            messages.append(story.say(kind, text))
    return messages


def least_needed(system: Entry, turn: Sequence[Entry]) -> int:
    """Tokens with which a turn is possible for certain, when there is nothing in it that must stay."""
    newest = next((message for message in reversed(turn) if message.role == "assistant" and message.call_ids), None)
    steps = len(newest.call_ids) * (2 * LEAST_STEP + 120) if newest is not None else 0
    return system.count(tokens.count) + 2 * (LEAST_GOAL + 4) + steps + 2 * LEAST_STEP + 180


@given(PARTS, PARTS, st.integers(1, 900), st.integers(60, 2500))
@settings(deadline=None, max_examples=150)
def test_any_request_fits_or_is_said_not_to(
    earlier: list[tuple[str, int, int]], later: list[tuple[str, int, int]], goal: int, limit: int
) -> None:
    story = Story()
    system, history = entry("system", "Be brief."), made(story, earlier)
    turn = [story.say("user", (GOAL + WORDS * 10)[:goal]), *made(story, later)]
    fitted = fit(system, history, turn, limit_tokens=limit, count_tokens=tokens.count, tools_tokens=10)
    assert refuse(fitted) is None
    assert fitted.is_possible == (total(fitted) + 10 <= limit)
    said = "\n".join(texts(fitted, "user"))
    assert turn[0].text() in said or (fitted.is_goal_cut and turn[0].text()[:5] in said) or not fitted.is_possible
    if not any(kind == "todo" for kind, *_ in [*earlier, *later]):
        assert fitted.is_possible or limit < least_needed(system, turn) + 10
    again = fit(
        system, history, turn, limit_tokens=limit, count_tokens=tokens.count, tools_tokens=10, cleared=fitted.cleared
    )
    assert again.cleared >= fitted.cleared
    assert again.is_possible or not fitted.is_possible


@given(PARTS, PARTS)
@settings(deadline=None)
def test_what_fits_is_sent_as_it_is(earlier: list[tuple[str, int, int]], later: list[tuple[str, int, int]]) -> None:
    story = Story()
    history, turn = made(story, earlier), [story.say("user", GOAL), *made(story, later)]
    whole = [message.encoded for message in in_template([*history, *turn])]
    for limit in (10**6, 13_000):
        fitted = fit(None, history, turn, limit_tokens=limit, count_tokens=tokens.count)
        assert [message.encoded for message in fitted.entries] == whole
        assert (fitted.cleared, fitted.dropped, fitted.is_possible) == (frozenset(), 0, True)


# -- much -------------------------------------------------------------------------------------------------------------

INLINE = (WORDS * 200)[: 16 * 1024]


@pytest.mark.parametrize("is_one_turn", [True, False])
def test_500_results_of_40_kb_fit_a_window_of_8000_tokens(is_one_turn: bool) -> None:
    story = Story()
    steps = [story.step(f"{place} {INLINE}") for place in range(500)]
    if is_one_turn:
        history: list[Entry] = []
        turn = [story.say("user", GOAL), *[message for step in steps for message in step]]
    else:
        history = [
            one
            for step in steps
            for one in [story.say("user", "And this one?"), *step, story.say("assistant", "It is green.")]
        ]
        turn = [story.say("user", GOAL)]
    counted: list[int] = []

    def count(text: str) -> int:
        counted.append(len(text))
        return tokens.count(text)

    fitted = fit(entry("system", "Be brief."), history, turn, limit_tokens=8000, count_tokens=count, tools_tokens=700)
    assert fitted.is_possible
    assert 3000 < total(fitted) <= 8000 - 700
    assert refuse(fitted) is None
    assert GOAL in texts(fitted, "user")[0 if is_one_turn else -1]
    assert sum(counted) < 20 * len(INLINE), "old results are not counted"


def test_a_turn_of_500_steps_fits_at_each_of_them_and_mostly_begins_like_the_step_before() -> None:
    story = Story()
    history = [story.say("user", "Hello"), story.say("assistant", "Hello! " + WORDS * 5)]
    turn, cleared = [story.say("user", GOAL)], frozenset[str]()
    before: Sequence[Entry] = []
    anew = 0
    for _ in range(500):
        fitted = fit(None, history, turn, limit_tokens=8000, count_tokens=tokens.count, cleared=cleared)
        assert fitted.is_possible
        assert any(GOAL in text for text in texts(fitted, "user"))
        shown = fitted.entries
        anew += [one.encoded for one in shown[: len(before)]] != [one.encoded for one in before]
        before, cleared = shown, frozenset(fitted.cleared)
        turn += story.step(WORDS * 12, arguments='{"path": "src/module.py"}')
    assert fitted.dropped == 2
    assert fitted.dropped_calls > 300
    assert anew < 125


# -- in which order ---------------------------------------------------------------------------------------------------


def fitted_to(limit: int, history: Sequence[Entry], turn: Sequence[Entry], system: str = "Be brief.") -> Fitted:
    fitted = fit(entry("system", system), history, turn, limit_tokens=limit, count_tokens=tokens.count)
    assert refuse(fitted) is None
    assert fitted.is_possible == (total(fitted) <= limit)
    return fitted


def test_old_results_give_way_before_messages_do_and_the_newest_three_stay() -> None:
    story = Story()
    history = [story.say("user", "Look"), *story.step(WORDS * 40), story.say("assistant", "Seen.")]
    turn = [story.say("user", GOAL), *[message for _ in range(4) for message in story.step(WORDS * 40)]]
    fitted = fitted_to(5000, history, turn)
    results = texts(fitted, "tool")
    assert results[0].startswith("[result of look was removed to save room: 3760 characters; read_result(")
    assert results[0].endswith('("res_call_1_0") gives it back]')
    assert [len(text) > LEAST_BYTES for text in results] == [False, False, True, True, True]
    assert (fitted.dropped, fitted.dropped_calls, fitted.is_goal_cut) == (0, 0, False)
    assert fitted.cleared == {history[2].message_id, turn[2].message_id}


def test_what_was_cleared_stays_so() -> None:
    story = Story()
    turn = [story.say("user", GOAL), *[message for _ in range(6) for message in story.step(WORDS * 40)]]
    fitted = fitted_to(5000, [], turn)
    again = fit(None, [], turn, limit_tokens=10**6, count_tokens=tokens.count, cleared=fitted.cleared)
    assert [one.encoded for one in again.entries] == [one.encoded for one in fitted.entries[1:]]


def test_old_messages_give_way_before_new_results_do() -> None:
    story = Story()
    history = [story.say(role, WORDS * 20) for _ in range(4) for role in ("user", "assistant")]
    turn = [story.say("user", GOAL), *story.step(WORDS * 40)]
    fitted = fitted_to(5000, history, turn)
    assert texts(fitted, "tool") == [WORDS * 40]
    assert texts(fitted, "user")[-1] == GOAL
    assert fitted.dropped == 6


def test_new_results_are_cut_to_head_and_tail_before_steps_are_dropped() -> None:
    story = Story()
    turn = [story.say("user", GOAL), *story.step("Begin " + WORDS * 400 + "end.", "short")]
    fitted = fitted_to(2000, [], turn)
    long, short = texts(fitted, "tool")
    assert long.startswith("Begin The quick")
    assert long.endswith("about it. end.")
    assert 'characters left out; read_result("res_call_1_0") gives them …]' in long
    assert short == "short"
    assert fitted.dropped_calls == 0


def test_old_steps_are_dropped_with_a_note_but_not_the_newest() -> None:
    story = Story()
    turn = [story.say("user", GOAL), *[one for n in range(60) for one in story.step(f"done {n}", name=f"t{n % 2}")]]
    fitted = fitted_to(900, [], turn)
    goal, note = texts(fitted, "user")[0].split("\n\n")
    assert goal == GOAL
    dropped = fitted.dropped_calls
    assert note.startswith(f"[{dropped} earlier calls of this turn were removed to save room: t0 ×{(dropped + 1) // 2}")
    assert texts(fitted, "tool") == [f"done {n}" for n in range(dropped, 60)]
    assert 0 < dropped < 60


def test_the_goal_is_cut_last_in_its_middle() -> None:
    story = Story()
    goal = "Please " + WORDS * 400 + "Thank you."
    fitted = fitted_to(1000, [story.say("user", "Hi"), story.say("assistant", "Hi")], [story.say("user", goal)])
    (said,) = texts(fitted, "user")
    assert said.startswith("Please The quick")
    assert said.endswith("Thank you.")
    assert "characters of this message were left out: it is too long for this model" in said
    assert fitted.is_goal_cut
    assert total(fitted) > 600


def test_the_newest_list_of_todos_and_what_is_kept_never_give_way() -> None:
    story = Story()
    todos = ["first list", "second list " + "- [ ] mend\n" * 50]
    history = [
        story.say("user", "Plan"),
        *story.step(todos[0], name="todo_write"),
        *story.step("K" * 900, is_kept=True),
    ]
    turn = [story.say("user", GOAL), *story.step(todos[1], name="todo_write")]
    turn += [message for _ in range(9) for message in story.step(WORDS * 30, arguments='{"text": "%s"}' % (WORDS * 9))]
    fitted = fitted_to(1800, history, turn)
    results = texts(fitted, "tool")
    assert "K" * 900 in results
    assert todos[1] in results
    assert todos[0] not in results
    assert fitted.is_possible
    again = fitted_to(1500, history, [story.say("user", GOAL)])
    assert texts(again, "tool") == [todos[0], "K" * 900]
    again = fit(None, history, [], limit_tokens=1500, count_tokens=tokens.count, cleared={history[1].message_id})
    assert todos[0] in texts(again, "tool"), "the newest list there is"


def test_every_limit_is_kept_to_the_token_with_what_the_template_adds() -> None:
    story = Story()
    history = story.step("K" * 300, is_kept=True)
    turn = [story.say("user", GOAL + WORDS * 40), story.say("assistant", "Well.")]
    for limit in range(300, 340):
        fitted = fitted_to(limit, history, turn)
        assert fitted.is_possible
        assert fitted.is_goal_cut
        assert limit - total(fitted) < 40


def test_the_newest_step_stays_when_a_long_message_follows_it() -> None:
    story = Story()
    turn = [story.say("user", GOAL), *story.step("first"), *story.step("second"), story.say("user", WORDS * 60)]
    fitted = fitted_to(500, [], turn)
    assert texts(fitted, "tool") == ["second"]
    assert fitted.is_possible


def test_of_many_messages_in_a_turn_the_first_and_the_newest_stay() -> None:
    story = Story()
    turn = [story.say("user", GOAL), *[story.say("user", f"{n} {WORDS * 4}") for n in range(40)]]
    fitted = fitted_to(800, [], turn)
    (said,) = texts(fitted, "user")
    assert said.startswith(f"{GOAL}\n\n")
    assert said.endswith(f"39 {WORDS * 4}")
    assert not fitted.is_goal_cut


def test_large_arguments_of_the_newest_step_give_way_rather_than_the_step() -> None:
    story = Story()
    turn = [story.say("user", GOAL), *story.step("written", arguments='{"text": "%s"}' % (WORDS * 300))]
    fitted = fitted_to(1000, [], turn)
    ((_, name, arguments),) = fitted.entries[2].calls()
    assert (name, orjson.loads(arguments)) == ("look", {"removed_to_save_room": "28,212 characters"})
    assert texts(fitted, "tool") == ["written"]
    assert fitted.is_possible


def test_a_system_prompt_that_is_too_long_makes_it_impossible() -> None:
    story = Story()
    assert not fitted_to(500, [], [story.say("user", GOAL)], system=WORDS * 100).is_possible
