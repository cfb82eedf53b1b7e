"""Cards of tools: what is seen of them, what they ask, and what the page sends."""

from __future__ import annotations

import re
from typing import Any

import pytest
from playwright.async_api import Locator, expect

from tests.fixtures.acting import SESSION, ActingServer
from tests.page.browsing import Devices, Tab
from tests.page.test_page import violations

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="package")]

ADDRESS = "/#/coder/s"
DIFF = "--- a/hello.py\n+++ b/hello.py\n@@ -1 +1,2 @@\n-print('hi')\n+print('Hello')\n+print('World')\n"
WRITE = {"path": "hello.py", "content": "print('Hello')\nprint('World')\n"}


def card(tab: Tab, name: str) -> Locator:
    return tab.page.locator(".tool").filter(has=tab.page.locator(".tool-name", has_text=re.compile(f"^{name}$")))


async def watch(watchers: Devices, acting: ActingServer, message: str = "Go", **options: Any) -> Tab:
    """A tab that has seen a turn begin."""
    tab = await watchers.open(ADDRESS, **options)
    await acting.begin(message)
    await expect(tab.turns).to_have_count(1)
    return tab


async def waiting(watchers: Devices, acting: ActingServer, **arguments: Any) -> tuple[Tab, Locator]:
    """A tab, and the card of a call that needs an approval."""
    tab = await watch(watchers, acting)
    await acting.call("c1", "write_file", arguments or WRITE)
    await acting.ask_for_approval("c1")
    await expect(card(tab, "write_file").get_by_role("button", name="Approve", exact=True)).to_be_visible()
    return tab, card(tab, "write_file")


# -- what is seen -----------------------------------------------------------------------------------


async def test_a_call_is_watched_as_it_works_and_found_again_after_a_reload(
    watchers: Devices, acting: ActingServer
) -> None:
    tab = await watch(watchers, acting, "Write and run hello.py")
    await acting.text("First the file.")
    await acting.call("c1", "write_file", WRITE)
    await acting.settle("c1", {"path": "hello.py", "diff": DIFF})
    await acting.call("c2", "execute_command", {"command": "python hello.py"})
    await acting.progress("c2", text="Output: \x1b[32mHello\x1b[0m\n10 %\r20 %", percent=20)
    running = card(tab, "execute_command")
    await expect(running.locator(".terminal")).to_have_text("Output: Hello\n20 %")
    await expect(running.locator(".tool-state")).to_have_text("running")
    await expect(running.locator("progress")).to_have_attribute("value", "20")
    await acting.settle("c2", {"exit_code": 0}, sandbox="landlock")
    await acting.text("It works.")
    await expect(running.locator(".tool-state")).to_have_text("done")
    await expect(running.locator(".tool-time")).to_have_text("420 ms · sandbox: landlock")
    await acting.finish()
    await tab.wait_for_status("completed")
    for _ in range(2):
        await expect(tab.answer().locator(":scope > *")).to_contain_text(
            ["First the file.", "write_file", "execute_command", "It works."]
        )
        await expect(card(tab, "write_file").locator(".diff .add")).to_have_count(2)
        await expect(running.locator(".tool-about")).to_have_text("python hello.py")
        await expect(running.locator(".tool-time")).to_contain_text("420 ms")
        await tab.page.reload()


async def test_arguments_and_results_are_folded_and_plain_text(watchers: Devices, acting: ActingServer) -> None:
    tab = await watch(watchers, acting)
    attack = "<img src=x onerror='window.owned = 1'>"
    await acting.call("c1", attack, {attack: attack, "command": "rm a\u202egpj.exe", "more": [1, {"a": attack}]})
    await acting.settle("c1", attack)
    tool = tab.page.locator(".tool")
    await expect(tool.locator(".tool-about")).to_have_text("rm a⟨U+202E⟩gpj.exe")
    await expect(tool.locator(".fields")).to_have_count(0)
    await tool.get_by_text("Arguments", exact=True).click()
    await tool.get_by_text("Result: ").click()

    await expect(tool.locator(".fields")).to_contain_text(attack)
    await expect(tool.get_by_role("region", name="Result")).to_have_text(attack)
    assert await tool.locator("img").count() == 0
    assert await tab.page.evaluate("window.owned") is None


