"""Runs an agent of the OpenAI Agents SDK on Hector: python openai_agents.py BASE_URL. Prints what it got, as JSON.

The agents are those of test_openai_door.py; the tool runs here.
"""

import asyncio
import json
import sys
from typing import Any

from agents import (
    Agent,
    OpenAIChatCompletionsModel,
    OpenAIConversationsSession,
    OpenAIResponsesModel,
    Runner,
    SQLiteSession,
    function_tool,
    set_tracing_disabled,
)
from openai import AsyncOpenAI

QUESTION = "What is the weather in Oslo?"


@function_tool  # type: ignore[untyped-decorator]
def weather(city: str) -> str:
    """The weather in a city."""
    return f"sunny in {city}"


async def streamed(agent: Any, **more: Any) -> list[Any]:
    """The text as it was streamed, and what happened."""
    run = Runner.run_streamed(agent, QUESTION, **more)
    text, names = "", []
    async for event in run.stream_events():
        if event.type == "raw_response_event" and event.data.type == "response.output_text.delta":
            text += event.data.delta
        if event.type == "run_item_stream_event":
            names.append(event.name)
    return [text, run.final_output, names]


async def remembered(agent: Any, session: Any) -> list[Any]:
    """What the agent says to a second message, and how many items the session of the SDK has then."""
    await Runner.run(agent, QUESTION, session=session)
    again = await Runner.run(agent, "Remind me", session=session)
    return [again.final_output, [item.get("type", "message") for item in await session.get_items()]]


async def main() -> dict[str, Any]:
    client = AsyncOpenAI(base_url=sys.argv[1], api_key="none", max_retries=0)
    chat, responses = [
        Agent(name="Guide", instructions="Be brief.", model=model("guide", client), tools=[weather])
        for model in (OpenAIChatCompletionsModel, OpenAIResponsesModel)
    ]
    conversation = await client.conversations.create(metadata={"agent": "guide"})
    bound = await Runner.run(responses, QUESTION, conversation_id=conversation.id)
    return {
        "chat": await streamed(chat),
        "responses": await streamed(responses),
        "after a response": await streamed(responses, auto_previous_response_id=True),
        "session of the SDK": await remembered(chat, SQLiteSession("one")),
        "session at OpenAI": await remembered(responses, OpenAIConversationsSession(openai_client=client)),
        "conversation": bound.final_output,
    }


set_tracing_disabled(True)
print(json.dumps(asyncio.run(main())))
