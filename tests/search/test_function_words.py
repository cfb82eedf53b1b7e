"""Which words of a question only carry it, and whether somebody speaks of himself, in more than English."""

from __future__ import annotations

import pytest

from app.search.function_words import FUNCTION_TERMS, Language, is_first_person, language_of
from app.search.words import terms


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("What is my cat called?", Language.ENGLISH),
        ("Where did my son die?", Language.ENGLISH),
        ("son name", Language.UNKNOWN),
        ("¿Dónde vivo?", Language.OTHER),
        ("Wo wohne ich?", Language.OTHER),
        ("Où est-ce que j'habite ?", Language.OTHER),
        ("Где я живу?", Language.OTHER),
        ("我住在哪里？", Language.OTHER),
        ("제 고양이 이름이 뭐예요?", Language.OTHER),
        ("Missä asun?", Language.UNKNOWN),
        ("", Language.UNKNOWN),
    ],
)
def test_the_language_shows_in_its_function_words(text: str, language: Language) -> None:
    assert language_of(text) is language


@pytest.mark.parametrize(
    "text", ["¿Cómo se llama mi gato?", "Wie heißt meine Katze?", "我的猫叫什么？", "Как зовут мою кошку?"]
)
def test_the_first_person_is_known(text: str) -> None:
    assert is_first_person(text)


@pytest.mark.parametrize("text", ["¿Cuál es la capital de Francia?", "Was ist die Hauptstadt?", "法国的首都是哪里？"])
def test_and_its_absence(text: str) -> None:
    assert not is_first_person(text)


def test_what_a_question_is_about_is_left() -> None:
    for question, about in (("¿Dónde vivo?", ["vivo"]), ("Qual é a capital da França?", ["capit", "franca"])):
        assert [term for term in terms(question) if term not in FUNCTION_TERMS] == about
