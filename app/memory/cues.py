"""Cues beside the words: what a question asks for (who, when, how many), and what a turn offers of it."""

from __future__ import annotations

import calendar
import re
from dataclasses import dataclass
from datetime import date, timedelta
from enum import IntEnum
from itertools import islice

from app.domain.clock import utc
from app.memory.names import find_names, without_names
from app.search.function_words import FUNCTION_TERMS, Language, is_first_person, language_of
from app.search.words import terms

_MONTHS = {
    name.lower(): number
    for names in (calendar.month_name, calendar.month_abbr)
    for number, name in enumerate(names)
    if name
} | {"sept": 9}
_MONTH = "|".join(sorted(_MONTHS, key=len, reverse=True))
_YEAR = r"(?:19|20)\d\d"
_DAY = r"(?:[12]\d|3[01]|0?[1-9])"
_DATE = re.compile(
    rf"\b(?P<iso>{_YEAR})-(?P<iso_month>\d\d)(?:-(?P<iso_day>\d\d))?\b"
    rf"|\b(?P<day_before>{_DAY})(?:st|nd|rd|th)?\s+(?:of\s+)?(?P<month_after>{_MONTH})\b\.?(?:,?\s+(?P<year_1>{_YEAR}))?"
    rf"|\b(?P<month>{_MONTH})\b\.?\s+(?P<day_after>{_DAY})(?:st|nd|rd|th)?\b(?:,?\s+(?P<year_2>{_YEAR}))?"
    rf"|\b(?P<month_alone>{_MONTH})\b\.?(?:,?\s+(?:of\s+)?(?P<year_3>{_YEAR}))?"
    rf"|\b(?P<year>{_YEAR})\b",
    re.IGNORECASE,
)
MAX_TERMS = 200
"""Terms of a question that are searched; each takes a lookup of its own. Sentences have fewer."""
_LATER = timedelta(days=10)
"""How long after an event people still report it as news (measured on membench)."""

