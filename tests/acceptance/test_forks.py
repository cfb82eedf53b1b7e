"""What people do with conversations: fork, edit, answer anew, begin in the middle, take along."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from tests.fixtures.server import HectorServer
from tests.fixtures.sse import open_stream, text_of, types_of
from tests.fixtures.talk import Talk, good, reason
from tests.fixtures.upstream import Reply, Upstream

pytestmark = pytest.mark.asyncio(loop_scope="module")

SYSTEM = "You are a test."
SETTINGS = {"agents": {"assistant": {"prompt": {"system_prompt": SYSTEM}}}}


def received(upstream: Upstream, number: int = -1) -> list[tuple[str, str]]:
    """(role, text) of what the model got, without the system prompt."""
    messages = upstream.requests[number].json["messages"]
    return [(message["role"], message["content"]) for message in messages if message["role"] != "system"]


def system_of(upstream: Upstream, number: int = -1) -> str:
    [system] = [message for message in upstream.requests[number].json["messages"] if message["role"] == "system"]
    return str(system["content"])


async def talk_of(client: httpx.AsyncClient, upstream: Upstream, *questions: str, **body: Any) -> Talk:
    """A session in which each question was answered by its upper case."""
    talk = await Talk.begin(client, **body)
    for question in questions:
        upstream.answer(tokens=[question.upper()])
        await talk.say(question)
    return talk


async def fork(talk: Talk, **body: Any) -> Talk:
    made = good(await talk.client.post(f"{talk.path}/fork", json=body))
    return Talk(talk.client, made["session_id"])


async def edit(talk: Talk, message_id: str, content: str) -> Any:
    return await talk.client.put(f"{talk.path}/messages/{message_id}", json={"content": content})


async def again(talk: Talk, **body: Any) -> Any:
    return await talk.client.post(f"{talk.path}/regenerate", json=body)


async def add(talk: Talk, role: str, content: str) -> Any:
    return await talk.client.post(f"{talk.path}/messages", json={"role": role, "content": content, "turn": False})


async def restart(server: HectorServer) -> None:
    assert await server.stop() == 0
    await server.start()


ONE = [("user", "one"), ("assistant", "ONE")]
TWO = [("user", "two"), ("assistant", "TWO")]


# -- fork -------------------------------------------------------------------------------------------------------


async def test_a_fork_has_the_whole_conversation_and_the_original_goes_its_own_way(
    client: httpx.AsyncClient, upstream: Upstream, server: HectorServer
) -> None:
    talk = await talk_of(client, upstream, "one", "two", title="Numbers")
    before, info = await talk.messages(), await talk.info()
    copy = await fork(talk)
    await copy.say("three")
    assert received(upstream) == [*ONE, *TWO, ("user", "three")]
    assert await talk.messages() == before
    assert await talk.info() == info
    await talk.say("another three")
    assert received(upstream) == [*ONE, *TWO, ("user", "another three")]
    assert (await copy.info())["forked_from"] == talk.session_id
    assert (await copy.info())["title"] == "Numbers"


async def test_a_fork_at_a_message_ends_with_that_message(
    client: httpx.AsyncClient, upstream: Upstream, server: HectorServer
) -> None:
    talk = await talk_of(client, upstream, "one", "two")
    answer = (await talk.messages())[1]
    copy = await fork(talk, at=answer["message_id"], title="Another way")
    assert [message["content"] for message in await copy.messages()] == ["one", "ONE"]
    await copy.say("deux")
    assert received(upstream) == [*ONE, ("user", "deux")]
    assert (await copy.info())["title"] == "Another way"
    assert (await copy.info())["message_count"] == 4


async def test_a_fork_has_a_chosen_id_once(client: httpx.AsyncClient, upstream: Upstream, server: HectorServer) -> None:
    talk = await talk_of(client, upstream, "one")
    assert (await fork(talk, session_id="chosen-fork")).session_id == "chosen-fork"
    taken = await client.post(f"{talk.path}/fork", json={"session_id": "chosen-fork"})
    assert reason(taken) == (409, "session_exists")


async def test_a_fork_at_an_unknown_message_is_refused(
    client: httpx.AsyncClient, upstream: Upstream, server: HectorServer
) -> None:
    talk = await talk_of(client, upstream, "one")
    refused = await client.post(f"{talk.path}/fork", json={"at": "msg_unknown"})
    assert reason(refused) == (404, "message_not_found")


async def test_a_fork_of_a_session_at_work_has_what_was_complete(
    client: httpx.AsyncClient, upstream: Upstream, server: HectorServer
) -> None:
    talk = await talk_of(client, upstream, "one")
    upstream.answer(tokens=5, hang="after_tokens")
    await talk.start("two")
    await upstream.wait_for(tokens=5)
    copy = await fork(talk)
    await talk.cancel()
    await copy.say("three")
    assert received(upstream)[:2] == ONE
    assert received(upstream)[-1] == ("user", "two\n\nthree"), "whose answer is not in the copy"
    assert " t0" not in [text for _, text in received(upstream)]


async def test_a_fork_outlives_its_original_and_a_restart(
    client: httpx.AsyncClient, upstream: Upstream, server: HectorServer
) -> None:
    talk = await talk_of(client, upstream, "one", "two")
    copy = await fork(talk)
    second = await fork(copy)
    await talk.terminate()
    await restart(server)
    assert await copy.texts() == ["one", "ONE", "two", "TWO"]
    await second.say("three")
    assert received(upstream) == [*ONE, *TWO, ("user", "three")]


async def test_a_reader_of_a_fork_gets_only_what_happens_in_it(
    client: httpx.AsyncClient, upstream: Upstream, server: HectorServer
) -> None:
    copy = await fork(await talk_of(client, upstream, "one"))
    frames = await copy.stream_all("two")
    assert types_of(frames) == ["turn_started", "text", "turn_finished", "done"]
    numbers = [frame.seq for frame in frames[:-1]]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    assert numbers[0] > (await copy.messages())[1]["seq"]
    replayed = await copy.replay((await copy.messages())[1]["seq"])
    assert text_of(replayed) == text_of(frames)


# -- edit -------------------------------------------------------------------------------------------------------


async def test_an_edit_is_a_fork_with_the_new_text_and_its_answer_comes_by_regenerate(
    client: httpx.AsyncClient, upstream: Upstream, server: HectorServer
) -> None:
    talk = await talk_of(client, upstream, "one", "two", "three")
    before = await talk.messages()
    response = await edit(talk, before[2]["message_id"], "deux")
    copy = Talk(client, good(response)["session_id"])
    assert response.status_code == 201
    assert await copy.texts() == ["one", "ONE", "deux"]
    requests = len(upstream.requests)
    upstream.answer(tokens=["DEUX"])
    answered = good(await again(copy))
    assert len(upstream.requests) == requests + 1
    assert received(upstream) == [*ONE, ("user", "deux")]
    assert answered["response"] == "DEUX"
    assert await copy.texts() == ["one", "ONE", "deux", "DEUX"]
    assert await talk.messages() == before


async def test_the_first_message_can_be_edited(
    client: httpx.AsyncClient, upstream: Upstream, server: HectorServer
) -> None:
    talk = await talk_of(client, upstream, "one")
    first = (await talk.messages())[0]
    copy = Talk(client, good(await edit(talk, first["message_id"], "un"))["session_id"])
    await again(copy)
    assert received(upstream) == [("user", "un")]


async def test_an_answer_cannot_be_edited(client: httpx.AsyncClient, upstream: Upstream, server: HectorServer) -> None:
    talk = await talk_of(client, upstream, "one")
    refused = await edit(talk, (await talk.messages())[1]["message_id"], "mine")
    assert reason(refused) == (422, "invalid_request")
    assert reason(await edit(talk, "msg_unknown", "mine")) == (404, "message_not_found")


# -- regenerate -------------------------------------------------------------------------------------------------


async def test_a_new_answer_replaces_the_old_one_which_leaves_the_context(
    client: httpx.AsyncClient, upstream: Upstream, server: HectorServer
) -> None:
    talk = await talk_of(client, upstream, "one", "two")
    upstream.answer(tokens=["BETTER"])
    answered = good(await again(talk))
    assert answered["response"] == "BETTER"
    assert received(upstream) == [*ONE, ("user", "two")]
    assert [(message["content"], message["status"]) for message in await talk.messages()] == [
        ("one", "completed"),
        ("ONE", "completed"),
        ("two", "completed"),
        ("TWO", "replaced"),
        ("BETTER", "completed"),
    ]
    await talk.say("three")
    assert received(upstream) == [*ONE, ("user", "two"), ("assistant", "BETTER"), ("user", "three")]


async def test_an_answer_can_be_replaced_again_also_after_a_restart(
    client: httpx.AsyncClient, upstream: Upstream, server: HectorServer
) -> None:
    talk = await talk_of(client, upstream, "one")
    upstream.answer(tokens=["SECOND"])
    await again(talk)
    await restart(server)
    upstream.answer(tokens=["THIRD"])
    assert good(await again(talk))["response"] == "THIRD"
    assert received(upstream) == [("user", "one")]
    statuses = [(message["content"], message["status"]) for message in await talk.messages()]
    assert statuses == [("one", "completed"), ("ONE", "replaced"), ("SECOND", "replaced"), ("THIRD", "completed")]
    await restart(server)
    await talk.say("two")
    assert received(upstream) == [("user", "one"), ("assistant", "THIRD"), ("user", "two")]


async def test_a_new_answer_can_be_streamed_and_watched(
    client: httpx.AsyncClient, upstream: Upstream, server: HectorServer
) -> None:
    talk = await talk_of(client, upstream, "one")
    upstream.answer(tokens=["NEW", " ONE"])
    async with (
        talk.follow() as watching,
        open_stream(client, "POST", f"{talk.path}/regenerate/stream", json={}) as stream,
    ):
        frames = await stream.rest()
        await watching.until("done")
    assert types_of(frames) == ["turn_started", "text", "turn_finished", "done"]
    assert text_of(frames) == text_of(watching.frames) == "NEW ONE"
    question = (await talk.messages())[0]
    assert frames[0].json["message_id"] == question["message_id"]


async def test_an_answer_that_broke_off_can_be_replaced(
    client: httpx.AsyncClient, upstream: Upstream, server: HectorServer
) -> None:
    talk = await talk_of(client, upstream, "one")
    upstream.answer(tokens=3, error_after=2)
    assert reason(await talk.post("two")) == (502, "llm_error")
    upstream.answer(tokens=["TWO"])
    good(await again(talk))
    assert received(upstream) == [*ONE, ("user", "two")]
    await talk.say("three")
    assert received(upstream) == [*ONE, *TWO, ("user", "three")]


async def test_a_message_whose_answer_never_began_can_be_answered_anew(
    client: httpx.AsyncClient, upstream: Upstream, server: HectorServer
) -> None:
    talk = await talk_of(client, upstream, "one")
    upstream.answer(status=500)
    assert reason(await talk.post("two")) == (502, "llm_error")
    upstream.answer(tokens=["TWO"])
    good(await again(talk))
    assert received(upstream) == [*ONE, ("user", "two")]
    await talk.say("three")
    assert received(upstream) == [*ONE, *TWO, ("user", "three")]


async def test_a_session_at_work_gives_no_second_answer(
    client: httpx.AsyncClient, upstream: Upstream, server: HectorServer
) -> None:
    talk = await talk_of(client, upstream, "one")
    upstream.answer(tokens=3, hang="after_tokens")
    turn_id = await talk.start("two")
    await upstream.wait_for(tokens=3)
    refused = await again(talk)
    assert reason(refused) == (409, "session_busy")
    assert refused.json()["error"]["details"]["turn_id"] == turn_id
    assert reason(await client.post(f"{talk.path}/regenerate/stream")) == (409, "session_busy")
    await talk.cancel()
    assert [message["status"] for message in await talk.messages()] == ["completed"] * 3 + ["cancelled"]


async def test_of_many_who_ask_for_a_new_answer_at_once_one_gets_it(
    client: httpx.AsyncClient, upstream: Upstream, server: HectorServer
) -> None:
    talk = await talk_of(client, upstream, "one")
    upstream.default = Reply(tokens=3, delay=0.05)
    answers = await asyncio.gather(*[again(talk) for _ in range(5)])
    assert sorted([answer.status_code for answer in answers]) == [200, 409, 409, 409, 409]
    assert [message["status"] for message in await talk.messages()] == ["completed", "replaced", "completed"]


async def test_a_new_answer_that_is_asked_for_twice_under_one_key_is_given_once(
    client: httpx.AsyncClient, upstream: Upstream, server: HectorServer
) -> None:
    talk = await talk_of(client, upstream, "one")
    key = {"Idempotency-Key": "again-1"}
    first = good(await client.post(f"{talk.path}/regenerate", headers=key))
    assert good(await client.post(f"{talk.path}/regenerate", headers=key)) == first
    assert len(upstream.requests) == 2


async def test_only_the_last_answer_can_be_given_anew(
    client: httpx.AsyncClient, upstream: Upstream, server: HectorServer
) -> None:
    talk = await talk_of(client, upstream, "one", "two")
    messages = await talk.messages()
    assert reason(await again(talk, message_id=messages[1]["message_id"])) == (422, "invalid_request")
    good(await again(talk, message_id=messages[2]["message_id"]))
    good(await again(talk, message_id=(await talk.messages())[-1]["message_id"]))
    empty = await Talk.begin(client)
    assert reason(await again(empty)) == (422, "invalid_request")


async def test_a_fork_does_not_take_replaced_answers_along(
    client: httpx.AsyncClient, upstream: Upstream, server: HectorServer
) -> None:
    talk = await talk_of(client, upstream, "one")
    upstream.answer(tokens=["BETTER"])
    await again(talk)
    copy = await fork(talk)
    assert await copy.texts() == ["one", "BETTER"]
    assert (await copy.info())["message_count"] == 2


# -- beginning in the middle ------------------------------------------------------------------------------------

SEEDS = [{"role": "user", "content": "one"}, {"role": "assistant", "content": "ONE"}]


async def test_a_session_can_begin_with_messages(
    client: httpx.AsyncClient, upstream: Upstream, server: HectorServer
) -> None:
    talk = await Talk.begin(client, messages=SEEDS)
    assert [(message["role"], message["content"]) for message in await talk.messages()] == ONE
    assert [message["turn_id"] for message in await talk.messages()] == [None, None]
    [snapshot, *_] = await talk.replay(1)
    assert (snapshot.json["type"], snapshot.json["turn_id"]) == ("snapshot", None)
    assert (await talk.info())["message_count"] == 2
    assert upstream.requests == []
    await restart(server)
    await talk.say("two")
    assert received(upstream) == [*ONE, ("user", "two")]


async def test_a_session_in_memory_can_begin_with_messages(
    client: httpx.AsyncClient, upstream: Upstream, server: HectorServer
) -> None:
    talk = await Talk.begin(client, messages=SEEDS, ephemeral=True)
    await talk.say("two")
    assert received(upstream) == [*ONE, ("user", "two")]


async def test_a_message_can_be_added_without_a_turn(
    client: httpx.AsyncClient, upstream: Upstream, server: HectorServer
) -> None:
    talk = await talk_of(client, upstream, "one")
    response = await add(talk, "assistant", "By the way.")
    assert response.status_code == 201
    assert response.json() == (await talk.messages())[-1]
    assert response.json()["turn_id"] is None
    assert len(upstream.requests) == 1
    await talk.say("two")
    assert received(upstream) == [ONE[0], ("assistant", "ONE\n\nBy the way."), ("user", "two")]
    await restart(server)
    await talk.say("three")
    assert received(upstream)[:3] == [ONE[0], ("assistant", "ONE\n\nBy the way."), ("user", "two")]


async def test_a_users_message_that_was_added_can_be_answered_later(
    client: httpx.AsyncClient, upstream: Upstream, server: HectorServer
) -> None:
    talk = await Talk.begin(client)
    good(await add(talk, "user", "one"))
    good(await again(talk))
    assert received(upstream) == [("user", "one")]


async def test_no_message_is_added_while_a_turn_is_open_or_the_session_is_over(
    client: httpx.AsyncClient, upstream: Upstream, server: HectorServer
) -> None:
    talk = await talk_of(client, upstream, "one")
    upstream.answer(tokens=3, hang="after_tokens")
    await talk.start("two")
    await upstream.wait_for(tokens=3)
    assert reason(await add(talk, "user", "in between")) == (409, "session_busy")
    await talk.cancel()
    assert (await add(talk, "user", "afterwards")).status_code == 201
    await talk.end()
    assert reason(await add(talk, "user", "too late")) == (409, "session_ended")


# -- instructions for one turn ----------------------------------------------------------------------------------


async def test_instructions_hold_for_their_turn_only(
    client: httpx.AsyncClient, upstream: Upstream, server: HectorServer
) -> None:
    talk = await Talk.begin(client)
    await talk.say("one", instructions="Be brief.")
    assert system_of(upstream) == f"{SYSTEM}\n\nBe brief."
    await talk.say("two")
    assert system_of(upstream) == SYSTEM
    good(await again(talk, instructions="Be long."))
    assert system_of(upstream) == f"{SYSTEM}\n\nBe long."
    assert "Be brief." not in [message["content"] for message in await talk.messages()]


async def test_instructions_of_a_one_shot_reach_the_model(
    client: httpx.AsyncClient, upstream: Upstream, server: HectorServer
) -> None:
    good(await client.post("/agents/assistant/messages", json={"message": "one", "instructions": "Be brief."}))
    assert system_of(upstream) == f"{SYSTEM}\n\nBe brief."


async def test_instructions_wait_in_the_queue_with_their_message_also_over_a_restart(
    client: httpx.AsyncClient, upstream: Upstream, server: HectorServer
) -> None:
    talk = await Talk.begin(client)
    upstream.answer(tokens=3, hang="after_tokens")
    await talk.start("one")
    await upstream.wait_for(tokens=3)
    second = await talk.start("two", instructions="Be brief.")
    third = await talk.start("three")
    await restart(server)
    await talk.finished(second)
    await talk.finished(third)
    assert [system_of(upstream, number) for number in (-2, -1)] == [f"{SYSTEM}\n\nBe brief.", SYSTEM]
    assert received(upstream, -2)[-1] == ("user", "two")


# -- export and import ------------------------------------------------------------------------------------------


async def test_an_export_imported_is_the_same_conversation(
    client: httpx.AsyncClient, upstream: Upstream, server: HectorServer
) -> None:
    talk = await talk_of(client, upstream, "one", "two", title="Numbers", metadata={"team": "maths"})
    upstream.answer(tokens=["BETTER"])
    await again(talk)
    exported = good(await client.get(f"{talk.path}/export"))
    made = good(await client.post("/agents/assistant/sessions/import", json=exported))
    copy = Talk(client, made["session_id"])
    assert (made["title"], made["metadata"]) == ("Numbers", {"team": "maths"})
    assert copy.session_id != talk.session_id
    again_exported = good(await client.get(f"{copy.path}/export"))
    assert without_ids(again_exported) == without_ids(exported)
    await restart(server)
    await copy.say("three")
    assert received(upstream) == [*ONE, ("user", "two"), ("assistant", "BETTER"), ("user", "three")]


def without_ids(exported: dict[str, Any]) -> list[tuple[str, str, str, str]]:
    return [
        (message["role"], message["content"], message["status"], message["created_at"])
        for message in exported["messages"]
    ]


async def test_an_export_as_markdown_reads_like_a_conversation(
    client: httpx.AsyncClient, upstream: Upstream, server: HectorServer
) -> None:
    talk = await talk_of(client, upstream, "one", title="Numbers")
    upstream.answer(tokens=["BETTER"])
    await again(talk)
    upstream.answer(tokens=2, error_after=1)
    await talk.post("two")
    response = await client.get(f"{talk.path}/export?format=markdown")
    assert response.headers["content-type"] == "text/markdown; charset=utf-8"
    assert response.text == (
        "# Numbers\n\n## User\n\none\n\n## Assistant\n\nBETTER\n\n## User\n\ntwo\n\n## Assistant (failed)\n\n t0\n"
    )


async def test_an_export_has_every_message_of_a_long_conversation(
    client: httpx.AsyncClient, upstream: Upstream, server: HectorServer
) -> None:
    seeds = [{"role": ("user", "assistant")[number % 2], "content": f"m{number}"} for number in range(1100)]
    talk = await Talk.begin(client, messages=seeds)
    exported = good(await client.get(f"{talk.path}/export"))
    assert [message["content"] for message in exported["messages"]] == [seed["content"] for seed in seeds]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"messages": [{"role": "system", "content": "x"}]},
        {"messages": [{"role": "user", "content": "x", "created_at": "yesterday"}]},
        {"messages": [{"role": "user", "content": "x", "status": "running"}]},
    ],
)
async def test_what_is_no_export_is_refused(
    client: httpx.AsyncClient, upstream: Upstream, server: HectorServer, body: dict[str, Any]
) -> None:
    assert reason(await client.post("/agents/assistant/sessions/import", json=body)) == (422, "invalid_request")


async def test_somebody_elses_session_can_be_neither_forked_nor_exported(
    client: httpx.AsyncClient, upstream: Upstream, server: HectorServer
) -> None:
    talk = await talk_of(client, upstream, "one", user_id="ann")
    bob = {"X-User-Id": "bob"}
    for method, path in (("POST", "fork"), ("GET", "export"), ("POST", "regenerate"), ("PUT", "messages/msg_x")):
        refused = await client.request(method, f"{talk.path}/{path}", headers=bob)
        assert reason(refused) == (404, "session_not_found")
