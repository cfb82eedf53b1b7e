"""What programs do with agents and sessions of the vectorshift package; prints what came of it, as JSON.

vectorshift_sessions.py SCENARIO; the server is VECTORSHIFT_BASE_URL.
"""

from __future__ import annotations

import asyncio
import io
import json
import sys
import warnings
from typing import Any

from vectorshift.agent import Agent, AgentType, IoConfig, LlmInfo, MemoryConfig
from vectorshift.agent.object import ConversationalRunActionRequiredError
from vectorshift.events import SessionEvent, SessionEventType
from vectorshift.request import VectorshiftError
from vectorshift.session import Session, UserSessionMessage

MODEL = LlmInfo(provider="openai", model_id="gpt-4o")


async def make(name: str = "Echo", **options: Any) -> Agent:
    given = {"type": AgentType.CONVERSATIONAL, "llm_info": MODEL, "tools": [], "instructions": "Repeat."}
    return await Agent.anew(name=name, **(given | options))


def by_id(agent_id: str) -> Agent:
    """Without asking the server."""
    return Agent(id=agent_id, agent_type=AgentType.CONVERSATIONAL)


async def turn(session: Session, *, stop_at_delta: bool = False) -> dict[str, Any]:
    """What happens until the agent is idle again."""
    text, complete, words, errors = "", None, [], []
    async for event in session.listen():
        text += event.delta or ""
        complete = event.text if event.is_complete else complete
        errors += [event.error] if event.error else []
        words.append(_word(event))
        if event.is_turn_end or (stop_at_delta and event.delta):
            break
    return {"text": text, "complete": complete, "events": _once(words), "errors": errors}


def _word(event: SessionEvent) -> str:
    if event.participant_status is not None:
        return str(event.participant_status.value)
    return f"{event.type.value} {event.tool_name} {event.status}" if event.tool_name else event.type.value


def _once(words: list[str]) -> list[str]:
    return [word for place, word in enumerate(words) if word not in words[:place] or word != words[place - 1]]


async def history(session: Session) -> list[list[str | None]]:
    return [["user" if one.is_user else "agent", one.text, one.status] for one in await session.get_messages()]


async def conversation() -> dict[str, Any]:
    agent = await make(memory_config=MemoryConfig(enable_session_memory=True))
    async with await agent.create_session() as session:
        await session.send("one")
        first = await turn(session)
        await session.send("two")
        second = await turn(session)
        session_id = session.session_id
    again = await agent.resume_session(session_id)
    async with again:
        await again.send("three")
        third = await turn(again)
        found = await history(again)
    return {"turns": [first, second, third], "history": found, "session_id": session_id, "agent": agent.id}


async def resume_in_mid_answer() -> dict[str, Any]:
    """Disconnect at the first delta; come back at once, and once more when it is over."""
    agent = await make()
    session = await (await agent.create_session()).connect()
    await session.send("tell a long story")
    before = await turn(session, stop_at_delta=True)
    await session.disconnect()
    again = await Session(session_id=session.session_id).connect()
    rest = await turn(again)
    found = await history(again)
    await again.disconnect()
    return {"before": before, "rest": rest, "history": found}


async def approvals() -> dict[str, Any]:
    """An agent of the configuration whose tool asks first: a yes, a changed yes, a no, and a question of the agent."""
    agent = await Agent.afetch(name="careful")
    found = {}
    answers: dict[str, dict[str, Any]] = {
        "yes": {"approved": True, "confirm": {"remark": "go ahead"}},
        "changed": {"approved": True, "confirm": {"content": "changed"}},
        "no": {"approved": False, "deny_reason": "not today"},
        "question": {"approved": True, "confirm": {"answer": "blue"}},
    }
    for name, answer in answers.items():
        async with await agent.create_session() as session:
            await session.send(f"write {name}" if name != "question" else "ask me")
            asked = None
            async for event in session.listen():
                if event.type == SessionEventType.APPROVAL_REQUEST:
                    asked = event.data
                    await session.respond(event, **answer)
                    break
            found[name] = {"asked": asked, **await turn(session)}
    try:
        await agent.arun("write once", timeout=20)
    except ConversationalRunActionRequiredError as error:
        found["one-shot"] = {"session_id": error.session_id}
    return found


