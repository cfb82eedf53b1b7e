"""The budget that follows from the model, and when its provider is asked for it."""

from __future__ import annotations

import pytest

from app.llm.context import Context, ContextWindow, Told
from app.memory.budget import ModelBudget, budget_for, request_limit
from app.memory.summary_buffer import SummaryBuffer
from app.memory.working import entry
from tests.fixtures.hand_llm import HandLLM


@pytest.mark.parametrize(
    ("context", "answer", "prompt", "budget"),
    [
        (Context(128_000, "known"), 8000, 50, 76_800),
        (Context(16_385, "known"), 8000, 100, 7466),
        (Context(8192, "assumed"), None, 100, 4915),
        (Context(8192, "assumed"), 8000, 100, 2048),
        (Context(32_768, "provider"), None, 20_000, 11_130),
        (Context(8192, "embedded"), 512, 20, 2000),
        (Context(8192, "usual"), 512, 20, 4915),
    ],
)
def test_three_fifths_unless_the_answer_and_the_prompt_need_more_than_the_rest(
    context: Context, answer: int | None, prompt: int, budget: int
) -> None:
    assert budget_for(context, answer_tokens=answer, prompt_tokens=prompt) == budget


class Asked:
    """A model whose provider tells that it takes in 100,000 tokens."""

    def __init__(self) -> None:
        self.times = 0
        self.llm = HandLLM()
        self.llm.context = ContextWindow(Context(8192, "assumed"), ask=self.ask)
        self.buffer = SummaryBuffer(1, self.llm.count_tokens)
        self.budget = ModelBudget(self.buffer, self.llm, entry("system", "Be brief."))

    async def ask(self) -> Told | None:
        self.times += 1
        return Told(100_000)


async def test_a_short_history_asks_nobody() -> None:
    asked = Asked()
    await asked.budget.settle([entry("user", "word " * 1100)])
    assert asked.times == 0
    assert asked.buffer.budget == 4915


@pytest.mark.parametrize("history", [["word " * 1300], ["word " * 700, "word " * 700], ["x" * 20_000]])
async def test_a_long_one_asks_once(history: list[str]) -> None:
    asked = Asked()
    for _ in range(2):
        await asked.budget.settle([entry("user", text) for text in history])
    assert asked.times == 1
    assert asked.buffer.budget == 60_000


async def test_what_a_refusal_taught_changes_the_budget() -> None:
    asked = Asked()
    await asked.budget.find()
    asked.llm.context.learn("maximum context length is 4096 tokens")
    await asked.budget.settle([])
    assert asked.buffer.budget == 2457


async def test_the_tools_of_an_agent_take_room_from_its_history() -> None:
    asked = Asked()
    await asked.budget.settle([])
    asked.budget.tools_tokens = 5000
    await asked.budget.settle([])
    assert asked.buffer.budget == 8192 - 5000 - 6 - 409


@pytest.mark.parametrize(
    ("tokens", "answer", "limit"),
    [(128_000, 8000, 113_600), (128_000, None, 117_504), (8192, None, 5735), (8192, 8000, 2048)],
)
def test_a_request_leaves_room_for_the_answer(tokens: int, answer: int | None, limit: int) -> None:
    assert request_limit(Context(tokens, "known"), answer_tokens=answer) == limit