_WHEN = re.compile(r"\bwhen\b|\bwh(?:ich|at) (?:day|date|month|year|time|week|season)\b|\bhow (?:long|recent)", re.I)
_HOW_MANY = re.compile(r"\bhow (?:many|much|long|old|often|far|big|tall)\b|\bwhat (?:number|age|price)\b", re.I)
_TIME_WORDS = re.compile(
    r"\b(?:yesterday|today|tonight|tomorrow|ago|last|next|since|recently|lately|morning|evening|weekend|week|month|year"
    r"|weeks|months|years|days|mon|tues|wednes|thurs|fri|satur|sun)(?:day)?\b"
    rf"|\b(?:{_MONTH})\b|\b{_YEAR}\b|\b\d{{1,2}}(?:st|nd|rd|th|:\d\d|\s?[ap]m)\b",
    re.IGNORECASE,
)
_NUMBER = re.compile(
    r"\d|\b(?:two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|twenty|thirty|forty|fifty|hundred|thousand"
    r"|once|twice|couple|several|dozen|half)\b",
    re.IGNORECASE,
)
_PERSONAL = re.compile(r"\b(?:I|[Mm]y|[Mm]e|[Mm]yself)\b")
_BARE_QUESTION = re.compile(
    r"^\W*(?:(?:so|and|but|ok|okay|well|also|hey|hi|please)\W+)?"
    r"(?:wh(?:at|en|ere|y|o|om|ose|ich)|how|is|are|was|were|am|do|does|did|can|could|would|will|should|shall|may|have|has"
    r"|had)(?:['’]\w+|n['’]t)?\b[^.!;]*\?\s*$",
    re.IGNORECASE,
)
_POLITE = re.compile(
    r"\b(?:can|could|would|will|do) you (?:please )?(?:tell|remind|remember|recall|know|help|say)\b"
    r"|\b(?:tell|remind) me\b",
    re.IGNORECASE,
)
_NAMED_ROLE = re.compile(r"\bthe (user|assistant)\b", re.IGNORECASE)
_YOU_DID = re.compile(
    r"\b(?:did|have|had|were) you\b|\byou (?:\w+ed|said|told|gave|wrote|made|found|thought|sent)\b|\byour\b", re.I
)
_FIRST_PERSON = re.compile(r"\b(?:i|my|me|mine|myself|i'm|i've|i'd|we|our)\b", re.IGNORECASE)
_SECOND_PERSON = re.compile(r"\b(?:you|your|yours)\b", re.IGNORECASE)
_PAST = re.compile(
    r"\b(?:did|was|were|had|used to|formerly|previous(?:ly)?|originally|initially|earlier|before|at first|first"
    r"|back then|history|ever|all|list)\b",
    re.IGNORECASE,
)
_PRESENT = re.compile(
    r"\b(?:now|nowadays|current(?:ly)?|these days|at (?:the moment|present)|still|latest|most recent|up to date)\b",
    re.IGNORECASE,
)
_CORRECTION = re.compile(
    r"\b(?:now|nowadays|currently|these days|no longer|not .{1,20} any ?more|any ?more|actually|instead|correction"
    r"|changed?|switched|moved|from now on|new|since then|as of|updated?|replaced|gave up|quit|stopped|used to)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Period:
    """A period that a question names, first and last day inclusive. `share`: how exact it is, 1 for a single day."""

    first: date
    last: date
    share: float


@dataclass(frozen=True, slots=True)
class Asked:
    """A parsed question. `names`: the participants of the scope that it names; `roles`: whose words it asks for."""

    text: str
    terms: tuple[str, ...]
    names: frozenset[str]
    roles: frozenset[str]
    periods: tuple[Period, ...]
    months: frozenset[int]
    is_when: bool
    is_how_many: bool
    is_about_past: bool
    is_about_now: bool
    """It asks about the present: it says so, or the user asks about himself, and it says nothing of the past. In
    English: the tenses of other languages are not known, nor are vectors of them good enough to find corrections."""
    language: Language = Language.ENGLISH

    @property
    def is_dated(self) -> bool:
        return bool(self.periods or self.months)


class Sign(IntEnum):
    """What a turn shows beside its words; one bit each."""

    QUESTION = 1
    TIME = 2
    NUMBER = 4
    CORRECTION = 8
    PERSONAL = 16
    BARE_QUESTION = 32
    """Nothing but a question: it contains no fact."""


_PATTERNS = {
    Sign.TIME: _TIME_WORDS,
    Sign.NUMBER: _NUMBER,
    Sign.CORRECTION: _CORRECTION,
    Sign.PERSONAL: _PERSONAL,
    Sign.BARE_QUESTION: _BARE_QUESTION,
}


def shows(content: str, sign: Sign) -> bool:
    if sign is Sign.QUESTION:
        return content.rstrip().endswith("?")
    return _PATTERNS[sign].search(content) is not None


def ask(question: str, names: frozenset[str]) -> Asked:
    """Parse a question. `names`: the folded names of the scope's participants."""
    bare = without_names(question, names)
    found = dict.fromkeys(terms(bare))
    language = language_of(bare)
    if language is Language.OTHER:
        found = dict.fromkeys([term for term in found if term not in FUNCTION_TERMS]) or found
    periods, months = find_periods(question)
    roles, is_about_past = _roles(question), _PAST.search(question) is not None
    is_about_user = "user" in roles
    if not roles and language is Language.OTHER and is_first_person(bare):
        roles = frozenset({"user"})
    return Asked(
        text=bare,
        terms=tuple(islice(found, MAX_TERMS)),
        names=frozenset(find_names(question, names)),
        roles=roles,
        periods=periods,
        months=months,
        is_when=_WHEN.search(question) is not None,
        is_how_many=_HOW_MANY.search(question) is not None,
        is_about_past=is_about_past,
        is_about_now=not is_about_past and (is_about_user or _PRESENT.search(question) is not None),
        language=language,
    )


def _roles(question: str) -> frozenset[str]:
    """Whose words the question asks for: `I` and `my` mean the user, `you` the assistant, `the user` names the role."""
    if said := _NAMED_ROLE.findall(question):
        return frozenset(role.lower() for role in said) if len(set(map(str.lower, said))) == 1 else frozenset()
    rest = _POLITE.sub(" ", question)
    says_i = _FIRST_PERSON.search(rest) is not None
    if _SECOND_PERSON.search(rest) is not None:
        if says_i and not _YOU_DID.search(rest):  # "How should you call me?"
            return frozenset()
        return frozenset({"assistant"})
    return frozenset({"user"}) if says_i else frozenset()


def find_periods(question: str) -> tuple[tuple[Period, ...], frozenset[int]]:
    """The dates in a text, and the months it names without a year."""
    periods: list[Period] = []
    months: set[int] = set()
    for match in _DATE.finditer(question):
        said = match.groupdict()
        year = said["iso"] or said["year_1"] or said["year_2"] or said["year_3"] or said["year"]
        name = said["month_after"] or said["month"] or said["month_alone"]
        month = int(said["iso_month"]) if said["iso_month"] else _MONTHS[name.lower()] if name else None
        day = said["iso_day"] or said["day_before"] or said["day_after"]
        if said["month_alone"] and not said["year_3"] and not said["month_alone"][0].isupper():
            continue  # in lower case "may" and "march" are mostly words
        if year is None:
            if month is not None:
                months.add(month)
            continue
        period = _period(int(year), month, int(day) if day else None)
        if period is not None:
            periods.append(period)
    return tuple(periods), frozenset(months)


def _period(year: int, month: int | None, day: int | None) -> Period | None:
    try:
        if month is None:
            return Period(date(year, 1, 1), date(year, 12, 31), 0.3)
        if day is None:
            return Period(date(year, month, 1), date(year, month, calendar.monthrange(year, month)[1]), 0.7)
        return Period(date(year, month, day), date(year, month, day), 1.0)
    except ValueError:  # the 31st of June
        return None


def day_of(created_ms: int) -> date:
    return utc(created_ms).date()


def fits_date(asked: Asked, day: date) -> float:
    """How well a turn of that day fits the dates of the question, 0 to 1; a few days later still fits."""
    best = 0.0
    for period in asked.periods:
        if period.first <= day <= period.last:
            best = max(best, period.share)
        elif period.last < day <= period.last + _LATER:
            late = (day - period.last) / _LATER
            best = max(best, period.share * (1 - 0.5 * late))
    if asked.months and not asked.periods:
        if day.month in asked.months:
            best = max(best, 0.6)
        elif (day - _LATER).month in asked.months:
            best = max(best, 0.3)
    return best
