"""What a question says beside its words."""

from __future__ import annotations

from datetime import date

import pytest

from app.memory.cues import Asked, Sign, ask, fits_date, shows


def asked(question: str) -> Asked:
    return ask(question, frozenset({"ann"}))


@pytest.mark.parametrize(
    "question", ["What happened on 7 May 2023?", "And on May 7th, 2023?", "Anything from 2023-05-07?"]
)
def test_a_date_fits_its_day_best_then_the_days_after(question: str) -> None:
    found = asked(question)
    that_day, later = fits_date(found, date(2023, 5, 7)), fits_date(found, date(2023, 5, 12))
    assert that_day == 1.0
    assert 0 < later < that_day
    assert fits_date(found, date(2023, 6, 30)) == 0.0
    assert fits_date(found, date(2023, 5, 6)) == 0.0


def test_a_month_without_a_year_fits_every_year() -> None:
    found = asked("What did we plan in October?")
    assert fits_date(found, date(2021, 10, 3)) == fits_date(found, date(2024, 10, 30)) > 0
    assert fits_date(found, date(2024, 3, 3)) == 0.0


def test_may_is_a_word_before_it_is_a_month() -> None:
    assert asked("What may help against it?").months == frozenset()


def test_impossible_dates_say_nothing() -> None:
    assert fits_date(asked("on June 31, 2023"), date(2023, 6, 30)) == 0.0


def test_who_is_asked_about_is_known_by_name_or_pronoun() -> None:
    assert asked("What does Ann like?").names == {"ann"}
    assert asked("Can you tell me where I live?").roles == {"user"}
    assert asked("What did you recommend?").roles == {"assistant"}
    assert asked("Who won?").roles == frozenset()
    assert asked("Where does the user live?").roles == {"user"}
    assert asked("What did the assistant tell the user?").roles == frozenset()


def test_who_speaks_of_both_means_neither_unless_he_says_what_the_other_did() -> None:
    assert asked("How should you call me?").roles == frozenset()
    assert asked("What did you recommend for my back?").roles == {"assistant"}


@pytest.mark.parametrize("question", ["Where do I live?", "What is Ann's job now?", "Which is her current job?"])
def test_how_things_are_is_asked_by_oneself_or_in_so_many_words(question: str) -> None:
    assert asked(question).is_about_now


@pytest.mark.parametrize("question", ["Where did I live?", "What is Ann's job?", "What was my first job?"])
def test_other_questions_are_not_about_now(question: str) -> None:
    assert not asked(question).is_about_now


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("How do I boil eggs?", True),
        ("Hey, what's the capital of Mongolia?", True),
        ("Isn't it late?", True),
        ("I live in Oslo, what gyms are there?", False),
        ("We moved. How are you?", False),
        ("What a day", False),
    ],
)
def test_a_bare_question_tells_nothing(content: str, expected: bool) -> None:
    assert shows(content, Sign.BARE_QUESTION) is expected


def test_the_kind_of_answer_is_known() -> None:
    assert asked("When was it?").is_when
    assert asked("How many were there?").is_how_many
    assert shows("See you next week at five", Sign.TIME)
    assert shows("There were twelve of them", Sign.NUMBER)
    assert shows("Really?", Sign.QUESTION)
    assert shows("I have moved to Oslo", Sign.CORRECTION)
