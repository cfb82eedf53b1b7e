"""Agents that clients create: served beside those of the configuration, owned, and deleted with their sessions."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from app.config.root import Config
from app.conversation.conversation import Sending
from app.domain.errors import HectorError, InvalidRequest, NotFound, QuotaExceeded
from app.domain.principal import Principal
from app.domain.session import SessionStatus
from app.runtime import Runtime

ANN, BEN = Principal("ann", "key"), Principal("ben", "key")
ENTRY: dict[str, Any] = {"name": "Historian", "llm": "demo", "prompt": {"system_prompt": "You know the past."}}
Opened = Callable[..., Any]


@pytest.fixture
def opened(database_url: str) -> Opened:
    @asynccontextmanager
    async def open_one(**llms: dict[str, Any]) -> AsyncIterator[Runtime]:
        given = llms or {"demo": {"type": "scripted", "script": [{"text": "Long ago.", "hang": True}]}}
        config = {"storage": {"url": database_url}, "llms": given, "agents": {"assistant": {"llm": next(iter(given))}}}
        runtime = Runtime(Config.model_validate(config | {"embedders": {"default": {"type": "none"}}}))
        await runtime.open()
        try:
            yield runtime
        finally:
            await runtime.close()

    return open_one


async def test_it_is_there_after_a_restart_for_its_owner_alone(opened: Opened) -> None:
    async with opened() as runtime:
        made = await runtime.created_agents.create(ANN, ENTRY, {"words": "of a dialect"}, most=10)
    async with opened() as runtime:
        agent = runtime.roster.get(made.agent_id, ANN)
        assert (agent.config.name, agent.llm.name) == ("Historian", "demo")
        assert [one.name for one in runtime.roster.listed(ANN)] == ["assistant", made.agent_id]
        assert [one.name for one in runtime.roster.listed(BEN)] == ["assistant"]
        assert runtime.created_agents.get(ANN, made.agent_id).given == '{"words":"of a dialect"}'
        for refused in (
            runtime.created_agents.update(BEN, made.agent_id, ENTRY, {}),
            runtime.created_agents.delete(BEN, made.agent_id),
        ):
            with pytest.raises(NotFound):
                await refused


async def test_its_definition_can_be_changed(opened: Opened) -> None:
    async with opened() as runtime:
        made = await runtime.created_agents.create(ANN, ENTRY, {}, most=10)
        await runtime.created_agents.update(ANN, made.agent_id, ENTRY | {"name": "Prophet"}, {"new": True})
        with pytest.raises(InvalidRequest, match="name"):
            await runtime.created_agents.update(ANN, made.agent_id, ENTRY | {"name": 7}, {})
    async with opened() as runtime:
        assert runtime.roster.get(made.agent_id, ANN).config.name == "Prophet"
        assert runtime.created_agents.get(ANN, made.agent_id).given == '{"new":true}'


async def test_its_sessions_go_with_it_whatever_they_are_doing(opened: Opened) -> None:
    async with opened() as runtime:
        made = await runtime.created_agents.create(ANN, ENTRY, {}, most=10)
        running, _ = await runtime.sessions.create(ANN, made.agent_id)
        ended, _ = await runtime.sessions.create(ANN, made.agent_id)
        other, _ = await runtime.sessions.create(ANN, "assistant")
        await runtime.endings.end(ended)
        following = await runtime.conversation.send(ANN, made.agent_id, running, Sending("Go on."))
        one_shot = await runtime.conversation.send(ANN, made.agent_id, None, Sending("Go on."))
        with following, one_shot:
            turn, _ = await following.start(), await one_shot.start()
            await runtime.created_agents.delete(ANN, made.agent_id)
            outcome = await asyncio.wait_for(turn.done, 5)

        assert outcome.reason == "session_terminated"
        assert one_shot.session_log.over is SessionStatus.TERMINATED
        assert other.over is None
        for name in (running, ended):
            with pytest.raises(HectorError) as refused:
                await runtime.sessions.get(ANN, made.agent_id, name.session.session_id)
            assert refused.value.reason == "session_terminated"
        with pytest.raises(NotFound):
            runtime.roster.get(made.agent_id, ANN)
    async with opened() as runtime:
        assert runtime.created_agents.list(ANN) == []


async def test_an_agent_whose_model_is_gone_is_not_served_until_it_is_back(
    opened: Opened, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened() as runtime:
        made = await runtime.created_agents.create(ANN, ENTRY, {}, most=10)
    with caplog.at_level(logging.WARNING):
        async with opened(other={"type": "scripted"}) as runtime:
            with pytest.raises(NotFound):
                runtime.roster.get(made.agent_id, ANN)
    assert f"agent {made.agent_id} (Historian) is not served: there is no llm 'demo'" in caplog.text
    async with opened() as runtime:
        assert runtime.roster.get(made.agent_id, ANN).name == made.agent_id


async def test_a_principal_has_no_more_than_allowed_however_many_are_made_at_once(opened: Opened) -> None:
    async with opened() as runtime:
        create = runtime.created_agents.create
        await create(BEN, ENTRY, {}, most=3)
        made = await asyncio.gather(*[create(ANN, ENTRY, {}, most=3) for _ in range(5)], return_exceptions=True)

        assert [isinstance(one, QuotaExceeded) for one in made] == [False] * 3 + [True] * 2
        assert len(runtime.created_agents.list(ANN)) == 3
