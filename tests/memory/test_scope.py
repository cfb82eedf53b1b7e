"""A scope is never crossed: not by ids that look alike, not by any mixture of scopes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from app.domain.memory import Owner, Scope
from app.memory.scope import audience_of, audiences_seen, effective, may_store

# Few and tricky: parts that would run together if they were only joined.
_part = st.sampled_from(["a", "b", "ab", "", ":", "1:a", "a\0b", "anonymous"])
_owner = st.builds(Owner, agent=_part, principal=_part, user_id=_part, session_id=_part)
_scope = st.sampled_from(Scope)


def may_see(writer: Owner, stored: Scope, reader: Owner, reading: Scope) -> bool:
    """The rule, told independently of how it is done."""
    stored, reading = effective(stored, writer), effective(reading, reader)
    if stored is Scope.SESSION:
        return writer.session_id == reader.session_id
    if stored is Scope.ALL:
        return reading is Scope.ALL and writer.agent == reader.agent
    same_user = (writer.agent, writer.principal, writer.user_id) == (reader.agent, reader.principal, reader.user_id)
    return reading is not Scope.SESSION and same_user


@given(_owner, _scope, _owner, _scope)
def test_a_scope_is_never_crossed(writer: Owner, stored: Scope, reader: Owner, reading: Scope) -> None:
    seen = audience_of(writer, stored) in audiences_seen(reader, reading)
    assert seen == may_see(writer, stored, reader, reading)


def test_nameless_users_share_nothing_between_their_sessions() -> None:
    one, other = (Owner("assistant", "anonymous", "anonymous", session) for session in ("s1", "s2"))
    assert audience_of(one, Scope.CONVERSATIONAL) not in audiences_seen(other, Scope.CONVERSATIONAL)


def test_summaries_only_stores_no_message() -> None:
    assert not may_store(Scope.SUMMARIES_ONLY, "message")
    assert may_store(Scope.SUMMARIES_ONLY, "summary")
    assert may_store(Scope.SESSION, "message")


@given(_owner, _scope)
def test_an_audience_is_a_plain_word(owner: Owner, scope: Scope) -> None:
    assert audience_of(owner, scope).isalnum()