async def test_thinking_is_folded_where_it_was_thought(watchers: Devices, acting: ActingServer) -> None:
    tab = await watch(watchers, acting)
    await acting.say("thinking", chunk="Hm, ")
    await acting.say("thinking", chunk="a file.")
    await acting.call("c1", "read_file", {"path": "a"})
    await acting.settle("c1", "text")
    await acting.say("thinking", chunk="Aha.")
    await acting.text("Done.")
    parts = tab.answer().locator(":scope > *")
    await expect(parts).to_contain_text(["Thinking", "read_file", "Thinking", "Done."])
    await parts.first.locator("summary").click()

    await expect(parts.first.locator("div")).to_have_text("Hm, a file.")


async def test_calls_of_an_agent_that_was_called_stand_below_it(watchers: Devices, acting: ActingServer) -> None:
    tab = await watch(watchers, acting)
    await acting.call("c1", "agent_call", {"agent": "researcher", "message": "Find birds"})
    await acting.call("c2", "search", {"query": "birds"}, agent="researcher", depth=1)
    await acting.ask_for_approval("c2", agent="researcher", depth=1)
    child = card(tab, "search")
    await expect(child.locator(".pill")).to_have_text("researcher")
    await expect(card(tab, "agent_call").locator(".tool-about")).to_have_text("researcher Find birds")
    edges = [await one.evaluate("one => one.getBoundingClientRect().left") for one in (card(tab, "agent_call"), child)]
    await child.get_by_role("button", name="Approve", exact=True).click()
    await expect(child.locator(".tool-state")).to_have_text("running")

    assert edges[0] < edges[1]
    assert acting.requests == [("approvals/c2", {"approved": True})]


async def test_tasks_are_pinned_and_the_newest_list_counts(watchers: Devices, acting: ActingServer) -> None:
    tab = await watch(watchers, acting)
    for call_id, statuses in (("c1", ["in_progress", "pending"]), ("c2", ["completed", "in_progress"])):
        todos = [{"id": str(n), "content": f"Task {n}", "status": status} for n, status in enumerate(statuses)]
        await acting.call(call_id, "todo_write", {"todos": todos})
        await acting.settle(call_id, {"ok": True})
    summary = tab.page.locator(".todos summary")
    for _ in range(2):
        await expect(summary).to_have_text("Tasks: 1 of 2 done. Now: Task 1")
        await tab.page.reload()
    await summary.click()

    await expect(tab.page.locator(".todos li")).to_have_text(["✓Task 0 (done)", "▸Task 1 (in progress)"])


async def test_a_budget_is_told_on_a_line(watchers: Devices, acting: ActingServer) -> None:
    tab = await watch(watchers, acting)
    await acting.say("budget", turn_id=acting.turn_id, kind="tokens", used=8000, limit=10000, action="land")

    await expect(tab.page.locator(".budget-note")).to_have_text(
        "Budget: 8,000 of 10,000 tokens used (80 %). The model is told to conclude."
    )


async def test_a_large_result_is_read_in_pieces_and_searched(watchers: Devices, acting: ActingServer) -> None:
    tab = await watch(watchers, acting)
    acting.results["res_1"] = "".join([f"line {number}\n" for number in range(5000)])
    await acting.call("c1", "read_file", {"path": "log"})
    await acting.settle("c1", "line 0", result_id="res_1", bytes=len(acting.results["res_1"]))
    tool = card(tab, "read_file")
    await tool.get_by_text("Result: ").click()
    await tool.get_by_role("button", name="Read").click()
    part = tool.get_by_role("region", name="Part of the whole result")
    await expect(part).to_contain_text("line 100 line 101")
    await tool.get_by_role("button", name="Next").click()
    await expect(part).not_to_contain_text("line 100 line 101")
    await expect(tool.get_by_role("button", name="Back")).to_be_enabled()
    await tool.get_by_role("searchbox").fill("4999")
    await tool.get_by_role("searchbox").press("Enter")

    await expect(part).to_have_text("line 4999")


# -- approvals --------------------------------------------------------------------------------------


