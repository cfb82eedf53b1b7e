"""Function words of languages other than English: what a question is made of, and no part of what it is about.

The index keeps them (its stop words are English), because many are English words with a meaning. So they are left out
of a question only, and only where it has more of them than of English ones.
"""

from __future__ import annotations

import re
from enum import Enum

from app.search.words import STOP_WORDS, terms, words

_LONGEST = 400
"""Characters that tell a language."""

_BY_LANGUAGE = """
el la los las un una unos unas de del al a y o u e que cual cuales quien quienes como cuando donde cuanto cuantos cuanta
cuantas por para con sin en es son era fue soy eres somos esta estan estoy ser estar yo tu mi mis me te se su sus lo le
les nos ha he hay muy mas pero si tengo tiene tienes
os as um uma do da dos das em no na nas com sem ou qual quais quem quando onde quanto quantos eu voce meu minha meus
minhas seu sua sao foi sou estou tem tenho muito nao
l des d du au aux et qu qui quoi quel quelle quels quelles comment quand combien je j il elle nous vous ils mon ma mes
ton ta tes sa ses m t s ce c cette ces est sont suis sommes etait etre ai avons ont dans sur pour par avec sans ne n pas
plus
der die das den dem ein eine einen einem einer eines und oder ist sind war bin bist sein ich du er sie wir ihr mein
meine meinen meinem meiner meines dein deine mir mich dir dich sich was wer wie wo wann warum welche welcher welches
wieviel viele im an am auf zu zum zur von vom mit bei fur aus nicht hat habe haben
il lo gli uno di della dei delle da dal nel nella per su che chi quale quali come dove quanti io mio mia miei mie tuo ti
si ci sono sei essere ho hai non piu
het een zijn ben ik jij je hij zij we mijn jouw mij wat hoe waar wanneer waarom welke hoeveel in op aan te van met voor
uit niet heb heeft hebben
i w z jest sa byl jestem ja ty moj moja moje mojego mnie sie co kto jak gdzie kiedy ile jaki jaka jakie nie
и в на с к о у по за из от я ты мои моя мое мою моего моеи меня мне мы вы он она это что кто как где
когда сколько какои какая какое какие есть был была не
ve bir bu benim sen senin kim nasil nerede zaman kac hangi mu var
什么 我的 是什 叫什 么时 时候 怎么 哪里 哪儿 哪个 哪天 多少 是谁
です ます ます すか まし した この その 何で は何 私の 僕の でし どこ いつ だれ 誰で
제 내 저 나 저는 나는 제가 내가 저의 나의 는 은 이 가 뭐 뭐예요 무엇 무엇인가요
무엇입니까 어디 어디에 어디예요 언제 누구 몇 어떻게 입니다
ما هو هي من في على الى اين متى كيف كم انا لي هل الذي التي منه
का की के है हैं में मैं को से ने पर और क्या कौन कहाँ कब कैसे कितने मेरा मेरी मेरे मुझे हूँ हो
neye neden niye adi cosa che quale
toi cua la o dau gi nao bao nhieu khi nhu the co khong
"""
FUNCTION_TERMS = frozenset(terms(_BY_LANGUAGE))
"""As texts are indexed: folded, cut and stemmed, without those that are English function words, too."""

_ALSO_ENGLISH = frozenset(
    terms("son die war era comment pour plus sin con van met hat den bin ton per come jest ma mu")
)
"""These tell nothing of the language."""

_SPEAKER = """
yo mi mis me mio mia eu meu minha meus minhas je j mon ma mes moi ich mein meine meinen meinem meiner meines mir mich io
miei mie ik mijn mij ja moj moja moje mojego mnie я мои моя мое мою моего моеи меня мне toi ben benim
제 내 저 나 저는 나는 제가 내가 저의 나의
"""
_FIRST_PERSON = frozenset(_SPEAKER.split())
_FIRST_PERSON_SIGN = re.compile("[我俺僕私]")


class Language(Enum):
    """What the function words of a text say of its language."""

    ENGLISH = "English"
    OTHER = "another that is known"
    UNKNOWN = "unknown"


def language_of(text: str) -> Language:
    said = text[:_LONGEST]
    english = sum([word in STOP_WORDS for word in words(said)])
    other = sum([term in FUNCTION_TERMS and term not in _ALSO_ENGLISH for term in terms(said)])
    if other > english:
        return Language.OTHER
    return Language.ENGLISH if english else Language.UNKNOWN


def is_first_person(text: str) -> bool:
    """Whether somebody speaks of himself, in a language other than English."""
    said = text[:_LONGEST]
    return _FIRST_PERSON_SIGN.search(said) is not None or not _FIRST_PERSON.isdisjoint(words(said))