async def contents() -> dict[str, Any]:
    """Several parts in one turn, and files: texts are read, others are refused."""
    agent = await make()
    async with await agent.create_session() as session:
        await session.send_many(
            ["first", b"second", table(), UserSessionMessage(content="third", mime_type="text/plain")]
        )
        many = await turn(session)
        await session.send("look", files=[table()])
        attached = await turn(session)
        await session.send(b"\x89PNG\r\n", filename="chart.png")
        refused = [event.error async for event in _until(session, SessionEventType.ERROR)]
        await session.send(b"\xff\xfe\xfd", filename="unknown")
        unreadable = [event.error async for event in _until(session, SessionEventType.ERROR)]
        found = await history(session)
    return {"many": many, "attached": attached, "refused": refused + unreadable, "history": found}


def table() -> io.BytesIO:
    found = io.BytesIO(b"a,b\n1,2\n")
    found.name = "table.csv"
    return found


async def _until(session: Session, kind: SessionEventType) -> Any:
    async for event in session.listen():
        if event.type == kind:
            yield event
            return


async def runs() -> dict[str, Any]:
    """One-shots: of a conversational agent by a hidden session, of a functional one by HTTP."""
    talker = await make()
    worker = await make(
        "Worker",
        type=AgentType.FUNCTIONAL,
        inputs={"topic": IoConfig(io_type="string")},
        outputs={"summary": IoConfig(io_type="string")},
    )
    said = await talker.arun("hello", timeout=20)
    kept = await talker.arun("hello", keep_alive=True, timeout=20)
    done = await worker.arun({"topic": "ships"})
    failed = await talker.arun("fail", timeout=20)
    return {
        "said": [said.status, said.final_message],
        "is gone": await refusal(Session(session_id=said.session_id).connect()),
        "kept": [kept.status, (await talker.arun("again", session_id=kept.session_id, timeout=20)).final_message],
        "done": [done.status, done.outputs],
        "failed": [failed.status, failed.error],
    }


async def agents() -> dict[str, Any]:
    """Creating, listing, changing and deleting."""
    agent = await make("Draft")
    agent.name = "Final"
    await agent.asave()
    fetched = await Agent.afetch(id=agent.id)
    session = await (await agent.create_session()).connect()
    listed = [one.name for one in await Agent.alist()]
    deleted = await agent.adelete()
    await session.disconnect()
    return {
        "fetched": [fetched.name, fetched.llm_info.model_id, fetched.instructions, fetched.branch_id],
        "listed": listed,
        "by name": (await Agent.afetch(name="assistant")).id,
        "deleted": deleted["status"],
        "refused": {
            "deleted agent": await refusal(Agent.afetch(id=agent.id)),
            "its session": await refusal(Session(session_id=session.session_id).connect()),
            "unknown agent": await refusal((await by_id("nothing").create_session()).connect()),
            "unknown session": await refusal(Session(session_id="sess_unknown").connect()),
            "unknown model": await refusal(make(llm_info=LlmInfo(provider="openai", model_id="none"))),
            "own key": await refusal(make(llm_info=LlmInfo(provider="openai", model_id="gpt-4o", api_key="sk"))),
            "configured agent": await refusal(by_id("assistant").adelete()),
        },
    }


async def foreign() -> dict[str, Any]:
    """Somebody else's session and agent: argument 2 and 3 are their ids."""
    session_id, agent_id = sys.argv[2:4]
    return {
        "session": await refusal(Session(session_id=session_id).connect()),
        "unknown session": await refusal(Session(session_id="sess_unknown").connect()),
        "agent": await refusal((await by_id(agent_id).create_session()).connect()),
        "fetched": await refusal(Agent.afetch(id=agent_id)),
        "listed": [one.id for one in await Agent.alist()],
    }


async def burst() -> dict[str, Any]:
    """A long answer at full speed to a listener that takes a millisecond for each event."""
    agent = await make()
    async with await agent.create_session() as session:
        await session.send("flood")
        text, deltas, complete = "", 0, None
        async for event in session.listen():
            await asyncio.sleep(0.001)
            text, deltas = text + (event.delta or ""), deltas + bool(event.delta)
            complete = event.text if event.is_complete else complete
            if event.is_turn_end:
                break
    return {"length": len(text), "is complete": text == complete, "deltas": deltas}


async def refusal(awaitable: Any) -> str | None:
    """The sentence of a refusal; `None`: it was no refusal."""
    try:
        await asyncio.wait_for(awaitable, 10)
    except VectorshiftError as error:
        return f"{type(error).__name__}: {error}"
    return None


if __name__ == "__main__":
    warnings.simplefilter("error", DeprecationWarning)  # what the client says of fields that it does not know
    print(json.dumps(asyncio.run(globals()[sys.argv[1]]())))