async def test_an_approval_is_asked_with_all_that_is_needed_to_decide(watchers: Devices, acting: ActingServer) -> None:
    tab, tool = await waiting(watchers, acting, path="/etc/motd", content="hello")
    await expect(tab.page.locator("#live")).to_have_text("write_file needs your approval.")
    await expect(tool.locator(".approval")).to_contain_text(
        "Writes outside the workspace ask. ask: write_file(path=/**)"
    )
    await expect(tool.locator(".approval")).to_contain_text(re.compile(r"Expires in \d+ yr"))
    await expect(tool.locator(".fields")).to_contain_text("/etc/motd")
    await tab.page.get_by_role("button", name="Go to it").click()
    await expect(tool).to_be_focused()
    await tab.page.keyboard.press("y")
    await expect(tool.locator(".approval")).to_have_count(0)

    await expect(tool).to_contain_text("Approved by ann.")
    assert acting.requests == [("approvals/c1", {"approved": True})]


async def test_a_call_is_approved_with_edited_arguments_once_they_are_json(
    watchers: Devices, acting: ActingServer
) -> None:
    _tab, tool = await waiting(watchers, acting, path="a\u202eb")
    await tool.get_by_role("button", name="Edit…").click()
    field = tool.get_by_label("Arguments as JSON")
    await expect(field).to_have_value('{\n  "path": "a\\u202eb"\n}')
    for wrong, words in (('{"path": ', "This is not JSON"), ("[1]", "Arguments are a JSON object")):
        await field.fill(wrong)
        await expect(tool.get_by_role("alert")).to_contain_text(words)
        await field.press("Control+Enter")
        await expect(field).to_be_focused()
    await field.fill('{"path": "b"}')
    await expect(tool.get_by_role("alert")).to_have_count(0)
    await field.press("Control+Enter")
    await expect(tool).to_contain_text("Approved with edited arguments by ann.")
    await expect(tool.locator(".tool-about")).to_have_text("b")
    await expect(tool.get_by_text("before they were edited")).to_be_visible()

    assert acting.requests == [("approvals/c1", {"approved": True, "arguments": {"path": "b"}})]


async def test_a_call_is_refused_with_a_reason(watchers: Devices, acting: ActingServer) -> None:
    _tab, tool = await waiting(watchers, acting)
    await tool.get_by_role("button", name="Refuse…").click()
    await tool.get_by_label("Reason").fill("Not <b>there</b>")
    await tool.get_by_label("Reason").press("Enter")
    await expect(tool).to_contain_text("Refused by ann: Not <b>there</b>")

    decision = {"approved": False, "reason": "Not <b>there</b>"}
    assert acting.requests == [("approvals/c1", decision)]


async def test_esc_folds_what_a_card_has_unfolded_and_stops_no_answer(watchers: Devices, acting: ActingServer) -> None:
    _tab, tool = await waiting(watchers, acting)
    await tool.get_by_role("button", name="Refuse…").click()
    await tool.get_by_label("Reason").press("Escape")

    await expect(tool.get_by_label("Reason")).to_be_hidden()
    await expect(tool.get_by_role("button", name="Refuse…")).to_be_focused()
    assert acting.requests == []


async def test_a_decision_that_came_too_late_is_told_and_what_was_decided_shown(
    watchers: Devices, acting: ActingServer
) -> None:
    _tab, tool = await waiting(watchers, acting)
    acting.refusals["approvals/c1"] = {"status": 409, "reason": "already_decided", "message": "Bob was faster."}
    await tool.get_by_role("button", name="Approve", exact=True).click()
    await expect(tool.get_by_role("alert")).to_have_text("Bob was faster.")
    acting.acts["c1"] |= {"state": "refused", "waiting_for": None}
    acting.refusals["approvals/c1"] = {"status": 410, "reason": "approval_expired", "message": "Its time is over."}
    await tool.get_by_role("button", name="Approve", exact=True).click()

    await expect(tool.locator(".tool-state")).to_have_text("refused")
    await expect(tool.locator(".approval")).to_have_count(0)


