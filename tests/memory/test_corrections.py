"""A fact that was corrected later stands behind its correction, whatever the words score."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from app.domain.memory import Scope
from app.memory.longterm import LongTermMemory, Saying
from app.search.embedder import Embedding, pack
from app.search.hash_embedder import HashEmbedder
from tests.memory.conftest import Make, owner, said


async def ask(memory: LongTermMemory, question: str, *sayings: Saying) -> list[str]:
    for number, saying in enumerate(sayings):
        await memory.remember(owner(f"s{number}"), Scope.CONVERSATIONAL, [saying])
    found = await memory.recall(question, owner=owner("asking"), scope=Scope.CONVERSATIONAL)
    return [hit.memory.text for hit in found.hits]


@pytest.mark.parametrize(
    ("question", "earlier", "later"),
    [
        ("Where do I live?", "I live in Bergen by the sea, and like to live there", "Now I live in Oslo"),
        ("What is my phone number?", "My phone number is 555 0100, my number", "I changed my phone number: 555 0199"),
        ("Who is my dentist?", "My dentist is Dr Hale, a very good dentist", "My new dentist is Dr Moss"),
        ("What do I drink in the morning?", "I drink coffee every morning", "I drink tea in the morning now"),
        ("Which editor do I use?", "The editor I use is Vim, a good editor", "I switched: the editor I use is Helix"),
    ],
)  # fmt: skip
async def test_the_correction_comes_first(memory: LongTermMemory, question: str, earlier: str, later: str) -> None:
    assert (await ask(memory, question, said(earlier, day=1), said(later, day=40)))[:2] == [later, earlier]


async def test_a_hit_says_what_it_corrects(memory: LongTermMemory) -> None:
    await memory.remember(owner("s1"), Scope.CONVERSATIONAL, [said("I live in Bergen", day=1)])
    await memory.remember(owner("s2"), Scope.CONVERSATIONAL, [said("Now I live in Oslo", day=2)])
    found = await memory.recall("Where do I live?", owner=owner("s3"), scope=Scope.CONVERSATIONAL)
    first, second = found.hits
    assert first.corrects == (second.memory.memory_id,)
    assert second.corrects == ()


async def test_of_two_that_say_the_same_way_the_newer_comes_first(memory: LongTermMemory) -> None:
    found = await ask(memory, "Where do I live?", said("I live in Bergen", day=1), said("I live in Oslo", day=90))
    assert found == ["I live in Oslo", "I live in Bergen"]


class Topics(HashEmbedder):
    """Two sayings of one matter are alike, whatever their words."""

    model = "topics"
    matters = (("alarm", "wake"), ("bread", "bake"), ("rain", "weather"))

    async def embed(self, texts: Sequence[str], *, is_query: bool = False) -> list[Embedding]:
        return [
            Embedding(pack([1.0 if any(word in text for word in words) else 0.05 for words in self.matters]))
            for text in texts
        ]


async def test_the_later_of_two_alike_in_meaning_comes_first(make: Make) -> None:
    memory = make(Topics())
    sayings = (
        said("I wake at seven and like to wake at seven", day=1),
        said("Since May my alarm is set to five", day=40),
        said("I bake bread at seven", day=50),
    )
    for number, saying in enumerate(sayings):
        await memory.remember(owner(f"s{number}"), Scope.CONVERSATIONAL, [saying])
    await memory.embed_pending()
    for question, best in (("When do I wake?", 1), ("When did I wake in the past?", 0)):
        found = await memory.recall(question, owner=owner("asking"), scope=Scope.CONVERSATIONAL)
        assert found.by_meaning
        assert found.hits[0].memory.text == sayings[best].text


async def test_what_two_people_say_again_and_again_corrects_nothing(make: Make) -> None:
    memory = make(Topics())
    sayings = [
        Saying("user", "Ann", "The weather is fine, the rain in Bergen has ended", 1),
        Saying("user", "Ann", "Weather!", 2),
    ]
    await memory.remember(owner(), Scope.CONVERSATIONAL, sayings)
    await memory.embed_pending()
    found = await memory.recall("Which weather and rain has Bergen?", owner=owner("s2"), scope=Scope.CONVERSATIONAL)
    assert [hit.memory.text for hit in found.hits] == [one.text for one in sayings]


async def test_a_question_about_the_past_gets_the_past(memory: LongTermMemory) -> None:
    sayings = (said("I live in Bergen in a house", day=1), said("Now I live in Oslo", day=40))
    found = await ask(memory, "In what house did I live before?", *sayings)
    assert found[0] == "I live in Bergen in a house"


async def test_an_earlier_now_corrects_nothing(memory: LongTermMemory) -> None:
    found = await ask(memory, "Where do I live?", said("Now I live in Bergen", day=1), said("I live in Oslo", day=40))
    assert found[0] == "I live in Oslo"


async def test_nobody_corrects_what_another_said(memory: LongTermMemory) -> None:
    sayings = (
        said("I live in Bergen, in a house", day=1),
        said("Now I live in the cloud, so to speak", role="assistant", day=40),
    )
    assert (await ask(memory, "Where do I live?", *sayings))[0] == sayings[0].text
