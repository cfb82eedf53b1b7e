"""Talks to Hector as OpenAI's API with LangChain: python openai_door.py BASE_URL. Prints what it got, as JSON.

The agents are those of test_openai_door.py.
"""

import json
import sys
from typing import Any

from langchain_openai import ChatOpenAI

BASE_URL = sys.argv[1]


def model(name: str, **more: Any) -> Any:
    return ChatOpenAI(model=name, base_url=BASE_URL, api_key="none", max_retries=0, stream_usage=True, **more)


def talk(**more: Any) -> dict[str, Any]:
    chat = model("echo", **more).invoke([("system", "Be short."), ("user", "Hello there")])
    chunks = list(model("echo", **more).stream("Hello there"))
    whole = chunks[0]
    for chunk in chunks[1:]:
        whole += chunk
    error: Any = None
    try:
        model("nobody", **more).invoke("x")
    except Exception as failed:
        error = getattr(failed, "status_code", failed)
    stored = {"store": False} if more else {}
    stream = model("endless", **more, **stored).stream("x")
    for chunk in stream:
        if chunk.text:
            break
    stream.close()
    return {
        "chat": [chat.text, chat.usage_metadata["total_tokens"] > 0],
        "stream": [whole.text, whole.usage_metadata["total_tokens"] > 0],
        "error": error,
    }


print(json.dumps({"langchain": talk(), "langchain responses": talk(use_responses_api=True)}))