async def test_what_is_typed_in_a_card_stays_while_the_answer_goes_on(watchers: Devices, acting: ActingServer) -> None:
    tab, tool = await waiting(watchers, acting)
    await tool.get_by_role("button", name="Refuse…").click()
    await tool.get_by_label("Reason").press_sequentially("Because")
    await acting.call("c2", "read_file", {"path": "b"})
    await acting.progress("c1", text="still here")
    await expect(card(tab, "read_file")).to_be_visible()
    await expect(tool.locator(".terminal")).to_have_text("still here")

    await expect(tool.get_by_label("Reason")).to_have_value("Because")
    await expect(tool.get_by_label("Reason")).to_be_focused()


async def test_an_open_approval_is_asked_again_after_a_reload(watchers: Devices, acting: ActingServer) -> None:
    tab, tool = await waiting(watchers, acting)
    await tab.page.reload()
    await tool.get_by_role("button", name="Approve", exact=True).click()

    await expect(tool).to_contain_text("Approved by ann.")


async def test_an_approval_holds_for_calls_like_it(watchers: Devices, acting: ActingServer) -> None:
    _, tool = await waiting(watchers, acting)
    await tool.get_by_label("Approval holds").select_option("session")
    await tool.get_by_role("button", name="Approve", exact=True).click()

    await expect(tool).to_contain_text("Approved by ann for this session.")
    assert acting.requests == [("approvals/c1", {"approved": True, "remember": "session"})]


# -- questions --------------------------------------------------------------------------------------


async def ask(acting: ActingServer, **question: Any) -> None:
    await acting.call("c1", "ask_user", question)
    await acting.wait("input", "c1", **question)


async def test_a_question_with_choices_is_answered_by_a_button(watchers: Devices, acting: ActingServer) -> None:
    tab = await watch(watchers, acting)
    await ask(acting, question="Which <i>colour</i>?", choices=["red", "green"])
    await expect(tab.page.locator(".question-text")).to_have_text("Which <i>colour</i>?")
    await tab.page.reload()
    await tab.page.get_by_role("button", name="green").click()

    await expect(card(tab, "ask_user").locator(".tool-state")).to_have_text("done")
    assert acting.requests == [("calls/c1/result", {"result": "green"})]


async def test_of_two_questions_at_once_both_are_asked(watchers: Devices, acting: ActingServer) -> None:
    tab = await watch(watchers, acting)
    await acting.call("c2", "ask_user", {"question": "Second?"})
    acting.acts["c2"] |= {"state": "waiting", "waiting_for": "input", "asked": {"question": "Second?"}}
    await ask(acting, question="First?")  # the frame names one call only

    await expect(tab.page.locator(".question-text")).to_have_text(["Second?", "First?"])


async def test_a_question_without_choices_takes_a_text(watchers: Devices, acting: ActingServer) -> None:
    tab = await watch(watchers, acting)
    await ask(acting, question="Why?")
    await tab.page.get_by_role("button", name="Answer", exact=True).click()
    await expect(card(tab, "ask_user").get_by_role("alert")).to_have_text("Your answer is missing.")
    await tab.page.get_by_label("Your answer").fill("Because.")
    await tab.page.get_by_role("button", name="Answer", exact=True).click()

    await expect(card(tab, "ask_user").locator(".tool-state")).to_have_text("done")
    assert acting.requests == [("calls/c1/result", {"result": "Because."})]


async def test_a_schema_is_a_form(watchers: Devices, acting: ActingServer) -> None:
    properties = {
        "city": {"type": "string", "title": "City"},
        "nights": {"type": "integer"},
        "quiet": {"type": "boolean"},
        "bed": {"enum": ["single", 2]},
        "note": {"type": "string"},
    }
    tab = await watch(watchers, acting)
    await ask(acting, question="Where to?", schema={"type": "object", "required": ["city"], "properties": properties})
    page, button = tab.page, tab.page.get_by_role("button", name="Answer", exact=True)
    await page.get_by_label("nights").fill("two")
    await page.get_by_label("City").fill("Oslo")
    await button.click()
    await expect(card(tab, "ask_user").get_by_role("alert")).to_have_text("nights: this is not a number.")
    await page.get_by_label("nights").fill("2")
    await page.get_by_label("quiet").check()
    await page.get_by_label("bed").select_option("2")
    await button.click()

    await expect(card(tab, "ask_user").locator(".tool-state")).to_have_text("done")
    result = {"city": "Oslo", "nights": 2, "quiet": True, "bed": 2}
    assert acting.requests == [("calls/c1/result", {"result": result})]


