"""What must be true of a session after all the kills: its ledger, the target, its history, what its reader was told."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from itertools import pairwise
from typing import Any, Literal

from app.domain.act import NEXT, ActState
from tests.kills.deeds import CLASSES, Effect
from tests.kills.model import broken_pairs
from tests.kills.talks import Client, Reader

OnCrash = Literal["resume", "interrupt"]
ENDS = {"settled", "failed", "cancelled", "refused", "unknown"}


async def check(client: Client, happened: list[Effect], on_crash: OnCrash, figures: Counter[str]) -> list[str]:
    """What is wrong with the session."""
    messages = await client.pages("/messages", "messages", "before", "next_before")
    events = await client.pages("/events", "events", "after", "next_after")
    target: dict[int, list[Effect]] = defaultdict(list)
    for effect in happened:
        target[effect.number].append(effect)
    found = [f"the history has {problem}" for problem in broken_pairs(messages)]
    for reader in client.readers:
        if reader.turn_id is None:
            found.append(f"{reader.task.name} was never begun")
            continue
        acts = await client.calls(reader.turn_id)
        turn = (await client.insist("GET", f"/turns/{reader.turn_id}")).json()
        said = [one for one in messages if one.get("turn_id") == reader.turn_id]
        problems = [
            *reader.problems,
            *_check_turn(reader, turn, said, events, on_crash),
            *_check_acts(reader, acts, target, turn["status"]),
            *_check_history(acts, said),
            *_check_reader(reader, acts, said, turn["status"]),
        ]
        if problems:
            problems.append(
                f"   acts {[(act['name'], act['step'], [c['state'] for c in act['changes']]) for act in acts]}"
            )
            problems.append(f"   seen {' | '.join(reader.seen)}")
        found += [f"{reader.turn_id} ({turn['status']}): {problem}" for problem in problems]
        figures["turns"] += 1
        figures[turn["status"]] += 1
        figures["acts"] += len(acts)
        figures["unknown"] += sum([any(c["state"] == "unknown" for c in act["changes"]) for act in acts])
        figures["ran again"] += sum([len(target[act["arguments"]["number"]]) > 1 for act in acts])
        figures["reconnects"] += reader.connections - 1
    return [f"{client.session_id}: {problem}" for problem in found]


def _check_turn(
    reader: Reader, turn: dict[str, Any], said: list[dict[str, Any]], events: list[dict[str, Any]], on_crash: OnCrash
) -> Iterator[str]:
    ends = [event for event in events if event["type"] == "turn_finished" and event["turn_id"] == reader.turn_id]
    if len(ends) != 1 or len(reader.ends) != 1:
        yield f"{len(ends)} ends are stored, {len(reader.ends)} were told"
    if turn["status"] not in ("completed", "interrupted" if on_crash == "interrupt" else "completed"):
        yield f"it ended {turn['status']}: {turn.get('reason')}"
    texts = [one["content"] for one in said if one["role"] == "assistant"]
    if turn["status"] == "completed" and texts != reader.task.texts:
        yield f"its texts are {texts}, not {reader.task.texts}"


def _check_acts(
    reader: Reader, acts: list[dict[str, Any]], target: dict[int, list[Effect]], status: str
) -> Iterator[str]:
    numbers = Counter([act["arguments"]["number"] for act in acts])
    yield from [f"{count} acts for call {number}" for number, count in numbers.items() if count > 1]
    expected = reader.task.calls
    lost = [number for number in expected if number not in numbers and (status == "completed" or target[number])]
    yield from [f"call {number} of {expected[number]} is in no ledger" for number in lost]
    for act in acts:
        number = act["arguments"]["number"]
        yield from [f"act {number} ({act['name']}): {problem}" for problem in _check_act(act, target[number])]


def _check_act(act: dict[str, Any], effects: list[Effect]) -> Iterator[str]:
    states = [change["state"] for change in act["changes"]]
    if CLASSES[act["name"]] == "once" and len(effects) > 1:
        yield f"it happened {len(effects)} times"
    if len({effect.key for effect in effects}) > 1:
        yield "it happened with different keys"
    for before, after in pairwise(states):
        if ActState(after) not in NEXT[ActState(before)]:
            yield f"{before} became {after}"
    if act["state"] not in ENDS:
        yield f"it is {act['state']} for ever"
    is_told = act["changes"][-1].get("by") is not None
    if act["state"] == "settled" and not effects and not is_told:
        yield "it is settled, and never happened"
    if effects and act["state"] != "settled" and not (act["state"] == "unknown" or CLASSES[act["name"]] != "once"):
        yield f"it happened, and is {act['state']}"
    if "unknown" in states and "started" not in states[: states.index("unknown")]:
        yield "it is unknown, and was never started"
    if "unknown" in states and CLASSES[act["name"]] != "once":
        yield "it may run again, and is unknown"


def _check_history(acts: list[dict[str, Any]], said: list[dict[str, Any]]) -> Iterator[str]:
    asked = [call["id"] for one in said for call in one.get("tool_calls") or ()]
    outcomes = [one["tool_call_id"] for one in said if one["role"] == "tool"]
    ids = [act["call_id"] for act in acts]
    if sorted(asked) != sorted(ids) or outcomes != asked:
        yield f"the ledger has {ids}, the history asks {asked} and answers {outcomes}"


def _check_reader(reader: Reader, acts: list[dict[str, Any]], said: list[dict[str, Any]], status: str) -> Iterator[str]:
    texts = [one["content"] for one in said if one["role"] == "assistant" and one["content"]]
    if reader.said.messages != texts:
        yield f"it was read as {reader.said.messages}, and is stored as {texts}"
    if reader.called != Counter([act["call_id"] for act in acts]):
        yield f"calls were shown {dict(reader.called)}"
    for act in acts:
        told = reader.results.get(act["call_id"], [])
        ends = [change["state"] for change in act["changes"] if change["state"] in ENDS]
        if status == "interrupted" and told:  # what is resolved afterwards is told to those who follow the session
            ends = ends[: len(told)]
        if told != ends:
            yield f"the outcome of call {act['arguments']['number']} ({act['state']}) was told as {told}"
