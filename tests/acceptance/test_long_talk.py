"""A long conversation costs no more a turn than a short one, and forgets nothing that recall can find.

LONG_TALK=3000 in the environment makes it as long as that, and prints what the turns took.
"""

from __future__ import annotations

import os
import re
import statistics
import time

import httpx
import pytest

from app.llm import tokens
from app.memory.block import TAG
from app.memory.summary_buffer import block
from app.memory.working import MESSAGE_OVERHEAD_TOKENS
from tests.fixtures.talk import Talk
from tests.fixtures.upstream import Reply, Seen, Upstream

pytestmark = pytest.mark.asyncio(loop_scope="module")

MESSAGES = int(os.environ.get("LONG_TALK", "300"))
BUDGET = 2000
SETTINGS = {
    "embedders": {"default": {"type": os.environ.get("LONG_TALK_EMBEDDER", "none")}},
    "agents": {"assistant": {"memory": {"working": {"budget": BUDGET}, "longterm": {}}}},
}
ANSWER = [
    " The",
    " harbour",
    " was",
    " quiet",
    ",",
    " and",
    " nobody",
    " minded",
    " the",
    " rain",
    " that",
    " day",
    ".",
] * 3
SUMMARY = re.compile(r"<summary>\n.*\n(.*)\n</summary>", re.DOTALL)


def is_for_a_summary(request: Seen) -> bool:
    return str(request.json["messages"][0]["content"]).startswith("You condense conversations.")


def history_tokens(request: Seen) -> int:
    """What history and summary of a request come to."""
    system, *said = [message["content"] for message in request.json["messages"]]
    summary = SUMMARY.search(system)
    summed = tokens.count(block(summary[1])) if summary else 0
    return summed + sum([tokens.count(content) + MESSAGE_OVERHEAD_TOKENS for content in said])


async def test_a_request_never_exceeds_the_budget_and_an_early_fact_is_found(
    client: httpx.AsyncClient, upstream: Upstream
) -> None:
    upstream.default = Reply(tokens=ANSWER)
    talk = await Talk.begin(client)
    took, turn_ids = [], []
    for number in range(MESSAGES // 2):
        began = time.perf_counter()
        turn_ids.append((await talk.say(said(number)))["turn_id"])
        took.append((time.perf_counter() - began) * 1000)
    await talk.say("What is the code of my locker?")

    summaries = [request for request in upstream.requests if is_for_a_summary(request)]
    turns = [request for request in upstream.requests if not is_for_a_summary(request)]
    assert len(summaries) > MESSAGES // 60
    assert max(map(history_tokens, turns)) <= BUDGET
    assert (
        max([tokens.count(message["content"]) for request in summaries for message in request.json["messages"]])
        < BUDGET
    )
    asked = turns[-1].json["messages"]
    assert asked[0]["content"].count("<summary>") == 1
    assert "4711" in asked[0]["content"].partition(f"<{TAG}>")[2].partition(f"</{TAG}>")[0]
    assert "4711" not in str(asked[1:])
    usage = (await talk.info())["usage"]
    assert usage["prompt_tokens"] == 5 * len(upstream.requests), "summaries are counted, too"
    if "LONG_TALK" in os.environ:
        print(f"\n{len(turns)} turns, {len(summaries)} summaries, most {max(map(history_tokens, turns))} tokens")
        for start in range(0, len(took), max(1, len(took) // 6)):
            part = took[start : start + max(1, len(took) // 6)]
            recall = (await talk.turn(turn_ids[start + len(part) - 1]))["memory"]["took_ms"]
            print(
                f"turns from {start}: median {statistics.median(part):.1f} ms, most {max(part):.1f} ms, recall {recall}"
            )


def said(number: int) -> str:
    if number == 2:
        return "Please note that the code of my locker is 4711."
    weather = ["rain", "sun", "fog", "snow", "wind"][number % 5]
    return (
        f"On day {number} there was {weather} over the harbour, ship number {number * 7 % 97} came in late, "
        f"and the crew of {number % 13 + 3} told stories about the {weather} of other years while we mended nets."
    )
