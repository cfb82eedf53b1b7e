"""What is found by its id alone is what its caller may find by its agent, too."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from app.compat.openai.located import find_conversation
from app.config.root import Config
from app.domain.errors import NotFound
from app.domain.principal import Principal
from app.llm.scripted import Answer, ScriptedLLM
from app.runtime import Runtime

ANN, BEN = Principal("ann", "key"), Principal("ben", "key")


@pytest.fixture
async def runtime(tmp_path: Path) -> AsyncIterator[Runtime]:
    config = Config.model_validate(
        {
            "storage": {"url": f"sqlite:///{tmp_path}/h.db"},
            "llms": {"demo": {"type": "scripted"}},
            "embedders": {"default": {"type": "none"}},
            "agents": {"open": {}, "inner": {"visibility": "private"}},
        }
    )
    opened = Runtime(config, llms={"demo": ScriptedLLM("demo", [Answer("Hi.")])})
    await opened.open()
    yield opened
    await opened.close()


async def test_a_conversation_is_found_by_its_owner_with_an_agent_for_everybody_alone(runtime: Runtime) -> None:
    await runtime.sessions.create(ANN, "open", session_id="mine")
    await runtime.sessions.create(ANN, "inner", session_id="of-a-call")
    assert (await find_conversation(runtime, ANN, "mine")).session.session_id == "mine"
    for caller, session_id in ((BEN, "mine"), (ANN, "of-a-call"), (ANN, "none")):
        with pytest.raises(NotFound, match="There is no conversation"):
            await find_conversation(runtime, caller, session_id)
