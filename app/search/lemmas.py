"""Lemmas: irregular forms of English words, so that `went` is found as `go`. `stems.py` handles regular forms.

The list comes from grammar books, not from any corpus: irregular verbs and plurals in everyday use. Forms that are
more common as another word (`left`, `found`, `saw`, `felt`, `rose`, `lives`, `leaves`) are left out.
"""

from __future__ import annotations

_FORMS = """
arise arose arisen|bear bore|beat beaten|become became|begin began begun|bend bent|bite bitten|bleed bled
blow blew blown|break broke broken|breed bred|bring brought|build built|burn burnt|buy bought|catch caught
choose chose chosen|cling clung|come came|creep crept|deal dealt|dig dug|draw drew drawn|dream dreamt
drink drank drunk|drive drove driven|eat ate eaten|fall fell fallen|feed fed|fight fought|flee fled|fly flew flown
forbid forbade forbidden|forget forgot forgotten|forgive forgave forgiven|freeze froze frozen|give gave given
go went gone|grow grew grown|hang hung|hear heard|hide hid hidden|hold held|keep kept|kneel knelt|know knew known
lead led|leap leapt|learn learnt|lend lent|lose lost|make made|mean meant|meet met|mistake mistook mistaken
outgrow outgrew outgrown|overcome overcame|pay paid|prove proven|rebuild rebuilt|ride rode ridden|ring rang
rise risen|run ran|say said|see seen|seek sought|sell sold|send sent|sew sewn|shake shook shaken|shine shone
show shown|shrink shrank shrunk|sing sang sung|sink sank sunk|sit sat|sleep slept|slide slid|speak spoken
spend spent|spill spilt|spin spun|spoil spoilt|spring sprang sprung|stand stood|steal stole stolen|stick stuck
sting stung|stink stank stunk|strike struck|strive strove striven|swear swore sworn|sweep swept|swell swollen
swim swam swum|swing swung|take took taken|teach taught|tear tore torn|tell told|think thought|throw threw thrown
tread trod trodden|undergo underwent undergone|understand understood|undertake undertook undertaken|wake woke woken
wear wore worn|weave wove woven|weep wept|win won|withdraw withdrew withdrawn|write wrote written
child children|person people|man men|woman women|foot feet|tooth teeth|mouse mice|goose geese|wife wives|knife knives
half halves|shelf shelves|loaf loaves|thief thieves|wolf wolves|scarf scarves
"""
_BASES: dict[str, str] = {}
for _entry in _FORMS.replace("\n", "|").split("|"):
    _base, *_others = _entry.split() or [""]
    _BASES.update(dict.fromkeys(_others, _base))


def base_of(word: str) -> str:
    """The base form of an irregular form; every other word unchanged."""
    return _BASES.get(word, word)
