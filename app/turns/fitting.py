"""Fitting: a request that the model takes in, whatever the history is and however long the turn has become.

What gives way, in this order, until the rest fits: old results of tools (one line stays of each), old messages, all but
head and tail of new results, old steps of the turn, the middle of the user's message. Each time more gives way than
would have to, and what once gave way stays so: then the next requests begin alike, and hit the model's prompt cache.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from dataclasses import dataclass, field

from app.memory.clearing import clear, is_clearable, line_of
from app.memory.steps import steps
from app.memory.working import MESSAGE_OVERHEAD_TOKENS, Entry, entry
from app.turns.cutting import cut_result, cut_said, cut_user
from app.turns.template import LEFT_OUT, in_template, paired

NEWEST_RESULTS = 3
"""So many results are not cleared."""
TARGET_SHARE = 0.6
"""Once something must give way, it does until the request takes this share of the limit."""
ENOUGH_SHARE = 0.8
"""When that was not enough to get here, the next thing gives way, too: or something would have to at every step."""
RESULT_SHARE = 8
"""A new result is cut to an eighth of the limit, if it has to be cut."""
LEAST_STEP = 32
"""Tokens that a result, or a text of the assistant, is cut to at last."""
LEAST_GOAL = 48
"""Tokens that a message of the user is cut to at last."""
TODOS = "todo_write"
"""The tool whose newest result stays, with the step it belongs to."""
_NAMED = 3


@dataclass(frozen=True, slots=True)
class Fitted:
    """A request in the form of the template, the system message first.

    `cleared`: what gave way, to be handed in again for the next request of the session. `dropped`: messages of the
    history that are left out. If not `is_possible`, the entries are too many tokens, and nothing more can give way.
    """

    entries: Sequence[Entry]
    cleared: Set[str]
    dropped: int
    is_possible: bool
    dropped_calls: int = 0
    """Calls of this turn that are left out; a note below the user's message says so."""
    is_goal_cut: bool = False
    """Whether a message of the user in this turn is not whole."""


def fit(
    system: Entry | None,
    history: Sequence[Entry],
    turn: Sequence[Entry],
    *,
    limit_tokens: int,
    count_tokens: Callable[[str], int],
    tools_tokens: int = 0,
    cleared: Set[str] = frozenset(),
) -> Fitted:
    """The request for the next step of a turn: within `limit_tokens` with its tools, or it says that this cannot be.

    `turn` begins with the user's message; its steps follow. `cleared` is that of the request before: ids of messages,
    or of calls where a result has no message id. Counts tokens of what was not counted before, in all not much more
    than `limit_tokens` of it: where that may be much, call it in a thread.
    """
    front = [system] if system is not None else []
    if not cleared:
        built = in_template([*front, *history, *turn])
        if tools_tokens + sum([message.at_most() for message in built]) <= limit_tokens:
            return Fitted(built, cleared, 0, is_possible=True)
    taken = tools_tokens + _tokens(front, count_tokens)
    fitting = _Fitting(limit_tokens, taken, count_tokens, set(cleared))
    fitting.fill(history, turn)
    fitting.shrink()
    built = in_template([*front, *fitting.messages()])
    is_possible = tools_tokens + _tokens(built, count_tokens) <= limit_tokens
    calls = fitting.dropped_calls.total()
    return Fitted(built, fitting.gone, fitting.dropped, is_possible, calls, fitting.is_goal_cut)


def _tokens(messages: Iterable[Entry], count_tokens: Callable[[str], int]) -> int:
    return sum([message.count(count_tokens) for message in messages])


@dataclass(slots=True, eq=False)
class _Group:
    """A message, or a step with its results: kept or dropped as one."""

    messages: list[Entry]
    slack: int
    """Tokens that the template may add behind it."""
    is_kept: bool

    @property
    def head(self) -> Entry:
        return self.messages[0]

    @property
    def is_users(self) -> bool:
        return self.messages[0].is_users