async def test_a_schema_with_parts_takes_json(watchers: Devices, acting: ActingServer) -> None:
    tab = await watch(watchers, acting)
    await ask(acting, question="Which?", schema={"type": "array", "items": {"type": "object"}})
    await tab.page.get_by_label("Your answer, as JSON").fill("[{")
    await tab.page.get_by_role("button", name="Answer", exact=True).click()
    await expect(card(tab, "ask_user").get_by_role("alert")).to_contain_text("this is not JSON")
    await tab.page.get_by_label("Your answer, as JSON").fill('[{"a": 1}]')
    await tab.page.get_by_role("button", name="Answer", exact=True).click()

    await expect(card(tab, "ask_user").locator(".tool-state")).to_have_text("done")
    assert acting.requests == [("calls/c1/result", {"result": [{"a": 1}]})]


# -- unknown ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("presses", "sent", "state"),
    [
        (["It happened…", "It happened"], {"happened": True, "result": {"paid": 3}}, "done"),
        (["It did not"], {"happened": False}, "failed"),
        (["Run it again"], {"again": True}, "running"),
    ],
)
async def test_what_became_of_a_call_is_told_by_a_person(
    presses: list[str], sent: dict[str, Any], state: str, watchers: Devices, acting: ActingServer
) -> None:
    tab = await watch(watchers, acting)
    await acting.call("c1", "pay", {"to": "ann"})
    await acting.settle("c1", "interrupted", status="unknown")
    await acting.wait("input", "c1")
    tool = card(tab, "pay")
    await expect(tool).to_contain_text("Nobody knows whether this call happened")
    await tab.page.reload()
    for press in presses:
        if press == presses[-1] and "result" in sent:
            await tool.get_by_label("Its result").fill('{"paid": 3}')
        await tool.get_by_role("button", name=press, exact=True).click()

    await expect(tool.locator(".tool-state")).to_have_text(state)
    await expect(tool.locator(".unknown")).to_have_count(0)
    assert acting.requests == [("calls/c1/resolve", sent)]


async def test_an_old_call_that_is_unknown_is_found_in_the_history(watchers: Devices, acting: ActingServer) -> None:
    await acting.begin("Pay")
    await acting.call("c1", "pay", {"to": "ann"})
    await acting.settle("c1", "It may have happened.", status="unknown")
    await acting.finish()
    tab = await watchers.open(ADDRESS)

    await card(tab, "pay").get_by_role("button", name="It did not").click()
    await expect(card(tab, "pay").locator(".tool-state")).to_have_text("failed")


# -- steering ---------------------------------------------------------------------------------------


async def test_a_message_steers_the_answer_when_that_is_chosen(watchers: Devices, acting: ActingServer) -> None:
    tab = await watch(watchers, acting)
    await acting.text("Bonjour")
    await tab.page.get_by_text("steers this answer").click()
    await tab.send("In English")
    await expect(tab.turns.last.locator(".state")).to_have_text("Enters the answer above at its next step.")
    assert acting.requests == [("messages", {"message": "In English", "on_busy": "steer"})]
    await acting.say("message_steered", turn_id=acting.turn_id, message_id="msg_steered", message="In English", step=2)
    await acting.text("Hello")

    await expect(tab.answer().locator(":scope > *")).to_contain_text(["Bonjour", "In English", "Hello"])
    await expect(tab.turns.locator(".steered")).to_contain_text("Steered")
    await expect(tab.turns).to_have_count(1)


async def test_a_message_that_comes_too_late_to_steer_becomes_a_turn(watchers: Devices, acting: ActingServer) -> None:
    tab = await watch(watchers, acting)
    await tab.page.get_by_text("steers this answer").click()
    await tab.send("Too late")
    await expect(tab.turns.last.locator(".state")).to_have_text("Enters the answer above at its next step.")
    await acting.finish()
    named = {"turn_id": "turn_9", "session_id": "s", "message_id": "msg_steered", "message": "Too late"}
    await acting.say("turn_started", **named)

    await expect(tab.turns).to_have_count(2)
    await expect(tab.turns.locator(".steered")).to_have_count(0)
    await expect(tab.turns.last.locator(".bubble")).to_have_text("Too late")


