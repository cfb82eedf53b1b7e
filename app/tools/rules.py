"""Rules: whether a call runs, needs a yes, or is forbidden, and which line says so."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from app.tools.argument_globs import Match
from app.tools.rule_entry import Entry, RuleError, exact_entry, parse_entry, parse_pattern

__all__ = ["Decision", "RuleError", "Rules", "Verdict", "check_patterns", "exact_entry"]

Verdict = Literal["allow", "ask", "deny"]
_STRICTNESS: dict[Verdict, int] = {"allow": 0, "ask": 1, "deny": 2}


@dataclass(frozen=True, slots=True)
class Decision:
    """What happens to a call. `why` is a sentence for people and models; `rule` the line that decided, if one did."""

    verdict: Verdict
    why: str
    rule: str | None = None


def stricter(first: Decision, second: Decision) -> Decision:
    """The stricter of two decisions; the first where they agree."""
    return second if _STRICTNESS[second.verdict] > _STRICTNESS[first.verdict] else first


class Rules:
    """The permissions of one agent. Immutable.

    Order: `deny`, what people said yes to before (`remembered`), `ask`, `allow`, the tool's `require_approval`,
    `default`. Arguments that cannot be read always ask, unless the call is forbidden anyway. A line of `deny` or `ask`
    means whatever may be meant, a line of `allow` only what certainly is (`argument_globs.py`).
    """

    def __init__(
        self,
        *,
        deny: Iterable[str] = (),
        ask: Iterable[str] = (),
        allow: Iterable[str] = (),
        default: Verdict = "allow",
        remembered: Iterable[str] = (),
        folder: str | None = None,
    ) -> None:
        """`folder`: where relative paths begin, in the entries and in the calls.

        Raises:
            RuleError: an entry cannot be read.
        """
        self._folder = folder
        self._default: Verdict = default
        self._deny, self._ask, self._allow, self._remembered = (
            tuple(parse_entry(text, folder=folder) for text in lines) for lines in (deny, ask, allow, remembered)
        )
        self._remembered = _exact_first(self._remembered)
        self._above: Rules | None = None

    def within(self, parent: Rules) -> Rules:
        """These rules for an agent that another one calls: of both decisions the stricter one holds."""
        child = self._copy()
        child._above = parent if child._above is None else child._above.within(parent)
        return child

    def remember(self, entry: str) -> Rules:
        """These rules and one more thing that a person said yes to: an entry, mostly one by `exact_entry`."""
        rules = self._copy()
        rules._remembered = _exact_first((*self._remembered, parse_entry(entry, folder=self._folder)))
        return rules

    def decide(
        self, tool: str, arguments: Mapping[str, Any] | None, require_approval: bool | Sequence[str] = False
    ) -> Decision:
        """What happens to a call with these parsed arguments; `None`: they cannot be read.

        `require_approval`: what the tool's own section says, true or patterns for calls of this tool.
        """
        decision = self._decide(tool, arguments, require_approval)
        if self._above is None:
            return decision
        above = self._above.decide(tool, arguments, require_approval)
        if stricter(decision, above) is decision:
            return decision
        return replace(above, why=f"For the agent that called this one: {above.why}")

    def _decide(
        self, tool: str, arguments: Mapping[str, Any] | None, require_approval: bool | Sequence[str]
    ) -> Decision:
        denied = _first(self._deny, tool, arguments, strictly=True)
        if denied.match is Match.YES:
            return Decision("deny", f"The rule `{denied.text}` forbids it.", denied.text)
        known = _first(self._remembered, tool, arguments, strictly=False)
        if known.match is Match.YES and arguments is not None and (known.is_exact or denied.match is Match.NO):
            return Decision("allow", "A person said yes to this before.", known.text)
        asked = _first(self._ask, tool, arguments, strictly=True)
        if asked.match is Match.YES:
            return Decision("ask", f"The rule `{asked.text}` asks for a yes.", asked.text)
        decision = self._without_strict_rules(tool, arguments, require_approval)
        if decision.verdict != "allow":
            return decision
        return _doubted(arguments, denied, asked) or decision

    def _without_strict_rules(
        self, tool: str, arguments: Mapping[str, Any] | None, require_approval: bool | Sequence[str]
    ) -> Decision:
        allowed = _first(self._allow, tool, arguments, strictly=False)
        if allowed.match is Match.YES:
            return Decision("allow", f"The rule `{allowed.text}` allows it.", allowed.text)
        if require_approval is True:
            return Decision("ask", f"Every call of `{tool}` needs a yes.", "require_approval")
        if require_approval:
            wanted = _first(_patterns(tool, tuple(require_approval), self._folder), tool, arguments, strictly=True)
            if wanted.match is not Match.NO:
                return Decision("ask", f"Calls of `{tool}` like `{wanted.text}` need a yes.", wanted.text)
        return Decision(self._default, _DEFAULTS[self._default])

    def _copy(self) -> Rules:
        rules = Rules.__new__(Rules)
        rules.__dict__.update(self.__dict__)
        return rules


def check_patterns(tool: str, patterns: Iterable[str], *, folder: str | None = None) -> None:
    """Raise RuleError if a line of a tool's `require_approval` cannot be read."""
    for text in patterns:
        parse_pattern(tool, text, folder=folder)


_DEFAULTS: dict[Verdict, str] = {
    "allow": "No rule forbids it.",
    "ask": "No rule allows it, and the default is to ask.",
    "deny": "No rule allows it, and the default is to forbid.",
}


@dataclass(frozen=True, slots=True)
class _Found:
    match: Match
    text: str = ""
    is_exact: bool = False


def _first(entries: Iterable[Entry], tool: str, arguments: Mapping[str, Any] | None, *, strictly: bool) -> _Found:
    """The first entry that means the call; else the first of which that cannot be told."""
    best = _Found(Match.NO)
    for entry in entries:
        match = entry.match(tool, arguments, strictly=strictly)
        if match > best.match:
            best = _Found(match, entry.text, entry.exact is not None)
        if match is Match.YES:
            break
    return best


def _exact_first(entries: tuple[Entry, ...]) -> tuple[Entry, ...]:
    return tuple(sorted(entries, key=lambda entry: entry.exact is None))


def _doubted(arguments: Mapping[str, Any] | None, *strict: _Found) -> Decision | None:
    """Whether a call that would be allowed has to be looked at, because a strict rule may mean it."""
    if arguments is None:
        return Decision("ask", "Its arguments cannot be read, so a person has to look at it.")
    for found in strict:
        if found.match is Match.UNSURE:
            why = f"It cannot be told whether the rule `{found.text}` means it, so a person has to look at it."
            return Decision("ask", why, found.text)
    return None


@functools.lru_cache(maxsize=256)
def _patterns(tool: str, lines: tuple[str, ...], folder: str | None) -> tuple[Entry, ...]:
    return tuple(parse_pattern(tool, line, folder=folder) for line in lines)