@dataclass(slots=True, eq=False)
class _Fitting:
    """What is left of a history and a turn. `taken`: tokens of the system message, the tools and stand-ins."""

    limit: int
    taken: int
    count: Callable[[str], int]
    gone: set[str]
    history: list[_Group] = field(default_factory=list)
    turn: list[_Group] = field(default_factory=list)
    kept: set[int] = field(default_factory=set)
    """Results that do not give way, by `id()`."""
    dropped: int = 0
    dropped_calls: Counter[str] = field(default_factory=Counter)
    is_goal_cut: bool = False

    def fill(self, history: Sequence[Entry], turn: Sequence[Entry]) -> None:
        """Take in all that did not give way before."""
        stand_in = self.count(LEFT_OUT) + MESSAGE_OVERHEAD_TOKENS
        self.taken += 2 * stand_in  # in front and at the end
        earlier, later = paired(history), paired(turn)
        self.kept = _kept([*earlier, *later])
        self.history = [self._group(step, stand_in) for step in steps(earlier)]
        self.turn = [self._group(step, stand_in) for step in steps(later)]
        self._drop_from_history([group for group in self.history if self._is_gone(group)])
        self._drop_from_turn([group for group in self.turn[1:] if self._is_gone(group)])

    def _group(self, step: Sequence[Entry], stand_in: int) -> _Group:
        is_kept = any(id(message) in self.kept for message in step)
        shown = [line_of(one) if is_clearable(one) and _key(one) in self.gone else one for one in step]
        return _Group(shown, stand_in if step[0].call_ids else 0, is_kept)

    def _is_gone(self, group: _Group) -> bool:
        return not group.is_kept and group.head.message_id in self.gone

    def messages(self) -> Iterator[Entry]:
        for group in self.history:
            yield from group.messages
        for place, group in enumerate(self.turn):
            yield from group.messages
            if place == 0 and self.dropped_calls:
                yield self._note()

    def _note(self) -> Entry:
        calls = self.dropped_calls
        named = [f"{name[:32] or 'a call'} ×{times}" for name, times in calls.most_common(_NAMED)]
        more = ", …" if len(calls) > _NAMED else ""
        text = f"[{calls.total()} earlier calls of this turn were removed to save room: {', '.join(named)}{more}]"
        return entry("user", text)

    def shrink(self) -> None:
        """Let one thing after the other give way until the rest fits."""
        if self._fits(1.0):
            return
        for shrink, share in (
            (self._clear_old, 1.0),
            (self._clear_history, ENOUGH_SHARE),
            (self._drop_history, ENOUGH_SHARE),
            (self._cut_results, 1.0),
            (self._drop_steps, ENOUGH_SHARE),
            (self._cut_steps, 1.0),
            (self._cut_goal, 1.0),
        ):
            if not self._fits(share):
                shrink()

    # -- counting -----------------------------------------------------------------------------------------------

    def _fits(self, share: float) -> bool:
        """Whether all takes at most this share of the limit."""
        groups = self.history + self.turn
        room = self._room(share) - sum([group.slack for group in groups])
        if sum([message.at_most() for group in groups for message in group.messages]) <= room:
            return True
        for group in reversed(groups):  # the newest first: old text need not be counted to be too much
            room -= _tokens(group.messages, self.count)
            if room < 0:
                return False
        return True

    def _room(self, share: float) -> int:
        """Tokens for messages in a share of the limit."""
        note = self._note().count(self.count) if self.dropped_calls else 0
        return int(self.limit * share) - self.taken - note

    def _cost(self, *groups: _Group) -> int:
        return sum([group.slack + _tokens(group.messages, self.count) for group in groups])

    # -- what gives way -----------------------------------------------------------------------------------------

    def _clear_old(self) -> None:
        """Results before the newest ones."""
        self._clear(self.history + self.turn)

    def _clear_history(self) -> None:
        """All results of earlier turns."""
        self._clear(self.turn)

    def _clear(self, newest_of: Sequence[_Group]) -> None:
        results = [id(message) for group in newest_of for message in group.messages if message.result]
        groups = self.history + self.turn
        room = self._room(TARGET_SHARE) - sum([group.slack for group in groups])
        before = [message for group in groups for message in group.messages]
        spared = self.kept | set(results[-NEWEST_RESULTS:])
        shown = clear(before, room=room, count_tokens=self.count, spared=spared)
        self.gone |= {_key(one) for one, new in zip(before, shown, strict=True) if new is not one}
        messages = iter(shown)
        for group in groups:
            group.messages = [next(messages) for _ in group.messages]

    def _drop_history(self) -> None:
        """Messages of earlier turns, the oldest first; what stays begins with one of the user, if there is one."""
        room = self._room(TARGET_SHARE) - self._cost(*self.turn)
        room -= self._cost(*[group for group in self.history if group.is_kept])
        start = len(self.history)
        for place in reversed(range(len(self.history))):
            group = self.history[place]
            room -= self._cost(group) if not group.is_kept else 0
            if room < 0:
                break
            start = place
        users = (place for place in range(start, len(self.history)) if self.history[place].is_users)
        start = next(users, start)
        self._drop_from_history([group for group in self.history[:start] if not group.is_kept])

    def _drop_steps(self) -> None:
        """Of this turn, the oldest first; then what the user said between its first and its newest message."""
        users = [group for group in self.turn if group.is_users]
        newest = [group for group in self.turn if group.head.call_ids][-1:]
        others = [group for group in self.turn[1:-1] if not (group.is_kept or group.is_users or group in newest)]
        room = self._room(TARGET_SHARE) - self._cost(*self.history, *self.turn)
        dropped = []
        for group in [*others, *users[1:-1]]:
            if room >= 0:
                break
            room += self._cost(group)
            dropped.append(group)
        self._drop_from_turn(dropped)

    def _drop_from_history(self, groups: Sequence[_Group]) -> None:
        self.history = self._without(self.history, groups)
        self.dropped += sum([len(group.messages) for group in groups])

    def _drop_from_turn(self, groups: Sequence[_Group]) -> None:
        self.turn = self._without(self.turn, groups)
        self.dropped_calls.update([one.result.name for group in groups for one in group.messages if one.result])

    def _without(self, groups: Sequence[_Group], dropped: Sequence[_Group]) -> list[_Group]:
        self.gone |= {group.head.message_id for group in dropped if group.head.message_id}
        left_out = set(map(id, dropped))
        return [group for group in groups if id(group) not in left_out]

    # -- what is cut --------------------------------------------------------------------------------------------

    def _cut_results(self) -> None:
        self._cut(self.limit // RESULT_SHARE)

    def _cut_steps(self) -> None:
        """What is left of the turn's steps to what tells the model that they happened."""
        self._cut(LEAST_STEP)
        for group in self.turn:
            if not (group.is_kept or group.is_users):
                group.messages[0] = cut_said(group.head, LEAST_STEP, self.count)

    def _cut(self, most_tokens: int) -> None:
        for group in self.turn:
            group.messages = [
                cut_result(one, most_tokens, self.count) if one.result and id(one) not in self.kept else one
                for one in group.messages
            ]

    def _cut_goal(self) -> None:
        """What the user said in this turn, the longest most."""
        users = sorted([group for group in self.turn if group.is_users], key=self._cost)
        room = self._room(1.0) - self._cost(*self.history, *self.turn) + self._cost(*users)
        for place, group in enumerate(users):
            most = max(room // (len(users) - place) - MESSAGE_OVERHEAD_TOKENS, LEAST_GOAL)
            if self._cost(group) > most + MESSAGE_OVERHEAD_TOKENS:
                group.messages = [cut_user(group.head, most, self.count)]
                self.is_goal_cut = True
            room -= self._cost(group)


def _kept(messages: Sequence[Entry]) -> set[int]:
    """The results that do not give way: the newest list of what is to be done, and those that say so."""
    results = [(id(one), one.result) for one in messages if one.result is not None]
    todos = [place for place, result in results if result.name == TODOS]
    return {place for place, result in results if result.is_kept and result.name != TODOS} | set(todos[-1:])


def _key(message: Entry) -> str:
    return message.message_id or message.call_ids[0]
