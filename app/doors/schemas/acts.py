"""Acts on the wire."""

from __future__ import annotations

from typing import Annotated, Any, Literal, NotRequired

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictStr, model_validator
from typing_extensions import TypedDict

from app.domain.act import Act as StoredAct
from app.domain.act import ActState, WaitingFor
from app.domain.clock import iso
from app.doors.schemas.fields import AgentName, SessionId, Time, TurnId
from app.tools.arguments import BadArguments, read

CallId = Annotated[str, Field(description="Id of a call.", examples=["call_01"])]
ResultId = Annotated[str, Field(description="Id of a stored result.", examples=["res_01"])]
StateName = Literal[
    "proposed", "waiting", "approved", "started", "settled", "failed", "refused", "cancelled", "unknown"
]


class ActChange(TypedDict):
    """When the act got a state; `by`: the person or program that gave it."""

    state: StateName
    at: Time
    by: NotRequired[str]


class Act(TypedDict):
    """A tool call as the server carries it out."""

    call_id: CallId
    session_id: SessionId
    turn_id: TurnId
    step: Annotated[int, Field(description="Which call of the model asked for it, from 1.")]
    agent: AgentName
    name: Annotated[str, Field(description="The tool.", examples=["write_file"])]
    # `class` is a word of Python: added below, in the functional form.
    arguments: Annotated[Any, Field(description="As the model wrote them: an object, or the text that is none.")]
    edited: NotRequired[Annotated[Any, Field(description="What a person made of the arguments.")]]
    state: StateName
    waiting_for: NotRequired[WaitingFor]
    why: NotRequired[Annotated[str, Field(description="Why it waits or was refused.")]]
    rule: NotRequired[Annotated[str, Field(description="The line of `permissions` that decided.")]]
    asked: NotRequired[Annotated[dict[str, Any], Field(description="`question`, with `choices` or a `schema`.")]]
    outcome: NotRequired[Annotated[str, Field(description="What the model is told.")]]
    result: NotRequired[Any]
    result_id: NotRequired[ResultId]
    expires_at: Annotated[Time | None, Field(description="Until when somebody may answer.")]
    changes: list[ActChange]


ActShown = TypedDict("ActShown", {**Act.__annotations__, "class": Literal["read", "idempotent", "once"]})  # type: ignore[misc]


class ActList(TypedDict):
    calls: list[ActShown]


class ApprovalList(TypedDict):
    approvals: list[ActShown]


class ResultPart(TypedDict):
    """A piece of a stored result. Offsets count characters."""

    result_id: ResultId
    bytes: Annotated[int, Field(description="Of the whole.")]
    offset: int
    text: str
    next_offset: Annotated[int | None, Field(description="Where the next piece begins; null at the end.")]


class Decide(BaseModel):
    """The answer to an approval. `arguments` take the place of the model's."""

    model_config = ConfigDict(extra="ignore", json_schema_extra={"examples": [{"approved": True}]})

    approved: StrictBool
    arguments: dict[str, Any] | None = None
    reason: StrictStr | None = Field(default=None, max_length=2000)
    remember: Literal["session", "agent"] | None = Field(
        default=None, description="Allow the same from now on: in this session, or with this agent."
    )


class GiveResult(BaseModel):
    """The outcome of a deferred call, or the answer to a question: one of the two."""

    model_config = ConfigDict(extra="ignore", json_schema_extra={"examples": [{"result": {"ok": True}}]})

    result: Any = None
    error: StrictStr | None = Field(default=None, min_length=1, max_length=10_000)

    @model_validator(mode="after")
    def _is_one(self) -> GiveResult:
        if ("result" in self.model_fields_set) == (self.error is not None):
            raise ValueError("send either `result` or `error`")
        return self


class Resolve(BaseModel):
    """What became of a call whose outcome is unknown; `again` carries it out once more."""

    model_config = ConfigDict(extra="ignore", json_schema_extra={"examples": [{"happened": True}]})

    happened: StrictBool | None = None
    again: StrictBool = False
    result: Any = None

    @model_validator(mode="after")
    def _is_one(self) -> Resolve:
        if (self.happened is None) != self.again:
            raise ValueError("send `happened: true`, `happened: false` or `again: true`")
        return self


def act_json(act: StoredAct) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "call_id": act.call_id,
        "session_id": act.session_id,
        "turn_id": act.turn_id,
        "step": act.step,
        "agent": act.agent,
        "name": act.name,
        "class": act.tool_class.value,
        "arguments": _readable(act.arguments),
        "state": act.state.value,
        "expires_at": iso(act.expires_ms) if act.state is ActState.WAITING else None,
        "changes": [{**change.to_json(), "at": iso(change.at_ms)} for change in act.changes],
    }
    if act.edited is not None:
        shown["edited"] = _readable(act.edited)
    for name in ("waiting_for", "why", "rule", "asked", "outcome", "result", "result_id"):
        if (value := getattr(act, name)) is not None:
            shown[name] = value
    return shown


def _readable(arguments: str) -> Any:
    try:
        return read(arguments)
    except BadArguments:
        return arguments