# -- sizes, widths, readers -------------------------------------------------------------------------


async def test_what_has_no_end_is_cut(watchers: Devices, acting: ActingServer) -> None:
    tab = await watch(watchers, acting)
    long = "w" * 1_000_000
    for number in range(60):
        await acting.call(f"n{number}", "x" * 5000, {"path": long if number < 2 else "a", "deep": [[[[]]]] * 2000})
    await acting.call("c1", "execute_command", {"command": long, **{f"field{n}": n for n in range(500)}})
    for _ in range(40):
        await acting.progress("c1", text="out\n" * 20_000, percent=1e9)
    await acting.settle("c1", {"diff": "+a\n" * 200_000, "text": long})
    tool = card(tab, "execute_command")
    await expect(tool.locator(".tool-state")).to_have_text("done", timeout=30_000)
    for name in ("Changes", "Arguments", "Result"):
        await tool.locator("summary", has_text=re.compile(f"^{name}")).first.click()
    shown = await tab.page.evaluate("document.querySelector('.turns').textContent.length")
    lines = await tool.locator(".diff span").count()

    assert lines <= 1001
    assert shown < 500_000
    assert await tab.page.evaluate("document.scrollingElement.scrollWidth") == 1280


@pytest.mark.parametrize("colours", ["light", "dark"])
async def test_axe_finds_nothing_and_a_phone_has_room(colours: Any, watchers: Devices, acting: ActingServer) -> None:
    tab = await watch(watchers, acting, color_scheme=colours, viewport={"width": 360, "height": 740})
    await acting.call("c0", "todo_write", {"todos": [{"content": "A task", "status": "in_progress"}]})
    await acting.settle("c0", {"diff": DIFF})
    await acting.call("c1", "agent_call", {"agent": "researcher", "message": "x" * 200})
    await acting.call("c2", "execute_command", {"command": "ls " + "a" * 300}, agent="researcher", depth=3)
    await acting.progress("c2", text="Output: " + "b" * 300, percent=40)
    await acting.ask_for_approval("c2", agent="researcher", depth=3)
    await acting.call("c3", "pay", {})
    await acting.settle("c3", "?", status="unknown")
    await acting.call("c4", "ask_user", {})
    schema = {"properties": {"a": {"type": "string", "description": "About"}, "b": {"type": "boolean"}}}
    await acting.wait("input", "c4", question="Which?", schema=schema)
    await expect(card(tab, "ask_user").get_by_label("a (may be empty)")).to_be_visible()
    await card(tab, "execute_command").get_by_role("button", name="Edit…").click()
    await card(tab, "execute_command").get_by_label("Arguments as JSON").fill("no")
    await card(tab, "pay").get_by_role("button", name="It happened…").click()
    await tab.page.locator(".todos summary").click()
    found = await violations(tab.page, colours)

    assert found == []
    assert await tab.page.evaluate("document.scrollingElement.scrollWidth") == 360


async def test_a_poll_keeps_the_calls_that_a_person_is_typing_in(watchers: Devices, acting: ActingServer) -> None:
    tab = await watch(watchers, acting)
    await acting.call("c1", "write_file", WRITE)
    await acting.ask_for_approval("c1")
    same = await tab.page.evaluate(
        """async ([path]) => {
            const { Conversation } = await import("/page/conversation.js");
            const talk = new Conversation("coder", "s");
            const get = async (rest) => (await fetch(path + rest)).json();
            const seen = [];
            for (let poll = 0; poll < 2; poll++) {
                talk.replace(await get(""), await get("/messages"), (await get("/calls")).calls);
                seen.push(...[...talk.turns.values()].flatMap((turn) => turn.calls));
            }
            return [seen.length, seen[0] === seen[1], seen[1].waitingFor];
        }""",
        [SESSION],
    )

    assert same == [2, True, "approval"]
